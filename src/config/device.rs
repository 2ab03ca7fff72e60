//! What runs the models.

use super::bounds;
use serde::Deserialize;

/// The NVIDIA GPU that plans run on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GpuConfig {
    /// Which one, as CUDA counts them.
    #[serde(deserialize_with = "bounds::within::<0, 63, _, _>")]
    pub ordinal: u32,
    /// Most device memory for plans, contexts and buffers; what is free at the start when absent.
    #[serde(deserialize_with = "bounds::within_or_none::<16, 16_777_216, _>")]
    pub memory_mib: Option<u64>,
    /// Records runs as CUDA graphs.
    pub graphs: bool,
    /// Lets plans bring code for the processor with them, as version-compatible ones do.
    pub host_code: bool,
}

impl Default for GpuConfig {
    fn default() -> GpuConfig {
        GpuConfig { ordinal: 0, memory_mib: None, graphs: true, host_code: false }
    }
}

/// What runs the ONNX models. A plan is always run by TensorRT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Device {
    /// The best that is there: TensorRT when there is a GPU and a plan beside the model, else ONNX
    /// Runtime when its library is found, else the embedded engine.
    #[default]
    Auto,
    /// TensorRT, from the plan beside the model (`model.plan` beside `model.onnx`); an error when
    /// it, the GPU or the library is not there.
    Tensorrt,
    /// The embedded CPU engine.
    Rten,
    /// ONNX Runtime; an error when its library is not found.
    OnnxRuntime,
}
