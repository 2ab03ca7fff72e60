//! What one run of a graph costs, whatever runs it: read off the operators and their shapes.

use super::infer::{dims, input, int};
use super::sizes::{ELEMENT_BYTES, Size};
use crate::models::onnx::NodeProto;
use std::ops::AddAssign;

/// Work of one item, as far as it follows from the file; a symbolic dimension counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Of convolutions, matrix products and recurrent cells. One multiply-add is two FLOPs.
    pub multiply_adds: u64,
    /// Read and written by all nodes, without constants, as if every element were FP32.
    pub activation_bytes: u64,
    /// Nodes that compute something when the model runs.
    pub kernels: u64,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.multiply_adds = self.multiply_adds.saturating_add(other.multiply_adds);
        self.activation_bytes = self.activation_bytes.saturating_add(other.activation_bytes);
        self.kernels = self.kernels.saturating_add(other.kernels);
    }
}

impl Cost {
    /// Of one node; nested graphs are for the caller to add.
    pub(super) fn of(node: &NodeProto, inputs: &[Option<&Size>], results: &[Size]) -> Cost {
        let at_load = inputs.iter().flatten().all(|input| input.constant);
        if at_load || is_view(node.op_type()) {
            return Cost::default();
        }
        let read = inputs.iter().flatten().filter(|input| !input.constant);
        let moved = read.map(|input| input.elements).chain(results.iter().map(|r| r.elements));
        let elements = moved.fold(0u64, u64::saturating_add);
        let result = results.first().map_or(0, |result| result.elements);
        Cost {
            multiply_adds: multiply_adds(node, inputs, result).unwrap_or(0),
            activation_bytes: elements.saturating_mul(ELEMENT_BYTES),
            kernels: 1,
        }
    }
}

/// Operators that only look at the same bytes in another way, or not at all.
fn is_view(name: &str) -> bool {
    matches!(
        name,
        "Reshape"
            | "Flatten"
            | "Squeeze"
            | "Unsqueeze"
            | "Identity"
            | "Dropout"
            | "Shape"
            | "Size"
            | "Constant"
    )
}

