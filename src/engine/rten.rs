//! The embedded CPU engine: ONNX through `rten`, no shared library needed.
//!
//! `rten` computes in f32, i32, i8 and u8. Inputs declared as f16, i64 or bool are widened into a
//! second buffer before a run, and outputs are brought back to the type the file declares.

use super::staging::{Staging, bytes_of};
use super::{
    DataType, Engine, EngineError, ExecutionContext, InstanceLoop, ModelSpec, OutputTensor,
    TensorSpec,
};
use crate::units::BatchSize;
use half::f16;
use half::slice::HalfFloatSliceExt;
use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueOrView, ValueView};
use rten_tensor::TensorView;
use rten_tensor::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// A model loaded by `rten`; the contexts share it.
pub(super) struct RtenEngine {
    shared: Arc<Shared>,
}

struct Shared {
    model: Model,
    spec: ModelSpec,
    inputs: Vec<NodeId>,
    outputs: Vec<NodeId>,
    weight_bytes: u64,
    threads: usize,
}

impl RtenEngine {
    /// Loads a file that has passed the file check, as `spec` describes it. Each context computes
    /// on `threads` threads.
    ///
    /// # Errors
    /// [`EngineError::Load`] when `rten` cannot read the file or lacks an operator of it.
    pub fn load(path: &Path, spec: ModelSpec, threads: usize) -> Result<RtenEngine, EngineError> {
        // Reading hostile files must not cost the process its other models, so a panic in the
        // loader counts as an unreadable file. Weights are taken over from the reader's buffers and
        // stay as they are: prepacking would hold them a second time.
        let model = catch_unwind(AssertUnwindSafe(|| ModelOptions::with_all_ops().load_file(path)))
            .map_err(|_| "the loader panicked".to_string())
            .and_then(|loaded| loaded.map_err(|error| error.to_string()))
            .map_err(|reason| {
                EngineError::Load(format!(
                    "{}: the embedded engine cannot load this model: {reason}",
                    path.display()
                ))
            })?;
        let find = |tensors: &[TensorSpec]| -> Result<Vec<NodeId>, EngineError> {
            let node = |t: &TensorSpec| model.find_node(&t.name).ok_or_else(|| missing(path, t));
            tensors.iter().map(node).collect()
        };
        let (inputs, outputs) = (find(&spec.inputs)?, find(&spec.outputs)?);
        let weight_bytes = 4 * model.total_params() as u64;
        let threads = threads.max(1);
        let shared = Arc::new(Shared { model, spec, inputs, outputs, weight_bytes, threads });
        Ok(RtenEngine { shared })
    }
}

fn missing(path: &Path, tensor: &TensorSpec) -> EngineError {
    EngineError::Load(format!(
        "{}: tensor '{}' is declared but no operator uses or makes it",
        path.display(),
        tensor.name
    ))
}

impl Engine for RtenEngine {
    fn platform(&self) -> &'static str {
        "rten_onnx"
    }

    fn spec(&self) -> &ModelSpec {
        &self.shared.spec
    }

    fn weight_bytes(&self) -> u64 {
        self.shared.weight_bytes
    }

    fn create_context(&self) -> Result<Box<dyn ExecutionContext>, EngineError> {
        let spec = &self.shared.spec;
        let slots = spec.inputs.iter().map(|input| InputSlot::new(input, spec));
        Ok(Box::new(RtenContext {
            pool: Arc::new(ThreadPool::with_num_threads(self.shared.threads)),
            slots: slots.collect::<Result<_, _>>()?,
            results: Vec::with_capacity(spec.outputs.len()),
            shared: self.shared.clone(),
        }))
    }
}

struct RtenContext {
    shared: Arc<Shared>,
    pool: Arc<ThreadPool>,
    slots: Vec<InputSlot>,
    results: Vec<OutputTensor>,
}

impl ExecutionContext for RtenContext {
    fn stage(&mut self, input: usize, batch: BatchSize) -> &mut [u8] {
        self.slots[input].staging.bytes_mut(batch)
    }

    fn execute(&mut self, batch: BatchSize) -> Result<(), EngineError> {
        self.results.clear();
        let Shared { model, spec, inputs, outputs, .. } = &*self.shared;
        let mut views: Vec<(NodeId, ValueOrView)> = Vec::with_capacity(inputs.len());
        for ((slot, tensor), &node) in self.slots.iter_mut().zip(&spec.inputs).zip(inputs) {
            views.push((node, slot.view(tensor, batch)?.into()));
        }
        let options = RunOptions::default().with_thread_pool(Some(self.pool.clone()));
        let values = model
            .run(views, outputs, Some(options))
            .map_err(|error| run_error(&error.to_string(), spec))?;
        for (value, tensor) in values.into_iter().zip(&spec.outputs) {
            let result = output_tensor(value, tensor)?;
            result.check_batch(&tensor.name, spec.batched, batch)?;
            self.results.push(result);
        }
        Ok(())
    }

    fn take_output(&mut self, output: usize) -> OutputTensor {
        self.results.get_mut(output).map(std::mem::take).unwrap_or_default()
    }

    /// Makes the loop a worker of the context's pool: `rten` installs every run into that pool,
    /// which from one of its own workers is a plain call instead of two hops between threads.
    fn enter(&mut self, body: InstanceLoop<'_>) {
        let pool = self.pool.clone();
        pool.run(|| body(self));
    }
}

/// One input: where its bytes are staged, and how `rten` is to see them.
struct InputSlot {
    staging: Staging,
    widened: Widened,
    /// The full shape; for a batched model the first dimension is set by each run.
    shape: Vec<usize>,
    batched: bool,
}

