//! TensorRT's log: goes to `tracing`, and errors into the result of the call that they belong to.

use super::raw::{InterfaceInfo, Preamble, Versioned, language, not_theirs};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_void};
use std::panic::catch_unwind;

/// Of the errors that one call logs, the last so many stand in its result.
const KEPT_ERRORS: usize = 4;

thread_local! {
    /// Errors since `capture` began on this thread.
    static ERRORS: RefCell<Option<VecDeque<String>>> = const { RefCell::new(None) };
}

/// Runs `work` and returns what it does, with the errors that TensorRT logged meanwhile on this
/// thread. Those go to the log as debug lines, because the caller tells them.
pub(super) fn capture<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    // Also taken away when `work` panics.
    struct Ends;
    impl Drop for Ends {
        fn drop(&mut self) {
            ERRORS.with_borrow_mut(|errors| *errors = None);
        }
    }
    ERRORS.with_borrow_mut(|errors| *errors = Some(VecDeque::new()));
    let ends = Ends;
    let result = work();
    let errors = ERRORS.with_borrow_mut(Option::take).unwrap_or_default();
    drop(ends);
    (result, errors.into())
}

/// Errors as the end of a sentence: `: ` and TensorRT's own words.
pub(super) fn because(errors: &[String]) -> String {
    if errors.is_empty() {
        return "; TensorRT gave no reason".into();
    }
    format!("; TensorRT says: {}", errors.join(" | "))
}

/// The logger for TensorRT of that major version; one for the whole process, as TensorRT wants it.
pub(super) fn logger(major: u32) -> *mut c_void {
    let logger: &'static Logger = if major >= 11 { &VERSIONED } else { &PLAIN };
    std::ptr::from_ref(logger).cast_mut().cast()
}

/// An object of a class with virtual functions and no data.
#[repr(C)]
struct Logger {
    functions: *const c_void,
}

// SAFETY: what it points to is static and never changes; its functions may be called by any thread.
unsafe impl Sync for Logger {}

/// `ILogger` up to 10: `log`, then the destructors.
#[repr(C)]
struct PlainTable {
    preamble: Preamble,
    log: LogFunction,
    destroy: unsafe extern "C" fn(*mut c_void),
    delete: unsafe extern "C" fn(*mut c_void),
}

/// `ILogger` from 11 on: it has a version, so `log` stands fifth.
#[repr(C)]
struct VersionedTable {
    preamble: Preamble,
    versioned: Versioned,
    log: LogFunction,
}

type LogFunction = unsafe extern "C" fn(*mut c_void, i32, *const c_char);

// SAFETY: constant tables of functions.
unsafe impl Sync for PlainTable {}
// SAFETY: as above.
unsafe impl Sync for VersionedTable {}

static PLAIN_TABLE: PlainTable =
    PlainTable { preamble: Preamble::PLAIN, log, destroy: not_theirs, delete: not_theirs };
static VERSIONED_TABLE: VersionedTable = VersionedTable {
    preamble: Preamble::PLAIN,
    versioned: Versioned { language, info, destroy: not_theirs, delete: not_theirs },
    log,
};
static PLAIN: Logger = Logger { functions: (&raw const PLAIN_TABLE.log).cast() };
static VERSIONED: Logger =
    Logger { functions: (&raw const VERSIONED_TABLE.versioned.language).cast() };

unsafe extern "C" fn info(_: *mut c_void) -> InterfaceInfo {
    InterfaceInfo { kind: c"ILogger".as_ptr(), major: 1, minor: 0 }
}

/// Called by TensorRT, from any of its threads.
unsafe extern "C" fn log(_: *mut c_void, severity: i32, message: *const c_char) {
    if message.is_null() {
        return;
    }
    // SAFETY: a zero-terminated text, by TensorRT's contract.
    let message = unsafe { CStr::from_ptr(message) }.to_string_lossy();
    // A panic must not go through C++.
    let _ = catch_unwind(|| write(severity, message.trim_end()));
}

/// Severities: 0 internal error, 1 error, 2 warning, 3 information, 4 verbose.
fn write(severity: i32, message: &str) {
    match severity {
        0 | 1 => {
            let kept = ERRORS.with_borrow_mut(|errors| {
                let Some(errors) = errors else { return false };
                if errors.len() == KEPT_ERRORS {
                    errors.pop_front();
                }
                errors.push_back(message.to_owned());
                true
            });
            if kept {
                tracing::debug!("TensorRT: {message}");
            } else {
                tracing::error!("TensorRT: {message}");
            }
        }
        2 => tracing::warn!("TensorRT: {message}"),
        3 => tracing::debug!("TensorRT: {message}"),
        _ => tracing::trace!("TensorRT: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls a logger as TensorRT would: through the place of `log` in its table.
    fn say(major: u32, slot: usize, severity: i32, text: &CStr) {
        let logger = logger(major);
        unsafe {
            let table = *logger.cast::<*const LogFunction>();
            (*table.add(slot))(logger, severity, text.as_ptr());
        }
    }

    #[test]
    fn errors_belong_to_the_call_that_logs_them() {
        for (major, slot) in [(8, 0), (10, 0), (11, 4)] {
            let ((), errors) = capture(|| {
                say(major, slot, 2, c"a warning");
                for text in [c"1", c"2", c"3", c"4", c"the last\n"] {
                    say(major, slot, 1, text);
                }
            });
            assert_eq!(errors, ["2", "3", "4", "the last"]);
            assert_eq!(because(&errors), "; TensorRT says: 2 | 3 | 4 | the last");
        }
        let ((), errors) = capture(|| ());
        assert!(because(&errors).contains("no reason"));
        let panicked = std::panic::catch_unwind(|| capture(|| panic!("on purpose")));
        assert!(panicked.is_err() && ERRORS.with_borrow(Option::is_none));
    }

    #[test]
    fn the_versioned_logger_says_what_it_is() {
        let logger = logger(11);
        unsafe {
            let table = *logger.cast::<*const *const c_void>();
            let language: unsafe extern "C" fn(*mut c_void) -> i32 = std::mem::transmute(*table);
            let info: unsafe extern "C" fn(*mut c_void) -> InterfaceInfo =
                std::mem::transmute(*table.add(1));
            assert_eq!(language(logger), 0);
            let info = info(logger);
            assert_eq!(CStr::from_ptr(info.kind), c"ILogger");
            assert_eq!((info.major, info.minor), (1, 0));
        }
    }
}
