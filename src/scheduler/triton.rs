//! `triton`: the dynamic batcher of the Triton Inference Server, as its documentation describes it:
//! preferred batch sizes, a maximum queue delay, a fixed number of instances.

use super::{Caps, DeviceView, Dispatch, Policy, Reason};
use crate::units::{BatchSize, InstanceCount, ModelId, Nanos};

pub(super) const NAME: &str = "triton";

#[derive(Debug)]
pub(super) struct Triton {
    /// Ascending; empty: none is preferred, a full batch is what it waits for.
    preferred: Vec<u32>,
    max_queue_delay: Nanos,
    instances: InstanceCount,
}

impl Triton {
    pub(super) fn new(
        preferred: &[u32],
        max_queue_delay: Nanos,
        instances: InstanceCount,
    ) -> Triton {
        let mut preferred = preferred.to_vec();
        preferred.sort_unstable();
        Triton { preferred, max_queue_delay, instances }
    }
}

impl Policy for Triton {
    fn name(&self) -> &'static str {
        NAME
    }

    fn decide(&mut self, device: &DeviceView<'_>, models: &[ModelId], caps: &mut [Caps]) {
        for (&model, caps) in models.iter().zip(caps) {
            let batch = device.of(model).max_batch;
            *caps = Caps { batch, instances: self.instances, reason: Reason::Configured };
        }
    }

    fn dispatch(&mut self, device: &DeviceView<'_>, ready: &[ModelId]) -> Dispatch {
        let id = ready[0];
        let model = device.of(id);
        let limit = model.caps.batch;
        if model.queued_items >= limit.0 {
            return Dispatch::Start(id, limit);
        }
        let fits = |&&size: &&u32| size <= model.queued_items;
        if let Some(&size) = self.preferred.iter().rev().find(fits) {
            return Dispatch::Start(id, BatchSize(size));
        }
        let oldest = model.oldest_arrival().unwrap_or(device.now);
        let patience = oldest + self.max_queue_delay;
        if device.now >= patience {
            return Dispatch::Start(id, limit);
        }
        Dispatch::WaitUntil(patience)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TestModel, with_view};
    use super::super::{Predictor, Running};
    use super::*;

    fn ask(policy: &mut Triton, queued_items: usize, now_ms: u64) -> Dispatch {
        let model = TestModel::new(100, Predictor::default()).waiting(10, &vec![100; queued_items]);
        with_view(&[model], &Running::default(), Nanos::from_millis(now_ms), |device| {
            policy.dispatch(device, &[ModelId(0)])
        })
    }

    fn start(batch: u32) -> Dispatch {
        Dispatch::Start(ModelId(0), BatchSize(batch))
    }

    #[test]
    fn takes_the_largest_preferred_size_that_can_be_formed() {
        let mut policy = Triton::new(&[4, 2], Nanos::from_millis(5), InstanceCount(1));
        assert_eq!(ask(&mut policy, 3, 10), start(2));
        assert_eq!(ask(&mut policy, 5, 10), start(4));
        assert_eq!(ask(&mut policy, 9, 10), start(8), "a full batch");
    }

    #[test]
    fn waits_for_company_no_longer_than_the_queue_delay() {
        let mut policy = Triton::new(&[4], Nanos::from_millis(5), InstanceCount(1));
        assert_eq!(ask(&mut policy, 1, 12), Dispatch::WaitUntil(Nanos::from_millis(15)));
        assert_eq!(ask(&mut policy, 1, 15), start(8));
    }

    #[test]
    fn without_preferences_and_delay_it_sends_what_is_there() {
        let mut policy = Triton::new(&[], Nanos::ZERO, InstanceCount(1));
        assert_eq!(ask(&mut policy, 1, 10), start(8));
    }
}
