//! `ModelInfer`, the call that has to be fast: one pass over the message in, one over the reply out,
//! tensors never copied on the way except small ones into the reply.

use crate::engine::DataType;
use crate::server::body::{GRPC_PREFIX_LEN, RequestBody, RequestGuard, ResponseBody};
use crate::server::call::{Address, Call, Reply};
use crate::server::connection::{Connection, InFlight};
use crate::server::grpc::contents;
use crate::server::parameters::{Options, TensorOptions, Value};
use crate::server::proto::infer_parameter::ParameterChoice;
use crate::server::proto::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::server::proto::model_infer_response::InferOutputTensor;
use crate::server::proto::{InferParameter, ModelInferRequest, ModelInferResponse};
use crate::server::status::{Code, Refusal};
use crate::server::validate::{GivenData, GivenInput, GivenOutput, VERSION};
use bytes::{BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use prost::Message;
use std::collections::HashMap;
use std::sync::Arc;

/// An output larger than this is a piece of the response by itself instead of being copied.
const LARGEST_COPIED_BYTES: usize = 8 << 10;
/// `raw_output_contents` on the wire: field 6, length-delimited.
const RAW_OUTPUT_TAG: u8 = 6 << 3 | 2;

/// Serves one unary call; the reply's bytes, in pieces, ready to be sent, and the call's place
/// among those in flight, to be kept until they are.
///
/// # Errors
/// Everything that can be wrong with a request, or become of it.
pub async fn infer(
    connection: &Arc<Connection>,
    body: RequestBody,
) -> Result<(Vec<Bytes>, InFlight), Refusal> {
    let in_flight = connection.admit()?;
    let max_bytes = connection.server.config.max_message_bytes;
    let message = body.read_message(max_bytes).await?;
    let request = ModelInferRequest::decode(message)
        .map_err(|e| Refusal::invalid(format!("the message is not a ModelInferRequest: {e}")))?;
    let reply = begin(connection, in_flight, request)?.finish().await?;
    let (response, in_flight) = response(reply);
    Ok((encode(response, max_bytes)?, in_flight))
}

/// Checks a request and hands it to the reactor.
///
/// # Errors
/// As [`Call::begin`].
pub fn begin(
    connection: &Connection,
    in_flight: InFlight,
    request: ModelInferRequest,
) -> Result<Call, Refusal> {
    let mut options = Options::default();
    for (name, parameter) in &request.parameters {
        if let Some(value) = Value::from_proto(parameter) {
            options.set(name, &value)?;
        }
    }
    let inputs = given_inputs(connection, request.inputs, request.raw_input_contents)?;
    let outputs = given_outputs(connection, request.outputs)?;
    let address =
        Address { model: request.model_name, version: request.model_version, id: request.id };
    let catalog = connection.server.gateway.catalog();
    Call::begin(connection, &catalog, in_flight, address, inputs, outputs, &options)
}

fn tensor_options(parameters: &HashMap<String, InferParameter>) -> Result<TensorOptions, Refusal> {
    let mut options = TensorOptions::default();
    for (name, parameter) in parameters {
        if let Some(value) = Value::from_proto(parameter) {
            options.set(name, &value)?;
        }
    }
    Ok(options)
}

/// `raw` has one entry for each input that is not in shared memory, or none at all.
fn given_inputs(
    connection: &Connection,
    inputs: Vec<InferInputTensor>,
    raw: Vec<Bytes>,
) -> Result<Vec<GivenInput>, Refusal> {
    let raw_count = raw.len();
    let mut raw = raw.into_iter();
    let mut inline_count = 0;
    let mut given = Vec::with_capacity(inputs.len());
    for input in inputs {
        let data = match tensor_options(&input.parameters)?.place(&input.name)? {
            Some(place) => GivenData::Shared(connection.server.regions.slice(
                connection.peer,
                &input.name,
                &place,
            )?),
            None => {
                inline_count += 1;
                GivenData::Inline(inline_data(&input, raw_count, raw.next())?)
            }
        };
        let InferInputTensor { name, datatype: data_type, shape, .. } = input;
        given.push(GivenInput { name, data_type, shape, data });
    }
    if raw_count > inline_count {
        return Err(Refusal::invalid(format!(
            "raw_input_contents has {raw_count} entries, expected {inline_count}: one for each \
             input that is not in shared memory"
        )));
    }
    Ok(given)
}

fn inline_data(
    input: &InferInputTensor,
    raw_count: usize,
    raw: Option<Bytes>,
) -> Result<Bytes, Refusal> {
    match (raw, &input.contents) {
        (Some(_), Some(_)) => Err(Refusal::invalid(format!(
            "input '{}': it has contents although raw_input_contents is used; expected one of them",
            input.name
        ))),
        (Some(raw), None) => Ok(raw),
        (None, _) if raw_count > 0 => Err(Refusal::invalid(format!(
            "input '{}': raw_input_contents has no entry for it, only {raw_count} in all",
            input.name
        ))),
        (None, Some(typed)) => {
            // A type that is not known is named by the check against the model's spec.
            DataType::from_name(&input.datatype)
                .map_or(Ok(Bytes::new()), |t| contents::to_bytes(&input.name, t, typed))
        }
        (None, None) => Err(Refusal::invalid(format!(
            "input '{}': it has no data; expected raw_input_contents, contents or shared memory",
            input.name
        ))),
    }
}

fn given_outputs(
    connection: &Connection,
    outputs: Vec<InferRequestedOutputTensor>,
) -> Result<Vec<GivenOutput>, Refusal> {
    let mut given = Vec::with_capacity(outputs.len());
    for output in outputs {
        let place = match tensor_options(&output.parameters)?.place(&output.name)? {
            Some(place) => {
                let slice =
                    connection.server.regions.slice(connection.peer, &output.name, &place)?;
                Some((place, slice))
            }
            None => None,
        };
        given.push(GivenOutput { name: output.name, place });
    }
    Ok(given)
}

/// The reply as a message; its tensors are still the engine's own buffers.
pub fn response(mut reply: Reply) -> (ModelInferResponse, InFlight) {
    let outputs = reply
        .named_outputs()
        .map(|(tensor, output, place)| {
            let parameters = match place {
                Some(place) => HashMap::from([
                    ("shared_memory_region".to_owned(), text(place.region.clone())),
                    ("shared_memory_offset".to_owned(), int(place.offset)),
                    (
                        "shared_memory_byte_size".to_owned(),
                        int(output.shared_bytes.unwrap_or(place.byte_size)),
                    ),
                ]),
                None => HashMap::new(),
            };
            InferOutputTensor {
                name: tensor.name.clone(),
                datatype: tensor.data_type.name().to_owned(),
                shape: output.shape.clone(),
                parameters,
                contents: None,
            }
        })
        .collect();
    let completion = reply.completion;
    let parameters = HashMap::from([
        ("queue_us".to_owned(), int(completion.queue.as_micros())),
        ("compute_us".to_owned(), int(completion.compute.as_micros())),
        ("batch".to_owned(), int(completion.batch.0.into())),
        ("instance".to_owned(), int(completion.instance.into())),
        ("slo_met".to_owned(), boolean(completion.slo_met)),
    ]);
    // One entry for each output, empty for those in shared memory: Triton's C++ client indexes
    // the list without looking at its length.
    let raw_output_contents =
        reply.outputs.iter_mut().map(|output| std::mem::take(&mut output.data)).collect();
    let response = ModelInferResponse {
        model_name: reply.address.model,
        model_version: VERSION.to_owned(),
        id: reply.address.id,
        parameters,
        outputs,
        raw_output_contents,
    };
    (response, reply.in_flight)
}

fn int(value: u64) -> InferParameter {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(value)) }
}

