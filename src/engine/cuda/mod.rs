//! The corner of CUDA that running a plan needs, over the driver library that `cudarc` opens at run
//! time: a device, streams, events, memory, graphs.
//!
//! Nothing here needs a CUDA library to build or to start: [`Device::open`] looks for the driver and
//! says what is missing. Every object frees itself, and keeps the [`Device`] it belongs to alive.

use std::ffi::c_int;

mod device;
mod error;
mod memory;
mod stream;

pub(crate) use device::{Device, presence};
pub(crate) use error::{CudaError, is_lost};
pub(crate) use memory::{DeviceMemory, HostMemory, HostUse};
pub(crate) use stream::{Event, Graph, Stream, Waker};

unsafe extern "C" {
    /// Ends the process at once, without exit handlers.
    fn _exit(status: c_int) -> !;
}

/// Ends a process that has lost its device. Exit handlers of CUDA's and TensorRT's libraries would
/// use the device, and might hang or end the process with another status.
pub fn leave(status: u8) -> ! {
    // SAFETY: takes any number, and does not come back. Nothing of this process is left half-way
    // that exit handlers would finish: its files are written when they are.
    unsafe { _exit(c_int::from(status)) }
}
