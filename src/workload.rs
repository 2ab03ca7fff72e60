//! When requests arrive: seeded arrival processes, without a clock. The load generator plays them
//! against a socket; a simulation can play the same ones in virtual time.

mod trace;

pub use trace::{Trace, TraceError};

use crate::units::Nanos;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Exp1};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// One request that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// From the start of the schedule.
    pub at: Nanos,
    /// Index of the stream it belongs to, which is the model it goes to.
    pub stream: usize,
}

/// How the gaps between arrivals are distributed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Process {
    /// Independent arrivals: exponential gaps.
    #[default]
    Poisson,
    /// Equal gaps, beginning at a random phase.
    Uniform,
    /// Calm and bursts in turn.
    Bursty(Bursts),
}

/// A Markov-modulated Poisson process with two states. Arrivals are Poisson in either; the lengths
/// of the bursts and of the calms between them are exponential. The mean rate over a long time is
/// the stream's rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// Share of the time that is burst, above 0 and below 1.
    pub share: f64,
    /// Rate in a burst as a multiple of the mean rate, above 1 and at most 1 / share.
    pub factor: f64,
    /// Mean length of a burst, in seconds.
    pub mean_s: f64,
}

impl Default for Bursts {
    /// Half of all requests come in a tenth of the time, in bursts of half a second.
    fn default() -> Bursts {
        Bursts { share: 0.1, factor: 5.0, mean_s: 0.5 }
    }
}

impl Bursts {
    fn check(&self) -> Result<(), String> {
        let Bursts { share, factor, mean_s } = *self;
        if !(share > 0.0 && share < 1.0) {
            return Err(format!("the share of time in bursts is {share}; above 0 and below 1"));
        }
        if !(factor > 1.0 && factor * share <= 1.0) {
            return Err(format!(
                "the factor of a burst is {factor}; above 1 and at most 1 / share = {}",
                1.0 / share
            ));
        }
        if !(mean_s > 0.0 && mean_s.is_finite()) {
            return Err(format!("the mean length of a burst is {mean_s} s; above 0"));
        }
        Ok(())
    }

    /// Rate in a calm as a multiple of the mean rate.
    fn calm_factor(&self) -> f64 {
        ((1.0 - self.share * self.factor) / (1.0 - self.share)).max(0.0)
    }

    fn mean_calm_s(&self) -> f64 {
        self.mean_s * (1.0 - self.share) / self.share
    }
}

/// An endless, merged sequence of the arrivals of several streams, in order of time. The same seed
/// gives the same sequence, and a stream's arrivals don't depend on the streams after it.
#[derive(Clone, Debug)]
pub struct Schedule {
    streams: Vec<Stream>,
    /// The next arrival of each stream, the earliest first.
    next: BinaryHeap<Reverse<(Nanos, usize)>>,
}

impl Schedule {
    /// One stream for each of `rates_per_s`.
    ///
    /// # Errors
    /// When a rate is not above 0, or the bursts' parameters contradict themselves.
    pub fn new(process: Process, rates_per_s: &[f64], seed: u64) -> Result<Schedule, String> {
        if let Process::Bursty(bursts) = &process {
            bursts.check()?;
        }
        let mut streams = Vec::with_capacity(rates_per_s.len());
        for (index, &rate) in rates_per_s.iter().enumerate() {
            if !(rate > 0.0 && rate <= MAX_RATE_PER_S) {
                return Err(format!("a rate is {rate}; above 0 and at most {MAX_RATE_PER_S}"));
            }
            streams.push(Stream::new(process, rate, stream_seed(seed, index)));
        }
        let mut schedule = Schedule { streams, next: BinaryHeap::new() };
        for stream in 0..schedule.streams.len() {
            schedule.advance(stream);
        }
        Ok(schedule)
    }

    fn advance(&mut self, stream: usize) {
        let at = self.streams[stream].next_s();
        self.next.push(Reverse((Nanos::from_secs_f64(at), stream)));
    }
}

/// Requests per second of one stream; more has no meaning at a resolution of nanoseconds.
const MAX_RATE_PER_S: f64 = 1e7;

/// Streams of one seed must not run in step: neighbours are moved apart by the golden ratio.
fn stream_seed(seed: u64, index: usize) -> u64 {
    seed.wrapping_add((index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let Reverse((at, stream)) = self.next.pop()?;
        self.advance(stream);
        Some(Arrival { at, stream })
    }
}

/// The arrivals of one model.
#[derive(Clone, Debug)]
struct Stream {
    process: Process,
    rate_per_s: f64,
    rng: Xoshiro256PlusPlus,
    /// Of the arrival given last.
    at_s: f64,
    bursting: bool,
    /// When burst or calm end.
    state_until_s: f64,
}

impl Stream {
    fn new(process: Process, rate_per_s: f64, seed: u64) -> Stream {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut stream = Stream {
            process,
            rate_per_s,
            rng: rng.clone(),
            at_s: 0.0,
            bursting: false,
            state_until_s: 0.0,
        };
        match process {
            Process::Poisson => {}
            // The first gap then ends at a random phase.
            Process::Uniform => stream.at_s = -rng.random::<f64>() / rate_per_s,
            // In a burst with the probability of one, once the first step has changed the state.
            Process::Bursty(bursts) => stream.bursting = rng.random::<f64>() >= bursts.share,
        }
        stream.rng = rng;
        stream
    }

    fn exponential(&mut self) -> f64 {
        Exp1.sample(&mut self.rng)
    }

    /// Time of the next arrival, in seconds.
    fn next_s(&mut self) -> f64 {
        match self.process {
            Process::Poisson => self.at_s += self.exponential() / self.rate_per_s,
            Process::Uniform => self.at_s += 1.0 / self.rate_per_s,
            Process::Bursty(bursts) => self.next_bursty(bursts),
        }
        self.at_s
    }

    fn next_bursty(&mut self, bursts: Bursts) {
        loop {
            if self.at_s >= self.state_until_s {
                self.bursting = !self.bursting;
                let mean = if self.bursting { bursts.mean_s } else { bursts.mean_calm_s() };
                self.state_until_s = self.at_s + mean * self.exponential();
            }
            let factor = if self.bursting { bursts.factor } else { bursts.calm_factor() };
            // Infinite for a calm without arrivals.
            let next = self.at_s + self.exponential() / (self.rate_per_s * factor);
            if next < self.state_until_s {
                self.at_s = next;
                return;
            }
            // Exponential gaps have no memory: at the change of state it is drawn anew.
            self.at_s = self.state_until_s;
        }
    }
}

#[cfg(test)]
mod tests;
