//! Modelled platforms: what a network's batches would take on a device that is not here, from the
//! device's published compute, bandwidth and memory. A model, not a measurement, and said so
//! wherever it is shown.

use super::network::{Kind, Network};
use super::surface::{ModelSurface, Surfaces};
use crate::config::{self, ConfigErrors, auto_slo_us, bounds};
use crate::units::{BatchSize, Nanos};
use serde::{Deserialize, Serialize};

/// A device by its data sheet; `assets/platforms/*.ron`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    pub name: String,
    /// Where the figures come from.
    pub source: String,
    /// Peak of dense FP16 arithmetic, multiply and add counted as two.
    #[serde(deserialize_with = "bounds::number::<1, 1_000_000_000, _>")]
    pub peak_gflops: f64,
    #[serde(deserialize_with = "bounds::number::<1, 1_000_000, _>")]
    pub bandwidth_gb_per_s: f64,
    #[serde(deserialize_with = "bounds::within::<1, 16_777_216, _, _>")]
    pub memory_mib: u64,
    /// Time between the starts of two small kernels of one stream.
    #[serde(deserialize_with = "bounds::number::<0, 100_000, _>")]
    pub launch_us: f64,
    /// Threads that the device runs at once.
    #[serde(deserialize_with = "bounds::number::<1, 1_000_000_000, _>")]
    pub threads: f64,
    /// Share of the peak that dense convolutions reach.
    #[serde(deserialize_with = "bounds::share")]
    pub dense_efficiency: f64,
    /// The same for networks of depthwise convolutions.
    #[serde(deserialize_with = "bounds::share")]
    pub depthwise_efficiency: f64,
    /// The same for transformers.
    #[serde(deserialize_with = "bounds::share")]
    pub attention_efficiency: f64,
    /// See [`Surfaces::contention`].
    #[serde(deserialize_with = "bounds::number::<0, 10, _>")]
    pub contention: f64,
    /// See [`Surfaces::noise`].
    #[serde(deserialize_with = "bounds::number::<0, 1, _>")]
    pub noise: f64,
    /// Memory the system and other programs take.
    #[serde(deserialize_with = "bounds::within::<0, 16_777_216, _, _>")]
    pub reserved_mib: u64,
}

/// Bytes of a number on the modelled platforms: FP16.
const NUMBER_BYTES: f64 = 2.0;
/// Memory an execution context takes besides its tensors.
const CONTEXT_BYTES: u64 = 24 << 20;
/// Elements that each thread of a kernel has to compute for the device to reach its peak: fewer
/// leave memory latencies uncovered, and tiles of matrix products partly empty.
const ELEMENTS_PER_THREAD: f64 = 4.0;
/// A batch takes at least this share of the device.
const LEAST_OCCUPANCY: f64 = 0.05;

/// The platforms this program was built with: name of the file without its ending, and its text.
const BUILT_IN: [(&str, &str); 4] = [
    ("nano", include_str!("../../assets/platforms/nano.ron")),
    ("tx2", include_str!("../../assets/platforms/tx2.ron")),
    ("xavier_nx", include_str!("../../assets/platforms/xavier_nx.ron")),
    ("orin_nano", include_str!("../../assets/platforms/orin_nano.ron")),
];

