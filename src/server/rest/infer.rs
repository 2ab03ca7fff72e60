//! Inference over REST: a JSON body, optionally followed by the tensors in binary.

use crate::engine::DataType;
use crate::server::call::{Address, Call, Reply};
use crate::server::connection::Connection;
use crate::server::parameters::{Options, TensorOptions, Value};
use crate::server::rest::data::{self, JsonData};
use crate::server::rest::{Answer, Client, ModelPath};
use crate::server::status::Refusal;
use crate::server::validate::{GivenData, GivenInput, GivenOutput, VERSION};
use axum::Extension;
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Length of the JSON part of a body that goes on in binary.
const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

type Parameters<'a> = BTreeMap<String, Value<'a>>;

#[derive(Deserialize)]
struct InferRequest<'a> {
    #[serde(default)]
    id: String,
    #[serde(default, borrow)]
    parameters: Parameters<'a>,
    #[serde(borrow)]
    inputs: Vec<Input<'a>>,
    #[serde(default, borrow)]
    outputs: Vec<Output<'a>>,
}

#[derive(Deserialize)]
struct Input<'a> {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    #[serde(default, borrow)]
    parameters: Parameters<'a>,
    /// Looked at only when the data type is known.
    #[serde(default, borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Output<'a> {
    name: String,
    #[serde(default, borrow)]
    parameters: Parameters<'a>,
}

#[derive(Serialize)]
struct InferResponse<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    parameters: ReplyParameters,
    outputs: Vec<ReplyOutput<'a>>,
}

#[derive(Serialize)]
struct ReplyParameters {
    queue_us: u64,
    compute_us: u64,
    batch: u32,
    instance: u16,
    slo_met: bool,
}

#[derive(Serialize)]
struct ReplyOutput<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: &'a [i64],
    #[serde(skip_serializing_if = "OutputParameters::is_empty")]
    parameters: OutputParameters<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<JsonData<'a>>,
}

#[derive(Default, Serialize)]
struct OutputParameters<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_data_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_memory_region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_memory_offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_memory_byte_size: Option<u64>,
}

impl OutputParameters<'_> {
    fn is_empty(&self) -> bool {
        self.binary_data_size.is_none() && self.shared_memory_region.is_none()
    }
}

/// How each output is wanted: by default, and by name where its own parameters say.
struct BinaryWanted {
    default: bool,
    own: BTreeMap<String, bool>,
}

impl BinaryWanted {
    fn is_binary(&self, output: &str) -> bool {
        self.own.get(output).copied().unwrap_or(self.default)
    }
}

/// `POST /v2/models/{model}[/versions/{version}]/infer`.
pub async fn infer(
    Extension(client): Client,
    path: ModelPath,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (call, binary) = begin(&client, path, &headers, &body)?;
    drop(body);
    Ok(respond(&call.finish().await?, &binary)?)
}

fn begin(
    client: &std::sync::Arc<Connection>,
    path: ModelPath,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<(Call, BinaryWanted), Refusal> {
    let in_flight = client.admit()?;
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Refusal::unsupported("compressed bodies are not supported"));
    }
    let json_len = json_length(headers, body.len())?;
    let request: InferRequest<'_> = serde_json::from_slice(&body[..json_len])
        .map_err(|e| Refusal::invalid(format!("the JSON body: {e}")))?;
    let mut options = Options::default();
    for (name, value) in &request.parameters {
        options.set(name, value)?;
    }
    let inputs = given_inputs(client, request.inputs, body.slice(json_len..))?;
    let mut binary = BinaryWanted { default: options.binary_data_output, own: BTreeMap::new() };
    let outputs = given_outputs(client, request.outputs, &mut binary)?;
    let address = Address { model: path.model, version: path.version, id: request.id };
    let catalog = client.server.gateway.catalog();
    let call = Call::begin(client, &catalog, in_flight, address, inputs, outputs, &options)?;
    Ok((call, binary))
}

fn json_length(headers: &HeaderMap, body_len: usize) -> Result<usize, Refusal> {
    let Some(value) = headers.get(JSON_LENGTH) else { return Ok(body_len) };
    let len = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    len.filter(|&len: &usize| len <= body_len).ok_or_else(|| {
        Refusal::invalid(format!(
            "header Inference-Header-Content-Length: expected a number up to the body's length \
             {body_len}, came {value:?}"
        ))
    })
}

fn tensor_options(parameters: &Parameters<'_>) -> Result<TensorOptions, Refusal> {
    let mut options = TensorOptions::default();
    for (name, value) in parameters {
        options.set(name, value)?;
    }
    Ok(options)
}

