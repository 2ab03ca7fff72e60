//! TensorRT's reports of how a build goes (`IProgressMonitor`, from 10 on).

use super::library::text;
use super::raw::{InterfaceInfo, Preamble, Versioned, language, not_theirs};
use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

/// Where a build is: the phase, the steps that are done, and all its steps.
pub type OnProgress<'a> = &'a mut (dyn FnMut(&str, u32, u32) + Send);

/// The object that TensorRT reports to. It must outlive the build.
#[repr(C)]
pub(super) struct Monitor<'a> {
    functions: *const c_void,
    /// TensorRT may report from several threads.
    state: Mutex<State<'a>>,
}

struct State<'a> {
    /// Phases under way, innermost last, with their steps.
    phases: Vec<(String, u32)>,
    on_progress: OnProgress<'a>,
}

#[repr(C)]
struct Table {
    preamble: Preamble,
    versioned: Versioned,
    phase_start: unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, i32),
    step_complete: unsafe extern "C" fn(*mut c_void, *const c_char, i32) -> bool,
    phase_finish: unsafe extern "C" fn(*mut c_void, *const c_char),
}

// SAFETY: a constant table of functions.
unsafe impl Sync for Table {}

static TABLE: Table = Table {
    preamble: Preamble::PLAIN,
    versioned: Versioned { language, info, destroy: not_theirs, delete: not_theirs },
    phase_start,
    step_complete,
    phase_finish,
};

impl<'a> Monitor<'a> {
    pub fn new(on_progress: OnProgress<'a>) -> Monitor<'a> {
        let functions = (&raw const TABLE.versioned.language).cast();
        Monitor { functions, state: Mutex::new(State { phases: Vec::new(), on_progress }) }
    }

    /// For TensorRT.
    pub fn pointer(&mut self) -> *mut c_void {
        std::ptr::from_mut(self).cast()
    }

    fn with(&self, change: impl FnOnce(&mut State<'a>)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // A panic must not go through C++.
        let _ = catch_unwind(AssertUnwindSafe(|| change(&mut state)));
    }
}

unsafe extern "C" fn info(_: *mut c_void) -> InterfaceInfo {
    InterfaceInfo { kind: c"IProgressMonitor".as_ptr(), major: 1, minor: 0 }
}

/// # Safety
/// `monitor` is the object that `Monitor::pointer` gave out, and it is alive.
unsafe fn monitor<'a>(monitor: *mut c_void) -> &'a Monitor<'a> {
    // SAFETY: the caller vouches for it; all access is shared, what changes is behind a mutex.
    unsafe { &*monitor.cast::<Monitor<'a>>() }
}

unsafe extern "C" fn phase_start(
    this: *mut c_void,
    name: *const c_char,
    _parent: *const c_char,
    steps: i32,
) {
    // SAFETY: called by TensorRT during the build, with our object and a text.
    let (monitor, name) = unsafe { (monitor(this), text(name).unwrap_or_default()) };
    let steps = u32::try_from(steps).unwrap_or(0);
    monitor.with(|state| {
        (state.on_progress)(&name, 0, steps);
        state.phases.push((name, steps));
    });
}

/// True: go on.
unsafe extern "C" fn step_complete(this: *mut c_void, name: *const c_char, step: i32) -> bool {
    // SAFETY: as in `phase_start`.
    let (monitor, name) = unsafe { (monitor(this), text(name).unwrap_or_default()) };
    monitor.with(|state| {
        let steps = state.phases.iter().find(|(phase, _)| *phase == name).map_or(0, |p| p.1);
        (state.on_progress)(&name, u32::try_from(step).map_or(0, |step| step + 1), steps);
    });
    true
}

unsafe extern "C" fn phase_finish(this: *mut c_void, name: *const c_char) {
    // SAFETY: as in `phase_start`.
    let (monitor, name) = unsafe { (monitor(this), text(name).unwrap_or_default()) };
    monitor.with(|state| {
        state.phases.retain(|(phase, _)| *phase != name);
        if let Some((phase, steps)) = state.phases.last() {
            (state.on_progress)(phase, 0, *steps);
        }
    });
}
