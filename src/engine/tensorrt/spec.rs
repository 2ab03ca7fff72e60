//! From what a plan declares to what the appliance serves, and how its tensors are bound.

use super::objects::{Context, Plan, PlanTensor};
use super::raw::{LINEAR, ON_DEVICE};
use crate::engine::cuda::Stream;
use crate::engine::onnx_check::{Dim, OnnxValue};
use crate::engine::{DataType, EngineError, ModelSpec, signature};
use crate::units::BatchSize;
use std::ffi::CString;

/// What is served of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlanSpec {
    pub model: ModelSpec,
    /// In the order of [`ModelSpec::inputs`].
    pub inputs: Vec<Binding>,
    /// In the order of [`ModelSpec::outputs`].
    pub outputs: Vec<Binding>,
    /// Items that a run may have; smaller batches are filled up to the first.
    pub least: BatchSize,
    pub most: BatchSize,
    /// Shapes are set for each run.
    pub is_dynamic: bool,
    /// Optimisation profiles of the largest batch; all of one range.
    pub profiles: Vec<i32>,
}

/// How one tensor is handed to TensorRT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binding {
    pub name: CString,
    /// Of one item; of the whole tensor for a model without batches.
    pub item_bytes: usize,
    /// Of one item, without the batch.
    pub item_shape: Vec<i64>,
    pub is_batched: bool,
}

impl Binding {
    /// Shape for a run of `batch` items.
    pub fn shape(&self, batch: BatchSize) -> Vec<i64> {
        let batch = self.is_batched.then_some(i64::from(batch.0));
        batch.into_iter().chain(self.item_shape.iter().copied()).collect()
    }
}

impl PlanSpec {
    /// The size a batch runs at: a plan may not take less than a certain one.
    pub fn padded(&self, batch: BatchSize) -> BatchSize {
        batch.max(self.least)
    }

    /// Reads a plan's inputs and outputs. `context` is one of the plan's; afterwards it has the
    /// first profile and the shapes of the largest batch.
    ///
    /// # Errors
    /// Why the plan can't be served, and how to build one that can.
    pub fn new(
        plan: &Plan,
        context: &mut Context,
        stream: &Stream,
        max_batch: BatchSize,
    ) -> Result<PlanSpec, String> {
        if plan.has_implicit_batch()? {
            return Err(
                "it was built with an implicit batch dimension, which is not served; build \
                it from an ONNX file (`bcedge build`)"
                    .into(),
            );
        }
        let tensors = plan.tensors()?;
        for tensor in &tensors {
            check_servable(tensor)?;
        }
        let (inputs, outputs): (Vec<_>, Vec<_>) = tensors.into_iter().partition(|t| t.is_input);
        let is_dynamic = inputs.iter().any(|input| input.shape.contains(&-1));
        let ranges = if is_dynamic { profile_ranges(plan, &inputs)? } else { Vec::new() };
        let mut spec = describe(&inputs, &outputs, ranges.first(), max_batch)?;
        spec.profiles = ranges.iter().map(|range| range.profile).collect();
        if let Some(&profile) = spec.profiles.first() {
            context.set_profile(profile, stream)?;
            stream.synchronize().map_err(|error| error.to_string())?;
        }
        spec.find_outputs(context)?;
        Ok(spec)
    }

    /// Asks what shapes the outputs have at the largest batch.
    fn find_outputs(&mut self, context: &mut Context) -> Result<(), String> {
        self.set_shapes(context, self.most)?;
        let most = i64::from(self.most.0);
        for (binding, tensor) in self.outputs.iter_mut().zip(&mut self.model.outputs) {
            let name = &tensor.name;
            let shape = context.tensor_shape(&binding.name)?;
            let item = match (binding.is_batched, shape.split_first()) {
                (false, _) => shape.as_slice(),
                (true, Some((&batch, item))) if batch == most => item,
                (true, _) => {
                    return Err(format!(
                        "output '{name}' has the shape {shape:?} for a batch of {most}: its first \
                         dimension must be the batch; change the model so that it is"
                    ));
                }
            };
            if item.iter().any(|&size| size < 0) {
                return Err(format!(
                    "the size of output '{name}' ({shape:?}) is only known after a run, which is \
                     not served; build the plan from a model whose outputs have fixed sizes"
                ));
            }
            binding.item_shape = item.to_vec();
            tensor.shape = item.to_vec();
            binding.item_bytes = tensor
                .item_bytes()
                .ok_or_else(|| format!("output '{name}' of shape {shape:?} is too large"))?;
        }
        Ok(())
    }

