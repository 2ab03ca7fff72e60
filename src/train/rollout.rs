//! Runs worlds with a policy that learns, and keeps what there is to learn from.

use super::world::World;
use crate::scheduler::Policy;
use crate::scheduler::learned::{Baseline, Choice, Experience, Learning, Sac, Sink, Steering};
use crate::scheduler::sac::Actor;
use crate::sim::RunResult;
use arc_swap::ArcSwap;
use std::sync::{Arc, Mutex, PoisonError};

/// One world played.
pub(super) struct Played {
    pub(super) result: RunResult,
    /// What the rule by itself reached, under the same arrivals.
    pub(super) by_rule: RunResult,
    pub(super) experiences: Vec<Experience>,
}

/// Plays a world twice under the same arrivals: by rule, to count rewards against, then as `choose`
/// chooses.
///
/// # Errors
/// As [`World::run`].
pub(super) fn play(
    world: &World,
    steering: Steering,
    actor: &Arc<ArcSwap<Actor>>,
    choose: impl FnMut() -> Choice,
    run: u64,
) -> Result<Played, String> {
    let record = Arc::new(Mutex::new(Baseline::default()));
    let learning = Learning { record: Some(record.clone()), ..Learning::default() };
    let by_rule = world.run(policies(world, steering, actor, || Choice::Rule, learning), run)?;
    let baseline = std::mem::take(&mut *record.lock().unwrap_or_else(PoisonError::into_inner));

    let kept = Arc::new(Mutex::new(Vec::new()));
    let into = kept.clone();
    let sink: Sink = Box::new(move |experience| {
        // Only this run's thread uses it, and a push doesn't panic half-way.
        into.lock().unwrap_or_else(PoisonError::into_inner).push(experience.clone());
    });
    let baseline = Some(Arc::new(baseline));
    let learning = Learning { sink: Some(sink), baseline, record: None };
    let result = world.run(policies(world, steering, actor, choose, learning), run)?;
    let experiences = std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Played { result, by_rule, experiences })
}

/// Policies for the models of a world, all of them one: the first one's is used.
fn policies(
    world: &World,
    steering: Steering,
    actor: &Arc<ArcSwap<Actor>>,
    mut choose: impl FnMut() -> Choice,
    mut learning: Learning,
) -> Vec<Box<dyn Policy>> {
    let policy = |_| -> Box<dyn Policy> {
        Box::new(Sac::new(steering, actor.clone(), choose(), std::mem::take(&mut learning)))
    };
    (0..world.models()).map(policy).collect()
}
