//! The functions that plans are built with, checked as in [`super::checked`], and their objects with
//! owners.

use super::checked::{Api, yes};
use super::library::text;
use super::log::{self, because};
use super::progress::Monitor;
use super::raw::{ABSENT, Dims32, Dims64, NATIVE_INSTANCENORM, Object, WORKSPACE, call};
use std::ffi::{CString, c_char, c_void};
use std::mem::ManuallyDrop;
use std::path::Path;

/// Most errors of the parser that are told.
const MAX_ERRORS: i32 = 10;

/// An object of ours that ends with this. What it was made from must be declared before it.
pub(super) struct Owned<'a> {
    api: &'a Api,
    object: Object,
}

impl Owned<'_> {
    fn inner(&self, what: &str) -> Result<Object, String> {
        // SAFETY: the object lives as long as `self`, and is `{vtable, implementation}`.
        unsafe { self.object.implementation() }
            .ok_or_else(|| format!("TensorRT made {what} with nothing behind it"))
    }
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        // SAFETY: ours, and used by nobody after this.
        unsafe { self.api.delete(self.object) };
    }
}

/// `IBuilder`.
pub(super) struct Builder<'a>(Owned<'a>);
/// `INetworkDefinition`.
pub(super) struct Network<'a>(Owned<'a>);
/// `IBuilderConfig`.
pub(super) struct BuilderConfig<'a>(Owned<'a>);
/// `ITimingCache`.
pub(super) struct TimingCache<'a>(Owned<'a>);
/// `IHostMemory`.
pub(super) struct Memory<'a>(Owned<'a>);
/// `nvonnxparser::IParser`. The network refers to weights that it holds.
pub(super) struct Parser<'a> {
    api: &'a Api,
    object: Object,
}

/// An input or output of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NetworkTensor {
    pub name: CString,
    /// -1: open.
    pub shape: Vec<i64>,
}

fn made<'a>(
    api: &'a Api,
    pointer: *mut c_void,
    errors: &[String],
    what: &str,
) -> Result<Owned<'a>, String> {
    let object = Object::new(pointer)
        .ok_or_else(|| format!("TensorRT made no {what}{}", because(errors)))?;
    Ok(Owned { api, object })
}

impl<'a> Builder<'a> {
    /// The device must be there, and bound.
    pub fn new(api: &'a Api) -> Result<Builder<'a>, String> {
        Ok(Builder(Owned { api, object: api.create_builder()? }))
    }

    fn make(&self, slot: u8, what: &str) -> Result<Owned<'a>, String> {
        let inner = self.0.inner("a builder")?;
        // SAFETY: the builder is alive, and the slot is the table's for a function that takes
        // nothing and returns an object.
        let (pointer, errors) = log::capture(|| unsafe { call!(inner, slot, () -> *mut c_void) });
        made(self.0.api, pointer, &errors, what)
    }

    pub fn network(&self) -> Result<Network<'a>, String> {
        let api = self.0.api;
        // In 8 the explicit batch is a flag; later there is no other.
        let flags: u32 = if api.library.version.major() < 10 { 1 } else { 0 };
        let inner = self.0.inner("a builder")?;
        let slot = api.library.slots.builder_create_network;
        // SAFETY: the builder is alive, and the slot is the table's.
        let (pointer, errors) =
            log::capture(|| unsafe { call!(inner, slot, (flags => u32) -> *mut c_void) });
        Ok(Network(made(api, pointer, &errors, "network")?))
    }

    pub fn config(&self) -> Result<BuilderConfig<'a>, String> {
        let slot = self.0.api.library.slots.builder_create_config;
        Ok(BuilderConfig(self.make(slot, "builder configuration")?))
    }

    /// Adds an optimisation profile: for each input its smallest, best and largest shape.
    pub fn add_profile(
        &self,
        config: &BuilderConfig<'_>,
        ranges: &[(CString, [Vec<i64>; 3])],
    ) -> Result<(), String> {
        let api = self.0.api;
        let slots = api.library.slots;
        let profile = self.make(slots.builder_create_profile, "optimisation profile")?;
        // The builder owns its profiles.
        let profile = ManuallyDrop::new(profile);
        let inner = profile.inner("an optimisation profile")?;
        for (name, shapes) in ranges {
            for (select, shape) in shapes.iter().enumerate() {
                let refused = || format!("input {name:?} can't have the shape {shape:?}");
                let (name, select) = (name.as_ptr(), select as i32);
                let slot = slots.profile_set_dimensions;
                // SAFETY: the profile is alive. In 8 the shape is passed by value, which is not
                // how it is with any other function; later by reference.
                let (done, errors) = if api.library.version.major() < 10 {
                    let dims = Dims32::new(shape).ok_or_else(refused)?;
                    log::capture(|| unsafe {
                        call!(inner, slot, (name => *const c_char, select => i32,
                            dims => Dims32) -> u8)
                    })
                } else {
                    let dims = Dims64::new(shape).ok_or_else(refused)?;
                    log::capture(|| unsafe {
                        call!(inner, slot, (name => *const c_char, select => i32,
                            &raw const dims => *const Dims64) -> u8)
                    })
                };
                yes(done, &errors, refused)?;
            }
        }
        // SAFETY: the profile is alive, and the slot is the table's.
        let (valid, errors) =
            log::capture(|| unsafe { call!(inner, slots.profile_is_valid, () -> u8) });
        yes(valid, &errors, || "the optimisation profile is not valid".into())?;
        let config = config.0.inner("a builder configuration")?;
        let pointer = profile.object.pointer();
        // SAFETY: both are alive.
        let (index, errors) = log::capture(|| unsafe {
            call!(config, slots.config_add_profile, (pointer => *const c_void) -> i32)
        });
        yes(u8::from(index >= 0), &errors, || "the optimisation profile is refused".into())
    }

    /// Builds the plan: takes seconds to many minutes.
    pub fn build(
        &self,
        network: &Network<'_>,
        config: &BuilderConfig<'_>,
    ) -> Result<Memory<'a>, String> {
        let api = self.0.api;
        let inner = self.0.inner("a builder")?;
        let slot = api.library.slots.builder_build;
        let (network, config) = (network.0.object.pointer(), config.0.object.pointer());
        // SAFETY: all three are alive, and so is the parser that the network's weights are in.
        let (pointer, errors) = log::capture(|| unsafe {
            call!(inner, slot, (network => *mut c_void, config => *mut c_void) -> *mut c_void)
        });
        Ok(Memory(made(api, pointer, &errors, "plan")?))
    }
}

