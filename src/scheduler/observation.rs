//! What SAC sees of a model: numbers made from features, never from identity, so that a policy
//! trained on some models and devices works on others.

use super::actions::{BATCHES, MOST_INSTANCES};
use super::interference::processor_sharing;
use super::{DeviceView, ModelView};
use crate::units::{BatchSize, ModelId, Nanos};

/// Raised when the meaning of a feature changes and its name does not.
pub const VERSION: u32 = 1;

/// The features of one model, in their order. Times are relative to the model's SLO, work to what
/// the device does in a second, and most values are compressed, so that all are of one size.
pub const NAMES: [&str; 46] = [
    "queued_items",
    "queued_batches",
    "oldest_age",
    "mean_slack",
    "head_slack",
    "asked_fast",
    "asked_slow",
    "rate_trend",
    "cap_batch",
    "cap_instances",
    "running",
    "running_left",
    "execution_1",
    "execution_2",
    "execution_4",
    "execution_8",
    "execution_16",
    "execution_32",
    "execution_64",
    "execution_128",
    "gain_2",
    "gain_8",
    "gain_32",
    "demand_1",
    "demand_4",
    "demand_16",
    "max_batch",
    "max_instances",
    "cost",
    "hit_rate",
    "drift",
    "crowding",
    "load",
    "work_left",
    "others_asked_fast",
    "others_asked_slow",
    "others_backlog",
    "others_urgent",
    "others_running",
    "others_mean_cost",
    "others_mean_hit_rate",
    "others_least_hit_rate",
    "others_longest",
    "others_count",
    "share_of_asked",
    "extra_weight",
];

/// Numbers in an observation.
pub const FEATURES: usize = NAMES.len();

/// What all models' observations have in common, and each contributes to the others'.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    models: Vec<Contribution>,
    asked_fast: f64,
    asked_slow: f64,
    backlog_s: f64,
    work_left_s: f64,
}

/// One model's part of what the others see.
#[derive(Clone, Copy, Debug, Default)]
struct Contribution {
    /// Seconds of the device that its arrivals ask for each second.
    asked_fast: f64,
    asked_slow: f64,
    /// Seconds of the device that its queue needs.
    backlog_s: f64,
    /// Queued with less than half of the SLO left.
    urgent: bool,
    running: u32,
    cost: f64,
    hit_rate: f64,
    /// Execution of one item alone.
    one_s: f64,
}

impl Summary {
    /// Looks at all models; `extra_weight` is read when a model is observed.
    pub fn update(&mut self, device: &DeviceView<'_>) {
        self.models.clear();
        self.models.extend(device.all().map(|(_, model)| Contribution::of(device, &model)));
        let sum = |value: fn(&Contribution) -> f64| self.models.iter().map(value).sum::<f64>();
        (self.asked_fast, self.asked_slow) = (sum(|m| m.asked_fast), sum(|m| m.asked_slow));
        self.backlog_s = sum(|m| m.backlog_s);
        let left = |run: &super::Run| run.left(device.now).as_secs_f64() * run.imprint.share();
        self.work_left_s = device.runs.iter().map(left).sum();
    }

    /// Writes the observation of one model to `out`.
    ///
    /// # Panics
    /// When `out` is not [`FEATURES`] long.
    pub fn observe(
        &self,
        device: &DeviceView<'_>,
        id: ModelId,
        extra_weight: f64,
        out: &mut [f32],
    ) {
        let model = device.of(id);
        let mut out = Writer { out, at: 0 };
        observe_own(device, id, &model, self.models[id.index()], &mut out);
        self.observe_others(device, id, model.slo, &mut out);
        out.put(extra_weight);
        assert_eq!(out.at, FEATURES, "one value for each name");
    }