fn text(value: String) -> InferParameter {
    InferParameter { parameter_choice: Some(ParameterChoice::StringParam(value)) }
}

/// A parameter that is true or false.
pub fn boolean(value: bool) -> InferParameter {
    InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(value)) }
}

/// The message with its gRPC prefix. Large tensors stay pieces of their own.
fn encode(mut response: ModelInferResponse, max_bytes: u64) -> Result<Vec<Bytes>, Refusal> {
    let len = response.encoded_len();
    if len as u64 > max_bytes {
        return Err(Refusal::new(
            Code::TooLarge,
            format!(
                "the response has {len} bytes, max_message_bytes allows {max_bytes}; ask for fewer \
                 items or outputs, or use shared memory"
            ),
        ));
    }
    let raw = std::mem::take(&mut response.raw_output_contents);
    let copied: usize = raw.iter().map(Bytes::len).filter(|&n| n <= LARGEST_COPIED_BYTES).sum();
    const LONGEST_FIELD_HEAD: usize = 11;
    let room = GRPC_PREFIX_LEN + response.encoded_len() + raw.len() * LONGEST_FIELD_HEAD + copied;
    let mut buffer = BytesMut::with_capacity(room);
    buffer.put_u8(0);
    // Within `max_message_bytes`, which the configuration keeps below 4 GiB.
    buffer.put_u32(u32::try_from(len).map_err(|_| too_long_for_grpc())?);
    response.encode_raw(&mut buffer);
    let mut pieces = Vec::with_capacity(1 + 2 * raw.len());
    for tensor in raw {
        buffer.put_u8(RAW_OUTPUT_TAG);
        prost::encoding::encode_varint(tensor.len() as u64, &mut buffer);
        if tensor.len() <= LARGEST_COPIED_BYTES {
            buffer.put_slice(&tensor);
        } else {
            pieces.push(buffer.split().freeze());
            pieces.push(tensor);
        }
    }
    if !buffer.is_empty() {
        pieces.push(buffer.freeze());
    }
    Ok(pieces)
}

fn too_long_for_grpc() -> Refusal {
    Refusal::new(Code::TooLarge, "the response is longer than a gRPC message can be")
}

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The HTTP response of a call that went well.
pub fn reply(
    pieces: Vec<Bytes>,
    request: RequestGuard,
    in_flight: InFlight,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::reply(pieces, request, in_flight));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// The HTTP response of a call that did not.
pub fn refuse(refusal: Refusal, request: RequestGuard) -> Response<ResponseBody> {
    tonic::Status::from(refusal).into_http().map(|body| ResponseBody::grpc(body, request))
}

#[cfg(test)]
mod tests;
