//! From what a client asked for to a [`Submission`]: the checks that gRPC and REST share.

use crate::engine::{ModelSpec, TensorSpec};
use crate::server::gateway::{Catalog, CatalogEntry, InputData, Payload, Submission, WantedOutput};
use crate::server::parameters::{Options, shorten};
use crate::server::regions::Place;
use crate::server::shared_memory::RegionSlice;
use crate::server::status::{Code, Refusal};
use crate::telemetry::snapshot::ModelState;
use crate::units::{BatchSize, ModelId};
use bytes::Bytes;
use std::sync::Arc;

/// The only version of every model.
pub const VERSION: &str = "1";

/// An input as it came.
#[derive(Debug)]
pub struct GivenInput {
    pub name: String,
    pub data_type: String,
    pub shape: Vec<i64>,
    pub data: GivenData,
}

#[derive(Debug)]
pub enum GivenData {
    Inline(Bytes),
    Shared(RegionSlice),
}

/// An output the client asks for, and where in shared memory it wants it.
#[derive(Debug)]
pub struct GivenOutput {
    pub name: String,
    pub place: Option<(Place, RegionSlice)>,
}

/// A checked request.
#[derive(Debug)]
pub struct Checked {
    pub submission: Submission,
    /// For each of the submission's outputs, in their order: where in shared memory it goes, as
    /// the client named it.
    pub places: Vec<Option<Place>>,
}

/// The model of that name and version.
///
/// # Errors
/// NOT_FOUND.
pub fn find_model<'a>(
    catalog: &'a Catalog,
    name: &str,
    version: &str,
) -> Result<(ModelId, &'a CatalogEntry), Refusal> {
    let Some(found) = catalog.find(name) else {
        return Err(Refusal::new(
            Code::NotFound,
            format!("unknown model '{}'; the models are: {}", shorten(name), catalog.names()),
        ));
    };
    if !version.is_empty() && version != VERSION {
        return Err(Refusal::new(
            Code::NotFound,
            format!(
                "model '{name}' has no version '{}'; the only one is '{VERSION}'",
                shorten(version)
            ),
        ));
    }
    Ok(found)
}

/// What a model takes and gives.
///
/// # Errors
/// UNAVAILABLE with the reason, when the model is not ready.
pub fn ready_spec(entry: &CatalogEntry) -> Result<&Arc<ModelSpec>, Refusal> {
    let why = match (&entry.state, &entry.spec) {
        (ModelState::Ready, Some(spec)) => return Ok(spec),
        (ModelState::Failed(why), _) => format!("failed: {why}"),
        (ModelState::Unloaded, _) => "is not loaded".to_owned(),
        (ModelState::Loading | ModelState::Ready, _) => "is still loading".to_owned(),
    };
    Err(Refusal::new(Code::Unavailable, format!("model '{}' {why}", entry.name)))
}

/// Checks a request against its model.
///
/// # Errors
/// INVALID_ARGUMENT that names the tensor, what was expected and what came.
pub fn check(
    model: ModelId,
    entry: &CatalogEntry,
    spec: &ModelSpec,
    inputs: Vec<GivenInput>,
    outputs: Vec<GivenOutput>,
    options: &Options,
) -> Result<Checked, Refusal> {
    let (inputs, items) = check_inputs(&entry.name, spec, inputs)?;
    let mut places = Vec::with_capacity(spec.outputs.len());
    let outputs = check_outputs(&entry.name, spec, outputs, &mut places)?;
    let submission = Submission {
        model,
        items,
        slo: options.slo,
        timeout: options.timeout,
        priority: options.priority,
        payload: Payload { inputs, outputs },
    };
    Ok(Checked { submission, places })
}

fn check_inputs(
    model: &str,
    spec: &ModelSpec,
    given: Vec<GivenInput>,
) -> Result<(Vec<InputData>, BatchSize), Refusal> {
    let mut found: Vec<Option<InputData>> = spec.inputs.iter().map(|_| None).collect();
    let mut items: Option<(BatchSize, usize)> = None;
    for input in given {
        let index = position(&spec.inputs, &input.name)
            .ok_or_else(|| unknown_tensor(model, "input", &input.name, &spec.inputs))?;
        let tensor = &spec.inputs[index];
        if found[index].is_some() {
            return Err(wrong(model, "input", &tensor.name, "it came twice"));
        }
        let own = check_shape(model, spec, tensor, &input)?;
        match items {
            Some((first, other)) if first != own => {
                let other = &spec.inputs[other].name;
                let what =
                    format!("it has {own} items, input '{other}' has {first}; expected the same");
                return Err(wrong(model, "input", &tensor.name, &what));
            }
            _ => items = Some((own, index)),
        }
        found[index] = Some(check_size(model, tensor, own, input)?);
    }
    let mut inputs = Vec::with_capacity(found.len());
    for (data, tensor) in found.into_iter().zip(&spec.inputs) {
        inputs.push(data.ok_or_else(|| wrong(model, "input", &tensor.name, "it is missing"))?);
    }
    Ok((inputs, items.map_or(BatchSize::ONE, |(items, _)| items)))
}

