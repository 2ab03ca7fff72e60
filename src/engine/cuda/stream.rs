//! Streams, the events that order them, and graphs recorded from them.

use super::device::Device;
use super::error::{CudaError, Doing, is_lost};
use super::memory::{DeviceMemory, HostMemory};
use cudarc::driver::result::{self, event, graph, stream};
use cudarc::driver::sys::{
    CUevent, CUevent_flags, CUevent_wait_flags, CUgraph, CUgraphExec, CUgraphInstantiate_flags,
    CUresult, CUstream, CUstreamCaptureMode,
};
use std::ffi::c_void;
use std::sync::Arc;
use std::thread::Thread;

/// A queue of work for the device. Dropping it waits for the work.
#[derive(Debug)]
pub(crate) struct Stream {
    handle: CUstream,
    device: Arc<Device>,
}

// SAFETY: the handle is an opaque value that the driver lets any thread use, one at a time here.
unsafe impl Send for Stream {}

impl Stream {
    /// A stream that does not wait for the default one.
    ///
    /// # Errors
    /// The driver's.
    pub fn new(device: &Arc<Device>) -> Result<Stream, CudaError> {
        device.bind()?;
        let handle = stream::create(stream::StreamKind::NonBlocking).doing("making a stream")?;
        Ok(Stream { handle, device: device.clone() })
    }

    /// For TensorRT, which takes the driver's streams as its own.
    pub fn handle(&self) -> *mut c_void {
        self.handle.cast()
    }

    /// Enqueues a copy of the first `bytes` bytes.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Safety
    /// Until the stream has passed the copy, `from` and `to` live, and neither the host nor another
    /// stream writes to `from` or touches `to`.
    pub unsafe fn copy_in(
        &self,
        to: &DeviceMemory,
        from: &HostMemory,
        bytes: usize,
    ) -> Result<(), CudaError> {
        let from = &from.bytes()[..bytes.min(to.bytes())];
        // SAFETY: both have so many bytes, and the caller keeps them as they are.
        unsafe { result::memcpy_htod_async(to.address() as u64, from, self.handle) }
            .doing("copying an input to the GPU")
    }

    /// Enqueues a copy of the first `bytes` bytes.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Safety
    /// Until the stream has passed the copy, `from` and `to` live, and neither the host nor another
    /// stream touches `to` or writes to `from`.
    pub unsafe fn copy_out(
        &self,
        to: &mut HostMemory,
        from: &DeviceMemory,
        bytes: usize,
    ) -> Result<(), CudaError> {
        let to = &mut to.bytes_mut()[..bytes.min(from.bytes())];
        // SAFETY: both have so many bytes, and the caller keeps them as they are.
        unsafe { result::memcpy_dtoh_async(to, from.address() as u64, self.handle) }
            .doing("copying an output from the GPU")
    }

    /// Marks the work enqueued so far.
    ///
    /// # Errors
    /// The driver's.
    pub fn record(&self, event: &Event) -> Result<(), CudaError> {
        // SAFETY: both handles live as long as their owners.
        unsafe { event::record(event.handle, self.handle) }.doing("recording an event")
    }

    /// Work enqueued from here on waits for what `event` marks.
    ///
    /// # Errors
    /// The driver's.
    pub fn wait_for(&self, event: &Event) -> Result<(), CudaError> {
        let flags = CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: both handles live as long as their owners.
        unsafe { stream::wait_event(self.handle, event.handle, flags) }
            .doing("ordering two streams")
    }

    /// Wakes a thread once the work enqueued so far is done. When the device has failed it may not
    /// come to that, so the thread must look by itself now and then.
    ///
    /// # Errors
    /// The driver's.
    pub fn wake_when_done(&self, waker: &Waker) -> Result<(), CudaError> {
        let thread = Arc::into_raw(waker.0.clone());
        // SAFETY: `wake` gets the reference that was just made, once, and calls nothing of CUDA.
        let enqueued = unsafe {
            stream::launch_host_function(self.handle, wake, thread.cast_mut().cast::<c_void>())
        };
        if enqueued.is_err() {
            // SAFETY: it was not handed over, so it is still ours.
            drop(unsafe { Arc::from_raw(thread) });
        }
        enqueued.doing("asking to be woken")
    }

