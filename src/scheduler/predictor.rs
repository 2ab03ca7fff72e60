//! Predicted execution time of a batch: a measured profile, corrected by what is measured now.
//!
//! Three things make it up: the time alone (from the profile), the present speed (drift: heat,
//! power modes; see [`Pace`]), and the neighbours. What the neighbours do is
//! [`super::Interference`]'s; here stands only how crowded it usually is, for whoever can't know who
//! will run beside a batch.

use super::interference::{Footprint, Work};
use super::pace::{OwnDrift, Pace};
use crate::units::{BatchSize, Nanos};

/// Weight of the newest measurement of a model without a profile.
const GAIN: f64 = 0.2;
/// Weight of the newest execution in the usual crowding.
const CROWDING_GAIN: f64 = 0.1;
/// Most batch sizes told apart; the powers of two up to 128 and room for odd ones.
const MAX_POINTS: usize = 16;
/// The share of the device that a batch is taken to need while nothing is known.
const ALL: f64 = 1.0;
/// A prediction that no execution has confirmed for this long must not refuse a request:
/// otherwise a wrong one would refuse all, and never be put right.
const FRESH: Nanos = Nanos::from_millis(1_000);
/// A slow model can't confirm more often than it executes: it has at least so many executions.
const FRESH_EXECUTIONS: u64 = 3;

/// Execution time by batch size. Grows with the batch; between the known sizes it is linear.
#[derive(Debug)]
pub struct Predictor {
    /// (items, execution time), both ascending.
    points: Vec<(u32, f64)>,
    /// Whether the points come from a profile, or were learnt from executions.
    profiled: bool,
    /// Measured over predicted, smoothed: what is the model's own of it …
    own: OwnDrift,
    /// … and all of it, with the device's part.
    drift: f64,
    /// Execution time beside the usual neighbours over execution time alone, smoothed.
    crowding: f64,
    /// (items, share of the device that such a batch takes), ascending; empty: all of it.
    demands: Vec<(u32, f64)>,
    work: Work,
    last_seen: Option<Nanos>,
    /// What the last execution usually takes; not what it took, which one stall makes absurd.
    usual_execution: Nanos,
}

impl Default for Predictor {
    /// Nothing known.
    fn default() -> Predictor {
        Predictor::new(&[])
    }
}

impl Clone for Predictor {
    fn clone(&self) -> Predictor {
        let mut copy = Predictor::default();
        copy.clone_from(self);
        copy
    }

    /// Keeps its allocation: observations are filled anew every slot.
    fn clone_from(&mut self, source: &Predictor) {
        self.points.clone_from(&source.points);
        self.profiled = source.profiled;
        self.own = source.own;
        self.drift = source.drift;
        self.crowding = source.crowding;
        self.demands.clone_from(&source.demands);
        self.work = source.work;
        self.last_seen = source.last_seen;
        self.usual_execution = source.usual_execution;
    }
}

impl Predictor {
    /// From a profile's (batch, execution time) points, in any order.
    pub fn new(profile: &[(BatchSize, Nanos)]) -> Predictor {
        let mut points: Vec<(u32, f64)> =
            profile.iter().map(|&(batch, time)| (batch.0, time.0 as f64)).collect();
        points.sort_by_key(|&(batch, _)| batch);
        points.dedup_by_key(|&mut (batch, _)| batch);
        points.truncate(MAX_POINTS);
        make_ascending(&mut points);
        let profiled = !points.is_empty();
        points.reserve(MAX_POINTS - points.len());
        Predictor {
            points,
            profiled,
            own: OwnDrift::default(),
            drift: 1.0,
            crowding: 1.0,
            demands: Vec::new(),
            work: Work::default(),
            last_seen: None,
            usual_execution: Nanos::ZERO,
        }
    }

    /// Says that one batch of whatever size takes this share of the device, above 0 and at most 1.
    pub fn with_demand(self, share: f64) -> Predictor {
        self.with_demands(&[(BatchSize::ONE, share)])
    }

    /// The same by batch size, ascending; in between it is linear.
    pub fn with_demands(mut self, shares: &[(BatchSize, f64)]) -> Predictor {
        self.demands.clear();
        let least = f64::MIN_POSITIVE;
        self.demands
            .extend(shares.iter().map(|&(batch, share)| (batch.0, share.clamp(least, 1.0))));
        self
    }