impl Network<'_> {
    fn tensors(&self, count: u8, get: u8) -> Result<Vec<NetworkTensor>, String> {
        let (api, slots) = (self.0.api, self.0.api.library.slots);
        let inner = self.0.inner("a network")?;
        // SAFETY: the network is alive, and the slots are the table's. A tensor belongs to it.
        let count = unsafe { call!(inner, count, () -> i32) };
        let tensor = |index: i32| {
            let pointer = unsafe { call!(inner, get, (index => i32) -> *mut c_void) };
            let tensor = Object::new(pointer).ok_or("TensorRT has a network without tensors")?;
            // SAFETY: as above; the name is copied at once.
            let (name, shape) = unsafe {
                let name = api.text_of(tensor, slots.tensor_name)?;
                (name, api.shape_of(tensor, slots.tensor_shape)?)
            };
            let name = CString::new(name).map_err(|error| error.to_string())?;
            Ok(NetworkTensor { name, shape })
        };
        (0..count).map(tensor).collect()
    }

    pub fn inputs(&self) -> Result<Vec<NetworkTensor>, String> {
        let slots = self.0.api.library.slots;
        self.tensors(slots.network_inputs, slots.network_input)
    }
}

impl Api {
    /// # Safety
    /// The object is alive and has at `slot` a function that returns a text.
    unsafe fn text_of(&self, object: Object, slot: u8) -> Result<String, String> {
        // SAFETY: the caller vouches for it.
        let text = unsafe {
            let inner = object.implementation().ok_or("TensorRT made an object without any")?;
            text(call!(inner, slot, () -> *const c_char))
        };
        text.ok_or_else(|| "TensorRT has a tensor without a name".into())
    }

    /// # Safety
    /// The object is alive and has at `slot` a function that returns `Dims`.
    unsafe fn shape_of(&self, object: Object, slot: u8) -> Result<Vec<i64>, String> {
        // SAFETY: the caller vouches for it; `Dims` has the layout of this version.
        let shape = unsafe {
            let inner = object.implementation().ok_or("TensorRT made an object without any")?;
            if self.library.version.major() >= 10 {
                call!(inner, slot, () -> Dims64).shape()
            } else {
                call!(inner, slot, () -> Dims32).shape()
            }
        };
        shape.ok_or_else(|| "TensorRT has a tensor without a shape".into())
    }
}

impl<'a> BuilderConfig<'a> {
    /// Sets or clears one of `BuilderFlag`.
    pub fn set_flag(&self, flag: i32, on: bool) -> Result<(), String> {
        let slots = self.0.api.library.slots;
        let inner = self.0.inner("a builder configuration")?;
        let slot = if on { slots.config_set_flag } else { slots.config_clear_flag };
        // SAFETY: the configuration is alive, and the slot is the table's.
        unsafe { call!(inner, slot, (flag => i32)) };
        Ok(())
    }

    /// Most bytes that one layer may use while it runs.
    pub fn limit_workspace(&self, bytes: usize) -> Result<(), String> {
        let inner = self.0.inner("a builder configuration")?;
        let slot = self.0.api.library.slots.config_set_memory_limit;
        // SAFETY: as in `set_flag`.
        unsafe { call!(inner, slot, (WORKSPACE => i32, bytes => usize)) };
        Ok(())
    }

