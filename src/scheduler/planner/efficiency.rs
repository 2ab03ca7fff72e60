//! What the planner allows itself: the fewest instances and the smallest batches with which a device
//! does about as much as it can.

use crate::scheduler::deadline::slo_caps;
use crate::scheduler::{Caps, ModelView, Predictor, Reason};
use crate::units::{BatchSize, InstanceCount, Nanos};

/// A batch may take this much more of the device for an item than the most efficient one: what the
/// last bit of efficiency costs is that the first request waits for the last one's execution.
const MARGIN: f64 = 1.15;

/// A device counts as filled when so much of it is taken: another instance would slow the others for
/// next to nothing, and a measured share of 0.97 means the same as 1.
const FILLED: f64 = 0.95;

/// Seconds of the whole device that an item takes in batches of this size, with nothing beside them.
pub(super) fn time_per_item_s(predictor: &Predictor, batch: BatchSize) -> f64 {
    let alone = predictor.alone(batch).unwrap_or(Nanos::ZERO);
    alone.as_secs_f64() * predictor.demand(batch) / f64::from(batch.0.max(1))
}

/// The smallest batch that is about as efficient as the largest that the SLO allows, and as many
/// instances as fill the device with one item each. More would only slow each other, and admission,
/// which takes them for places to run, would let in what then waits in vain.
pub(in crate::scheduler) fn efficient_caps(model: &ModelView<'_>) -> Caps {
    let mut caps = slo_caps(model);
    let most = caps.batch.0;
    let per_item = |items: u32| time_per_item_s(model.predictor, BatchSize(items));
    let sizes = || std::iter::successors(Some(1), |size| Some(2 * size)).take_while(|&b| b < most);
    let best = sizes().map(per_item).fold(per_item(most), f64::min);
    if caps.reason == Reason::SloAllows
        && let Some(size) = sizes().find(|&size| per_item(size) <= MARGIN * best)
    {
        caps = Caps { batch: BatchSize(size), reason: Reason::Efficient, ..caps };
    }
    if let Some(share) = model.predictor.known_demand(BatchSize::ONE) {
        caps.instances = caps.instances.min(InstanceCount((FILLED / share).ceil() as u16));
    }
    caps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::testing::{TestModel, with_view};
    use crate::scheduler::{Predictor, Running};
    use crate::units::ModelId;

    fn caps(times_ms: [u64; 3], demands: &[(BatchSize, f64)]) -> Caps {
        let sizes = [1, 2, 8].map(BatchSize);
        let times: Vec<_> = sizes.into_iter().zip(times_ms.map(Nanos::from_millis)).collect();
        let predictor = Predictor::new(&times).with_demands(demands);
        with_view(&[TestModel::new(200, predictor)], &Running::default(), Nanos::ZERO, |device| {
            efficient_caps(&device.of(ModelId(0)))
        })
    }

    #[test]
    fn the_largest_batch_is_the_smallest_that_is_about_as_efficient_as_any() {
        let batch = |times_ms| {
            let caps = caps(times_ms, &[]);
            (caps.batch.0, caps.reason)
        };
        assert_eq!(batch([10, 12, 46]), (2, Reason::Efficient), "6 ms an item, at best 5.75");
        assert_eq!(batch([10, 20, 80]), (1, Reason::Efficient), "10 ms an item, always");
        assert_eq!(batch([10, 11, 17]).0, 8, "2.1 ms an item, the fewest");
        // Half of the SLO is 100 ms.
        assert_eq!(batch([120, 121, 130]), (1, Reason::SloTooTight));
    }

    #[test]
    fn there_are_as_many_instances_as_fill_the_device() {
        let instances = |demands: &[(BatchSize, f64)]| caps([10, 20, 80], demands).instances.0;
        let most = TestModel::new(200, Predictor::default()).max_instances;
        assert_eq!(instances(&[(BatchSize(1), 1.0)]), 1);
        assert_eq!(instances(&[(BatchSize(1), 0.97)]), 1, "a second one would find nothing left");
        assert_eq!(instances(&[(BatchSize(1), 0.9)]), 2);
        assert_eq!(instances(&[(BatchSize(1), 0.6), (BatchSize(8), 1.0)]), 2);
        assert_eq!(instances(&[(BatchSize(1), 0.01)]), most, "never more than are allowed");
        assert_eq!(instances(&[]), most, "nothing is known of how they share the device");
    }
}