    /// Tells a context how many items the next run has.
    ///
    /// # Errors
    /// TensorRT's last words.
    pub fn set_shapes(&self, context: &mut Context, batch: BatchSize) -> Result<(), String> {
        if self.is_dynamic {
            for input in &self.inputs {
                context.set_input_shape(&input.name, &input.shape(batch))?;
            }
        }
        Ok(())
    }
}

/// Refuses what no run here could feed or read.
fn check_servable(tensor: &PlanTensor) -> Result<(), String> {
    let name = tensor.name.to_string_lossy();
    if tensor.is_shape_tensor || tensor.location != ON_DEVICE {
        return Err(format!(
            "tensor '{name}' is a shape tensor (its values are sizes), which is not served; build \
             the plan from a model with fixed sizes"
        ));
    }
    if tensor.format != LINEAR {
        return Err(format!(
            "tensor '{name}' has TensorRT's memory format {}, and only the linear one is served; \
             build the plan with linear inputs and outputs (`bcedge build` does)",
            tensor.format
        ));
    }
    Ok(())
}

/// The batches that one optimisation profile takes. Other dimensions that a profile leaves open
/// are refused; those that it fixes are known from it.
#[derive(Clone, Debug)]
struct ProfileRange {
    profile: i32,
    least: i64,
    most: i64,
    /// Largest shape of each input.
    shapes: Vec<Vec<i64>>,
}

/// The profiles that take the largest batch, all with one range; there is at least one.
fn profile_ranges(plan: &Plan, inputs: &[PlanTensor]) -> Result<Vec<ProfileRange>, String> {
    let range = |profile| {
        let mut range = ProfileRange { profile, least: 1, most: i64::MAX, shapes: Vec::new() };
        for input in inputs {
            let (least, most) = plan.profile_range(&input.name, profile)?;
            let open = |dim: usize| input.shape[dim] == -1;
            let name = input.name.to_string_lossy();
            if least.len() != input.shape.len() || most.len() != input.shape.len() {
                return Err(format!("profile {profile} does not fit input '{name}'"));
            }
            if let Some(dim) = (1..most.len()).find(|&dim| open(dim) && least[dim] != most[dim]) {
                return Err(format!(
                    "dimension {dim} of input '{name}' is open ({} to {} in profile {profile}): \
                     only a leading batch may be; build the plan with a fixed size there",
                    least[dim], most[dim]
                ));
            }
            if open(0) {
                range.least = range.least.max(least[0]);
                range.most = range.most.min(most[0]);
            }
            range.shapes.push(most);
        }
        Ok(range)
    };
    let mut ranges = (0..plan.profiles()?).map(range).collect::<Result<Vec<_>, String>>()?;
    let best = ranges.iter().max_by_key(|range| range.most).cloned();
    let best = best.ok_or("it has no optimisation profile")?;
    ranges.retain(|r| (r.least, r.most, &r.shapes) == (best.least, best.most, &best.shapes));
    Ok(ranges)
}

