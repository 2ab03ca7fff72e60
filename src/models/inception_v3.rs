//! Inception-v3 (Szegedy et al. 2015), as torchvision builds it, without the auxiliary head.

use super::graph::{GraphBuilder, Network, Value};
use super::layers::{Activation::Relu, Conv, Pool};
use super::onnx::tensor_proto::DataType;

/// `input` FP32 [3, 299, 299] to `logits` FP32 [1000].
pub fn build(seed: u64) -> Network {
    let mut g = GraphBuilder::new("inception_v3", seed);
    let x = g.input("input", DataType::Float, &[3, 299, 299]);
    let mut x = stem(&mut g, &x);
    for (name, pooled) in [("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)] {
        x = g.scoped(name, |g| mixed_35x35(g, &x, pooled));
    }
    x = g.scoped("Mixed_6a", |g| reduce_to_17x17(g, &x));
    for (name, inner) in
        [("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)]
    {
        x = g.scoped(name, |g| mixed_17x17(g, &x, inner));
    }
    x = g.scoped("Mixed_7a", |g| reduce_to_8x8(g, &x));
    for name in ["Mixed_7b", "Mixed_7c"] {
        x = g.scoped(name, |g| mixed_8x8(g, &x));
    }
    let x = g.global_average(&x);
    let x = g.flatten(&x);
    let x = g.linear("fc", &x, 1000, super::layers::Activation::Identity);
    g.output("logits", &x);
    g.finish()
}

/// A convolution that keeps the size.
fn same(out_channels: usize, kernel: [usize; 2]) -> Conv {
    Conv::with_kernel(out_channels, kernel, Relu)
}

/// A convolution without padding.
fn valid(out_channels: usize, kernel: usize, stride: usize) -> Conv {
    Conv::new(out_channels, kernel, Relu).stride(stride).pad(0)
}

/// Convolutions one after the other, named `name_1`, `name_2`, …
fn chain<const N: usize>(g: &mut GraphBuilder, name: &str, x: &Value, convs: [Conv; N]) -> Value {
    let mut y = x.clone();
    for (index, conv) in convs.into_iter().enumerate() {
        y = g.conv(&format!("{name}_{}", index + 1), &y, conv);
    }
    y
}

fn stem(g: &mut GraphBuilder, x: &Value) -> Value {
    let convs = [valid(32, 3, 2), valid(32, 3, 1), same(64, [3, 3])];
    let x = chain(g, "Conv2d_a", x, convs);
    let x = g.pool(&x, Pool::Max, 3, 2, 0);
    let x = chain(g, "Conv2d_b", &x, [same(80, [1, 1]), valid(192, 3, 1)]);
    g.pool(&x, Pool::Max, 3, 2, 0)
}

fn pooled(g: &mut GraphBuilder, x: &Value, channels: usize) -> Value {
    let mean = g.pool(x, Pool::Average, 3, 1, 1);
    g.conv("branch_pool", &mean, same(channels, [1, 1]))
}

fn mixed_35x35(g: &mut GraphBuilder, x: &Value, pool_channels: usize) -> Value {
    let a = chain(g, "branch1x1", x, [same(64, [1, 1])]);
    let b = chain(g, "branch5x5", x, [same(48, [1, 1]), same(64, [5, 5])]);
    let convs = [same(64, [1, 1]), same(96, [3, 3]), same(96, [3, 3])];
    let c = chain(g, "branch3x3dbl", x, convs);
    let d = pooled(g, x, pool_channels);
    g.concat(&[&a, &b, &c, &d])
}

fn reduce_to_17x17(g: &mut GraphBuilder, x: &Value) -> Value {
    let a = chain(g, "branch3x3", x, [valid(384, 3, 2)]);
    let convs = [same(64, [1, 1]), same(96, [3, 3]), valid(96, 3, 2)];
    let b = chain(g, "branch3x3dbl", x, convs);
    let c = g.pool(x, Pool::Max, 3, 2, 0);
    g.concat(&[&a, &b, &c])
}

fn mixed_17x17(g: &mut GraphBuilder, x: &Value, inner: usize) -> Value {
    let a = chain(g, "branch1x1", x, [same(192, [1, 1])]);
    let convs = [same(inner, [1, 1]), same(inner, [1, 7]), same(192, [7, 1])];
    let b = chain(g, "branch7x7", x, convs);
    let convs = [
        same(inner, [1, 1]),
        same(inner, [7, 1]),
        same(inner, [1, 7]),
        same(inner, [7, 1]),
        same(192, [1, 7]),
    ];
    let c = chain(g, "branch7x7dbl", x, convs);
    let d = pooled(g, x, 192);
    g.concat(&[&a, &b, &c, &d])
}

fn reduce_to_8x8(g: &mut GraphBuilder, x: &Value) -> Value {
    let a = chain(g, "branch3x3", x, [same(192, [1, 1]), valid(320, 3, 2)]);
    let convs = [same(192, [1, 1]), same(192, [1, 7]), same(192, [7, 1]), valid(192, 3, 2)];
    let b = chain(g, "branch7x7x3", x, convs);
    let c = g.pool(x, Pool::Max, 3, 2, 0);
    g.concat(&[&a, &b, &c])
}

fn mixed_8x8(g: &mut GraphBuilder, x: &Value) -> Value {
    let a = chain(g, "branch1x1", x, [same(320, [1, 1])]);
    let b = chain(g, "branch3x3", x, [same(384, [1, 1])]);
    let b = split_3x3(g, "branch3x3", &b);
    let c = chain(g, "branch3x3dbl", x, [same(448, [1, 1]), same(384, [3, 3])]);
    let c = split_3x3(g, "branch3x3dbl", &c);
    let d = pooled(g, x, 192);
    g.concat(&[&a, &b, &c, &d])
}

/// A row and a column kernel side by side.
fn split_3x3(g: &mut GraphBuilder, name: &str, x: &Value) -> Value {
    let row = g.conv(&format!("{name}_row"), x, same(384, [1, 3]));
    let column = g.conv(&format!("{name}_column"), x, same(384, [3, 1]));
    g.concat(&[&row, &column])
}
