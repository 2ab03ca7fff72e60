//! A request as the pipeline and the policies see it, and what can become of it.

use crate::units::{BatchSize, ModelId, Nanos, RequestId};

/// One inference request, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub id: RequestId,
    pub model: ModelId,
    /// Items it brings.
    pub items: BatchSize,
    /// 0 is served first. Clients count from 1 (highest); 0 there means "the default".
    pub priority: u32,
    pub arrival: Nanos,
    /// arrival + SLO.
    pub deadline: Nanos,
    /// Leaves the queue at this time if it has not started; [`Nanos::MAX`] without a timeout.
    pub queue_until: Nanos,
}

/// What became of a request. Every request gets exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Completed(Completion),
    /// The model's queue is full.
    QueueFull {
        bound: u32,
    },
    /// The deadline is still ahead, but nothing can be done before it: `needed` is the predicted
    /// time to an answer, `left` the time to the deadline.
    Infeasible {
        needed: Nanos,
        left: Nanos,
    },
    /// The deadline had passed on arrival, or passed in the queue.
    DeadlinePassed,
    /// The client's own queue timeout passed.
    TimedOut,
    /// The engine returned an error for its batch.
    EngineFailed,
    /// The engine can't compute with what it brought, such as a token id outside the vocabulary.
    BadInput,
    /// Its instance panicked, hung or died.
    InstanceLost,
    /// Its shared memory could not be read or written any more.
    PayloadLost,
    /// The model is loading, failed or unloaded.
    ModelNotReady,
    /// The client withdrew it.
    Cancelled,
    /// The appliance shuts down.
    ShuttingDown,
}

/// How a completed request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// From arrival to the start of its batch.
    pub queue: Nanos,
    /// From the start of its batch to the end.
    pub compute: Nanos,
    /// Items in its batch.
    pub batch: BatchSize,
    /// Slot of the instance that ran it, from 0.
    pub instance: u16,
    pub slo_met: bool,
}
