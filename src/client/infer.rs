//! Building inference requests and reading what replies say about themselves.

use super::Call;
use crate::server::proto;
use bytes::Bytes;
use proto::infer_parameter::ParameterChoice;
use proto::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use std::collections::HashMap;

/// One inference request.
#[derive(Clone, Debug, Default)]
pub struct InferRequest {
    pub model: String,
    /// This request's own SLO; the model's when absent.
    pub slo_us: Option<u64>,
    pub inputs: Vec<Input>,
    /// Outputs that go to shared memory. When empty, all outputs come in the reply.
    pub outputs: Vec<SharedOutput>,
}

#[derive(Clone, Debug)]
pub struct Input {
    pub name: String,
    /// The protocol's name, such as `FP32`.
    pub datatype: String,
    /// With the batch dimension, for a model that has one.
    pub shape: Vec<i64>,
    pub data: InputData,
}

#[derive(Clone, Debug)]
pub enum InputData {
    /// Little-endian, row-major.
    Inline(Bytes),
    Shared(SharedPlace),
}

#[derive(Clone, Debug)]
pub struct SharedOutput {
    pub name: String,
    /// `None`: this output comes in the reply.
    pub place: Option<SharedPlace>,
}

/// Part of a registered region.
#[derive(Clone, Debug)]
pub struct SharedPlace {
    pub region: String,
    pub offset: u64,
    pub bytes: u64,
}

impl SharedPlace {
    fn parameters(&self) -> HashMap<String, proto::InferParameter> {
        let mut parameters = HashMap::from([
            ("shared_memory_region".into(), string(&self.region)),
            ("shared_memory_byte_size".into(), integer(self.bytes)),
        ]);
        if self.offset > 0 {
            parameters.insert("shared_memory_offset".into(), integer(self.offset));
        }
        parameters
    }
}

impl InferRequest {
    /// The request as a call that can be sent any number of times.
    pub fn call(&self) -> Call {
        Call::grpc("ModelInfer", &self.message())
    }

    fn message(&self) -> proto::ModelInferRequest {
        let mut message =
            proto::ModelInferRequest { model_name: self.model.clone(), ..Default::default() };
        if let Some(slo_us) = self.slo_us {
            message.parameters.insert("slo_us".into(), integer(slo_us));
        }
        for input in &self.inputs {
            let mut tensor = InferInputTensor {
                name: input.name.clone(),
                datatype: input.datatype.clone(),
                shape: input.shape.clone(),
                ..Default::default()
            };
            match &input.data {
                InputData::Inline(data) => message.raw_input_contents.push(data.clone()),
                InputData::Shared(place) => tensor.parameters = place.parameters(),
            }
            message.inputs.push(tensor);
        }
        message.outputs = self.outputs.iter().map(requested_output).collect();
        message
    }
}

fn requested_output(output: &SharedOutput) -> InferRequestedOutputTensor {
    let parameters = output.place.as_ref().map(SharedPlace::parameters).unwrap_or_default();
    InferRequestedOutputTensor { name: output.name.clone(), parameters }
}

fn string(value: &str) -> proto::InferParameter {
    proto::InferParameter { parameter_choice: Some(ParameterChoice::StringParam(value.into())) }
}

fn integer(value: u64) -> proto::InferParameter {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    proto::InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(value)) }
}

/// A parameter's value as text; `None` for one without a value.
pub fn parameter_text(parameter: &proto::InferParameter) -> Option<String> {
    Some(match parameter.parameter_choice.as_ref()? {
        ParameterChoice::BoolParam(value) => value.to_string(),
        ParameterChoice::Int64Param(value) => value.to_string(),
        ParameterChoice::StringParam(value) => value.clone(),
        ParameterChoice::DoubleParam(value) => value.to_string(),
        ParameterChoice::Uint64Param(value) => value.to_string(),
    })
}

/// What the load generator decodes of a `ModelInferResponse`: its parameters, nothing else.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReplyHead {
    #[prost(message, repeated, tag = "4")]
    parameters: Vec<ParameterEntry>,
}

/// An entry of the map `parameters`; a map is a list of these on the wire.
#[derive(Clone, PartialEq, prost::Message)]
struct ParameterEntry {
    #[prost(bytes = "bytes", tag = "1")]
    name: Bytes,
    #[prost(message, optional, tag = "2")]
    value: Option<proto::InferParameter>,
}

impl ReplyHead {
    /// Items in the batch this request ran in, where the server tells.
    pub fn batch(&self) -> Option<u64> {
        let entry = self.parameters.iter().find(|entry| entry.name == "batch")?;
        match entry.value.as_ref()?.parameter_choice.as_ref()? {
            ParameterChoice::Int64Param(value) => u64::try_from(*value).ok(),
            ParameterChoice::Uint64Param(value) => Some(*value),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn the_head_of_a_reply_is_read_without_the_rest() {
        let reply = proto::ModelInferResponse {
            model_name: "m".into(),
            parameters: HashMap::from([
                ("queue_us".into(), integer(7)),
                ("batch".into(), integer(4)),
            ]),
            raw_output_contents: vec![Bytes::from(vec![0; 1000])],
            ..Default::default()
        };
        let head = ReplyHead::decode(&reply.encode_to_vec()[..]).unwrap();
        assert_eq!(head.batch(), Some(4));
        assert_eq!(ReplyHead::default().batch(), None);
    }

    #[test]
    fn inline_and_shared_inputs_are_told_apart() {
        let input = |name: &str, data| Input {
            name: name.into(),
            datatype: "FP32".into(),
            shape: vec![1, 2],
            data,
        };
        let place = SharedPlace { region: "r".into(), offset: 8, bytes: 8 };
        let request = InferRequest {
            model: "m".into(),
            slo_us: Some(5_000),
            inputs: vec![
                input("a", InputData::Shared(place.clone())),
                input("b", InputData::Inline(Bytes::from_static(&[1; 8]))),
            ],
            outputs: vec![SharedOutput { name: "y".into(), place: Some(place) }],
        };
        let message = request.message();
        assert_eq!(message.raw_input_contents.len(), 1);
        assert_eq!(message.inputs[0].parameters["shared_memory_offset"], integer(8));
        assert!(message.inputs[1].parameters.is_empty());
        assert_eq!(message.outputs[0].parameters["shared_memory_region"], string("r"));
        assert_eq!(message.parameters["slo_us"], integer(5_000));
    }
}
