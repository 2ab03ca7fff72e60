//! Modelled platforms: what a network's batches would take on a device that is not here, from the
//! device's published compute, bandwidth and memory. A model, not a measurement, and said so
//! wherever it is shown.

use super::network::{Kind, Network};
use super::surface::{ModelSurface, Surfaces};
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
    pub peak_gflops: f64,
    pub bandwidth_gb_per_s: f64,
    pub memory_mib: u64,
    /// Time between the starts of two small kernels of one stream.
    pub launch_us: f64,
    /// Threads that have to be busy to reach the peak.
    pub threads: f64,
    /// Share of the peak that dense convolutions reach.
    pub dense_efficiency: f64,
    /// The same for networks of depthwise convolutions.
    pub depthwise_efficiency: f64,
    /// The same for transformers.
    pub attention_efficiency: f64,
    /// See [`Surfaces::contention`].
    pub contention: f64,
    /// See [`Surfaces::noise`].
    pub noise: f64,
    /// Memory the system and other programs take.
    pub reserved_mib: u64,
}

/// Bytes of a number on the modelled platforms: FP16.
const NUMBER_BYTES: f64 = 2.0;
/// Memory an execution context takes besides its tensors.
const CONTEXT_BYTES: u64 = 24 << 20;

impl Platform {
    /// Execution time alone in seconds, and the share of the device it fills.
    ///
    /// A roofline for the whole network: launching its kernels, then the longer of computing and
    /// moving data. Computing is affine in the batch, because a small batch does not fill the
    /// device: `h` items' worth of its capacity stay idle.
    ///
    /// ```text
    /// t(b) = kernels × launch + max(2 macs (b + h) / (peak × efficiency), bytes(b) / bandwidth)
    /// h    = threads / (elements per kernel and item)
    /// occupancy(b) = busy / t(b) × b / (b + h), at least the share of time moving data
    /// ```
    pub fn execution(&self, network: &Network, batch: u32) -> (f64, f64) {
        let b = f64::from(batch);
        let efficiency = match network.kind {
            Kind::Dense => self.dense_efficiency,
            Kind::Depthwise => self.depthwise_efficiency,
            Kind::Attention => self.attention_efficiency,
        };
        let idle_items = self.threads / (network.activation_elements / network.kernels);
        let flops_per_s = self.peak_gflops * 1e9 * efficiency;
        let compute_s = 2.0 * network.macs * (b + idle_items) / flops_per_s;
        // Every activation is written once and read once.
        let bytes = NUMBER_BYTES * (network.parameters + 2.0 * b * network.activation_elements);
        let memory_s = bytes / (self.bandwidth_gb_per_s * 1e9);
        let time_s = network.kernels * self.launch_us * 1e-6 + compute_s.max(memory_s);
        let computing = compute_s / time_s * b / (b + idle_items);
        (time_s, computing.max(memory_s / time_s).clamp(0.05, 1.0))
    }

    /// The surfaces of these networks here, with batches and instances up to what fits.
    pub fn surfaces(&self, networks: &[Network], max_batch: u32, max_instances: u16) -> Surfaces {
        let models = networks.iter().map(|network| {
            let batches = (0..).map(|power| 1u32 << power).take_while(|&b| b <= max_batch);
            let points: Vec<_> = batches.map(|b| (b, self.execution(network, b))).collect();
            let activations = network.peak_activation_elements * f64::from(max_batch);
            ModelSurface {
                name: network.name.clone(),
                slo: Nanos::from_micros((network.slo_ms * 1e3) as u64),
                max_batch: BatchSize(max_batch),
                max_instances,
                alone_ns: points.iter().map(|&(b, (time_s, _))| (b, time_s * 1e9)).collect(),
                occupancy: points.iter().map(|&(_, (_, occupancy))| occupancy).collect(),
                weight_bytes: (network.parameters * NUMBER_BYTES) as u64,
                instance_bytes: CONTEXT_BYTES + (activations * NUMBER_BYTES) as u64,
            }
        });
        Surfaces {
            models: models.collect(),
            contention: self.contention,
            noise: self.noise,
            memory_bytes: (self.memory_mib - self.reserved_mib) << 20,
        }
    }
}
