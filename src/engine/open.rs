//! From a model's entry in config.ron to its engine.

use super::onnxruntime::OnnxRuntimeEngine;
use super::rten::RtenEngine;
use super::synthetic::SyntheticEngine;
use super::tensorrt::{self, TensorRtEngine};
use super::{Engine, EngineError, ModelSpec, onnx_check, signature};
use crate::config::{Config, Device, EngineConfig, ModelConfig};
use crate::units::BatchSize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Loads the engine of `model` for the device that `config` names.
///
/// # Errors
/// [`EngineError::Load`] when the model file is missing, damaged or not servable,
/// [`EngineError::Unavailable`] when the device asked for is not there.
pub fn open(model: &ModelConfig, config: &Config) -> Result<Arc<dyn Engine>, EngineError> {
    let max_batch = BatchSize(model.max_batch.max(1));
    match &model.engine {
        EngineConfig::Synthetic(table) => Ok(Arc::new(SyntheticEngine::new(table, max_batch)?)),
        EngineConfig::Plan(path) => open_plan(path, model, config),
        EngineConfig::Onnx(path) => {
            let plan = plan_beside(path);
            let on_gpu = match config.device {
                Device::Rten | Device::OnnxRuntime => None,
                Device::Tensorrt if plan.is_file() => Some(open_plan(&plan, model, config)?),
                Device::Tensorrt => return Err(no_plan(path, &plan)),
                Device::Auto => auto_gpu(path, &plan, model, config)?,
            };
            on_gpu.map_or_else(|| open_onnx(path, max_batch, config), Ok)
        }
    }
}

/// Where the plan of an ONNX model is: `model.plan` beside `model.onnx`.
fn plan_beside(onnx: &Path) -> PathBuf {
    onnx.with_extension("plan")
}

fn open_plan(
    path: &Path,
    model: &ModelConfig,
    config: &Config,
) -> Result<Arc<dyn Engine>, EngineError> {
    if !path.is_file() {
        return Err(EngineError::Load(format!(
            "{}: there is no such file; it should be a TensorRT plan (`bcedge build MODEL.onnx \
             --out {}` builds one)",
            path.display(),
            path.parent().unwrap_or(Path::new(".")).display()
        )));
    }
    Ok(Arc::new(TensorRtEngine::load(path, model, config)?))
}

fn no_plan(onnx: &Path, plan: &Path) -> EngineError {
    let missing = match tensorrt::gpu_presence() {
        Ok(()) => String::new(),
        Err(reason) => format!("; there is no GPU to build or run one either: {reason}"),
    };
    EngineError::Load(format!(
        "`device: Tensorrt` runs {} from {}, which is not there; build it with `bcedge build {} \
         --out {}`{missing}",
        onnx.display(),
        plan.display(),
        onnx.display(),
        plan.parent().unwrap_or(Path::new(".")).display(),
    ))
}

/// With `device: Auto`: the plan beside the model on the GPU; `None` says that the processor is to
/// run the model, and the log says why.
fn auto_gpu(
    onnx: &Path,
    plan: &Path,
    model: &ModelConfig,
    config: &Config,
) -> Result<Option<Arc<dyn Engine>>, EngineError> {
    if !plan.is_file() {
        match tensorrt::gpu_presence() {
            Err(reason) => say_once_that_the_cpu_is_used(&reason),
            Ok(()) => tracing::info!(
                "{} runs on the CPU: there is a GPU, but no {}; `bcedge build` builds it",
                onnx.display(),
                plan.display(),
            ),
        }
        return Ok(None);
    }
    match open_plan(plan, model, config) {
        Ok(engine) => {
            tracing::info!("{} is used instead of {}", plan.display(), onnx.display());
            Ok(Some(engine))
        }
        // A library that was named and is not there is a mistake, not a choice.
        Err(EngineError::Unavailable(reason)) if config.tensorrt.is_none() => {
            say_once_that_the_cpu_is_used(&reason);
            Ok(None)
        }
        Err(error @ (EngineError::Unavailable(_) | EngineError::DeviceLost(_))) => Err(error),
        Err(other) => {
            tracing::warn!("{} runs on the CPU: {other}", onnx.display());
            Ok(None)
        }
    }
}

/// One line for all models: what is missing for one is missing for the others.
fn say_once_that_the_cpu_is_used(reason: &str) {
    static SAID: AtomicBool = AtomicBool::new(false);
    // Not before somebody can hear it.
    if tracing::enabled!(tracing::Level::INFO) && !SAID.swap(true, Ordering::Relaxed) {
        tracing::info!("no GPU is used, ONNX models run on the CPU: {reason}");
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
        Device::Auto | Device::Tensorrt => onnxruntime(spec.clone()).or_else(|error| match error {
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