/// `result` is the number of elements of the first result. `None` where shapes are not known, and
/// for operators that multiply no matrices.
fn multiply_adds(node: &NodeProto, inputs: &[Option<&Size>], result: u64) -> Option<u64> {
    // Of a filter [out, in / groups, …] as much is applied for each element of the result.
    let filter = |place: usize| -> Option<u64> {
        dims(inputs, place)?
            .get(1..)?
            .iter()
            .try_fold(1u64, |n, dim| Some(n.saturating_mul((*dim)?)))
    };
    let last = |place: usize| dims(inputs, place)?.last().copied().flatten();
    let elements = |place: usize| input(inputs, place).map(|input| input.elements);
    let (times, each) = match node.op_type() {
        "Conv" | "ConvInteger" => (result, filter(1)?),
        "QLinearConv" => (result, filter(3)?),
        // Each element of the input goes into as many of the result.
        "ConvTranspose" => (elements(0)?, filter(1)?),
        "MatMul" | "MatMulInteger" | "QLinearMatMul" => (result, last(0)?),
        "Gemm" if int(node, "transA", 0) == 0 => (result, last(0)?),
        "Gemm" => (result, dims(inputs, 0)?.first().copied().flatten()?),
        // Both matrices are applied in each step of the sequence, which comes first.
        "LSTM" | "GRU" | "RNN" => {
            let steps = dims(inputs, 0)?.first().copied().flatten().unwrap_or(1);
            (steps, elements(1)?.saturating_add(elements(2)?))
        }
        _ => return None,
    };
    Some(times.saturating_mul(each))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::graph::GraphBuilder;
    use crate::models::layers::{Activation, Conv, Pool};
    use crate::models::onnx::{AttributeProto, tensor_proto::DataType};
    use crate::models::{file, onnx};
    use prost::Message;

    fn cost(graph: GraphBuilder) -> Cost {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, file::to_bytes(&graph.finish())).unwrap();
        super::super::check(&path).unwrap().cost
    }

    #[test]
    fn convolutions_and_products_are_counted_by_what_they_multiply() {
        let mut g = GraphBuilder::new("convolutions", 1);
        let x = g.input("x", DataType::Float, &[4, 10, 10]);
        let x = g.conv("a", &x, Conv::new(8, 3, Activation::Relu).stride(2));
        let x = g.conv("b", &x, Conv::new(8, 3, Activation::Identity).groups(8));
        let x = g.pool(&x, Pool::Max, 5, 5, 0);
        let x = g.flatten(&x);
        let x = g.linear("c", &x, 3, Activation::Identity);
        g.output("y", &x);
        let found = cost(g);
        let (a, b, c) = (8 * 5 * 5 * 4 * 9, 8 * 5 * 5 * 9, 8 * 3);
        assert_eq!(found.multiply_adds, a + b + c);
        // Convolution, activation, convolution, pooling, product; flattening moves nothing.
        assert_eq!(found.kernels, 5);
        let elements = (400 + 200) + (200 + 200) + (200 + 200) + (200 + 8) + (8 + 3);
        assert_eq!(found.activation_bytes, 4 * elements);
    }

    #[test]
    fn a_sequence_of_matrices_is_counted_for_each_row() {
        let mut g = GraphBuilder::new("matrices", 1);
        let x = g.input("x", DataType::Float, &[16, 12]);
        let y = g.linear("a", &x, 20, Activation::Identity);
        g.output("y", &y);
        let found = cost(g);
        // The product, and the bias.
        assert_eq!((found.multiply_adds, found.kernels), (16 * 12 * 20, 2));
    }

    /// A file whose one node is `op_type` of inputs with these shapes, then constants.
    fn one(op_type: &str, shapes: &[&[u64]], result: u64, ints: &[(&str, i64)]) -> Option<u64> {
        let node = NodeProto {
            op_type: Some(op_type.into()),
            attribute: ints
                .iter()
                .map(|&(name, value)| AttributeProto {
                    name: Some(name.into()),
                    i: Some(value),
                    ..AttributeProto::default()
                })
                .collect(),
            ..NodeProto::default()
        };
        let sizes: Vec<Size> = shapes
            .iter()
            .map(|shape| Size::of(shape.iter().map(|&dim| Some(dim)).collect()))
            .collect();
        let inputs: Vec<Option<&Size>> = sizes.iter().map(Some).collect();
        multiply_adds(&node, &inputs, result)
    }

    #[test]
    fn every_operator_that_multiplies_matrices_is_known() {
        assert_eq!(one("Gemm", &[&[2, 3], &[3, 5]], 10, &[]), Some(30));
        assert_eq!(one("Gemm", &[&[3, 2], &[3, 5]], 10, &[("transA", 1)]), Some(30));
        assert_eq!(one("MatMulInteger", &[&[7, 2, 3], &[3, 5]], 70, &[]), Some(210));
        assert_eq!(one("QLinearMatMul", &[&[2, 3], &[], &[], &[3, 5]], 10, &[]), Some(30));
        assert_eq!(
            one("QLinearConv", &[&[1, 4, 5, 5], &[], &[], &[8, 4, 3, 3]], 200, &[]),
            Some(200 * 36)
        );
        assert_eq!(one("ConvTranspose", &[&[1, 4, 5, 5], &[4, 8, 3, 3]], 0, &[]), Some(100 * 72));
        assert_eq!(
            one("LSTM", &[&[9, 1, 4], &[1, 12, 4], &[1, 12, 3]], 0, &[]),
            Some(9 * (48 + 36))
        );
        assert_eq!(one("Relu", &[&[9]], 9, &[]), None);
        assert_eq!(one("MatMul", &[], 9, &[]), None, "shapes that are not known");
        let absurd = one("MatMul", &[&[1, u64::MAX], &[1]], u64::MAX, &[]);
        assert_eq!(absurd, Some(u64::MAX), "it saturates");
    }

    #[test]
    fn what_is_computed_at_load_costs_nothing() {
        let double = onnx::ModelProto::decode(&crate::models::double()[..]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, double.encode_to_vec()).unwrap();
        let found = super::super::check(&path).unwrap().cost;
        // One product of elements, by a constant.
        let expected = Cost { multiply_adds: 0, activation_bytes: 4 * 32, kernels: 1 };
        assert_eq!(found, expected);
    }
}
