//! `fixed(b, m)`: never waits, never changes its mind.

use super::{Caps, DeviceView, Dispatch, Policy, Reason};
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

    fn decide(&mut self, _: &DeviceView<'_>, _: &[ModelId], caps: &mut [Caps]) {
        let (batch, instances) = (self.batch, self.instances);
        caps.fill(Caps { batch, instances, reason: Reason::Configured });
    }

    fn dispatch(&mut self, device: &DeviceView<'_>, ready: &[ModelId]) -> Dispatch {
        Dispatch::Start(ready[0], device.of(ready[0]).caps.batch)
    }
}
