//! How much batches slow each other.
//!
//! Without measurements of neighbours it is processor sharing: a batch demands a share of the
//! device, and when the demands together exceed it, everybody is slowed in proportion. What that
//! leaves out (caches, memory bandwidth, how an operating system or a GPU deals out its time) a
//! network of two layers adds, fitted to what was measured on this device. It predicts the
//! logarithm of the measured multiplier over that of processor sharing, so that one that knows
//! nothing is processor sharing.
//!
//! ```text
//! Footprint of a batch ─► Imprint on the hidden layer ──┐
//! Footprints of the others ─► Imprints, summed up ──────┴─► ReLU ─► × processor sharing
//! ```
//!
//! Features of neighbours are sums over them, and the first layer is linear: so each batch's part
//! of the hidden layer is computed once, when it starts, and a start or an end costs a few additions
//! for each batch under way.

mod fit;
mod footprint;
pub mod judge;
mod network;
mod regression;

pub use fit::Sample;
pub use footprint::{Footprint, Work, demand, is_lane};
pub use network::{FEATURE_NAMES, FEATURES, Imprint, Neighbours};

use network::Network;
use std::sync::Arc;

/// Predicts the factor by which a batch takes longer beside others than alone.
#[derive(Clone, Debug, Default)]
pub struct Interference {
    network: Option<Arc<Network>>,
}

impl Interference {
    /// Learns from what was measured; processor sharing when that is too little. Takes
    /// milliseconds. The same samples and seed give the same result.
    pub fn fit(samples: &[Sample], seed: u64) -> Interference {
        Interference { network: fit::fit(samples, seed).map(Arc::new) }
    }

    /// Whether there is more behind it than processor sharing.
    pub fn is_fitted(&self) -> bool {
        self.network.is_some()
    }

    /// What a batch contributes to predictions: its own, and those of its neighbours.
    pub fn imprint(&self, batch: &Footprint) -> Imprint {
        match &self.network {
            Some(network) => network.imprint(batch),
            None => Imprint::of_share(batch.share),
        }
    }

    /// The multiplier, at least 1, of a batch beside others.
    pub fn multiplier(&self, own: &Imprint, others: &Neighbours) -> f64 {
        let sharing = processor_sharing(own.share, others.share());
        match &self.network {
            Some(network) if !others.is_empty() => {
                (sharing * f64::from(network.correction(own, others)).exp()).max(1.0)
            }
            _ => sharing,
        }
    }
}

/// The multiplier, at least 1, of a batch that demands the share `own` of the device beside others
/// that demand `others` in all, if everybody gets as much as their demand.
pub fn processor_sharing(own: f64, others: f64) -> f64 {
    (own + others).max(1.0)
}

#[cfg(test)]
mod tests;
