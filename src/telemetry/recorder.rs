//! Turns answers into the numbers of a [`ModelSnapshot`]: counters, rates, percentiles, utility.
//!
//! Belongs to the reactor thread; every method takes the time, none reads a clock.

use super::WINDOW;
use super::snapshot::{BatchTotal, Counters, DecisionLine, ModelSnapshot, Percentiles, RunTime};
use crate::pipeline::{Completion, Outcome, Request};
use crate::scheduler::Caps;
use crate::scheduler::utility::Cohort;
use crate::units::{BatchSize, Nanos};
use hdrhistogram::Histogram;
use std::collections::VecDeque;

/// Arrival cohorts are this wide.
const COHORT_WIDTH: Nanos = Nanos::from_millis(250);
/// Cohorts kept: the window, and the longest wait for its last requests to be answered.
const COHORTS: usize = 64;
/// A longer SLO is not waited for any longer: what is answered after that is not seen.
const LONGEST_LAG: Nanos = Nanos::from_millis(10_000);
/// Answers are counted in slices this wide, the window and the slice being filled.
const SLICE_WIDTH: Nanos = Nanos::from_millis(1_000);
const SLICES: usize = 6;
/// Decisions kept per model.
const MAX_DECISIONS: usize = 64;
/// Latencies are kept with two digits, up to ten minutes.
const LONGEST_US: u64 = 600_000_000;

/// One model's record.
#[derive(Debug)]
pub struct Recorder {
    counters: Counters,
    /// Indexed by items − 1.
    batch_totals: Vec<BatchTotal>,
    last_inference_unix_ms: u64,
    cohorts: Ring<ArrivalCohort, COHORTS>,
    slices: Ring<AnswerSlice, SLICES>,
    /// Scratch for merging the slices.
    merged: AnswerSlice,
    decisions: VecDeque<DecisionLine>,
    decisions_total: u64,
    caps: Option<(Caps, &'static str)>,
}

#[derive(Debug, Default)]
struct ArrivalCohort {
    arrivals: u64,
    cancelled: u64,
    answered: Cohort,
    /// Of those that arrived: who is not answered by then is late.
    latest_deadline: Nanos,
}

/// What was answered with outputs in one slice of time.
#[derive(Debug)]
struct AnswerSlice {
    latency_us: Histogram<u32>,
    queue_us: u64,
    compute_us: u64,
    /// By number of items: batches, and the sum of their execution times in µs.
    batches: Vec<(u64, u64)>,
}

impl Default for AnswerSlice {
    fn default() -> AnswerSlice {
        // The bounds are constants that `new_with_bounds` accepts, so this can't fail.
        let latency_us = Histogram::new_with_bounds(1, LONGEST_US, 2).expect("constant bounds");
        AnswerSlice { latency_us, queue_us: 0, compute_us: 0, batches: Vec::new() }
    }
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder {
            counters: Counters::default(),
            batch_totals: Vec::new(),
            last_inference_unix_ms: 0,
            cohorts: Ring::new(COHORT_WIDTH),
            slices: Ring::new(SLICE_WIDTH),
            merged: AnswerSlice::default(),
            decisions: VecDeque::new(),
            decisions_total: 0,
            caps: None,
        }
    }
}

impl Recorder {
    /// Counts a request, before it is answered.
    pub fn arrived(&mut self, request: &Request) {
        self.counters.received += 1;
        if let Some(cohort) = self.cohorts.at(request.arrival, reset_cohort) {
            cohort.arrivals += 1;
            cohort.latest_deadline = cohort.latest_deadline.max(request.deadline);
        }
    }

