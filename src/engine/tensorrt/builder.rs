//! From an ONNX file to a plan whose profile fits the appliance.

use super::checked::Api;
use super::context::LANES;
use super::library::{Library, Version};
use super::making::{Builder, BuilderConfig, Network, NetworkTensor, Parser};
use super::objects::Runtime;
use super::progress::Monitor;
pub use super::progress::OnProgress;
use super::spec::PlanSpec;
use crate::engine::cuda::{self, Device, Stream};
use crate::engine::{ModelSpec, onnx_check};
use crate::files;
use crate::units::BatchSize;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `BuilderFlag::kFP16`, in the versions that have it.
const FP16: i32 = 0;
/// Larger timing caches are none.
const MAX_CACHE_BYTES: u64 = 1 << 30;

/// What to build, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildOptions {
    /// The ONNX file.
    pub model: PathBuf,
    /// The folder that gets `model.plan`.
    pub out: PathBuf,
    pub max_batch: u32,
    /// Instances that will run at once.
    pub instances: u32,
    pub fp16: bool,
    /// Computes FP32 layers in full, not in TF32.
    pub no_tf32: bool,
    /// Most scratch memory of one layer; TensorRT's default is all there is.
    pub workspace_mib: Option<u64>,
    /// Where measurements are kept from build to build.
    pub timing_cache: PathBuf,
    /// Runs with later versions of TensorRT too.
    pub version_compatible: bool,
    /// Where libnvinfer.so is; searched for when absent.
    pub tensorrt: Option<PathBuf>,
    /// Number of the GPU.
    pub ordinal: u32,
}

/// A plan that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    pub file: PathBuf,
    pub bytes: u64,
    /// As it will be served.
    pub spec: ModelSpec,
    /// Optimisation profiles in it.
    pub profiles: u32,
    pub tensorrt: String,
    pub gpu: String,
}

/// Builds a plan, looks whether it can be served, and puts it in its place: whole or not at all.
/// `on_progress` hears how it goes where TensorRT tells (from 10 on).
///
/// # Errors
/// A text for the operator.
pub fn build(options: &BuildOptions, on_progress: OnProgress<'_>) -> Result<Built, String> {
    onnx_check::check(&options.model).map_err(|error| error.to_string())?;
    std::fs::create_dir_all(&options.out)
        .map_err(|error| format!("{}: {error}", options.out.display()))?;
    cuda::presence()?;
    let library = Library::open(options.tensorrt.as_deref())?;
    let device = Device::open(options.ordinal)?;
    device.bind().map_err(|error| error.to_string())?;
    let api = Api { library: library.clone() };
    let plan = make(&api, options, on_progress)
        .map_err(|reason| format!("{}: {reason}", options.model.display()))?;
    let (spec, profiles) = look_at(&plan, options, library.clone(), device.clone())
        .map_err(|reason| format!("the plan was built, but can't be served: {reason}"))?;
    let file = options.out.join("model.plan");
    write_whole(&file, &plan)?;
    Ok(Built {
        file,
        bytes: plan.len() as u64,
        spec,
        profiles,
        tensorrt: library.version.to_string(),
        gpu: device.name.clone(),
    })
}

fn make(api: &Api, options: &BuildOptions, on_progress: OnProgress<'_>) -> Result<Vec<u8>, String> {
    let version = api.library.version;
    // Declared in this order, they end in the other: the parser after what was built from it.
    let mut monitor = Monitor::new(on_progress);
    let builder = Builder::new(api)?;
    let network = builder.network()?;
    let parser = Parser::new(api, &network)?;
    if options.version_compatible {
        parser.without_plugins();
    }
    parser.parse(&options.model)?;
    let config = builder.config()?;
    set_flags(&config, options, version)?;
    if let Some(mib) = options.workspace_mib {
        config.limit_workspace(usize::try_from(mib << 20).unwrap_or(usize::MAX))?;
    }
    add_profiles(&builder, &network, &config, options, version)?;
    let known = read_cache(&options.timing_cache);
    let cache = config.use_timing_cache(&known).or_else(|reason| {
        let file = options.timing_cache.display();
        tracing::warn!("{file} is of another GPU or TensorRT, and is written anew: {reason}");
        config.use_timing_cache(&[])
    })?;
    config.watch(&mut monitor)?;
    let plan = builder.build(&network, &config)?;
    if let Err(reason) =
        cache.serialize().and_then(|cache| write_whole(&options.timing_cache, cache.bytes()?))
    {
        tracing::warn!("the timing cache is not kept: {reason}");
    }
    Ok(plan.bytes()?.to_vec())
}

