//! The memory of one batch on its way: page-locked staging memory, device memory, and the events
//! that order its three stations. A context has two lanes, so that one is filled and copied while
//! the other one's batch runs.

use super::budget::{Budget, Share};
use super::context_error;
use super::spec::{Binding, PlanSpec};
use crate::engine::EngineError;
use crate::engine::cuda::{CudaError, Device, DeviceMemory, Event, HostMemory, HostUse, Stream};
use crate::units::BatchSize;
use std::ffi::c_void;
use std::sync::Arc;

/// Most bytes that one tensor may take at the largest batch, as with the other engines.
const MAX_TENSOR_BYTES: usize = 1 << 30;

pub(super) struct Lane {
    inputs: Vec<Buffer>,
    outputs: Vec<Buffer>,
    /// The inputs are on the device.
    pub uploaded: Event,
    /// The run is done.
    pub ran: Event,
    /// The outputs are on the host.
    pub done: Event,
}

/// One tensor's memory at the largest batch.
struct Buffer {
    host: HostMemory,
    /// None where the device uses the host's memory in place.
    device: Option<DeviceMemory>,
    _share: Share,
    item_bytes: usize,
}

impl Buffer {
    fn new(
        device: &Arc<Device>,
        budget: &Arc<Budget>,
        tensor: &Binding,
        most: BatchSize,
        host_use: HostUse,
    ) -> Result<Buffer, EngineError> {
        let name = tensor.name.to_string_lossy();
        let bytes = tensor.item_bytes.checked_mul(most.get());
        let bytes = bytes.filter(|&bytes| bytes <= MAX_TENSOR_BYTES).ok_or_else(|| {
            EngineError::Context(format!(
                "tensor '{name}' of shape {:?} does not fit the staging memory at batch {most} (at \
                 most {} MiB a tensor); set a smaller max_batch for this model",
                tensor.item_shape,
                MAX_TENSOR_BYTES >> 20,
            ))
        })?;
        let what = format!("tensor '{name}' at batch {most}");
        let allocate = || {
            let host = HostMemory::new(device, bytes, host_use)?;
            let own = !device.integrated;
            let own = own.then(|| DeviceMemory::new(device, bytes)).transpose()?;
            Ok((host, own))
        };
        let allocated = budget.allocate(&what, bytes as u64, allocate);
        let ((host, device), share) = allocated.map_err(super::refused)?;
        Ok(Buffer { host, device, _share: share, item_bytes: tensor.item_bytes })
    }

    /// Where the device sees it.
    fn address(&self) -> *mut c_void {
        match &self.device {
            Some(device) => device.address(),
            None => self.host.mapped_at().unwrap_or(self.host.address()),
        }
    }

    fn bytes_of(&self, batch: BatchSize) -> usize {
        self.item_bytes * batch.get()
    }
}

impl Lane {
    /// # Errors
    /// That there is too little memory, with the figures, or the driver's.
    pub fn new(
        device: &Arc<Device>,
        budget: &Arc<Budget>,
        spec: &PlanSpec,
    ) -> Result<Lane, EngineError> {
        let buffers = |tensors: &[Binding], host_use| {
            let buffer = |tensor| Buffer::new(device, budget, tensor, spec.most, host_use);
            tensors.iter().map(buffer).collect::<Result<Vec<_>, _>>()
        };
        let event = || Event::new(device).map_err(context_error);
        Ok(Lane {
            inputs: buffers(&spec.inputs, HostUse::Input)?,
            outputs: buffers(&spec.outputs, HostUse::Output)?,
            uploaded: event()?,
            ran: event()?,
            done: event()?,
        })
    }

    /// Staging memory of the first `batch` items of an input.
    pub fn stage(&mut self, input: usize, batch: BatchSize) -> &mut [u8] {
        let buffer = &mut self.inputs[input];
        let bytes = buffer.bytes_of(batch);
        &mut buffer.host.bytes_mut()[..bytes]
    }

    /// Fills up a batch that the plan does not take: the items after the first `batch` are zeros.
    pub fn pad(&mut self, batch: BatchSize, padded: BatchSize) {
        for buffer in &mut self.inputs {
            let rest = buffer.bytes_of(batch)..buffer.bytes_of(padded);
            buffer.host.bytes_mut()[rest].fill(0);
        }
    }

    /// Where the device finds the inputs, in their order.
    pub fn input_addresses(&self) -> impl Iterator<Item = *mut c_void> {
        self.inputs.iter().map(Buffer::address)
    }

    /// Where the device puts the outputs, in their order.
    pub fn output_addresses(&self) -> impl Iterator<Item = *mut c_void> {
        self.outputs.iter().map(Buffer::address)
    }

    /// Enqueues the copies to the device, if it has memory of its own.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Safety
    /// The lane's last batch is done, and nobody stages into it until the stream has passed this.
    pub unsafe fn upload(&self, stream: &Stream, batch: BatchSize) -> Result<(), CudaError> {
        for buffer in &self.inputs {
            if let Some(device) = &buffer.device {
                // SAFETY: both memories are the lane's; the caller vouches for the time.
                unsafe { stream.copy_in(device, &buffer.host, buffer.bytes_of(batch)) }?;
            }
        }
        Ok(())
    }

    /// Enqueues the copies from the device, if it has memory of its own.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Safety
    /// The stream comes here after the run, and nobody reads outputs until it has passed this.
    pub unsafe fn download(&mut self, stream: &Stream, batch: BatchSize) -> Result<(), CudaError> {
        for buffer in &mut self.outputs {
            let bytes = buffer.bytes_of(batch);
            if let Some(device) = &buffer.device {
                // SAFETY: both memories are the lane's; the caller vouches for the time.
                unsafe { stream.copy_out(&mut buffer.host, device, bytes) }?;
            }
        }
        Ok(())
    }

    /// An output of the first `batch` items, after `done`.
    pub fn output(&self, output: usize, batch: BatchSize) -> &[u8] {
        let buffer = &self.outputs[output];
        &buffer.host.bytes()[..buffer.bytes_of(batch)]
    }
}
