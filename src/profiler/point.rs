//! What a measurement gives.

use super::fields;
use crate::units::{BatchSize, InstanceCount};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A machine that is this much faster or slower than at the beginning is not the same machine.
/// The anchor alone scatters by 2–3 %.
pub const DRIFT_TOLERANCE: f64 = 0.08;

/// Execution time of one batch size while `instances` instances of the model run it without a
/// pause, alone or beside others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    #[serde(deserialize_with = "fields::batch")]
    pub batch: BatchSize,
    #[serde(deserialize_with = "fields::instances")]
    pub instances: InstanceCount,
    #[serde(deserialize_with = "fields::time_us")]
    pub latency_us_p50: f64,
    #[serde(deserialize_with = "fields::time_us")]
    pub latency_us_p95: f64,
    #[serde(deserialize_with = "fields::time_us")]
    pub latency_us_mean: f64,
    /// Median absolute deviation from the median: the spread that a few outliers do not change.
    #[serde(deserialize_with = "fields::time_us")]
    pub latency_us_mad: f64,
    /// Runs the figures come from, over all instances. 0: not measured but configured.
    pub runs: u32,
    /// How slow the machine was then, by the profile's anchor: its latency over its reference,
    /// before or after, whichever is farther from 1. It is 1 where no anchor was measured.
    #[serde(deserialize_with = "fields::factor")]
    pub drift: f64,
}

impl Point {
    /// From the durations of at least one run.
    pub fn of_runs(batch: BatchSize, instances: InstanceCount, mut runs: Vec<Duration>) -> Point {
        runs.sort_unstable();
        let runs: Vec<f64> = runs.iter().map(|run| run.as_nanos() as f64 / 1e3).collect();
        let median = quantile(&runs, 0.5);
        let mut away: Vec<f64> = runs.iter().map(|run| (run - median).abs()).collect();
        away.sort_unstable_by(f64::total_cmp);
        Point {
            batch,
            instances,
            latency_us_p50: rounded(median),
            latency_us_p95: rounded(quantile(&runs, 0.95)),
            latency_us_mean: rounded(runs.iter().sum::<f64>() / runs.len().max(1) as f64),
            latency_us_mad: rounded(quantile(&away, 0.5)),
            runs: runs.len() as u32,
            drift: 1.0,
        }
    }

    /// Not measured: what a table says about one instance.
    pub fn configured(batch: BatchSize, latency_us: f64) -> Point {
        Point {
            batch,
            instances: InstanceCount::ONE,
            latency_us_p50: latency_us,
            latency_us_p95: latency_us,
            latency_us_mean: latency_us,
            latency_us_mad: 0.0,
            runs: 0,
            drift: 1.0,
        }
    }

    /// Whether the machine was not itself.
    pub fn is_marked(&self) -> bool {
        (self.drift - 1.0).abs() > DRIFT_TOLERANCE
    }

    /// Items per second that the instances do together.
    pub fn items_per_second(&self) -> f64 {
        let items = f64::from(self.batch.0) * f64::from(self.instances.0);
        items * 1e6 / self.latency_us_mean.max(1e-3)
    }
}

/// Of ascending values, by nearest rank.
pub(super) fn quantile(ascending: &[f64], q: f64) -> f64 {
    let rank = ((ascending.len() as f64 * q).ceil() as usize).saturating_sub(1);
    ascending.get(rank).copied().unwrap_or(0.0)
}

/// Nanoseconds are exact enough, and short in the file.
fn rounded(us: f64) -> f64 {
    (us * 1e3).round() / 1e3
}

/// An instance of another model that runs at the same time, or several that are alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbour {
    /// Its name in config.ron.
    pub model: String,
    #[serde(deserialize_with = "fields::batch")]
    pub batch: BatchSize,
    #[serde(deserialize_with = "fields::instances")]
    pub instances: InstanceCount,
}

/// A point measured while other models ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beside {
    pub point: Point,
    /// By name.
    pub neighbours: Vec<Neighbour>,
    /// `point.latency_us_mean` over that of one instance of the same batch size alone. Of the mean,
    /// because instances that share cores unevenly have latencies with several modes, between
    /// which a median jumps.
    #[serde(deserialize_with = "fields::factor")]
    pub multiplier: f64,
    /// The mean when the same was measured once more, much later: how far measurements repeat.
    #[serde(deserialize_with = "fields::optional_time_us")]
    pub again_us_mean: Option<f64>,
}

impl Beside {
    /// What identifies it within a profile.
    pub fn key(&self) -> (BatchSize, InstanceCount, &[Neighbour]) {
        (self.point.batch, self.point.instances, &self.neighbours)
    }

    /// Instances of other models that ran.
    pub fn other_instances(&self) -> u32 {
        self.neighbours.iter().map(|neighbour| u32::from(neighbour.instances.0)).sum()
    }
}

/// Batch size and median latency in microseconds of one instance alone, ascending: what a default
/// SLO is derived from.
pub fn latency_table(points: &[Point]) -> Vec<(u32, u64)> {
    let alone = points.iter().filter(|point| point.instances == InstanceCount::ONE);
    let mut table: Vec<_> =
        alone.map(|point| (point.batch.0, point.latency_us_p50.round() as u64)).collect();
    table.sort_unstable();
    table
}

/// 1, 2, 4, … and the limit itself.
pub fn batch_ladder(max_batch: BatchSize) -> Vec<BatchSize> {
    let max = max_batch.0.max(1);
    let powers = (0..32).map(|exponent| 1u32 << exponent).take_while(|&batch| batch < max);
    powers.chain([max]).map(BatchSize).collect()
}

/// 1 to 8, then 16, 32, … and the limit itself.
pub fn instance_ladder(max_instances: InstanceCount) -> Vec<InstanceCount> {
    let max = max_instances.0.max(1);
    let doubled = (4..16).map(|exponent| 1u16 << exponent);
    let below = (1..=8).chain(doubled).take_while(|&instances| instances < max);
    below.chain([max]).map(InstanceCount).collect()
}
