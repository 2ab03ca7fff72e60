//! Policies compared on one model: what each brought while it was in force. An operator who goes
//! through the policies with a key sees here which one to stay with.

use crate::telemetry::WINDOW;
use crate::telemetry::snapshot::{ModelSnapshot, ModelState};

/// Policies remembered; there are fewer.
const MAX_TRIALS: usize = 32;
/// Snapshots further apart tell nothing about the time between them.
const LONGEST_STEP_US: u64 = 2_000_000;

/// One policy's record, as means over the time it was watched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trial {
    pub policy: String,
    /// How long it was watched. The first [`WINDOW`] after a change does not count: what is
    /// measured then is in part the policy's before.
    pub watched_us: u64,
    pub utility: Mean,
    pub goodput_per_s: Mean,
    pub slo_hit_rate: Mean,
    pub latency_us_p99: Mean,
    /// In force since then without a break; `None` for the others.
    since_us: Option<u64>,
    /// The last snapshot it was in force in.
    seen_us: u64,
}

/// A mean over time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mean {
    sum: f64,
    us: f64,
}

impl Mean {
    fn add(&mut self, value: Option<f64>, us: u64) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.sum += value * us as f64;
            self.us += us as f64;
        }
    }

    /// `None` before there was a value.
    pub fn get(self) -> Option<f64> {
        (self.us > 0.0).then(|| self.sum / self.us)
    }
}

impl Trial {
    pub fn is_in_force(&self) -> bool {
        self.since_us.is_some()
    }

    fn observe(&mut self, model: &ModelSnapshot, uptime_us: u64) {
        let step_us = uptime_us.saturating_sub(self.seen_us);
        if step_us > LONGEST_STEP_US {
            self.since_us = None;
        }
        self.seen_us = uptime_us;
        let since_us = *self.since_us.get_or_insert(uptime_us);
        if uptime_us.saturating_sub(since_us) <= WINDOW.as_micros() {
            return;
        }
        self.watched_us += step_us;
        self.utility.add(model.utility, step_us);
        self.goodput_per_s.add(Some(model.goodput_per_s), step_us);
        self.slo_hit_rate.add(model.slo_hit_rate, step_us);
        let p99 = (model.latency_us.count > 0).then_some(model.latency_us.p99 as f64);
        self.latency_us_p99.add(p99, step_us);
    }
}

/// Takes in a snapshot of the model. While an operator holds its batches or instances by hand, or
/// it does not serve, no policy is tried.
pub fn observe(trials: &mut Vec<Trial>, model: &ModelSnapshot, uptime_us: u64) {
    let tried = model.state == ModelState::Ready && !model.overridden && !model.policy.is_empty();
    let known = trials.iter().any(|trial| trial.policy == model.policy);
    if tried && !known && trials.len() < MAX_TRIALS {
        trials.push(Trial { policy: model.policy.clone(), ..Trial::default() });
    }
    for trial in trials {
        if tried && trial.policy == model.policy {
            trial.observe(model, uptime_us);
        } else {
            trial.since_us = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A snapshot every 100 ms, from and to these times in seconds.
    fn watch(trials: &mut Vec<Trial>, model: &ModelSnapshot, from_s: u64, to_s: u64) {
        for step in from_s * 10..to_s * 10 {
            observe(trials, model, step * 100_000);
        }
    }

    fn under(policy: &str, utility: f64) -> ModelSnapshot {
        ModelSnapshot {
            policy: policy.into(),
            state: ModelState::Ready,
            utility: Some(utility),
            ..ModelSnapshot::default()
        }
    }

    #[test]
    fn a_policy_is_judged_by_its_own_time() {
        let mut trials = Vec::new();
        watch(&mut trials, &under("planner", 2.0), 0, 30);
        // What the snapshots tell first is still the planner's.
        watch(&mut trials, &under("sac", 2.0), 30, 35);
        watch(&mut trials, &under("sac", 3.0), 35, 60);
        let of = |at: usize| (trials[at].policy.as_str(), trials[at].utility.get());
        assert_eq!(of(0), ("planner", Some(2.0)));
        let (name, utility) = of(1);
        assert_eq!(name, "sac");
        assert!((utility.unwrap() - 3.0).abs() < 0.01, "{utility:?}");
        assert_eq!(trials[0].watched_us, 24_900_000);
        assert!(!trials[0].is_in_force() && trials[1].is_in_force());
    }

    #[test]
    fn a_policy_that_comes_back_goes_on_after_it_has_settled() {
        let mut trials = Vec::new();
        watch(&mut trials, &under("sac", 1.0), 0, 15);
        watch(&mut trials, &under("fixed", 9.0), 15, 18);
        watch(&mut trials, &under("sac", 1.0), 18, 33);
        assert_eq!(trials.len(), 2);
        assert_eq!(trials[0].utility.get(), Some(1.0));
        assert_eq!(trials[0].watched_us, 9_900_000 * 2);
        assert_eq!(trials[1].utility.get(), None, "it was not given the time");
    }

    #[test]
    fn what_is_held_by_hand_or_not_seen_counts_for_nobody() {
        let mut trials = Vec::new();
        let held = ModelSnapshot { overridden: true, ..under("sac", 1.0) };
        watch(&mut trials, &held, 0, 60);
        assert_eq!(trials, []);
        watch(&mut trials, &under("sac", 1.0), 60, 70);
        let watched_us = trials[0].watched_us;
        observe(&mut trials, &under("sac", 1.0), 900_000_000);
        assert_eq!(trials[0].watched_us, watched_us, "nobody looked for a quarter of an hour");
    }
}
