//! What the snapshots showed over time: rings of half-second buckets for curves and sparklines,
//! and the counters of the last seconds for rates. Bounded, and its clock is the snapshots' own.

use crate::telemetry::WINDOW;
use crate::telemetry::snapshot::{Counters, ModelSnapshot, Snapshot};
use crate::tui::trial::{self, Trial};
use std::collections::VecDeque;

/// Length of a bucket.
pub const BUCKET_US: u64 = 500_000;
/// Buckets kept: a quarter of an hour.
pub const BUCKETS: usize = 1_800;
/// Models remembered; an appliance has far fewer.
const MAX_MODELS: usize = 256;
/// Snapshots up to this far apart are joined by repeating the older value, so that a slow poll
/// does not leave a curve in pieces.
const JOIN_BUCKETS: u64 = 4;

/// How the values of several buckets become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// For what must not be overlooked: queue depth, tail latency.
    Max,
    Mean,
}

/// One quantity over time; NaN where nothing is known.
#[derive(Clone, Debug)]
pub struct Series {
    ring: Box<[f32]>,
}

impl Default for Series {
    fn default() -> Series {
        Series { ring: vec![f32::NAN; BUCKETS].into() }
    }
}

impl Series {
    /// The value of one bucket, counted from the appliance's start.
    pub fn at(&self, bucket: u64) -> f32 {
        self.ring[bucket as usize % BUCKETS]
    }

    fn set(&mut self, bucket: u64, value: f32) {
        self.ring[bucket as usize % BUCKETS] = value;
    }

    fn keep_max(&mut self, bucket: u64, value: f32) {
        // `f32::max` prefers a number over NaN.
        self.set(bucket, self.at(bucket).max(value));
    }
}

/// The quantities of one model over time.
#[derive(Clone, Debug, Default)]
pub struct ModelHistory {
    pub queue: Series,
    pub arrivals: Series,
    pub latency_us_p99: Series,
    pub hit_rate: Series,
    pub utility: Series,
    /// Of a trained policy's choice, in nats.
    pub entropy: Series,
    /// What each policy brought, in the order in which they first came.
    pub trials: Vec<Trial>,
    /// (uptime in µs, counters), one per bucket over the last [`WINDOW`].
    recent: VecDeque<(u64, Counters)>,
}

/// Changes per second over the last [`WINDOW`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RecentRates {
    /// Length of time they were taken over.
    pub span_us: u64,
    pub ok: f64,
    pub rejected: f64,
    pub expired: f64,
    pub failed: f64,
    /// Instances replaced, as a number, not a rate.
    pub replaced: u64,
}

/// Everything that curves are drawn from.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Bucket of the newest snapshot seen.
    newest: Option<u64>,
    /// Bucket of the oldest snapshot seen since the last reset.
    oldest: u64,
    pub utility: Series,
    pub arrivals: Series,
    pub goodput: Series,
    pub hit_rate: Series,
    /// Highest p99 over SLO of all models; 1 is at the SLO.
    pub worst_latency: Series,
    /// Percent of all cores.
    pub cpu: Series,
    /// Of the trained policy, over all models.
    pub reward: Series,
    pub temperature: Series,
    models: Vec<(String, ModelHistory)>,
}

impl History {
    /// Takes in a snapshot. One from before the newest means that the appliance was restarted:
    /// what was known is forgotten.
    pub fn observe(&mut self, snapshot: &Snapshot) {
        let bucket = bucket_of(snapshot.uptime_us);
        if self.newest.is_some_and(|newest| bucket < newest) {
            *self = History::default();
        }
        let previous = self.newest.replace(bucket);
        if previous.is_none() {
            self.oldest = bucket;
        }
        self.models.retain(|(name, _)| snapshot.models.iter().any(|m| m.name == *name));
        for series in self.all_series() {
            advance(series, previous, bucket);
        }
        let totals = &snapshot.totals;
        self.arrivals.set(bucket, totals.arrivals_per_s as f32);
        self.goodput.set(bucket, totals.goodput_per_s as f32);
        self.utility.set(bucket, optional(totals.utility));
        self.hit_rate.set(bucket, optional(totals.slo_hit_rate));
        self.cpu.set(bucket, optional(snapshot.device.cpu_percent));
        self.worst_latency.set(bucket, worst_latency(snapshot));
        let learning = &snapshot.learning;
        self.reward.set(bucket, learning.reward.unwrap_or(f32::NAN));
        let learns = learning.alive && learning.updates > 0;
        self.temperature.set(bucket, if learns { learning.temperature } else { f32::NAN });
        for model in &snapshot.models {
            if let Some(history) = self.model_mut(&model.name) {
                history.observe(model, bucket, snapshot.uptime_us);
            }
        }
    }

