//! The device's present speed, which the executions of all models tell together.
//!
//! That a batch took longer than predicted can have two reasons: the device has become slower
//! (heat, a power mode, another program), or the model's profile is off. Both are learnt at once,
//!
//! ```text
//! ln(measured / predicted by the profile) = device's part + model's own part
//! ```
//!
//! by moving both against each error, the device's part [several times](OWN_SHARE) as far. That is
//! gradient descent on the squared errors, which from a start at zero finds the smallest parts that
//! explain them: what all models have in common ends up in the device's part, and what only one of
//! them shows in its own. So a model that seldom runs follows the device by what others measure.

use crate::units::Nanos;

/// How far an error moves a prediction: the device's and the model's part together.
const GAIN: f64 = 0.2;
/// Executions that come faster than that the device's speed is smoothed over this long …
const MEMORY_S: f64 = 0.3;
/// … but a single one has at least this gain.
const LEAST_GAIN: f64 = 0.02;
/// The model's part of the gain …
const OWN_SHARE: f64 = 0.2;
/// … and that of a model that has run less often than this: its profile may be off.
const NEW: u32 = 8;
const NEW_OWN_SHARE: f64 = 0.5;
/// Weight of the newest interval between executions in the usual one.
const INTERVAL_GAIN: f64 = 0.1;
/// The gain after the device is said to have changed its speed, for so many executions, all of it
/// the device's.
const GAIN_AFTER_CHANGE: f64 = 0.6;
const EXECUTIONS_AFTER_CHANGE: u32 = 8;
/// One measurement counts at most as this many times the prediction, or its inverse: execution
/// times have a long tail, and a single hiccup says little about the next run.
const SURPRISE: f64 = 2.0;
/// The device's part stays within these times.
const DEVICE: [f64; 2] = [0.1, 20.0];
/// A model's own part stays within these times.
const OWN: [f64; 2] = [0.2, 5.0];

/// How much longer everything takes on the device at present than when it was profiled.
#[derive(Clone, Debug)]
pub struct Pace {
    drift: f64,
    /// Usual time between executions, in s.
    interval_s: f64,
    last: Option<Nanos>,
    /// Executions that are still to be learnt from quickly.
    learn_quickly: u32,
}

/// What is a model's own of its drift.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnDrift {
    drift: f64,
    /// Executions it was learnt from.
    executions: u32,
}

impl Default for Pace {
    /// As fast as profiled.
    fn default() -> Pace {
        Pace { drift: 1.0, interval_s: 0.0, last: None, learn_quickly: 0 }
    }
}

impl Default for OwnDrift {
    /// As profiled.
    fn default() -> OwnDrift {
        OwnDrift { drift: 1.0, executions: 0 }
    }
}

impl Pace {
    /// Execution times at present over those of the profiles, of all models alike.
    pub fn drift(&self) -> f64 {
        self.drift
    }

    /// The device became faster or slower: the next few executions are learnt from quickly.
    pub fn device_changed(&mut self) {
        self.learn_quickly = EXECUTIONS_AFTER_CHANGE;
    }

    /// Learns from one execution of a model, which ended `now` and took `ratio` times as long as
    /// its profile says.
    pub(super) fn observe(&mut self, own: &mut OwnDrift, ratio: f64, now: Nanos) {
        let (gain, own_share) = self.gains(own, now);
        let error = (ratio / own.with(self)).clamp(1.0 / SURPRISE, SURPRISE).ln();
        let moved = |drift: f64, share: f64, [low, high]: [f64; 2]| {
            (drift * (gain * share * error).exp()).clamp(low, high)
        };
        self.drift = moved(self.drift, 1.0 - own_share, DEVICE);
        own.drift = moved(own.drift, own_share, OWN);
        own.executions = own.executions.saturating_add(1);
    }

    fn gains(&mut self, own: &OwnDrift, now: Nanos) -> (f64, f64) {
        if let Some(last) = self.last.replace(now) {
            self.interval_s += INTERVAL_GAIN * ((now - last).as_secs_f64() - self.interval_s);
        }
        if self.learn_quickly > 0 {
            self.learn_quickly -= 1;
            return (GAIN_AFTER_CHANGE, 0.0);
        }
        let own_share = if own.executions < NEW { NEW_OWN_SHARE } else { OWN_SHARE };
        ((self.interval_s / MEMORY_S).clamp(LEAST_GAIN, GAIN), own_share)
    }
}

