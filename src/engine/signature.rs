//! From what a model file declares to what the appliance serves: which dimension is the batch, and
//! whether every other one is known.

use super::EngineError;
use super::tensor::{DataType, ModelSpec, TensorSpec};
use crate::models::onnx::tensor_shape_proto::{Dimension, dimension};
use crate::models::onnx::{GraphProto, ValueInfoProto};
use crate::units::BatchSize;
use std::collections::HashSet;

/// One input or output as an ONNX file declares it.
#[derive(Clone, Debug)]
struct Declared {
    name: String,
    /// `TensorProto.DataType`.
    element_type: i32,
    /// `None`: the file does not even say how many dimensions there are.
    dims: Option<Vec<Dim>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Dim {
    Fixed(i64),
    /// Known at run time; the name is for error texts and may be empty.
    Dynamic(String),
}

/// What a model with this graph takes and gives.
///
/// # Errors
/// As [`model_spec`].
pub(super) fn of_graph(graph: &GraphProto, max_batch: BatchSize) -> Result<ModelSpec, EngineError> {
    // Files of ONNX IR version 3 list their weights among the inputs.
    let weights: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
    let inputs = graph.input.iter().filter(|input| !weights.contains(input.name()));
    let inputs: Vec<Declared> = inputs.map(declared).collect();
    let outputs: Vec<Declared> = graph.output.iter().map(declared).collect();
    model_spec(&inputs, &outputs, max_batch)
}

fn declared(info: &ValueInfoProto) -> Declared {
    let tensor = info.r#type.as_ref().and_then(|r#type| r#type.tensor_type.as_ref());
    let dim = |dim: &Dimension| match &dim.value {
        Some(dimension::Value::DimValue(size)) => Dim::Fixed(*size),
        Some(dimension::Value::DimParam(name)) => Dim::Dynamic(name.clone()),
        None => Dim::Dynamic(String::new()),
    };
    Declared {
        name: info.name().into(),
        element_type: tensor.map_or(0, |tensor| tensor.elem_type()),
        dims: tensor.and_then(|t| t.shape.as_ref()).map(|s| s.dim.iter().map(dim).collect()),
    }
}

/// Finds the batch dimension: the first of every input and output, when the file leaves it open.
/// A model without one takes one item a run, in the shapes it declares.
///
/// # Errors
/// [`EngineError::Load`] when a tensor's type is not served, when a dimension of an input other
/// than the batch is open, or when only some tensors have a batch dimension.
fn model_spec(
    inputs: &[Declared],
    outputs: &[Declared],
    max_batch: BatchSize,
) -> Result<ModelSpec, EngineError> {
    if inputs.is_empty() || outputs.is_empty() {
        return Err(EngineError::Load("the model declares no inputs or no outputs".into()));
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
    let spec = ModelSpec {
        inputs: inputs.iter().map(|t| input_spec(t, batched)).collect::<Result<_, _>>()?,
        outputs: outputs.iter().map(|t| output_spec(t, batched)).collect::<Result<_, _>>()?,
        batched,
        max_batch: if batched { max_batch.max(BatchSize::ONE) } else { BatchSize::ONE },
    };
    Ok(spec)
}

fn leads_with_batch(tensor: &Declared) -> bool {
    matches!(tensor.dims.as_deref(), Some([Dim::Dynamic(_), ..]))
}

fn input_spec(tensor: &Declared, batched: bool) -> Result<TensorSpec, EngineError> {
    let dims = known_rank(tensor, "input")?;
    let shape = dims[usize::from(batched)..].iter().map(|dim| match dim {
        Dim::Fixed(size) if *size > 0 => Ok(*size),
        _ => Err(EngineError::Load(format!(
            "input '{}' has shape {}: every dimension but a leading batch must be a fixed, positive \
             size; export the model with fixed sizes",
            tensor.name,
            shape_text(tensor),
        ))),
    });
    let shape = shape.collect::<Result<_, _>>()?;
    Ok(TensorSpec { name: tensor.name.clone(), data_type: data_type(tensor)?, shape })
}

fn output_spec(tensor: &Declared, batched: bool) -> Result<TensorSpec, EngineError> {
    let dims = known_rank(tensor, "output")?;
    let shape = dims[usize::from(batched)..].iter().map(|dim| match dim {
        Dim::Fixed(size) => *size,
        Dim::Dynamic(_) => -1,
    });
    let shape = shape.collect();
    Ok(TensorSpec { name: tensor.name.clone(), data_type: data_type(tensor)?, shape })
}

fn known_rank<'a>(tensor: &'a Declared, role: &str) -> Result<&'a [Dim], EngineError> {
    tensor.dims.as_deref().ok_or_else(|| {
        EngineError::Load(format!(
            "{role} '{}' declares no shape; write it into the file, for instance with \
             onnx.shape_inference.infer_shapes",
            tensor.name
        ))
    })
}