    /// One model's history.
    pub fn model(&self, name: &str) -> Option<&ModelHistory> {
        self.models.iter().find(|(n, _)| n == name).map(|(_, history)| history)
    }

    /// How much of the past up to `end_us` is known.
    pub fn known_us(&self, end_us: u64) -> u64 {
        end_us.saturating_sub(self.oldest * BUCKET_US).min(BUCKETS as u64 * BUCKET_US)
    }

    fn model_mut(&mut self, name: &str) -> Option<&mut ModelHistory> {
        let found = self.models.iter().position(|(n, _)| n == name);
        let index = match found {
            Some(index) => index,
            None if self.models.len() < MAX_MODELS => {
                self.models.push((name.into(), ModelHistory::default()));
                self.models.len() - 1
            }
            None => return None,
        };
        Some(&mut self.models[index].1)
    }

    fn all_series(&mut self) -> impl Iterator<Item = &mut Series> {
        let models = self.models.iter_mut().flat_map(|(_, m)| m.all_series());
        let totals = [
            &mut self.utility,
            &mut self.arrivals,
            &mut self.goodput,
            &mut self.hit_rate,
            &mut self.worst_latency,
            &mut self.cpu,
            &mut self.reward,
            &mut self.temperature,
        ];
        totals.into_iter().chain(models)
    }
}

impl ModelHistory {
    fn observe(&mut self, model: &ModelSnapshot, bucket: u64, uptime_us: u64) {
        let latency = &model.latency_us;
        let p99 = if latency.count > 0 { latency.p99 as f32 } else { f32::NAN };
        self.queue.keep_max(bucket, model.queue_depth as f32);
        self.latency_us_p99.set(bucket, p99);
        self.arrivals.set(bucket, model.arrivals_per_s as f32);
        self.hit_rate.set(bucket, optional(model.slo_hit_rate));
        self.utility.set(bucket, optional(model.utility));
        let entropy = model.insight.as_ref().map_or(f32::NAN, |insight| insight.entropy);
        self.entropy.set(bucket, entropy);
        trial::observe(&mut self.trials, model, uptime_us);

        let newest_at = self.recent.back().map(|(at, _)| bucket_of(*at));
        if newest_at == Some(bucket) && self.recent.len() > 1 {
            self.recent.pop_back();
        }
        self.recent.push_back((uptime_us, model.counters));
        while self
            .recent
            .front()
            .is_some_and(|(at, _)| *at < uptime_us.saturating_sub(WINDOW.as_micros()))
        {
            self.recent.pop_front();
        }
    }

    fn all_series(&mut self) -> [&mut Series; 6] {
        [
            &mut self.queue,
            &mut self.arrivals,
            &mut self.latency_us_p99,
            &mut self.hit_rate,
            &mut self.utility,
            &mut self.entropy,
        ]
    }

    /// What the counters did lately; zeros until two snapshots a second apart were seen.
    pub fn recent_rates(&self) -> RecentRates {
        let (Some((from, old)), Some((to, new))) = (self.recent.front(), self.recent.back()) else {
            return RecentRates::default();
        };
        let span_us = to.saturating_sub(*from);
        if span_us < 1_000_000 {
            return RecentRates::default();
        }
        let per_s = |old: u64, new: u64| new.saturating_sub(old) as f64 * 1e6 / span_us as f64;
        RecentRates {
            span_us,
            ok: per_s(old.ok, new.ok),
            rejected: per_s(old.rejected, new.rejected),
            expired: per_s(old.expired, new.expired),
            failed: per_s(old.failed, new.failed),
            replaced: new.replaced.saturating_sub(old.replaced),
        }
    }

