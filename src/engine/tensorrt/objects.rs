//! TensorRT's objects with owners: each frees itself, on whatever thread, and keeps alive what it
//! came from: a context its plan, a plan its runtime, a runtime the device and the library.

use super::checked::Api;
use super::library::{Library, Version};
use super::raw::{MODE_INPUT, Object, SELECT_MAX, SELECT_MIN};
use crate::engine::cuda::{Device, DeviceMemory, Stream, is_lost};
use std::ffi::{CStr, CString, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside is whole at every moment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What loads plans.
pub(super) struct Runtime {
    api: Api,
    object: Object,
    pub device: Arc<Device>,
    /// Loading is for one thread at a time. Holds whether the plugins have been asked for.
    loading: Mutex<bool>,
}

// SAFETY: the object is used by one thread at a time, under `loading`; TensorRT ties no object to
// the thread that made it.
unsafe impl Send for Runtime {}
// SAFETY: as above.
unsafe impl Sync for Runtime {}

impl Runtime {
    /// # Errors
    /// The driver's or TensorRT's.
    pub fn new(library: Arc<Library>, device: Arc<Device>) -> Result<Arc<Runtime>, String> {
        device.bind().map_err(|error| error.to_string())?;
        let api = Api { library };
        let object = api.create_runtime()?;
        Ok(Arc::new(Runtime { api, object, device, loading: Mutex::new(false) }))
    }

    pub fn version(&self) -> Version {
        self.api.library.version
    }

    /// Lets plans bring code for the processor with them, as version-compatible ones do.
    ///
    /// # Errors
    /// That this version can't.
    pub fn allow_host_code(&self) -> Result<(), String> {
        let _one_at_a_time = lock(&self.loading);
        // SAFETY: the object lives as long as `self`.
        match unsafe { self.api.allow_host_code(self.object) }? {
            true => Ok(()),
            false => Err(format!(
                "`host_code` in config.ron needs TensorRT 8.6 or newer, this is {}",
                self.version()
            )),
        }
    }

    /// Makes an engine from a plan file's content.
    ///
    /// # Errors
    /// TensorRT's last words about it.
    pub fn load(self: &Arc<Self>, plan: &[u8]) -> Result<Plan, String> {
        self.device.bind().map_err(|error| error.to_string())?;
        let mut plugins_asked_for = lock(&self.loading);
        // SAFETY: the object lives as long as `self`.
        let mut loaded = unsafe { self.api.deserialize(self.object, plan) };
        if loaded.is_err() && !std::mem::replace(&mut *plugins_asked_for, true) {
            // Most plans need no plugins, and their library is large.
            if self.api.init_plugins() {
                // SAFETY: as above.
                loaded = unsafe { self.api.deserialize(self.object, plan) };
            }
        }
        let object = loaded?;
        Ok(Plan { runtime: self.clone(), object, making: Mutex::new(()) })
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if is_lost() {
            return;
        }
        self.device.bind_for_end();
        // SAFETY: made in `new`; every plan holds an `Arc` of this, so none is left.
        unsafe { self.api.delete(self.object) };
    }
}

/// A loaded plan (`ICudaEngine`): the weights, shared by all its contexts.
pub(super) struct Plan {
    runtime: Arc<Runtime>,
    object: Object,
    /// Contexts are made and ended by one thread at a time.
    making: Mutex<()>,
}

// SAFETY: what it tells of itself are reads of what never changes; contexts are made and ended
// under `making`. TensorRT allows contexts of one engine to run on different threads.
unsafe impl Send for Plan {}
// SAFETY: as above.
unsafe impl Sync for Plan {}

/// What a plan says about one of its inputs and outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlanTensor {
    pub name: CString,
    pub is_input: bool,
    /// TensorRT's number of the element type.
    pub data_type: i32,
    /// -1: known when it runs.
    pub shape: Vec<i64>,
    pub location: i32,
    pub format: i32,
    /// Its values are sizes, which TensorRT reads on the host.
    pub is_shape_tensor: bool,
}

impl Plan {
    fn api(&self) -> &Api {
        &self.runtime.api
    }

    pub fn device(&self) -> &Arc<Device> {
        &self.runtime.device
    }

    pub fn version(&self) -> Version {
        self.runtime.version()
    }

    /// Inputs and outputs, in the plan's order.
    ///
    /// # Errors
    /// What TensorRT does not tell.
    pub fn tensors(&self) -> Result<Vec<PlanTensor>, String> {
        let (api, slots) = (self.api(), self.api().library.slots);
        // SAFETY: the engine lives as long as `self`, and each slot is the table's own for it.
        unsafe {
            let count = api.number(self.object, slots.engine_tensors, "an engine")?;
            let tensor = |index| {
                let name = api.io_name(self.object, index)?;
                let number = |slot| api.tensor_number(self.object, slot, &name);
                let mode = number(slots.engine_tensor_mode)?;
                let data_type = number(slots.engine_tensor_type)?;
                let location = number(slots.engine_tensor_location)?;
                let format = number(slots.engine_tensor_format)?;
                let shape = api.tensor_shape(self.object, slots.engine_tensor_shape, &name)?;
                let is_shape_tensor = api.is_shape_tensor(self.object, &name)?;
                let is_input = mode == MODE_INPUT;
                Ok(PlanTensor {
                    name,
                    is_input,
                    data_type,
                    shape,
                    location,
                    format,
                    is_shape_tensor,
                })
            };
            (0..count).map(tensor).collect()
        }
    }

