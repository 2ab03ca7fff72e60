//! The trained policies: what their weights mean, and those this program was built with.

use super::actions::{ACTIONS, BATCHES, MOST_INSTANCES};
use super::learned::{Choice, Experience, Learning, Sac, Steering};
use super::observation::{NAMES, VERSION};
use super::sac::{Actor, Layout};
use crate::units::InstanceCount;
use arc_swap::ArcSwap;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};

/// `bcedge train` made them; their descriptions say with which command and seed.
const SHIPPED_SAC: &[u8] = include_bytes!("../../assets/sac.safetensors");
const SHIPPED_TAC: &[u8] = include_bytes!("../../assets/tac.safetensors");

/// What is explored differs from start to start by the load alone.
const EXPLORATION_SEED: u64 = 0;

/// What observations and actions of the policy `sac` mean.
pub fn sac_layout() -> Layout {
    let grid = format!("batch {BATCHES:?} × instances 1..={MOST_INSTANCES}");
    Layout::new(VERSION, &NAMES, ACTIONS, &grid)
}

/// What those of the policy `tac` mean: its weights only ever chose between batch sizes, for some
/// number of instances.
pub fn tac_layout() -> Layout {
    let grid = format!("batch {BATCHES:?}, for one of instances 1..={MOST_INSTANCES}");
    Layout::new(VERSION, &NAMES, ACTIONS, &grid)
}

/// A policy this program was built with, and what made it.
pub type Shipped = (Actor, String);

/// The policy `sac` this program was built with.
pub fn shipped_sac() -> &'static Shipped {
    static PARSED: OnceLock<Shipped> = OnceLock::new();
    PARSED.get_or_init(|| parse(SHIPPED_SAC, &sac_layout()))
}

/// The policy `tac` this program was built with.
pub fn shipped_tac() -> &'static Shipped {
    static PARSED: OnceLock<Shipped> = OnceLock::new();
    PARSED.get_or_init(|| parse(SHIPPED_TAC, &tac_layout()))
}

fn parse(bytes: &[u8], layout: &Layout) -> Shipped {
    // Cannot fail: the bytes are part of the program, and a test reads them.
    Actor::from_bytes(bytes, layout).expect("a shipped policy is whole")
}

/// What trained policies decide with, and where they learn to. Copies share the actors: whoever has
/// one can exchange them under way.
#[derive(Clone, Debug)]
pub struct Trained {
    pub sac: Arc<ArcSwap<Actor>>,
    pub tac: Arc<ArcSwap<Actor>>,
    /// How `sac` goes on learning, where the appliance does.
    pub online: Option<Online>,
}

/// How a policy goes on learning while it serves.
#[derive(Clone, Debug)]
pub struct Online {
    /// Where experiences go. What finds no room is not learnt from.
    pub experiences: SyncSender<Experience>,
    /// Whether anybody learns from them. If not, nothing is explored either.
    pub enabled: Arc<AtomicBool>,
}

impl Trained {
    /// With the policies this program was built with, and without learning.
    pub fn shipped() -> Trained {
        Trained::with(shipped_sac().0.clone())
    }

    /// With this one for `sac`, and without learning.
    pub fn with(sac: Actor) -> Trained {
        let share = |actor| Arc::new(ArcSwap::from_pointee(actor));
        Trained { sac: share(sac), tac: share(shipped_tac().0.clone()), online: None }
    }

    /// The policy `sac`: the actor's best choices, or, while it learns, now and then another.
    pub fn sac(&self) -> Sac {
        let actor = self.sac.clone();
        let Some(Online { experiences, enabled }) = self.online.clone() else {
            return Sac::new(Steering::Planner, actor, Choice::Greedy, Learning::default());
        };
        let sink = move |experience: &Experience| {
            // Full while the learner is busy, and closed when it has ended: serving goes on.
            let _ = experiences.try_send(experience.clone());
        };
        let learning = Learning { sink: Some(Box::new(sink)), ..Learning::default() };
        Sac::new(Steering::Planner, actor, Choice::exploring(enabled, EXPLORATION_SEED), learning)
    }

    /// The policy `tac`, with so many instances of every model.
    pub fn tac(&self, instances: InstanceCount) -> Sac {
        let steering = Steering::BatchOnly(instances);
        Sac::new(steering, self.tac.clone(), Choice::Greedy, Learning::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::observation::FEATURES;

    #[test]
    fn the_shipped_policies_are_for_this_program_and_say_what_made_them() {
        for (actor, made_by) in [shipped_sac(), shipped_tac()] {
            assert_eq!((actor.observation(), actor.actions()), (FEATURES, ACTIONS));
            assert!(made_by.contains("bcedge train"), "{made_by}");
        }
    }

    #[test]
    fn a_policy_that_chooses_batch_sizes_only_is_not_taken_for_the_other() {
        let error = Actor::from_bytes(SHIPPED_TAC, &sac_layout()).unwrap_err().to_string();
        assert!(error.contains("for one of instances"), "{error}");
        assert!(Actor::from_bytes(SHIPPED_SAC, &tac_layout()).is_err());
    }
}