    fn observe_others(&self, device: &DeviceView<'_>, id: ModelId, slo: Nanos, out: &mut Writer) {
        let own = self.models[id.index()];
        let slo_s = slo.as_secs_f64().max(1e-6);
        let others = || {
            let others = self.models.iter().enumerate().filter(|&(index, _)| index != id.index());
            others.map(|(_, model)| model)
        };
        let count = self.models.len().saturating_sub(1).max(1) as f64;
        out.put(device.load);
        out.put(compress(self.work_left_s / slo_s));
        out.put(compress(self.asked_fast - own.asked_fast));
        out.put(compress(self.asked_slow - own.asked_slow));
        out.put(compress((self.backlog_s - own.backlog_s) / slo_s));
        out.put(others().filter(|m| m.urgent).count() as f64 / count);
        out.put(f64::from(others().map(|m| m.running).sum::<u32>()).ln_1p());
        out.put(compress(others().map(|m| m.cost).sum::<f64>() / count));
        let least = others().map(|m| m.hit_rate).fold(1.0, f64::min);
        let mean = if self.models.len() > 1 {
            others().map(|m| m.hit_rate).sum::<f64>() / count
        } else {
            1.0
        };
        out.put(mean);
        out.put(least);
        out.put(compress(others().map(|m| m.one_s).fold(0.0, f64::max) / slo_s));
        out.put((self.models.len() as f64).ln());
        out.put(own.asked_slow / self.asked_slow.max(1e-6));
    }
}

impl Contribution {
    fn of(device: &DeviceView<'_>, model: &ModelView<'_>) -> Contribution {
        let one_s = model.predictor.alone(BatchSize::ONE).unwrap_or(Nanos::ZERO).as_secs_f64();
        let item_s = device_s_per_item(model);
        let slack = |deadline: Nanos| (deadline - device.now).0 < model.slo.0 / 2;
        Contribution {
            asked_fast: model.demand.fast_per_s * item_s,
            asked_slow: model.demand.slow_per_s * item_s,
            backlog_s: f64::from(model.queued_items) * item_s,
            urgent: model.head().is_some_and(|head| slack(head.deadline)),
            running: model.running,
            cost: model.tally.recent_cost,
            hit_rate: model.tally.recent_hit_rate,
            one_s,
        }
    }
}

/// Seconds of the device for one item in batches of four, or of what the model can do.
fn device_s_per_item(model: &ModelView<'_>) -> f64 {
    let batch = BatchSize(4).min(model.max_batch);
    let alone = model.predictor.alone(batch).unwrap_or(Nanos::ZERO);
    alone.as_secs_f64() * model.predictor.demand(batch) / f64::from(batch.0.max(1))
}

fn observe_own(
    device: &DeviceView<'_>,
    id: ModelId,
    model: &ModelView<'_>,
    own: Contribution,
    out: &mut Writer,
) {
    let slo_s = model.slo.as_secs_f64().max(1e-6);
    let slack = |deadline: Nanos| (deadline.0 as f64 - device.now.0 as f64) / 1e9 / slo_s;
    let age = |arrival: Nanos| (device.now - arrival).as_secs_f64() / slo_s;
    let oldest = model.oldest_arrival().map_or(0.0, age);
    let deadlines = model.queue.iter().take(64).map(|request| slack(request.deadline));
    let looked_at = model.queue.len().min(64);
    let mean_slack = if looked_at > 0 { deadlines.sum::<f64>() / looked_at as f64 } else { 1.0 };
    out.put(f64::from(model.queued_items).ln_1p());
    out.put(compress(f64::from(model.queued_items) / f64::from(model.caps.batch.0.max(1))));
    out.put(compress(oldest));
    out.put(mean_slack.clamp(-1.0, 2.0));
    out.put(model.head().map_or(1.0, |head| slack(head.deadline)).clamp(-1.0, 2.0));
    out.put(compress(own.asked_fast));
    out.put(compress(own.asked_slow));
    let (fast, slow) = (model.demand.fast_per_s, model.demand.slow_per_s);
    out.put(((fast + 0.1) / (slow + 0.1)).ln().clamp(-3.0, 3.0));
    out.put(f64::from(model.caps.batch.0.max(1)).log2());
    out.put(f64::from(model.caps.instances.0) / f64::from(MOST_INSTANCES));
    let runs = || device.runs.iter().filter(|run| run.model == id);
    out.put(f64::from(model.running).ln_1p());
    out.put(compress(runs().map(|run| run.left(device.now).as_secs_f64()).sum::<f64>() / slo_s));
    for batch in BATCHES {
        let batch = BatchSize(batch);
        // Equal shares: the network would cost a third of the time for a decision, and weights that
        // were trained with the one see nothing else with the other.
        let multiplier = processor_sharing(model.predictor.demand(batch), device.load);
        let execution = model.predictor.alone(batch).unwrap_or(Nanos::ZERO).scale(multiplier);
        out.put((execution.as_secs_f64() / slo_s).max(1e-3).ln().clamp(-5.0, 3.0));
    }
    let alone = |batch: u32| model.predictor.alone(BatchSize(batch)).unwrap_or(Nanos::ZERO);
    let one = alone(1).0.max(1) as f64;
    for batch in [2, 8, 32] {
        // 1 where batching wins nothing, down to 1 over the batch where all of it is free.
        out.put(alone(batch).0 as f64 / (one * f64::from(batch)));
    }
    for batch in [1, 4, 16] {
        out.put(model.predictor.demand(BatchSize(batch)));
    }
    out.put(f64::from(model.max_batch.0.max(1)).log2());
    out.put(f64::from(model.max_instances.0.min(MOST_INSTANCES)) / f64::from(MOST_INSTANCES));
    out.put(compress(own.cost));
    out.put(own.hit_rate);
    out.put(model.predictor.drift().max(1e-3).ln());
    out.put(model.predictor.crowding().max(1e-3).ln());
}

