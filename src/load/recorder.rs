//! Accounting: what became of every request of a run.

use super::prepare::Target;
use super::report::{ErrorCount, Figures, LoadReport, ModelReport, SCHEMA};
use super::{Load, LoadPlan};
use crate::client::ClientError;
use crate::client::infer::ReplyHead;
use crate::scheduler::utility::Cohort;
use crate::telemetry::snapshot::Percentiles;
use crate::units::Nanos;
use crate::workload::Process;
use hdrhistogram::Histogram;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tonic::Code;

/// Utility is taken over requests that arrived in windows of this length.
const WINDOW: Nanos = Nanos::from_millis(5_000);
/// Longest latency the histogram tells apart: 10 minutes.
const MAX_LATENCY_US: u64 = 600_000_000;
/// Error texts that are counted by themselves.
const MAX_ERROR_TEXTS: usize = 16;
const OTHER_ERRORS: &str = "other errors";

/// What a run has counted so far. Written by the engine's thread, read by the reporting one.
#[derive(Debug)]
pub(super) struct Recorder {
    /// Everything in a report that does not change.
    head: LoadReport,
    /// The measured time begins and ends here.
    begin: Nanos,
    end: Nanos,
    models: Vec<Mutex<ModelRecord>>,
}

/// What happened to one model's requests.
#[derive(Clone, Debug)]
struct ModelRecord {
    head: ModelReport,
    count: Counts,
    /// Of the requests answered with outputs, in µs.
    latency: Histogram<u64>,
    /// The requests that arrived in each window.
    windows: Vec<Cohort>,
    errors: ErrorTally,
}

/// Errors by text without its digits, so that texts which differ in a time or a size only are one
/// line: the first of them, and their number.
#[derive(Clone, Debug, Default)]
struct ErrorTally(BTreeMap<String, ErrorCount>);

impl ErrorTally {
    fn add(&mut self, text: &str, count: u64) {
        let mut key: String = text.chars().filter(|c| !c.is_ascii_digit()).collect();
        let mut example = text;
        if self.0.len() >= MAX_ERROR_TEXTS && !self.0.contains_key(&key) {
            key.clear();
            example = OTHER_ERRORS;
        }
        let entry = self.0.entry(key);
        entry.or_insert_with(|| ErrorCount { text: example.into(), count: 0 }).count += count;
    }

    fn merge(&mut self, other: &ErrorTally) {
        other.0.values().for_each(|error| self.add(&error.text, error.count));
    }

    /// The most frequent first.
    fn list(self) -> Vec<ErrorCount> {
        let mut list: Vec<ErrorCount> = self.0.into_values().collect();
        list.sort_by_key(|error| Reverse(error.count));
        list
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    sent: u64,
    ok: u64,
    rejected: u64,
    expired: u64,
    failed: u64,
    slo_met: u64,
    /// Of `ok`: answered before the measured time was over.
    ok_in_time: u64,
    /// Replies that told their batch, and the share of an execution each of them was.
    batch_told: u64,
    executions: f64,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.sent += other.sent;
        self.ok += other.ok;
        self.rejected += other.rejected;
        self.expired += other.expired;
        self.failed += other.failed;
        self.slo_met += other.slo_met;
        self.ok_in_time += other.ok_in_time;
        self.batch_told += other.batch_told;
        self.executions += other.executions;
    }

    /// Batches of `n` hold `n` of our requests each, so a request is 1/n of an execution.
    fn mean_batch(&self) -> Option<f64> {
        (self.executions > 0.0).then(|| self.batch_told as f64 / self.executions)
    }
}

impl Recorder {
    pub(super) fn new(plan: &LoadPlan, targets: &[Target]) -> Recorder {
        let begin = Nanos::from_secs_f64(plan.warmup_seconds);
        let head = LoadReport {
            schema: SCHEMA,
            socket: plan.socket.display().to_string(),
            load: load_name(&plan.load).into(),
            concurrency: match plan.load {
                Load::Closed { concurrency, .. } => Some(concurrency),
                _ => None,
            },
            connections: plan.connections,
            shared_memory: plan.shared_memory,
            seed: plan.seed,
            ..LoadReport::default()
        };
        let models = targets.iter().map(|target| Mutex::new(ModelRecord::new(target))).collect();
        Recorder { head, begin, end: begin + plan.measured(), models }
    }

    /// End of the measured time.
    pub(super) fn end(&self) -> Nanos {
        self.end
    }

    fn measured(&self, intended: Nanos) -> bool {
        intended >= self.begin
    }

    fn model(&self, model: usize) -> MutexGuard<'_, ModelRecord> {
        // Counting can't leave a record half-written; one that a panic interrupted is still right.
        self.models[model].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is due; exactly one [`Recorder::ended`] follows.
    pub(super) fn sent(&self, model: usize, intended: Nanos) {
        if self.measured(intended) {
            self.model(model).count.sent += 1;
        }
    }

    /// A request has ended at `now`.
    pub(super) fn ended(
        &self,
        model: usize,
        intended: Nanos,
        now: Nanos,
        reply: &Result<ReplyHead, ClientError>,
    ) {
        if self.measured(intended) {
            let window = ((intended - self.begin).0 / WINDOW.0) as usize;
            let latency_us = (now - intended).as_micros();
            self.model(model).ended(window, latency_us, now <= self.end, reply);
        }
    }

