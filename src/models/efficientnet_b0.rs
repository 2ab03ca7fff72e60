//! EfficientNet-B0 (Tan and Le 2019), as torchvision builds it.

use super::graph::{GraphBuilder, Network, Value};
use super::layers::{AFTER_GATE, Activation::*, Conv};
use super::onnx::tensor_proto::DataType;

/// One stage: expansion, depthwise kernel, stride of its first block, output channels, blocks.
struct Stage(usize, usize, usize, usize, usize);

/// Table 1 of the paper.
const STAGES: [Stage; 7] = [
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
];

/// `input` FP32 [3, 224, 224] to `logits` FP32 [1000].
pub fn build(seed: u64) -> Network {
    let mut g = GraphBuilder::new("efficientnet_b0", seed);
    let x = g.input("input", DataType::Float, &[3, 224, 224]);
    let mut x = g.conv("features.0", &x, Conv::new(32, 3, Silu).stride(2));
    for (index, stage) in STAGES.iter().enumerate() {
        for block in 0..stage.4 {
            let stride = if block == 0 { stage.2 } else { 1 };
            let scope = format!("features.{}.{block}", index + 1);
            x = g.scoped(&scope, |g| mb_conv(g, &x, stage, stride));
        }
    }
    let x = g.conv("features.8", &x, Conv::new(1280, 1, Silu));
    let x = g.global_average(&x);
    let x = g.flatten(&x);
    let x = g.linear("classifier.1", &x, 1000, Identity);
    g.output("logits", &x);
    g.finish()
}

fn mb_conv(g: &mut GraphBuilder, x: &Value, stage: &Stage, stride: usize) -> Value {
    let &Stage(expansion, kernel, _, out, _) = stage;
    let expanded = x.channels() * expansion;
    let mut y = x.clone();
    if expansion != 1 {
        y = g.conv("expand", &y, Conv::new(expanded, 1, Silu));
    }
    let depthwise = Conv::new(expanded, kernel, Silu).stride(stride).groups(expanded);
    y = g.conv("depthwise", &y, depthwise);
    y = g.squeeze_excite(&y, (x.channels() / 4).max(1), Silu, Sigmoid);
    y = g.conv("project", &y, Conv::new(out, 1, Identity).amplified(AFTER_GATE));
    if stride == 1 && out == x.channels() { g.binary("Add", &y, x) } else { y }
}
