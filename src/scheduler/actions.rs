//! What SAC chooses from, and the shield that keeps it among what is predicted to be safe.

use super::ModelView;
use crate::units::{BatchSize, InstanceCount, Nanos};

/// Batch sizes to choose from.
pub const BATCHES: [u32; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
/// Instances to choose from: 1 to this.
pub const MOST_INSTANCES: u16 = 8;
/// Pairs of both.
pub const ACTIONS: usize = BATCHES.len() * MOST_INSTANCES as usize;

/// Batch limit and instances of an action; all batch sizes of one instance come first.
pub fn limits(action: usize) -> (BatchSize, InstanceCount) {
    let batch = BATCHES[action % BATCHES.len()];
    (BatchSize(batch), InstanceCount((action / BATCHES.len()) as u16 + 1))
}

/// The action that allows the most of what is asked for: the largest batch size up to `batch`, as
/// many instances.
pub fn action_for(batch: BatchSize, instances: InstanceCount) -> usize {
    let size = BATCHES.iter().rposition(|&size| size <= batch.0).unwrap_or(0);
    let instances = instances.0.clamp(1, MOST_INSTANCES);
    usize::from(instances - 1) * BATCHES.len() + size
}

/// Why an action may not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masked {
    /// The engine or the configuration has no batches of this size.
    BatchLimit,
    /// The configuration or the memory has no room for so many instances.
    InstanceLimit,
    /// A batch of that size is predicted to take longer than the SLO by itself.
    Slo,
}

impl std::fmt::Display for Masked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Masked::BatchLimit => "the engine takes no larger batch",
            Masked::InstanceLimit => "no more instances are allowed, or fit the memory",
            Masked::Slo => "it is predicted to break the SLO",
        })
    }
}

/// Which actions are allowed for one model: within its limits, and of a size that is predicted to
/// execute within the SLO. How many batches of it run side by side is left to the dispatch, which
/// judges each by what runs then. Where nothing is allowed, the action with the least predicted
/// violation is left, which is one item on one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shield {
    /// By action.
    pub allowed: [bool; ACTIONS],
}

impl Default for Shield {
    fn default() -> Shield {
        Shield { allowed: [false; ACTIONS] }
    }
}

impl Shield {
    /// Brings it up to date.
    pub fn update(&mut self, model: &ModelView<'_>) {
        let sizes = BATCHES.map(|batch| size_masked(model, BatchSize(batch)).is_none());
        let instances = (1..).map(|count| InstanceCount(count) <= model.max_instances);
        for (row, fits) in self.allowed.chunks_exact_mut(BATCHES.len()).zip(instances) {
            row.copy_from_slice(&sizes.map(|allowed| allowed && fits));
        }
        // One of each is within every model's limits.
        self.allowed[0] = true;
    }

    /// Leaves only what has this many instances, and of that at least the smallest batch.
    pub fn only(&mut self, instances: InstanceCount) {
        for (action, allowed) in self.allowed.iter_mut().enumerate() {
            *allowed &= limits(action).1 == instances;
        }
        self.allowed[action_for(BatchSize::ONE, instances)] = true;
    }
}

/// Why this action is not allowed for a model; `None` when it is.
pub fn masked(model: &ModelView<'_>, action: usize) -> Option<Masked> {
    let (batch, instances) = limits(action);
    match size_masked(model, batch) {
        Some(Masked::BatchLimit) => Some(Masked::BatchLimit),
        _ if instances > model.max_instances => Some(Masked::InstanceLimit),
        why => why,
    }
}

/// Why no batch of this size is allowed for a model, on however few instances.
fn size_masked(model: &ModelView<'_>, batch: BatchSize) -> Option<Masked> {
    // A limit between two sizes is reached by the larger one, which is clamped to it.
    if batch.0 > model.max_batch.0.next_power_of_two() {
        return Some(Masked::BatchLimit);
    }
    let alone = model.predictor.alone(batch.min(model.max_batch)).unwrap_or(Nanos::ZERO);
    (alone > model.slo).then_some(Masked::Slo)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TestModel, with_view};
    use super::super::{Predictor, Running};
    use super::*;
    use crate::units::ModelId;

    #[test]
    fn every_action_is_found_by_its_limits() {
        for action in 0..ACTIONS {
            let (batch, instances) = limits(action);
            assert_eq!(action_for(batch, instances), action);
        }
        assert_eq!(limits(action_for(BatchSize(23), InstanceCount(40))).0, BatchSize(16));
    }

    fn shield(slo_ms: u64) -> (Shield, Vec<Option<Masked>>) {
        let ms = Nanos::from_millis;
        // 10 ms and 2 ms an item more, on half of the device.
        let predictor = Predictor::new(&[(BatchSize(1), ms(10)), (BatchSize(8), ms(24))]);
        let mut model = TestModel::new(slo_ms, predictor.with_demand(0.5));
        (model.max_batch, model.max_instances) = (6, 3);
        with_view(&[model], &Running::default(), Nanos::ZERO, |device| {
            let model = device.of(ModelId(0));
            let mut shield = Shield::default();
            shield.update(&model);
            (shield, (0..ACTIONS).map(|action| masked(&model, action)).collect())
        })
    }

    #[test]
    fn what_is_too_large_too_many_or_too_slow_is_masked() {
        let at = |batch, instances| action_for(BatchSize(batch), InstanceCount(instances));
        let (shield, why) = shield(25);
        assert_eq!(why[at(16, 1)], Some(Masked::BatchLimit));
        assert_eq!(why[at(1, 4)], Some(Masked::InstanceLimit));
        assert_eq!(why[at(8, 3)], None, "6 items take 20 ms");
        assert_eq!(shield.allowed.iter().filter(|&&allowed| allowed).count(), 3 * 4);
        let (shield, why) = self::shield(19);
        assert_eq!((why[at(4, 1)], why[at(8, 1)]), (None, Some(Masked::Slo)));
        assert_eq!(shield.allowed.iter().filter(|&&allowed| allowed).count(), 3 * 3);
    }

    #[test]
    fn something_is_always_allowed() {
        let (shield, _) = shield(5);
        assert_eq!(shield.allowed.iter().position(|&allowed| allowed), Some(0));
        assert_eq!(shield.allowed.iter().filter(|&&allowed| allowed).count(), 1);
    }
}