    /// How long, up to `end_us`, every known bucket was bad: p99 over the SLO or more than one
    /// request in twenty late or lost.
    pub fn out_of_slo_us(&self, slo_us: u64, end_us: u64) -> u64 {
        let end = bucket_of(end_us);
        let bad = |bucket: &u64| {
            let (p99, hit) = (self.latency_us_p99.at(*bucket), self.hit_rate.at(*bucket));
            p99 > slo_us as f32 || hit < 0.95
        };
        let first = end.saturating_sub(BUCKETS as u64 - 1);
        (first..=end).rev().take_while(bad).count() as u64 * BUCKET_US
    }

    /// Mean queue depth four seconds ago and now, when it has clearly grown.
    pub fn queue_growth(&self, end_us: u64) -> Option<(u64, u64)> {
        let end = bucket_of(end_us);
        let before = fold(&self.queue, end.checked_sub(9)?, end - 6, Fold::Mean);
        let now = fold(&self.queue, end - 2, end, Fold::Mean);
        (now > before * 1.25 + 2.0).then_some((before.round() as u64, now.round() as u64))
    }
}

/// Values of `series` for `columns` columns that cover `span_us` up to `end_us`, oldest first.
///
/// Columns stand at fixed times, not at distances from the newest, so a curve moves as a whole and
/// never flickers.
pub fn resample(
    series: &Series,
    end_us: u64,
    span_us: u64,
    columns: usize,
    how: Fold,
) -> impl Iterator<Item = f32> + '_ {
    let span_us = span_us.clamp(1, BUCKETS as u64 * BUCKET_US);
    let width_us = (span_us as f64 / columns.max(1) as f64).max(1.0);
    let newest = (end_us as f64 / width_us).floor();
    (0..columns).map(move |column| {
        let index = newest - (columns - 1 - column) as f64;
        if index < 0.0 {
            return f32::NAN;
        }
        let first = bucket_of((index * width_us) as u64);
        let last = bucket_of((((index + 1.0) * width_us) as u64).saturating_sub(1));
        // The newest column reaches into buckets that are yet to come: they hold the oldest data.
        fold(series, first, last.min(bucket_of(end_us)), how)
    })
}

fn fold(series: &Series, first: u64, last: u64, how: Fold) -> f32 {
    let mut max = f32::NAN;
    let (mut sum, mut known) = (0.0, 0u32);
    for bucket in first..=last.min(first.saturating_add(BUCKETS as u64 - 1)) {
        let value = series.at(bucket);
        if value.is_finite() {
            max = max.max(value);
            sum += value;
            known += 1;
        }
    }
    match how {
        Fold::Max => max,
        Fold::Mean if known > 0 => sum / known as f32,
        Fold::Mean => f32::NAN,
    }
}

fn advance(series: &mut Series, previous: Option<u64>, bucket: u64) {
    let Some(previous) = previous else { return };
    let gap = bucket - previous;
    let joined = if gap <= JOIN_BUCKETS { series.at(previous) } else { f32::NAN };
    for missing in 1..=gap.min(BUCKETS as u64) {
        let value = if missing == gap { f32::NAN } else { joined };
        series.set(previous + missing, value);
    }
    if gap > BUCKETS as u64 {
        series.ring.fill(f32::NAN);
    }
}

fn bucket_of(uptime_us: u64) -> u64 {
    uptime_us / BUCKET_US
}

fn worst_latency(snapshot: &Snapshot) -> f32 {
    let answered = snapshot.models.iter().filter(|m| m.latency_us.count > 0 && m.slo_us > 0);
    let ratios = answered.map(|m| m.latency_us.p99 as f32 / m.slo_us as f32);
    ratios.fold(f32::NAN, f32::max)
}