/// About linear up to 1, logarithmic beyond.
fn compress(value: f64) -> f64 {
    value.max(0.0).ln_1p()
}

struct Writer<'a> {
    out: &'a mut [f32],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, value: f64) {
        // What a hostile load makes infinite must not reach the networks.
        self.out[self.at] = if value.is_finite() { value as f32 } else { 0.0 };
        self.at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TestModel, with_view};
    use super::super::{Predictor, Running};
    use super::*;

    fn observe(models: &[TestModel], id: u16) -> [f32; FEATURES] {
        let mut out = [f32::NAN; FEATURES];
        with_view(models, &Running::default(), Nanos::from_millis(50), |device| {
            let mut summary = Summary::default();
            summary.update(device);
            summary.observe(device, ModelId(id), 0.0, &mut out);
        });
        out
    }

    fn feature(observation: &[f32], name: &str) -> f32 {
        observation[NAMES.iter().position(|&other| other == name).unwrap()]
    }

    fn model(items: usize) -> TestModel {
        let times = [(BatchSize(1), 10), (BatchSize(8), 24)];
        let times = times.map(|(batch, ms)| (batch, Nanos::from_millis(ms)));
        TestModel::new(100, Predictor::new(&times)).waiting(0, &vec![100; items])
    }

    #[test]
    fn every_feature_is_written_and_finite_even_of_a_model_nothing_is_known_of() {
        let unknown = TestModel::new(0, Predictor::default());
        for id in [0, 1] {
            let observation = observe(&[unknown.clone(), model(3)], id);
            assert!(observation.iter().all(|value| value.is_finite()), "{observation:?}");
        }
        let alone = observe(&[model(3)], 0);
        assert!(alone.iter().all(|value| value.is_finite()), "{alone:?}");
    }

    #[test]
    fn says_what_its_names_say() {
        let mut busy = model(4);
        busy.demand.fast_per_s = 50.0;
        busy.tally.recent_hit_rate = 0.7;
        let observation = observe(&[model(0), busy], 1);
        assert_eq!(feature(&observation, "queued_items"), 5f32.ln());
        assert_eq!(feature(&observation, "head_slack"), 0.5);
        assert_eq!(feature(&observation, "hit_rate"), 0.7);
        assert!((feature(&observation, "execution_8") - 0.24f32.ln()).abs() < 1e-5);
        assert!((feature(&observation, "gain_8") - 0.3).abs() < 1e-6);
        // 16 ms for four items: 4 ms each, 50 times a second.
        assert!((feature(&observation, "asked_fast") - 0.2f32.ln_1p()).abs() < 1e-6);
        let other = observe(&[model(0), model(4)], 0);
        assert!((feature(&other, "others_backlog") - 0.16f32.ln_1p()).abs() < 1e-6);
    }

    #[test]
    fn two_models_with_the_same_features_look_the_same() {
        let models = [model(2), model(2)];
        assert_eq!(observe(&models, 0), observe(&models, 1));
    }
}