fn given_inputs(
    client: &Connection,
    inputs: Vec<Input<'_>>,
    mut binary: Bytes,
) -> Result<Vec<GivenInput>, Refusal> {
    let mut given = Vec::with_capacity(inputs.len());
    for Input { name, datatype: data_type, shape, parameters, data } in inputs {
        let mut options = tensor_options(&parameters)?;
        let data = if let Some(place) = options.place(&name)? {
            GivenData::Shared(client.server.regions.slice(client.peer, &name, &place)?)
        } else if let Some(size) = options.binary_data_size {
            let size = usize::try_from(size).ok().filter(|&size| size <= binary.len());
            let size = size.ok_or_else(|| {
                Refusal::invalid(format!(
                    "input '{name}': binary_data_size is larger than what is left of the body, \
                     {} bytes",
                    binary.len()
                ))
            })?;
            GivenData::Inline(binary.split_to(size))
        } else {
            let json = data.ok_or_else(|| {
                Refusal::invalid(format!(
                    "input '{name}': it has no data; expected data, binary_data_size or a shared \
                     memory region"
                ))
            })?;
            // A type that is not known is named by the check against the model's spec.
            let bytes = DataType::from_name(&data_type)
                .map_or(Ok(Vec::new()), |t| data::to_bytes(&name, t, json))?;
            GivenData::Inline(bytes.into())
        };
        given.push(GivenInput { name, data_type, shape, data });
    }
    if !binary.is_empty() {
        return Err(Refusal::invalid(format!(
            "the body has {} bytes more than its inputs' binary_data_size add up to",
            binary.len()
        )));
    }
    Ok(given)
}

fn given_outputs(
    client: &Connection,
    outputs: Vec<Output<'_>>,
    binary: &mut BinaryWanted,
) -> Result<Vec<GivenOutput>, Refusal> {
    let mut given = Vec::with_capacity(outputs.len());
    for Output { name, parameters } in outputs {
        let mut options = tensor_options(&parameters)?;
        let place = match options.place(&name)? {
            Some(place) => {
                let slice = client.server.regions.slice(client.peer, &name, &place)?;
                Some((place, slice))
            }
            None => None,
        };
        if let Some(wanted) = options.binary_data {
            binary.own.insert(name.clone(), wanted);
        }
        given.push(GivenOutput { name, place });
    }
    Ok(given)
}

fn respond(reply: &Reply, wanted: &BinaryWanted) -> Result<Response, Refusal> {
    let mut outputs = Vec::with_capacity(reply.outputs.len());
    let mut binary = Vec::new();
    for (tensor, output, place) in reply.named_outputs() {
        let mut parameters = OutputParameters::default();
        let mut data = None;
        if let Some(place) = place {
            parameters.shared_memory_region = Some(&place.region);
            parameters.shared_memory_offset = Some(place.offset);
            parameters.shared_memory_byte_size = output.shared_bytes.or(Some(place.byte_size));
        } else if wanted.is_binary(&tensor.name) {
            parameters.binary_data_size = Some(output.data.len() as u64);
            binary.push(&output.data);
        } else {
            data = Some(JsonData { data_type: tensor.data_type, bytes: &output.data });
        }
        let (name, datatype) = (tensor.name.as_str(), tensor.data_type.name());
        outputs.push(ReplyOutput { name, datatype, shape: &output.shape, parameters, data });
    }
    let completion = reply.completion;
    let response = InferResponse {
        model_name: &reply.address.model,
        model_version: VERSION,
        id: &reply.address.id,
        parameters: ReplyParameters {
            queue_us: completion.queue.as_micros(),
            compute_us: completion.compute.as_micros(),
            batch: completion.batch.0,
            instance: completion.instance,
            slo_met: completion.slo_met,
        },
        outputs,
    };
    let json = serde_json::to_vec(&response).map_err(|e| {
        Refusal::new(crate::server::status::Code::Internal, format!("the reply: {e}"))
    })?;
    if binary.is_empty() {
        let json_type = HeaderValue::from_static("application/json");
        return Ok(([(CONTENT_TYPE, json_type)], json).into_response());
    }
    let json_len = HeaderValue::from(json.len());
    let mut body =
        BytesMut::with_capacity(json.len() + binary.iter().map(|b| b.len()).sum::<usize>());
    body.put_slice(&json);
    for tensor in binary {
        body.put_slice(tensor);
    }
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (JSON_LENGTH, json_len),
    ];
    Ok((headers, body.freeze()).into_response())
}
