//! A constant tensor: its stated size against the bytes that are there for it.

use super::{MAX_DIM, MAX_RANK, Refusal};
use crate::models::onnx::TensorProto;
use crate::models::onnx::tensor_proto::{DataLocation, DataType};
use std::path::{Component, Path};

/// Gives the bytes of the tensor's data as stored.
pub fn check(tensor: &TensorProto, folder: &Path) -> Result<u64, Refusal> {
    let elements = elements(&tensor.dims)?;
    let kind = DataType::try_from(tensor.data_type())
        .map_err(|_| format!("unknown data type {}", tensor.data_type()))?;
    if tensor.segment.is_some() {
        return Err("segmented tensors are not supported".into());
    }
    if kind == DataType::String {
        let found = tensor.string_data.len() as u64;
        return expect("texts", found, elements).map(|()| 0);
    }
    let size = element_bytes(kind).ok_or("the tensor has no data type")?;
    let bytes = elements
        .checked_mul(size)
        .ok_or_else(|| format!("dimensions {:?} are more than can be counted", tensor.dims))?;
    if tensor.data_location() == DataLocation::External {
        check_external(tensor, folder, bytes)?;
    } else if let Some(raw) = tensor.raw_data_bytes {
        expect("bytes of raw_data", raw, bytes)?;
    } else if let Some(raw) = &tensor.raw_data {
        expect("bytes of raw_data", raw.len() as u64, bytes)?;
    } else {
        let per_element =
            if kind == DataType::Complex64 || kind == DataType::Complex128 { 2 } else { 1 };
        expect("typed values", typed_values(tensor, kind), elements * per_element)?;
    }
    Ok(bytes)
}

/// The product of the dimensions.
pub fn elements(dims: &[i64]) -> Result<u64, Refusal> {
    if dims.len() > MAX_RANK {
        return Err(format!("{} dimensions; at most {MAX_RANK}", dims.len()));
    }
    dims.iter().try_fold(1u64, |product, &dim| {
        if !(0..=MAX_DIM).contains(&dim) {
            return Err(format!("a dimension of {dim}; 0 to {MAX_DIM}"));
        }
        product
            .checked_mul(dim as u64)
            .filter(|&product| product < u64::MAX / 16)
            .ok_or_else(|| format!("dimensions {dims:?} are more than can be counted"))
    })
}

fn expect(what: &str, found: u64, expected: u64) -> Result<(), Refusal> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{found} {what}, its dimensions and type make {expected}"))
}

/// Bytes of one element in `raw_data`; `None` for a type without a fixed one.
pub fn element_bytes(kind: DataType) -> Option<u64> {
    Some(match kind {
        DataType::Undefined | DataType::String => return None,
        DataType::Uint8 | DataType::Int8 | DataType::Bool => 1,
        DataType::Uint16 | DataType::Int16 | DataType::Float16 | DataType::Bfloat16 => 2,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 4,
        DataType::Int64 | DataType::Uint64 | DataType::Double | DataType::Complex64 => 8,
        DataType::Complex128 => 16,
    })
}

/// Values in the field that belongs to the type.
fn typed_values(tensor: &TensorProto, kind: DataType) -> u64 {
    let len = match kind {
        DataType::Float | DataType::Complex64 => tensor.float_data.len(),
        DataType::Double | DataType::Complex128 => tensor.double_data.len(),
        DataType::Int64 => tensor.int64_data.len(),
        DataType::Uint32 | DataType::Uint64 => tensor.uint64_data.len(),
        _ => tensor.int32_data.len(),
    };
    len as u64
}

/// The data is `bytes` of another file, which must be in the model's folder or below.
fn check_external(tensor: &TensorProto, folder: &Path, bytes: u64) -> Result<(), Refusal> {
    let entry = |key: &str| {
        tensor.external_data.iter().rev().find(|pair| pair.key() == key).map(|pair| pair.value())
    };
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(text) => text
            .parse::<u64>()
            .map(Some)
            .map_err(|_| format!("external data has '{text}' for its {key}; a number is expected")),
    };
    let location = entry("location").ok_or("external data without a location")?;
    let plain = Path::new(location).components().all(|part| matches!(part, Component::Normal(_)));
    if location.is_empty() || !plain {
        return Err(format!("external data in '{location}', outside of the model's folder"));
    }
    // Symbolic links are followed before looking where the file is.
    let missing = |error| format!("external data in '{location}': {error}");
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let home = folder.canonicalize().map_err(missing)?;
    let file = home.join(location).canonicalize().map_err(missing)?;
    if !file.starts_with(&home) {
        return Err(format!("external data in '{location}', outside of the model's folder"));
    }
    let about = file.metadata().map_err(missing)?;
    if !about.is_file() {
        return Err(format!("external data in '{location}', which is not a file"));
    }
    let offset = number("offset")?.unwrap_or(0);
    let length = number("length")?.unwrap_or_else(|| about.len().saturating_sub(offset));
    expect("bytes of external data", length, bytes)?;
    if offset.checked_add(length).is_none_or(|end| end > about.len()) {
        return Err(format!(
            "external data in '{location}' from byte {offset}, {length} bytes; the file has {}",
            about.len()
        ));
    }
    Ok(())
}
