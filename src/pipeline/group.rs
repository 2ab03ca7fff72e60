//! Models under one policy.

use super::model::Model;
use crate::scheduler::{Caps, Executed, Policy, is_joint};
use crate::units::{ModelId, Nanos};

#[derive(Debug)]
pub(super) struct Group {
    pub(super) policy: Box<dyn Policy>,
    pub(super) models: Vec<ModelId>,
    /// The policy lets all queues wait until then, unless something happens before.
    pub(super) waits_until: Option<Nanos>,
    /// Scratch for a slot decision, in the order of `models`.
    pub(super) caps: Vec<Caps>,
    /// Scratch for a dispatch: who could start a batch.
    pub(super) ready: Vec<ModelId>,
}

impl Group {
    fn new(model: ModelId, policy: Box<dyn Policy>) -> Group {
        Group {
            policy,
            models: vec![model],
            waits_until: None,
            caps: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// Lists in `ready` the models that could start a batch now, the most urgent first.
    pub(super) fn find_ready(&mut self, models: &[Model]) {
        self.ready.clear();
        let could_start = |id: &ModelId| models[id.index()].can_start();
        self.ready.extend(self.models.iter().copied().filter(could_start));
        if self.ready.len() > 1 {
            self.ready.sort_by_key(|id| models[id.index()].queue.urgency());
        }
    }
}

/// All groups, and which a model is in.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) groups: Vec<Group>,
    /// Index of each model's group.
    of: Vec<usize>,
}

impl Groups {
    /// One policy for each model; of a joint policy's models the first one's is kept.
    pub(super) fn new(policies: Vec<Box<dyn Policy>>) -> Groups {
        let mut groups = Groups::default();
        for (index, policy) in policies.into_iter().enumerate() {
            groups.of.push(usize::MAX);
            groups.enter(ModelId(index as u16), policy);
        }
        groups
    }

    pub(super) fn of(&self, model: ModelId) -> usize {
        self.of[model.index()]
    }

    pub(super) fn policy(&self, model: ModelId) -> &dyn Policy {
        &*self.groups[self.of(model)].policy
    }

    /// Tells a model's policy of a batch that has ended well.
    pub(super) fn executed(&mut self, batch: &Executed) {
        let group = self.of(batch.model);
        self.groups[group].policy.executed(batch);
    }

    /// Puts a model under another policy: under the one there is, if it is joint.
    pub(super) fn change(&mut self, model: ModelId, policy: Box<dyn Policy>) {
        let left = self.of(model);
        self.groups[left].models.retain(|&other| other != model);
        if self.groups[left].models.is_empty() {
            self.groups.swap_remove(left);
            let moved = self.groups.len();
            self.of.iter_mut().filter(|group| **group == moved).for_each(|group| *group = left);
        }
        self.enter(model, policy);
    }

    fn enter(&mut self, model: ModelId, policy: Box<dyn Policy>) {
        let same = |group: &Group| is_joint(policy.name()) && group.policy.name() == policy.name();
        let at = self.groups.iter().position(same);
        self.of[model.index()] = at.unwrap_or(self.groups.len());
        match at {
            Some(at) => {
                let group = &mut self.groups[at];
                group.models.push(model);
                group.models.sort_unstable();
            }
            None => self.groups.push(Group::new(model, policy)),
        }
    }

    /// The next time a policy wants to be asked again about a queue that waits.
    pub(super) fn next_wake(&self, models: &[Model]) -> Nanos {
        let waits = |group: &Group| match group.waits_until {
            Some(time) if group.models.iter().any(|id| !models[id.index()].queue.is_empty()) => {
                time
            }
            _ => Nanos::MAX,
        };
        self.groups.iter().map(waits).min().unwrap_or(Nanos::MAX)
    }
}
