//! `deadline`: waits for a fuller batch only while the oldest request's slack allows it and the
//! device has other work, judged by the predicted execution time.

use super::{Caps, Dispatch, Observation, Policy, Predictor, QueueView, Reason};
use crate::units::{BatchSize, ModelId, Nanos};

pub(super) const NAME: &str = "deadline";

/// Share of the SLO that one execution may take: a request that just misses a batch waits for it
/// to end and then runs itself, so two executions have to fit.
const EXECUTION_SHARE: f64 = 0.5;

/// A wait ends so many predicted executions before the deadline: a prediction is a mean, and
/// whoever else runs out of slack meanwhile starts too.
const SAFETY: f64 = 2.0;

#[derive(Debug)]
pub(super) struct Deadline;

impl Policy for Deadline {
    fn name(&self) -> &'static str {
        NAME
    }

    fn decide(&mut self, observation: &Observation, model: ModelId) -> Caps {
        let model = &observation.models[model.index()];
        let room = model.slo.scale(EXECUTION_SHARE);
        let (batch, reason) = match model.predictor.predict(BatchSize::ONE) {
            None => (model.max_batch, Reason::NothingMeasured),
            Some(one) if one > room => (BatchSize::ONE, Reason::SloTooTight),
            Some(_) => (largest_within(&model.predictor, room, model.max_batch), Reason::SloAllows),
        };
        Caps { batch, instances: model.max_instances, reason }
    }

    fn dispatch(&mut self, queue: &QueueView<'_>) -> Dispatch {
        let limit = queue.caps.batch;
        let full = queue.queued_items >= limit.0;
        let ready = BatchSize(queue.queued_items.min(limit.0));
        let Some(execution) = queue.predictor.predict(ready) else {
            return Dispatch::Take(limit);
        };
        let device_is_free = queue.crowding <= 1.0;
        let crowded = execution.scale(queue.crowding.max(1.0));
        let latest_start = queue.head_deadline - crowded.scale(SAFETY);
        if full || device_is_free || queue.now >= latest_start {
            return Dispatch::Take(best_batch(queue, ready));
        }
        Dispatch::WaitUntil(latest_start)
    }
}

/// As many of the `ready` items as run within the slack of the one that comes first, unless a
/// fuller batch keeps more deadlines. Under overload the first item has always little slack left:
/// a scheduler that does all it can for it runs tiny batches only, and so loses most of the rest.
/// For an item that is late anyway no batch is made smaller.
fn best_batch(queue: &QueueView<'_>, ready: BatchSize) -> BatchSize {
    let slack = queue.head_deadline - queue.now;
    let is_lost = queue.predictor.predict(BatchSize::ONE).is_some_and(|one| one > slack);
    let gentle = largest_within(queue.predictor, slack, ready);
    let mut best = (gentle, kept(queue, gentle));
    let mut batch = gentle;
    while batch < ready {
        batch = BatchSize((2 * batch.0).min(ready.0));
        let candidate = (batch, kept(queue, batch));
        if candidate.1 > best.1 || (is_lost && candidate.1 == best.1) {
            best = candidate;
        }
    }
    best.0
}

/// Items that are in time if `batch` of them run now and then the fullest batch of what is left.
fn kept(queue: &QueueView<'_>, batch: BatchSize) -> u32 {
    let time = |n: u32| queue.predictor.predict(BatchSize(n)).unwrap_or(Nanos::ZERO);
    let end = queue.now + time(batch.0);
    let next = queue.queued_items.saturating_sub(batch.0).min(queue.caps.batch.0);
    let now_kept = (queue.in_time)(0..batch.0, end);
    now_kept + (queue.in_time)(batch.0..batch.0 + next, end + time(next))
}

/// The largest batch up to `limit` predicted to execute within `time`; at least one item.
fn largest_within(predictor: &Predictor, time: Nanos, limit: BatchSize) -> BatchSize {
    let fits = |n: u32| predictor.predict(BatchSize(n)).is_none_or(|t| t <= time);
    // Predictions grow with the batch: bisect.
    let (mut low, mut high) = (1, limit.0.max(1));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) { low = middle } else { high = middle - 1 }
    }
    BatchSize(low)
}

#[cfg(test)]
mod tests {
    use super::super::ModelObservation;
    use super::*;
    use crate::units::InstanceCount;

