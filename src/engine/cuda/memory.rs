//! Memory on the device, and memory of the host that the device reads and writes directly.

use super::device::Device;
use super::error::{CudaError, Doing, is_lost};
use cudarc::driver::result;
use cudarc::driver::sys::{self, CUdeviceptr};
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

/// `CU_MEMHOSTALLOC_*`: any context may use it; it is mapped into the device's addresses; the
/// processor's writes are combined and its reads slow.
const PORTABLE: u32 = 1;
const MAPPED: u32 = 2;
const WRITE_COMBINED: u32 = 4;

/// A block of device memory, aligned to 256 bytes at least, as TensorRT wants it.
#[derive(Debug)]
pub(crate) struct DeviceMemory {
    address: CUdeviceptr,
    bytes: usize,
    device: Arc<Device>,
}

impl DeviceMemory {
    /// # Errors
    /// The driver's, such as that there is not so much.
    pub fn new(device: &Arc<Device>, bytes: usize) -> Result<DeviceMemory, CudaError> {
        device.bind()?;
        let bytes = bytes.max(1);
        // SAFETY: a plain allocation; what is in it is only read after the device has written it.
        let address = unsafe { result::malloc_sync(bytes) }.doing("allocating device memory")?;
        Ok(DeviceMemory { address, bytes, device: device.clone() })
    }

    pub fn address(&self) -> *mut c_void {
        self.address as *mut c_void
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        if is_lost() {
            return;
        }
        self.device.bind_for_end();
        // SAFETY: allocated in `new` and freed once. Whoever gave the address to a stream waits for
        // the stream before letting go of this; cuMemFree itself waits for what still uses it.
        let freed = unsafe { result::free_sync(self.address) }.doing("freeing device memory");
        if let Err(error) = freed {
            tracing::debug!("{error}");
        }
    }
}

/// What page-locked host memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostUse {
    /// The processor writes it and never reads it: write-combined.
    Input,
    /// The processor reads it.
    Output,
}

/// Page-locked memory of the host: copies to and from it run beside everything else, and an
/// integrated GPU uses it in place.
#[derive(Debug)]
pub(crate) struct HostMemory {
    start: NonNull<u8>,
    bytes: usize,
    /// Where the device sees it.
    mapped_at: Option<CUdeviceptr>,
    device: Arc<Device>,
}

// SAFETY: it owns its memory as a `Vec` does; the driver lets any thread use and free it.
unsafe impl Send for HostMemory {}

impl HostMemory {
    /// Zeroed memory, seen by the device too if that is `integrated`.
    ///
    /// # Errors
    /// The driver's.
    pub fn new(
        device: &Arc<Device>,
        bytes: usize,
        host_use: HostUse,
    ) -> Result<HostMemory, CudaError> {
        device.bind()?;
        let bytes = bytes.max(1);
        let mut flags = PORTABLE;
        if host_use == HostUse::Input {
            flags |= WRITE_COMBINED;
        }
        if device.integrated {
            flags |= MAPPED;
        }
        // SAFETY: a plain allocation.
        let start =
            unsafe { result::malloc_host(bytes, flags) }.doing("allocating page-locked memory")?;
        let start = NonNull::new(start.cast::<u8>())
            .ok_or_else(|| CudaError::null("allocating page-locked memory"))?;
        // SAFETY: `start` has `bytes` bytes and nobody else knows it yet. A slice of it must not
        // show uninitialised memory.
        unsafe { std::ptr::write_bytes(start.as_ptr(), 0, bytes) };
        let mut memory = HostMemory { start, bytes, mapped_at: None, device: device.clone() };
        if device.integrated {
            let mut address = 0;
            // SAFETY: `start` was allocated as mapped; the address is written to a place of ours.
            unsafe {
                sys::cuMemHostGetDevicePointer_v2(&mut address, start.as_ptr().cast(), 0).result()
            }
            .doing("mapping host memory for the GPU")?;
            memory.mapped_at = Some(address);
        }
        Ok(memory)
    }

    /// Where the device sees it; `None` where the device has memory of its own.
    pub fn mapped_at(&self) -> Option<*mut c_void> {
        self.mapped_at.map(|address| address as *mut c_void)
    }

    pub fn address(&self) -> *mut c_void {
        self.start.as_ptr().cast()
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `new` allocated and zeroed so many bytes, freed in `drop` only. The device writes
        // them only while a run is under way, when its owner lends them to nobody.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        if is_lost() {
            return;
        }
        self.device.bind_for_end();
        // SAFETY: allocated in `new`, freed once, and no copy is under way (see `DeviceMemory`).
        let freed = unsafe { result::free_host(self.start.as_ptr().cast()) };
        if let Err(error) = freed.doing("freeing page-locked memory") {
            tracing::debug!("{error}");
        }
    }
}
