//! One model inside the pipeline: its queue, its instances, and the limits in force.

use super::instances::Instances;
use super::queue::Queue;
use super::{Action, Outcome, Request};
use crate::scheduler::{Caps, Demand, ModelView, Predictor, Reason, Tally, utility};
use crate::units::{BatchSize, InstanceCount, Nanos};

/// What is known of a model before its engine is loaded.
#[derive(Clone, Copy, Debug)]
pub struct ModelSettings {
    /// The SLO of requests that don't bring their own.
    pub slo: Nanos,
    pub queue_bound: u32,
}

/// Manual settings that stand above the policy's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Override {
    pub batch: Option<BatchSize>,
    pub instances: Option<InstanceCount>,
}

impl Override {
    pub fn is_set(&self) -> bool {
        self.batch.is_some() || self.instances.is_some()
    }
}

/// Requests of about this long make up the recent cost and hit rate …
const RECENT_S: f64 = 5.0;
/// … but not fewer than this.
const FEWEST_RECENT: f64 = 8.0;

#[derive(Debug)]
pub(super) struct Model {
    pub(super) settings: ModelSettings,
    pub(super) ready: bool,
    pub(super) queue: Queue,
    pub(super) instances: Instances,
    pub(super) predictor: Predictor,
    pub(super) max_batch: BatchSize,
    pub(super) max_instances: InstanceCount,
    pub(super) caps: Caps,
    pub(super) overridden: Override,
    /// Its instances can be given a batch while they run one.
    pub(super) takes_ahead: bool,
    fast_arrivals: DecayingRate<1>,
    slow_arrivals: DecayingRate<10>,
    tally: Tally,
}

impl Model {
    pub(super) fn new(settings: ModelSettings) -> Model {
        Model {
            settings,
            ready: false,
            queue: Queue::new(settings.queue_bound),
            instances: Instances::default(),
            predictor: Predictor::default(),
            max_batch: BatchSize::ONE,
            max_instances: InstanceCount::ONE,
            caps: Caps {
                batch: BatchSize::ONE,
                instances: InstanceCount::ONE,
                reason: Reason::NothingMeasured,
            },
            overridden: Override::default(),
            takes_ahead: false,
            fast_arrivals: DecayingRate::default(),
            slow_arrivals: DecayingRate::default(),
            tally: Tally::default(),
        }
    }

    pub(super) fn count_arrival(&mut self, items: BatchSize, now: Nanos) {
        self.tally.arrived += 1;
        self.fast_arrivals.add(f64::from(items.0), now);
        self.slow_arrivals.add(f64::from(items.0), now);
    }

    /// Ends a request: counts it and tells the driver.
    pub(super) fn answer(
        &mut self,
        request: Request,
        outcome: Outcome,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        if outcome != Outcome::Cancelled {
            let met = matches!(outcome, Outcome::Completed(done) if done.slo_met);
            let cost =
                utility::cost(met, now - request.arrival, request.deadline - request.arrival);
            let recent = (self.slow_arrivals.per_second(now) * RECENT_S).max(FEWEST_RECENT);
            let tally = &mut self.tally;
            tally.answered += 1;
            tally.slo_met += u64::from(met);
            tally.cost += cost;
            tally.recent_cost += (cost - tally.recent_cost) / recent;
            tally.recent_hit_rate += (f64::from(u8::from(met)) - tally.recent_hit_rate) / recent;
        }
        actions.push(Action::Answer { request, outcome });
    }

    /// Puts a policy's decision in force, below the manual settings and within the limits.
    pub(super) fn apply(&mut self, decided: Caps) {
        let batch = self.overridden.batch.unwrap_or(decided.batch).0;
        let instances = self.overridden.instances.unwrap_or(decided.instances).0;
        let reason = if self.overridden.is_set() { Reason::ManualOverride } else { decided.reason };
        self.caps = Caps {
            batch: BatchSize(batch.clamp(1, self.max_batch.0)),
            instances: InstanceCount(instances.clamp(1, self.max_instances.0)),
            reason,
        };
    }

    /// There is a queue, an idle instance, and leave to run it.
    pub(super) fn can_start(&self) -> bool {
        self.ready
            && !self.queue.is_empty()
            && self.instances.running() < u32::from(self.caps.instances.0)
            && self.instances.idle().is_some()
    }

    /// What policies see.
    pub(super) fn view(&self, now: Nanos) -> ModelView<'_> {
        ModelView {
            ready: self.ready,
            slo: self.settings.slo,
            max_batch: self.max_batch,
            max_instances: self.max_instances,
            caps: self.caps,
            queue: self.queue.requests(),
            queued_items: self.queue.items(),
            queue_bound: self.queue.bound(),
            running: self.instances.running(),
            can_start: self.can_start(),
            predictor: &self.predictor,
            demand: Demand {
                fast_per_s: self.fast_arrivals.per_second(now),
                slow_per_s: self.slow_arrivals.per_second(now),
            },
            tally: &self.tally,
        }
    }

    /// Share of the requests answered of late that met their SLO.
    pub(super) fn recent_hit_rate(&self) -> f64 {
        self.tally.recent_hit_rate
    }

    /// The time before which no answer to a queued request can come; later deadlines than this
    /// can still be met.
    pub(super) fn earliest_answer(&self, now: Nanos) -> Nanos {
        let execution = if self.predictor.is_fresh(now) {
            self.predictor.predict(BatchSize::ONE).unwrap_or(Nanos::ZERO)
        } else {
            Nanos::ZERO
        };
        now + execution
    }
}

/// Events per second, exponentially forgotten over about `MEMORY_S` seconds.
#[derive(Clone, Copy, Debug, Default)]
struct DecayingRate<const MEMORY_S: u32> {
    value: f64,
    at: Nanos,
}

impl<const MEMORY_S: u32> DecayingRate<MEMORY_S> {
    fn add(&mut self, count: f64, now: Nanos) {
        self.value = self.per_second(now) + count / f64::from(MEMORY_S);
        self.at = now;
    }

    fn per_second(&self, now: Nanos) -> f64 {
        self.value * (-(now - self.at).as_secs_f64() / f64::from(MEMORY_S)).exp()
    }
}
