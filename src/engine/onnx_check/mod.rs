//! The admission check of an ONNX file, before any engine loads it.
//!
//! An engine trusts sizes that a file states: an absurd one makes it ask for an absurd amount of
//! memory, and a failed allocation aborts the process with all its models. So everything that sizes
//! memory is looked at first. Weights are passed over, not read: the check of a 100 MB model takes
//! about a millisecond.
//!
//! What is bounded: the file's structure (messages, nodes, nesting), every tensor against the bytes
//! that are there for it, every size among the attributes, and the results of nodes as far as their
//! size follows from the file alone ([`sizes`]). A result whose size depends on a request's content
//! cannot be bounded here.

mod cost;
mod infer;
mod layout;
mod nodes;
mod reader;
mod sizes;
mod tensors;
mod windows;

pub use cost::Cost;

use super::{DataType, EngineError};
use crate::models::onnx::{
    GraphProto, ModelProto, TensorProto, ValueInfoProto, tensor_proto,
    tensor_shape_proto::dimension,
};
use sizes::Sizes;
use std::collections::HashSet;
use std::path::Path;

/// Dimensions of one tensor.
const MAX_RANK: usize = 16;
/// One dimension: engines count with 32 bits.
const MAX_DIM: i64 = i32::MAX as i64;
/// One intermediate result of one item.
const MAX_RESULT_BYTES: u64 = 1 << 30;
/// All weights of a model.
const MAX_WEIGHT_BYTES: u64 = 16 << 30;

/// What an admitted file says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxModel {
    /// What a run must be given, in the file's order.
    pub inputs: Vec<OnnxValue>,
    pub outputs: Vec<OnnxValue>,
    /// Bytes of all constants as stored, those in external files included.
    pub weight_bytes: u64,
    /// Version of the standard operators.
    pub opset: i64,
    /// Nodes, those of nested graphs included.
    pub nodes: usize,
    /// Of one item.
    pub cost: Cost,
}

/// An input or output as the file declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxValue {
    pub name: String,
    pub data_type: DataType,
    pub dims: Vec<Dim>,
}

/// One dimension of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    Fixed(u32),
    /// Known only when it runs; the name may be empty.
    Symbolic(String),
}

/// Why a file is not admitted. Names what was found where, and what the bound is.
pub(crate) type Refusal = String;

/// Checks the model file at `path`.
///
/// # Errors
/// [`EngineError::Load`] with the file's name, the place in it, what was found and what is allowed.
pub fn check(path: &Path) -> Result<OnnxModel, EngineError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    reader::read(path)
        .and_then(|model| check_model(&model, folder))
        .map_err(|refusal| EngineError::Load(format!("{}: {refusal}", path.display())))
}

fn check_model(model: &ModelProto, folder: &Path) -> Result<OnnxModel, Refusal> {
    let opset = model
        .opset_import
        .iter()
        .find(|import| matches!(import.domain(), "" | "ai.onnx"))
        .ok_or("no opset_import for the standard operators: this is no complete ONNX model")?
        .version();
    let graph = model.graph.as_ref().ok_or("the model has no graph")?;
    let mut checker = Checker { folder, weight_bytes: 0, nodes: 0, cost: Cost::default() };
    let inputs = runtime_inputs(graph)?;
    let outputs = graph.output.iter().map(declared).collect::<Result<Vec<_>, _>>()?;
    if outputs.is_empty() {
        return Err("the graph has no output".into());
    }
    let mut sizes = Sizes::default();
    for input in &inputs {
        sizes.declare(&input.name, &input.dims)?;
    }
    checker.graph(graph, &mut sizes)?;
    Ok(OnnxModel {
        inputs,
        outputs,
        weight_bytes: checker.weight_bytes,
        opset,
        nodes: checker.nodes,
        cost: checker.cost,
    })
}

/// Inputs that are no initializers: old files list those among the inputs too.
fn runtime_inputs(graph: &GraphProto) -> Result<Vec<OnnxValue>, Refusal> {
    let constants: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
    graph.input.iter().filter(|input| !constants.contains(input.name())).map(declared).collect()
}

