//! Prebuilt TensorRT plans on CUDA streams.
//!
//! The binding has three layers, and `unsafe` stands here and in `engine::cuda` only:
//!
//! | layer | files | what it guarantees |
//! |---|---|---|
//! | raw | `raw`, `library`, `log` | where a function stands in which version |
//! | checked | `checked` | results instead of null pointers and `false`, with TensorRT's own words |
//! | safe | `objects` | nothing outlives what it came from |
//!
//! Above it a [`TensorRtEngine`] is a plan with its weights, and each instance a `context` with its
//! own streams and its own two batches on their way.

mod budget;
mod builder;
mod checked;
mod context;
mod gpu;
mod graphs;
mod lane;
mod library;
mod log;
mod making;
mod objects;
mod plan_loop;
mod profiles;
mod progress;
mod raw;
mod scratch;
mod spec;

pub use builder::{BuildOptions, Built, build};
pub use gpu::scratch_use;
pub use plan_loop::PlanLoop;
pub use scratch::ScratchUse;

use super::cuda::{self, CudaError, Stream};
use super::{Engine, EngineError, ExecutionContext, ModelSpec};
use crate::config::{Config, ModelConfig};
use crate::units::BatchSize;
use budget::{Refusal, Share};
use context::TensorRtContext;
use gpu::Gpu;
use objects::{Context, Plan};
use profiles::{Profile, Profiles};
use spec::PlanSpec;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Whether there is a GPU at all. Takes no memory of it.
///
/// # Errors
/// What is missing for there to be one.
pub(super) fn gpu_presence() -> Result<(), String> {
    cuda::presence().map(|_| ())
}

fn context_error(error: CudaError) -> EngineError {
    if error.is_sticky() {
        EngineError::DeviceLost(error.to_string())
    } else {
        EngineError::Context(error.to_string())
    }
}

fn execute_error(error: CudaError) -> EngineError {
    if error.is_sticky() {
        EngineError::DeviceLost(error.to_string())
    } else {
        EngineError::Execute(error.to_string())
    }
}

fn refused(refusal: Refusal) -> EngineError {
    match refusal {
        Refusal::TooLittle(text) => EngineError::Context(text),
        Refusal::Cuda(error) => context_error(error),
    }
}

/// A loaded plan.
pub(super) struct TensorRtEngine {
    shared: Arc<Shared>,
    /// The context that was asked about shapes at load time, for the first instance.
    first: Mutex<Option<(Context, Profile, Share)>>,
}

/// What all instances of a plan share.
struct Shared {
    plan: Arc<Plan>,
    spec: PlanSpec,
    profiles: Arc<Profiles>,
    scratch_bytes: u64,
    path: PathBuf,
    max_instances: u32,
    weights: Share,
    gpu: Arc<Gpu>,
}

impl Shared {
    fn file(&self) -> String {
        self.path.display().to_string()
    }

    /// A context of the plan; what it takes of the device is accounted for by the share.
    fn new_context(&self) -> Result<(Context, Share), String> {
        new_context(&self.gpu, &self.plan)
    }

    fn context_for_graph(&self) -> Result<(Context, Profile, Share), String> {
        let profile = self.profiles.for_graph().ok_or_else(|| {
            format!(
                "{} has no optimisation profile to spare, which TensorRT {} needs for each",
                self.file(),
                self.plan.version(),
            )
        })?;
        let (context, share) = self.new_context()?;
        Ok((context, profile, share))
    }

    /// Why there can't be so many instances, and how to have them.
    fn too_few_profiles(&self) -> String {
        let (limit, wanted) = (self.profiles.limit().unwrap_or(0), self.max_instances);
        let folder = self.path.parent().unwrap_or(Path::new(".")).display().to_string();
        format!(
            "{}: {} for {wanted} instances, and TensorRT {} needs one for each; build the plan \
             again with `bcedge build MODEL.onnx --out {folder} --instances {wanted}`, or set \
             `max_instances: {limit}`",
            self.file(),
            match limit {
                1 => "one optimisation profile".to_owned(),
                limit => format!("{limit} optimisation profiles"),
            },
            self.plan.version(),
        )
    }
}

