//! `triton`: the dynamic batcher of the Triton Inference Server, as its documentation describes it:
//! preferred batch sizes, a maximum queue delay, a fixed number of instances.

use super::{Caps, Dispatch, Observation, Policy, QueueView, Reason};
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

    fn decide(&mut self, observation: &Observation, model: ModelId) -> Caps {
        let batch = observation.models[model.index()].max_batch;
        Caps { batch, instances: self.instances, reason: Reason::Configured }
    }

    fn dispatch(&mut self, queue: &QueueView<'_>) -> Dispatch {
        let limit = queue.caps.batch;
        if queue.queued_items >= limit.0 {
            return Dispatch::Take(limit);
        }
        let fits = |&&size: &&u32| size <= queue.queued_items;
        if let Some(&size) = self.preferred.iter().rev().find(fits) {
            return Dispatch::Take(BatchSize(size));
        }
        let patience = (queue.oldest_arrival)() + self.max_queue_delay;
        if queue.now >= patience {
            return Dispatch::Take(limit);
        }
        Dispatch::WaitUntil(patience)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Predictor;
    use super::*;

    fn ask(policy: &mut Triton, queued_items: u32, now_ms: u64) -> Dispatch {
        policy.dispatch(&QueueView {
            now: Nanos::from_millis(now_ms),
            queued_items,
            head_deadline: Nanos::from_millis(100),
            oldest_arrival: &|| Nanos::from_millis(10),
            in_time: &|items, _| items.end - items.start,
            caps: Caps {
                batch: BatchSize(8),
                instances: InstanceCount(1),
                reason: Reason::Configured,
            },
            crowding: 1.0,
            predictor: &Predictor::default(),
        })
    }

    #[test]
    fn takes_the_largest_preferred_size_that_can_be_formed() {
        let mut policy = Triton::new(&[4, 2], Nanos::from_millis(5), InstanceCount(1));
        assert_eq!(ask(&mut policy, 3, 10), Dispatch::Take(BatchSize(2)));
        assert_eq!(ask(&mut policy, 5, 10), Dispatch::Take(BatchSize(4)));
        assert_eq!(ask(&mut policy, 9, 10), Dispatch::Take(BatchSize(8)), "a full batch");
    }

    #[test]
    fn waits_for_company_no_longer_than_the_queue_delay() {
        let mut policy = Triton::new(&[4], Nanos::from_millis(5), InstanceCount(1));
        assert_eq!(ask(&mut policy, 1, 12), Dispatch::WaitUntil(Nanos::from_millis(15)));
        assert_eq!(ask(&mut policy, 1, 15), Dispatch::Take(BatchSize(8)));
    }

    #[test]
    fn without_preferences_and_delay_it_sends_what_is_there() {
        let mut policy = Triton::new(&[], Nanos::ZERO, InstanceCount(1));
        assert_eq!(ask(&mut policy, 1, 10), Dispatch::Take(BatchSize(8)));
    }
}