    /// Counts the one answer of a request.
    pub fn answered(&mut self, request: &Request, outcome: &Outcome, now: Nanos) {
        let taken = now - request.arrival;
        let c = &mut self.counters;
        if !matches!(outcome, Outcome::Completed(_)) {
            c.unserved_us_total += taken.as_micros();
        }
        match outcome {
            Outcome::Completed(done) => {
                c.ok += 1;
                c.slo_met += u64::from(done.slo_met);
                c.queue_us_total += done.queue.as_micros();
                c.compute_us_total += done.compute.as_micros();
                self.completed(request, done, now);
            }
            Outcome::QueueFull { .. } | Outcome::ModelNotReady | Outcome::ShuttingDown => {
                c.rejected += 1;
            }
            Outcome::Infeasible { .. } | Outcome::DeadlinePassed | Outcome::TimedOut => {
                c.expired += 1;
            }
            Outcome::EngineFailed
            | Outcome::BadInput
            | Outcome::InstanceLost
            | Outcome::PayloadLost => c.failed += 1,
            Outcome::Cancelled => {
                c.cancelled += 1;
                // The client lost interest: neither kept nor missed.
                if let Some(cohort) = self.cohorts.at(request.arrival, reset_cohort) {
                    cohort.cancelled += 1;
                }
                return;
            }
        }
        let slo = request.deadline - request.arrival;
        let met = matches!(outcome, Outcome::Completed(done) if done.slo_met);
        if let Some(cohort) = self.cohorts.at(request.arrival, reset_cohort) {
            if met {
                cohort.answered.add_met(taken, slo);
            } else {
                cohort.answered.add_missed(taken, slo);
            }
        }
    }

    fn completed(&mut self, request: &Request, done: &Completion, now: Nanos) {
        if let Some(slice) = self.slices.at(now, AnswerSlice::reset) {
            slice.latency_us.saturating_record((now - request.arrival).as_micros());
            slice.queue_us += done.queue.as_micros();
            slice.compute_us += done.compute.as_micros();
        }
    }

    /// Counts one batch that ended well at `now`, which is `unix_ms` on the wall, after `compute`.
    pub fn executed(&mut self, items: BatchSize, compute: Nanos, now: Nanos, unix_ms: u64) {
        self.counters.executions += 1;
        self.counters.items += u64::from(items.0);
        self.last_inference_unix_ms = unix_ms;
        for items in self.batch_totals.len() as u32 + 1..=items.0 {
            self.batch_totals.push(BatchTotal { items, ..BatchTotal::default() });
        }
        if let Some(total) = self.batch_totals.get_mut(items.get().wrapping_sub(1)) {
            total.executions += 1;
            total.compute_us += compute.as_micros();
        }
        if let Some(slice) = self.slices.at(now, AnswerSlice::reset) {
            if slice.batches.len() <= items.get() {
                slice.batches.resize(items.get() + 1, (0, 0));
            }
            let (batches, compute_us) = &mut slice.batches[items.get()];
            *batches += 1;
            *compute_us += compute.as_micros();
        }
    }

    pub fn instance_replaced(&mut self) {
        self.counters.replaced += 1;
    }