    /// Says what running the model costs.
    pub fn with_work(self, work: Work) -> Predictor {
        Predictor { work, ..self }
    }

    /// What a batch asks of the device, by the profile.
    pub fn footprint(&self, batch: BatchSize) -> Footprint {
        let time_ns = self.base(batch).unwrap_or(0.0);
        Footprint::new(self.demand(batch), time_ns, batch.0, &self.work)
    }

    /// Share of the device that a batch takes: two that take half each run side by side as fast as
    /// alone. All of it, as long as nothing is known.
    pub fn demand(&self, batch: BatchSize) -> f64 {
        self.known_demand(batch).unwrap_or(ALL)
    }

    /// The same, if it is known.
    pub fn known_demand(&self, batch: BatchSize) -> Option<f64> {
        share_at(&self.demands, first_from(&self.demands, batch.0), batch.0)
    }

    /// For 0 to `most` items the predicted execution time in seconds with nothing beside them, 0
    /// while nothing is known, and the share of the device that they take: what [`Self::alone`] and
    /// [`Self::demand`] say, all of it in one pass.
    pub fn table(&self, most: BatchSize, into: &mut Vec<(f64, f64)>) {
        let (mut time, mut share) = (0, 0);
        into.clear();
        into.extend((0..=most.0).map(|items| {
            time += usize::from(self.points.get(time).is_some_and(|&(size, _)| size < items));
            share += usize::from(self.demands.get(share).is_some_and(|&(size, _)| size < items));
            let alone = time_at(&self.points, time, items).map_or(Nanos::ZERO, |t| self.drifted(t));
            (alone.as_secs_f64(), share_at(&self.demands, share, items).unwrap_or(ALL))
        }));
    }

    /// Predicted execution time of `batch` items with nothing beside them; `None` while nothing is
    /// known.
    pub fn alone(&self, batch: BatchSize) -> Option<Nanos> {
        Some(self.drifted(self.base(batch)?))
    }

    fn drifted(&self, base: f64) -> Nanos {
        Nanos((base * self.drift) as u64)
    }

    /// Predicted execution time of `batch` items beside what usually runs beside them.
    pub fn predict(&self, batch: BatchSize) -> Option<Nanos> {
        Some(Nanos((self.base(batch)? * self.drift * self.crowding) as u64))
    }

    /// How many times longer executions of late took beside their neighbours than alone.
    pub fn crowding(&self) -> f64 {
        self.crowding
    }

    /// Whether an execution has confirmed the predictions lately.
    pub fn is_fresh(&self, now: Nanos) -> bool {
        let fresh = FRESH.max(Nanos(self.usual_execution.0.saturating_mul(FRESH_EXECUTIONS)));
        self.last_seen.is_some_and(|seen| now - seen <= fresh)
    }

    /// Measured over profiled execution time of late; 1 where they agree.
    pub fn drift(&self) -> f64 {
        self.drift
    }

    /// Learns from one execution that slowed down `multiplier` times beside its neighbours, and
    /// lets `pace` learn from it.
    pub fn observe(
        &mut self,
        batch: BatchSize,
        execution: Nanos,
        multiplier: f64,
        now: Nanos,
        pace: &mut Pace,
    ) {
        self.last_seen = Some(now);
        self.crowding += CROWDING_GAIN * (multiplier - self.crowding);
        let measured = execution.0.max(1) as f64 / multiplier;
        let usual = self.base(batch).map_or(measured, |base| base.min(measured));
        self.usual_execution = Nanos((usual * self.crowding) as u64);
        match self.base(batch) {
            Some(base) if self.profiled => pace.observe(&mut self.own, measured / base, now),
            _ => self.learn_point(batch, measured / pace.drift()),
        }
        self.follow(pace);
    }

    /// The device became faster or slower. Until the next execution the predictions count as
    /// unconfirmed.
    pub fn device_changed(&mut self) {
        self.last_seen = None;
    }

    /// Takes over the device's present speed.
    pub fn follow(&mut self, pace: &Pace) {
        self.drift = self.own.with(pace);
    }

    /// Of a model without a profile: what a batch takes at the speed the others were profiled at.
    fn learn_point(&mut self, batch: BatchSize, measured: f64) {
        match self.points.binary_search_by_key(&batch.0, |&(size, _)| size) {
            Ok(at) => {
                let time = &mut self.points[at].1;
                *time += GAIN * (measured - *time);
            }
            Err(at) if self.points.len() < MAX_POINTS => {
                self.points.insert(at, (batch.0, measured));
            }
            Err(_) => {}
        }
        make_ascending(&mut self.points);
    }

