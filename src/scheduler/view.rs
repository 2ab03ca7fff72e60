//! What a policy sees of the device and its models, without copying any of it.

use super::{Caps, Imprint, Interference, Neighbours, Predictor, Request, Run, Running};
use crate::units::{BatchSize, InstanceCount, ModelId, Nanos};
use std::collections::VecDeque;

/// The device and all models at one moment.
#[derive(Clone, Copy)]
pub struct DeviceView<'a> {
    pub now: Nanos,
    /// Batches under way, in no order.
    pub runs: &'a [Run],
    /// The same summed up.
    pub running: &'a Neighbours,
    /// Sum of their shares: from 1 on the device is full, and another batch slows all of them.
    pub load: f64,
    pub interference: &'a Interference,
    /// How many models there are.
    pub models: usize,
    /// Any of them, by its id.
    pub model: &'a dyn Fn(ModelId) -> ModelView<'a>,
}

impl<'a> DeviceView<'a> {
    pub fn new(
        now: Nanos,
        running: &'a Running,
        interference: &'a Interference,
        models: usize,
        model: &'a dyn Fn(ModelId) -> ModelView<'a>,
    ) -> DeviceView<'a> {
        let (runs, load) = (running.runs(), running.load());
        DeviceView { now, runs, running: running.all(), load, interference, models, model }
    }

    /// That model.
    pub fn of(&self, model: ModelId) -> ModelView<'a> {
        (self.model)(model)
    }

    /// Every model, in the order of their ids.
    pub fn all(&self) -> impl Iterator<Item = (ModelId, ModelView<'a>)> + '_ {
        (0..self.models as u16).map(|id| (ModelId(id), self.of(ModelId(id))))
    }

    /// What a batch of so many items of a model means to itself and its neighbours.
    pub fn imprint(&self, model: &ModelView<'_>, batch: BatchSize) -> Imprint {
        self.interference.imprint(&model.predictor.footprint(batch))
    }

    /// How many times longer a batch would take than alone, were it started now beside everything
    /// that runs.
    pub fn multiplier(&self, batch: &Imprint) -> f64 {
        self.interference.multiplier(batch, self.running)
    }

    /// Predicted execution time of `batch` items of a model, were they started now beside
    /// everything that runs; `None` while nothing is known of the model.
    pub fn execution(&self, model: &ModelView<'_>, batch: BatchSize) -> Option<Nanos> {
        self.execution_beside(model, batch, self.running)
    }

    /// The same beside these.
    pub fn execution_beside(
        &self,
        model: &ModelView<'_>,
        batch: BatchSize,
        others: &Neighbours,
    ) -> Option<Nanos> {
        let alone = model.predictor.alone(batch)?;
        Some(alone.scale(self.interference.multiplier(&self.imprint(model, batch), others)))
    }
}

/// One model at that moment.
#[derive(Clone, Copy)]
pub struct ModelView<'a> {
    /// It is loaded and takes requests.
    pub ready: bool,
    /// Of requests that don't bring their own.
    pub slo: Nanos,
    /// Limits of the engine and the configuration.
    pub max_batch: BatchSize,
    pub max_instances: InstanceCount,
    /// In force.
    pub caps: Caps,
    /// Waiting requests in the order in which they run: priority, deadline, arrival.
    pub queue: &'a VecDeque<Request>,
    /// Items over all of them.
    pub queued_items: u32,
    /// Most requests that may wait.
    pub queue_bound: u32,
    /// Batches under way.
    pub running: u32,
    /// An instance is idle and the caps let it run.
    pub can_start: bool,
    pub predictor: &'a Predictor,
    pub demand: Demand,
    pub tally: &'a Tally,
}

/// Items per second that arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Demand {
    /// Over about the last second.
    pub fast_per_s: f64,
    /// Over about the last ten.
    pub slow_per_s: f64,
}

/// What became of a model's requests, counted from the start: a policy that learns takes the
/// difference between two of its slots.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tally {
    pub arrived: u64,
    /// Answered, in whatever way, except by a cancellation.
    pub answered: u64,
    /// Of those: with outputs, within their SLO.
    pub slo_met: u64,
    /// Sum of their costs x; see [`super::utility`].
    pub cost: f64,
    /// Mean cost of a request of late: exponentially forgotten over the requests of about five
    /// seconds.
    pub recent_cost: f64,
    /// Share of the requests of late that met their SLO.
    pub recent_hit_rate: f64,
}

impl Default for Tally {
    /// As if all had gone well so far.
    fn default() -> Tally {
        Tally {
            arrived: 0,
            answered: 0,
            slo_met: 0,
            cost: 0.0,
            recent_cost: super::utility::LEAST_COST,
            recent_hit_rate: 1.0,
        }
    }
}

impl<'a> ModelView<'a> {
    /// The request that runs first.
    pub fn head(&self) -> Option<&'a Request> {
        self.queue.front()
    }

    /// Arrival of the request that has waited longest.
    pub fn oldest_arrival(&self) -> Option<Nanos> {
        self.queue.iter().map(|request| request.arrival).min()
    }

    /// How many of these items, counted from the head, may still be answered at `end`.
    pub fn in_time(&self, items: std::ops::Range<u32>, end: Nanos) -> u32 {
        let mut first = 0;
        let mut count = 0;
        for request in self.queue {
            if first >= items.end {
                break;
            }
            if first >= items.start && request.deadline >= end {
                count += request.items.0;
            }
            first += request.items.0;
        }
        count
    }
}
