//! The corner of CUDA that running a plan needs, over the driver library that `cudarc` opens at run
//! time: a device, streams, events, memory, graphs.
//!
//! Nothing here needs a CUDA library to build or to start: [`Device::open`] looks for the driver and
//! says what is missing. Every object frees itself, and keeps the [`Device`] it belongs to alive.

mod device;
mod error;
mod memory;
mod stream;

pub(crate) use device::{Device, presence};
pub(crate) use error::CudaError;
pub(crate) use memory::{DeviceMemory, HostMemory, HostUse};
pub(crate) use stream::{Event, Graph, Stream, Waker};
