//! TensorRT's functions with results: what can't be is an error with words, and no pointer comes
//! back that can't be one. What stays `unsafe` is that the objects must be alive.

use super::library::{Library, text};
use super::log::{self, because};
use super::raw::{ABSENT, DELETE, Dims32, Dims64, Object, PARSER_VERSION, USER_MANAGED, call};
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::null_mut;
use std::sync::Arc;

/// The functions of the library that was found.
#[derive(Clone)]
pub(super) struct Api {
    pub library: Arc<Library>,
}

impl Api {
    fn wide_dims(&self) -> bool {
        self.library.version.major() >= 10
    }

    fn major(&self) -> u32 {
        self.library.version.major()
    }

    fn logger(&self) -> *mut c_void {
        log::logger(self.major())
    }

    fn inner(&self, object: Object, what: &str) -> Result<Object, String> {
        // SAFETY: objects come from this library's own functions, and all but the parser are
        // `{vtable, implementation}`.
        unsafe { object.implementation() }
            .ok_or_else(|| format!("TensorRT made {what} with nothing behind it"))
    }

    /// Makes the object that loads plans. The device must be bound, and must be there: without one
    /// TensorRT 8.6 crashes here.
    pub fn create_runtime(&self) -> Result<Object, String> {
        let (made, errors) = log::capture(|| {
            // SAFETY: the logger has the layout of this version and lives as long as the process;
            // the version is the library's own.
            unsafe { (self.library.create_runtime)(self.logger(), self.library.version.number()) }
        });
        Object::new(made).ok_or_else(|| {
            format!(
                "TensorRT {} ({}) made no runtime (it returned {made:?}){}; look whether \
                 NVIDIA's driver is new enough for it (`nvidia-smi` shows the CUDA version it \
                 serves), and update one of the two",
                self.library.version,
                self.library.name.display(),
                because(&errors)
            )
        })
    }

    pub fn create_builder(&self) -> Result<Object, String> {
        let create = self.library.create_builder.ok_or_else(|| {
            format!(
                "{} can run plans but not build them: it is a lean runtime; install the full \
                 TensorRT, which has libnvinfer.so and libnvinfer_builder_resource.so",
                self.library.name.display()
            )
        })?;
        let (made, errors) = log::capture(|| {
            // SAFETY: as in `create_runtime`.
            unsafe { create(self.logger(), self.library.version.number()) }
        });
        Object::new(made).ok_or_else(|| {
            format!("TensorRT {} made no builder{}", self.library.version, because(&errors))
        })
    }

    pub fn create_parser(&self, network: Object) -> Result<Object, String> {
        let create = self.library.parser()?;
        let (made, errors) = log::capture(|| {
            // SAFETY: the network is alive; the rest as in `create_runtime`.
            unsafe { create(network.pointer(), self.logger(), PARSER_VERSION) }
        });
        Object::new(made).ok_or_else(|| {
            format!("TensorRT {} made no ONNX parser{}", self.library.version, because(&errors))
        })
    }

    /// Makes NVIDIA's plugins known. False when there are none.
    pub fn init_plugins(&self) -> bool {
        self.library.init_plugins(self.logger())
    }

    /// # Safety
    /// The object is alive, is `{vtable, implementation}`, and is not used afterwards.
    pub unsafe fn delete(&self, object: Object) {
        // SAFETY: the freeing destructor stands there in all of them.
        unsafe { call!(object, DELETE, ()) }
    }

    /// # Safety
    /// The parser is alive and is not used afterwards.
    pub unsafe fn delete_parser(&self, parser: Object) {
        // SAFETY: the freeing destructor of this class stands there.
        unsafe { call!(parser, self.library.slots.parser_delete, ()) }
    }

    /// # Safety
    /// The runtime is alive.
    pub unsafe fn deserialize(&self, runtime: Object, plan: &[u8]) -> Result<Object, String> {
        let slot = self.library.slots.runtime_deserialize;
        let inner = self.inner(runtime, "a runtime")?;
        let (data, bytes) = (plan.as_ptr().cast::<c_void>(), plan.len());
        let (made, errors) = log::capture(|| {
            // SAFETY: the plan is only read, during the call. In 8 there is a third argument, a
            // plugin factory that may be null.
            unsafe {
                if self.major() < 10 {
                    call!(inner, slot, (data => *const c_void, bytes => usize,
                        null_mut() => *mut c_void) -> *mut c_void)
                } else {
                    call!(inner, slot, (data => *const c_void, bytes => usize) -> *mut c_void)
                }
            }
        });
        Object::new(made).ok_or_else(|| {
            format!("TensorRT {} does not take it{}", self.library.version, because(&errors))
        })
    }

    /// Lets plans bring code for the processor with them. False where this version can't.
    ///
    /// # Safety
    /// The runtime is alive.
    pub unsafe fn allow_host_code(&self, runtime: Object) -> Result<bool, String> {
        if !self.library.version.is_at_least(8, 6) {
            return Ok(false);
        }
        let inner = self.inner(runtime, "a runtime")?;
        // SAFETY: the function is there from 8.6 on.
        unsafe { call!(inner, self.library.slots.runtime_allow_host_code, (true => bool)) };
        Ok(true)
    }