    /// Notes the limits in force, if they changed.
    pub fn decided(&mut self, caps: Caps, policy: &'static str, now: Nanos) {
        if self.caps == Some((caps, policy)) {
            return;
        }
        self.caps = Some((caps, policy));
        self.decisions_total += 1;
        if self.decisions.len() == MAX_DECISIONS {
            self.decisions.pop_front();
        }
        self.decisions.push_back(DecisionLine {
            uptime_us: now.as_micros(),
            policy: policy.to_owned(),
            batch: caps.batch.0,
            instances: u32::from(caps.instances.0),
            reason: caps.reason.to_string(),
        });
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The requests whose utility can be told at `now`, and the length of the window they arrived
    /// in: it ended one SLO ago, since by then every one of them has met its SLO or missed it.
    pub fn cohort(&self, slo: Nanos, now: Nanos) -> (Cohort, Nanos) {
        let mut sum = Cohort::default();
        let (from, to) = whole_cohorts(now - slo.min(LONGEST_LAG));
        for (number, cohort) in self.cohorts.between(from, to) {
            sum.merge(&cohort.answered);
            if cohort.latest_deadline < now {
                let arrival = Nanos(number * COHORT_WIDTH.0);
                for _ in cohort.answered.requests + cohort.cancelled..cohort.arrivals {
                    sum.add_missed(now - arrival, slo);
                }
            }
        }
        (sum, (to - from).max(COHORT_WIDTH))
    }

    /// Fills in what this record knows. Of the run times that is what was measured.
    pub fn fill(&mut self, snapshot: &mut ModelSnapshot, slo: Nanos, now: Nanos) {
        let (from, to) = whole_cohorts(now);
        let arrivals: u64 = self.cohorts.between(from, to).map(|(_, cohort)| cohort.arrivals).sum();
        snapshot.arrivals_per_s = arrivals as f64 / (to - from).max(COHORT_WIDTH).as_secs_f64();
        let (cohort, window) = self.cohort(slo, now);
        snapshot.goodput_per_s = cohort.slo_met as f64 / window.as_secs_f64();
        snapshot.slo_hit_rate = cohort.slo_hit_rate();
        snapshot.utility = cohort.utility(window);
        snapshot.counters = self.counters;
        let ran = self.batch_totals.iter().filter(|total| total.executions > 0);
        snapshot.batch_totals = ran.copied().collect();
        snapshot.last_inference_unix_ms = self.last_inference_unix_ms;
        snapshot.decisions_total = self.decisions_total;
        snapshot.decisions = self.decisions.iter().cloned().collect();

        self.merged.reset();
        for (_, slice) in self.slices.between(now - WINDOW, now) {
            self.merged.merge(slice);
        }
        let merged = &self.merged;
        let count = merged.latency_us.len();
        snapshot.latency_us = Percentiles::of(&merged.latency_us);
        snapshot.queue_us_mean = merged.queue_us as f64 / count.max(1) as f64;
        snapshot.compute_us_mean = merged.compute_us as f64 / count.max(1) as f64;
        snapshot.latency_histogram = coarse(&merged.latency_us);
        snapshot.run_times.clear();
        snapshot.batch_distribution.clear();
        for (items, &(batches, compute_us)) in (0..).zip(&merged.batches) {
            let Some(measured_us) = compute_us.checked_div(batches) else { continue };
            snapshot.batch_distribution.push((items, batches));
            snapshot.run_times.push(RunTime { items, batches, measured_us, predicted_us: None });
        }
    }
}

impl AnswerSlice {
    fn reset(&mut self) {
        self.latency_us.reset();
        self.queue_us = 0;
        self.compute_us = 0;
        self.batches.fill((0, 0));
    }

    fn merge(&mut self, other: &AnswerSlice) {
        if !other.latency_us.is_empty() {
            // All slices have the same bounds, so the sum fits; were it not to, a slice would be
            // missing from the picture and nothing else.
            let _ = self.latency_us.add(&other.latency_us);
        }
        self.queue_us += other.queue_us;
        self.compute_us += other.compute_us;
        if self.batches.len() < other.batches.len() {
            self.batches.resize(other.batches.len(), (0, 0));
        }
        for (sum, other) in self.batches.iter_mut().zip(&other.batches) {
            sum.0 += other.0;
            sum.1 += other.1;
        }
    }
}

/// The last window of cohorts that are complete at `now`; shorter while the appliance is young.
fn whole_cohorts(now: Nanos) -> (Nanos, Nanos) {
    let to = Nanos(now.0 / COHORT_WIDTH.0 * COHORT_WIDTH.0);
    (to - WINDOW, to)
}

fn reset_cohort(cohort: &mut ArrivalCohort) {
    *cohort = ArrivalCohort::default();
}

/// Buckets that grow by a quarter, from 100 µs, as (upper bound, requests), empty ends left out.
fn coarse(histogram: &Histogram<u32>) -> Vec<(u64, u64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let steps = histogram.iter_log(100, 1.25);
    steps
        .map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
        .skip_while(|&(_, count)| count == 0)
        .collect()
}

/// The last `N` slices of time, each `width` long.
#[derive(Debug)]
struct Ring<T, const N: usize> {
    width: Nanos,
    /// Slice number `n` is in place `n % N`, with its number.
    slices: Vec<(u64, T)>,
}

impl<T: Default, const N: usize> Ring<T, N> {
    fn new(width: Nanos) -> Ring<T, N> {
        Ring { width, slices: (0..N).map(|_| (0, T::default())).collect() }
    }

    /// The slice of that time, cleared by `reset` when it takes the place of an old one; `None`
    /// for a time so long ago that its place has been taken.
    fn at(&mut self, time: Nanos, reset: impl Fn(&mut T)) -> Option<&mut T> {
        let number = time.0 / self.width.0;
        let (held, slice) = &mut self.slices[(number % N as u64) as usize];
        if *held > number {
            return None;
        }
        if *held < number {
            *held = number;
            reset(slice);
        }
        Some(slice)
    }

