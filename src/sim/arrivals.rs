//! When requests come, and with which SLO: seeded, in virtual time.

use crate::units::{ModelId, Nanos};
use crate::workload::{Bursts, Process, Schedule};
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Exp1};
use rand_xoshiro::Xoshiro256PlusPlus;

/// How the rate of arrivals changes over a run.
#[derive(Clone, Debug, PartialEq)]
pub enum LoadShape {
    /// Poisson arrivals at a constant rate.
    Steady,
    /// Bursts and calms in turn, each model by itself (a Markov-modulated Poisson process).
    Bursty(Bursts),
    /// Poisson arrivals whose rate goes through a day in the time of a run: from `low` to `high`
    /// times the mean and back.
    Day { low: f64, high: f64 },
    /// Halfway the models' rates, sorted by how much of the device each asks for, swap ends.
    MixShift,
}

/// What SLO a request brings, as a multiple of its model's.
#[derive(Clone, Debug, PartialEq)]
pub enum SloMix {
    Same(f64),
    /// One of these, each as likely as the others.
    Mixed(Vec<f64>),
}

/// One request to come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    pub at: Nanos,
    pub model: ModelId,
    /// Multiple of the model's SLO.
    pub slo_factor: f64,
}

/// An endless sequence of arrivals in order of time.
#[derive(Debug)]
pub struct Arrivals {
    source: Source,
    slo: SloMix,
    rng: Xoshiro256PlusPlus,
}

#[derive(Debug)]
enum Source {
    Schedule(Schedule),
    Varying(Varying),
}

impl Arrivals {
    /// Arrivals of each model at `rates_per_s` on average over a run of `length`.
    ///
    /// # Errors
    /// When a rate is not above 0, or the bursts' parameters contradict themselves.
    pub fn new(
        shape: &LoadShape,
        rates_per_s: &[f64],
        slo: SloMix,
        length: Nanos,
        seed: u64,
    ) -> Result<Arrivals, String> {
        let schedule = |process| Schedule::new(process, rates_per_s, seed).map(Source::Schedule);
        let source = match shape {
            LoadShape::Steady => schedule(Process::Poisson)?,
            LoadShape::Bursty(bursts) => schedule(Process::Bursty(*bursts))?,
            LoadShape::Day { .. } | LoadShape::MixShift => {
                Source::Varying(Varying::new(shape.clone(), rates_per_s, length, seed))
            }
        };
        let rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x510);
        Ok(Arrivals { source, slo, rng })
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let (at, stream) = match &mut self.source {
            Source::Schedule(schedule) => {
                let arrival = schedule.next()?;
                (arrival.at, arrival.stream)
            }
            Source::Varying(varying) => varying.next(),
        };
        let slo_factor = match &self.slo {
            SloMix::Same(factor) => *factor,
            SloMix::Mixed(factors) => factors[self.rng.random_range(0..factors.len())],
        };
        Some(Arrival { at, model: ModelId(stream as u16), slo_factor })
    }
}

/// Poisson arrivals with rates that change over time, by thinning: candidates come at the highest
/// rate, and each is kept with the probability of the rate at its time.
#[derive(Debug)]
struct Varying {
    shape: LoadShape,
    rates_per_s: Vec<f64>,
    /// Rates after the shift.
    swapped_per_s: Vec<f64>,
    length_s: f64,
    highest_per_s: f64,
    at_s: f64,
    rng: Xoshiro256PlusPlus,
}

impl Varying {
    fn new(shape: LoadShape, rates_per_s: &[f64], length: Nanos, seed: u64) -> Varying {
        let swapped_per_s: Vec<f64> = rates_per_s.iter().rev().copied().collect();
        let sum = |rates: &[f64]| rates.iter().sum::<f64>();
        let highest_per_s = match &shape {
            LoadShape::Day { high, .. } => high * sum(rates_per_s),
            _ => sum(rates_per_s).max(sum(&swapped_per_s)),
        };
        Varying {
            shape,
            rates_per_s: rates_per_s.to_vec(),
            swapped_per_s,
            length_s: length.as_secs_f64(),
            highest_per_s,
            at_s: 0.0,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
        }
    }

    fn next(&mut self) -> (Nanos, usize) {
        loop {
            let gap: f64 = Exp1.sample(&mut self.rng);
            self.at_s += gap / self.highest_per_s;
            let mut at = self.rng.random::<f64>() * self.highest_per_s;
            let (rates, factor) = match &self.shape {
                LoadShape::Day { low, high } => {
                    let phase = std::f64::consts::TAU * self.at_s / self.length_s;
                    let (mean, swing) = ((low + high) / 2.0, (high - low) / 2.0);
                    (&self.rates_per_s, mean - swing * phase.cos())
                }
                _ if self.at_s >= self.length_s / 2.0 => (&self.swapped_per_s, 1.0),
                _ => (&self.rates_per_s, 1.0),
            };
            for (stream, rate) in rates.iter().enumerate() {
                at -= rate * factor;
                if at < 0.0 {
                    return (Nanos::from_secs_f64(self.at_s), stream);
                }
            }
        }
    }
}
