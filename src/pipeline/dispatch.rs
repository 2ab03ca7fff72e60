//! The part of a step that moves requests on: expire, recover instances, form and start batches.

use super::instances::Phase;
use super::model::Model;
use super::{Action, Outcome, Pipeline};
use crate::scheduler::{Dispatch, QueueView};
use crate::units::{BatchSize, ModelId, Nanos};

impl Pipeline {
    /// All models, the one with the least slack first whenever several could start a batch.
    pub(super) fn advance_all(&mut self, now: Nanos, actions: &mut Vec<Action>) {
        for index in 0..self.models.len() {
            self.recover_instances(ModelId(index as u16), now, actions);
            self.expire(ModelId(index as u16), now, actions);
            self.models[index].waits_until = None;
        }
        while let Some(model) = self.most_urgent(now) {
            self.dispatch(model, now, actions);
        }
    }

    /// One model whose queue has changed.
    pub(super) fn advance(&mut self, model: ModelId, now: Nanos, actions: &mut Vec<Action>) {
        self.expire(model, now, actions);
        self.models[model.index()].waits_until = None;
        while self.can_dispatch(model, now) {
            self.dispatch(model, now, actions);
        }
    }

    fn can_dispatch(&self, model: ModelId, now: Nanos) -> bool {
        let m = &self.models[model.index()];
        m.ready
            && m.waits_until.is_none_or(|time| time <= now)
            && !m.queue.is_empty()
            && m.instances.running() < u32::from(m.caps.instances.0)
            && m.instances.idle().is_some()
    }

    fn most_urgent(&self, now: Nanos) -> Option<ModelId> {
        (0..self.models.len() as u16)
            .map(ModelId)
            .filter(|&model| self.can_dispatch(model, now))
            .min_by_key(|model| self.models[model.index()].queue.earliest_deadline())
    }

    /// Asks the policy; afterwards the model has started a batch or knows until when it waits.
    fn dispatch(&mut self, model: ModelId, now: Nanos, actions: &mut Vec<Action>) {
        let m = &mut self.models[model.index()];
        let (Some(head), Some(instance)) = (m.queue.head(), m.instances.idle()) else { return };
        let queue = &m.queue;
        let view = QueueView {
            now,
            queued_items: queue.items(),
            head_deadline: head.deadline,
            oldest_arrival: &|| queue.oldest_arrival().unwrap_or(now),
            in_time: &|items, end| queue.in_time(items, end),
            caps: m.caps,
            crowding: f64::from(self.running + 1) / f64::from(self.settings.lanes.max(1)),
            predictor: &m.predictor,
        };
        match self.policies[model.index()].dispatch(&view) {
            Dispatch::WaitUntil(time) => m.waits_until = Some(time.max(Nanos(now.0 + 1))),
            Dispatch::Take(wanted) => {
                let limit = wanted.0.clamp(1, m.caps.batch.0);
                let batch = &mut m.instances.slots[instance as usize].batch;
                let mut items = 0;
                while items < limit
                    && let Some(request) = m.queue.pop_fitting(limit - items, items == 0)
                {
                    items += request.items.0;
                    batch.push(request);
                }
                let items = BatchSize(items);
                let predicted = m.predictor.predict(items).unwrap_or(Nanos::ZERO);
                let patience =
                    predicted.scale(self.settings.hang_factor).max(self.settings.hang_floor);
                m.instances.start(instance, items, now, now + patience);
                self.running += 1;
                actions.push(Action::Run { model, instance });
            }
        }
    }

    /// Whether the device has a free lane and at most one request waits for it.
    pub(super) fn is_at_leisure(&self) -> bool {
        self.running < self.settings.lanes
            && self.models.iter().map(|m| m.queue.len()).sum::<usize>() <= 1
    }

    /// Answers what waited too long, or can't be in time any more.
    fn expire(&mut self, model: ModelId, now: Nanos, actions: &mut Vec<Action>) {
        let earliest_answer = self.earliest_answer(&self.models[model.index()], now);
        let m = &mut self.models[model.index()];
        while let Some(request) = m.queue.pop_expired(now, earliest_answer) {
            let outcome = if request.queue_until <= now {
                Outcome::TimedOut
            } else if request.deadline <= now {
                Outcome::DeadlinePassed
            } else {
                Outcome::Infeasible { needed: earliest_answer - now, left: request.deadline - now }
            };
            actions.push(Action::Answer { request, outcome });
        }
    }

    /// Requests with an earlier deadline than this are hopeless.
    fn earliest_answer(&self, m: &Model, now: Nanos) -> Nanos {
        if !self.settings.feasible_only {
            Nanos::ZERO
        } else if self.is_at_leisure() && m.instances.idle().is_some() {
            // Nobody else wants the time: it need only not be late already.
            now
        } else {
            m.earliest_answer(now)
        }
    }

    /// When the next queued request of a non-empty queue becomes hopeless.
    pub(super) fn next_expiry(&self, m: &Model, now: Nanos) -> Nanos {
        let execution = self.earliest_answer(m, now) - now;
        let expiry = (m.queue.earliest_deadline() - execution) + Nanos(1);
        // One that has just become so, by what this step started, is answered by the next.
        if self.settings.feasible_only { expiry.max(now + Nanos(1)) } else { Nanos::MAX }
    }

    /// Gives up hung instances, and starts those that are missing.
    fn recover_instances(&mut self, model: ModelId, now: Nanos, actions: &mut Vec<Action>) {
        for index in 0..self.models[model.index()].instances.slots.len() {
            let slot = &mut self.models[model.index()].instances.slots[index];
            match slot.phase {
                Phase::Running { hung_at, .. } if hung_at <= now => {
                    let instance = index as u16;
                    actions.push(Action::AbandonInstance { model, instance });
                    self.lose_instance(model, instance, now, actions);
                }
                Phase::Backoff { until } if until <= now => slot.phase = Phase::Empty,
                _ => {}
            }
        }
        let m = &mut self.models[model.index()];
        while m.ready
            && let Some(instance) = m.instances.startable(m.caps.instances.get())
        {
            m.instances.slots[instance as usize].phase = Phase::Starting;
            actions.push(Action::StartInstance { model, instance });
        }
    }
}