/// What the declared shapes say; outputs get their sizes later.
fn describe(
    inputs: &[PlanTensor],
    outputs: &[PlanTensor],
    range: Option<&ProfileRange>,
    max_batch: BatchSize,
) -> Result<PlanSpec, String> {
    let fixed_batch = match range {
        Some(_) => None,
        None => common_batch(inputs, outputs),
    };
    let value = |tensor: &PlanTensor, known: Option<&Vec<i64>>| {
        let mut shape = tensor.shape.clone();
        for (dim, size) in shape.iter_mut().enumerate().skip(1) {
            if let (-1, Some(known)) = (*size, known) {
                *size = known[dim];
            }
        }
        let mut dims: Vec<Dim> = shape.iter().map(|&size| dim(size)).collect();
        if let (Some(_), Some(first)) = (fixed_batch, dims.first_mut()) {
            *first = Dim::Symbolic("batch".into());
        }
        Ok(OnnxValue {
            name: tensor.name.to_string_lossy().into_owned(),
            data_type: data_type(tensor)?,
            dims,
        })
    };
    // Profiles are about inputs alone.
    let known = |index: usize| range.and_then(|range| range.shapes.get(index));
    let values = |tensors: &[PlanTensor], are_inputs: bool| {
        let tensors = tensors.iter().enumerate();
        tensors
            .map(|(index, tensor)| value(tensor, known(index).filter(|_| are_inputs)))
            .collect::<Result<Vec<_>, String>>()
    };
    let (least, most) = match (range, fixed_batch) {
        (Some(range), _) => (range.least, range.most),
        (None, Some(batch)) => (batch, batch),
        (None, None) => (1, 1),
    };
    let limit = BatchSize(u32::try_from(most).unwrap_or(u32::MAX));
    let served = max_batch.min(limit);
    let model = signature::model_spec(&values(inputs, true)?, &values(outputs, false)?, served);
    let model = model.map_err(|error: EngineError| error.to_string())?;
    let binding = |tensors: &[crate::engine::TensorSpec]| {
        let binding = |tensor: &crate::engine::TensorSpec| {
            Ok(Binding {
                name: CString::new(tensor.name.as_str()).map_err(|e| e.to_string())?,
                item_bytes: tensor.item_bytes().unwrap_or(0),
                item_shape: tensor.shape.clone(),
                is_batched: model.batched,
            })
        };
        tensors.iter().map(binding).collect::<Result<Vec<_>, String>>()
    };
    let least = BatchSize(u32::try_from(least.max(1)).unwrap_or(u32::MAX));
    Ok(PlanSpec {
        inputs: binding(&model.inputs)?,
        outputs: binding(&model.outputs)?,
        least,
        // The memory is laid out for what is served, or what the plan wants at least.
        most: model.max_batch.max(least),
        is_dynamic: range.is_some(),
        profiles: Vec::new(),
        model,
    })
}

/// The leading dimension of all inputs and outputs of a plan without open ones, if they have one
/// size in common: its fixed batch.
fn common_batch(inputs: &[PlanTensor], outputs: &[PlanTensor]) -> Option<i64> {
    let first = *inputs.first()?.shape.first()?;
    let all = inputs.iter().chain(outputs).all(|t| t.shape.first() == Some(&first));
    // A model of one item is served as its ONNX file would be.
    (all && first > 1).then_some(first)
}

fn dim(size: i64) -> Dim {
    u32::try_from(size).map_or_else(|_| Dim::Symbolic("open".into()), Dim::Fixed)
}