fn check_shape(
    model: &str,
    spec: &ModelSpec,
    tensor: &TensorSpec,
    input: &GivenInput,
) -> Result<BatchSize, Refusal> {
    let name = &tensor.name;
    if input.data_type != tensor.data_type.name() {
        let bytes =
            if input.data_type == "BYTES" { "; BYTES tensors are not supported" } else { "" };
        let what = format!(
            "expected data type {}, came {}{bytes}",
            tensor.data_type.name(),
            shorten(&input.data_type)
        );
        return Err(wrong(model, "input", name, &what));
    }
    let (batch, item) = match input.shape.split_first() {
        Some((first, rest)) if spec.batched => (Some(*first), rest),
        _ => (None, input.shape.as_slice()),
    };
    let most = spec.max_batch;
    let items = match batch {
        None => (!spec.batched).then_some(BatchSize::ONE),
        Some(n) => u32::try_from(n).ok().map(BatchSize).filter(|n| n.0 >= 1 && *n <= most),
    };
    match items {
        Some(items) if item == tensor.shape => Ok(items),
        _ => {
            let mut expected = String::from("[");
            if spec.batched {
                expected += &format!("1 to {most}");
            }
            for dimension in &tensor.shape {
                expected += if expected.len() > 1 { ", " } else { "" };
                expected += &dimension.to_string();
            }
            let came = shape_text(&input.shape);
            let batch = if spec.batched { ", the first dimension is the batch" } else { "" };
            let what = format!("expected shape {expected}]{batch}; came {came}");
            Err(wrong(model, "input", name, &what))
        }
    }
}

fn shape_text(shape: &[i64]) -> String {
    const MOST_SHOWN: usize = 8;
    let shown: Vec<String> = shape.iter().take(MOST_SHOWN).map(i64::to_string).collect();
    let more = if shape.len() > MOST_SHOWN { ", …" } else { "" };
    format!("[{}{more}]", shown.join(", "))
}

fn check_size(
    model: &str,
    tensor: &TensorSpec,
    items: BatchSize,
    input: GivenInput,
) -> Result<InputData, Refusal> {
    let came = match &input.data {
        GivenData::Inline(data) => data.len() as u64,
        GivenData::Shared(slice) => slice.len(),
    };
    let expected = tensor.item_bytes().and_then(|bytes| bytes.checked_mul(items.get()));
    if expected.map(|bytes| bytes as u64) != Some(came) {
        let what = format!(
            "expected {} bytes for shape {} of {}, came {came}",
            expected.unwrap_or(0),
            shape_text(&input.shape),
            tensor.data_type.name()
        );
        return Err(wrong(model, "input", &tensor.name, &what));
    }
    Ok(match input.data {
        GivenData::Inline(data) => InputData::Inline(data),
        GivenData::Shared(slice) => InputData::Shared(slice),
    })
}

/// No outputs asked for: all of them.
fn check_outputs(
    model: &str,
    spec: &ModelSpec,
    given: Vec<GivenOutput>,
    places: &mut Vec<Option<Place>>,
) -> Result<Vec<WantedOutput>, Refusal> {
    if given.is_empty() {
        places.resize(spec.outputs.len(), None);
        let all = 0..spec.outputs.len();
        return Ok(all.map(|index| WantedOutput { index, place: None }).collect());
    }
    let mut wanted: Vec<WantedOutput> = Vec::with_capacity(given.len().min(spec.outputs.len()));
    for output in given {
        let index = position(&spec.outputs, &output.name)
            .ok_or_else(|| unknown_tensor(model, "output", &output.name, &spec.outputs))?;
        if wanted.iter().any(|w| w.index == index) {
            return Err(wrong(model, "output", &output.name, "it was asked for twice"));
        }
        let (place, slice) = output.place.unzip();
        wanted.push(WantedOutput { index, place: slice });
        places.push(place);
    }
    Ok(wanted)
}

fn position(tensors: &[TensorSpec], name: &str) -> Option<usize> {
    tensors.iter().position(|tensor| tensor.name == name)
}

fn unknown_tensor(model: &str, kind: &str, name: &str, known: &[TensorSpec]) -> Refusal {
    let known: Vec<_> = known.iter().map(|t| format!("'{}'", t.name)).collect();
    let what = format!("unknown; expected {}", known.join(", "));
    wrong(model, kind, shorten(name), &what)
}

fn wrong(model: &str, kind: &str, tensor: &str, what: &str) -> Refusal {
    Refusal::invalid(format!("model '{model}', {kind} '{tensor}': {what}"))
}
