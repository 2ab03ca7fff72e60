//! Batches that are handed to an instance before the one it runs is done, so that their copy to the
//! device goes beside that run.
//!
//! It is done only where it takes no choice from anybody: for an engine that can use it, when the
//! model's every allowed instance is busy, a full batch waits (it can't become fuller), and no other
//! model has anything to run. With several busy models their copies go beside each other's runs
//! anyway, and whose batch comes next is for the policy to say when the time has come.

use super::instances::Phase;
use super::model::Model;
use super::{Action, Pipeline, Request};
use crate::units::{ModelId, Nanos};

impl Pipeline {
    /// Tells whether a model's instances can take a batch ahead; they can't unless told.
    pub fn set_takes_ahead(&mut self, model: ModelId, takes_ahead: bool) {
        self.models[model.index()].takes_ahead = takes_ahead;
        self.some_take_ahead = self.models.iter().any(|m| m.takes_ahead);
    }

    /// The requests that this instance was given ahead.
    pub fn batch_ahead(&self, model: ModelId, instance: u16) -> &[Request] {
        let slot = self.models[model.index()].instances.slots.get(instance as usize);
        slot.map_or(&[], |slot| &slot.ahead)
    }

    /// Hands full batches ahead, if a model is the only one with a queue.
    pub(super) fn hand_ahead(&mut self, now: Nanos, actions: &mut Vec<Action>) {
        if !self.some_take_ahead {
            return;
        }
        let mut waiting = self.models.iter().enumerate().filter(|(_, m)| !m.queue.is_empty());
        let (Some((index, _)), None) = (waiting.next(), waiting.next()) else { return };
        let model = ModelId(index as u16);
        let m = &mut self.models[index];
        while let Some(instance) = m.next_to_take_ahead(now) {
            let slot = &mut m.instances.slots[instance as usize];
            m.queue.pop_batch(m.caps.batch.0, &mut slot.ahead);
            actions.push(Action::RunAhead { model, instance });
        }
    }

    /// The batch that an instance was given ahead runs now, its own being done.
    pub(super) fn begin_ahead(&mut self, model: ModelId, instance: u16, now: Nanos) {
        let slots = &mut self.models[model.index()].instances.slots;
        let Some(slot) = slots.get_mut(instance as usize) else { return };
        if slot.phase() == Phase::Idle && slot.batch.is_empty() && !slot.ahead.is_empty() {
            std::mem::swap(&mut slot.batch, &mut slot.ahead);
            self.begin_batch(model, instance, now);
        }
    }
}

impl Model {
    /// Of the busy instances without a batch ahead, the one that is predicted to be free first;
    /// `None` while a batch may still become fuller or start at once.
    fn next_to_take_ahead(&self, now: Nanos) -> Option<u16> {
        let full = self.queue.items() >= self.caps.batch.0;
        let busy = self.instances.running() >= u32::from(self.caps.instances.0);
        if !(self.takes_ahead && self.ready && full && (busy || self.instances.idle().is_none())) {
            return None;
        }
        let slots = self.instances.slots.iter().enumerate();
        let free_at = slots.filter_map(|(index, slot)| match slot.phase() {
            Phase::Running { since, items, .. } if slot.ahead.is_empty() => {
                let takes = self.predictor.predict(items).unwrap_or(now - since);
                Some((since + takes, index as u16))
            }
            _ => None,
        });
        free_at.min().map(|(_, index)| index)
    }
}