fn optional(value: Option<f64>) -> f32 {
    value.map_or(f32::NAN, |v| v as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(uptime_us: u64, queue_depth: u32) -> Snapshot {
        let model = ModelSnapshot {
            name: "m".into(),
            queue_depth,
            counters: Counters { ok: uptime_us / 100_000, ..Counters::default() },
            ..ModelSnapshot::default()
        };
        Snapshot { uptime_us, models: vec![model], ..Snapshot::default() }
    }

    fn queue_columns(history: &History, end_us: u64, span_us: u64, columns: usize) -> Vec<f32> {
        let series = &history.model("m").unwrap().queue;
        resample(series, end_us, span_us, columns, Fold::Max).collect()
    }

    #[test]
    fn columns_show_the_highest_value_of_their_time() {
        let mut history = History::default();
        for (i, depth) in [1, 9, 2, 3, 4, 5, 6, 0].into_iter().enumerate() {
            history.observe(&at(i as u64 * BUCKET_US, depth));
        }
        assert_eq!(queue_columns(&history, 3_999_999, 4_000_000, 4), [9.0, 3.0, 5.0, 6.0]);
        // More columns than buckets: a bucket is repeated.
        assert_eq!(queue_columns(&history, 3_999_999, 1_000_000, 4), [6.0, 6.0, 0.0, 0.0]);
    }

    #[test]
    fn time_without_snapshots_is_a_gap_and_a_short_pause_is_not() {
        let mut history = History::default();
        history.observe(&at(0, 5));
        history.observe(&at(3 * BUCKET_US, 7));
        assert_eq!(queue_columns(&history, 3 * BUCKET_US, 2_000_000, 4), [5.0, 5.0, 5.0, 7.0]);
        history.observe(&at(20 * BUCKET_US, 1));
        let columns = queue_columns(&history, 20 * BUCKET_US, 2_000_000, 4);
        assert!(columns[..3].iter().all(|v| v.is_nan()), "{columns:?}");
    }

    #[test]
    fn a_restart_forgets_what_was_before() {
        let mut history = History::default();
        history.observe(&at(100_000_000, 5));
        history.observe(&at(1_000_000, 2));
        assert_eq!(history.known_us(1_500_000), 500_000);
        assert!(history.model("m").unwrap().queue.at(200).is_nan());
    }

    #[test]
    fn old_values_do_not_come_back_after_a_long_pause() {
        let mut history = History::default();
        history.observe(&at(0, 5));
        let later = (BUCKETS as u64 + 500) * BUCKET_US;
        history.observe(&at(later, 1));
        let columns = queue_columns(&history, later, u64::MAX, 900);
        assert_eq!(columns.iter().filter(|v| v.is_finite()).count(), 1);
    }

    #[test]
    fn rates_come_from_the_counters_of_the_last_seconds() {
        let mut history = History::default();
        for i in 0..100 {
            history.observe(&at(i * 100_000, 0));
        }
        let rates = history.model("m").unwrap().recent_rates();
        assert!((rates.ok - 10.0).abs() < 0.01, "{rates:?}");
        assert!(rates.span_us <= WINDOW.as_micros() && rates.span_us >= 4_000_000, "{rates:?}");
        assert!(history.model("m").unwrap().recent.len() <= 12);
    }

    #[test]
    fn growth_is_told_from_a_steady_queue() {
        let mut history = History::default();
        for i in 0..20 {
            history.observe(&at(i * BUCKET_US, 50));
        }
        assert_eq!(history.model("m").unwrap().queue_growth(19 * BUCKET_US), None);
        for i in 20..40 {
            history.observe(&at(i * BUCKET_US, 50 + (i as u32 - 20) * 10));
        }
        let (before, now) = history.model("m").unwrap().queue_growth(39 * BUCKET_US).unwrap();
        assert!(before < now && now >= 220, "{before} {now}");
    }
}
