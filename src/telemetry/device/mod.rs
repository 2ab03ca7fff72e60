//! The machine's state, read from /proc, /sys and the NVIDIA driver. What a machine doesn't tell
//! is absent.

mod changes;
mod files;
mod host;
mod jetson;
mod nvml;
mod thermal;

pub use changes::{DeviceEvent, SpeedWatch};

use super::snapshot::{DeviceSnapshot, GpuSnapshot};
use crate::units::Nanos;
use files::Tree;
use host::Host;
use jetson::Jetson;
use nvml::Gpus;
use std::ffi::OsString;
use std::path::PathBuf;
use thermal::Thermal;

/// Where a [`DeviceMonitor`] looks.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The root of the file tree that has /proc, /sys, /etc and /var.
    pub root: PathBuf,
    /// NVIDIA's management library: a name that the dynamic loader knows, or a path.
    pub nvml: OsString,
}

impl Default for Sources {
    fn default() -> Sources {
        Sources { root: PathBuf::from("/"), nvml: nvml::LIBRARY.into() }
    }
}

/// Takes samples of the machine; loads are over the time between two of them.
#[derive(Debug)]
pub struct DeviceMonitor {
    host: Host,
    thermal: Thermal,
    jetson: Option<Jetson>,
    gpus: Option<Gpus>,
}

impl Default for DeviceMonitor {
    fn default() -> DeviceMonitor {
        DeviceMonitor::new()
    }
}

impl DeviceMonitor {
    /// Looks up what does not change: names, cores, sensors, the NVIDIA driver.
    pub fn new() -> DeviceMonitor {
        DeviceMonitor::of(&Sources::default())
    }

    /// The machine that these sources tell of.
    pub fn of(sources: &Sources) -> DeviceMonitor {
        let tree = Tree::at(&sources.root);
        let jetson = Jetson::of(&tree);
        // Orin's driver has the library too, but it knows less than the files and costs more.
        let asked = !jetson.as_ref().is_some_and(Jetson::knows_its_gpu);
        DeviceMonitor {
            host: Host::of(&tree),
            thermal: Thermal::of(&tree),
            jetson,
            gpus: if asked { Gpus::open(&sources.nvml) } else { None },
        }
    }

    /// The machine at the time `now`, which counts up from call to call. The first call has no
    /// loads yet. Weights are for others to fill in.
    pub fn sample(&mut self, now: Nanos) -> DeviceSnapshot {
        let mut device = self.host.sample(now);
        device.zones = self.thermal.zones();
        device.temperature_c = self.thermal.hottest_cpu(&device.zones);
        device.throttled_by = self.thermal.throttled_by();
        device.gpus = self.gpus.as_mut().map(Gpus::sample).unwrap_or_default();
        if let Some(jetson) = &mut self.jetson {
            let sample = jetson.sample();
            if let Some(gpu) = jetson.gpu(&sample.rails, &device.zones) {
                add_integrated(&mut device.gpus, gpu);
            }
            device.jetson = Some(sample);
        }
        device
    }
}

/// Brings what sysfs tells of a Jetson's GPU together with what the driver tells, which on Thor is
/// one GPU with a load, and on others nothing.
fn add_integrated(gpus: &mut Vec<GpuSnapshot>, gpu: GpuSnapshot) {
    match gpus.first_mut() {
        Some(known) => {
            known.integrated = true;
            known.temperature_c = known.temperature_c.or(gpu.temperature_c);
            known.power_w = known.power_w.or(gpu.power_w);
            known.frequency_mhz = known.frequency_mhz.or(gpu.frequency_mhz);
            known.frequency_limit_mhz = known.frequency_limit_mhz.or(gpu.frequency_limit_mhz);
        }
        None => gpus.push(gpu),
    }
}