fn new_context(gpu: &Gpu, plan: &Arc<Plan>) -> Result<(Context, Share), String> {
    gpu.budget.measure("an execution context", 0, || plan.create_context())
}

impl TensorRtEngine {
    /// Loads the plan at `path` for `model`.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when there is no GPU or no TensorRT, [`EngineError::Load`] when
    /// TensorRT does not take the plan, it can't be served, or there is too little memory.
    pub fn load(
        path: &Path,
        model: &ModelConfig,
        config: &Config,
    ) -> Result<TensorRtEngine, EngineError> {
        let gpu = Gpu::shared(config).map_err(EngineError::Unavailable)?;
        let file = path.display();
        let failed = |reason: String| EngineError::Load(format!("{file}: {reason}"));
        let content = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let (plan, weights) = gpu
            .budget
            .measure("the plan", content.len() as u64, || gpu.runtime.load(&content))
            .map_err(|reason| {
                failed(format!(
                    "the plan can't be loaded: {reason}. A plan belongs to the kind of GPU and the \
                     TensorRT version that it was built with; build it here: `bcedge build \
                     MODEL.onnx --out {}`",
                    path.parent().unwrap_or(Path::new(".")).display()
                ))
            })?;
        drop(content);
        let plan = Arc::new(plan);
        let stream = Stream::new(&gpu.device).map_err(context_error)?;
        let (mut context, share) = new_context(&gpu, &plan).map_err(failed)?;
        let most = BatchSize(model.max_batch.max(1));
        let spec = PlanSpec::new(&plan, &mut context, &stream, most)
            .map_err(|reason| failed(format!("the plan can't be served: {reason}")))?;
        let scratch_bytes = plan.scratch_bytes().map_err(failed)?;
        let profiles = Profiles::new(&spec, plan.version().major(), model.max_instances);
        let profile = profiles.for_instance();
        let shared = Shared {
            plan,
            spec,
            profiles,
            scratch_bytes,
            path: path.to_owned(),
            max_instances: model.max_instances,
            weights,
            gpu,
        };
        if shared.profiles.limit().is_some_and(|limit| limit < model.max_instances as usize) {
            tracing::warn!("{}", shared.too_few_profiles());
        }
        // There is a profile for the first context: `spec` has one, or needs none.
        let first = profile.map(|profile| (context, profile, share));
        Ok(TensorRtEngine { shared: Arc::new(shared), first: Mutex::new(first) })
    }
}

impl Engine for TensorRtEngine {
    fn platform(&self) -> &'static str {
        "tensorrt_plan"
    }

    fn library_version(&self) -> String {
        self.shared.plan.version().to_string()
    }

    fn device(&self) -> Option<String> {
        Some(self.shared.gpu.device.name.clone())
    }

    fn device_bytes(&self) -> Option<u64> {
        Some(self.shared.gpu.budget.most_used())
    }

    fn spec(&self) -> &ModelSpec {
        &self.shared.spec.model
    }

    fn weight_bytes(&self) -> u64 {
        self.shared.weights.bytes()
    }

    fn max_instances(&self) -> Option<u32> {
        self.shared.profiles.limit().map(|limit| limit as u32)
    }

    fn batches_per_instance(&self) -> usize {
        context::LANES
    }

    fn file(&self) -> Option<&Path> {
        Some(&self.shared.path)
    }

    fn create_context(&self) -> Result<Box<dyn ExecutionContext>, EngineError> {
        let shared = &self.shared;
        let failed = |reason: String| EngineError::Context(format!("{}: {reason}", shared.file()));
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (context, profile, share) = match first {
            Some(first) => first,
            None => {
                let profile = shared.profiles.for_instance();
                let profile =
                    profile.ok_or_else(|| EngineError::Context(shared.too_few_profiles()))?;
                let (context, share) = shared.new_context().map_err(failed)?;
                (context, profile, share)
            }
        };
        Ok(Box::new(TensorRtContext::new(shared.clone(), context, profile, share)?))
    }
}