    /// The slices that begin in `from..to`.
    fn between(&self, from: Nanos, to: Nanos) -> impl Iterator<Item = &(u64, T)> {
        let numbers = from.0.div_ceil(self.width.0)..to.0.div_ceil(self.width.0);
        self.slices.iter().filter(move |(number, _)| numbers.contains(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{ModelId, RequestId};

    fn ms(millis: u64) -> Nanos {
        Nanos::from_millis(millis)
    }

    fn request(arrival_ms: u64) -> Request {
        Request {
            id: RequestId(1),
            model: ModelId(0),
            items: BatchSize(1),
            priority: 1,
            arrival: ms(arrival_ms),
            deadline: ms(arrival_ms + 100),
            queue_until: Nanos::MAX,
        }
    }

    fn complete(recorder: &mut Recorder, arrival_ms: u64, latency_ms: u64) {
        let request = request(arrival_ms);
        recorder.arrived(&request);
        let now = ms(arrival_ms + latency_ms);
        let done = Completion {
            queue: ms(1),
            compute: ms(latency_ms - 1),
            batch: BatchSize(4),
            instance: 0,
            slo_met: now <= request.deadline,
        };
        recorder.answered(&request, &Outcome::Completed(done), now);
    }

    #[test]
    fn a_window_of_known_requests_gives_the_numbers_worked_out_by_hand() {
        let mut recorder = Recorder::default();
        // 10 requests a second for 20 s: every tenth is late.
        for i in 0..200 {
            complete(&mut recorder, i * 100, if i % 10 == 9 { 150 } else { 50 });
        }
        recorder.executed(BatchSize(4), ms(3), ms(19_000), 77);
        let mut snapshot = ModelSnapshot::default();
        recorder.fill(&mut snapshot, ms(100), ms(20_000));
        assert!((snapshot.arrivals_per_s - 10.0).abs() < 0.5, "{}", snapshot.arrivals_per_s);
        assert!((snapshot.slo_hit_rate.unwrap() - 0.9).abs() < 0.02);
        let expected = (1.0f64 + 9.0 / (0.9 * 0.5 + 0.1 * 4.0)).ln();
        assert!((snapshot.utility.unwrap() - expected).abs() < 0.1);
        assert!(snapshot.latency_us.p50.abs_diff(50_000) < 1_000);
        assert!(snapshot.latency_us.p99.abs_diff(150_000) < 3_000);
        assert_eq!(snapshot.batch_distribution, vec![(4, 1)]);
        let in_histogram: u64 = snapshot.latency_histogram.iter().map(|&(_, n)| n).sum();
        assert_eq!(in_histogram, snapshot.latency_us.count);
        assert_eq!((snapshot.counters.received, snapshot.counters.slo_met), (200, 180));
    }

    #[test]
    fn rates_are_right_from_the_start() {
        let mut recorder = Recorder::default();
        for i in 0..30 {
            complete(&mut recorder, i * 100, 50);
        }
        let mut snapshot = ModelSnapshot::default();
        recorder.fill(&mut snapshot, ms(1_000), ms(3_000));
        assert!((snapshot.arrivals_per_s - 10.0).abs() < 1.0, "{}", snapshot.arrivals_per_s);
        // Told of the first 2 s only: the others may still be late.
        assert!((snapshot.goodput_per_s - 10.0).abs() < 1.0, "{}", snapshot.goodput_per_s);
    }

    #[test]
    fn who_is_not_answered_after_its_deadline_has_missed_it() {
        let mut recorder = Recorder::default();
        complete(&mut recorder, 0, 50);
        let stuck = request(10);
        recorder.arrived(&stuck);
        assert_eq!(recorder.cohort(ms(100), ms(1_000)).0.slo_hit_rate(), Some(0.5));
        recorder.answered(&stuck, &Outcome::InstanceLost, ms(2_000));
        assert_eq!(recorder.cohort(ms(100), ms(3_000)).0.requests, 2, "counted once");

        let patient = Request { deadline: ms(60_000), ..request(20) };
        recorder.arrived(&patient);
        assert_eq!(recorder.cohort(ms(100), ms(3_000)).0.requests, 2, "it may still be in time");
    }

    #[test]
    fn old_requests_leave_the_window() {
        let mut recorder = Recorder::default();
        complete(&mut recorder, 0, 50);
        let mut snapshot = ModelSnapshot::default();
        recorder.fill(&mut snapshot, ms(100), ms(30_000));
        assert_eq!(snapshot.latency_us.count, 0);
        assert_eq!(snapshot.slo_hit_rate, None);
        assert_eq!(snapshot.counters.ok, 1);
    }

    #[test]
    fn totals_by_batch_size_outlive_the_window() {
        let mut recorder = Recorder::default();
        for (items, compute_ms, at_ms) in [(4, 10, 100), (1, 3, 200), (4, 12, 300)] {
            recorder.executed(BatchSize(items), ms(compute_ms), ms(at_ms), 1_000 + at_ms);
        }
        let mut snapshot = ModelSnapshot::default();
        recorder.fill(&mut snapshot, ms(100), ms(60_000));
        let total = |items, executions, compute_us| BatchTotal { items, executions, compute_us };
        assert_eq!(snapshot.batch_totals, [total(1, 1, 3_000), total(4, 2, 22_000)]);
        assert_eq!(snapshot.last_inference_unix_ms, 1_300);
        assert!(snapshot.batch_distribution.is_empty(), "the window is over");
    }

    #[test]
    fn run_times_are_means_by_batch_size_over_the_window() {
        let mut recorder = Recorder::default();
        recorder.executed(BatchSize(4), ms(900), ms(100), 0);
        for (items, compute_ms, at_ms) in [(4, 10, 7_100), (1, 3, 8_200), (4, 13, 9_300)] {
            recorder.executed(BatchSize(items), ms(compute_ms), ms(at_ms), 0);
        }
        let mut snapshot = ModelSnapshot::default();
        recorder.fill(&mut snapshot, ms(100), ms(10_000));
        let run = |items, batches, measured_us| RunTime {
            items,
            batches,
            measured_us,
            predicted_us: None,
        };
        assert_eq!(snapshot.run_times, [run(1, 1, 3_000), run(4, 2, 11_500)]);
        recorder.fill(&mut snapshot, ms(100), ms(10_000));
        assert_eq!(snapshot.run_times.len(), 2, "filled anew, not added to");
    }

    #[test]
    fn what_is_not_served_has_its_time_counted() {
        let mut recorder = Recorder::default();
        let outcomes =
            [Outcome::Cancelled, Outcome::DeadlinePassed, Outcome::BadInput, Outcome::ShuttingDown];
        for (outcome, took_ms) in outcomes.into_iter().zip([1, 20, 300, 4_000]) {
            recorder.answered(&request(10), &outcome, ms(10 + took_ms));
        }
        complete(&mut recorder, 0, 50);
        let counters = recorder.counters();
        assert_eq!((counters.unserved(), counters.unserved_us_total), (4, 4_321_000));
        assert_eq!((counters.failed, counters.rejected, counters.expired), (1, 1, 1));
    }

    #[test]
    fn a_cancelled_request_counts_neither_way() {
        let mut recorder = Recorder::default();
        let request = request(0);
        recorder.arrived(&request);
        recorder.answered(&request, &Outcome::Cancelled, ms(5));
        assert_eq!(recorder.cohort(ms(100), ms(1_000)).0.requests, 0);
        assert_eq!(recorder.counters().cancelled, 1);
    }

    #[test]
    fn only_changed_decisions_are_noted() {
        use crate::scheduler::Reason;
        use crate::units::InstanceCount;
        let mut recorder = Recorder::default();
        let caps = |batch| Caps {
            batch: BatchSize(batch),
            instances: InstanceCount(1),
            reason: Reason::SloAllows,
        };
        recorder.decided(caps(4), "deadline", ms(1));
        recorder.decided(caps(4), "deadline", ms(2));
        recorder.decided(caps(8), "deadline", ms(3));
        let batches: Vec<u32> = recorder.decisions.iter().map(|d| d.batch).collect();
        assert_eq!(batches, [4, 8]);
    }
}
