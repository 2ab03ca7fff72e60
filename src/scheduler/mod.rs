//! How batch size and concurrency are chosen.
//!
//! A [`Policy`] works on two time scales. Each *slot* it decides a model's [`Caps`]: the largest
//! batch and the number of instances that may run. At each *dispatch* (an arrival, a completion, a
//! time it asked for) it says how many waiting items a free instance takes now, or until when it
//! waits for more.

mod deadline;
mod fixed;
mod predictor;
mod triton;
pub mod utility;

pub use predictor::Predictor;

use crate::units::{BatchSize, InstanceCount, ModelId, Nanos};
use std::fmt;
use std::ops::Range;

/// The policies an operator can switch between, by name.
pub const POLICIES: [&str; 3] = [fixed::NAME, triton::NAME, deadline::NAME];

/// Chooses batch size and concurrency for one model.
pub trait Policy: Send + fmt::Debug {
    /// One of [`POLICIES`].
    fn name(&self) -> &'static str;

    /// The slot's decision for `model`. It is clamped to what the model can do.
    fn decide(&mut self, observation: &Observation, model: ModelId) -> Caps;

    /// What to do with the queue while an instance is free and the caps allow one more to run.
    fn dispatch(&mut self, queue: &QueueView<'_>) -> Dispatch;
}

/// The limits a slot decision sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Most items in a batch. A single request with more of them still runs, alone.
    pub batch: BatchSize,
    /// Most instances running at once.
    pub instances: InstanceCount,
    pub reason: Reason,
}

/// Why caps are what they are, for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// config.ron says so.
    Configured,
    /// The largest batch whose predicted execution leaves room in the SLO.
    SloAllows,
    /// No profile and no measurement yet.
    NothingMeasured,
    /// Even one item is predicted to take longer than the SLO leaves.
    SloTooTight,
    /// An operator set it by hand.
    ManualOverride,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Configured => "as configured",
            Reason::SloAllows => "largest batch the SLO allows",
            Reason::NothingMeasured => "nothing measured yet",
            Reason::SloTooTight => "the SLO is tighter than one item takes",
            Reason::ManualOverride => "manual override",
        })
    }
}

/// A dispatch decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispatch {
    /// Start a batch of up to this many items, at least one request.
    Take(BatchSize),
    /// Ask again at this time, or when something happens to the model before it.
    WaitUntil(Nanos),
}

/// What a policy sees of all models in a slot.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    pub now: Nanos,
    /// Indexed by [`ModelId`].
    pub models: Vec<ModelObservation>,
}

#[derive(Clone, Debug, Default)]
pub struct ModelObservation {
    pub slo: Nanos,
    /// Limits of the engine and the configuration.
    pub max_batch: BatchSize,
    pub max_instances: InstanceCount,
    pub queued_items: u32,
    pub running: u32,
    /// Items per second, over about the last second.
    pub arrival_rate: f64,
    pub predictor: Predictor,
}

/// One model's queue at a dispatch. It is not empty, and an instance is free.
pub struct QueueView<'a> {
    pub now: Nanos,
    pub queued_items: u32,
    /// Deadline of the request that comes first.
    pub head_deadline: Nanos,
    /// Arrival of the request that has waited longest.
    pub oldest_arrival: &'a dyn Fn() -> Nanos,
    /// How many of these items, counted from the one that comes first, have a deadline not before
    /// this time.
    pub in_time: &'a dyn Fn(Range<u32>, Nanos) -> u32,
    pub caps: Caps,
    /// Batches for each of the device's lanes, over all models, if one more starts: up to 1 it has
    /// a lane to itself, at 1.5 it runs beside others for two thirds of the speed.
    pub crowding: f64,
    pub predictor: &'a Predictor,
}

/// The policy that `config` describes, for a model with these limits.
pub fn make(config: &crate::config::PolicyConfig) -> Box<dyn Policy> {
    use crate::config::PolicyConfig;
    match config {
        PolicyConfig::Fixed { batch, instances } => {
            Box::new(fixed::Fixed::new(BatchSize(*batch), InstanceCount(*instances as u16)))
        }
        PolicyConfig::Triton { preferred_batch_sizes, max_queue_delay_us, instances } => {
            Box::new(triton::Triton::new(
                preferred_batch_sizes,
                Nanos::from_micros(*max_queue_delay_us),
                InstanceCount(*instances as u16),
            ))
        }
        PolicyConfig::Deadline => Box::new(deadline::Deadline),
    }
}

/// The policy an operator picked by name, with settings that suit any model: its own if `config`
/// is of that kind, else one that uses all the model has. `None` for an unknown name.
pub fn make_named(
    name: &str,
    config: &crate::config::PolicyConfig,
    max_batch: BatchSize,
    max_instances: InstanceCount,
) -> Option<Box<dyn Policy>> {
    let own = make(config);
    if own.name() == name {
        return Some(own);
    }
    match name {
        fixed::NAME => Some(Box::new(fixed::Fixed::new(max_batch, max_instances))),
        triton::NAME => Some(Box::new(triton::Triton::new(&[], Nanos::ZERO, max_instances))),
        deadline::NAME => Some(Box::new(deadline::Deadline)),
        _ => None,
    }
}
