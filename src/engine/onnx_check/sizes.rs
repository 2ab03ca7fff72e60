//! How large the results of nodes are, as far as that follows from the file.
//!
//! Engines evaluate at load what depends on constants alone, so a file of a hundred bytes can ask
//! for any amount of memory (a constant expanded to an absurd shape, a column added to a row).
//! Sizes are followed from node to node for one item: a symbolic dimension counts as one. Where an
//! operator is not understood, its result is taken to be as large as its largest input.

use super::cost::Cost;
use super::infer;
use super::nodes::within_result;
use super::{Dim, Refusal, tensors};
use crate::models::onnx::tensor_proto::DataType;
use crate::models::onnx::{NodeProto, TensorProto};
use std::collections::HashMap;

/// All results that depend on constants alone: they are computed at load and kept.
const MAX_CONSTANT_BYTES: u64 = 4 << 30;
/// Results are measured as if they were FP32.
pub const ELEMENT_BYTES: u64 = 4;
/// Longer constants are no shapes.
pub const MAX_VALUES: u64 = 512;

/// What is known of one tensor.
#[derive(Clone, Debug, Default)]
pub struct Size {
    /// For one item.
    pub elements: u64,
    /// `None`: not even the rank is known. A dimension of `None` is symbolic.
    pub dims: Option<Vec<Option<u64>>>,
    /// Depends on nothing but constants.
    pub constant: bool,
    /// The content, where it is integers and few.
    pub ints: Option<Vec<i64>>,
    /// The content, where it is floats and few.
    pub floats: Option<Vec<f32>>,
}

impl Size {
    pub fn of(dims: Vec<Option<u64>>) -> Size {
        let elements = dims.iter().fold(1u64, |n, dim| n.saturating_mul(dim.unwrap_or(1)));
        Size { elements, dims: Some(dims), ..Size::default() }
    }

    /// A vector, or with `rank` 0 a scalar, with this content.
    pub fn of_ints(ints: Vec<i64>, rank: usize) -> Size {
        let dims = if rank == 0 { Vec::new() } else { vec![Some(ints.len() as u64)] };
        Size { ints: Some(ints), constant: true, ..Size::of(dims) }
    }

    /// That many elements in no known shape.
    pub fn of_elements(elements: u64) -> Size {
        Size { elements, ..Size::default() }
    }

    /// The size of a constant.
    pub fn of_tensor(tensor: &TensorProto) -> Size {
        let dims = tensor.dims.iter().map(|&dim| u64::try_from(dim).ok()).collect();
        let mut size = Size { constant: true, ..Size::of(dims) };
        if size.elements <= MAX_VALUES {
            match DataType::try_from(tensor.data_type()) {
                Ok(DataType::Int64) => {
                    size.ints = Some(values(tensor, &tensor.int64_data, i64::from_le_bytes));
                }
                Ok(DataType::Int32) => {
                    let ints = values(tensor, &tensor.int32_data, i32::from_le_bytes);
                    size.ints = Some(ints.into_iter().map(i64::from).collect());
                }
                Ok(DataType::Float) => {
                    size.floats = Some(values(tensor, &tensor.float_data, f32::from_le_bytes));
                }
                _ => {}
            }
        }
        size
    }
}

fn values<T: Copy, const N: usize>(
    tensor: &TensorProto,
    typed: &[T],
    from_bytes: fn([u8; N]) -> T,
) -> Vec<T> {
    match &tensor.raw_data {
        Some(raw) => raw.as_chunks().0.iter().map(|&bytes| from_bytes(bytes)).collect(),
        None => typed.to_vec(),
    }
}

/// What is known of the tensors of a graph, and of those around it.
#[derive(Debug, Default)]
pub struct Sizes<'a> {
    outer: Option<&'a Sizes<'a>>,
    known: HashMap<String, Size>,
    constant_bytes: u64,
}

impl Sizes<'_> {
    /// For a graph inside a node of this one.
    pub fn inside(&self) -> Sizes<'_> {
        Sizes { outer: Some(self), known: HashMap::new(), constant_bytes: self.constant_bytes }
    }

    /// An input of the model.
    pub fn declare(&mut self, name: &str, dims: &[Dim]) -> Result<(), Refusal> {
        let dims = dims.iter().map(|dim| match dim {
            Dim::Fixed(size) => Some(u64::from(*size)),
            Dim::Symbolic(_) => None,
        });
        let size = Size::of(dims.collect());
        within_result(size.elements.saturating_mul(ELEMENT_BYTES))
            .map_err(|refusal| format!("input '{name}': {refusal}"))?;
        self.define(name, size)
    }

    /// A constant of the graph, which was checked before.
    pub fn constant(&mut self, tensor: &TensorProto) -> Result<(), Refusal> {
        self.define(tensor.name(), Size::of_tensor(tensor))
    }

    /// An input of a graph, of any size unless it was declared.
    pub fn unknown(&mut self, name: &str) {
        self.known.entry(name.into()).or_default();
    }

    /// A name has one meaning, else the sizes followed would not be those of the engine.
    fn define(&mut self, name: &str, size: Size) -> Result<(), Refusal> {
        match self.known.insert(name.into(), size) {
            None => Ok(()),
            Some(_) => Err(format!("'{name}' is defined twice in one graph")),
        }
    }

    /// What is known of the tensor of that name.
    pub fn get(&self, name: &str) -> Option<&Size> {
        self.known.get(name).or_else(|| self.outer.and_then(|outer| outer.get(name)))
    }

    /// Works out the results of a node and its cost; refuses results that are too large.
    pub fn apply(&mut self, node: &NodeProto) -> Result<Cost, Refusal> {
        let inputs = self.inputs(node)?;
        let constant = !inputs.is_empty() && inputs.iter().flatten().all(|input| input.constant);
        let results = (0..node.output.len()).map(|index| infer::result(node, index, &inputs));
        let results = results.collect::<Result<Vec<_>, _>>()?;
        let cost = Cost::of(node, &inputs, &results);
        for (name, mut size) in node.output.iter().zip(results) {
            size.constant |= constant;
            if size.elements > MAX_VALUES {
                size.ints = None;
            }
            let bytes = size.elements.saturating_mul(ELEMENT_BYTES);
            within_result(bytes)?;
            if constant {
                self.count_constant(bytes)?;
            }
            // An empty name is a result that nobody wants.
            if !name.is_empty() {
                self.define(name, size)?;
            }
        }
        Ok(cost)
    }

    fn count_constant(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.constant_bytes = self.constant_bytes.saturating_add(bytes);
        if self.constant_bytes > MAX_CONSTANT_BYTES {
            return Err(format!(
                "results that depend on constants alone take {} bytes up to here; \
                 at most {MAX_CONSTANT_BYTES}",
                self.constant_bytes
            ));
        }
        Ok(())
    }

    /// The node's inputs; `None` for an optional one that is left out.
    fn inputs(&self, node: &NodeProto) -> Result<Vec<Option<&Size>>, Refusal> {
        let find = |name: &String| {
            if name.is_empty() {
                return Ok(None);
            }
            let size = self.get(name);
            size.map(Some).ok_or_else(|| {
                format!("input '{name}' is no input, constant or result of an earlier node")
            })
        };
        node.input.iter().map(find).collect()
    }
}

/// The elements of a shape that a constant states; refuses a negative or uncountable one.
pub fn stated(shape: &[i64]) -> Result<Size, Refusal> {
    tensors::elements(shape)?;
    Ok(Size::of(shape.iter().map(|&dim| u64::try_from(dim).ok()).collect()))
}
