//! From a policy's name or its place in config.ron to the policy.

use super::{Policy, deadline, fixed, planner, triton};
use crate::config::PolicyConfig;
use crate::units::{BatchSize, InstanceCount, Nanos};

/// The policies an operator can switch between, by name.
pub const POLICIES: [&str; 4] = [fixed::NAME, triton::NAME, deadline::NAME, planner::NAME];

/// Whether one policy of that name governs all models that have it; otherwise each model has one
/// of its own.
pub fn is_joint(name: &str) -> bool {
    name == planner::NAME
}

/// The policy that `config` describes.
pub fn make(config: &PolicyConfig) -> Box<dyn Policy> {
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
        PolicyConfig::Planner => Box::new(planner::Planner::default()),
    }
}

/// The policy an operator picked by name, with settings that suit any model: its own if `config`
/// is of that kind, else one that uses all the model has. `None` for an unknown name.
pub fn make_named(
    name: &str,
    config: &PolicyConfig,
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
        planner::NAME => Some(Box::new(planner::Planner::default())),
        _ => None,
    }
}
