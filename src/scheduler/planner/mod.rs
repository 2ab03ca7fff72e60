//! `planner`: at each dispatch it plays every sensible next batch through to the end of all queues
//! and starts the one whose plan costs least, or waits for a running batch to end where that costs
//! less still.
//!
//! What a plan costs is the utility it loses ([`super::utility`]): U of a model is ln(1 + G / X), so
//! one unit of a request's cost x loses 1 / (n X), and a missed SLO loses 1 / (n h) besides, with n
//! the requests of a window and h their hit rate. A model whose hit rate falls below what all could
//! have is given more weight until it is back, since a logarithm alone would let it starve.

mod plan;

use super::deadline::slo_caps;
use super::{Caps, DeviceView, Dispatch, ModelView, Policy, Reason, utility};
use crate::units::{BatchSize, ModelId, Nanos};
use plan::Plan;

pub use plan::Weights;

pub(super) const NAME: &str = "planner";

/// Each model should keep this share of the hit rate that all models could have together …
const FAIR_SHARE: f64 = 0.985;
/// … and less of it, by so much for each hit rate that is lost to overload: batches that keep their
/// deadlines are then far from the most efficient ones; …
const FAIR_SHARE_SLOPE: f64 = 0.3;
/// … but at least this share.
const LEAST_FAIR_SHARE: f64 = 0.86;
/// The logarithm of a model's weight grows with what it lacks of that, relative to it: by this much
/// at once, …
const WEIGHT_GAIN: f64 = 2.0;
/// … and by this much more each second. Faster, the weights would swing: a hit rate tells only after
/// seconds what a weight has done.
const WEIGHT_GAIN_PER_S: f64 = 0.2;
/// The most it grows to: four hundred times the model's own weight.
const MOST_EXTRA_WEIGHT: f64 = 6.0;
/// A rate below this counts as this, in requests per second: one request is not worth everything.
const LEAST_RATE_PER_S: f64 = 0.2;
/// A hit rate below this counts as this, for the same reason.
const LEAST_HIT_RATE: f64 = 0.05;
/// A batch may take this much more of the device for an item than the most efficient one: what the
/// last bit of efficiency costs is that the first request waits for the last one's execution.
const EFFICIENCY_MARGIN: f64 = 1.15;
/// As long as what is in use of the device and half of the batch's share are below this, nothing is
/// gained by waiting: the batch fits beside what runs, or nearly.
const CROWDED: f64 = 1.2;
/// A wait for a batch to end goes on a little beyond its predicted end.
const WAIT_MARGIN: f64 = 1.2;
const WAIT_LEAST: Nanos = Nanos::from_millis(1);

#[derive(Debug, Default)]
pub(super) struct Planner {
    plan: Plan,
    /// By model.
    extra: Vec<Extra>,
}

/// The logarithm of the factor by which a model weighs more because it starves.
#[derive(Clone, Copy, Debug)]
struct Extra {
    /// What has grown slowly.
    grown: f64,
    total: f64,
    /// When it was brought up to date.
    at: Nanos,
}

impl Planner {
    /// Brings everything up to date that follows from the slot: execution times, weights. A policy
    /// that builds on the planner calls it in its own `decide`.
    pub(super) fn prepare(&mut self, device: &DeviceView<'_>) {
        self.extra.resize(device.models, Extra { grown: 0.0, total: 0.0, at: device.now });
        let fair = fair_hit_rate(device);
        let of_fair = FAIR_SHARE - FAIR_SHARE_SLOPE * (1.0 - fair);
        let share = fair * of_fair.max(LEAST_FAIR_SHARE);
        self.plan.resize(device.models);
        for (id, model) in device.all() {
            let extra = &mut self.extra[id.index()];
            let elapsed_s = (device.now - extra.at).as_secs_f64();
            let lack = (share - model.tally.recent_hit_rate) / share;
            extra.grown += WEIGHT_GAIN_PER_S * elapsed_s * lack;
            extra.grown = extra.grown.clamp(0.0, MOST_EXTRA_WEIGHT);
            extra.total = (extra.grown + WEIGHT_GAIN * lack.max(0.0)).min(MOST_EXTRA_WEIGHT);
            extra.at = device.now;
            self.plan.set_model(id, &model, weights(&model, extra.total.exp()));
        }
    }

    /// Logarithm of the factor by which a model weighs more because it starved.
    pub(super) fn extra_weight(&self, id: ModelId) -> f64 {
        self.extra.get(id.index()).map_or(0.0, |extra| extra.total)
    }

    /// What one of a model's requests counts at present.
    pub(super) fn weights(&self, id: ModelId) -> Weights {
        self.plan.weights(id)
    }

    /// What the requests that wait are expected to lose.
    pub(super) fn expected_loss(&mut self, device: &DeviceView<'_>) -> f64 {
        self.plan.observe(device);
        let waiting = self.plan.wait(device, Nanos::ZERO);
        let hopeless = |(id, _)| self.plan.hopeless(id) as f64 * self.plan.weights(id).miss;
        waiting + device.all().map(hopeless).sum::<f64>()
    }
}

