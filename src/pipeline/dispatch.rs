//! The part of a step that moves requests on: expire, recover instances, form and start batches.

use super::model::Model;
use super::{Action, Outcome, Pipeline};
use crate::scheduler::{DeviceView, Dispatch, Interference, Running, Start};
use crate::units::{BatchSize, ModelId, Nanos};

/// A model's hit rate up to which its batches are judged as if what runs beside them never ended, and
/// that from which on it is trusted to.
const TRUSTED_HIT_RATES: (f64, f64) = (0.84, 0.94);
/// Of the time by which a batch would then be done sooner, this share is counted on: others start
/// beside it, too.
const TRUSTED_SHARE: f64 = 0.5;

impl Pipeline {
    /// All models; of several policies the one with the most urgent queue is asked first.
    pub(super) fn advance_all(&mut self, now: Nanos, actions: &mut Vec<Action>) {
        for index in 0..self.models.len() {
            self.recover_instances(ModelId(index as u16), now, actions);
            self.expire(ModelId(index as u16), now, actions);
        }
        for group in &mut self.groups.groups {
            group.waits_until = None;
        }
        while let Some(group) = self.most_urgent() {
            self.dispatch(group, now, actions);
        }
        self.hand_ahead(now, actions);
    }

    /// One model whose queue has changed.
    pub(super) fn advance(&mut self, model: ModelId, now: Nanos, actions: &mut Vec<Action>) {
        self.expire(model, now, actions);
        let index = self.groups.of(model);
        self.groups.groups[index].waits_until = None;
        loop {
            let group = &mut self.groups.groups[index];
            group.find_ready(&self.models);
            if group.ready.is_empty() || group.waits_until.is_some() {
                break;
            }
            self.dispatch(index, now, actions);
        }
        self.hand_ahead(now, actions);
    }

    /// The group to ask next: with a model that could start, and not told to wait.
    fn most_urgent(&mut self) -> Option<usize> {
        let Pipeline { groups, models, .. } = self;
        let mut best = None;
        for (index, group) in groups.groups.iter_mut().enumerate() {
            if group.waits_until.is_some() {
                continue;
            }
            group.find_ready(models);
            let Some(first) = group.ready.first() else { continue };
            let urgency = models[first.index()].queue.urgency();
            if best.is_none_or(|(least, _)| urgency < least) {
                best = Some((urgency, index));
            }
        }
        best.map(|(_, index)| index)
    }

    /// Asks the policy of a group whose `ready` is up to date; afterwards one of its models has
    /// started a batch, or the group knows until when it waits.
    fn dispatch(&mut self, group: usize, now: Nanos, actions: &mut Vec<Action>) {
        let Pipeline { groups, models, running, interference, .. } = self;
        let group = &mut groups.groups[group];
        let model = |id: ModelId| models[id.index()].view(now);
        let view = DeviceView::new(now, running, interference, models.len(), &model);
        match group.policy.dispatch(&view, &group.ready) {
            Dispatch::WaitUntil(time) => group.waits_until = Some(time.max(Nanos(now.0 + 1))),
            Dispatch::Start(model, wanted) => self.start_batch(model, wanted, now, actions),
        }
    }

    /// Moves up to `wanted` items from the queue to an idle instance.
    fn start_batch(
        &mut self,
        model: ModelId,
        wanted: BatchSize,
        now: Nanos,
        actions: &mut Vec<Action>,
    ) {
        let at_leisure = self.is_at_leisure();
        let m = &mut self.models[model.index()];
        let limit = wanted.0.clamp(1, m.caps.batch.0);
        if self.settings.feasible_only && !at_leisure {
            shed_hopeless(m, limit, &self.running, &self.interference, now, actions);
        }
        let Some(instance) = m.instances.idle() else { return };
        let batch = &mut m.instances.slots[instance as usize].batch;
        m.queue.pop_batch(limit, batch);
        if batch.is_empty() {
            return;
        }
        self.begin_batch(model, instance, now);
        actions.push(Action::Run { model, instance });
    }

    /// The batch that an instance holds runs from now on.
    pub(super) fn begin_batch(&mut self, model: ModelId, instance: u16, now: Nanos) {
        let m = &mut self.models[model.index()];
        let batch = &m.instances.slots[instance as usize].batch;
        let requests = batch.len() as u32;
        let items = BatchSize(batch.iter().map(|request| request.items.0).sum());
        let deadline = batch.iter().map(|r| r.deadline).min().unwrap_or(Nanos::MAX);
        let start = Start { model, instance, items, requests, deadline };
        self.running.start(start, &m.predictor, &self.interference, now);
        let predicted = m.predictor.predict(items).unwrap_or(Nanos::ZERO);
        let patience = predicted.scale(self.settings.hang_factor).max(self.settings.hang_floor);
        m.instances.start(instance, items, now, now + patience);
    }

