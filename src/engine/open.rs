//! From a model's entry in config.ron to its engine.

use super::onnxruntime::OnnxRuntimeEngine;
use super::rten::RtenEngine;
use super::synthetic::SyntheticEngine;
use super::{Engine, EngineError, ModelSpec, onnx_check, signature};
use crate::config::{Config, Device, EngineConfig, ModelConfig};
use crate::units::BatchSize;
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
    if !path.exists() {
        return Err(EngineError::Load(format!(
            "{}: there is no such file; it should be an ONNX model (`bcedge models` writes the \
             reference networks)",
            path.display()
        )));
    }
    let model = onnx_check::check(path).map_err(|refusal| {
        EngineError::Load(format!(
            "{refusal}; replace the file (`bcedge models --force` writes the reference networks \
             anew)"
        ))
    })?;
    let spec = signature::model_spec(&model.inputs, &model.outputs, max_batch)
        .map_err(|error| EngineError::Load(format!("{}: {error}", path.display())))?;
    let weight_bytes = model.weight_bytes;
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
        Device::Auto => onnxruntime(spec.clone()).or_else(|error| match error {
            // A library that was named and is not there is a mistake, not a choice.
            EngineError::Unavailable(_) if config.onnxruntime.is_some() => Err(error),
            EngineError::Unavailable(reason) => {
                tracing::info!(reason, "the embedded engine is used");
                rten(spec)
            }
            other => {
                tracing::warn!(reason = %other, "the embedded engine is tried instead");
                rten(spec).map_err(|_| other)
            }
        }),
    }
}
