//! Which context uses which optimisation profile.
//!
//! With TensorRT 8 a profile belongs to one context at a time, so a plan with open dimensions needs
//! as many as there are contexts; from 10 on contexts share them.

use super::spec::PlanSpec;
use std::sync::{Arc, Mutex, PoisonError};

/// The profiles of one plan.
pub(super) struct Profiles {
    /// Their numbers in the plan; all take the same shapes. None where shapes are fixed.
    numbers: Vec<i32>,
    /// A profile is for one context at a time.
    exclusive: bool,
    /// So many are kept for instances.
    instances: usize,
    in_use: Mutex<Vec<bool>>,
}

/// A context's profile until it is dropped.
pub(super) struct Profile {
    /// None where shapes are fixed: nothing has to be chosen.
    pub number: Option<i32>,
    place: Option<usize>,
    profiles: Arc<Profiles>,
}

impl Profiles {
    pub fn new(spec: &PlanSpec, major: u32, instances: u32) -> Arc<Profiles> {
        let numbers = spec.profiles.clone();
        let exclusive = major < 10 && spec.is_dynamic;
        let in_use = Mutex::new(vec![false; numbers.len()]);
        Arc::new(Profiles { numbers, exclusive, instances: instances as usize, in_use })
    }

    /// How many contexts there can be at once; `None`: as many as one likes.
    pub fn limit(&self) -> Option<usize> {
        self.exclusive.then_some(self.numbers.len())
    }

    /// One for an instance's context.
    pub fn for_instance(self: &Arc<Self>) -> Option<Profile> {
        self.take(0)
    }

    /// One that no instance will want.
    pub fn for_graph(self: &Arc<Self>) -> Option<Profile> {
        self.take(self.instances)
    }

    fn take(self: &Arc<Self>, from: usize) -> Option<Profile> {
        if !self.exclusive {
            let number = self.numbers.first().copied();
            return Some(Profile { number, place: None, profiles: self.clone() });
        }
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (from..in_use.len()).find(|&place| !in_use[place])?;
        in_use[place] = true;
        let number = Some(self.numbers[place]);
        Some(Profile { number, place: Some(place), profiles: self.clone() })
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let mut in_use = self.profiles.in_use.lock().unwrap_or_else(PoisonError::into_inner);
            in_use[place] = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profiles(exclusive: bool, instances: usize) -> Arc<Profiles> {
        let in_use = Mutex::new(vec![false; 3]);
        Arc::new(Profiles { numbers: vec![1, 2, 4], exclusive, instances, in_use })
    }

    #[test]
    fn a_profile_is_for_one_context_at_a_time() {
        let profiles = profiles(true, 2);
        let first = profiles.for_instance().unwrap();
        let second = profiles.for_instance().unwrap();
        assert_eq!((first.number, second.number), (Some(1), Some(2)));
        let graph = profiles.for_graph().unwrap();
        assert_eq!(graph.number, Some(4));
        assert!(profiles.for_graph().is_none() && profiles.for_instance().is_none());
        drop(second);
        assert!(profiles.for_graph().is_none(), "kept for an instance");
        assert_eq!(profiles.for_instance().unwrap().number, Some(2));
        assert_eq!(profiles.limit(), Some(3));
    }

    #[test]
    fn or_for_all() {
        let profiles = profiles(false, 1);
        let many: Vec<_> = (0..9).map(|_| profiles.for_graph().unwrap()).collect();
        assert!(many.iter().all(|profile| profile.number == Some(1)));
        assert_eq!(profiles.limit(), None);
    }
}
