//! Runs worlds with a policy that learns, and keeps what there is to learn from.

use super::world::World;
use crate::scheduler::Policy;
use crate::scheduler::learned::{Baseline, Choice, Experience, Learning, Sac, Sink};
use crate::scheduler::sac::Actor;
use crate::sim::RunResult;
use arc_swap::ArcSwap;
use std::sync::{Arc, Mutex, PoisonError};

/// Policies for the models of a world, all of them one: the first one's is used.
pub(super) fn policies(
    world: &World,
    actor: &Arc<ArcSwap<Actor>>,
    mut choose: impl FnMut() -> Choice,
    mut learning: Learning,
) -> Vec<Box<dyn Policy>> {
    let policy = |_| -> Box<dyn Policy> {
        Box::new(Sac::new(actor.clone(), choose(), std::mem::take(&mut learning)))
    };
    (0..world.models()).map(policy).collect()
}

/// One run; keeps every `keep_every`th experience.
///
/// # Errors
/// As [`World::run`].
pub(super) fn experiences(
    world: &World,
    actor: &Arc<ArcSwap<Actor>>,
    choose: impl FnMut() -> Choice,
    keep_every: u64,
    run: u64,
) -> Result<(RunResult, Vec<Experience>), String> {
    let baseline = Arc::new(Mutex::new(Baseline::default()));
    let learning = Learning { record: Some(baseline.clone()), ..Learning::default() };
    world.run(policies(world, actor, || Choice::Rule(Vec::new()), learning), run)?;
    let baseline = std::mem::take(&mut *baseline.lock().unwrap_or_else(PoisonError::into_inner));
    let kept = Arc::new(Mutex::new(Vec::new()));
    let mut count = 0u64;
    let into = kept.clone();
    let sink: Sink = Box::new(move |experience| {
        count += 1;
        if count % keep_every == 0 {
            // Only this run's thread uses it, and a push doesn't panic half-way.
            into.lock().unwrap_or_else(PoisonError::into_inner).push(experience.clone());
        }
    });
    let learning = Learning {
        sink: Some(sink),
        baseline: Some(Arc::new(baseline)),
        record: None,
    };
    let result = world.run(policies(world, actor, choose, learning), run)?;
    let kept = std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((result, kept))
}
