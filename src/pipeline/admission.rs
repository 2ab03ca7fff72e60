//! Whether a request is let in: room in the queue, and a chance to be in time.

use super::model::Model;
use super::{Outcome, Request};
use crate::units::{BatchSize, Nanos};

/// How a request is turned away that the model can't hold; `None` when it can.
pub(super) fn refuse(model: &Model) -> Option<Outcome> {
    if !model.ready {
        return Some(Outcome::ModelNotReady);
    }
    model.queue.is_full().then_some(Outcome::QueueFull { bound: model.queue.bound() })
}

/// As [`refuse`], and also what can't be in time. A device `at_leisure` may as well try: nobody
/// else wants the time, and a prediction that has become too high is put right.
pub(super) fn refuse_infeasible(
    model: &Model,
    request: &Request,
    at_leisure: bool,
    now: Nanos,
) -> Option<Outcome> {
    if let Some(outcome) = refuse(model) {
        return Some(outcome);
    }
    if request.deadline <= now {
        return Some(Outcome::DeadlinePassed);
    }
    if at_leisure {
        return None;
    }
    let left = request.deadline - now;
    let needed = time_to_answer(model, request, now)?;
    (needed > left).then_some(Outcome::Infeasible { needed, left })
}

/// Predicted time from now to this request's answer: until an instance is free, then the batches
/// ahead of it in deadline order side by side on the allowed instances, then its own. `None` while
/// no fresh prediction can say.
fn time_to_answer(model: &Model, request: &Request, now: Nanos) -> Option<Nanos> {
    if !model.predictor.is_fresh(now) {
        return None;
    }
    let items = model.queue.items_ahead(request) + request.items.0;
    let batch = model.caps.batch.0.max(1);
    let lanes = u32::from(model.caps.instances.0.max(1));
    let rounds = items.div_ceil(batch).div_ceil(lanes);
    let execution = model.predictor.predict(BatchSize(items.min(batch)))?;
    Some(time_to_free(model, now) + Nanos(execution.0.saturating_mul(u64::from(rounds))))
}

fn time_to_free(model: &Model, now: Nanos) -> Nanos {
    if model.instances.running() < u32::from(model.caps.instances.0) {
        return Nanos::ZERO;
    }
    let Some((since, items)) = model.instances.earliest_start() else { return Nanos::ZERO };
    let execution = model.predictor.predict(items).unwrap_or(Nanos::ZERO);
    (since + execution) - now
}
