//! What the driver answers when a call fails.

use cudarc::driver::result::DriverError;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

static LOST: AtomicBool = AtomicBool::new(false);

/// Whether the driver has said that this process can't use the device any longer. From then on
/// nothing is given back to it: destructors of TensorRT's are known to end the process in that
/// state, without a word that anybody could act on.
pub(crate) fn is_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// A call that failed, with the driver's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CudaError {
    /// What was being done, such as `copying an input to the GPU`.
    doing: &'static str,
    code: u32,
    /// Such as `CUDA_ERROR_OUT_OF_MEMORY`.
    name: String,
    /// Such as `out of memory`.
    text: String,
}

impl CudaError {
    pub fn new(doing: &'static str, error: DriverError) -> CudaError {
        let words = |text: Result<&std::ffi::CStr, DriverError>| {
            text.map_or_else(|_| "?".to_owned(), |text| text.to_string_lossy().into_owned())
        };
        let error = CudaError {
            doing,
            code: error.0 as u32,
            name: words(error.error_name()),
            text: words(error.error_string()),
        };
        if error.is_sticky() {
            LOST.store(true, Ordering::Relaxed);
        }
        error
    }

    /// A call that succeeded and returned nothing.
    pub fn null(doing: &'static str) -> CudaError {
        CudaError { doing, code: 1, name: "null".into(), text: "no memory was returned".into() }
    }

    /// Whether the process can't use the device any longer: after such an error every further call
    /// fails with it, whoever makes it, until the process is started anew.
    ///
    /// Source: the descriptions in the CUDA driver API ("leaves the process in an inconsistent
    /// state", "the context is invalid and must be destroyed").
    pub fn is_sticky(&self) -> bool {
        matches!(
            self.code,
            4           // DEINITIALIZED
            | 46        // DEVICE_UNAVAILABLE
            | 214       // ECC_UNCORRECTABLE
            | 220       // NVLINK_UNCORRECTABLE
            | 226       // CONTAINED
            | 700       // ILLEGAL_ADDRESS
            | 702       // LAUNCH_TIMEOUT
            | 709..=710 // CONTEXT_IS_DESTROYED, ASSERT
            | 714..=719 // HARDWARE_STACK_ERROR, ILLEGAL_INSTRUCTION, MISALIGNED_ADDRESS,
                        // INVALID_ADDRESS_SPACE, INVALID_PC, LAUNCH_FAILED
            | 721       // TENSOR_MEMORY_LEAK
            | 810       // MPS_CLIENT_TERMINATED
            | 999       // UNKNOWN
        )
    }

    pub fn is_out_of_memory(&self) -> bool {
        self.code == 2
    }
}

impl fmt::Display for CudaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CudaError { doing, code, name, text } = self;
        write!(f, "{doing}: {name} ({code}: {text})")
    }
}

/// Puts words to a driver call's result.
pub(super) trait Doing<T> {
    fn doing(self, what: &'static str) -> Result<T, CudaError>;
}

impl<T> Doing<T> for Result<T, DriverError> {
    fn doing(self, what: &'static str) -> Result<T, CudaError> {
        self.map_err(|error| CudaError::new(what, error))
    }
}
