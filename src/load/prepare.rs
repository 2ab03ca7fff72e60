//! What happens before the first request: connecting, asking for the models' shapes, making up
//! inputs and encoding the requests once and for all.

use super::shared_memory::Region;
use super::{Load, LoadPlan};
use crate::client::infer::{InferRequest, Input, InputData, SharedOutput, SharedPlace};
use crate::client::{Call, Client, ClientError};
use crate::engine::DataType;
use crate::server::proto;
use bytes::Bytes;
use half::f16;
use proto::model_metadata_response::TensorMetadata;
use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::time::Duration;
use tonic::Code;

/// The server has this long to answer each question before the run.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Different inputs that a model gets in turn.
const INPUTS_PER_MODEL: usize = 4;
/// Token ids lie below this, inside every vocabulary.
const TOKENS: u16 = 1_000;
/// Largest input that is made up.
const MAX_INPUT_BYTES: u64 = 1 << 30;

/// A model and the requests it gets.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) rate_per_s: Option<f64>,
    pub(super) slo_us: Option<u64>,
    pub(super) request_bytes: usize,
    /// Sent in turn; never empty.
    pub(super) calls: Vec<Call>,
}

#[derive(Debug)]
pub(super) struct Prepared {
    /// Never empty.
    pub(super) clients: Vec<Client>,
    pub(super) targets: Vec<Target>,
    pub(super) regions: Vec<Region>,
}

/// # Errors
/// As [`super::run`].
pub(super) async fn prepare(plan: &LoadPlan) -> Result<Prepared, String> {
    let mut clients = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        clients.push(Client::connect(&plan.socket).await.map_err(|e| e.to_string())?);
    }
    let client = &clients[0];
    let wanted = wanted_models(client, &plan.load).await?;
    let slos = if plan.slo_us.is_some() { HashMap::new() } else { server_slos(&plan.socket).await };
    let mut targets = Vec::with_capacity(wanted.len());
    let mut regions = Vec::new();
    for (index, (name, rate_per_s)) in wanted.into_iter().enumerate() {
        let metadata = metadata(client, &name).await?;
        let seed = plan.seed.wrapping_add(index as u64);
        let requests = if plan.shared_memory {
            shared_requests(client, &metadata, seed, &mut regions).await
        } else {
            inline_requests(&metadata, seed)
        };
        let requests = requests.map_err(|e| format!("model '{name}': {e}"))?;
        let calls: Vec<Call> = requests
            .into_iter()
            .map(|request| InferRequest { model: name.clone(), slo_us: plan.slo_us, ..request })
            .map(|request| request.call())
            .collect();
        targets.push(Target {
            rate_per_s,
            slo_us: plan.slo_us.or_else(|| slos.get(&name).copied()),
            request_bytes: calls[0].body_bytes(),
            calls,
            name,
        });
    }
    Ok(Prepared { clients, targets, regions })
}

/// Takes back every registration, within a bounded time.
pub(super) async fn unregister(clients: &[Client], regions: &[Region]) {
    for region in regions {
        let done = tokio::time::timeout(Duration::from_secs(1), region.unregister(&clients[0]));
        if done.await.is_err() {
            return;
        }
    }
}

async fn answer<T>(
    question: impl Future<Output = Result<T, ClientError>>,
) -> Result<Result<T, ClientError>, String> {
    tokio::time::timeout(ANSWER_TIMEOUT, question).await.map_err(|_| {
        format!("the server took the connection but has not answered for {ANSWER_TIMEOUT:?}")
    })
}

async fn wanted_models(client: &Client, load: &Load) -> Result<Vec<(String, Option<f64>)>, String> {
    let without_rates = |names: &[String]| names.iter().map(|n| (n.clone(), None)).collect();
    match load {
        Load::Open { models, .. } => {
            Ok(models.iter().map(|m| (m.model.clone(), Some(m.rate))).collect())
        }
        Load::Trace(trace) => Ok(without_rates(&trace.models)),
        Load::Closed { models, .. } if !models.is_empty() => Ok(without_rates(models)),
        Load::Closed { .. } => {
            let ready = answer(client.ready_models()).await?.map_err(|e| {
                format!("the server does not list its models: {e}; name them with --model")
            })?;
            if ready.is_empty() {
                return Err("the server has no model that is ready".into());
            }
            Ok(without_rates(&ready))
        }
    }
}

