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
    /// Poisson arrivals whose rate goes from `low` to `high` times the given one and back, in every
    /// `period` from the time `from` on.
    Day { low: f64, high: f64, from: Nanos, period: Nanos },
    /// Poisson arrivals that have these other rates from the time `at` on.
    Shift { at: Nanos, after_per_s: Vec<f64> },
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
    /// Arrivals of each model at `rates_per_s`.
    ///
    /// # Errors
    /// When a rate is not above 0, or the shape's parameters contradict themselves.
    pub fn new(
        shape: &LoadShape,
        rates_per_s: &[f64],
        slo: SloMix,
        seed: u64,
    ) -> Result<Arrivals, String> {
        let schedule = |process| Schedule::new(process, rates_per_s, seed).map(Source::Schedule);
        let source = match shape {
            LoadShape::Steady => schedule(Process::Poisson)?,
            LoadShape::Bursty(bursts) => schedule(Process::Bursty(*bursts))?,
            LoadShape::Day { .. } | LoadShape::Shift { .. } => {
                Source::Varying(Varying::new(shape.clone(), rates_per_s, seed)?)
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
    highest_per_s: f64,
    at_s: f64,
    rng: Xoshiro256PlusPlus,
}

impl Varying {
    fn new(shape: LoadShape, rates_per_s: &[f64], seed: u64) -> Result<Varying, String> {
        let sum = |rates: &[f64]| rates.iter().sum::<f64>();
        let mut highest_per_s = sum(rates_per_s);
        match &shape {
            LoadShape::Day { low, high, period, .. } => {
                if !(*low >= 0.0 && high > low && high.is_finite() && *period > Nanos::ZERO) {
                    return Err(format!(
                        "a day goes from {low} to {high} times the rate in {period}; from at least \
                         0 to more than that, in some time"
                    ));
                }
                highest_per_s *= high;
            }
            LoadShape::Shift { after_per_s, .. } => {
                if after_per_s.len() != rates_per_s.len() {
                    return Err("as many rates after a shift as before it".into());
                }
                highest_per_s = highest_per_s.max(sum(after_per_s));
            }
            LoadShape::Steady | LoadShape::Bursty(_) => {}
        }
        if !(highest_per_s > 0.0 && highest_per_s.is_finite()) {
            return Err(format!("the rates add up to {highest_per_s}; above 0"));
        }
        let rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        Ok(Varying { shape, rates_per_s: rates_per_s.to_vec(), highest_per_s, at_s: 0.0, rng })
    }

    fn next(&mut self) -> (Nanos, usize) {
        loop {
            let gap: f64 = Exp1.sample(&mut self.rng);
            self.at_s += gap / self.highest_per_s;
            let mut at = self.rng.random::<f64>() * self.highest_per_s;
            let (rates, factor) = match &self.shape {
                LoadShape::Day { low, high, from, period } => {
                    let days = (self.at_s - from.as_secs_f64()) / period.as_secs_f64();
                    let (mean, swing) = ((low + high) / 2.0, (high - low) / 2.0);
                    (&self.rates_per_s, mean - swing * (std::f64::consts::TAU * days).cos())
                }
                LoadShape::Shift { at, after_per_s } if self.at_s >= at.as_secs_f64() => {
                    (after_per_s, 1.0)
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Arrivals of two models in each of the first `seconds` seconds.
    fn by_second(shape: &LoadShape, seconds: usize) -> Vec<[u32; 2]> {
        let mut counts = vec![[0; 2]; seconds];
        let all = Arrivals::new(shape, &[300.0, 100.0], SloMix::Same(1.0), 7).unwrap();
        for arrival in all {
            match counts.get_mut(arrival.at.as_secs_f64() as usize) {
                Some(count) => count[arrival.model.index()] += 1,
                None => break,
            }
        }
        counts
    }

    /// Within five standard deviations.
    fn is_about(count: u32, expected: f64) -> bool {
        (f64::from(count) - expected).abs() <= 5.0 * expected.sqrt()
    }

    #[test]
    fn a_shift_swaps_who_is_popular() {
        let at = Nanos::from_millis(4_000);
        let counts = by_second(&LoadShape::Shift { at, after_per_s: vec![100.0, 200.0] }, 8);
        for (second, [a, b]) in counts.into_iter().enumerate() {
            let (first, other) = if second < 4 { (300.0, 100.0) } else { (100.0, 200.0) };
            assert!(is_about(a, first) && is_about(b, other), "second {second}: {a} {b}");
        }
    }

    #[test]
    fn a_day_begins_and_ends_at_night() {
        let from = Nanos::from_millis(1_000);
        let period = Nanos::from_millis(10_000);
        let counts = by_second(&LoadShape::Day { low: 0.2, high: 1.8, from, period }, 11);
        // Mean of the rate over the second that begins or ends with the day, and over noon.
        let night = 1.0 - 0.8 * (0.2 * std::f64::consts::PI).sin() / (0.2 * std::f64::consts::PI);
        assert!(is_about(counts[1][0], 300.0 * night) && is_about(counts[10][0], 300.0 * night));
        assert!(is_about(counts[5][0] + counts[6][0], 600.0 * (2.0 - night)), "{counts:?}");
    }

    #[test]
    fn mixed_slos_come_equally_often() {
        let slo = SloMix::Mixed(vec![0.5, 1.0, 2.0]);
        let all = Arrivals::new(&LoadShape::Steady, &[100.0], slo, 3).unwrap().take(3_000);
        let mut counts = [0; 3];
        for arrival in all {
            counts[(arrival.slo_factor * 2.0).log2() as usize] += 1;
        }
        assert!(counts.iter().all(|&count| is_about(count, 1_000.0)), "{counts:?}");
    }

    #[test]
    fn contradictions_are_told() {
        let arrivals = |shape, rates: &[f64]| Arrivals::new(&shape, rates, SloMix::Same(1.0), 1);
        let at = Nanos::ZERO;
        let period = Nanos::from_millis(1);
        for (shape, rates) in [
            (LoadShape::Steady, &[0.0][..]),
            (LoadShape::Shift { at, after_per_s: vec![1.0] }, &[1.0, 1.0]),
            (LoadShape::Shift { at, after_per_s: vec![0.0] }, &[0.0]),
            (LoadShape::Day { low: 2.0, high: 1.0, from: at, period }, &[1.0]),
            (LoadShape::Day { low: 0.5, high: f64::NAN, from: at, period }, &[1.0]),
        ] {
            assert!(arrivals(shape.clone(), rates).is_err(), "{shape:?}");
        }
    }
}
