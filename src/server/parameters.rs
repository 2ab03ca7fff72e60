//! Request parameters, the same for gRPC and REST.

use crate::server::proto::InferParameter;
use crate::server::proto::infer_parameter::ParameterChoice;
use crate::server::regions::Place;
use crate::server::status::Refusal;
use crate::units::Nanos;
use serde::Deserialize;
use std::borrow::Cow;

/// One parameter's value.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Value<'a> {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    #[serde(borrow)]
    Text(Cow<'a, str>),
    /// Null, a list or a map, of a parameter that nobody here reads.
    Other(serde::de::IgnoredAny),
}

impl<'a> Value<'a> {
    /// `None` for a parameter sent without a value.
    pub fn from_proto(parameter: &'a InferParameter) -> Option<Value<'a>> {
        Some(match parameter.parameter_choice.as_ref()? {
            ParameterChoice::BoolParam(v) => Value::Bool(*v),
            ParameterChoice::Int64Param(v) => Value::Int(*v),
            ParameterChoice::Uint64Param(v) => Value::Uint(*v),
            ParameterChoice::DoubleParam(v) => Value::Double(*v),
            ParameterChoice::StringParam(v) => Value::Text(v.as_str().into()),
        })
    }

    fn describe(&self) -> String {
        match self {
            Value::Bool(v) => format!("the bool {v}"),
            Value::Int(v) => v.to_string(),
            Value::Uint(v) => v.to_string(),
            Value::Double(v) => format!("the double {v}"),
            Value::Text(v) => format!("the text '{}'", shorten(v)),
            Value::Other(_) => "something else".to_owned(),
        }
    }

    fn unsigned(&self, name: &str) -> Result<u64, Refusal> {
        match self {
            Value::Int(v) => u64::try_from(*v).ok(),
            Value::Uint(v) => Some(*v),
            _ => None,
        }
        .ok_or_else(|| {
            Refusal::invalid(format!(
                "parameter '{name}': expected a whole number that is not negative, came {}",
                self.describe()
            ))
        })
    }

    fn text(&self, name: &str) -> Result<&str, Refusal> {
        match self {
            Value::Text(text) => Ok(text),
            _ => Err(Refusal::invalid(format!(
                "parameter '{name}': expected a text, came {}",
                self.describe()
            ))),
        }
    }

    fn boolean(&self, name: &str) -> Result<bool, Refusal> {
        match self {
            Value::Bool(value) => Ok(*value),
            _ => Err(Refusal::invalid(format!(
                "parameter '{name}': expected true or false, came {}",
                self.describe()
            ))),
        }
    }
}

/// A client's text, cut to what fits a message.
pub fn shorten(text: &str) -> &str {
    const LONGEST: usize = 120;
    &text[..text.floor_char_boundary(LONGEST)]
}

/// The parameters of a whole request that mean something here; others are ignored, as Triton does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub slo: Option<Nanos>,
    pub timeout: Option<Nanos>,
    pub priority: u64,
    /// REST: outputs in binary unless one says otherwise.
    pub binary_data_output: bool,
}

impl Options {
    /// # Errors
    /// A known parameter of a wrong type or value.
    pub fn set(&mut self, name: &str, value: &Value<'_>) -> Result<(), Refusal> {
        match name {
            "slo_us" => match value.unsigned(name)? {
                0 => {
                    return Err(Refusal::invalid(
                        "parameter 'slo_us': expected at least 1, came 0",
                    ));
                }
                us => self.slo = Some(Nanos::from_micros(us)),
            },
            // 0 is Triton's "no timeout".
            "timeout" => {
                let us = value.unsigned(name)?;
                self.timeout = (us > 0).then_some(Nanos::from_micros(us));
            }
            "priority" => self.priority = value.unsigned(name)?,
            "binary_data_output" => self.binary_data_output = value.boolean(name)?,
            _ => {}
        }
        Ok(())
    }
}

/// The parameters of one input or output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TensorOptions {
    region: Option<String>,
    byte_size: Option<u64>,
    offset: u64,
    /// REST: bytes of this input in the binary part of the body.
    pub binary_data_size: Option<u64>,
    /// REST: this output is wanted in binary (or not).
    pub binary_data: Option<bool>,
}

impl TensorOptions {
    /// # Errors
    /// A known parameter of a wrong type or value, or one that is not supported.
    pub fn set(&mut self, name: &str, value: &Value<'_>) -> Result<(), Refusal> {
        match name {
            "shared_memory_region" => self.region = Some(value.text(name)?.to_owned()),
            "shared_memory_byte_size" => self.byte_size = Some(value.unsigned(name)?),
            "shared_memory_offset" => self.offset = value.unsigned(name)?,
            "binary_data_size" => self.binary_data_size = Some(value.unsigned(name)?),
            "binary_data" => self.binary_data = Some(value.boolean(name)?),
            "classification" if *value != Value::Int(0) => {
                return Err(Refusal::unsupported(
                    "parameter 'classification' is not supported: ask for the tensor",
                ));
            }
            _ => {}
        }
        Ok(())
    }

    /// Where in shared memory the tensor is, if it is there.
    ///
    /// # Errors
    /// A region without a size.
    pub fn place(&mut self, tensor: &str) -> Result<Option<Place>, Refusal> {
        let Some(region) = self.region.take() else { return Ok(None) };
        let byte_size = self.byte_size.ok_or_else(|| {
            Refusal::invalid(format!(
                "tensor '{tensor}': shared_memory_region without shared_memory_byte_size"
            ))
        })?;
        Ok(Some(Place { region, offset: self.offset, byte_size }))
    }
}
