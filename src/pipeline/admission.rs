//! Whether a request is let in: room in the queue, and a chance to be in time.

use super::model::Model;
use super::{Outcome, Request};
use crate::units::{BatchSize, Nanos};

/// A wait is judged a little longer than predicted, because predictions are means: under overload
/// requests are let in up to the very brink, and without this half of them would be late. What a
/// request itself takes has no margin, so an idle model turns nothing away.
const WAIT_MARGIN: f64 = 1.25;

/// How many times too high a prediction may well be.
const DOUBT: f64 = 2.0;

/// How a request is turned away that the model can't hold; `None` when it can.
pub(super) fn refuse(model: &Model) -> Option<Outcome> {
    if !model.ready {
        return Some(Outcome::ModelNotReady);
    }
    model.queue.is_full().then_some(Outcome::QueueFull { bound: model.queue.bound() })
}

/// As [`refuse`], and also what can't be in time. A device `at_leisure` tries what is predicted to
/// be [a little](DOUBT) late: nobody else wants the time, and a prediction that has become too high
/// is put right.
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
    let left = request.deadline - now;
    let needed = time_to_answer(model, request, now)?;
    let bound = if at_leisure { left.scale(DOUBT) } else { left };
    (needed > bound).then_some(Outcome::Infeasible { needed, left })
}

/// Predicted time from now to this request's answer: until the instance that will run it is free,
/// through the batches ahead of it in deadline order side by side on the allowed instances, then
/// its own. `None` while no fresh prediction can say.
fn time_to_answer(model: &Model, request: &Request, now: Nanos) -> Option<Nanos> {
    if !model.predictor.is_fresh(now) {
        return None;
    }
    let batch = model.caps.batch.0.max(1);
    let lanes = u32::from(model.caps.instances.0).min(model.instances.alive()).max(1);
    let items = model.queue.items_ahead(request) + request.items.0;
    let batches_ahead = (items.max(1) - 1) / batch;
    let full = model.predictor.predict(BatchSize(batch))?;
    let queue = Nanos(full.0.saturating_mul(u64::from(batches_ahead / lanes)));
    let wait = time_to_free(model, batches_ahead % lanes, lanes, now) + queue;
    // A request with more items than a batch may have runs alone.
    let own = model.predictor.predict(BatchSize(items.min(batch).max(request.items.0)))?;
    Some(wait.scale(WAIT_MARGIN) + own)
}

/// When an instance is free for the batch that has `lane` others to start before it, all of them
/// less than there are lanes: instances become free one after the other.
fn time_to_free(model: &Model, lane: u32, lanes: u32, now: Nanos) -> Nanos {
    let running = model.instances.running();
    let ends_before = (lane + running).checked_sub(lanes);
    let takes = |items: BatchSize| match items {
        BatchSize(0) => Nanos::ZERO,
        items => model.predictor.predict(items).unwrap_or(Nanos::ZERO),
    };
    let left = |(since, items, ahead): (Nanos, BatchSize, BatchSize)| {
        ((since + takes(items)) - now) + takes(ahead)
    };
    // At most as many as instances, which are few: no need to sort them.
    let runs = || model.instances.runs().map(left);
    let is_next = |&time: &Nanos| runs().filter(|&other| other <= time).count() as u32;
    let next = ends_before.and_then(|n| runs().filter(|time| is_next(time) > n).min());
    next.unwrap_or(Nanos::ZERO)
}