    fn base(&self, batch: BatchSize) -> Option<f64> {
        let n = batch.0;
        // Asked at every event for one item: nothing to search for.
        let at = match self.points.first() {
            Some(&(size, _)) if n <= size => 0,
            _ => first_from(&self.points, n),
        };
        time_at(&self.points, at, n)
    }
}

/// Where the first point stands that has at least so many items.
fn first_from(points: &[(u32, f64)], items: u32) -> usize {
    points.partition_point(|&(size, _)| size < items)
}

/// On the line between two points.
fn between((a, low): (u32, f64), (b, high): (u32, f64), n: u32) -> f64 {
    low + (high - low) * f64::from(n - a) / f64::from(b - a)
}

/// The time that `n` items take, `at` being [`first_from`] of them.
fn time_at(points: &[(u32, f64)], at: usize, n: u32) -> Option<f64> {
    match (points.split_at_checked(at)?, points.get(at)) {
        (_, Some(&(size, time))) if size == n => Some(time),
        // Fewer items than ever measured: no more than the smallest measured batch takes.
        (([], _), smallest) => smallest.map(|&(_, time)| time),
        (([.., below], _), Some(&above)) => Some(between(*below, above, n)),
        // More items than ever measured: at the slope of the last two points, or in proportion when
        // there is one.
        (([.., (a, low), (b, high)], _), None) => {
            Some(high + (high - low) / f64::from(b - a) * f64::from(n - b))
        }
        (([(a, time)], _), None) => Some(time * f64::from(n) / f64::from(*a)),
    }
}

/// The share of the device that `n` items take, `at` being [`first_from`] of them.
fn share_at(shares: &[(u32, f64)], at: usize, n: u32) -> Option<f64> {
    match (at.checked_sub(1).map(|below| shares[below]), shares.get(at)) {
        (_, Some(&(size, share))) if size == n => Some(share),
        (Some(below), Some(&above)) => Some(between(below, above, n)),
        (Some((_, share)), None) | (None, Some(&(_, share))) => Some(share),
        (None, None) => None,
    }
}

