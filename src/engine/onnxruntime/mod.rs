//! ONNX Runtime through `ort`, for machines that have its library: about twice as fast as the
//! embedded engine.
//!
//! Every context has a session of its own, because running one session from several threads is
//! unsound in the binding's judgement. The sessions share their weights ([`shared`]).

mod library;
mod shared;

use super::staging::Staging;
use super::{
    DataType, Engine, EngineError, ExecutionContext, FileStamp, InstanceLoop, ModelSpec,
    OutputTensor, TensorSpec,
};
use crate::units::BatchSize;
use bytes::Bytes;
use half::f16;
use ort::ErrorCode;
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, TensorRef};
use shared::SharedModel;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub(super) struct OnnxRuntimeEngine {
    environment: Environment,
    path: PathBuf,
    source: Source,
    spec: Arc<ModelSpec>,
    threads: usize,
    weight_bytes: u64,
    /// The session that proved at load time that the model works; the first context takes it.
    first: Mutex<Option<Session>>,
}

/// What sessions are made from.
enum Source {
    Shared(SharedModel),
    /// Weights cannot be shared, each session has its own. The stamp is that of the file that was
    /// loaded: later sessions are made from the same or not at all.
    File(Option<FileStamp>),
}

impl OnnxRuntimeEngine {
    /// Loads a file that has passed the file check, as `spec` describes it.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when the library is not found or not usable,
    /// [`EngineError::Load`] when it does not take the model.
    pub fn load(
        path: &Path,
        spec: ModelSpec,
        threads: usize,
        weight_bytes: u64,
        library: Option<&Path>,
    ) -> Result<OnnxRuntimeEngine, EngineError> {
        let environment = library::environment(library)?;
        let threads = threads.max(1);
        let stamp = FileStamp::of(path).ok();
        let shared = SharedModel::new(&environment, path).and_then(|model| {
            let session = model.session(&environment, threads).map_err(|e| e.to_string())?;
            Ok((Source::Shared(model), session))
        });
        let from_file = |reason: String| -> Result<(Source, Session), EngineError> {
            let session = session_from_file(&environment, path, threads).map_err(|error| {
                EngineError::Load(format!(
                    "{}: ONNX Runtime cannot load this model: {error}",
                    path.display()
                ))
            })?;
            let file = path.display();
            tracing::warn!(%file, reason, "each instance will hold the weights once more");
            Ok((Source::File(stamp), session))
        };
        let (source, first) = shared.or_else(from_file)?;
        Ok(OnnxRuntimeEngine {
            environment,
            path: path.to_owned(),
            source,
            spec: Arc::new(spec),
            threads,
            weight_bytes,
            first: Mutex::new(Some(first)),
        })
    }

    fn another_session(&self) -> Result<Session, EngineError> {
        let path = self.path.display();
        let session = match &self.source {
            Source::Shared(model) => model.session(&self.environment, self.threads),
            Source::File(stamp) if FileStamp::of(&self.path).ok() == *stamp => {
                session_from_file(&self.environment, &self.path, self.threads)
            }
            Source::File(_) => {
                return Err(EngineError::Context(format!(
                    "{path} is gone or has changed since the model was loaded, and ONNX Runtime \
                     needs it for another instance; unload the model and load it again"
                )));
            }
        };
        session.map_err(|error| {
            EngineError::Context(format!("{path}: ONNX Runtime cannot make a session: {error}"))
        })
    }
}

fn session_from_file(
    environment: &Environment,
    path: &Path,
    threads: usize,
) -> ort::Result<Session> {
    options(environment, threads)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .commit_from_file(path)
}

/// What all sessions have in common.
fn options(environment: &Environment, threads: usize) -> ort::Result<SessionBuilder> {
    Ok(Session::builder(environment)?
        .with_intra_threads(threads)?
        // Errors come back as results; a client's bad requests must not fill the log as well.
        .with_log_level(LogLevel::Fatal)?
        // Instances compete for the cores: a thread that waits must not burn one.
        .with_intra_op_spinning(false)?
        // A memory plan would be kept for every batch size that ever ran.
        .with_memory_pattern(false)?)
}

impl Engine for OnnxRuntimeEngine {
    fn platform(&self) -> &'static str {
        "onnxruntime_onnx"
    }

    fn library_version(&self) -> String {
        library::version()
    }

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    fn create_context(&self) -> Result<Box<dyn ExecutionContext>, EngineError> {
        let ready = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let session = match ready {
            Some(session) => session,
            None => self.another_session()?,
        };
        let slots = self.spec.inputs.iter().map(|input| {
            let batch_dim = self.spec.batched.then_some(1);
            let shape = batch_dim.into_iter().chain(input.shape.iter().copied()).collect();
            Ok(InputSlot { staging: Staging::new(input, self.spec.max_batch)?, shape })
        });
        Ok(Box::new(OnnxRuntimeContext {
            session,
            slots: slots.collect::<Result<_, EngineError>>()?,
            results: Vec::with_capacity(self.spec.outputs.len()),
            spec: self.spec.clone(),
        }))
    }
}

