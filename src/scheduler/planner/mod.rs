//! `planner`: at each dispatch it plays every sensible next batch through to the end of all queues
//! and starts the one whose plan costs least, or waits for a running batch to end where that costs
//! less still.
//!
//! What a plan costs is the utility it loses ([`super::utility`]): U of a model is ln(1 + G / X), so
//! one unit of a request's cost x loses 1 / (n X), and a missed SLO loses 1 / (n h) besides, with n
//! the requests of a window and h their hit rate. A model whose hit rate falls below its floor is given
//! more weight until it is back, since a logarithm alone would let it starve. While there is too little
//! of the device for all, its time has a price besides ([`worth`]).

mod efficiency;
mod plan;
mod worth;

use super::{Caps, DeviceView, Dispatch, Policy};
use crate::units::{BatchSize, ModelId, Nanos};
use plan::Plan;
use worth::Worth;

pub(super) use efficiency::efficient_caps;
pub use plan::Weights;

pub(super) const NAME: &str = "planner";

/// As long as what is in use of the device and half of the batch's share are below this, nothing is
/// gained by waiting: the batch fits beside what runs, or nearly.
const CROWDED: f64 = 1.2;
/// A wait for a batch to end goes on a little beyond its predicted end.
const WAIT_MARGIN: f64 = 1.2;
const WAIT_LEAST: Nanos = Nanos::from_millis(1);

#[derive(Debug, Default)]
pub(super) struct Planner {
    plan: Plan,
    worth: Worth,
}

impl Planner {
    /// Brings everything up to date that follows from the slot: execution times, weights. A policy
    /// that builds on the planner calls it in its own `decide`.
    pub(super) fn prepare(&mut self, device: &DeviceView<'_>) {
        self.worth.update(device, &mut self.plan);
    }

    /// Logarithm of the factor by which a model weighs more because it starved.
    pub(super) fn extra_weight(&self, id: ModelId) -> f64 {
        self.worth.extra(id)
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

#[cfg(test)]
mod tests;
