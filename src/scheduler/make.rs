//! From a policy's name or its place in config.ron to the policy.

use super::trained::Trained;
use super::{Policy, deadline, fixed, learned, planner, triton};
use crate::config::PolicyConfig;
use crate::units::{BatchSize, InstanceCount, Nanos};

/// The policies an operator can switch between, by name.
pub const POLICIES: [&str; 6] = [
    learned::NAME,
    planner::NAME,
    learned::BATCH_ONLY_NAME,
    deadline::NAME,
    triton::NAME,
    fixed::NAME,
];

/// Whether one policy of that name governs all models that have it; otherwise each model has one
/// of its own.
pub fn is_joint(name: &str) -> bool {
    [planner::NAME, learned::NAME, learned::BATCH_ONLY_NAME].contains(&name)
}

/// The policy that `config` describes; what is trained decides as this program was built.
pub fn make(config: &PolicyConfig) -> Box<dyn Policy> {
    make_with(config, &Trained::shipped())
}

/// The policy that `config` describes, deciding with these actors.
pub fn make_with(config: &PolicyConfig, trained: &Trained) -> Box<dyn Policy> {
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
        PolicyConfig::Sac => Box::new(trained.sac()),
        PolicyConfig::Tac { instances } => Box::new(trained.tac(InstanceCount(*instances as u16))),
    }
}

/// The policy an operator picked by name, with settings that suit any model: its own if `config`
/// is of that kind, else one that uses all the model has. `None` for an unknown name.
pub fn make_named(
    name: &str,
    config: &PolicyConfig,
    max_batch: BatchSize,
    max_instances: InstanceCount,
    trained: &Trained,
) -> Option<Box<dyn Policy>> {
    let own = make_with(config, trained);
    if own.name() == name {
        return Some(own);
    }
    let config = match name {
        fixed::NAME => {
            return Some(Box::new(fixed::Fixed::new(max_batch, max_instances)));
        }
        triton::NAME => {
            return Some(Box::new(triton::Triton::new(&[], Nanos::ZERO, max_instances)));
        }
        deadline::NAME => PolicyConfig::Deadline,
        planner::NAME => PolicyConfig::Planner,
        learned::NAME => PolicyConfig::Sac,
        learned::BATCH_ONLY_NAME => PolicyConfig::Tac { instances: 1 },
        _ => return None,
    };
    Some(make_with(&config, trained))
}
