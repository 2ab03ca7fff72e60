//! How batch size and concurrency are chosen.
//!
//! A [`Policy`] works on two time scales. Each *slot* it decides its models' [`Caps`]: the largest
//! batch and the number of instances that may run. At each *dispatch* (an arrival, a completion, a
//! time it asked for) it says which model starts how many of its waiting items now, or until when
//! all wait. It sees the whole device ([`DeviceView`]): other models' queues, what runs, how far
//! that has come.

pub mod actions;
mod aimd;
mod deadline;
mod deeprt;
mod fixed;
pub mod interference;
pub mod learned;
mod lookahead;
mod make;
pub mod nn;
pub mod observation;
mod pace;
mod planner;
mod predictor;
mod request;
mod running;
pub mod sac;
pub mod trained;
mod triton;
pub mod utility;
mod view;

pub use interference::{Footprint, Imprint, Interference, Neighbours, Work};
pub use make::{POLICIES, default_config, is_joint, make, make_named, make_with};
pub use pace::Pace;
pub use predictor::Predictor;
pub use request::{Completion, Outcome, Request};
pub use running::{Run, Running, Start};
pub use view::{Demand, DeviceView, ModelView, Tally};

use crate::units::{BatchSize, InstanceCount, ModelId, Nanos};
use std::fmt;

/// Chooses batch size and concurrency for the models it governs: for one, or, where the choice is
/// between models ([`is_joint`]), for all that have this policy.
pub trait Policy: Send + fmt::Debug {
    /// One of [`POLICIES`].
    fn name(&self) -> &'static str;

    /// The slot's decision: new values for `caps`, which belong to `models` in the same order and
    /// hold those in force. They are clamped to what each model can do.
    fn decide(&mut self, device: &DeviceView<'_>, models: &[ModelId], caps: &mut [Caps]);

    /// What to start now. `ready` are the models with a queue, an idle instance and caps that allow
    /// one more to run; never empty, the one with the earliest deadline first.
    fn dispatch(&mut self, device: &DeviceView<'_>, ready: &[ModelId]) -> Dispatch;

    /// What a learnt policy thought of its last decision for a model.
    fn insight(&self, _model: ModelId) -> Option<Insight<'_>> {
        None
    }

    /// A batch of one of its models has ended well. What it learns from that shows in its next
    /// decision; most rules learn nothing.
    fn executed(&mut self, _batch: &Executed) {}
}

/// A learnt decision and its alternatives; see [`actions`].
#[derive(Clone, Copy, Debug)]
pub struct Insight<'a> {
    /// By action, when it was taken; 0 where that was not allowed then.
    pub probabilities: &'a [f32],
    /// By action, now.
    pub allowed: &'a [bool],
    /// The one that was taken.
    pub action: usize,
    /// Of the choice, in nats.
    pub entropy: f32,
}

/// A batch that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executed {
    pub model: ModelId,
    pub items: BatchSize,
    /// When it began.
    pub since: Nanos,
    /// Until its end, beside whatever ran then.
    pub took: Nanos,
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
    /// Larger batches would hardly spare the device anything.
    Efficient,
    /// The trained actor's choice.
    Learned,
    /// The size that measured batches have led to.
    Measured,
    /// One batch at a time on the device, over all models.
    TakesTurns,
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
            Reason::Efficient => "a larger batch would hardly spare the device anything",
            Reason::Learned => "the trained policy's choice",
            Reason::Measured => "as measured batches allow",
            Reason::TakesTurns => "models take turns on the device",
            Reason::NothingMeasured => "nothing measured yet",
            Reason::SloTooTight => "the SLO is tighter than one item takes",
            Reason::ManualOverride => "manual override",
        })
    }
}

/// A dispatch decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispatch {
    /// Start a batch of up to this many items of this model, at least one request; then ask again.
    Start(ModelId, BatchSize),
    /// Ask again at this time, or when something happens before it.
    WaitUntil(Nanos),
}

#[cfg(test)]
mod testing;
