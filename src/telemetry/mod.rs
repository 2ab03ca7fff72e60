//! What the appliance tells about itself.

pub mod command;
pub mod device;
pub mod format;
pub mod log;
pub mod prometheus;
pub mod recorder;
pub mod snapshot;

pub use command::{Command, CommandError};
pub use snapshot::Snapshot;

use crate::units::Nanos;

/// Rates, percentiles and utility in a [`Snapshot`] cover this long.
pub const WINDOW: Nanos = Nanos::from_millis(5_000);
/// Executions that take this many times as long as profiled are worth saying ...
pub const SLOW_DRIFT: f64 = 1.3;
/// ... until they take at most this many times as long.
pub const USUAL_DRIFT: f64 = 1.15;
/// Events kept for the UI.
pub const MAX_EVENTS: usize = 200;
/// Log lines kept for the UI.
pub const MAX_LOG_LINES: usize = 500;