/// The models' own SLOs, by name: empty for a server that does not tell them. Asked over a
/// connection of its own, because a server that knows gRPC only (Triton) breaks the connection that
/// anything else comes over.
async fn server_slos(socket: &Path) -> HashMap<String, u64> {
    let asked = answer(async { Client::connect(socket).await?.snapshot().await });
    match asked.await {
        Ok(Ok(snapshot)) => {
            let told = snapshot.models.into_iter().filter(|model| model.slo_us > 0);
            told.map(|model| (model.name, model.slo_us)).collect()
        }
        _ => HashMap::new(),
    }
}

async fn metadata(client: &Client, model: &str) -> Result<proto::ModelMetadataResponse, String> {
    match answer(client.model_metadata(model)).await? {
        Ok(metadata) => Ok(metadata),
        Err(ClientError::Status(status)) if status.code == Code::NotFound => {
            let known = match answer(client.ready_models()).await {
                Ok(Ok(names)) if !names.is_empty() => {
                    format!("; ready are: {}", names.join(", "))
                }
                _ => String::new(),
            };
            Err(format!("the server has no model '{model}': {status}{known}"))
        }
        Err(e) => Err(format!("model '{model}': {e}")),
    }
}

/// Requests with their tensors inside.
fn inline_requests(
    metadata: &proto::ModelMetadataResponse,
    seed: u64,
) -> Result<Vec<InferRequest>, String> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut requests = Vec::with_capacity(INPUTS_PER_MODEL);
    for _ in 0..INPUTS_PER_MODEL {
        let mut inputs = Vec::with_capacity(metadata.inputs.len());
        for tensor in &metadata.inputs {
            let (mut input, data) = made_up_input(tensor, &mut rng)?;
            input.data = InputData::Inline(data.into());
            inputs.push(input);
        }
        requests.push(InferRequest { inputs, ..InferRequest::default() });
    }
    Ok(requests)
}

/// Requests whose inputs, and outputs of a known size, lie in a region each.
async fn shared_requests(
    client: &Client,
    metadata: &proto::ModelMetadataResponse,
    seed: u64,
    regions: &mut Vec<Region>,
) -> Result<Vec<InferRequest>, String> {
    let mut requests = inline_requests(metadata, seed)?;
    let output_bytes: Vec<Option<u64>> = metadata.outputs.iter().map(tensor_bytes).collect();
    for request in &mut requests {
        let inline = std::mem::take(&mut request.inputs);
        let data: Vec<&[u8]> = inline.iter().map(|input| inline_data(&input.data)).collect();
        let input_bytes: u64 = data.iter().map(|d| d.len() as u64).sum();
        let bytes = input_bytes + output_bytes.iter().flatten().sum::<u64>();
        let region = Region::register(client, &data, bytes).await?;
        let mut offset = 0;
        let mut place = |bytes: u64| {
            let place = SharedPlace { region: region.name.clone(), offset, bytes };
            offset += bytes;
            place
        };
        for input in &inline {
            let data = InputData::Shared(place(inline_data(&input.data).len() as u64));
            request.inputs.push(Input { data, ..input.clone() });
        }
        for (tensor, bytes) in metadata.outputs.iter().zip(&output_bytes) {
            let place = bytes.map(&mut place);
            request.outputs.push(SharedOutput { name: tensor.name.clone(), place });
        }
        regions.push(region);
    }
    Ok(requests)
}

fn inline_data(data: &InputData) -> &[u8] {
    match data {
        InputData::Inline(data) => data,
        InputData::Shared(_) => &[],
    }
}

/// Size of an output for one item; `None` when only a run tells it.
fn tensor_bytes(tensor: &TensorMetadata) -> Option<u64> {
    let size = DataType::from_name(&tensor.datatype)?.size() as u64;
    let mut bytes = size;
    for (axis, &dimension) in tensor.shape.iter().enumerate() {
        let items = if axis == 0 && dimension == -1 { 1 } else { dimension };
        bytes = bytes.checked_mul(u64::try_from(items).ok()?)?;
    }
    Some(bytes)
}

