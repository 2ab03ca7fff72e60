//! NVIDIA GPUs through the driver's management library, which is looked for at run time.

use crate::telemetry::snapshot::GpuSnapshot;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use std::ffi::OsStr;

/// Where the dynamic loader looks for it. The name without a number belongs to the developer
/// package, which a machine that only runs things does not have.
pub(super) const LIBRARY: &str = "libnvidia-ml.so.1";
/// A GPU that does not tell its name.
const UNKNOWN: &str = "NVIDIA GPU";
/// More are not looked at.
const MAX_GPUS: u32 = 64;
/// What makes a GPU slower than it could be. An idle GPU's and the application's own clocks do not
/// count.
const BRAKES: [(ThrottleReasons, &str); 5] = [
    (ThrottleReasons::SW_POWER_CAP, "power limit"),
    (ThrottleReasons::SW_THERMAL_SLOWDOWN, "heat"),
    (ThrottleReasons::HW_THERMAL_SLOWDOWN, "heat (hardware)"),
    (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "power brake"),
    (ThrottleReasons::SYNC_BOOST, "sync boost"),
];

/// The library, and what does not change.
#[derive(Debug)]
pub(super) struct Gpus {
    nvml: Nvml,
    /// Energy counters as they were first read, in mJ, by GPU.
    first_energy_mj: Vec<Option<u64>>,
}

impl Gpus {
    /// `None` where there is no such library, or no driver below it.
    pub(super) fn open(library: &OsStr) -> Option<Gpus> {
        match Nvml::builder().lib_path(library).init() {
            Ok(nvml) => Some(Gpus { nvml, first_energy_mj: Vec::new() }),
            Err(NvmlError::LibloadingError(e)) => {
                tracing::debug!("no NVIDIA GPU is watched: {e}");
                None
            }
            Err(e) => {
                tracing::warn!(
                    "no NVIDIA GPU is watched: {} says: {e}; is the driver loaded (nvidia-smi)?",
                    library.display()
                );
                None
            }
        }
    }

    /// All GPUs in the driver's order. What one does not tell is absent; a GPU that has gone
    /// tells nothing.
    pub(super) fn sample(&mut self) -> Vec<GpuSnapshot> {
        let count = self.nvml.device_count().unwrap_or(0).min(MAX_GPUS);
        self.first_energy_mj.resize(count as usize, None);
        let Gpus { nvml, first_energy_mj } = self;
        let devices = (0..count).zip(first_energy_mj);
        devices
            .map(|(index, first_energy_mj)| match nvml.device_by_index(index) {
                Ok(gpu) => sample(&gpu, first_energy_mj),
                Err(_) => GpuSnapshot { name: UNKNOWN.into(), ..GpuSnapshot::default() },
            })
            .collect()
    }
}

fn sample(gpu: &Device<'_>, first_energy_mj: &mut Option<u64>) -> GpuSnapshot {
    let memory = gpu.memory_info().ok();
    let watts = |milliwatts: Result<u32, NvmlError>| Some(f64::from(milliwatts.ok()?) / 1e3);
    let mhz = |clock: Result<u32, NvmlError>| clock.ok().map(f64::from);
    let joules = |energy_mj: u64| {
        let first = *first_energy_mj.get_or_insert(energy_mj);
        // The counter starts again when the driver is loaded again.
        energy_mj.saturating_sub(first) as f64 / 1e3
    };
    GpuSnapshot {
        name: gpu.name().unwrap_or_else(|_| UNKNOWN.into()),
        uuid: gpu.uuid().ok(),
        integrated: false,
        load_percent: gpu.utilization_rates().ok().map(|load| f64::from(load.gpu)),
        memory_used_bytes: memory.as_ref().map(|memory| memory.used),
        memory_total_bytes: memory.as_ref().map(|memory| memory.total),
        temperature_c: gpu.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
        power_w: watts(gpu.power_usage()),
        power_limit_w: watts(gpu.enforced_power_limit()),
        energy_j: gpu.total_energy_consumption().ok().map(joules),
        frequency_mhz: mhz(gpu.clock_info(Clock::Graphics)),
        frequency_limit_mhz: mhz(gpu.max_clock_info(Clock::Graphics)),
        throttled_by: gpu.current_throttle_reasons().ok().map(brakes),
    }
}

fn brakes(reasons: ThrottleReasons) -> Vec<String> {
    let mut brakes: Vec<String> = BRAKES
        .iter()
        .filter(|(reason, _)| reasons.contains(*reason))
        .map(|(_, name)| (*name).to_owned())
        .collect();
    // Set beside one of the hardware's reasons, or alone where the driver does not know which.
    if brakes.is_empty() && reasons.contains(ThrottleReasons::HW_SLOWDOWN) {
        brakes.push("hardware slowdown".into());
    }
    brakes
}
