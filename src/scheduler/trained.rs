//! The trained policies: what their weights mean, and those this program was built with.

use super::actions::{ACTIONS, BATCHES, MOST_INSTANCES};
use super::observation::{NAMES, VERSION};
use super::sac::{Actor, Layout};
use arc_swap::ArcSwap;
use std::sync::{Arc, OnceLock};

/// `bcedge train` made it; its description says with which command and seed.
const SHIPPED: &[u8] = include_bytes!("../../assets/policy.safetensors");

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

/// The actors that policies decide with. Whoever holds a copy can exchange them under way.
#[derive(Clone, Debug)]
pub struct Trained {
    pub sac: Arc<ArcSwap<Actor>>,
}

impl Trained {
    /// With the policy this program was built with.
    pub fn shipped() -> Trained {
        Trained::with(shipped().0.clone())
    }

    pub fn with(actor: Actor) -> Trained {
        Trained { sac: Arc::new(ArcSwap::from_pointee(actor)) }
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
