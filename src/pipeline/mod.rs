//! The scheduling state machine: no threads, no sockets, no clock.
//!
//! ```text
//! Arrive ─► admission ─► queue (deadline order) ─► policy: dispatch ─► batch ─► instance slot
//!                             │                                                    │
//!                             └─► expired, cancelled ─► Answer ◄─── BatchDone ◄────┘
//! ```
//!
//! [`Pipeline::step`] takes one event and the time and appends what is to be done. The live
//! runtime feeds it from rings and carries the actions out; tests feed it from a seed. It holds
//! requests without their tensors, and after warm-up allocates nothing.

mod admission;
mod ahead;
mod dispatch;
mod event;
mod group;
mod instances;
mod losses;
mod model;
mod queue;

pub use crate::scheduler::{Completion, Outcome, Request};
pub use event::{Action, Event};
pub use model::{ModelSettings, Override};
pub use queue::Order;

use crate::scheduler::actions::{ACTIONS, Masked, masked};
use crate::scheduler::{
    Caps, DeviceView, Executed, Insight, Interference, Pace, Policy, Predictor, Running,
};
use crate::units::{BatchSize, InstanceCount, ModelId, Nanos};
use group::Groups;
use instances::Instances;
use model::Model;

/// What the pipeline needs to know of the machine and the house rules.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Time between slot decisions.
    pub slot: Nanos,
    /// Refuse at once what can't be in time.
    pub feasible_only: bool,
    /// A batch is hung after `hang_factor` × its prediction, but not before `hang_floor`.
    pub hang_factor: f64,
    pub hang_floor: Nanos,
}

/// The state machine.
#[derive(Debug)]
pub struct Pipeline {
    settings: Settings,
    models: Vec<Model>,
    groups: Groups,
    /// Batches under way, over all models.
    running: Running,
    interference: Interference,
    pace: Pace,
    next_slot: Nanos,
    draining: bool,
    /// Whether any model's instances take batches ahead.
    some_take_ahead: bool,
}

/// A model's numbers for the snapshot.
#[derive(Clone, Copy, Debug)]
pub struct ModelStatus {
    pub caps: Caps,
    pub overridden: bool,
    pub queued: u32,
    pub queue_bound: u32,
    pub oldest_arrival: Option<Nanos>,
    pub running: u32,
    pub alive: u32,
    /// Instances that are being made.
    pub starting: u32,
    pub max_batch: BatchSize,
    pub max_instances: InstanceCount,
}

impl Pipeline {
    /// One policy per model, in the same order. Models become ready with [`Event::ModelReady`].
    pub fn new(
        settings: Settings,
        models: &[ModelSettings],
        policies: Vec<Box<dyn Policy>>,
    ) -> Pipeline {
        assert_eq!(models.len(), policies.len(), "one policy per model");
        Pipeline {
            settings,
            models: models.iter().map(|&m| Model::new(m)).collect(),
            groups: Groups::new(policies),
            running: Running::default(),
            interference: Interference::default(),
            pace: Pace::default(),
            next_slot: Nanos::ZERO,
            draining: false,
            some_take_ahead: false,
        }
    }

    /// Takes one event at time `now`, which never goes backwards, and appends what follows.
    pub fn step(&mut self, event: Event, now: Nanos, actions: &mut Vec<Action>) {
        let touched = self.take(event, now, actions);
        if now >= self.next_slot {
            self.decide(now);
            self.next_slot = now + self.settings.slot;
        }
        match touched {
            // Only this model's queue grew; the others' chances are as they were.
            Some(model) if now < self.next_wake(now) => self.advance(model, now, actions),
            _ => self.advance_all(now, actions),
        }
    }

    /// When to step with [`Event::Tick`] if nothing happens before.
    pub fn next_wake(&self, now: Nanos) -> Nanos {
        let at_leisure = self.is_at_leisure();
        let model_wake = |m: &Model| {
            let queue = if m.queue.is_empty() {
                Nanos::MAX
            } else {
                m.queue.next_timeout().min(self.next_expiry(m, at_leisure, now))
            };
            queue.min(m.instances.next_wake())
        };
        let models = self.models.iter().map(model_wake).min().unwrap_or(Nanos::MAX);
        models.min(self.groups.next_wake(&self.models)).min(self.next_slot)
    }

