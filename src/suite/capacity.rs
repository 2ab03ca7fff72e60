//! Capacity: the highest rate, the same for all models, at which some fixed choice of batch sizes
//! and instances still answers 95 % of every model's requests in time.

use super::bench::{Bench, end};
use super::choice::Choice;
use super::search::{Search, Trial};
use crate::sim::{Load, device_time_ns};

/// Share of every model's requests that has to be in time.
pub const HIT_RATE: f64 = 0.95;
/// Bisections of the interval the capacity is in.
const STEPS: u32 = 7;
/// Runs to find a choice that serves a rate.
const RUNS: usize = 70;
/// Requests of each model in a run that decides.
const REQUESTS: f64 = 500.0;

/// Seconds of a short run in which each model gets about so many requests.
pub fn seconds(rate_per_s: f64, requests: f64) -> u64 {
    (requests / rate_per_s).clamp(20.0, 300.0).ceil() as u64
}

/// Requests per second of each model, and a choice that serves them.
///
/// # Errors
/// When not even a thousandth of what the device could do at best can be served.
pub fn capacity(bench: &Bench, seed: u64) -> Result<(f64, Choice), String> {
    let models = &bench.surfaces.models;
    // All of the device, and always the best batches: more is not possible.
    let bound = 1e9 / models.iter().map(device_time_ns).sum::<f64>();
    let mut hints: Vec<Choice> = Vec::new();
    let mut serves = |rate: f64| -> Result<bool, String> {
        let seconds = seconds(rate, REQUESTS);
        let load = Load::Even { per_s: rate };
        let plan = load.plan(&bench.surfaces, rate, super::bench::WARM_UP, end(seconds));
        let mut search = Search::new(models, |choice: &Choice| {
            let run = bench.run(&plan, choice.policies(&plan), seconds, seed)?;
            Ok(Trial::from(&run))
        });
        let (choice, trial) = search.fair(1, &hints, HIT_RATE, RUNS)?;
        let served = trial.worst >= HIT_RATE;
        if served {
            hints = vec![choice];
        }
        Ok(served)
    };
    let (mut low, mut high) = (0.4 * bound, bound);
    while !serves(low)? {
        high = low;
        low /= 2.0;
        if low < 1e-3 * bound {
            return Err(format!(
                "no rate can be served with {:.0} % of every model's requests in time: an SLO is \
                 too short for this device",
                100.0 * HIT_RATE
            ));
        }
    }
    for _ in 0..STEPS {
        let middle = (low + high) / 2.0;
        if serves(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    let choice = hints.pop().ok_or("a rate that is served has a choice")?;
    Ok((low, choice))
}