    /// 10 ms + 2 ms an item.
    fn predictor() -> Predictor {
        Predictor::new(&[(BatchSize(1), ms(12)), (BatchSize(8), ms(26))])
    }

    fn ms(millis: u64) -> Nanos {
        Nanos::from_millis(millis)
    }

    fn decide(slo: Nanos, predictor: Predictor) -> Caps {
        let model = ModelObservation {
            slo,
            max_batch: BatchSize(8),
            max_instances: InstanceCount(3),
            queued_items: 0,
            running: 0,
            arrival_rate: 0.0,
            predictor,
        };
        let observation = Observation { now: Nanos::ZERO, models: vec![model] };
        Deadline.decide(&observation, ModelId(0))
    }

    fn ask(queued_items: u32, now: Nanos, device_free: bool) -> Dispatch {
        Deadline.dispatch(&QueueView {
            now,
            queued_items,
            head_deadline: ms(100),
            oldest_arrival: &|| Nanos::ZERO,
            in_time: &|items, end| if end <= ms(100) { items.end - items.start } else { 0 },
            caps: Caps {
                batch: BatchSize(8),
                instances: InstanceCount(1),
                reason: Reason::SloAllows,
            },
            crowding: if device_free { 0.5 } else { 1.5 },
            predictor: &predictor(),
        })
    }

    #[test]
    fn the_batch_leaves_room_for_two_executions_in_the_slo() {
        assert_eq!(decide(ms(100), predictor()).batch, BatchSize(8));
        assert_eq!(decide(ms(40), predictor()).batch, BatchSize(5));
        let tight = decide(ms(20), predictor());
        assert_eq!((tight.batch, tight.reason), (BatchSize(1), Reason::SloTooTight));
    }

    #[test]
    fn without_a_measurement_it_allows_all() {
        let caps = decide(ms(20), Predictor::default());
        assert_eq!((caps.batch, caps.reason), (BatchSize(8), Reason::NothingMeasured));
    }

    #[test]
    fn an_idle_device_is_used_at_once() {
        assert_eq!(ask(1, ms(0), true), Dispatch::Take(BatchSize(1)));
    }

    #[test]
    fn beside_other_work_it_waits_until_the_slack_is_gone() {
        // 12 ms × 1.5 beside the others × 2 before the deadline at 100 ms.
        assert_eq!(ask(1, ms(0), false), Dispatch::WaitUntil(ms(64)));
        // By now only one item fits before the deadline.
        assert_eq!(ask(1, ms(87), false), Dispatch::Take(BatchSize(1)));
        assert_eq!(ask(8, ms(0), false), Dispatch::Take(BatchSize(8)), "full");
    }

    /// `queue` holds every item's deadline, in order; the device is free at time 0.
    fn take(queue: &[u64]) -> u32 {
        let in_time = |items: std::ops::Range<u32>, end: Nanos| {
            let items = &queue[items.start as usize..items.end as usize];
            items.iter().filter(|&&deadline| ms(deadline) >= end).count() as u32
        };
        let taken = Deadline.dispatch(&QueueView {
            now: ms(0),
            queued_items: queue.len() as u32,
            head_deadline: ms(queue[0]),
            oldest_arrival: &|| Nanos::ZERO,
            in_time: &in_time,
            caps: decide(ms(100), predictor()),
            crowding: 1.0,
            predictor: &predictor(),
        });
        let Dispatch::Take(batch) = taken else { panic!("the device is free: {taken:?}") };
        batch.0
    }

    #[test]
    fn an_urgent_item_gets_a_small_batch_when_the_others_can_wait() {
        assert_eq!(take(&[13, 90, 90]), 1);
        assert_eq!(take(&[17, 90, 90, 90]), 3);
    }

    #[test]
    fn an_urgent_item_does_not_cost_a_backlog_its_deadlines() {
        let backlog: Vec<u64> = (0..20).map(|i| 15 + 3 * i).collect();
        assert_eq!(take(&backlog), 8);
    }

    #[test]
    fn for_an_item_that_is_late_anyway_no_batch_is_made_smaller() {
        assert_eq!(take(&[5; 20]), 8);
        assert_eq!(take(&[5, 90, 90]), 3);
    }
}
