//! One copy of the weights for all sessions of a model.
//!
//! ONNX Runtime reorders weights for the processor while it optimises a model, so sessions made
//! from the file each end up with weights of their own. Here the model is optimised once and
//! written out; what comes back is cut into a skeleton without weights and the weights themselves,
//! and every session is made of the one skeleton and the same weights.

use super::options;
use crate::models::onnx::tensor_proto::{DataLocation, DataType};
use crate::models::onnx::{ModelProto, StringStringEntryProto, TensorProto};
use bytes::Bytes;
use half::f16;
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, PrepackedWeights};
use ort::value::{DynValue, Tensor};
use prost::Message;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

/// Smaller ones stay in the skeleton: shapes and axes that the loader itself looks at.
const MIN_SHARED_BYTES: usize = 1024;

/// An optimised model, its weights apart.
pub(super) struct SharedModel {
    skeleton: Vec<u8>,
    weights: Vec<(String, Arc<DynValue>)>,
    /// What the sessions make of the weights for their matrix products, made once too.
    prepacked: PrepackedWeights,
}

impl SharedModel {
    /// Optimises the model of `path`.
    ///
    /// # Errors
    /// Why the weights of this model cannot be shared; sessions from its file may still work.
    pub fn new(environment: &Environment, path: &Path) -> Result<SharedModel, String> {
        let optimised = optimise(environment, path)?;
        let length = optimised.len();
        let mut model = ModelProto::decode(optimised).map_err(|error| error.to_string())?;
        if model.encoded_len() != length {
            return Err("the optimised model has parts that bcedge does not know".into());
        }
        let graph = model.graph.as_mut().ok_or("the optimised model has no graph")?;
        let mut weights = Vec::new();
        for tensor in &mut graph.initializer {
            if let Some(value) = take_weights(tensor).map_err(|error| error.to_string())? {
                weights.push((tensor.name().to_owned(), Arc::new(value)));
            }
        }
        let skeleton = model.encode_to_vec();
        Ok(SharedModel { skeleton, weights, prepacked: PrepackedWeights::new() })
    }

    /// Makes one more session over the same weights.
    pub fn session(&self, environment: &Environment, threads: usize) -> ort::Result<Session> {
        let mut builder = options(environment, threads)?
            .with_optimization_level(GraphOptimizationLevel::Disable)?
            .with_prepacked_weights(&self.prepacked)?;
        for (name, value) in &self.weights {
            // The first call completes the skeleton, and would have the session copy the weights
            // if the second did not make it use these.
            builder = builder.with_external_initializer(name, value.clone())?;
            builder = builder.with_initializer(name, value.clone())?;
        }
        builder.commit_from_memory(&self.skeleton)
    }
}

/// The model as ONNX Runtime would run it here.
fn optimise(environment: &Environment, path: &Path) -> Result<Bytes, String> {
    // It can only be written to a file: one that is memory without a name, and never on a disk.
    let memory =
        memfd_create("bcedge-optimised", MemfdFlags::CLOEXEC).map_err(|e| e.to_string())?;
    let mut memory = File::from(memory);
    let name = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let build = || -> ort::Result<Session> {
        options(environment, 1)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_optimized_model_path(&name)?
            .with_prepacking(false)?
            .commit_from_file(path)
    };
    drop(build().map_err(|error| error.to_string())?);
    let mut written = Vec::new();
    memory.read_to_end(&mut written).map_err(|error| error.to_string())?;
    Ok(Bytes::from(written))
}

/// Takes large weights out of `tensor`, which then says that they are elsewhere.
fn take_weights(tensor: &mut TensorProto) -> ort::Result<Option<DynValue>> {
    let Some(data) = tensor.raw_data.take_if(|data| data.len() >= MIN_SHARED_BYTES) else {
        return Ok(None);
    };
    let dims = tensor.dims.clone();
    macro_rules! value {
        ($element:ty) => {{
            let elements: Vec<$element> = bytemuck::allocation::pod_collect_to_vec(&data);
            Tensor::from_array((dims, elements))?.into_dyn()
        }};
    }
    let value = match tensor.data_type() {
        t if t == DataType::Float as i32 => value!(f32),
        t if t == DataType::Float16 as i32 => value!(f16),
        t if t == DataType::Int64 as i32 => value!(i64),
        t if t == DataType::Int32 as i32 => value!(i32),
        t if t == DataType::Int8 as i32 => value!(i8),
        t if t == DataType::Uint8 as i32 => value!(u8),
        _ => {
            tensor.raw_data = Some(data);
            return Ok(None);
        }
    };
    // The place is never looked at, but a tensor without data must name one.
    let place = StringStringEntryProto {
        key: Some("location".into()),
        value: Some("shared-between-sessions".into()),
    };
    tensor.external_data = vec![place];
    tensor.set_data_location(DataLocation::External);
    Ok(Some(value))
}
