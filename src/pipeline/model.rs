//! One model inside the pipeline: its queue, its instances, and the limits in force.

use super::instances::Instances;
use super::queue::Queue;
use crate::scheduler::{Caps, Predictor, Reason};
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
    /// The policy lets the queue wait until then, unless something happens to the model before.
    pub(super) waits_until: Option<Nanos>,
    arrivals: DecayingRate,
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
            waits_until: None,
            arrivals: DecayingRate::default(),
        }
    }

    pub(super) fn count_arrival(&mut self, items: BatchSize, now: Nanos) {
        self.arrivals.add(f64::from(items.0), now);
    }

    pub(super) fn arrival_rate(&self, now: Nanos) -> f64 {
        self.arrivals.per_second(now)
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

/// Events per second, exponentially forgotten over about a second.
#[derive(Clone, Copy, Debug, Default)]
struct DecayingRate {
    value: f64,
    at: Nanos,
}

impl DecayingRate {
    const MEMORY_S: f64 = 1.0;

    fn add(&mut self, count: f64, now: Nanos) {
        self.value = self.per_second(now) + count / Self::MEMORY_S;
        self.at = now;
    }

    fn per_second(&self, now: Nanos) -> f64 {
        self.value * (-(now - self.at).as_secs_f64() / Self::MEMORY_S).exp()
    }
}
