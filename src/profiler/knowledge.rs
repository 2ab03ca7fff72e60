//! What the scheduler predicts with, made of profiles.

use super::{Features, Point, Profile, samples};
use crate::scheduler::interference::{Sample, demand, is_lane};
use crate::scheduler::{Footprint, Interference, Predictor, Work};
use crate::units::{BatchSize, InstanceCount, Nanos};
use std::collections::HashMap;

/// The fit begins with this: the same profiles give the same predictions.
const SEED: u64 = 1;

impl From<&Features> for Work {
    fn from(features: &Features) -> Work {
        Work {
            multiply_adds: features.multiply_adds as f64,
            weight_bytes: features.weight_bytes as f64,
            activation_bytes: features.activation_bytes as f64,
            kernels: features.kernels as f64,
        }
    }
}

/// The predictor of a model that was measured alone and side by side with itself, on a device that
/// runs `lanes` batches at once without slowing them.
pub fn predictor(points: &[Point], features: Option<&Features>, lanes: u32) -> Predictor {
    let time = |point: &Point| (point.batch, Nanos((point.latency_us_p50 * 1e3) as u64));
    let alone: Vec<(BatchSize, Nanos)> =
        points.iter().filter(|point| point.instances == InstanceCount::ONE).map(time).collect();
    let predictor = Predictor::new(&alone).with_work(features.map(Work::from).unwrap_or_default());
    let lane = 1.0 / f64::from(lanes.max(1));
    let demands = demands(points, &alone, lane);
    if demands.is_empty() { predictor.with_demand(lane) } else { predictor.with_demands(&demands) }
}

/// Share of the device by batch size, as far as several instances were measured; empty where
/// `lane` explains all of it.
fn demands(points: &[Point], alone: &[(BatchSize, Nanos)], lane: f64) -> Vec<(BatchSize, f64)> {
    let mut is_explained = true;
    let mut demands = Vec::new();
    for &(batch, time) in alone {
        let several = points.iter().filter(|p| p.batch == batch && p.instances.0 > 1);
        let slower: Vec<(u16, f64)> = several
            .map(|p| (p.instances.0, p.latency_us_p50 * 1e3 / time.0.max(1) as f64))
            .collect();
        is_explained &=
            slower.iter().all(|&(instances, times)| is_lane(lane, f64::from(instances), times));
        if !slower.is_empty() {
            demands.push((batch, demand(&slower)));
        }
    }
    if is_explained { Vec::new() } else { demands }
}

/// What was measured beside something else, for the fit, and which of them come from one
/// measurement: equal numbers.
pub fn interference_samples(profiles: &[Profile], lanes: u32) -> (Vec<Sample>, Vec<usize>) {
    let predictors: Vec<Predictor> =
        profiles.iter().map(|p| predictor(&p.points, p.features.as_ref(), lanes)).collect();
    let footprint = |model: usize, batch| -> Footprint { predictors[model].footprint(batch) };
    let mut numbers = HashMap::new();
    let (mut fitting, mut combinations) = (Vec::new(), Vec::new());
    for sample in samples(profiles) {
        let own = footprint(sample.model, sample.batch);
        let siblings = (u32::from(sample.instances.0) - 1, own);
        let others = sample.neighbours.iter();
        let others = others.map(|n| (u32::from(n.instances.0), footprint(n.model, n.batch)));
        let others = std::iter::once(siblings).chain(others);
        let Some(fit) = Sample::new(&own, others, sample.multiplier) else { continue };
        let mut members = vec![(sample.model, sample.batch, sample.instances)];
        members.extend(sample.neighbours.iter().map(|n| (n.model, n.batch, n.instances)));
        members.sort_unstable();
        let next = numbers.len();
        combinations.push(*numbers.entry(members).or_insert(next));
        fitting.push(fit);
    }
    (fitting, combinations)
}

/// How much batches slow each other, learnt from what was measured: processor sharing where that
/// is too little.
pub fn interference(profiles: &[Profile], lanes: u32) -> Interference {
    Interference::fit(&interference_samples(profiles, lanes).0, SEED)
}
