//! Engines: a loaded model behind one trait, whatever runs it.
//!
//! An [`Engine`] is loaded once per model and owns the weights; every instance of the model gets an
//! [`ExecutionContext`] of its own, which owns the staging memory and runs one batch at a time.

mod cuda;
mod file_stamp;
pub mod onnx_check;
mod onnxruntime;
mod open;
mod rten;
mod signature;
mod staging;
mod synthetic;
mod tensor;
mod tensorrt;

pub use cuda::leave;
pub use file_stamp::FileStamp;
pub use open::open;
pub(crate) use synthetic::latency as synthetic_latency;
pub use tensor::{DataType, ModelSpec, OutputTensor, TensorSpec};
pub use tensorrt::{BuildOptions, Built, PlanLoop, ScratchUse, build, scratch_use};

use crate::units::BatchSize;
use std::path::Path;

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
    /// The device failed in a way that only a new process recovers from: every further call would
    /// fail too, whoever makes it.
    #[error("{0}")]
    DeviceLost(String),
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

    /// The device that runs it, where that is not the processor, in words.
    fn device(&self) -> Option<String> {
        None
    }

    /// Most bytes that this process's models have taken so far of a device with an account of its
    /// own.
    fn device_bytes(&self) -> Option<u64> {
        None
    }

    /// Inputs, outputs and batch limit.
    fn spec(&self) -> &ModelSpec;

    /// Bytes the weights take in memory, once for all contexts.
    fn weight_bytes(&self) -> u64;

    /// Most instances that there can be at once, where the model file limits them.
    fn max_instances(&self) -> Option<u32> {
        None
    }

    /// Batches that one context can have under way at once: one that runs and, with more than one,
    /// others that are made ready meanwhile.
    fn batches_per_instance(&self) -> usize {
        1
    }

    /// The file it was loaded from, where that is not the configured one.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// Makes the context of one more instance. Called on the instance's own thread.
    fn create_context(&self) -> Result<Box<dyn ExecutionContext>, EngineError>;
}

/// Runs batches one after the other; belongs to one instance thread.
///
/// A run is `stage` for every input, `execute`, then `take_output` for every output wanted.
/// `execute` is `submit` and `finish` in one: between those two an engine that works beside the
/// processor lets the next batch be staged and submitted, so that its copy goes beside the run.
pub trait ExecutionContext: Send {
    /// Staging memory of input `input` for the first `batch` items, little-endian, row-major:
    /// `batch × item_bytes` bytes. The content before it is written is unspecified.
    ///
    /// `input` indexes [`ModelSpec::inputs`]; `batch` is at most [`ModelSpec::max_batch`].
    fn stage(&mut self, input: usize, batch: BatchSize) -> &mut [u8];

    /// Runs the first `batch` staged items to completion.
    fn execute(&mut self, batch: BatchSize) -> Result<(), EngineError>;

    /// Starts a run of the first `batch` staged items; from here on `stage` is about the next one.
    /// An engine that computes on the processor is done with it when this returns.
    fn submit(&mut self, batch: BatchSize) -> Result<(), EngineError> {
        self.execute(batch)
    }

    /// Whether the oldest submitted run has ended, well or badly. While it has not, the thread that
    /// submitted it is unparked once it has, unless the device fails.
    fn has_ended(&mut self) -> bool {
        true
    }

    /// Ends the oldest submitted run, waiting for it if need be; its outputs can be taken then.
    fn finish(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Moves output `output` of the last finished run out, first dimension = batch for a batched
    /// model.
    fn take_output(&mut self, output: usize) -> OutputTensor;

    /// Runs the instance's whole loop with this context, inside whatever the engine needs around
    /// it: an engine with a thread pool makes the loop one of the pool's workers, so that no
    /// `execute` hops between threads. Returns when `body` does; a panic in it comes through.
    fn enter(&mut self, body: InstanceLoop<'_>);
}

/// What an instance does with its context until it ends.
pub type InstanceLoop<'a> = Box<dyn FnOnce(&mut dyn ExecutionContext) + Send + 'a>;
