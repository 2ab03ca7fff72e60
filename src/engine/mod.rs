//! Engines: a loaded model behind one trait, whatever runs it.
//!
//! An [`Engine`] is loaded once per model and owns the weights; every instance of the model gets an
//! [`ExecutionContext`] of its own, which owns the staging memory and runs one batch at a time.

mod file_stamp;
pub mod onnx_check;
mod onnxruntime;
mod open;
mod rten;
mod signature;
mod staging;
mod synthetic;
mod tensor;

pub use file_stamp::FileStamp;
pub use open::open;
pub(crate) use synthetic::latency as synthetic_latency;
pub use tensor::{DataType, ModelSpec, OutputTensor, TensorSpec};

use crate::units::BatchSize;

/// What can go wrong with an engine. The text is shown to operators: it names what was looked at,
/// what was expected and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The engine's library or device is not there.
    #[error("{0}")]
    Unavailable(String),
    /// The model file is missing, damaged, or asks for more than its bounds allow.
    #[error("{0}")]
    Load(String),
    /// An execution context could not be made.
    #[error("{0}")]
    Context(String),
    /// One batch could not be run. The appliance replaces the context.
    #[error("{0}")]
    Execute(String),
    /// The same, because of what was staged: a value no run of this model can compute with.
    #[error("{0}")]
    Input(String),
}

/// A loaded model. Its weights are shared by all contexts made from it.
pub trait Engine: Send + Sync {
    /// What runs it, in Triton's words: `rten_onnx`, `onnxruntime_onnx`, `tensorrt_plan`, …
    fn platform(&self) -> &'static str;

    /// Which version of the engine's library runs it, where that is no part of this program; empty
    /// where it is.
    fn library_version(&self) -> String {
        String::new()
    }

    /// Inputs, outputs and batch limit.
    fn spec(&self) -> &ModelSpec;

    /// Bytes the weights take in memory, once for all contexts.
    fn weight_bytes(&self) -> u64;

    /// Makes the context of one more instance. Called on the instance's own thread.
    fn create_context(&self) -> Result<Box<dyn ExecutionContext>, EngineError>;
}

/// Runs one batch at a time; belongs to one instance thread.
///
/// A run is `stage` for every input, `execute`, then `take_output` for every output wanted.
pub trait ExecutionContext: Send {
    /// Staging memory of input `input` for the first `batch` items, little-endian, row-major:
    /// `batch × item_bytes` bytes. The content before it is written is unspecified.
    ///
    /// `input` indexes [`ModelSpec::inputs`]; `batch` is at most [`ModelSpec::max_batch`].
    fn stage(&mut self, input: usize, batch: BatchSize) -> &mut [u8];

    /// Runs the first `batch` staged items to completion.
    fn execute(&mut self, batch: BatchSize) -> Result<(), EngineError>;

    /// Moves output `output` of the last run out, first dimension = batch for a batched model.
    fn take_output(&mut self, output: usize) -> OutputTensor;

    /// Runs the instance's whole loop with this context, inside whatever the engine needs around
    /// it: an engine with a thread pool makes the loop one of the pool's workers, so that no
    /// `execute` hops between threads. Returns when `body` does; a panic in it comes through.
    fn enter(&mut self, body: InstanceLoop<'_>);
}

/// What an instance does with its context until it ends.
pub type InstanceLoop<'a> = Box<dyn FnOnce(&mut dyn ExecutionContext) + Send + 'a>;
