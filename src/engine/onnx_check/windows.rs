//! The size of what a convolution or a pooling gives.

use super::infer::{Dims, attribute, dims, int};
use super::sizes::Size;
use crate::models::onnx::NodeProto;

/// Entry `index` of a list attribute.
fn entry(node: &NodeProto, name: &str, index: usize, default: u64) -> u64 {
    attribute(node, name)
        .and_then(|attribute| attribute.ints.get(index))
        .and_then(|&value| u64::try_from(value).ok())
        .unwrap_or(default)
}

/// Size along spatial axis `index` of `rank` after a window has passed over it.
fn after_window(node: &NodeProto, size: u64, kernel: u64, index: usize, rank: usize) -> u64 {
    let stride = entry(node, "strides", index, 1).max(1);
    let extent = entry(node, "dilations", index, 1).saturating_mul(kernel.saturating_sub(1)) + 1;
    let pads = entry(node, "pads", index, 0) + entry(node, "pads", rank + index, 0);
    if node.op_type() == "ConvTranspose" {
        let grown = stride.saturating_mul(size.saturating_sub(1));
        return grown.saturating_add(extent) + entry(node, "output_padding", index, 0);
    }
    let steps = size.saturating_add(pads).saturating_sub(extent);
    let round_up = int(node, "ceil_mode", 0) != 0;
    let valid = if round_up { steps.div_ceil(stride) } else { steps / stride } + 1;
    // Padding to the same size is worked out by the engine.
    if attribute(node, "auto_pad").is_some() { valid.max(size.div_ceil(stride)) } else { valid }
}

fn windowed(
    node: &NodeProto,
    input: &Dims,
    channels: Option<u64>,
    kernel: impl Fn(usize) -> Option<u64>,
) -> Option<Size> {
    let [batch, _, spatial @ ..] = &input[..] else { return None };
    let mut shape = vec![*batch, channels];
    for (index, size) in spatial.iter().enumerate() {
        let kernel = kernel(index)?;
        shape.push(size.map(|size| after_window(node, size, kernel, index, spatial.len())));
    }
    Some(Size::of(shape))
}

pub fn convolution(node: &NodeProto, inputs: &[Option<&Size>]) -> Option<Size> {
    let weight = dims(inputs, 1)?;
    let group = int(node, "group", 1).max(1) as u64;
    let channels = if node.op_type() == "ConvTranspose" {
        weight.get(1).copied().flatten().map(|channels| channels.saturating_mul(group))
    } else {
        weight.first().copied().flatten()
    };
    windowed(node, dims(inputs, 0)?, channels, |index| weight.get(index + 2).copied().flatten())
}

pub fn pooling(node: &NodeProto, inputs: &[Option<&Size>]) -> Option<Size> {
    let input = dims(inputs, 0)?;
    let channels = input.get(1).copied().flatten();
    windowed(node, input, channels, |index| Some(entry(node, "kernel_shape", index, 1)))
}

pub fn global_pooling(inputs: &[Option<&Size>]) -> Option<Size> {
    let dims = dims(inputs, 0)?;
    Some(Size::of(
        dims.iter().enumerate().map(|(at, d)| if at < 2 { *d } else { Some(1) }).collect(),
    ))
}
