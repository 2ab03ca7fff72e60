//! The size of what a node gives, by operator.

use super::Refusal;
use super::nodes::plausible_scale;
use super::sizes::{Size, stated};
use super::{layout, windows};
use crate::models::onnx::{AttributeProto, NodeProto};

/// Iterations of a loop that an engine would run at load.
const MAX_ITERATIONS: i64 = 1_000_000;

/// A shape; `None` is a symbolic dimension.
pub type Dims = Vec<Option<u64>>;

/// The size of result `index`; `inputs` are those of the node, `None` where one is left out.
pub fn result(node: &NodeProto, index: usize, inputs: &[Option<&Size>]) -> Result<Size, Refusal> {
    let known = match node.op_type() {
        "Split" => layout::split(node, index, inputs),
        // Indices, states, masks of training: none is larger than the largest input.
        _ if index > 0 => None,
        "Constant" => constant(node),
        "Shape" => layout::shape(node, inputs),
        "ConstantOfShape" => ints(inputs, 0).map(stated).transpose()?,
        "Expand" => expand(inputs)?,
        "Tile" => tile(inputs),
        "Range" => range(inputs),
        "Pad" => pad(node, inputs),
        "Resize" | "Upsample" => resize(node, inputs)?,
        "OneHot" => one_hot(inputs)?,
        "Concat" => layout::concat(node, inputs),
        "Reshape" => layout::reshape(inputs)?,
        "Flatten" => layout::flatten(node, inputs),
        "Transpose" => layout::transpose(node, inputs),
        "Squeeze" => same_content(inputs).map(|size| Size { dims: None, ..size }),
        "Unsqueeze" => layout::unsqueeze(node, inputs),
        "Identity" | "Cast" => same_content(inputs),
        "Gather" => layout::gather(node, inputs),
        "MatMul" | "MatMulInteger" => mat_mul(inputs),
        "Gemm" => gemm(node, inputs),
        "Conv" | "ConvInteger" | "ConvTranspose" => windows::convolution(node, inputs),
        "MaxPool" | "AveragePool" | "LpPool" => windows::pooling(node, inputs),
        "GlobalAveragePool" | "GlobalMaxPool" => windows::global_pooling(inputs),
        "Einsum" => einsum(inputs),
        "Loop" => {
            check_loop(inputs)?;
            None
        }
        name if is_elementwise(name) => elementwise(name, inputs),
        name if keeps_shape(name) => dims(inputs, 0).map(|dims| Size::of(dims.clone())),
        _ => None,
    };
    // Nothing better is known: as large as the largest input.
    let largest = || inputs.iter().flatten().map(|input| input.elements).max().unwrap_or(0);
    Ok(known.unwrap_or_else(|| Size::of_elements(largest())))
}

/// Operators of any number of tensors that are broadcast to each other.
fn is_elementwise(name: &str) -> bool {
    matches!(
        name,
        "Add"
            | "Sub"
            | "Mul"
            | "Div"
            | "Pow"
            | "Mod"
            | "And"
            | "Or"
            | "Xor"
            | "Equal"
            | "Greater"
            | "GreaterOrEqual"
            | "Less"
            | "LessOrEqual"
            | "Min"
            | "Max"
            | "Mean"
            | "Sum"
            | "Where"
            | "BitwiseAnd"
            | "BitwiseOr"
            | "BitwiseXor"
            | "BitShift"
    )
}

/// Operators whose result has the shape of their first input.
fn keeps_shape(name: &str) -> bool {
    matches!(
        name,
        "Relu"
            | "LeakyRelu"
            | "PRelu"
            | "Sigmoid"
            | "HardSigmoid"
            | "HardSwish"
            | "Tanh"
            | "Erf"
            | "Gelu"
            | "Elu"
            | "Selu"
            | "Softplus"
            | "Exp"
            | "Log"
            | "Sqrt"
            | "Reciprocal"
            | "Abs"
            | "Neg"
            | "Ceil"
            | "Floor"
            | "Round"
            | "Sin"
            | "Cos"
            | "Not"
            | "Clip"
            | "Softmax"
            | "LogSoftmax"
            | "LayerNormalization"
            | "BatchNormalization"
            | "InstanceNormalization"
            | "GroupNormalization"
            | "Dropout"
            | "LRN"
            | "CumSum"
            | "Trilu"
            | "QuantizeLinear"
            | "DequantizeLinear"
            | "EyeLike"
    )
}

/// The attribute of that name; the last one counts.
pub fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().rev().find(|attribute| attribute.name() == name)
}

/// An integer attribute.
pub fn int(node: &NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name).and_then(|attribute| attribute.i).unwrap_or(default)
}

