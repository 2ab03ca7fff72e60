//! TensorRT's binary interface: where each function stands in which version, and the two structs
//! and the logger that cross the border.
//!
//! TensorRT is C++ without a C interface. Its public objects are `{vtable, implementation}`; the
//! inline functions of its headers call `implementation`'s virtual functions, which is what is done
//! here. On Linux (Itanium ABI) a virtual function's place is its number in the order of
//! declaration, and the places are constant inside a major version; new functions come last.
//!
//! Everything here was read from the public headers of 8.5.1 to 8.6.1, 10.0 to 10.16 and 11.0 to
//! 11.1; `tests/tensorrt` runs it against libraries that have exactly these places filled.

use std::ffi::{c_char, c_void};
use std::ptr::NonNull;

/// A version that lacks a function has this in its place.
pub(super) const ABSENT: u8 = u8::MAX;

/// Addresses below are none: without a GPU, `createInferRuntime` of 10.16 and 11.4 returns one.
const FIRST_PAGE: usize = 4096;

macro_rules! slots {
    ($($(#[$doc:meta])* $name:ident: $v8:tt, $v10:tt, $v11:tt;)*) => {
        /// Place of each function in its object's vtable.
        #[derive(Debug)]
        pub(super) struct Slots { $($(#[$doc])* pub $name: u8),* }

        /// TensorRT 8.5 and 8.6.
        pub(super) static V8: Slots = Slots { $($name: slots!(@ $v8)),* };
        /// TensorRT 10.
        pub(super) static V10: Slots = Slots { $($name: slots!(@ $v10)),* };
        /// TensorRT 11.
        pub(super) static V11: Slots = Slots { $($name: slots!(@ $v11)),* };
    };
    (@ _) => { ABSENT };
    (@ $slot:literal) => { $slot };
}

slots! {
    //                                        8   10   11
    // IRuntime
    runtime_deserialize:                      2,   3,   3;
    /// In 8 from 8.6 on.
    runtime_allow_host_code:                 20,  21,  20;
    // ICudaEngine
    engine_create_context:                   11,   5,   5;
    /// Later versions take a strategy in `engine_create_context`.
    engine_create_context_without_memory:    13,   _,   _;
    engine_scratch_bytes:                    14,   7,   _;
    /// In 10 from 10.1 on.
    engine_scratch_bytes_v2:                  _,  52,  44;
    engine_tensors:                          45,  30,  26;
    engine_tensor_name:                      46,  31,  27;
    engine_tensor_shape:                     34,  19,  15;
    engine_tensor_type:                      35,  20,  16;
    engine_tensor_location:                  36,  21,  17;
    engine_is_shape_tensor:                  37,  22,  18;
    engine_tensor_mode:                      38,  23,  19;
    engine_tensor_format:                    41,  26,  22;
    engine_profile_shape:                    44,  29,  25;
    engine_profiles:                         22,  10,   8;
    engine_has_implicit_batch:               30,  15,   _;
    // IExecutionContext
    context_set_profile:                     25,  17,  16;
    context_set_input_shape:                 29,  21,  20;
    context_tensor_shape:                    30,  22,  21;
    context_set_address:                     32,  24,  23;
    context_enqueue:                         44,  37,  36;
    context_set_scratch:                     11,  10,  10;
    /// In 10 from 10.1 on.
    context_set_scratch_v2:                   _,  49,  48;
    // IBuilder
    builder_create_network:                  11,   8,   6;
    builder_create_config:                    9,   7,   5;
    builder_create_profile:                  12,   9,   7;
    builder_build:                           17,  14,  11;
    // IBuilderConfig
    config_clear_flag:                       14,  10,   8;
    config_set_flag:                         15,  11,   9;
    config_set_memory_limit:                 47,  43,  32;
    config_add_profile:                      29,  25,  23;
    config_create_timing_cache:              44,  40,  29;
    config_set_timing_cache:                 45,  41,  30;
    config_set_progress_monitor:              _,  56,  45;
    // ITimingCache
    timing_cache_serialize:                   2,   2,   2;
    // INetworkDefinition
    network_inputs:                          19,  14,  14;
    network_input:                           20,  15,  15;
    // ITensor
    tensor_name:                              3,   3,   3;
    tensor_shape:                             5,   5,   5;
    // IOptimizationProfile
    profile_set_dimensions:                   2,   2,   2;
    profile_is_valid:                         9,   9,   7;
    // IHostMemory
    memory_data:                              2,   2,   2;
    memory_bytes:                             3,   3,   3;
    // nvonnxparser::IParser and IParserError, which have no implementation behind them: these are
    // places in the vtable of the object itself.
    parser_parse_file:                        1,   1,   1;
    /// In 8 from 8.6 on.
    parser_set_flag:                         15,  14,  12;
    parser_errors:                            6,   5,   3;
    parser_error:                             7,   6,   4;
    /// The destructor that frees: with every other object it is the second function.
    parser_delete:                           10,   9,   7;
    parser_error_text:                        1,   1,   1;
    parser_error_node:                        5,   5,   5;
}

/// The destructor that frees, of the object itself.
pub(super) const DELETE: u8 = 1;

/// `ExecutionContextAllocationStrategy::kUSER_MANAGED`, from 10 on.
pub(super) const USER_MANAGED: i32 = 2;
/// `MemoryPoolType::kWORKSPACE`.
pub(super) const WORKSPACE: i32 = 0;
/// `OptProfileSelector`.
pub(super) const SELECT_MIN: i32 = 0;
pub(super) const SELECT_MAX: i32 = 2;
/// `TensorIOMode::kINPUT`.
pub(super) const MODE_INPUT: i32 = 1;
/// `TensorLocation::kDEVICE`.
pub(super) const ON_DEVICE: i32 = 0;
/// `TensorFormat::kLINEAR`.
pub(super) const LINEAR: i32 = 0;
/// `OnnxParserFlag::kNATIVE_INSTANCENORM`.
pub(super) const NATIVE_INSTANCENORM: i32 = 0;
/// `NV_ONNX_PARSER_VERSION`: 0.1.0 in all of them.
pub(super) const PARSER_VERSION: i32 = 100;

/// A C++ object, checked to have an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Object(NonNull<c_void>);

impl Object {
    /// `None` for null and for what can't be an address.
    pub fn new(pointer: *mut c_void) -> Option<Object> {
        let address = pointer as usize;
        if address < FIRST_PAGE || !address.is_multiple_of(align_of::<*mut c_void>()) {
            return None;
        }
        NonNull::new(pointer).map(Object)
    }

    pub fn pointer(self) -> *mut c_void {
        self.0.as_ptr()
    }

    /// The object that a public object passes its calls on to.
    ///
    /// # Safety
    /// `self` is a live object of TensorRT's, `{vtable, implementation}`.
    pub unsafe fn implementation(self) -> Option<Object> {
        // SAFETY: the second word of such an object.
        Object::new(unsafe { *self.0.as_ptr().cast::<*mut c_void>().add(1) })
    }

    /// The virtual function at `slot`, as a function of type `F`.
    ///
    /// # Safety
    /// `self` is a live C++ object, `slot` is a place of its class and `F` is
    /// `unsafe extern "C" fn(*mut c_void, …)` of the function there.
    pub unsafe fn function<F: Copy>(self, slot: u8) -> F {
        const { assert!(size_of::<F>() == size_of::<*const c_void>()) };
        // SAFETY: a C++ object with virtual functions begins with the address of their table, whose
        // entries are function pointers, as `F` is.
        unsafe {
            let table = *self.0.as_ptr().cast::<*const F>();
            *table.add(usize::from(slot))
        }
    }
}

/// Calls the function at a place of an object's vtable: `call!(object, slot, (argument => type, …)
/// -> result)`. As unsafe as the call of any function of C, and the types are the caller's word.
macro_rules! call {
    ($object:expr, $slot:expr, ($($argument:expr => $type:ty),*) $(-> $result:ty)?) => {{
        let object: $crate::engine::tensorrt::raw::Object = $object;
        let function: unsafe extern "C" fn(*mut std::ffi::c_void $(, $type)*) $(-> $result)? =
            object.function($slot);
        function(object.pointer() $(, $argument)*)
    }};
}
pub(super) use call;

/// `Dims` of TensorRT 8.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Dims32 {
    pub count: i32,
    pub sizes: [i32; MAX_DIMS],
}

/// `Dims` from TensorRT 10 on.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Dims64 {
    pub count: i32,
    pub sizes: [i64; MAX_DIMS],
}

const MAX_DIMS: usize = 8;
const _: () = assert!(size_of::<Dims32>() == 36 && size_of::<Dims64>() == 72);

impl Dims32 {
    /// `None` for more than eight dimensions, or one that 32 bits don't hold.
    pub fn new(shape: &[i64]) -> Option<Dims32> {
        let mut dims = Dims32 { count: i32::try_from(shape.len()).ok()?, sizes: [0; MAX_DIMS] };
        for (to, &size) in dims.sizes.get_mut(..shape.len())?.iter_mut().zip(shape) {
            *to = i32::try_from(size).ok()?;
        }
        Some(dims)
    }

    /// `None` for what says that there is no such tensor.
    pub fn shape(self) -> Option<Vec<i64>> {
        let sizes = self.sizes.get(..usize::try_from(self.count).ok()?)?;
        Some(sizes.iter().map(|&size| i64::from(size)).collect())
    }
}

impl Dims64 {
    /// `None` for more than eight dimensions.
    pub fn new(shape: &[i64]) -> Option<Dims64> {
        let mut dims = Dims64 { count: i32::try_from(shape.len()).ok()?, sizes: [0; MAX_DIMS] };
        dims.sizes.get_mut(..shape.len())?.copy_from_slice(shape);
        Some(dims)
    }

    /// `None` for what says that there is no such tensor.
    pub fn shape(self) -> Option<Vec<i64>> {
        Some(self.sizes.get(..usize::try_from(self.count).ok()?)?.to_vec())
    }
}

/// `InterfaceInfo`: what an object that we make is.
#[repr(C)]
pub(super) struct InterfaceInfo {
    pub kind: *const c_char,
    pub major: i32,
    pub minor: i32,
}

/// The first four functions of every object we make for TensorRT that has a version.
#[repr(C)]
pub(super) struct Versioned {
    pub language: unsafe extern "C" fn(*mut c_void) -> i32,
    pub info: unsafe extern "C" fn(*mut c_void) -> InterfaceInfo,
    pub destroy: unsafe extern "C" fn(*mut c_void),
    pub delete: unsafe extern "C" fn(*mut c_void),
}

/// `APILanguage::kCPP`.
pub(super) unsafe extern "C" fn language(_: *mut c_void) -> i32 {
    0
}

/// Objects that we make are ours to end.
pub(super) unsafe extern "C" fn not_theirs(_: *mut c_void) {}

/// What stands before an object's functions in its vtable: it begins at its own address, and has no
/// type information.
#[repr(C)]
pub(super) struct Preamble {
    pub offset_to_top: isize,
    pub type_info: *const c_void,
}

impl Preamble {
    pub const PLAIN: Preamble = Preamble { offset_to_top: 0, type_info: std::ptr::null() };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_refused() {
        for address in [0usize, 1, 0xfff, 0x1001, usize::MAX] {
            assert_eq!(Object::new(address as *mut c_void), None, "{address:#x}");
        }
        assert!(Object::new(0x1000 as *mut c_void).is_some());
    }

    #[test]
    fn shapes_survive_both_layouts() {
        let shape = [8, 3, 640, -1];
        assert_eq!(Dims32::new(&shape).unwrap().shape().unwrap(), shape);
        assert_eq!(Dims64::new(&shape).unwrap().shape().unwrap(), shape);
        assert!(Dims32::new(&[1 << 40]).is_none() && Dims64::new(&[1 << 40]).is_some());
        assert!(Dims32::new(&[1; 9]).is_none() && Dims64::new(&[1; 9]).is_none());
        for count in [-1, 9, i32::MAX] {
            assert_eq!(Dims32 { count, sizes: [0; 8] }.shape(), None);
            assert_eq!(Dims64 { count, sizes: [0; 8] }.shape(), None);
        }
    }
}
