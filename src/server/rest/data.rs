//! Tensors as JSON numbers, nested or flat.

use crate::engine::DataType;
use crate::server::status::Refusal;
use half::f16;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Unexpected, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::fmt;

/// The elements in `json` as little-endian bytes. They are written down as they are parsed; a list
/// of numbers never exists.
///
/// # Errors
/// What is not a number of that type, and where.
pub fn to_bytes(tensor: &str, data_type: DataType, json: &RawValue) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(json.get());
    Elements { data_type, bytes: &mut bytes }
        .deserialize(&mut deserializer)
        .map_err(|e| Refusal::invalid(format!("input '{tensor}': its data: {e}")))?;
    Ok(bytes)
}

/// Reads one element or a list of lists of them.
struct Elements<'a> {
    data_type: DataType,
    bytes: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Elements<'_> {
    fn integer<E: Error>(&mut self, value: i128, came: Unexpected<'_>) -> Result<(), E> {
        let refuse = |_| E::invalid_value(came, &self.data_type.name());
        match self.data_type {
            DataType::F32 => self.bytes.extend((value as f32).to_le_bytes()),
            DataType::F16 => self.bytes.extend(f16::from_f64(value as f64).to_le_bytes()),
            DataType::I64 => {
                self.bytes.extend(i64::try_from(value).map_err(refuse)?.to_le_bytes());
            }
            DataType::I32 => {
                self.bytes.extend(i32::try_from(value).map_err(refuse)?.to_le_bytes());
            }
            DataType::I8 => self.bytes.extend(i8::try_from(value).map_err(refuse)?.to_le_bytes()),
            DataType::U8 => self.bytes.extend(u8::try_from(value).map_err(refuse)?.to_le_bytes()),
            DataType::Bool if value == 0 || value == 1 => self.bytes.push(value as u8),
            DataType::Bool => return Err(E::invalid_value(came, &"BOOL")),
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} or a list of them", self.data_type.name())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Elements { data_type, bytes } = self;
        while list.next_element_seed(Elements { data_type, bytes: &mut *bytes })?.is_some() {}
        Ok(())
    }

    fn visit_i64<E: Error>(mut self, value: i64) -> Result<(), E> {
        self.integer(value.into(), Unexpected::Signed(value))
    }

    fn visit_u64<E: Error>(mut self, value: u64) -> Result<(), E> {
        self.integer(value.into(), Unexpected::Unsigned(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match self.data_type {
            DataType::F32 => self.bytes.extend((value as f32).to_le_bytes()),
            DataType::F16 => self.bytes.extend(f16::from_f64(value).to_le_bytes()),
            _ => return Err(E::invalid_type(Unexpected::Float(value), &self)),
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.data_type {
            DataType::Bool => self.bytes.push(value.into()),
            _ => return Err(E::invalid_type(Unexpected::Bool(value), &self)),
        }
        Ok(())
    }
}

/// A tensor's bytes that become a flat list of numbers. Infinity and not-a-number, which JSON does
/// not have, become `null`.
pub struct JsonData<'a> {
    pub data_type: DataType,
    pub bytes: &'a [u8],
}

impl Serialize for JsonData<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn chunks<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
            bytes.as_chunks::<N>().0.iter().copied()
        }
        let bytes = self.bytes;
        match self.data_type {
            DataType::F32 => serializer.collect_seq(chunks(bytes).map(f32::from_le_bytes)),
            DataType::F16 => {
                serializer.collect_seq(chunks(bytes).map(|b| f16::from_le_bytes(b).to_f32()))
            }
            DataType::I64 => serializer.collect_seq(chunks(bytes).map(i64::from_le_bytes)),
            DataType::I32 => serializer.collect_seq(chunks(bytes).map(i32::from_le_bytes)),
            DataType::I8 => serializer.collect_seq(chunks(bytes).map(i8::from_le_bytes)),
            DataType::U8 => serializer.collect_seq(bytes),
            DataType::Bool => serializer.collect_seq(bytes.iter().map(|&b| b != 0)),
        }
    }
}
