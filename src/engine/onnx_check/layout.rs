//! The size of what an operator gives that moves elements or joins tensors, and the content where
//! that is the numbers of a shape.

use super::Refusal;
use super::infer::{Dims, attribute, axis, dims, input, int, ints};
use super::nodes::within_result;
use super::sizes::{ELEMENT_BYTES, MAX_VALUES, Size};
use crate::models::onnx::NodeProto;

pub fn shape(node: &NodeProto, inputs: &[Option<&Size>]) -> Option<Size> {
    let dims = dims(inputs, 0)?;
    let whole = attribute(node, "start").is_none() && attribute(node, "end").is_none();
    let fixed: Option<Vec<i64>> = dims.iter().map(|dim| dim.map(|dim| dim as i64)).collect();
    match fixed.filter(|_| whole) {
        Some(values) => Some(Size::of_ints(values, 1)),
        None => Some(Size::of_elements(dims.len() as u64)),
    }
}

pub fn concat(node: &NodeProto, inputs: &[Option<&Size>]) -> Option<Size> {
    let parts: Vec<&Size> = inputs.iter().copied().collect::<Option<_>>()?;
    let sum = parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.elements));
    let mut size = Size::of_elements(sum);
    if sum <= MAX_VALUES {
        let contents: Option<Vec<&[i64]>> = parts.iter().map(|part| part.ints.as_deref()).collect();
        size.ints = contents.map(|contents| contents.concat());
    }
    let shapes: Option<Vec<&Dims>> = parts.iter().map(|part| part.dims.as_ref()).collect();
    if let Some(shapes) = shapes
        && let Some(first) = shapes.first()
        && let Some(axis) = axis(int(node, "axis", 0), first.len())
        && shapes.iter().all(|shape| shape.len() == first.len())
    {
        let mut joined = (*first).clone();
        joined[axis] = shapes
            .iter()
            .map(|shape| shape[axis])
            .try_fold(0u64, |sum, dim| Some(sum.saturating_add(dim?)));
        size.dims = Some(joined);
    }
    Some(size)
}

/// Keeps the elements; an engine refuses a shape that does not, if its dimensions can be counted.
pub fn reshape(inputs: &[Option<&Size>]) -> Result<Option<Size>, Refusal> {
    let (Some(from), Some(shape)) = (input(inputs, 0), ints(inputs, 1)) else { return Ok(None) };
    if shape.iter().any(|&dim| dim < -1) || shape.iter().filter(|&&dim| dim == -1).count() > 1 {
        return Err(format!(
            "a shape of {shape:?}; sizes, 0 (kept) and one -1 (the rest) may be in it"
        ));
    }
    let dims = shape.iter().enumerate().map(|(index, &dim)| match dim {
        0 => from.dims.as_ref().and_then(|dims| dims.get(index).copied()).flatten(),
        dim => u64::try_from(dim).ok(),
    });
    let mut dims: Dims = dims.collect();
    let stated = Size::of(dims.clone()).elements;
    within_result(stated.saturating_mul(ELEMENT_BYTES))?;
    // With a symbolic batch the open dimension is the batch; without one it is what is left.
    let symbolic = from.dims.as_ref().is_none_or(|dims| dims.contains(&None));
    let open = dims.iter().position(Option::is_none);
    if let Some(at) = open.filter(|_| !symbolic && stated > 0) {
        dims[at] = Some(from.elements / stated);
    }
    Ok(Some(Size {
        elements: from.elements,
        dims: Some(dims),
        ints: from.ints.clone(),
        ..Size::default()
    }))
}

pub fn unsqueeze(node: &NodeProto, inputs: &[Option<&Size>]) -> Option<Size> {
    let from = input(inputs, 0)?;
    let axes = ints(inputs, 1).or(attribute(node, "axes").map(|axes| axes.ints.as_slice()));
    let grown = || {
        let (mut dims, axes) = (from.dims.clone()?, axes?);
        let rank = dims.len() + axes.len();
        let mut axes: Vec<usize> = axes.iter().map(|&at| axis(at, rank)).collect::<Option<_>>()?;
        axes.sort_unstable();
        for at in axes {
            (at <= dims.len()).then(|| dims.insert(at, Some(1)))?;
        }
        Some(dims)
    };
    Some(Size { dims: grown(), ..from.clone() })
}

/// Part `index`: as a constant says, or all parts alike.
pub fn split(node: &NodeProto, index: usize, inputs: &[Option<&Size>]) -> Option<Size> {
    let from = dims(inputs, 0)?;
    let at = axis(int(node, "axis", 0), from.len())?;
    let parts = ints(inputs, 1).or(attribute(node, "split").map(|split| split.ints.as_slice()));
    let part = match parts {
        Some(parts) => u64::try_from(*parts.get(index)?).ok()?,
        None => from[at]?.div_ceil(node.output.len().max(1) as u64),
    };
    let mut dims = from.clone();
    // A part is no larger than the whole, whatever is stated.
    dims[at] = Some(from[at].map_or(part, |whole| part.min(whole)));
    Some(Size::of(dims))
}

pub fn flatten(node: &NodeProto, inputs: &[Option<&Size>]) -> Option<Size> {
    let dims = dims(inputs, 0)?;
    let at = match int(node, "axis", 1) {
        all if all == dims.len() as i64 => dims.len(),
        some => axis(some, dims.len())?,
    };
    let product =
        |dims: &[Option<u64>]| dims.iter().try_fold(1u64, |n, dim| Some(n.saturating_mul((*dim)?)));
    Some(Size {
        elements: input(inputs, 0)?.elements,
        dims: Some(vec![product(&dims[..at]), product(&dims[at..])]),
        ..Size::default()
    })
}

pub fn transpose(node: &NodeProto, inputs: &[Option<&Size>]) -> Option<Size> {
    let dims = dims(inputs, 0)?;
    let order: Vec<usize> = match attribute(node, "perm") {
        Some(perm) => perm.ints.iter().map(|&at| axis(at, dims.len())).collect::<Option<_>>()?,
        None => (0..dims.len()).rev().collect(),
    };
    Some(Size {
        elements: input(inputs, 0)?.elements,
        dims: Some(order.into_iter().map(|at| dims[at]).collect()),
        ..Size::default()
    })
}

pub fn gather(node: &NodeProto, inputs: &[Option<&Size>]) -> Option<Size> {
    let (data, indices) = (dims(inputs, 0)?, dims(inputs, 1)?);
    let at = axis(int(node, "axis", 0), data.len())?;
    let shape = [&data[..at], indices, &data[at + 1..]].concat();
    let mut size = Size::of(shape);
    if let (Some(values), Some(indices), 1) = (ints(inputs, 0), ints(inputs, 1), data.len()) {
        let pick = |&index: &i64| axis(index, values.len()).map(|index| values[index]);
        size.ints = indices.iter().map(pick).collect();
    }
    Some(size)
}
