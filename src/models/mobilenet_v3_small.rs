//! MobileNetV3-small (Howard et al. 2019), as torchvision builds it.

use super::graph::{GraphBuilder, Network, Value};
use super::layers::{AFTER_GATE, Activation, Activation::*, Conv};
use super::onnx::tensor_proto::DataType;

/// One inverted residual: depthwise kernel, expanded and output channels, gated or not, …
struct Block(usize, usize, usize, bool, Activation, usize);

/// Table 2 of the paper.
const BLOCKS: [Block; 11] = [
    Block(3, 16, 16, true, Relu, 2),
    Block(3, 72, 24, false, Relu, 2),
    Block(3, 88, 24, false, Relu, 1),
    Block(5, 96, 40, true, HardSwish, 2),
    Block(5, 240, 40, true, HardSwish, 1),
    Block(5, 240, 40, true, HardSwish, 1),
    Block(5, 120, 48, true, HardSwish, 1),
    Block(5, 144, 48, true, HardSwish, 1),
    Block(5, 288, 96, true, HardSwish, 2),
    Block(5, 576, 96, true, HardSwish, 1),
    Block(5, 576, 96, true, HardSwish, 1),
];

/// `input` FP32 [3, 224, 224] to `logits` FP32 [1000].
pub fn build(seed: u64) -> Network {
    let mut g = GraphBuilder::new("mobilenet_v3_small", seed);
    let x = g.input("input", DataType::Float, &[3, 224, 224]);
    let mut x = g.conv("features.0", &x, Conv::new(16, 3, HardSwish).stride(2));
    for (index, block) in BLOCKS.iter().enumerate() {
        x = g.scoped(&format!("features.{}", index + 1), |g| inverted_residual(g, &x, block));
    }
    let x = g.conv("features.12", &x, Conv::new(576, 1, HardSwish));
    let x = g.global_average(&x);
    let x = g.flatten(&x);
    let x = g.linear("classifier.0", &x, 1024, HardSwish);
    let x = g.linear("classifier.3", &x, 1000, Identity);
    g.output("logits", &x);
    g.finish()
}

fn inverted_residual(g: &mut GraphBuilder, x: &Value, block: &Block) -> Value {
    let &Block(kernel, expanded, out, gated, activation, stride) = block;
    let mut y = x.clone();
    if expanded != x.channels() {
        y = g.conv("expand", &y, Conv::new(expanded, 1, activation));
    }
    let depthwise = Conv::new(expanded, kernel, activation).stride(stride).groups(expanded);
    y = g.conv("depthwise", &y, depthwise);
    let mut project = Conv::new(out, 1, Identity);
    if gated {
        y = g.squeeze_excite(&y, multiple_of_8(expanded / 4), Relu, HardSigmoid);
        project = project.amplified(AFTER_GATE);
    }
    y = g.conv("project", &y, project);
    if stride == 1 && out == x.channels() { g.binary("Add", &y, x) } else { y }
}

/// The nearest multiple of 8, but not less than nine tenths of `channels`.
fn multiple_of_8(channels: usize) -> usize {
    let rounded = (channels + 4) / 8 * 8;
    let rounded = rounded.max(8);
    if rounded * 10 < channels * 9 { rounded + 8 } else { rounded }
}
