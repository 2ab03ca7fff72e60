//! The smallest network that is of use: it doubles its input. For tests and benchmarks of all that
//! is around an engine.

use super::graph::{GraphBuilder, Network};
use super::onnx::tensor_proto::DataType;

/// `INPUT0` FP32 [16] to `OUTPUT0` FP32 [16] = 2 × `INPUT0`.
pub fn build() -> Network {
    let mut g = GraphBuilder::new("double", 0);
    let x = g.input("INPUT0", DataType::Float, &[16]);
    let two = g.constant("two", &[], &[2.0]);
    let y = g.node("Mul", &[x.name(), &two], &[], &[16]);
    g.output("OUTPUT0", &y);
    g.finish()
}