fn set_flags(
    config: &BuilderConfig<'_>,
    options: &BuildOptions,
    version: Version,
) -> Result<(), String> {
    // TF32 and VERSION_COMPATIBLE have other numbers in each major version.
    let (tf32, version_compatible) = match version.major() {
        8 => (7, 15),
        10 => (6, 13),
        _ => (6, 12),
    };
    if options.fp16 {
        if version.major() >= 11 {
            return Err(format!(
                "TensorRT {version} has no FP16 switch: it computes in the types that the model \
                 says. Convert the ONNX file to FP16 (for example with `python -m \
                 modelopt.onnx.autocast --onnx_path MODEL.onnx`) and build that without --fp16"
            ));
        }
        config.set_flag(FP16, true)?;
    }
    if options.no_tf32 {
        config.set_flag(tf32, false)?;
    }
    if options.version_compatible {
        if !version.is_at_least(8, 6) {
            return Err(format!(
                "--version-compatible needs TensorRT 8.6 or newer, this is {version}"
            ));
        }
        config.set_flag(version_compatible, true)?;
    }
    Ok(())
}

/// Profiles that the appliance can use: batches from 1 to the largest, best at the largest.
fn add_profiles(
    builder: &Builder<'_>,
    network: &Network<'_>,
    config: &BuilderConfig<'_>,
    options: &BuildOptions,
    version: Version,
) -> Result<(), String> {
    let inputs = network.inputs()?;
    if inputs.iter().all(|input| !input.shape.contains(&-1)) {
        tracing::info!("all sizes of the model are fixed: the plan takes its batch and no other");
        return Ok(());
    }
    let ranges = inputs.iter().map(|input| range(input, options.max_batch));
    let ranges = ranges.collect::<Result<Vec<_>, String>>()?;
    for _ in 0..profiles(version, options.instances) {
        builder.add_profile(config, &ranges)?;
    }
    Ok(())
}

/// With TensorRT 8 each context needs a profile of its own: an instance has one, and one more for
/// the graph of each of its lanes. Later versions share one.
fn profiles(version: Version, instances: u32) -> u32 {
    if version.major() < 10 { instances * (1 + LANES as u32) } else { 1 }
}

fn range(input: &NetworkTensor, max_batch: u32) -> Result<(CString, [Vec<i64>; 3]), String> {
    if let Some(dim) = input.shape.iter().skip(1).position(|&size| size == -1) {
        return Err(format!(
            "dimension {} of input {:?} is open ({:?}): only a leading batch may be; export the \
             model with a fixed size there",
            dim + 1,
            input.name,
            input.shape,
        ));
    }
    let at = |batch: u32| {
        let mut shape = input.shape.clone();
        if let Some(first) = shape.first_mut().filter(|first| **first == -1) {
            *first = i64::from(batch);
        }
        shape
    };
    Ok((input.name.clone(), [at(1), at(max_batch), at(max_batch)]))
}

/// Loads the plan as the appliance would.
fn look_at(
    plan: &[u8],
    options: &BuildOptions,
    library: Arc<Library>,
    device: Arc<Device>,
) -> Result<(ModelSpec, u32), String> {
    let runtime = Runtime::new(library, device.clone())?;
    if options.version_compatible {
        runtime.allow_host_code()?;
    }
    let plan = Arc::new(runtime.load(plan)?);
    let stream = Stream::new(&device).map_err(|error| error.to_string())?;
    let mut context = plan.create_context()?;
    let spec = PlanSpec::new(&plan, &mut context, &stream, BatchSize(options.max_batch))?;
    Ok((spec.model, u32::try_from(plan.profiles()?).unwrap_or(0)))
}

/// What earlier builds measured; nothing when there was none.
fn read_cache(file: &Path) -> Vec<u8> {
    match std::fs::metadata(file) {
        Ok(found) if found.len() <= MAX_CACHE_BYTES => std::fs::read(file).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// Writes a file so that it is there whole or not at all.
fn write_whole(file: &Path, content: &[u8]) -> Result<(), String> {
    files::replace(file, content).map_err(|error| format!("{}: {error}", file.display()))
}
