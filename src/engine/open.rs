//! From a model's entry in config.ron to its engine.

use super::onnxruntime::OnnxRuntimeEngine;
use super::rten::RtenEngine;
use super::synthetic::SyntheticEngine;
use super::{Engine, EngineError, ModelSpec, signature};
use crate::config::{Config, Device, EngineConfig, ModelConfig};
use crate::models::onnx::ModelProto;
use crate::units::BatchSize;
use bytes::Bytes;
use prost::Message;
use std::path::Path;
use std::sync::Arc;

/// Loads the engine of `model` for the device that `config` names.
///
/// # Errors
/// [`EngineError::Load`] when the model file is missing, damaged or not servable,
/// [`EngineError::Unavailable`] when the device asked for is not there.
pub fn open(model: &ModelConfig, config: &Config) -> Result<Arc<dyn Engine>, EngineError> {
    let max_batch = BatchSize(model.max_batch.max(1));
    match &model.engine {
        EngineConfig::Synthetic(table) => Ok(Arc::new(SyntheticEngine::new(table, max_batch)?)),
        EngineConfig::Onnx(path) => open_onnx(path, max_batch, config),
    }
}

fn open_onnx(
    path: &Path,
    max_batch: BatchSize,
    config: &Config,
) -> Result<Arc<dyn Engine>, EngineError> {
    let (spec, weight_bytes) = check(path, max_batch)?;
    let threads = config.threads_per_instance as usize;
    let onnxruntime = |spec: ModelSpec| -> Result<Arc<dyn Engine>, EngineError> {
        let library = config.onnxruntime.as_deref();
        Ok(Arc::new(OnnxRuntimeEngine::load(path, spec, threads, weight_bytes, library)?))
    };
    let rten = |spec: ModelSpec| -> Result<Arc<dyn Engine>, EngineError> {
        Ok(Arc::new(RtenEngine::load(path, spec, threads)?))
    };
    match config.device {
        Device::Rten => rten(spec),
        Device::OnnxRuntime => onnxruntime(spec),
        Device::Auto => match onnxruntime(spec.clone()) {
            Ok(engine) => Ok(engine),
            Err(EngineError::Unavailable(reason)) if config.onnxruntime.is_none() => {
                tracing::debug!(reason, "the embedded engine is used");
                rten(spec)
            }
            Err(error) => Err(error),
        },
    }
}

/// Looks at a model file before any engine does: what it takes and gives, and how many bytes its
/// weights have.
fn check(path: &Path, max_batch: BatchSize) -> Result<(ModelSpec, u64), EngineError> {
    let refuse = |reason: String| {
        EngineError::Load(format!(
            "{}: {reason}; it should be an ONNX model (`bcedge models` writes the reference networks)",
            path.display()
        ))
    };
    let file = std::fs::read(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    let model = ModelProto::decode(Bytes::from(file))
        .map_err(|error| refuse(format!("is not an ONNX file: {error}")))?;
    let graph = model.graph.ok_or_else(|| refuse("has no graph".into()))?;
    let spec = signature::of_graph(&graph, max_batch)
        .map_err(|error| EngineError::Load(format!("{}: {error}", path.display())))?;
    let weight_bytes = graph.initializer.iter().map(|tensor| tensor.raw_data().len() as u64).sum();
    Ok((spec, weight_bytes))
}