/// What is known of an input.
pub fn input<'a>(inputs: &[Option<&'a Size>], index: usize) -> Option<&'a Size> {
    inputs.get(index).copied().flatten()
}

/// The shape of an input.
pub fn dims<'a>(inputs: &[Option<&'a Size>], index: usize) -> Option<&'a Dims> {
    input(inputs, index)?.dims.as_ref()
}

/// The integers that an input holds.
pub fn ints<'a>(inputs: &[Option<&'a Size>], index: usize) -> Option<&'a [i64]> {
    input(inputs, index)?.ints.as_deref()
}

/// Counts from the end where negative; `None` out of range.
pub fn axis(axis: i64, rank: usize) -> Option<usize> {
    let rank = rank as i64;
    (-rank..rank).contains(&axis).then(|| axis.rem_euclid(rank) as usize)
}

fn constant(node: &NodeProto) -> Option<Size> {
    let attribute = node.attribute.first()?;
    match attribute.name() {
        "value" => attribute.t.as_ref().map(Size::of_tensor),
        "value_int" => Some(Size::of_ints(vec![attribute.i()], 0)),
        "value_ints" => Some(Size::of_ints(attribute.ints.clone(), 1)),
        "value_float" => {
            Some(Size { floats: Some(vec![attribute.f()]), constant: true, ..Size::of(vec![]) })
        }
        "value_floats" => {
            let dims = vec![Some(attribute.floats.len() as u64)];
            let floats = Some(attribute.floats.clone());
            Some(Size { floats, constant: true, ..Size::of(dims) })
        }
        _ => None,
    }
}

fn same_content(inputs: &[Option<&Size>]) -> Option<Size> {
    input(inputs, 0).cloned()
}

/// The common shape of two, by the rules of broadcasting. A symbolic dimension gives way to any.
fn broadcast(a: &[Option<u64>], b: &[Option<u64>]) -> Dims {
    let rank = a.len().max(b.len());
    let at = |dims: &[Option<u64>], index: usize| match (index + dims.len()).checked_sub(rank) {
        Some(index) => dims[index],
        None => Some(1),
    };
    (0..rank)
        .map(|index| match (at(a, index), at(b, index)) {
            (Some(1), other) | (other, Some(1)) => other,
            (None, other) | (other, None) => other,
            (Some(a), Some(b)) => Some(a.max(b)),
        })
        .collect()
}

fn elementwise(name: &str, inputs: &[Option<&Size>]) -> Option<Size> {
    let mut shape = Dims::new();
    for index in 0..inputs.len() {
        shape = broadcast(&shape, dims(inputs, index)?);
    }
    let mut size = Size::of(shape);
    if let (Some(a), Some(b)) = (ints(inputs, 0), ints(inputs, 1)) {
        size.ints = integer_arithmetic(name, a, b);
    }
    Some(size)
}

/// Shapes are often computed from shapes.
fn integer_arithmetic(name: &str, a: &[i64], b: &[i64]) -> Option<Vec<i64>> {
    let len = if a.len() == 1 { b.len() } else { a.len() };
    if len == 0 || (a.len() != 1 && b.len() != 1 && a.len() != b.len()) {
        return None;
    }
    let apply = |index: usize| {
        let (a, b) = (a[index % a.len()], b[index % b.len()]);
        match name {
            "Add" => a.checked_add(b),
            "Sub" => a.checked_sub(b),
            "Mul" => a.checked_mul(b),
            "Div" => a.checked_div(b),
            _ => None,
        }
    };
    (0..len).map(apply).collect()
}

fn expand(inputs: &[Option<&Size>]) -> Result<Option<Size>, Refusal> {
    let Some(shape) = ints(inputs, 1) else { return Ok(None) };
    let target = stated(shape)?.dims.unwrap_or_default();
    let from = dims(inputs, 0).map_or(&[][..], |dims| dims);
    Ok(Some(Size::of(broadcast(from, &target))))
}

fn tile(inputs: &[Option<&Size>]) -> Option<Size> {
    let elements = input(inputs, 0)?.elements;
    let repeats = ints(inputs, 1)?;
    let times = repeats.iter().fold(1u64, |n, &times| n.saturating_mul(times.max(0) as u64));
    Some(Size::of_elements(elements.saturating_mul(times)))
}

fn range(inputs: &[Option<&Size>]) -> Option<Size> {
    let number = |index| {
        let size = input(inputs, index)?;
        let int = size.ints.as_ref().and_then(|ints| ints.first()).map(|&int| int as f64);
        int.or_else(|| size.floats.as_ref()?.first().map(|&float| f64::from(float)))
    };
    let count = ((number(1)? - number(0)?) / number(2)?).ceil();
    // Not a number (a step of zero) becomes zero: an engine refuses it.
    Some(Size::of(vec![Some(count.max(0.0) as u64)]))
}