fn declared(value: &ValueInfoProto) -> Result<OnnxValue, Refusal> {
    let name = value.name();
    if name.is_empty() {
        return Err("an input or output of the graph has no name".into());
    }
    let tensor = value
        .r#type
        .as_ref()
        .and_then(|kind| kind.tensor_type.as_ref())
        .ok_or_else(|| format!("'{name}' is not a tensor; inputs and outputs must be"))?;
    let data_type = wire_type(tensor.elem_type()).ok_or_else(|| {
        let names = DataType::ALL.map(DataType::name).join(", ");
        format!("'{name}' has element type {}; supported are {names}", tensor.elem_type())
    })?;
    let shape = tensor.shape.as_ref().ok_or_else(|| format!("'{name}' has no shape"))?;
    if shape.dim.len() > MAX_RANK {
        return Err(format!("'{name}' has {} dimensions; at most {MAX_RANK}", shape.dim.len()));
    }
    let dims = shape.dim.iter().map(|dim| match &dim.value {
        // Some exporters write -1 or 0 for a dimension that is not known.
        Some(dimension::Value::DimValue(-1 | 0)) | None => Ok(Dim::Symbolic(String::new())),
        Some(dimension::Value::DimParam(name)) => Ok(Dim::Symbolic(name.clone())),
        Some(dimension::Value::DimValue(size)) => u32::try_from(*size)
            .ok()
            .filter(|&size| i64::from(size) <= MAX_DIM)
            .map(Dim::Fixed)
            .ok_or_else(|| format!("'{name}' has a dimension of {size}; 1 to {MAX_DIM}")),
    });
    Ok(OnnxValue { name: name.into(), data_type, dims: dims.collect::<Result<_, _>>()? })
}

/// The type of an input or output that travels on the wire.
fn wire_type(elem_type: i32) -> Option<DataType> {
    use tensor_proto::DataType as Onnx;
    Some(match Onnx::try_from(elem_type).ok()? {
        Onnx::Float => DataType::F32,
        Onnx::Float16 => DataType::F16,
        Onnx::Int64 => DataType::I64,
        Onnx::Int32 => DataType::I32,
        Onnx::Int8 => DataType::I8,
        Onnx::Uint8 => DataType::U8,
        Onnx::Bool => DataType::Bool,
        _ => return None,
    })
}

/// Walks the graphs of a model and adds up.
struct Checker<'a> {
    /// Where external data must be.
    folder: &'a Path,
    weight_bytes: u64,
    nodes: usize,
    cost: Cost,
}

impl Checker<'_> {
    /// `sizes` knows what the graph may refer to from outside. Nesting is bounded by the reader.
    fn graph(&mut self, graph: &GraphProto, sizes: &mut Sizes) -> Result<(), Refusal> {
        for tensor in &graph.initializer {
            self.tensor(tensor, &format!("initializer '{}'", tensor.name()))?;
            sizes.constant(tensor)?;
        }
        for input in &graph.input {
            sizes.unknown(input.name());
        }
        for (index, node) in graph.node.iter().enumerate() {
            self.nodes += 1;
            let place = if node.name().is_empty() {
                format!("node {index} ({})", node.op_type())
            } else {
                format!("node '{}' ({})", node.name(), node.op_type())
            };
            nodes::check(node, &place)?;
            for attribute in &node.attribute {
                let place = format!("{place}, attribute '{}'", attribute.name());
                for tensor in attribute.t.iter().chain(&attribute.tensors) {
                    self.tensor(tensor, &place)?;
                }
                for graph in attribute.g.iter().chain(&attribute.graphs) {
                    self.graph(graph, &mut sizes.inside())?;
                }
            }
            self.cost += sizes.apply(node).map_err(|refusal| format!("{place}: {refusal}"))?;
        }
        Ok(())
    }

    fn tensor(&mut self, tensor: &TensorProto, place: &str) -> Result<(), Refusal> {
        let bytes =
            tensors::check(tensor, self.folder).map_err(|refusal| format!("{place}: {refusal}"))?;
        self.weight_bytes = self.weight_bytes.saturating_add(bytes);
        if self.weight_bytes > MAX_WEIGHT_BYTES {
            return Err(format!(
                "{place}: constants up to here take {} bytes; at most {MAX_WEIGHT_BYTES}",
                self.weight_bytes
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