/// The element types of ONNX that are served, under their `TensorProto.DataType` numbers.
fn data_type(tensor: &Declared) -> Result<DataType, EngineError> {
    Ok(match tensor.element_type {
        1 => DataType::F32,
        2 => DataType::U8,
        3 => DataType::I8,
        6 => DataType::I32,
        7 => DataType::I64,
        9 => DataType::Bool,
        10 => DataType::F16,
        other => {
            return Err(EngineError::Load(format!(
                "tensor '{}' has ONNX element type {} ({other}), which is not served; these are: {}",
                tensor.name,
                onnx_type_name(other),
                DataType::ALL.map(DataType::name).join(", "),
            )));
        }
    })
}

fn onnx_type_name(element_type: i32) -> &'static str {
    match element_type {
        4 => "uint16",
        5 => "int16",
        8 => "string",
        11 => "double",
        12 => "uint32",
        13 => "uint64",
        14 | 15 => "complex",
        16 => "bfloat16",
        _ => "unknown",
    }
}

fn shape_text(tensor: &Declared) -> String {
    let Some(dims) = &tensor.dims else { return "(none declared)".into() };
    let dims = dims.iter().map(|dim| match dim {
        Dim::Fixed(size) => size.to_string(),
        Dim::Dynamic(name) if name.is_empty() => "?".into(),
        Dim::Dynamic(name) => name.clone(),
    });
    format!("[{}]", dims.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, element_type: i32, dims: &[Dim]) -> Declared {
        Declared { name: name.into(), element_type, dims: Some(dims.to_vec()) }
    }

    fn open(name: &str) -> Dim {
        Dim::Dynamic(name.into())
    }

    fn load_error(inputs: &[Declared], outputs: &[Declared]) -> String {
        match model_spec(inputs, outputs, BatchSize(8)) {
            Err(EngineError::Load(text)) => text,
            other => panic!("expected a load error, got {other:?}"),
        }
    }

    #[test]
    fn a_leading_open_dimension_is_the_batch() {
        let input = tensor("x", 1, &[open("N"), Dim::Fixed(3)]);
        let output = tensor("y", 7, &[open("N"), open("found"), Dim::Fixed(4)]);
        let spec = model_spec(&[input], &[output], BatchSize(8)).unwrap();
        assert!(spec.batched);
        assert_eq!(spec.max_batch, BatchSize(8));
        assert_eq!(spec.inputs[0].shape, [3]);
        assert_eq!(spec.outputs[0].shape, [-1, 4]);
        assert_eq!(spec.outputs[0].data_type, DataType::I64);
    }

    #[test]
    fn a_fixed_model_takes_one_item() {
        let input = tensor("x", 1, &[Dim::Fixed(1), Dim::Fixed(3)]);
        let output = tensor("y", 1, &[Dim::Fixed(1)]);
        let spec = model_spec(&[input], &[output], BatchSize(8)).unwrap();
        assert!(!spec.batched);
        assert_eq!(spec.max_batch, BatchSize::ONE);
        assert_eq!(spec.inputs[0].shape, [1, 3]);
    }

    #[test]
    fn what_cannot_be_served_is_said() {
        let y = tensor("y", 1, &[open("N"), Dim::Fixed(1)]);
        let x = tensor("x", 1, &[open("N"), Dim::Fixed(1)]);
        let image = tensor("image", 1, &[open("N"), Dim::Fixed(3), open("height")]);
        let text = load_error(std::slice::from_ref(&image), std::slice::from_ref(&y));
        assert!(text.contains("'image'") && text.contains("[N, 3, height]"), "{text}");
        let empty = tensor("empty", 1, &[open("N"), Dim::Fixed(0)]);
        assert!(load_error(&[empty], std::slice::from_ref(&y)).contains("[N, 0]"));
        let threshold = tensor("threshold", 1, &[Dim::Fixed(1)]);
        let text = load_error(&[x.clone(), threshold], std::slice::from_ref(&y));
        assert!(text.contains("'threshold'") && text.contains("batch"), "{text}");
        let double = tensor("d", 11, &[open("N")]);
        let text = load_error(&[x.clone(), double], std::slice::from_ref(&y));
        assert!(text.contains("double") && text.contains("FP32"), "{text}");
        let unranked = Declared { name: "z".into(), element_type: 1, dims: None };
        assert!(load_error(std::slice::from_ref(&x), &[unranked]).contains("'z'"));
        assert!(load_error(&[], &[y]).contains("no inputs"));
    }
}
