//! The device monitor against file trees that look like a Jetson Nano, Xavier, Orin and Thor, and
//! against a management library of our own making.

mod live;
mod nvml;
mod sysfs;
mod trees;

use bcedge::telemetry::device::{DeviceMonitor, Sources};
use bcedge::telemetry::snapshot::DeviceSnapshot;
use bcedge::units::Nanos;
use std::ffi::OsString;
use std::path::Path;

/// A name under which no library is found anywhere.
const NO_LIBRARY: &str = "libbcedge-has-no-such-library.so.1";

fn monitor(root: &Path, nvml: impl Into<OsString>) -> DeviceMonitor {
    DeviceMonitor::of(&Sources { root: root.to_path_buf(), nvml: nvml.into() })
}

fn sample(tree: &trees::Tree) -> DeviceSnapshot {
    monitor(tree.root(), NO_LIBRARY).sample(Nanos::ZERO)
}
