//! The machine.

use serde::{Deserialize, Serialize};

/// The machine. A source that is absent is `None`, never zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceSnapshot {
    /// Such as `AMD EPYC` or `NVIDIA Orin`.
    pub name: String,
    pub cores: u32,
    /// Of all cores, 0..=100.
    pub cpu_percent: Option<f64>,
    /// Of one core, so 2 busy cores are 200; this process.
    pub process_cpu_percent: Option<f64>,
    pub resident_bytes: Option<u64>,
    /// Weights of all loaded models.
    pub weight_bytes: u64,
    /// Scratch memory that the GPU's execution contexts share, and what they would take if each had
    /// its own.
    pub scratch_bytes: u64,
    pub scratch_separate_bytes: u64,
    pub memory_used_bytes: Option<u64>,
    pub memory_total_bytes: Option<u64>,
    /// The processor's hottest zone.
    pub temperature_c: Option<f64>,
    /// The fastest core's.
    pub frequency_mhz: Option<f64>,
    /// All thermal zones, in the kernel's order; every name once.
    pub zones: Vec<Zone>,
    /// What slows the machine down now, in the kernel's words such as `cpu-throttle-alert`; empty
    /// at full speed.
    pub throttled_by: Option<Vec<String>>,
    /// What only a Jetson has; `None` on another machine.
    pub jetson: Option<JetsonSnapshot>,
    pub gpus: Vec<GpuSnapshot>,
}

/// A thermal zone; one that is switched off has no temperature.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Zone {
    pub name: String,
    pub celsius: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JetsonSnapshot {
    /// Of nvpmodel, such as `15W`.
    pub power_mode: Option<String>,
    /// Of the memory's bandwidth at its present clock, 0..=100.
    pub memory_load_percent: Option<f64>,
    pub memory_clock_mhz: Option<f64>,
    /// In the order of the power monitors' addresses and channels.
    pub rails: Vec<Rail>,
}

/// A power rail, by the name the board gives it. One may feed others: they don't add up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rail {
    pub name: String,
    pub watts: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GpuSnapshot {
    pub name: String,
    pub uuid: Option<String>,
    /// It shares the processor's memory, and has none of its own.
    pub integrated: bool,
    pub load_percent: Option<f64>,
    pub memory_used_bytes: Option<u64>,
    pub memory_total_bytes: Option<u64>,
    pub temperature_c: Option<f64>,
    pub power_w: Option<f64>,
    pub power_limit_w: Option<f64>,
    /// Since the appliance started to look.
    pub energy_j: Option<f64>,
    pub frequency_mhz: Option<f64>,
    /// The highest clock that the driver or the power mode allows.
    pub frequency_limit_mhz: Option<f64>,
    /// As [`DeviceSnapshot::throttled_by`].
    pub throttled_by: Option<Vec<String>>,
}