struct OnnxRuntimeContext {
    session: Session,
    spec: Arc<ModelSpec>,
    slots: Vec<InputSlot>,
    results: Vec<OutputTensor>,
}

struct InputSlot {
    staging: Staging,
    /// The full shape; for a batched model the first dimension is set by each run.
    shape: Vec<i64>,
}

impl ExecutionContext for OnnxRuntimeContext {
    fn stage(&mut self, input: usize, batch: BatchSize) -> &mut [u8] {
        self.slots[input].staging.bytes_mut(batch)
    }

    fn execute(&mut self, batch: BatchSize) -> Result<(), EngineError> {
        self.results.clear();
        let mut views: Vec<(&str, SessionInputValue)> = Vec::with_capacity(self.slots.len());
        for (slot, tensor) in self.slots.iter_mut().zip(&self.spec.inputs) {
            if self.spec.batched {
                slot.shape[0] = i64::from(batch.0);
            }
            let view = slot.view(tensor, batch).map_err(|error| {
                EngineError::Execute(format!("input '{}': {error}", tensor.name))
            })?;
            views.push((&tensor.name, view));
        }
        let mut outputs = self.session.run(views).map_err(|error| run_error(&error, &self.spec))?;
        for tensor in &self.spec.outputs {
            let value = outputs.remove(&tensor.name).ok_or_else(|| {
                EngineError::Execute(format!("ONNX Runtime gave no output '{}'", tensor.name))
            })?;
            let result = output_tensor(value, tensor)?;
            result.check_batch(&tensor.name, self.spec.batched, batch)?;
            self.results.push(result);
        }
        Ok(())
    }

    fn take_output(&mut self, output: usize) -> OutputTensor {
        self.results.get_mut(output).map(std::mem::take).unwrap_or_default()
    }

    fn enter(&mut self, body: InstanceLoop<'_>) {
        body(self);
    }
}

/// Shapes and types are as the model declares them, so an argument that an operator refuses came
/// in with the batch, where it can have: an index outside its table.
fn run_error(error: &ort::Error, spec: &ModelSpec) -> EngineError {
    let text = format!("ONNX Runtime: {error}");
    if spec.takes_indices() && error.code() == ErrorCode::InvalidArgument {
        EngineError::Input(text)
    } else {
        EngineError::Execute(text)
    }
}

impl InputSlot {
    /// The first `batch` items where they are staged.
    fn view(&mut self, spec: &TensorSpec, batch: BatchSize) -> ort::Result<SessionInputValue<'_>> {
        if spec.data_type == DataType::Bool {
            // Clients mean "true" by any byte that is not zero; ONNX Runtime knows 0 and 1.
            self.staging.bytes_mut(batch).iter_mut().for_each(|byte| *byte = (*byte != 0).into());
        }
        let (staging, shape) = (&self.staging, self.shape.as_slice());
        macro_rules! view {
            ($element:ty) => {
                TensorRef::from_array_view((shape, staging.elements::<$element>(batch)))?.into()
            };
        }
        Ok(match spec.data_type {
            DataType::F32 => view!(f32),
            DataType::F16 => view!(f16),
            DataType::I64 => view!(i64),
            DataType::I32 => view!(i32),
            DataType::I8 => view!(i8),
            DataType::U8 => view!(u8),
            DataType::Bool => {
                let bytes = staging.elements::<u8>(batch);
                let bools: &[bool] = bytemuck::checked::try_cast_slice(bytes)
                    .map_err(|error| ort::Error::new(error.to_string()))?;
                TensorRef::from_array_view((shape, bools))?.into()
            }
        })
    }
}

/// Hands a result to the reply where ONNX Runtime wrote it.
fn output_tensor(value: DynValue, spec: &TensorSpec) -> Result<OutputTensor, EngineError> {
    struct Owner(DynValue, DataType);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            // The same call has succeeded below.
            contents(&self.0, self.1).map_or(&[], |(_, bytes)| bytes)
        }
    }
    let (shape, _) = contents(&value, spec.data_type).map_err(|error| {
        EngineError::Execute(format!(
            "output '{}' is declared as {}: {error}",
            spec.name,
            spec.data_type.name()
        ))
    })?;
    let shape = shape.to_vec();
    Ok(OutputTensor { shape, data: Bytes::from_owner(Owner(value, spec.data_type)) })
}

fn contents(value: &DynValue, data_type: DataType) -> ort::Result<(&[i64], &[u8])> {
    macro_rules! contents {
        ($element:ty) => {
            value
                .try_extract_tensor::<$element>()
                .map(|(shape, elements)| (&shape[..], bytemuck::cast_slice(elements)))
        };
    }
    match data_type {
        DataType::F32 => contents!(f32),
        DataType::F16 => contents!(f16),
        DataType::I64 => contents!(i64),
        DataType::I32 => contents!(i32),
        DataType::I8 => contents!(i8),
        DataType::U8 => contents!(u8),
        DataType::Bool => contents!(bool),
    }
}
