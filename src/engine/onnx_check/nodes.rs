//! A node's attributes: those that size memory or steer loops must be plausible.

use super::{MAX_DIM, MAX_RANK, MAX_RESULT_BYTES, Refusal};
use crate::models::onnx::{AttributeProto, NodeProto};
use std::ops::RangeInclusive;

/// A window of a convolution or pooling, and its padding. The largest in known networks is some
/// hundred wide.
const MAX_WINDOW: i64 = 4_096;
/// Groups of a convolution, block sizes, parts of a split, heads.
const MAX_COUNT: i64 = 1 << 20;
/// Factors of a resize.
const MAX_SCALE: f32 = 4_096.0;

pub fn check(node: &NodeProto, place: &str) -> Result<(), Refusal> {
    if node.op_type().is_empty() {
        return Err(format!("{place}: the node has no operator"));
    }
    for attribute in &node.attribute {
        check_attribute(node, attribute).map_err(|refusal| format!("{place}: {refusal}"))?;
    }
    Ok(())
}

fn check_attribute(node: &NodeProto, attribute: &AttributeProto) -> Result<(), Refusal> {
    let list = |range, len| ints_within(attribute, range, len);
    let axis = -(MAX_RANK as i64)..=MAX_RANK as i64;
    match (attribute.name(), node.op_type()) {
        ("kernel_shape" | "strides" | "dilations", _) => list(1..=MAX_WINDOW, MAX_RANK),
        // Pad crops where a pad is negative.
        ("pads" | "paddings", "Pad") => list(-MAX_WINDOW..=MAX_WINDOW, 2 * MAX_RANK),
        ("pads", _) => list(0..=MAX_WINDOW, 2 * MAX_RANK),
        ("output_padding", _) => list(0..=MAX_WINDOW, MAX_RANK),
        ("output_shape", _) => list(1..=MAX_DIM, MAX_RANK),
        (
            "group" | "blocksize" | "num_outputs" | "num_heads" | "hidden_size" | "sample_size",
            _,
        ) => int_within(attribute, 1..=MAX_COUNT),
        ("axis" | "batch_dims", _) => int_within(attribute, axis),
        ("axes" | "perm", _) => list(axis, MAX_RANK),
        ("shape", "RandomNormal" | "RandomUniform") => {
            let bytes = super::tensors::elements(&attribute.ints)?.saturating_mul(4);
            within_result(bytes)
        }
        ("scales" | "height_scale" | "width_scale", _) => scales(attribute),
        _ => Ok(()),
    }
}

fn ints_within(
    attribute: &AttributeProto,
    range: RangeInclusive<i64>,
    max_len: usize,
) -> Result<(), Refusal> {
    if attribute.ints.len() > max_len {
        let (name, len) = (attribute.name(), attribute.ints.len());
        return Err(format!("'{name}' has {len} entries; at most {max_len}"));
    }
    match attribute.ints.iter().find(|value| !range.contains(value)) {
        None => Ok(()),
        Some(value) => Err(outside(attribute.name(), value, &range)),
    }
}

fn int_within(attribute: &AttributeProto, range: RangeInclusive<i64>) -> Result<(), Refusal> {
    match attribute.i {
        Some(value) if !range.contains(&value) => Err(outside(attribute.name(), &value, &range)),
        _ => Ok(()),
    }
}

fn outside(name: &str, value: &i64, range: &RangeInclusive<i64>) -> Refusal {
    format!("'{name}' is {value}; {} to {} is allowed", range.start(), range.end())
}

fn scales(attribute: &AttributeProto) -> Result<(), Refusal> {
    match attribute.f.iter().chain(&attribute.floats).find(|&&scale| !plausible_scale(scale)) {
        None => Ok(()),
        Some(scale) => Err(format!(
            "'{}' is {scale}; more than 0 and at most {MAX_SCALE} is allowed",
            attribute.name()
        )),
    }
}

/// Whether a resize by this factor makes sense.
pub fn plausible_scale(scale: f32) -> bool {
    scale > 0.0 && scale <= MAX_SCALE
}

/// Refuses one result of more than the bound.
pub fn within_result(bytes: u64) -> Result<(), Refusal> {
    if bytes <= MAX_RESULT_BYTES {
        return Ok(());
    }
    Err(format!("the result takes {bytes} bytes for one item; at most {MAX_RESULT_BYTES}"))
}