/// TensorRT's element types, by their numbers.
fn data_type(tensor: &PlanTensor) -> Result<DataType, String> {
    const NAMES: [&str; 12] = [
        "FP32", "FP16", "INT8", "INT32", "BOOL", "UINT8", "FP8", "BF16", "INT64", "INT4", "FP4",
        "E8M0",
    ];
    match tensor.data_type {
        0 => Ok(DataType::F32),
        1 => Ok(DataType::F16),
        2 => Ok(DataType::I8),
        3 => Ok(DataType::I32),
        4 => Ok(DataType::Bool),
        5 => Ok(DataType::U8),
        8 => Ok(DataType::I64),
        other => {
            let name = usize::try_from(other).ok().and_then(|other| NAMES.get(other));
            let served = DataType::ALL.map(DataType::name).join(", ");
            Err(format!(
                "tensor '{}' has the element type {} ({other}), which the protocol does not carry; \
                 it carries {served}",
                tensor.name.to_string_lossy(),
                name.unwrap_or(&"unknown"),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, is_input: bool, shape: &[i64]) -> PlanTensor {
        PlanTensor {
            name: CString::new(name).unwrap(),
            is_input,
            data_type: 0,
            shape: shape.to_vec(),
            location: 0,
            format: 0,
            is_shape_tensor: false,
        }
    }

    fn spec(
        inputs: &[&[i64]],
        outputs: &[&[i64]],
        range: Option<(i64, i64)>,
    ) -> Result<PlanSpec, String> {
        let tensors = |shapes: &[&[i64]], is_input: bool| -> Vec<PlanTensor> {
            let shapes = shapes.iter().enumerate();
            shapes.map(|(i, shape)| tensor(&format!("t{i}"), is_input, shape)).collect()
        };
        let range = range.map(|(least, most)| {
            let shapes = inputs.iter().map(|shape| {
                shape.iter().map(|&size| if size == -1 { most } else { size }).collect()
            });
            ProfileRange { profile: 0, least, most, shapes: shapes.collect() }
        });
        describe(&tensors(inputs, true), &tensors(outputs, false), range.as_ref(), BatchSize(16))
    }

    #[test]
    fn a_profile_bounds_the_batch() {
        let spec = spec(&[&[-1, 3, 4]], &[&[-1, 10]], Some((1, 8))).unwrap();
        assert!(spec.is_dynamic && spec.model.batched);
        assert_eq!((spec.model.max_batch, spec.most, spec.least).0, BatchSize(8));
        assert_eq!(spec.inputs[0].shape(BatchSize(5)), [5, 3, 4]);
        assert_eq!(spec.inputs[0].item_bytes, 48);
        assert_eq!(spec.padded(BatchSize(3)), BatchSize(3));
    }

    #[test]
    fn a_profile_that_begins_higher_is_filled_up() {
        let spec = spec(&[&[-1, 3]], &[&[-1, 1]], Some((4, 64))).unwrap();
        assert_eq!((spec.least, spec.most), (BatchSize(4), BatchSize(16)));
        assert_eq!(spec.padded(BatchSize(1)), BatchSize(4));
    }

    #[test]
    fn a_fixed_batch_is_served_at_its_size() {
        let spec = spec(&[&[8, 3]], &[&[8, 1], &[8, 2]], None).unwrap();
        assert!(!spec.is_dynamic && spec.model.batched);
        assert_eq!(
            (spec.least, spec.most, spec.model.max_batch),
            (BatchSize(8), BatchSize(8), BatchSize(8))
        );
        assert_eq!(spec.padded(BatchSize(1)), BatchSize(8));
    }

    #[test]
    fn without_a_common_batch_an_item_is_the_whole() {
        for (inputs, outputs) in
            [([&[1i64, 3][..]], [&[1i64, 5][..]]), ([&[8, 3]], [&[4, 1]]), ([&[2, 3]], [&[]])]
        {
            let spec = spec(&inputs, &outputs, None).unwrap();
            assert!(!spec.model.batched, "{inputs:?} {outputs:?}");
            assert_eq!(spec.most, BatchSize::ONE);
            assert_eq!(spec.inputs[0].shape(BatchSize::ONE), inputs[0]);
        }
    }

    #[test]
    fn what_can_not_be_served_is_said() {
        let mut odd = tensor("x", true, &[-1, 3]);
        odd.data_type = 7;
        assert!(data_type(&odd).unwrap_err().contains("BF16"));
        odd.format = 2;
        assert!(check_servable(&odd).unwrap_err().contains("linear"));
        odd.is_shape_tensor = true;
        assert!(check_servable(&odd).unwrap_err().contains("shape tensor"));
        let error = spec(&[&[-1, 3], &[7]], &[&[-1, 1]], Some((1, 8))).unwrap_err();
        assert!(error.contains("'t1'"), "{error}");
    }
}