    /// A context that gets its scratch memory from us.
    ///
    /// # Safety
    /// The engine is alive.
    pub unsafe fn create_context(&self, engine: Object) -> Result<Object, String> {
        let slots = self.library.slots;
        let inner = self.inner(engine, "an engine")?;
        let (made, errors) = log::capture(|| {
            // SAFETY: without an argument in 8; with an allocation strategy later.
            unsafe {
                if slots.engine_create_context_without_memory != ABSENT {
                    call!(inner, slots.engine_create_context_without_memory, () -> *mut c_void)
                } else {
                    call!(inner, slots.engine_create_context,
                        (USER_MANAGED => i32) -> *mut c_void)
                }
            }
        });
        Object::new(made)
            .ok_or_else(|| format!("TensorRT made no execution context{}", because(&errors)))
    }

    /// Bytes of scratch memory that a context needs for any shape its profiles allow.
    ///
    /// # Safety
    /// The engine is alive.
    pub unsafe fn scratch_bytes(&self, engine: Object) -> Result<u64, String> {
        let slots = self.library.slots;
        let inner = self.inner(engine, "an engine")?;
        // SAFETY: the newer function is there from 10.1 on, the older one before 11.
        let bytes = unsafe {
            if self.library.version.is_at_least(10, 1) {
                call!(inner, slots.engine_scratch_bytes_v2, () -> i64)
            } else {
                let bytes = call!(inner, slots.engine_scratch_bytes, () -> usize);
                i64::try_from(bytes).unwrap_or(-1)
            }
        };
        u64::try_from(bytes).map_err(|_| format!("TensorRT says it needs {bytes} bytes of scratch"))
    }

    /// A number that an object tells about itself.
    ///
    /// # Safety
    /// The object is alive and has at `slot` such a function.
    pub unsafe fn number(&self, object: Object, slot: u8, what: &str) -> Result<i32, String> {
        let inner = self.inner(object, what)?;
        // SAFETY: the caller vouches for the slot.
        Ok(unsafe { call!(inner, slot, () -> i32) })
    }

    /// # Safety
    /// The engine is alive.
    pub unsafe fn has_implicit_batch(&self, engine: Object) -> Result<bool, String> {
        let slot = self.library.slots.engine_has_implicit_batch;
        if slot == ABSENT {
            return Ok(false);
        }
        let inner = self.inner(engine, "an engine")?;
        // SAFETY: the table has it.
        Ok(unsafe { call!(inner, slot, () -> u8) } != 0)
    }

    /// # Safety
    /// The engine is alive.
    pub unsafe fn io_name(&self, engine: Object, index: i32) -> Result<CString, String> {
        let inner = self.inner(engine, "an engine")?;
        let slot = self.library.slots.engine_tensor_name;
        // SAFETY: the text belongs to the engine, and is copied at once.
        let name = unsafe { text(call!(inner, slot, (index => i32) -> *const c_char)) };
        name.and_then(|name| CString::new(name).ok())
            .ok_or_else(|| format!("TensorRT has no name for tensor {index}"))
    }

    /// What an engine says of a tensor, as an enumeration's number.
    ///
    /// # Safety
    /// The engine is alive and has at `slot` a function of a tensor's name that returns 32 bits.
    pub unsafe fn tensor_number(
        &self,
        engine: Object,
        slot: u8,
        name: &CStr,
    ) -> Result<i32, String> {
        let inner = self.inner(engine, "an engine")?;
        // SAFETY: the caller vouches for the slot; the name is only read.
        Ok(unsafe { call!(inner, slot, (name.as_ptr() => *const c_char) -> i32) })
    }

    /// # Safety
    /// The engine is alive.
    pub unsafe fn is_shape_tensor(&self, engine: Object, name: &CStr) -> Result<bool, String> {
        let inner = self.inner(engine, "an engine")?;
        let slot = self.library.slots.engine_is_shape_tensor;
        // SAFETY: the table has it; the name is only read.
        Ok(unsafe { call!(inner, slot, (name.as_ptr() => *const c_char) -> u8) } != 0)
    }

    /// A shape that an engine or a context tells of a tensor.
    ///
    /// # Safety
    /// The object is alive and has at `slot` a function of a tensor's name that returns `Dims`.
    pub unsafe fn tensor_shape(
        &self,
        object: Object,
        slot: u8,
        name: &CStr,
    ) -> Result<Vec<i64>, String> {
        let inner = self.inner(object, "an engine")?;
        // SAFETY: the caller vouches for the slot; `Dims` has the layout of this version.
        let shape = unsafe {
            if self.wide_dims() {
                call!(inner, slot, (name.as_ptr() => *const c_char) -> Dims64).shape()
            } else {
                call!(inner, slot, (name.as_ptr() => *const c_char) -> Dims32).shape()
            }
        };
        shape.ok_or_else(|| format!("TensorRT has no shape for tensor {name:?}"))
    }

