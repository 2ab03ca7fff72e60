//! From a policy's name or its place in config.ron to the policy.

use super::trained::Trained;
use super::{Policy, aimd, deadline, deeprt, fixed, learned, lookahead, planner, triton};
use crate::config::PolicyConfig;
use crate::units::{BatchSize, InstanceCount, Nanos};

/// The policies an operator can switch between, by name.
pub const POLICIES: [&str; 9] = [
    learned::NAME,
    planner::NAME,
    lookahead::NAME,
    deadline::NAME,
    deeprt::NAME,
    learned::BATCH_ONLY_NAME,
    aimd::NAME,
    triton::NAME,
    fixed::NAME,
];

/// Whether one policy of that name governs all models that have it; otherwise each model has one
/// of its own.
pub fn is_joint(name: &str) -> bool {
    let joint =
        [learned::NAME, learned::BATCH_ONLY_NAME, planner::NAME, deeprt::NAME, lookahead::NAME];
    joint.contains(&name)
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
        PolicyConfig::Aimd { latency_percent, step, max_queue_delay_us, instances } => {
            Box::new(aimd::Aimd::new(aimd::Settings {
                target: f64::from(*latency_percent) / 100.0,
                step: *step,
                max_queue_delay: Nanos::from_micros(*max_queue_delay_us),
                instances: InstanceCount(*instances as u16),
            }))
        }
        PolicyConfig::DeepRt { window_percent, work_conserving } => {
            Box::new(deeprt::DeepRt::new(deeprt::Settings {
                window: f64::from(*window_percent) / 100.0,
                work_conserving: *work_conserving,
            }))
        }
        PolicyConfig::Lookahead { steepness } => {
            Box::new(lookahead::Lookahead::new(f64::from(*steepness)))
        }
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
        name => default_config(name)?,
    };
    Some(make_with(&config, trained))
}

/// The policy of that name as config.ron has it by default; `None` for those that do nothing
/// sensible without settings of their own, and for an unknown name.
pub fn default_config(name: &str) -> Option<PolicyConfig> {
    Some(match name {
        deadline::NAME => PolicyConfig::Deadline,
        planner::NAME => PolicyConfig::Planner,
        learned::NAME => PolicyConfig::Sac,
        learned::BATCH_ONLY_NAME => PolicyConfig::Tac { instances: 1 },
        aimd::NAME => PolicyConfig::aimd(),
        deeprt::NAME => PolicyConfig::deeprt(),
        lookahead::NAME => PolicyConfig::lookahead(),
        _ => return None,
    })
}
