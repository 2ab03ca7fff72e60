//! Runs worlds with a policy that learns, and keeps what there is to learn from.

use super::world::World;
use crate::scheduler::Policy;
use crate::scheduler::learned::{Baseline, Choice, Experience, Learning, Sac, Sink};
use crate::scheduler::sac::Actor;
use crate::sim::RunResult;
use arc_swap::ArcSwap;
use std::sync::{Arc, Mutex, PoisonError};

/// One world played.
pub(super) struct Played {
    pub(super) result: RunResult,
    /// The planner's own result, under the same arrivals.
    pub(super) planner: RunResult,
    pub(super) experiences: Vec<Experience>,
}

/// Plays a world twice under the same arrivals: the planner by itself, to count rewards against,
/// then with limits chosen by `choose`.
///
/// # Errors
/// As [`World::run`].
pub(super) fn play(
    world: &World,
    actor: &Arc<ArcSwap<Actor>>,
    choose: impl FnMut() -> Choice,
    run: u64,
) -> Result<Played, String> {
    let record = Arc::new(Mutex::new(Baseline::default()));
    let learning = Learning { record: Some(record.clone()), ..Learning::default() };
    let planner = world.run(policies(world, actor, || Choice::Rule, learning), run)?;
    let baseline = std::mem::take(&mut *record.lock().unwrap_or_else(PoisonError::into_inner));

    let kept = Arc::new(Mutex::new(Vec::new()));
    let into = kept.clone();
    let sink: Sink = Box::new(move |experience| {
        // Only this run's thread uses it, and a push doesn't panic half-way.
        into.lock().unwrap_or_else(PoisonError::into_inner).push(experience.clone());
    });
    let baseline = Some(Arc::new(baseline));
    let learning = Learning { sink: Some(sink), baseline, record: None };
    let result = world.run(policies(world, actor, choose, learning), run)?;
    let experiences = std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Played { result, planner, experiences })
}

/// Policies for the models of a world, all of them one: the first one's is used.
fn policies(
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