impl OwnDrift {
    /// With the device's.
    pub(super) fn with(&self, pace: &Pace) -> f64 {
        self.drift * pace.drift
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_distr::{Distribution, Normal};
    use rand_xoshiro::Xoshiro256PlusPlus;

    /// Models that run in turn, `interval` apart, each taking so many times its profile's time.
    fn run(pace: &mut Pace, own: &mut [OwnDrift], ratios: &[f64], from: Nanos, times: u64) {
        let interval = Nanos::from_millis(20);
        for time in 0..times {
            for (at, (own, &ratio)) in own.iter_mut().zip(ratios).enumerate() {
                let step = time * ratios.len() as u64 + at as u64;
                pace.observe(own, ratio, from + Nanos(interval.0 * step));
            }
        }
    }

    #[test]
    fn what_all_have_in_common_is_the_devices_and_what_one_has_its_own() {
        let (mut pace, mut own) = (Pace::default(), [OwnDrift::default(); 4]);
        run(&mut pace, &mut own, &[1.0, 1.0, 1.5, 1.0], Nanos::ZERO, 400);
        let expected = [1.0, 1.0, 1.5, 1.0];
        for (own, expected) in own.iter().zip(expected) {
            assert!((own.with(&pace) / expected - 1.0).abs() < 0.02, "{own:?} {pace:?}");
        }
        assert!((pace.drift() - 1.0).abs() < 0.12, "{pace:?}");
        let idle = own[3];
        run(&mut pace, &mut own[..3], &[2.0, 2.0, 3.0], Nanos::from_millis(60_000), 40);
        assert!((own[2].with(&pace) / 3.0 - 1.0).abs() < 0.02);
        // It has not run meanwhile.
        assert!((idle.with(&pace) / 2.0 - 1.0).abs() < 0.1, "{idle:?} {pace:?}");
    }

    #[test]
    fn one_hiccup_changes_little() {
        let (mut pace, mut own) = (Pace::default(), OwnDrift::default());
        pace.observe(&mut own, 500.0, Nanos::ZERO);
        assert!(own.with(&pace) <= 1.2, "{}", own.with(&pace));
    }

    #[test]
    fn a_thousand_executions_a_second_are_smoothed_over_a_while() {
        let (mut pace, mut own) = (Pace::default(), OwnDrift::default());
        let at = |millis| Nanos::from_millis(millis);
        (0..1_000).for_each(|i| pace.observe(&mut own, 1.0, at(i)));
        (0..20).for_each(|i| pace.observe(&mut own, 2.0, at(1_000 + i)));
        assert!(own.with(&pace) < 1.5, "20 ms are no lasting change: {}", own.with(&pace));
        (0..1_000).for_each(|i| pace.observe(&mut own, 2.0, at(1_020 + i)));
        assert!((own.with(&pace) / 2.0 - 1.0).abs() < 0.01, "{}", own.with(&pace));
    }

    /// Executions of all models each second, with the spread of a real device: the least that the
    /// reference models have on a device that serves anybody, up to a thousand.
    #[test]
    fn two_seconds_of_traffic_show_a_sudden_slow_down() {
        for (models, each_per_s) in [(1, 6), (1, 20), (6, 1), (6, 5), (6, 30), (6, 166)] {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(each_per_s);
            let spread: Normal<f64> = Normal::new(0.0, 0.06).unwrap();
            let (mut pace, mut own) = (Pace::default(), vec![OwnDrift::default(); models]);
            let (per_s, usual_s) = (models as u64 * each_per_s, 30);
            for i in 0..per_s * (usual_s + 2) {
                let now = Nanos(1_000_000_000 * i / per_s);
                let times = if i < per_s * usual_s { 1.0 } else { 2.0 };
                let ratio = times * spread.sample(&mut random).exp();
                pace.observe(&mut own[i as usize % models], ratio, now);
            }
            for own in &own {
                let error = (own.with(&pace) / 2.0 - 1.0).abs();
                assert!(error < 0.1, "{models} models, {each_per_s} each: {own:?} {pace:?}");
            }
        }
    }
}