    /// Waits until all work enqueued so far is done.
    ///
    /// # Errors
    /// Also what went wrong with that work.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        // SAFETY: the handle lives as long as `self`.
        unsafe { stream::synchronize(self.handle) }.doing("waiting for the GPU")
    }

    /// Records what `work` enqueues, instead of running it. The rest of the process is not
    /// disturbed by it. `None` when `work` says no, or enqueues what can't be recorded: the stream
    /// is as it was before.
    ///
    /// # Errors
    /// That the stream can't be used.
    pub fn capture(&self, work: impl FnOnce() -> bool) -> Result<Option<Graph>, CudaError> {
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the handle lives as long as `self`.
        unsafe { stream::begin_capture(self.handle, mode) }.doing("beginning a graph")?;
        let enqueued = work();
        // SAFETY: as above. A capture that was begun must be ended, whatever came of it.
        let recorded = unsafe { stream::end_capture(self.handle) };
        let recorded = match recorded {
            Ok(recorded) if !recorded.is_null() => recorded,
            Ok(_) => return Ok(None),
            // 900 to 909: something in `work` can't be part of a graph.
            Err(error) if (900..=909).contains(&(error.0 as u32)) => return Ok(None),
            Err(error) => return Err(CudaError::new("ending a graph", error)),
        };
        let recorded = Recorded(recorded);
        if !enqueued {
            return Ok(None);
        }
        // SAFETY: the graph was just made.
        let launchable = unsafe { graph::instantiate(recorded.0, CUgraphInstantiate_flags(0)) };
        match launchable {
            Ok(handle) => Ok(Some(Graph { handle, device: self.device.clone() })),
            Err(error) => {
                tracing::debug!("{}", CudaError::new("instantiating a graph", error));
                Ok(None)
            }
        }
    }

    /// Enqueues all that a graph holds.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Safety
    /// The memory and the execution context that the graph was recorded with are as they were then,
    /// and stay so until the stream has passed it.
    pub unsafe fn launch(&self, graph: &Graph) -> Result<(), CudaError> {
        // SAFETY: the handles live as long as their owners; for the rest the caller vouches.
        unsafe { graph::launch(graph.handle, self.handle) }.doing("launching a graph")
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if is_lost() {
            return;
        }
        self.device.bind_for_end();
        // An error was told to whoever waited for the work, or there was nobody to tell it to.
        let _ = self.synchronize();
        // SAFETY: made in `new`, destroyed once, idle.
        if let Err(error) = unsafe { stream::destroy(self.handle) }.doing("ending a stream") {
            tracing::debug!("{error}");
        }
    }
}

/// Who is woken by [`Stream::wake_when_done`].
#[derive(Clone, Debug)]
pub(crate) struct Waker(Arc<Thread>);

impl Waker {
    pub fn of_this_thread() -> Waker {
        Waker(Arc::new(std::thread::current()))
    }

    pub fn is_this_thread(&self) -> bool {
        self.0.id() == std::thread::current().id()
    }
}

/// Called by the driver, on a thread of its own.
unsafe extern "C" fn wake(thread: *mut c_void) {
    // SAFETY: the reference that `wake_when_done` made for this one call.
    let thread = unsafe { Arc::from_raw(thread.cast_const().cast::<Thread>()) };
    thread.unpark();
}

/// A point in a stream's work. Who waits for it sleeps.
#[derive(Debug)]
pub(crate) struct Event {
    handle: CUevent,
    device: Arc<Device>,
}

// SAFETY: the handle is an opaque value that the driver lets any thread use.
unsafe impl Send for Event {}

impl Event {
    /// # Errors
    /// The driver's.
    pub fn new(device: &Arc<Device>) -> Result<Event, CudaError> {
        device.bind()?;
        let flags = CUevent_flags::CU_EVENT_BLOCKING_SYNC as u32
            | CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        let mut handle = std::ptr::null_mut();
        // The flags are one argument of both, which `cudarc`'s own function can't take.
        // SAFETY: writes one handle to a place that is ours.
        unsafe { cudarc::driver::sys::cuEventCreate(&mut handle, flags) }
            .result()
            .doing("making an event")?;
        Ok(Event { handle, device: device.clone() })
    }

    /// Whether what it marks is done; an error says that it ended badly.
    ///
    /// # Errors
    /// What went wrong with the work.
    pub fn is_done(&self) -> Result<bool, CudaError> {
        // SAFETY: the handle lives as long as `self`.
        match unsafe { event::query(self.handle) } {
            Ok(()) => Ok(true),
            Err(error) if error.0 == CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            Err(error) => Err(CudaError::new("running on the GPU", error)),
        }
    }

    /// Waits until what it marks is done.
    ///
    /// # Errors
    /// What went wrong with the work.
    pub fn wait(&self) -> Result<(), CudaError> {
        // SAFETY: the handle lives as long as `self`.
        unsafe { event::synchronize(self.handle) }.doing("running on the GPU")
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if is_lost() {
            return;
        }
        self.device.bind_for_end();
        // SAFETY: made in `new`, destroyed once; the driver keeps what is still needed of it.
        if let Err(error) = unsafe { event::destroy(self.handle) }.doing("ending an event") {
            tracing::debug!("{error}");
        }
    }
}

/// Work that was recorded and can be launched again and again.
#[derive(Debug)]
pub(crate) struct Graph {
    handle: CUgraphExec,
    device: Arc<Device>,
}

// SAFETY: the handle is an opaque value; it is used by one thread at a time, as the driver asks.
unsafe impl Send for Graph {}

impl Drop for Graph {
    fn drop(&mut self) {
        if is_lost() {
            return;
        }
        self.device.bind_for_end();
        // SAFETY: made by `capture`, destroyed once. Its owner has waited for its last launch.
        if let Err(error) = unsafe { graph::exec_destroy(self.handle) }.doing("ending a graph") {
            tracing::debug!("{error}");
        }
    }
}

/// The recording that a launchable graph is made from.
struct Recorded(CUgraph);

impl Drop for Recorded {
    fn drop(&mut self) {
        if is_lost() {
            return;
        }
        // SAFETY: from a capture that ended well, destroyed once.
        if let Err(error) = unsafe { graph::destroy(self.0) }.doing("ending a recording") {
            tracing::debug!("{error}");
        }
    }
}
