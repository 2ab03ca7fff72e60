//! How long batches really take on the simulated device: the truth that policies only see through
//! their predictor and their measurements.

use crate::units::{BatchSize, Nanos};

/// One model on one device.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSurface {
    pub name: String,
    pub slo: Nanos,
    pub max_batch: BatchSize,
    pub max_instances: u16,
    /// (items, execution time alone in ns), ascending from 1 item.
    pub alone_ns: Vec<(u32, f64)>,
    /// Share of the device that a batch fills, in the order of `alone_ns`.
    pub occupancy: Vec<f64>,
    /// Memory its weights take.
    pub weight_bytes: u64,
    /// Memory an instance takes whether it runs or not.
    pub context_bytes: u64,
    /// Memory a batch needs while it runs, by item: its tensors.
    pub scratch_bytes: u64,
}

impl ModelSurface {
    /// Execution time alone in ns, linear between the points.
    pub fn alone(&self, batch: u32) -> f64 {
        interpolate(batch, self.alone_ns.iter().copied())
    }

    /// Share of the device that a batch of that size fills.
    pub fn occupancy(&self, batch: u32) -> f64 {
        let points = self.alone_ns.iter().zip(&self.occupancy).map(|(&(n, _), &share)| (n, share));
        interpolate(batch, points).min(1.0)
    }

    /// Most items per second one batch after the other, and at which batch size.
    pub fn best_rate_per_s(&self) -> f64 {
        let rate = |&(n, ns): &(u32, f64)| f64::from(n) * 1e9 / ns;
        self.alone_ns.iter().map(rate).fold(0.0, f64::max)
    }
}

fn interpolate(batch: u32, points: impl Iterator<Item = (u32, f64)>) -> f64 {
    let mut below: Option<(u32, f64)> = None;
    let mut before: Option<(u32, f64)> = None;
    for (n, value) in points {
        if n == batch {
            return value;
        }
        match below {
            Some((b, low)) if n > batch => {
                return low + (value - low) * f64::from(batch - b) / f64::from(n - b);
            }
            None if n > batch => return value,
            _ => {}
        }
        before = below;
        below = Some((n, value));
    }
    match (before, below) {
        (Some((a, low)), Some((b, high))) => {
            high + (high - low) / f64::from(b - a) * f64::from(batch - b)
        }
        (None, Some((n, value))) => value * f64::from(batch) / f64::from(n),
        _ => 0.0,
    }
}

/// All models of a device and how they share it.
#[derive(Clone, Debug, PartialEq)]
pub struct Surfaces {
    pub models: Vec<ModelSurface>,
    /// How much longer a batch takes beside others that fill the rest of the device, even while
    /// there is room for all: caches and memory bandwidth.
    pub contention: f64,
    /// Spread of execution times, as the standard deviation of their logarithm.
    pub noise: f64,
    /// Memory of the device.
    pub memory_bytes: u64,
}

impl Surfaces {
    /// The factor by which a batch is slowed that fills the share `own` of the device, beside others
    /// that fill `others` together.
    pub fn multiplier(&self, own: f64, others: f64) -> f64 {
        (own + others).max(1.0) * (1.0 + self.contention * others.min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolates_between_points_and_goes_on_at_their_slope() {
        let at = |n| interpolate(n, [(1, 10.0), (4, 16.0), (8, 28.0)].into_iter());
        assert_eq!([1, 2, 4, 6, 8, 10].map(at), [10.0, 12.0, 16.0, 22.0, 28.0, 34.0]);
        assert_eq!(interpolate(4, [(1, 10.0)].into_iter()), 40.0);
    }
}