    /// Uses what earlier builds have measured; `content` is empty for the first.
    pub fn use_timing_cache(&self, content: &[u8]) -> Result<TimingCache<'a>, String> {
        let api = self.0.api;
        let slots = api.library.slots;
        let inner = self.0.inner("a builder configuration")?;
        let (data, bytes) = (content.as_ptr().cast::<c_void>(), content.len());
        // SAFETY: the content is only read, during the call; the configuration is alive.
        let (pointer, errors) = log::capture(|| unsafe {
            call!(inner, slots.config_create_timing_cache,
                (data => *const c_void, bytes => usize) -> *mut c_void)
        });
        let cache = made(api, pointer, &errors, "timing cache")?;
        let pointer = cache.object.pointer();
        // SAFETY: both are alive; the cache is kept by the caller until after the build.
        let (done, errors) = log::capture(|| unsafe {
            call!(inner, slots.config_set_timing_cache,
                (pointer => *const c_void, false => bool) -> u8)
        });
        yes(done, &errors, || "the timing cache is refused".into())?;
        Ok(TimingCache(cache))
    }

    /// Has `monitor` told how the build goes. False where this version can't.
    pub fn watch(&self, monitor: &mut Monitor<'_>) -> Result<bool, String> {
        let slot = self.0.api.library.slots.config_set_progress_monitor;
        if slot == ABSENT {
            return Ok(false);
        }
        let inner = self.0.inner("a builder configuration")?;
        // SAFETY: the configuration is alive. The caller keeps the monitor until after the build.
        unsafe { call!(inner, slot, (monitor.pointer() => *mut c_void)) };
        Ok(true)
    }
}

impl<'a> TimingCache<'a> {
    pub fn serialize(&self) -> Result<Memory<'a>, String> {
        let inner = self.0.inner("a timing cache")?;
        let slot = self.0.api.library.slots.timing_cache_serialize;
        // SAFETY: the cache is alive, and the slot is the table's.
        let (pointer, errors) = log::capture(|| unsafe { call!(inner, slot, () -> *mut c_void) });
        Ok(Memory(made(self.0.api, pointer, &errors, "copy of the timing cache")?))
    }
}

impl Memory<'_> {
    pub fn bytes(&self) -> Result<&[u8], String> {
        let slots = self.0.api.library.slots;
        let inner = self.0.inner("memory")?;
        // SAFETY: the memory is alive and does not change; the slots are the table's.
        unsafe {
            let bytes = call!(inner, slots.memory_bytes, () -> usize);
            let data = call!(inner, slots.memory_data, () -> *mut c_void);
            if bytes == 0 || data.is_null() {
                return Err("TensorRT made nothing".into());
            }
            Ok(std::slice::from_raw_parts(data.cast::<u8>(), bytes))
        }
    }
}

impl<'a> Parser<'a> {
    pub fn new(api: &'a Api, network: &Network<'a>) -> Result<Parser<'a>, String> {
        Ok(Parser { api, object: api.create_parser(network.0.object)? })
    }

    /// Normalisations by TensorRT's own layers instead of a plugin, which a version-compatible plan
    /// can't have. From 10 on it is so anyway.
    pub fn without_plugins(&self) {
        let version = self.api.library.version;
        if version.is_at_least(8, 6) && version.major() == 8 {
            let slot = self.api.library.slots.parser_set_flag;
            // SAFETY: the parser is alive, and the function is there from 8.6 on.
            unsafe { call!(self.object, slot, (NATIVE_INSTANCENORM => i32)) };
        }
    }

    /// Reads a file into the network.
    pub fn parse(&self, file: &Path) -> Result<(), String> {
        let path = CString::new(file.as_os_str().as_encoded_bytes()).map_err(|e| e.to_string())?;
        let slots = self.api.library.slots;
        let (path_at, verbosity) = (path.as_ptr(), 2);
        // SAFETY: the parser and its network are alive; the path is only read, during the call.
        let (parsed, logged) = log::capture(|| unsafe {
            call!(self.object, slots.parser_parse_file,
                (path_at => *const c_char, verbosity => i32) -> u8)
        });
        if parsed != 0 {
            return Ok(());
        }
        let mut errors = self.errors();
        if errors.is_empty() {
            errors = logged;
        }
        Err(format!("TensorRT can't use this model{}", because(&errors)))
    }

    fn errors(&self) -> Vec<String> {
        let slots = self.api.library.slots;
        // SAFETY: the parser is alive, and the slots are the table's.
        let count = unsafe { call!(self.object, slots.parser_errors, () -> i32) };
        let error = |index: i32| {
            // SAFETY: as above; the error belongs to the parser, and its text is copied at once.
            unsafe {
                let pointer = call!(self.object, slots.parser_error, (index => i32) -> *mut c_void);
                let error = Object::new(pointer)?;
                let words = text(call!(error, slots.parser_error_text, () -> *const c_char))?;
                let node = call!(error, slots.parser_error_node, () -> i32);
                Some(if node >= 0 { format!("node {node}: {words}") } else { words })
            }
        };
        (0..count.min(MAX_ERRORS)).filter_map(error).collect()
    }
}

impl Drop for Parser<'_> {
    fn drop(&mut self) {
        // SAFETY: ours, and used by nobody after this.
        unsafe { self.api.delete_parser(self.object) };
    }
}