fn pad(node: &NodeProto, inputs: &[Option<&Size>]) -> Option<Size> {
    let attribute = attribute(node, "pads").map(|attribute| attribute.ints.as_slice());
    let pads = ints(inputs, 1).or(attribute)?;
    let dims = dims(inputs, 0)?;
    if pads.len() != 2 * dims.len() {
        // Some axes only: any of them may be the one.
        let sum = pads.iter().fold(0u64, |sum, &pad| sum.saturating_add(pad.max(0) as u64));
        let elements = input(inputs, 0)?.elements;
        return Some(Size::of_elements(elements.saturating_mul(sum.saturating_add(1))));
    }
    let (before, after) = pads.split_at(dims.len());
    let padded = dims.iter().zip(before.iter().zip(after)).map(|(dim, (&before, &after))| {
        let grown = i128::from((*dim)?) + i128::from(before) + i128::from(after);
        Some(u64::try_from(grown.max(0)).unwrap_or(u64::MAX))
    });
    Some(Size::of(padded.collect()))
}

fn resize(node: &NodeProto, inputs: &[Option<&Size>]) -> Result<Option<Size>, Refusal> {
    if let Some(sizes) = ints(inputs, 3) {
        return stated(sizes).map(Some);
    }
    // Scales come second, or third after the region of interest.
    let place = if node.input.len() > 2 { 2 } else { 1 };
    let from_input = input(inputs, place).and_then(|scales| scales.floats.as_ref());
    let from_attribute = attribute(node, "scales").map(|attribute| &attribute.floats);
    let Some(scales) = from_input.or(from_attribute) else { return Ok(None) };
    if let Some(scale) = scales.iter().find(|&&scale| !plausible_scale(scale)) {
        return Err(format!("a resize by {scale}"));
    }
    let Some(size) = input(inputs, 0) else { return Ok(None) };
    let scaled =
        |dim: &Option<u64>, scale: &f32| dim.map(|dim| (dim as f64 * f64::from(*scale)) as u64);
    Ok(Some(match &size.dims {
        Some(dims) if dims.len() == scales.len() => {
            Size::of(dims.iter().zip(scales).map(|(dim, scale)| scaled(dim, scale)).collect())
        }
        _ => {
            let factor: f64 = scales.iter().map(|&scale| f64::from(scale)).product();
            Size::of_elements((size.elements as f64 * factor.max(1.0)) as u64)
        }
    }))
}

fn one_hot(inputs: &[Option<&Size>]) -> Result<Option<Size>, Refusal> {
    let Some(&[depth]) = ints(inputs, 1) else { return Ok(None) };
    let depth = stated(&[depth])?.elements;
    let indices = input(inputs, 0).map_or(1, |indices| indices.elements);
    Ok(Some(Size::of_elements(indices.saturating_mul(depth))))
}

fn mat_mul(inputs: &[Option<&Size>]) -> Option<Size> {
    let (a, b) = (dims(inputs, 0)?, dims(inputs, 1)?);
    let ([.., rows, _], [.., _, columns]) = (&a[..], &b[..]) else { return None };
    let mut shape = broadcast(&a[..a.len() - 2], &b[..b.len() - 2]);
    shape.extend([rows, columns]);
    Some(Size::of(shape))
}

fn gemm(node: &NodeProto, inputs: &[Option<&Size>]) -> Option<Size> {
    let ([a0, a1], [b0, b1]) = (&dims(inputs, 0)?[..], &dims(inputs, 1)?[..]) else { return None };
    let rows = if int(node, "transA", 0) == 0 { a0 } else { a1 };
    let columns = if int(node, "transB", 0) == 0 { b1 } else { b0 };
    Some(Size::of(vec![*rows, *columns]))
}

/// At most an outer product; looked at only where it is computed at load.
fn einsum(inputs: &[Option<&Size>]) -> Option<Size> {
    let parts: Vec<&Size> = inputs.iter().copied().collect::<Option<_>>()?;
    let outer = parts.iter().fold(1u64, |n, part| n.saturating_mul(part.elements));
    parts.iter().all(|part| part.constant).then(|| Size::of_elements(outer))
}

/// A loop over constants alone runs at load. Others may state any count: exporters do for a `while`.
fn check_loop(inputs: &[Option<&Size>]) -> Result<(), Refusal> {
    let at_load = inputs.iter().flatten().all(|input| input.constant);
    match ints(inputs, 0) {
        Some(&[times]) if at_load && times > MAX_ITERATIONS => {
            Err(format!("a loop of {times} iterations; at most {MAX_ITERATIONS}"))
        }
        _ => Ok(()),
    }
}
