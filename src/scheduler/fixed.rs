//! `fixed(b, m)`: never waits, never changes its mind.

use super::{Caps, Dispatch, Observation, Policy, QueueView, Reason};
use crate::units::{BatchSize, InstanceCount, ModelId};

pub(super) const NAME: &str = "fixed";

/// Takes what is there, up to `batch` items, whenever one of `instances` is free.
#[derive(Debug)]
pub(super) struct Fixed {
    batch: BatchSize,
    instances: InstanceCount,
}

impl Fixed {
    pub(super) fn new(batch: BatchSize, instances: InstanceCount) -> Fixed {
        Fixed { batch, instances }
    }
}

impl Policy for Fixed {
    fn name(&self) -> &'static str {
        NAME
    }

    fn decide(&mut self, _: &Observation, _: ModelId) -> Caps {
        Caps { batch: self.batch, instances: self.instances, reason: Reason::Configured }
    }

    fn dispatch(&mut self, queue: &QueueView<'_>) -> Dispatch {
        Dispatch::Take(queue.caps.batch)
    }
}