impl Policy for Planner {
    fn name(&self) -> &'static str {
        NAME
    }

    fn decide(&mut self, device: &DeviceView<'_>, models: &[ModelId], caps: &mut [Caps]) {
        self.prepare(device);
        for (&model, caps) in models.iter().zip(caps) {
            *caps = efficient_caps(&device.of(model));
        }
    }

    fn dispatch(&mut self, device: &DeviceView<'_>, ready: &[ModelId]) -> Dispatch {
        let unknown = |id: &&ModelId| device.of(**id).predictor.alone(BatchSize::ONE).is_none();
        if let Some(&id) = ready.iter().find(unknown) {
            return Dispatch::Start(id, device.of(id).caps.batch);
        }
        self.plan.observe(device);
        // A queue whose requests are all hopeless is started for the pipeline to find out.
        if let Some(&id) = ready.iter().find(|id| self.plan.is_empty(**id)) {
            return Dispatch::Start(id, BatchSize::ONE);
        }
        // Nothing to choose: what follows would come to the same.
        if let [id] = *ready
            && self.plan.most(id) == 1
            && !is_crowded(device, id, self.plan.items(id, 1))
        {
            return Dispatch::Start(id, self.plan.items(id, 1));
        }
        let full = ready.iter().map(|&id| (self.plan.start_now(device, id, usize::MAX), id));
        let Some((mut cost, id)) = full.min_by(|a, b| a.0.total_cmp(&b.0)) else {
            return Dispatch::WaitUntil(Nanos::MAX);
        };
        let mut requests = self.plan.most(id);
        let mut fewer = requests;
        while fewer > 1 {
            fewer = fewer.div_ceil(2);
            let candidate = self.plan.start_now(device, id, fewer);
            if candidate < cost {
                (cost, requests) = (candidate, fewer);
            }
        }
        let items = self.plan.items(id, requests);
        if is_crowded(device, id, items)
            && let Some(next_end) = device.runs.iter().map(|run| run.left(device.now)).min()
            && self.plan.wait(device, next_end) < cost
        {
            return Dispatch::WaitUntil(device.now + next_end.scale(WAIT_MARGIN) + WAIT_LEAST);
        }
        Dispatch::Start(id, items)
    }
}

/// Whether a batch might better wait for a running one to end.
fn is_crowded(device: &DeviceView<'_>, id: ModelId, items: BatchSize) -> bool {
    device.load + device.of(id).predictor.demand(items) / 2.0 > CROWDED
}

/// What the planner allows itself: all instances, and the smallest batch that is about as efficient
/// as the largest that the SLO allows.
pub(super) fn efficient_caps(model: &ModelView<'_>) -> Caps {
    let caps = slo_caps(model);
    let most = caps.batch.0;
    let per_item = |items: u32| {
        let alone = model.predictor.alone(BatchSize(items)).unwrap_or(Nanos::ZERO);
        alone.as_secs_f64() * model.predictor.demand(BatchSize(items)) / f64::from(items)
    };
    let sizes = || std::iter::successors(Some(1), |size| Some(2 * size)).take_while(|&b| b < most);
    let best = sizes().map(per_item).fold(per_item(most), f64::min);
    match sizes().find(|&size| per_item(size) <= EFFICIENCY_MARGIN * best) {
        Some(size) if caps.reason == Reason::SloAllows => {
            Caps { batch: BatchSize(size), reason: Reason::Efficient, ..caps }
        }
        _ => caps,
    }
}

/// What one request of this model counts.
fn weights(model: &ModelView<'_>, factor: f64) -> Weights {
    let rate_per_s = model.demand.slow_per_s.max(model.demand.fast_per_s / 2.0);
    let rate_per_s = rate_per_s.max(LEAST_RATE_PER_S);
    let cost = model.tally.recent_cost.max(utility::LEAST_COST);
    let hit_rate = model.tally.recent_hit_rate.max(LEAST_HIT_RATE);
    let ratio = rate_per_s * hit_rate / cost;
    // d ln(1 + r) = r / (1 + r) d ln r.
    let request = factor * ratio / (1.0 + ratio) / rate_per_s;
    Weights { cost: request / cost, miss: request * (utility::MISS_COST / cost + 1.0 / hit_rate) }
}

/// The hit rate that all models could have together, were the device's time shared out in
/// proportion: 1 over how many times its capacity is asked for.
fn fair_hit_rate(device: &DeviceView<'_>) -> f64 {
    let asked = |(_, model): (ModelId, ModelView<'_>)| {
        let batch = model.caps.batch;
        let time = model.predictor.alone(batch).unwrap_or(Nanos::ZERO).as_secs_f64();
        let share = model.predictor.demand(batch);
        model.demand.slow_per_s * time * share / f64::from(batch.0.max(1))
    };
    1.0 / device.all().map(asked).sum::<f64>().max(1.0)
}

#[cfg(test)]
mod tests;