    /// # Safety
    /// The engine is alive.
    pub unsafe fn profile_shape(
        &self,
        engine: Object,
        name: &CStr,
        profile: i32,
        select: i32,
    ) -> Result<Vec<i64>, String> {
        let inner = self.inner(engine, "an engine")?;
        let slot = self.library.slots.engine_profile_shape;
        let name_at = name.as_ptr();
        // SAFETY: the table has it; `Dims` has the layout of this version.
        let shape = unsafe {
            if self.wide_dims() {
                call!(inner, slot, (name_at => *const c_char, profile => i32, select => i32)
                    -> Dims64)
                .shape()
            } else {
                call!(inner, slot, (name_at => *const c_char, profile => i32, select => i32)
                    -> Dims32)
                .shape()
            }
        };
        shape.ok_or_else(|| format!("profile {profile} has no shape for input {name:?}"))
    }

    /// # Safety
    /// The context is alive and none of its runs is under way; `stream` is a live stream.
    pub unsafe fn set_profile(
        &self,
        context: Object,
        profile: i32,
        stream: *mut c_void,
    ) -> Result<(), String> {
        let inner = self.inner(context, "a context")?;
        let slot = self.library.slots.context_set_profile;
        let (done, errors) = log::capture(|| {
            // SAFETY: the table has it.
            unsafe { call!(inner, slot, (profile => i32, stream => *mut c_void) -> u8) }
        });
        yes(done, &errors, || format!("optimisation profile {profile} can't be used"))
    }

    /// # Safety
    /// The context is alive.
    pub unsafe fn set_input_shape(
        &self,
        context: Object,
        name: &CStr,
        shape: &[i64],
    ) -> Result<(), String> {
        let inner = self.inner(context, "a context")?;
        let slot = self.library.slots.context_set_input_shape;
        let refused = || format!("input {name:?} can't have the shape {shape:?}");
        let name_at = name.as_ptr();
        let (done, errors) = if self.wide_dims() {
            let dims = Dims64::new(shape).ok_or_else(refused)?;
            // SAFETY: the name and the shape are only read, during the call.
            log::capture(|| unsafe {
                call!(inner, slot, (name_at => *const c_char, &raw const dims => *const Dims64)
                    -> u8)
            })
        } else {
            let dims = Dims32::new(shape).ok_or_else(refused)?;
            // SAFETY: as above.
            log::capture(|| unsafe {
                call!(inner, slot, (name_at => *const c_char, &raw const dims => *const Dims32)
                    -> u8)
            })
        };
        yes(done, &errors, refused)
    }

    /// # Safety
    /// The context is alive; `address` is memory of the tensor's size, aligned to 256 bytes, as
    /// long as a run may use it.
    pub unsafe fn set_address(
        &self,
        context: Object,
        name: &CStr,
        address: *mut c_void,
    ) -> Result<(), String> {
        let inner = self.inner(context, "a context")?;
        let slot = self.library.slots.context_set_address;
        let (done, errors) = log::capture(|| {
            // SAFETY: the name is only read, during the call.
            unsafe {
                call!(inner, slot, (name.as_ptr() => *const c_char, address => *mut c_void) -> u8)
            }
        });
        yes(done, &errors, || format!("tensor {name:?} can't be at {address:?}"))
    }

    /// # Safety
    /// The context is alive; `address` is device memory of `bytes` bytes, aligned to 256, that no
    /// other context uses while a run of this one is under way.
    pub unsafe fn set_scratch(
        &self,
        context: Object,
        address: *mut c_void,
        bytes: u64,
    ) -> Result<(), String> {
        let slots = self.library.slots;
        let inner = self.inner(context, "a context")?;
        let size = i64::try_from(bytes).unwrap_or(i64::MAX);
        // SAFETY: the newer function is there from 10.1 on.
        unsafe {
            if self.library.version.is_at_least(10, 1) {
                call!(inner, slots.context_set_scratch_v2,
                    (address => *mut c_void, size => i64));
            } else {
                call!(inner, slots.context_set_scratch, (address => *mut c_void));
            }
        }
        Ok(())
    }

    /// # Safety
    /// The context is alive, its shapes, addresses and scratch memory are set, and `stream` is a
    /// live stream.
    pub unsafe fn enqueue(&self, context: Object, stream: *mut c_void) -> Result<(), String> {
        let inner = self.inner(context, "a context")?;
        let slot = self.library.slots.context_enqueue;
        let (done, errors) = log::capture(|| {
            // SAFETY: the table has it.
            unsafe { call!(inner, slot, (stream => *mut c_void) -> u8) }
        });
        yes(done, &errors, || "TensorRT could not start the run".to_owned())
    }
}

/// What C++'s `bool` says, with words for no.
pub(super) fn yes(
    done: u8,
    errors: &[String],
    words: impl FnOnce() -> String,
) -> Result<(), String> {
    if done != 0 { Ok(()) } else { Err(format!("{}{}", words(), because(errors))) }
}
