//! ResNet-18 (He et al. 2015), as torchvision builds it.

use super::graph::{GraphBuilder, Network, Value};
use super::layers::{Activation::*, Conv, Pool};
use super::onnx::tensor_proto::DataType;

/// `input` FP32 [3, 224, 224] to `logits` FP32 [1000].
pub fn build(seed: u64) -> Network {
    let mut g = GraphBuilder::new("resnet18", seed);
    let x = g.input("input", DataType::Float, &[3, 224, 224]);
    let x = g.conv("conv1", &x, Conv::new(64, 7, Relu).stride(2));
    let mut x = g.pool(&x, Pool::Max, 3, 2, 1);
    for (stage, channels) in [64, 128, 256, 512].into_iter().enumerate() {
        for block in 0..2 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let scope = format!("layer{}.{block}", stage + 1);
            x = g.scoped(&scope, |g| basic_block(g, &x, channels, stride));
        }
    }
    let x = g.global_average(&x);
    let x = g.flatten(&x);
    let x = g.linear("fc", &x, 1000, Identity);
    g.output("logits", &x);
    g.finish()
}

fn basic_block(g: &mut GraphBuilder, x: &Value, channels: usize, stride: usize) -> Value {
    let y = g.conv("conv1", x, Conv::new(channels, 3, Relu).stride(stride));
    let y = g.conv("conv2", &y, Conv::new(channels, 3, Identity));
    let shortcut = if stride == 1 {
        x.clone()
    } else {
        g.conv("downsample", x, Conv::new(channels, 1, Identity).stride(stride))
    };
    let sum = g.binary("Add", &y, &shortcut);
    g.activate(&sum, Relu)
}