    /// # Errors
    /// What TensorRT does not tell.
    pub fn has_implicit_batch(&self) -> Result<bool, String> {
        // SAFETY: the engine lives as long as `self`.
        unsafe { self.api().has_implicit_batch(self.object) }
    }

    /// # Errors
    /// What TensorRT does not tell.
    pub fn profiles(&self) -> Result<i32, String> {
        let slot = self.api().library.slots.engine_profiles;
        // SAFETY: the engine lives as long as `self`, and the slot is the table's own for it.
        unsafe { self.api().number(self.object, slot, "an engine") }
    }

    /// Smallest and largest shape of an input in an optimisation profile.
    ///
    /// # Errors
    /// What TensorRT does not tell.
    pub fn profile_range(
        &self,
        input: &CStr,
        profile: i32,
    ) -> Result<(Vec<i64>, Vec<i64>), String> {
        // SAFETY: the engine lives as long as `self`.
        unsafe {
            let least = self.api().profile_shape(self.object, input, profile, SELECT_MIN)?;
            let most = self.api().profile_shape(self.object, input, profile, SELECT_MAX)?;
            Ok((least, most))
        }
    }

    /// Scratch memory of one context, for any shape its profiles allow.
    ///
    /// # Errors
    /// What TensorRT does not tell.
    pub fn scratch_bytes(&self) -> Result<u64, String> {
        // SAFETY: the engine lives as long as `self`.
        unsafe { self.api().scratch_bytes(self.object) }
    }

    /// A context without scratch memory.
    ///
    /// # Errors
    /// TensorRT's last words.
    pub fn create_context(self: &Arc<Self>) -> Result<Context, String> {
        self.device().bind().map_err(|error| error.to_string())?;
        let _one_at_a_time = lock(&self.making);
        // SAFETY: the engine lives as long as `self`.
        let object = unsafe { self.api().create_context(self.object) }?;
        Ok(Context { plan: self.clone(), object })
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        if is_lost() {
            return;
        }
        self.device().bind_for_end();
        // SAFETY: made by `Runtime::load`; every context holds an `Arc` of this, so none is left.
        unsafe { self.api().delete(self.object) };
    }
}

/// An execution context: one run at a time is prepared in it, on one stream.
pub(super) struct Context {
    plan: Arc<Plan>,
    object: Object,
}

// SAFETY: all that changes it takes `&mut self`; TensorRT lets a context move between threads.
unsafe impl Send for Context {}

impl Context {
    fn api(&self) -> &Api {
        self.plan.api()
    }

    /// # Errors
    /// TensorRT's last words.
    pub fn set_profile(&mut self, profile: i32, stream: &Stream) -> Result<(), String> {
        // SAFETY: the context and the stream are alive, and a profile is chosen before any run.
        unsafe { self.api().set_profile(self.object, profile, stream.handle()) }
    }

    /// # Errors
    /// TensorRT's last words.
    pub fn set_input_shape(&mut self, input: &CStr, shape: &[i64]) -> Result<(), String> {
        // SAFETY: the context is alive.
        unsafe { self.api().set_input_shape(self.object, input, shape) }
    }

    /// The shape of a tensor as far as it follows from the inputs' shapes; -1 where it doesn't.
    ///
    /// # Errors
    /// What TensorRT does not tell.
    pub fn tensor_shape(&self, name: &CStr) -> Result<Vec<i64>, String> {
        let slot = self.api().library.slots.context_tensor_shape;
        // SAFETY: the context is alive, and the slot is the table's own for it.
        unsafe { self.api().tensor_shape(self.object, slot, name) }
    }

    /// # Errors
    /// TensorRT's last words.
    ///
    /// # Safety
    /// `address` is memory of the tensor's size that lives until the last run with it is done.
    pub unsafe fn set_address(&mut self, name: &CStr, address: *mut c_void) -> Result<(), String> {
        // SAFETY: the context is alive; the caller vouches for the memory. Allocations of CUDA are
        // aligned to 256 bytes at least.
        unsafe { self.api().set_address(self.object, name, address) }
    }

    /// # Errors
    /// That the context has nothing behind it.
    ///
    /// # Safety
    /// `scratch` is this context's alone, and alive, while one of its runs is under way.
    pub unsafe fn set_scratch(&mut self, scratch: &DeviceMemory) -> Result<(), String> {
        // SAFETY: the context is alive; the caller vouches for the memory.
        unsafe { self.api().set_scratch(self.object, scratch.address(), scratch.bytes() as u64) }
    }

    /// Enqueues a run with the shapes, addresses and scratch memory that are set.
    ///
    /// # Errors
    /// TensorRT's last words.
    ///
    /// # Safety
    /// All of those are set, and live until the stream has passed the run; runs of this context are
    /// enqueued on this stream only.
    pub unsafe fn enqueue(&mut self, stream: &Stream) -> Result<(), String> {
        // SAFETY: the context and the stream are alive; for the rest the caller vouches.
        unsafe { self.api().enqueue(self.object, stream.handle()) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if is_lost() {
            return;
        }
        self.plan.device().bind_for_end();
        let _one_at_a_time = lock(&self.plan.making);
        // SAFETY: made by `Plan::create_context`; its owner has waited for its last run.
        unsafe { self.plan.api().delete(self.object) };
    }
}