/// One item of random data for `tensor`.
fn made_up_input(
    tensor: &TensorMetadata,
    rng: &mut Xoshiro256PlusPlus,
) -> Result<(Input, Vec<u8>), String> {
    let name = &tensor.name;
    let data_type = DataType::from_name(&tensor.datatype).ok_or_else(|| {
        format!(
            "input '{name}' is {}; inputs can be made up for {}",
            tensor.datatype,
            DataType::ALL.map(DataType::name).join(", ")
        )
    })?;
    let bytes = tensor_bytes(tensor).ok_or_else(|| {
        format!(
            "input '{name}' has the shape {:?}: only the first dimension, the batch, may be \
             variable",
            tensor.shape
        )
    })?;
    if bytes > MAX_INPUT_BYTES {
        return Err(format!("input '{name}' has {bytes} bytes, more than {MAX_INPUT_BYTES}"));
    }
    let mut shape = tensor.shape.clone();
    if let Some(batch) = shape.first_mut().filter(|batch| **batch == -1) {
        *batch = 1;
    }
    let elements = bytes as usize / data_type.size();
    let data = random_data(name, data_type, elements, rng);
    let input = Input {
        name: name.clone(),
        datatype: tensor.datatype.clone(),
        shape,
        data: InputData::Inline(Bytes::new()),
    };
    Ok((input, data))
}

/// Valid for the type: numbers of 0..1, token ids of 0..1000, and for what is a mask or a segment by
/// its name, ones and zeros.
fn random_data(name: &str, data_type: DataType, elements: usize, rng: &mut impl Rng) -> Vec<u8> {
    let name = name.to_lowercase();
    let mut token = || match () {
        () if name.contains("mask") => 1,
        () if name.contains("type") || name.contains("segment") => 0,
        () => rng.random_range(0..TOKENS),
    };
    let mut data = vec![0; elements * data_type.size()];
    match data_type {
        DataType::F32 => fill(&mut data, || rng.random::<f32>().to_le_bytes()),
        DataType::F16 => fill(&mut data, || f16::from_f32(rng.random()).to_le_bytes()),
        DataType::I64 => fill(&mut data, || i64::from(token()).to_le_bytes()),
        DataType::I32 => fill(&mut data, || i32::from(token()).to_le_bytes()),
        DataType::I8 | DataType::U8 => rng.fill_bytes(&mut data),
        DataType::Bool => fill(&mut data, || [u8::from(rng.random::<bool>())]),
    }
    data
}

fn fill<const N: usize>(data: &mut [u8], mut value: impl FnMut() -> [u8; N]) {
    data.as_chunks_mut().0.iter_mut().for_each(|element| *element = value());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, datatype: &str, shape: &[i64]) -> TensorMetadata {
        TensorMetadata { name: name.into(), datatype: datatype.into(), shape: shape.into() }
    }

    fn made_up(tensor: &TensorMetadata, seed: u64) -> Result<(Input, Vec<u8>), String> {
        made_up_input(tensor, &mut Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    #[test]
    fn every_type_gets_valid_data_of_the_right_size() {
        for data_type in DataType::ALL {
            let (input, data) = made_up(&tensor("x", data_type.name(), &[-1, 3, 50]), 1).unwrap();
            assert_eq!(input.shape, [1, 3, 50]);
            assert_eq!(data.len(), 150 * data_type.size());
            match data_type {
                DataType::F32 => {
                    let values = data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
                    assert!(values.into_iter().all(|v| (0.0..1.0).contains(&v)));
                }
                DataType::I64 => {
                    let values = data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b));
                    assert!(values.into_iter().all(|v| (0..1_000).contains(&v)));
                }
                DataType::Bool => assert!(data.iter().all(|&b| b < 2)),
                _ => {}
            }
        }
    }

    #[test]
    fn the_seed_decides_the_data() {
        let image = tensor("x", "FP32", &[-1, 8]);
        assert_eq!(made_up(&image, 1).unwrap().1, made_up(&image, 1).unwrap().1);
        assert_ne!(made_up(&image, 1).unwrap().1, made_up(&image, 2).unwrap().1);
    }

    #[test]
    fn what_cannot_be_made_up_is_an_error_that_names_the_input() {
        let text = made_up(&tensor("words", "BYTES", &[-1, 1]), 1).unwrap_err();
        assert!(text.contains("'words' is BYTES"), "{text}");
        let text = made_up(&tensor("x", "FP32", &[-1, 3, -1, -1]), 1).unwrap_err();
        assert!(text.contains("'x' has the shape [-1, 3, -1, -1]"), "{text}");
        let text = made_up(&tensor("x", "FP32", &[1 << 40, 1 << 40]), 1).unwrap_err();
        assert!(text.contains("'x'"), "{text}");
        let text = made_up(&tensor("x", "FP32", &[1 << 30]), 1).unwrap_err();
        assert!(text.contains("more than"), "{text}");
    }
}
