//! Who takes part: the policies by name, and how they are set up for a bench.

use super::bench::Bench;
use super::choice::Choice;
use super::tune::{Oracles, Tuned};
use crate::config::PolicyConfig;
use crate::scheduler::trained::Trained;
use crate::scheduler::{self, POLICIES, Policy};
use crate::sim::LoadPlan;
use crate::units::{BatchSize, InstanceCount};

/// The best fixed choice for the very load it is judged by: a bound, not a policy that could serve.
pub const ORACLE: &str = "oracle";
/// The fixed choice that is best for the worst model: what the hit floor is measured by.
pub const FAIR_ORACLE: &str = "fair oracle";

/// The rivals that the learnt policy has to beat by a margin.
pub const BASELINES: [&str; 5] = ["fixed", "triton", "aimd", "deeprt", "tac"];
/// Those of them that choose batch sizes for a number of instances that is tuned.
pub const COUNTED: [&str; 2] = ["aimd", "tac"];
/// Policies that are rules, or stand beside them, in the order of the tables.
pub const RULES: [&str; 8] =
    ["fixed", "triton", "aimd", "deeprt", "deadline", "lookahead", "planner", "tac"];
/// The learnt policy.
pub const SUBJECT: &str = "sac";

/// All that this program has, in the order of the tables.
pub fn all() -> Vec<&'static str> {
    let known = RULES.into_iter().chain([SUBJECT]);
    known.filter(|name| POLICIES.contains(name)).collect()
}

/// A policy's name as this program has it.
///
/// # Errors
/// A text that lists what there is.
pub fn named(name: &str) -> Result<&'static str, String> {
    let known = POLICIES.iter().find(|known| **known == name);
    known
        .copied()
        .ok_or_else(|| format!("there is no policy '{name}'; there are {}", all().join(", ")))
}

/// Sets a policy up, one for each model, and says how.
pub fn set_up(
    name: &'static str,
    bench: &Bench,
    tuned: &Tuned,
    load: &LoadPlan,
    trained: &Trained,
) -> (Vec<Box<dyn Policy>>, Option<String>) {
    if let Some(counts) = tuned.counts(name) {
        return (counts.policies(name, trained), Some(counts.to_string()));
    }
    match name {
        "fixed" => (tuned.fixed.policies(load), Some(tuned.fixed.to_string())),
        "triton" => (tuned.triton.policies(), Some(tuned.triton.to_string())),
        name => {
            let models = bench.surfaces.models.iter();
            let policies = models.filter_map(|model| {
                let config = PolicyConfig::default();
                let instances = InstanceCount(model.max_instances);
                scheduler::make_named(
                    name,
                    &config,
                    BatchSize(model.max_batch.0),
                    instances,
                    trained,
                )
            });
            (policies.collect(), None)
        }
    }
}

/// The oracles' policies and choices, with the names of their rows.
pub fn oracle_rows(found: &Oracles) -> [(&'static str, &Choice); 2] {
    [(ORACLE, &found.best), (FAIR_ORACLE, &found.fair)]
}
