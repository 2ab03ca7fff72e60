//! What became of a simulated run, in the words of the reports.

use crate::pipeline::{Outcome, Request};
use crate::scheduler::utility::{self, Cohort};
use crate::units::{ModelId, Nanos};
use hdrhistogram::Histogram;

/// Utility is told by windows of arrivals of this length.
pub const WINDOW: Nanos = Nanos::from_millis(5_000);

/// Counts answers by model and by the window of their arrival.
#[derive(Debug)]
pub struct Tally {
    /// Arrivals before this are not counted: queues and predictions have to settle.
    from: Nanos,
    to: Nanos,
    /// By window, then by model.
    cohorts: Vec<Vec<Cohort>>,
    latency_us: Vec<Histogram<u32>>,
    batches: Vec<u64>,
    batch_items: Vec<u64>,
}

impl Tally {
    pub fn new(models: usize, from: Nanos, to: Nanos) -> Tally {
        let windows = (to - from).0.div_ceil(WINDOW.0) as usize;
        // The bounds are constants that `new_with_bounds` accepts, so this can't fail.
        let histogram = || Histogram::new_with_bounds(1, 600_000_000, 2).expect("constant bounds");
        Tally {
            from,
            to,
            cohorts: vec![vec![Cohort::default(); models]; windows],
            latency_us: (0..models).map(|_| histogram()).collect(),
            batches: vec![0; models],
            batch_items: vec![0; models],
        }
    }

    pub fn answered(&mut self, request: &Request, outcome: &Outcome, now: Nanos) {
        if request.arrival < self.from || request.arrival >= self.to {
            return;
        }
        let window = ((request.arrival - self.from).0 / WINDOW.0) as usize;
        let model = request.model.index();
        let cohort = &mut self.cohorts[window][model];
        let (taken, slo) = (now - request.arrival, request.deadline - request.arrival);
        match outcome {
            Outcome::Completed(done) if done.slo_met => cohort.add_met(taken, slo),
            _ => cohort.add_missed(taken, slo),
        }
        if matches!(outcome, Outcome::Completed(_)) {
            self.latency_us[model].saturating_record(taken.as_micros());
        }
    }

    pub fn batch(&mut self, model: ModelId, items: u32) {
        self.batches[model.index()] += 1;
        self.batch_items[model.index()] += u64::from(items);
    }

    /// The last window can be shorter; a window without requests of any model has no utility.
    pub fn result(&self) -> RunResult {
        let count = self.latency_us.len();
        let mut sums = vec![Cohort::default(); count];
        let mut utilities = Vec::with_capacity(self.cohorts.len());
        for (index, window) in self.cohorts.iter().enumerate() {
            let start = self.from + Nanos(WINDOW.0 * index as u64);
            let length = (self.to - start).min(WINDOW);
            utilities.extend(utility::system(window.iter().map(|c| c.utility(length))));
            for (sum, cohort) in sums.iter_mut().zip(window) {
                sum.merge(cohort);
            }
        }
        let seconds = (self.to - self.from).as_secs_f64();
        let mut all = Histogram::<u32>::new_from(&self.latency_us[0]);
        let models = sums.iter().zip(&self.latency_us).enumerate();
        let models = models.map(|(index, (cohort, latency_us))| {
            // All histograms have the same bounds, so the sum fits.
            let _ = all.add(latency_us);
            ModelResult {
                requests: cohort.requests,
                slo_hit_rate: cohort.slo_hit_rate(),
                goodput_per_s: cohort.slo_met as f64 / seconds,
                mean_cost: cohort.mean_cost(),
                latency_us_p50: latency_us.value_at_quantile(0.5),
                latency_us_p99: latency_us.value_at_quantile(0.99),
                late: latency_us.len() - cohort.slo_met,
                mean_batch: self.batch_items[index] as f64 / self.batches[index].max(1) as f64,
            }
        });
        let models: Vec<ModelResult> = models.collect();
        let requests: u64 = sums.iter().map(|c| c.requests).sum();
        let met: u64 = sums.iter().map(|c| c.slo_met).sum();
        RunResult {
            utility: utilities.iter().sum::<f64>() / utilities.len().max(1) as f64,
            goodput_per_s: met as f64 / seconds,
            slo_hit_rate: met as f64 / requests.max(1) as f64,
            latency_us_p50: all.value_at_quantile(0.5),
            latency_us_p99: all.value_at_quantile(0.99),
            requests,
            utilisation: 0.0,
            pooled_bytes: 0,
            copies_bytes: 0,
            models,
        }
    }
}

/// One run of one policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunResult {
    /// Mean over the windows of the system's utility.
    pub utility: f64,
    pub goodput_per_s: f64,
    pub slo_hit_rate: f64,
    /// Of the requests answered with outputs.
    pub latency_us_p50: u64,
    pub latency_us_p99: u64,
    pub requests: u64,
    /// Share of the device that was in use, on average.
    pub utilisation: f64,
    /// Most memory it took; see [`super::Memory`].
    pub pooled_bytes: u64,
    pub copies_bytes: u64,
    pub models: Vec<ModelResult>,
}

impl RunResult {
    /// Hit rate of the model that has the lowest.
    pub fn worst_hit_rate(&self) -> f64 {
        self.models.iter().filter_map(|m| m.slo_hit_rate).fold(1.0, f64::min)
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelResult {
    pub requests: u64,
    pub slo_hit_rate: Option<f64>,
    pub goodput_per_s: f64,
    /// X of the definition of utility, over the whole run.
    pub mean_cost: f64,
    pub latency_us_p50: u64,
    pub latency_us_p99: u64,
    pub mean_batch: f64,
    /// Answered with outputs, but too late.
    pub late: u64,
}
