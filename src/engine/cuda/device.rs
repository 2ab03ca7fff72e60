//! The GPU: found step by step, so that every machine without one gets an error that names the step.

use super::error::{CudaError, Doing, is_lost};
use cudarc::driver::result;
use cudarc::driver::sys::{self, CUcontext, CUdevice, CUdevice_attribute as Attribute};
use std::sync::Arc;

/// What is called of the driver library. All of it is in the driver of CUDA 11.4, the oldest one
/// served (JetPack 5); `cudarc` panics where a function is missing, so this is looked at first.
const FUNCTIONS: [&str; 33] = [
    "cuInit",
    "cuDriverGetVersion",
    "cuDeviceGet",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxSetCurrent",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuMemGetInfo_v2",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuMemHostGetDevicePointer_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventQuery",
    "cuEventSynchronize",
    "cuLaunchHostFunc",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
];
/// Called only when objects end; a driver that has the others has these.
const ENDINGS: [&str; 2] = ["cuGraphExecDestroy", "cuGraphDestroy"];

/// CUDA 11.4 as `cuDriverGetVersion` puts it.
const OLDEST_DRIVER: i32 = 11_040;

/// How to get what is missing.
const DRIVER_REMEDY: &str = "install NVIDIA's driver (a Jetson has it from JetPack; a container \
    needs `--runtime nvidia` or `--gpus all`)";

/// One GPU, with its primary context held as long as this lives.
#[derive(Debug)]
pub(crate) struct Device {
    context: CUcontext,
    handle: CUdevice,
    /// Such as `NVIDIA Orin`.
    pub name: String,
    /// Shares the host's memory, as a Jetson does.
    pub integrated: bool,
    /// Compute capability, such as (8, 7).
    pub capability: (i32, i32),
}

// SAFETY: a context handle is an opaque value that any thread may make current; the driver API is
// documented as thread-safe, and nothing here is changed after `open`.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

/// How many GPUs there are. Makes no context, so it costs no device memory.
///
/// # Errors
/// What is missing for there to be one, and what to do.
pub(crate) fn presence() -> Result<i32, String> {
    // SAFETY: opens and closes the driver library, whose initialisers are made to be run anywhere.
    if !unsafe { sys::is_culib_present() } {
        return Err(format!(
            "NVIDIA's driver library libcuda.so.1 is not there (looked for it on the loader's path \
             and in LD_LIBRARY_PATH); {DRIVER_REMEDY}"
        ));
    }
    // SAFETY: the library was opened a moment ago, so this doesn't panic; it stays open for good.
    let library = unsafe { sys::culib() };
    let missing = FUNCTIONS.iter().chain(&ENDINGS).find(|name| {
        // SAFETY: the symbol is only looked up, neither read nor called.
        unsafe { library.get::<*const ()>(name.as_bytes()) }.is_err()
    });
    if let Some(name) = missing {
        return Err(format!(
            "the driver library libcuda.so is there but has no function {name}, so it is older than \
             CUDA 11.4 or not NVIDIA's; {DRIVER_REMEDY}, CUDA 11.4 or newer"
        ));
    }
    result::init().doing("cuInit").map_err(no_gpu)?;
    let mut version = 0;
    // SAFETY: writes one integer to a place that is ours.
    unsafe { sys::cuDriverGetVersion(&mut version) }
        .result()
        .doing("cuDriverGetVersion")
        .map_err(no_gpu)?;
    if version < OLDEST_DRIVER {
        return Err(format!(
            "the driver serves CUDA {}.{}, and 11.4 is the oldest that can be used; \
             {DRIVER_REMEDY}, CUDA 11.4 or newer",
            version / 1000,
            version % 1000 / 10
        ));
    }
    match result::device::get_count().doing("cuDeviceGetCount").map_err(no_gpu)? {
        count if count > 0 => Ok(count),
        _ => Err(format!(
            "the driver library libcuda.so.1 is there but finds no GPU; look at what `nvidia-smi` \
             says and at CUDA_VISIBLE_DEVICES, or {DRIVER_REMEDY}"
        )),
    }
}

fn no_gpu(error: CudaError) -> String {
    format!(
        "the driver library libcuda.so.1 is there but no GPU can be used: {error}; look at what \
         `nvidia-smi` says and at CUDA_VISIBLE_DEVICES, or {DRIVER_REMEDY}"
    )
}

impl Device {
    /// Opens the GPU of that number, as CUDA counts them.
    ///
    /// # Errors
    /// What is missing, and what to do.
    pub fn open(ordinal: u32) -> Result<Arc<Device>, String> {
        let count = presence()?;
        let index =
            i32::try_from(ordinal).ok().filter(|&index| index < count).ok_or_else(|| {
                format!(
                    "config.ron names GPU {ordinal} (`gpu: (ordinal: …)`), but CUDA counts {count} \
                 here, from 0"
                )
            })?;
        let unusable = |error: CudaError| format!("GPU {ordinal} can't be used: {error}");
        let handle = result::device::get(index).doing("cuDeviceGet").map_err(unusable)?;
        let name = result::device::get_name(handle).doing("cuDeviceGetName").map_err(unusable)?;
        let attribute = |attribute: Attribute| {
            // SAFETY: `handle` came from cuDeviceGet.
            unsafe { result::device::get_attribute(handle, attribute) }
                .doing("cuDeviceGetAttribute")
                .map_err(unusable)
        };
        let integrated = attribute(Attribute::CU_DEVICE_ATTRIBUTE_INTEGRATED)? == 1
            && attribute(Attribute::CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY)? == 1;
        let capability = (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        );
        // SAFETY: `handle` came from cuDeviceGet; `drop` releases what this retains. It comes last,
        // so that no early return leaves it retained.
        let context = unsafe { result::primary_ctx::retain(handle) }
            .doing("cuDevicePrimaryCtxRetain")
            .map_err(unusable)?;
        Ok(Arc::new(Device { context, handle, name, integrated, capability }))
    }

    /// Makes the device the calling thread's own, for the driver and for TensorRT. Cheap; comes
    /// before anything a thread does with the device.
    ///
    /// # Errors
    /// The driver's.
    pub fn bind(&self) -> Result<(), CudaError> {
        // SAFETY: the context is retained as long as `self` lives.
        unsafe { result::ctx::set_current(self.context) }.doing("cuCtxSetCurrent")
    }

    /// As [`Device::bind`], where an object ends whatever comes of it.
    pub fn bind_for_end(&self) {
        if let Err(error) = self.bind() {
            tracing::debug!("{error}");
        }
    }

    /// Bytes of device memory that are free now, over all processes, and that there are.
    ///
    /// # Errors
    /// The driver's.
    pub fn memory(&self) -> Result<(u64, u64), CudaError> {
        self.bind()?;
        let (free, total) = result::mem_get_info().doing("cuMemGetInfo")?;
        Ok((free as u64, total as u64))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if is_lost() {
            return;
        }
        // SAFETY: retained once in `open`. All objects in it hold an `Arc` of this, so none is left.
        if let Err(error) = unsafe { result::primary_ctx::release(self.handle) }.doing("release") {
            tracing::debug!(%error, "the GPU's context was not released");
        }
    }
}