    /// The requests that this instance is running.
    pub fn batch(&self, model: ModelId, instance: u16) -> &[Request] {
        let slot = self.models[model.index()].instances.slots.get(instance as usize);
        slot.map_or(&[], |slot| &slot.batch)
    }

    /// When the batch began that this instance is running.
    pub fn batch_since(&self, model: ModelId, instance: u16) -> Option<Nanos> {
        self.models[model.index()].instances.since(instance)
    }

    /// True when every request has been answered.
    pub fn is_idle(&self) -> bool {
        self.running.runs().is_empty() && self.models.iter().all(|m| m.queue.is_empty())
    }

    /// In which order waiting requests run, of all models. By deadline unless it is said here.
    pub fn set_order(&mut self, order: Order) {
        self.models.iter_mut().for_each(|model| model.queue.set_order(order));
    }

    /// Puts a model under another policy; the next step decides with it. Where that policy governs
    /// several models and is in force for others already, it takes this one in.
    pub fn set_policy(&mut self, model: ModelId, policy: Box<dyn Policy>) {
        self.groups.change(model, policy);
        self.decide_soon(model);
    }

    pub fn policy_name(&self, model: ModelId) -> &'static str {
        self.groups.policy(model).name()
    }

    /// What a trained policy thought of its last decision for a model.
    pub fn insight(&self, model: ModelId) -> Option<Insight<'_>> {
        self.groups.policy(model).insight(model)
    }

    /// Why each action of a trained policy is not allowed for a model at `now`.
    pub fn masked(&self, model: ModelId, now: Nanos) -> [Option<Masked>; ACTIONS] {
        let model = self.models[model.index()].view(now);
        std::array::from_fn(|action| masked(&model, action))
    }

    /// Puts manual settings above the policy's; an empty one gives the model back to it.
    pub fn set_override(&mut self, model: ModelId, manual: Override) {
        self.models[model.index()].overridden = manual;
        self.decide_soon(model);
    }

    pub fn override_of(&self, model: ModelId) -> Override {
        self.models[model.index()].overridden
    }

    /// Changes the SLO of requests that don't bring their own.
    pub fn set_slo(&mut self, model: ModelId, slo: Nanos) {
        self.models[model.index()].settings.slo = slo;
        self.decide_soon(model);
    }

    pub fn slo(&self, model: ModelId) -> Nanos {
        self.models[model.index()].settings.slo
    }

    pub fn predictor(&self, model: ModelId) -> &Predictor {
        &self.models[model.index()].predictor
    }

    pub fn status(&self, model: ModelId) -> ModelStatus {
        let m = &self.models[model.index()];
        ModelStatus {
            caps: m.caps,
            overridden: m.overridden.is_set(),
            queued: m.queue.len() as u32,
            queue_bound: m.queue.bound(),
            oldest_arrival: m.queue.oldest_arrival(),
            running: m.instances.running(),
            alive: m.instances.alive(),
            starting: m.instances.starting(),
            max_batch: m.max_batch,
            max_instances: m.max_instances,
        }
    }

    /// Brings the event into the state. Returns the model if only its own queue is affected.
    fn take(&mut self, event: Event, now: Nanos, actions: &mut Vec<Action>) -> Option<ModelId> {
        match event {
            Event::Arrive(request) => return self.arrive(request, now, actions),
            Event::Cancel { model, id } => {
                let m = &mut self.models[model.index()];
                if let Some(request) = m.queue.cancel(id) {
                    m.answer(request, Outcome::Cancelled, now, actions);
                }
                return Some(model);
            }
            Event::InstanceReady { model, instance } => {
                self.models[model.index()].instances.made(instance);
            }
            Event::InstanceLost { model, instance } => {
                self.lose_instance(model, instance, now, actions);
            }
            Event::BatchDone { model, instance, ok } => {
                self.finish_batch(model, instance, ok, now, actions);
            }
            Event::ModelReady { model, max_batch, max_instances, predictor } => {
                let m = &mut self.models[model.index()];
                debug_assert_eq!(m.instances.running(), 0, "the driver waits for the last batch");
                m.ready = !self.draining;
                m.max_batch = BatchSize(max_batch.0.max(1));
                m.max_instances = InstanceCount(max_instances.0.max(1));
                m.instances = Instances::new(m.max_instances.get(), m.max_batch);
                m.predictor = predictor;
                m.predictor.follow(&self.pace);
                self.decide_soon(model);
            }
            Event::ModelGone(model) => {
                self.models[model.index()].instances.retire();
                self.refuse_queue(model, Outcome::ModelNotReady, now, actions);
            }
            Event::DeviceChanged => {
                self.pace.device_changed();
                self.models.iter_mut().for_each(|m| m.predictor.device_changed());
            }
            Event::Learnt(interference) => {
                self.interference = interference;
                self.running.learn(&self.interference, now);
            }
            Event::Tick => {}
            Event::Drain => self.draining = true,
            Event::Abort => {
                self.draining = true;
                for index in 0..self.models.len() {
                    let model = ModelId(index as u16);
                    self.refuse_queue(model, Outcome::ShuttingDown, now, actions);
                    self.give_up_batches(model, Outcome::ShuttingDown, now, actions);
                }
            }
        }
        None
    }

    fn arrive(
        &mut self,
        request: Request,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) -> Option<ModelId> {
        let at_leisure = self.is_at_leisure();
        let m = &mut self.models[request.model.index()];
        m.count_arrival(request.items, now);
        let refusal = if self.draining {
            Some(Outcome::ShuttingDown)
        } else if self.settings.feasible_only {
            admission::refuse_infeasible(m, &request, at_leisure, now)
        } else {
            admission::refuse(m)
        };
        match refusal {
            Some(outcome) => m.answer(request, outcome, now, actions),
            None => m.queue.push(request),
        }
        Some(request.model)
    }

    fn finish_batch(
        &mut self,
        model: ModelId,
        instance: u16,
        ok: bool,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        let m = &mut self.models[model.index()];
        let Some((since, items)) = m.instances.finish(instance) else { return };
        let run = self.running.finish(model, instance, &self.interference, now);
        let slot = &mut m.instances.slots[instance as usize];
        if ok {
            slot.recovered();
            if let Some((alone, took)) = run {
                let multiplier = took.0.max(1) as f64 / alone.0.max(1) as f64;
                m.predictor.observe(items, took, multiplier, now, &mut self.pace);
            }
            self.groups.executed(&Executed { model, items, since, took: now - since });
        }
        let mut batch = std::mem::take(&mut slot.batch);
        for request in batch.drain(..) {
            let outcome = if ok {
                Outcome::Completed(Completion {
                    queue: since - request.arrival,
                    compute: now - since,
                    batch: items,
                    instance,
                    slo_met: now <= request.deadline,
                })
            } else {
                Outcome::EngineFailed
            };
            m.answer(request, outcome, now, actions);
        }
        m.instances.slots[instance as usize].batch = batch;
        self.models.iter_mut().for_each(|m| m.predictor.follow(&self.pace));
        self.begin_ahead(model, instance, now);
    }

    /// The slot decision for all models.
    fn decide(&mut self, now: Nanos) {
        for index in 0..self.groups.groups.len() {
            let Pipeline { groups, models, running, interference, .. } = self;
            let group = &mut groups.groups[index];
            group.caps.clear();
            group.caps.extend(group.models.iter().map(|id| models[id.index()].caps));
            let model = |id: ModelId| models[id.index()].view(now);
            let view = DeviceView::new(now, running, interference, models.len(), &model);
            group.policy.decide(&view, &group.models, &mut group.caps);
            for (id, &caps) in group.models.iter().zip(&group.caps) {
                models[id.index()].apply(caps);
            }
        }
    }

    /// Something changed that the next step must decide about, not the next slot.
    fn decide_soon(&mut self, model: ModelId) {
        self.next_slot = Nanos::ZERO;
        let group = self.groups.of(model);
        self.groups.groups[group].waits_until = None;
    }
}
