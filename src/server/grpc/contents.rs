//! Typed tensor contents, turned into the bytes everything else speaks of.

use crate::engine::DataType;
use crate::server::proto::InferTensorContents;
use crate::server::status::Refusal;
use bytes::Bytes;

/// The elements as little-endian bytes of type `data_type`.
///
/// # Errors
/// Elements in the list of another type, or outside the range of `data_type`.
pub fn to_bytes(
    tensor: &str,
    data_type: DataType,
    contents: &InferTensorContents,
) -> Result<Bytes, Refusal> {
    let (list, bytes) = match data_type {
        DataType::F32 => ("fp32_contents", flatten(&contents.fp32_contents, |v| v.to_le_bytes())),
        DataType::I64 => ("int64_contents", flatten(&contents.int64_contents, |v| v.to_le_bytes())),
        DataType::I32 => ("int_contents", flatten(&contents.int_contents, |v| v.to_le_bytes())),
        DataType::I8 => ("int_contents", narrow::<i32, i8>(tensor, &contents.int_contents)?),
        DataType::U8 => ("uint_contents", narrow::<u32, u8>(tensor, &contents.uint_contents)?),
        DataType::Bool => {
            ("bool_contents", contents.bool_contents.iter().map(|&v| u8::from(v)).collect())
        }
        DataType::F16 => {
            return Err(Refusal::invalid(format!(
                "input '{tensor}': FP16 has no typed contents; send raw_input_contents"
            )));
        }
    };
    let used = used_lists(contents);
    match used.as_slice() {
        [] => Ok(Bytes::new()),
        [only] if *only == list => Ok(bytes.into()),
        others => Err(Refusal::invalid(format!(
            "input '{tensor}': {} belongs in contents.{list}, came in {}",
            data_type.name(),
            others.join(" and ")
        ))),
    }
}

fn flatten<T: Copy, const N: usize>(values: &[T], to_bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&value| to_bytes(value)).collect()
}

/// Into one byte each.
fn narrow<T, U>(tensor: &str, values: &[T]) -> Result<Vec<u8>, Refusal>
where
    T: Copy + std::fmt::Display,
    U: TryFrom<T> + ToByte,
{
    let convert = |&value: &T| {
        U::try_from(value).map(ToByte::to_byte).map_err(|_| {
            Refusal::invalid(format!("input '{tensor}': {value} does not fit into one byte"))
        })
    };
    values.iter().map(convert).collect()
}

trait ToByte {
    fn to_byte(self) -> u8;
}

impl ToByte for i8 {
    fn to_byte(self) -> u8 {
        self.cast_unsigned()
    }
}

impl ToByte for u8 {
    fn to_byte(self) -> u8 {
        self
    }
}

fn used_lists(contents: &InferTensorContents) -> Vec<&'static str> {
    let lists = [
        ("bool_contents", contents.bool_contents.is_empty()),
        ("int_contents", contents.int_contents.is_empty()),
        ("int64_contents", contents.int64_contents.is_empty()),
        ("uint_contents", contents.uint_contents.is_empty()),
        ("uint64_contents", contents.uint64_contents.is_empty()),
        ("fp32_contents", contents.fp32_contents.is_empty()),
        ("fp64_contents", contents.fp64_contents.is_empty()),
        ("bytes_contents", contents.bytes_contents.is_empty()),
    ];
    lists.into_iter().filter(|(_, is_empty)| !is_empty).map(|(name, _)| name).collect()
}