impl Platform {
    /// Names of the platforms this program was built with.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.into_iter().map(|(name, _)| name)
    }

    /// One of them.
    ///
    /// # Errors
    /// A text for the operator, for a name that is none of [`Platform::names`].
    pub fn built_in(name: &str) -> Result<Platform, String> {
        match BUILT_IN.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => {
                let file = format!("assets/platforms/{name}.ron");
                config::parse_strictly(&file, (*text).into(), Platform::check)
                    .map_err(|ConfigErrors(report)| report.to_string())
            }
            None => Err(format!(
                "there is no platform '{name}'; there are {}",
                Platform::names().collect::<Vec<_>>().join(", ")
            )),
        }
    }

    /// What is wrong with it although each field is valid, by field.
    pub fn check(&self) -> Vec<(String, String)> {
        if self.reserved_mib < self.memory_mib {
            return Vec::new();
        }
        let (reserved, memory) = (self.reserved_mib, self.memory_mib);
        vec![(
            "reserved_mib".into(),
            format!("{reserved} MiB are reserved of {memory} MiB; less is expected"),
        )]
    }

    /// Execution time alone in seconds, and the share of the device it fills.
    ///
    /// A roofline for the whole network: launching its kernels, then the longer of computing and
    /// moving data. Computing is affine in the batch, because a small batch does not fill the
    /// device: `h` items' worth of its capacity stay idle.
    ///
    /// ```text
    /// t(b) = kernels × launch + max(2 macs (b + h) / (peak × efficiency), bytes(b) / bandwidth)
    /// h    = threads × elements per thread / (elements per kernel and item)
    /// occupancy(b) = busy / t(b) × b / (b + h), at least the share of time moving data
    /// ```
    pub fn execution(&self, network: &Network, batch: u32) -> (f64, f64) {
        let b = f64::from(batch);
        let efficiency = match network.kind {
            Kind::Dense => self.dense_efficiency,
            Kind::Depthwise => self.depthwise_efficiency,
            Kind::Attention => self.attention_efficiency,
        };
        let to_fill = self.threads * ELEMENTS_PER_THREAD;
        let idle_items = to_fill / (network.activation_elements / network.kernels);
        let flops_per_s = self.peak_gflops * 1e9 * efficiency;
        let compute_s = 2.0 * network.macs * (b + idle_items) / flops_per_s;
        // Every activation is written once and read once.
        let bytes = NUMBER_BYTES * (network.parameters + 2.0 * b * network.activation_elements);
        let memory_s = bytes / (self.bandwidth_gb_per_s * 1e9);
        let time_s = network.kernels * self.launch_us * 1e-6 + compute_s.max(memory_s);
        let computing = compute_s / time_s * b / (b + idle_items);
        (time_s, computing.max(memory_s / time_s).clamp(LEAST_OCCUPANCY, 1.0))
    }

    /// The surfaces of these networks here, with batches and instances up to these limits or to
    /// what fits into the memory. A device that is too slow for a network's default SLO gets the
    /// one that `slo: Auto` would give it.
    ///
    /// # Errors
    /// When not even single items of all networks fit.
    pub fn surfaces(
        &self,
        networks: &[Network],
        max_batch: u32,
        max_instances: u16,
    ) -> Result<Surfaces, String> {
        let models = networks.iter().map(|network| {
            let batches = (0..).map(|power| 1u32 << power).take_while(|&b| b <= max_batch);
            let points: Vec<_> = batches.map(|b| (b, self.execution(network, b))).collect();
            let profile_us: Vec<(u32, u64)> =
                points.iter().map(|&(b, (time_s, _))| (b, (time_s * 1e6) as u64)).collect();
            let auto_us = auto_slo_us(&profile_us, networks.len()).unwrap_or(0);
            ModelSurface {
                name: network.name.clone(),
                slo: Nanos::from_secs_f64(network.slo_ms / 1e3).max(Nanos::from_micros(auto_us)),
                max_batch: BatchSize(max_batch),
                max_instances,
                alone_ns: points.iter().map(|&(b, (time_s, _))| (b, time_s * 1e9)).collect(),
                occupancy: points.iter().map(|&(_, (_, occupancy))| occupancy).collect(),
                weight_bytes: (network.parameters * NUMBER_BYTES) as u64,
                context_bytes: CONTEXT_BYTES,
                scratch_bytes: (network.peak_activation_elements * NUMBER_BYTES) as u64,
            }
        });
        let mut surfaces = Surfaces {
            models: models.collect(),
            contention: self.contention,
            noise: self.noise,
            memory_bytes: self.memory_mib.saturating_sub(self.reserved_mib) << 20,
        };
        surfaces.limit_to_memory().map_err(|why| format!("{}: {why}", self.name))?;
        Ok(surfaces)
    }
}
