//! From what a model file declares to what the appliance serves: which dimension is the batch, and
//! whether every other one is known.

use super::EngineError;
use super::onnx_check::{Dim, OnnxValue};
use super::tensor::{ModelSpec, TensorSpec};
use crate::units::BatchSize;

/// Finds the batch dimension: the first of every input and output, when the file leaves it open.
/// A model without one takes one item a run, in the shapes it declares.
///
/// # Errors
/// [`EngineError::Load`] when a dimension of an input other than the batch is open, when only some
/// tensors have a batch dimension, or when there is no input.
pub(super) fn model_spec(
    inputs: &[OnnxValue],
    outputs: &[OnnxValue],
    max_batch: BatchSize,
) -> Result<ModelSpec, EngineError> {
    if inputs.is_empty() {
        return Err(EngineError::Load("the model takes no input".into()));
    }
    let batched = match inputs.iter().find(|input| leads_with_batch(input)) {
        None => false,
        Some(open) => {
            if let Some(closed) = inputs.iter().chain(outputs).find(|t| !leads_with_batch(t)) {
                return Err(EngineError::Load(format!(
                    "tensor '{}' leads with a dynamic batch dimension, but '{}' with shape {} does \
                     not; export the model with the batch first in every input and output, or with \
                     all dimensions fixed",
                    open.name,
                    closed.name,
                    shape_text(closed),
                )));
            }
            true
        }
    };
    Ok(ModelSpec {
        inputs: inputs.iter().map(|t| input_spec(t, batched)).collect::<Result<_, _>>()?,
        outputs: outputs.iter().map(|t| output_spec(t, batched)).collect(),
        batched,
        max_batch: if batched { max_batch.max(BatchSize::ONE) } else { BatchSize::ONE },
    })
}

fn leads_with_batch(tensor: &OnnxValue) -> bool {
    matches!(tensor.dims.as_slice(), [Dim::Symbolic(_), ..])
}

fn input_spec(tensor: &OnnxValue, batched: bool) -> Result<TensorSpec, EngineError> {
    let item = tensor.dims[usize::from(batched)..].iter();
    let shape = item.map(|dim| match dim {
        Dim::Fixed(size) => Ok(i64::from(*size)),
        Dim::Symbolic(_) => Err(EngineError::Load(format!(
            "input '{}' has shape {}: every dimension but a leading batch must have a fixed size; \
             export the model with fixed sizes",
            tensor.name,
            shape_text(tensor),
        ))),
    });
    let shape = shape.collect::<Result<_, _>>()?;
    Ok(TensorSpec { name: tensor.name.clone(), data_type: tensor.data_type, shape })
}

fn output_spec(tensor: &OnnxValue, batched: bool) -> TensorSpec {
    let item = tensor.dims[usize::from(batched)..].iter();
    let shape = item.map(|dim| match dim {
        Dim::Fixed(size) => i64::from(*size),
        Dim::Symbolic(_) => -1,
    });
    let shape = shape.collect();
    TensorSpec { name: tensor.name.clone(), data_type: tensor.data_type, shape }
}

fn shape_text(tensor: &OnnxValue) -> String {
    let dims = tensor.dims.iter().map(|dim| match dim {
        Dim::Fixed(size) => size.to_string(),
        Dim::Symbolic(name) if name.is_empty() => "?".into(),
        Dim::Symbolic(name) => name.clone(),
    });
    format!("[{}]", dims.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::DataType;

    fn tensor(name: &str, dims: &[Dim]) -> OnnxValue {
        OnnxValue { name: name.into(), data_type: DataType::F32, dims: dims.to_vec() }
    }

    fn open(name: &str) -> Dim {
        Dim::Symbolic(name.into())
    }

    fn load_error(inputs: &[OnnxValue], outputs: &[OnnxValue]) -> String {
        match model_spec(inputs, outputs, BatchSize(8)) {
            Err(EngineError::Load(text)) => text,
            other => panic!("expected a load error, got {other:?}"),
        }
    }

    #[test]
    fn a_leading_open_dimension_is_the_batch() {
        let input = tensor("x", &[open("N"), Dim::Fixed(3)]);
        let mut output = tensor("y", &[open("N"), open("found"), Dim::Fixed(4)]);
        output.data_type = DataType::I64;
        let spec = model_spec(&[input], &[output], BatchSize(8)).unwrap();
        assert!(spec.batched);
        assert_eq!(spec.max_batch, BatchSize(8));
        assert_eq!(spec.inputs[0].shape, [3]);
        assert_eq!(spec.outputs[0].shape, [-1, 4]);
        assert_eq!(spec.outputs[0].data_type, DataType::I64);
    }

    #[test]
    fn a_fixed_model_takes_one_item() {
        let input = tensor("x", &[Dim::Fixed(1), Dim::Fixed(3)]);
        let output = tensor("y", &[Dim::Fixed(1)]);
        let spec = model_spec(&[input], &[output], BatchSize(8)).unwrap();
        assert!(!spec.batched);
        assert_eq!(spec.max_batch, BatchSize::ONE);
        assert_eq!(spec.inputs[0].shape, [1, 3]);
    }

    #[test]
    fn what_cannot_be_served_is_said() {
        let x = tensor("x", &[open("N"), Dim::Fixed(1)]);
        let y = tensor("y", &[open("N"), Dim::Fixed(1)]);
        let image = tensor("image", &[open("N"), Dim::Fixed(3), open("")]);
        let text = load_error(&[image], std::slice::from_ref(&y));
        assert!(text.contains("'image'") && text.contains("[N, 3, ?]"), "{text}");
        let threshold = tensor("threshold", &[Dim::Fixed(1)]);
        let text = load_error(&[x.clone(), threshold], std::slice::from_ref(&y));
        assert!(text.contains("'threshold'") && text.contains("batch"), "{text}");
        let total = tensor("total", &[Dim::Fixed(1)]);
        assert!(load_error(&[x], &[total]).contains("'total'"));
        assert!(load_error(&[], &[y]).contains("no input"));
    }
}