    /// The figures at `now`; `ended` is how the run ended, if it has.
    pub(super) fn report(&self, now: Nanos, ended: Option<String>) -> LoadReport {
        let elapsed_s = (now.min(self.end) - self.begin).as_secs_f64();
        let mut report = self.head.clone();
        report.elapsed_s = elapsed_s;
        report.seconds = (self.end - self.begin).as_secs_f64();
        report.ended = ended;
        let mut total = Counts::default();
        let mut latency = new_histogram();
        let mut errors = ErrorTally::default();
        for model in 0..self.models.len() {
            // The copy is short work; the percentiles are taken without holding up the engine.
            let record = self.model(model).clone();
            total.add(&record.count);
            // Both have the same bounds, so adding can't fail.
            let _ = latency.add(&record.latency);
            errors.merge(&record.errors);
            report.models.push(record.report(elapsed_s));
        }
        let utilities: Vec<f64> =
            report.models.iter().filter_map(|model| model.figures.utility).collect();
        let judged = report.models.iter().all(|model| model.slo_us.is_some());
        report.total = figures(&total, &latency, judged, elapsed_s);
        report.total.utility = mean(&utilities);
        report.errors = errors.list();
        report
    }
}

fn load_name(load: &Load) -> &'static str {
    match load {
        Load::Open { process: Process::Poisson, .. } => "poisson",
        Load::Open { process: Process::Uniform, .. } => "uniform",
        Load::Open { process: Process::Bursty(_), .. } => "bursty",
        Load::Trace(_) => "trace",
        Load::Closed { .. } => "closed",
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn new_histogram() -> Histogram<u64> {
    // Fails only for bounds that contradict each other, which these constants don't.
    Histogram::new_with_bounds(1, MAX_LATENCY_US, 3).expect("valid bounds")
}

impl ModelRecord {
    fn new(target: &Target) -> ModelRecord {
        let head = ModelReport {
            name: target.name.clone(),
            rate_per_s: target.rate_per_s,
            slo_us: target.slo_us,
            request_bytes: target.request_bytes,
            ..ModelReport::default()
        };
        ModelRecord {
            head,
            count: Counts::default(),
            latency: new_histogram(),
            windows: Vec::new(),
            errors: ErrorTally::default(),
        }
    }

    fn ended(
        &mut self,
        window: usize,
        latency_us: u64,
        in_time: bool,
        reply: &Result<ReplyHead, ClientError>,
    ) {
        let slo_us = self.head.slo_us;
        let slo_met = reply.is_ok() && slo_us.is_some_and(|slo_us| latency_us <= slo_us);
        match reply {
            Ok(head) => self.answered(head, latency_us, in_time),
            Err(error) => self.refused(error),
        }
        let Some(slo_us) = slo_us else { return };
        self.count.slo_met += u64::from(slo_met);
        if self.windows.len() <= window {
            self.windows.resize(window + 1, Cohort::default());
        }
        let (latency, slo) = (Nanos::from_micros(latency_us), Nanos::from_micros(slo_us));
        if slo_met {
            self.windows[window].add_met(latency, slo);
        } else {
            self.windows[window].add_missed(latency, slo);
        }
    }

    fn answered(&mut self, head: &ReplyHead, latency_us: u64, in_time: bool) {
        self.count.ok += 1;
        self.count.ok_in_time += u64::from(in_time);
        self.latency.saturating_record(latency_us);
        if let Some(batch) = head.batch().filter(|&batch| batch > 0) {
            self.count.batch_told += 1;
            self.count.executions += 1.0 / batch as f64;
        }
    }

    fn refused(&mut self, error: &ClientError) {
        let count = match error {
            ClientError::Status(status) => match status.code {
                // Full queue; model not ready, or (Triton) full queue, or shutting down.
                Code::ResourceExhausted | Code::Unavailable => &mut self.count.rejected,
                Code::DeadlineExceeded => &mut self.count.expired,
                _ => &mut self.count.failed,
            },
            _ => &mut self.count.failed,
        };
        *count += 1;
        self.errors.add(&error.to_string(), 1);
    }

    fn report(self, elapsed_s: f64) -> ModelReport {
        let judged = self.head.slo_us.is_some();
        let mut figures = figures(&self.count, &self.latency, judged, elapsed_s);
        figures.utility = self.utility(elapsed_s);
        ModelReport { figures, ..self.head }
    }

    /// Mean over the windows that had requests. The last full window takes in a shorter one after
    /// it, whose few requests would say little by themselves.
    fn utility(&self, elapsed_s: f64) -> Option<f64> {
        if elapsed_s <= 0.0 {
            return None;
        }
        let elapsed = Nanos::from_secs_f64(elapsed_s);
        let full = ((elapsed.0 / WINDOW.0) as usize).max(1);
        let mut windows = self.windows.clone();
        for late in windows.split_off(full.min(windows.len())) {
            if let Some(last) = windows.last_mut() {
                last.merge(&late);
            }
        }
        let length = |index: usize| {
            let last = index + 1 == full;
            if last { elapsed - Nanos(WINDOW.0 * index as u64) } else { WINDOW }
        };
        let windows = windows.iter().enumerate();
        let utilities: Vec<f64> =
            windows.filter_map(|(index, window)| window.utility(length(index))).collect();
        mean(&utilities)
    }
}

fn figures(count: &Counts, latency: &Histogram<u64>, judged: bool, elapsed_s: f64) -> Figures {
    let per_second = |n: u64| if elapsed_s > 0.0 { n as f64 / elapsed_s } else { 0.0 };
    Figures {
        sent: count.sent,
        ok: count.ok,
        rejected: count.rejected,
        expired: count.expired,
        failed: count.failed,
        slo_met: judged.then_some(count.slo_met),
        throughput_per_s: per_second(count.ok_in_time),
        goodput_per_s: judged.then(|| per_second(count.slo_met)),
        latency_us: Percentiles::of(latency),
        mean_batch: count.mean_batch(),
        utility: None,
    }
}

#[cfg(test)]
mod tests;
