//! Requests that can't be run any more: their instance or their model is gone.

use super::{Action, Outcome, Pipeline};
use crate::units::{ModelId, Nanos};

impl Pipeline {
    pub(super) fn lose_instance(
        &mut self,
        model: ModelId,
        instance: u16,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        let m = &mut self.models[model.index()];
        if m.instances.finish(instance).is_some() {
            self.running.finish(model, instance, &self.interference, now);
        }
        let Some(slot) = m.instances.slots.get_mut(instance as usize) else { return };
        let mut batch = std::mem::take(&mut slot.batch);
        let mut ahead = std::mem::take(&mut slot.ahead);
        m.instances.died(instance, now);
        for request in batch.drain(..).chain(ahead.drain(..)) {
            m.answer(request, Outcome::InstanceLost, now, actions);
        }
        let slot = &mut m.instances.slots[instance as usize];
        (slot.batch, slot.ahead) = (batch, ahead);
    }

    /// Answers everything that waits for a model, and lets nothing more in.
    pub(super) fn refuse_queue(
        &mut self,
        model: ModelId,
        outcome: Outcome,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        let m = &mut self.models[model.index()];
        m.ready = false;
        while let Some(request) = m.queue.pop() {
            m.answer(request, outcome, now, actions);
        }
    }

    /// Answers everything a model runs and forgets its instances.
    pub(super) fn give_up_batches(
        &mut self,
        model: ModelId,
        outcome: Outcome,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        self.running.forget(model, &self.interference, now);
        let m = &mut self.models[model.index()];
        for slot in std::mem::take(&mut m.instances).slots {
            for request in slot.batch.into_iter().chain(slot.ahead) {
                m.answer(request, outcome, now, actions);
            }
        }
    }
}
