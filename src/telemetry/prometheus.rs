//! The metrics page.

use crate::telemetry::Snapshot;

/// Prometheus text.
pub fn render(_snapshot: &Snapshot) -> String {
    String::new()
}
