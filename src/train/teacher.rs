//! Whom the actor imitates before it learns by itself: for each world, the limits on the planner
//! that a search found best when they stay for the whole run.

use super::rollout::{experiences, policies};
use super::world::World;
use crate::scheduler::actions::{BATCHES, action_for};
use crate::scheduler::learned::{Choice, Experience, Learning};
use crate::scheduler::sac::Actor;
use crate::units::{BatchSize, InstanceCount};
use arc_swap::ArcSwap;
use std::sync::Arc;

/// Instances that are tried out; more of one model seldom help.
const INSTANCES: [u16; 3] = [1, 2, 3];
/// Batch sizes that are tried out, as an index of [`BATCHES`].
const SIZES: std::ops::Range<usize> = 0..5;
/// A change must win this much utility to be kept: less is noise.
const LEAST_GAIN: f64 = 0.004;
/// Utility that a model's starving costs, for each unit of hit rate below …
const STARVING_COST: f64 = 10.0;
/// … this share of what the planner gives its worst model.
const KEPT_SHARE: f64 = 0.97;
/// Runs of each trial.
const RUNS: [u64; 2] = [1, 2];

/// What the search found: an action for each model it limits, and what that won over the planner.
pub(super) struct Lesson {
    pub(super) limits: Vec<Option<usize>>,
    pub(super) gain: f64,
}

/// Searches the best limits for a world by coordinate descent, model by model.
///
/// # Errors
/// As [`World::run`].
pub(super) fn search(world: &World, actor: &Arc<ArcSwap<Actor>>) -> Result<Lesson, String> {
    let trial = |limits: &[Option<usize>]| -> Result<(f64, f64), String> {
        let (mut utility, mut worst) = (0.0, 0.0);
        for run in RUNS {
            let choose = || Choice::Rule(limits.to_vec());
            let result = world.run(policies(world, actor, choose, Learning::default()), run)?;
            utility += result.utility / RUNS.len() as f64;
            worst += result.worst_hit_rate() / RUNS.len() as f64;
        }
        Ok((utility, worst))
    };
    let mut limits: Vec<Option<usize>> = vec![None; world.models()];
    let (planner, worst) = trial(&limits)?;
    let value = |(utility, hit_rate): (f64, f64)| {
        utility - STARVING_COST * (KEPT_SHARE * worst - hit_rate).max(0.0)
    };
    let mut best = planner;
    for model in 0..world.models() {
        let surface = &world.bench.surfaces.models[model];
        for instances in INSTANCES.into_iter().filter(|&m| m <= surface.max_instances) {
            for batch in BATCHES[SIZES].iter().filter(|&&b| b <= surface.max_batch.0) {
                let mut tried = limits.clone();
                tried[model] = Some(action_for(BatchSize(*batch), InstanceCount(instances)));
                let value = value(trial(&tried)?);
                if value > best + LEAST_GAIN {
                    (best, limits) = (value, tried);
                }
            }
        }
    }
    Ok(Lesson { limits, gain: best - planner })
}

/// What a world looks like while its best limits are in force.
///
/// # Errors
/// As [`World::run`].
pub(super) fn demonstrate(
    world: &World,
    lesson: &Lesson,
    actor: &Arc<ArcSwap<Actor>>,
    keep_every: u64,
) -> Result<Vec<Experience>, String> {
    let choose = || Choice::Rule(lesson.limits.clone());
    Ok(experiences(world, actor, choose, keep_every, 3)?.1)
}