/// Room for the types `rten` represents wider or narrower than the protocol does.
enum Widened {
    AsIs,
    F32(Vec<f32>),
    I32(Vec<i32>),
}

impl InputSlot {
    fn new(input: &TensorSpec, spec: &ModelSpec) -> Result<InputSlot, EngineError> {
        let staging = Staging::new(input, spec.max_batch)?;
        let elements = input.item_elements().unwrap_or(0) * spec.max_batch.get();
        let widened = match input.data_type {
            DataType::F16 => Widened::F32(vec![0.0; elements]),
            DataType::I64 | DataType::Bool => Widened::I32(vec![0; elements]),
            DataType::F32 | DataType::I32 | DataType::I8 | DataType::U8 => Widened::AsIs,
        };
        let batch_dim = spec.batched.then_some(1);
        let dims = input.shape.iter().map(|&dim| usize::try_from(dim).unwrap_or(0));
        let shape = batch_dim.into_iter().chain(dims).collect();
        Ok(InputSlot { staging, widened, shape, batched: spec.batched })
    }

    /// The first `batch` items in the type `rten` takes.
    fn view(&mut self, spec: &TensorSpec, batch: BatchSize) -> Result<ValueView<'_>, EngineError> {
        if self.batched {
            self.shape[0] = batch.get();
        }
        let shape = self.shape.as_slice();
        let staging = &self.staging;
        match (&mut self.widened, spec.data_type) {
            (Widened::F32(wide), _) => {
                let narrow = staging.elements::<f16>(batch);
                let wide = &mut wide[..narrow.len()];
                narrow.convert_to_f32_slice(wide);
                shaped(shape, wide, spec)
            }
            (Widened::I32(to), DataType::I64) => {
                shaped(shape, narrow_i64(staging.elements::<i64>(batch), to, spec)?, spec)
            }
            (Widened::I32(wide), _) => {
                let bytes = staging.elements::<u8>(batch);
                let wide = &mut wide[..bytes.len()];
                wide.iter_mut().zip(bytes).for_each(|(to, &from)| *to = i32::from(from != 0));
                shaped(shape, wide, spec)
            }
            (Widened::AsIs, DataType::I32) => shaped(shape, staging.elements::<i32>(batch), spec),
            (Widened::AsIs, DataType::I8) => shaped(shape, staging.elements::<i8>(batch), spec),
            (Widened::AsIs, DataType::U8) => shaped(shape, staging.elements::<u8>(batch), spec),
            (Widened::AsIs, _) => shaped(shape, staging.elements::<f32>(batch), spec),
        }
    }
}

/// Shapes are fixed and the weights have been checked, so a value that an operator refuses came in
/// with the batch, where it can have. `rten` tells what an operator refused in its text alone.
fn run_error(reason: &str, spec: &ModelSpec) -> EngineError {
    let text = format!("the embedded engine: {reason}");
    if spec.takes_indices() && reason.contains("has invalid value") {
        EngineError::Input(text)
    } else {
        EngineError::Execute(text)
    }
}

fn shaped<'a, T>(
    shape: &[usize],
    elements: &'a [T],
    spec: &TensorSpec,
) -> Result<ValueView<'a>, EngineError>
where
    ValueView<'a>: From<TensorView<'a, T>>,
{
    ValueView::from_shape(shape, elements)
        .map_err(|error| EngineError::Execute(format!("input '{}': {error}", spec.name)))
}

/// Copies 64-bit values into 32 bits.
///
/// # Errors
/// The first value that does not fit: `rten` would take another number in its place.
fn narrow_i64<'a>(
    from: &[i64],
    to: &'a mut [i32],
    spec: &TensorSpec,
) -> Result<&'a [i32], EngineError> {
    let to = &mut to[..from.len()];
    for (index, (&value, slot)) in from.iter().zip(to.iter_mut()).enumerate() {
        *slot = i32::try_from(value).map_err(|_| {
            let item_elements = spec.item_elements().unwrap_or(1).max(1);
            EngineError::Input(format!(
                "input '{}', element {} of item {} of the batch: {value} is outside the 32-bit \
                 range the embedded engine computes in ({} to {})",
                spec.name,
                index % item_elements,
                index / item_elements,
                i32::MIN,
                i32::MAX,
            ))
        })?;
    }
    Ok(to)
}

/// Brings a result back to the type the file declares; no copy where the types agree.
fn output_tensor(value: Value, spec: &TensorSpec) -> Result<OutputTensor, EngineError> {
    let shape = value.shape().iter().map(|&dim| dim as i64).collect();
    let data = match (spec.data_type, value) {
        (DataType::F32, Value::FloatTensor(t)) => bytes_of(t.into_data()),
        (DataType::I32, Value::Int32Tensor(t)) => bytes_of(t.into_data()),
        (DataType::I8, Value::Int8Tensor(t)) => bytes_of(t.into_data()),
        (DataType::U8, Value::UInt8Tensor(t)) => bytes_of(t.into_data()),
        (DataType::F16, Value::FloatTensor(t)) => {
            let wide = t.into_data();
            let mut narrow = vec![f16::ZERO; wide.len()];
            narrow.convert_from_f32_slice(&wide);
            bytes_of(narrow)
        }
        (DataType::I64, Value::Int32Tensor(t)) => {
            bytes_of(t.into_data().into_iter().map(i64::from).collect())
        }
        (DataType::Bool, Value::Int32Tensor(t)) => {
            bytes_of(t.into_data().into_iter().map(|v| u8::from(v != 0)).collect())
        }
        (declared, value) => {
            return Err(EngineError::Execute(format!(
                "output '{}' is declared as {} but the embedded engine computed {}",
                spec.name,
                declared.name(),
                value.dtype(),
            )));
        }
    };
    Ok(OutputTensor { shape, data })
}
