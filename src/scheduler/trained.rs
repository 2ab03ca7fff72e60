//! The trained policies: what their weights mean, and those this program was built with.

use super::actions::{ACTIONS, BATCHES, MOST_INSTANCES};
use super::learned::{Choice, Experience, Learning, Sac};
use super::observation::{NAMES, VERSION};
use super::sac::{Actor, Layout};
use arc_swap::ArcSwap;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};

/// `bcedge train` made it; its description says with which command and seed.
const SHIPPED: &[u8] = include_bytes!("../../assets/policy.safetensors");

/// What is explored differs from start to start by the load alone.
const EXPLORATION_SEED: u64 = 0;

/// What observations and actions of this program mean.
pub fn layout() -> Layout {
    let grid = format!("batch {BATCHES:?} × instances 1..={MOST_INSTANCES}");
    Layout::new(VERSION, &NAMES, ACTIONS, &grid)
}

/// The policy this program was built with, and what made it.
pub fn shipped() -> &'static (Actor, String) {
    static PARSED: OnceLock<(Actor, String)> = OnceLock::new();
    PARSED.get_or_init(|| {
        // The bytes are part of the program, and a test reads them.
        Actor::from_bytes(SHIPPED, &layout()).expect("the shipped policy is whole")
    })
}

/// What trained policies decide with, and where they learn to. Copies share the actor: whoever has
/// one can exchange it under way.
#[derive(Clone, Debug)]
pub struct Trained {
    pub sac: Arc<ArcSwap<Actor>>,
    /// Where experiences go while the appliance learns. What finds no room is not learnt from.
    pub experiences: Option<SyncSender<Experience>>,
}

impl Trained {
    /// With the policy this program was built with, and without learning.
    pub fn shipped() -> Trained {
        Trained::with(shipped().0.clone())
    }

    /// With this one, and without learning.
    pub fn with(actor: Actor) -> Trained {
        Trained { sac: Arc::new(ArcSwap::from_pointee(actor)), experiences: None }
    }

    /// The policy: the actor's best choices, or, while it learns, now and then another.
    pub fn sac(&self) -> Sac {
        let Some(sender) = self.experiences.clone() else {
            return Sac::new(self.sac.clone(), Choice::Greedy, Learning::default());
        };
        let sink = move |experience: &Experience| {
            // Full while the learner is busy, and closed when it has ended: serving goes on.
            let _ = sender.try_send(experience.clone());
        };
        let learning = Learning { sink: Some(Box::new(sink)), ..Learning::default() };
        Sac::new(self.sac.clone(), Choice::exploring(EXPLORATION_SEED), learning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::observation::FEATURES;

    #[test]
    fn the_shipped_policy_is_one_for_this_program_and_says_what_made_it() {
        let (actor, made_by) = shipped();
        assert_eq!((actor.observation(), actor.actions()), (FEATURES, ACTIONS));
        assert!(made_by.contains("bcedge train"), "{made_by}");
    }
}