    /// Whether the device is not full and at most one request waits for it.
    pub(super) fn is_at_leisure(&self) -> bool {
        self.running.load() < 1.0 && self.models.iter().map(|m| m.queue.len()).sum::<usize>() <= 1
    }

    /// Answers what waited too long, or can't be in time any more.
    fn expire(&mut self, model: ModelId, now: Nanos, actions: &mut Vec<Action>) {
        if self.models[model.index()].queue.is_empty() {
            return;
        }
        let at_leisure = self.is_at_leisure();
        let earliest_answer = self.earliest_answer(&self.models[model.index()], at_leisure, now);
        let m = &mut self.models[model.index()];
        while let Some(request) = m.queue.pop_expired(now, earliest_answer) {
            let outcome = if request.queue_until <= now {
                Outcome::TimedOut
            } else if request.deadline <= now {
                Outcome::DeadlinePassed
            } else {
                Outcome::Infeasible { needed: earliest_answer - now, left: request.deadline - now }
            };
            m.answer(request, outcome, now, actions);
        }
    }

    /// Requests with an earlier deadline than this are hopeless.
    fn earliest_answer(&self, m: &Model, at_leisure: bool, now: Nanos) -> Nanos {
        if !self.settings.feasible_only {
            Nanos::ZERO
        } else if at_leisure && m.instances.idle().is_some() {
            // Nobody else wants the time: it need only not be late already.
            now
        } else {
            m.earliest_answer(now)
        }
    }

    /// When the next queued request of a non-empty queue becomes hopeless.
    pub(super) fn next_expiry(&self, m: &Model, at_leisure: bool, now: Nanos) -> Nanos {
        let execution = self.earliest_answer(m, at_leisure, now) - now;
        let expiry = (m.queue.earliest_deadline() - execution) + Nanos(1);
        // One that has just become so, by what this step started, is answered by the next.
        if self.settings.feasible_only { expiry.max(now + Nanos(1)) } else { Nanos::MAX }
    }

    /// Gives up hung instances, and starts those that are missing.
    fn recover_instances(&mut self, model: ModelId, now: Nanos, actions: &mut Vec<Action>) {
        while let Some(instance) = self.models[model.index()].instances.look(now) {
            actions.push(Action::AbandonInstance { model, instance });
            self.lose_instance(model, instance, now, actions);
        }
        let m = &mut self.models[model.index()];
        while m.ready
            && let Some(instance) = m.instances.start_another(m.caps.instances.get())
        {
            actions.push(Action::StartInstance { model, instance });
        }
    }
}

/// Answers the requests at the head of the queue that would be late if a batch of up to `limit`
/// items started now: running them keeps no deadline, and costs others theirs.
fn shed_hopeless(
    m: &mut Model,
    limit: u32,
    running: &Running,
    interference: &Interference,
    now: Nanos,
    actions: &mut Vec<Action>,
) {
    if !m.predictor.is_fresh(now) {
        return;
    }
    while let Some(head) = m.queue.requests().front() {
        let items = BatchSize(m.queue.items().min(limit).max(head.items.0));
        let Some(needed) = execution_time(m, items, running, interference, now) else { return };
        let left = head.deadline - now;
        if needed <= left {
            return;
        }
        let Some(request) = m.queue.pop() else { return };
        m.answer(request, Outcome::Infeasible { needed, left }, now, actions);
    }
}

/// What a batch is judged to take that starts now. Beside what runs it is slow, but that will end.
/// How much of that is counted on depends on how many deadlines the model keeps: almost all, and one
/// more is worth the try; not nearly, and what may well be late takes time from what would not.
fn execution_time(
    m: &Model,
    items: BatchSize,
    running: &Running,
    interference: &Interference,
    now: Nanos,
) -> Option<Nanos> {
    let alone = m.predictor.alone(items)?;
    let batch = interference.imprint(&m.predictor.footprint(items));
    let beside = alone.scale(interference.multiplier(&batch, running.all()));
    if running.load() + batch.share() <= 1.0 {
        return Some(beside);
    }
    let ahead: u64 = running.runs().iter().map(|run| run.device_time_left(now).0).sum();
    let sooner = beside - Nanos(ahead + alone.0);
    let (least, full) = TRUSTED_HIT_RATES;
    let trust = (m.recent_hit_rate() - least) / (full - least);
    Some(beside - sooner.scale(TRUSTED_SHARE * trust.clamp(0.0, 1.0)))
}