/// Noise must not make a larger batch look faster: policies bisect over batch sizes.
fn make_ascending(points: &mut [(u32, f64)]) {
    let mut highest = 1.0f64;
    for (_, time) in points {
        highest = highest.max(*time);
        *time = highest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(micros: u64) -> Nanos {
        Nanos::from_micros(micros)
    }

    fn predict_us(predictor: &Predictor, batch: u32) -> u64 {
        predictor.predict(BatchSize(batch)).unwrap().as_micros()
    }

    #[test]
    fn interpolates_and_extrapolates_a_profile() {
        let p = Predictor::new(&[(BatchSize(8), us(450)), (BatchSize(2), us(150))]);
        assert_eq!(predict_us(&p, 1), 150);
        assert_eq!(predict_us(&p, 2), 150);
        assert_eq!(predict_us(&p, 5), 300);
        assert_eq!(predict_us(&p, 16), 850);
        let single = Predictor::new(&[(BatchSize(1), us(100))]);
        assert_eq!(predict_us(&single, 4), 400);
        assert_eq!(Predictor::default().predict(BatchSize(1)), None);
    }

    #[test]
    fn the_table_says_what_single_questions_are_answered() {
        let profile = [(BatchSize(2), us(150)), (BatchSize(8), us(450)), (BatchSize(9), us(700))];
        let known = [(BatchSize(1), 0.3), (BatchSize(8), 0.7)];
        for (points, shares) in [(3, 2), (1, 2), (0, 2), (3, 1), (3, 0), (2, 2)] {
            let mut p = Predictor::new(&profile[..points]).with_demands(&known[..shares]);
            p.drift = 1.7;
            let mut table = vec![(0.0, 0.0)];
            p.table(BatchSize(20), &mut table);
            assert_eq!(table.len(), 21);
            for (items, entry) in (0..).zip(table) {
                let batch = BatchSize(items);
                let alone_s = p.alone(batch).unwrap_or(Nanos::ZERO).as_secs_f64();
                assert_eq!(entry, (alone_s, p.demand(batch)), "{items} of {points} points");
            }
        }
    }

    #[test]
    fn a_noisy_profile_is_made_ascending() {
        let p = Predictor::new(&[(BatchSize(1), us(120)), (BatchSize(2), us(100))]);
        assert_eq!(predict_us(&p, 2), 120);
    }

    /// With nobody beside it.
    fn observe(p: &mut Predictor, batch: u32, execution: Nanos, now: Nanos, pace: &mut Pace) {
        p.observe(BatchSize(batch), execution, 1.0, now, pace);
    }

    #[test]
    fn a_changed_device_is_learnt_within_a_few_batches() {
        let slow_down = |told: bool| {
            let mut p = Predictor::new(&[(BatchSize(1), us(100))]);
            let mut pace = Pace::default();
            (0..20).for_each(|i| observe(&mut p, 1, us(100), us(20_000 * i), &mut pace));
            if told {
                pace.device_changed();
                p.device_changed();
                assert!(!p.is_fresh(us(400_001)), "what was measured before refuses nobody");
            }
            (20..24).for_each(|i| observe(&mut p, 1, us(250), us(20_000 * i), &mut pace));
            assert!(p.is_fresh(us(480_000)));
            predict_us(&p, 1)
        };
        assert!(slow_down(true).abs_diff(250) < 20, "{}", slow_down(true));
        assert!(slow_down(false) < 215, "the test would prove nothing");
    }

    #[test]
    fn all_batch_sizes_and_all_models_follow_a_twofold_slow_down() {
        let mut p = Predictor::new(&[(BatchSize(1), us(100)), (BatchSize(4), us(200))]);
        let mut other = Predictor::new(&[(BatchSize(1), us(10))]);
        let mut pace = Pace::default();
        (0..20).for_each(|i| observe(&mut p, 4, us(200), us(20_000 * i), &mut pace));
        // For two seconds.
        (20..120).for_each(|i| observe(&mut p, 4, us(400), us(20_000 * i), &mut pace));
        assert!((p.drift() - 2.0).abs() < 0.02, "{}", p.drift());
        assert!(predict_us(&p, 1).abs_diff(200) < 3, "all sizes slow down together");
        other.follow(&pace);
        assert!((other.drift() / 2.0 - 1.0).abs() < 0.15, "{}", other.drift());
    }

    #[test]
    fn a_model_without_a_profile_is_learnt_at_the_device_speed() {
        let (mut known, mut new) =
            (Predictor::new(&[(BatchSize(1), us(100))]), Predictor::new(&[]));
        let mut pace = Pace::default();
        (0..200).for_each(|i| observe(&mut known, 1, us(200), us(20_000 * i), &mut pace));
        observe(&mut new, 1, us(50), us(9_000_000), &mut pace);
        assert!(predict_us(&new, 1).abs_diff(50) <= 1);
        (0..200).for_each(|i| observe(&mut known, 1, us(100), us(20_000 * i), &mut pace));
        new.follow(&pace);
        assert!(predict_us(&new, 1) < 30, "it gets faster as the device does");
    }

    #[test]
    fn learns_without_a_profile() {
        let (mut p, mut pace) = (Predictor::new(&[]), Pace::default());
        assert!(!p.is_fresh(us(0)));
        observe(&mut p, 4, us(400), us(0), &mut pace);
        assert_eq!(predict_us(&p, 2), 400);
        observe(&mut p, 1, us(100), us(0), &mut pace);
        assert_eq!(predict_us(&p, 2), 200);
        assert!(p.is_fresh(us(1_000_000)));
        assert!(!p.is_fresh(us(1_000_001)));
    }

    #[test]
    fn a_slow_model_is_confirmed_less_often_but_one_slow_run_changes_nothing() {
        let mut slow = Predictor::new(&[(BatchSize(1), us(2_000_000))]);
        observe(&mut slow, 1, us(2_100_000), us(0), &mut Pace::default());
        assert!(slow.is_fresh(us(6_000_000)));
        assert!(!slow.is_fresh(us(6_000_001)));
        let mut fast = Predictor::new(&[(BatchSize(1), us(100))]);
        observe(&mut fast, 1, us(9_000_000), us(0), &mut Pace::default());
        assert!(!fast.is_fresh(us(1_000_001)), "or it would refuse all for half a minute");
    }
}
