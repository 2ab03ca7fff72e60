//! `deadline`: waits for a fuller batch only while the oldest request's slack allows it and the
//! device has other work, judged by the predicted execution time.

use super::{Caps, DeviceView, Dispatch, ModelView, Policy, Predictor, Reason};
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

    fn decide(&mut self, device: &DeviceView<'_>, models: &[ModelId], caps: &mut [Caps]) {
        for (&model, caps) in models.iter().zip(caps) {
            *caps = slo_caps(&device.of(model));
        }
    }

    fn dispatch(&mut self, device: &DeviceView<'_>, ready: &[ModelId]) -> Dispatch {
        let id = ready[0];
        let model = device.of(id);
        let limit = model.caps.batch;
        let full = model.queued_items >= limit.0;
        let items = BatchSize(model.queued_items.min(limit.0));
        let imprint = device.imprint(&model, items);
        let multiplier = device.multiplier(&imprint);
        let (Some(alone), Some(head)) = (model.predictor.alone(items), model.head()) else {
            return Dispatch::Start(id, limit);
        };
        let device_is_free = device.load + imprint.share() <= 1.0;
        let latest_start = head.deadline - alone.scale(multiplier * SAFETY);
        if full || device_is_free || device.now >= latest_start {
            let batch = best_batch(&Queue { now: device.now, model: &model, multiplier }, items);
            return Dispatch::Start(id, batch);
        }
        Dispatch::WaitUntil(latest_start)
    }
}

/// All the instances there are, and the largest batch whose execution leaves room in the SLO.
pub(super) fn slo_caps(model: &ModelView<'_>) -> Caps {
    let room = model.slo.scale(EXECUTION_SHARE);
    let (batch, reason) = match model.predictor.predict(BatchSize::ONE) {
        None => (model.max_batch, Reason::NothingMeasured),
        Some(one) if one > room => (BatchSize::ONE, Reason::SloTooTight),
        Some(_) => (largest_within(model.predictor, room, model.max_batch), Reason::SloAllows),
    };
    Caps { batch, instances: model.max_instances, reason }
}

/// A queue whose head is about to be served beside neighbours that slow it so many times.
struct Queue<'a> {
    now: Nanos,
    model: &'a ModelView<'a>,
    multiplier: f64,
}

impl Queue<'_> {
    fn execution(&self, items: u32) -> Nanos {
        let alone = self.model.predictor.alone(BatchSize(items)).unwrap_or(Nanos::ZERO);
        alone.scale(self.multiplier)
    }
}

/// As many of the `ready` items as run within the slack of the one that comes first, unless a
/// fuller batch keeps more deadlines. Under overload the first item has always little slack left:
/// a scheduler that does all it can for it runs tiny batches only, and so loses most of the rest.
/// For an item that is late anyway no batch is made smaller.
fn best_batch(queue: &Queue<'_>, ready: BatchSize) -> BatchSize {
    let Some(head) = queue.model.head() else { return ready };
    let slack = head.deadline - queue.now;
    let is_lost = queue.execution(1) > slack;
    let gentle = largest(ready, |items| queue.execution(items) <= slack);
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
fn kept(queue: &Queue<'_>, batch: BatchSize) -> u32 {
    let end = queue.now + queue.execution(batch.0);
    let model = queue.model;
    let next = model.queued_items.saturating_sub(batch.0).min(model.caps.batch.0);
    let now_kept = model.in_time(0..batch.0, end);
    now_kept + model.in_time(batch.0..batch.0 + next, end + queue.execution(next))
}

/// The largest batch up to `limit` usually executed within `time`; at least one item.
fn largest_within(predictor: &Predictor, time: Nanos, limit: BatchSize) -> BatchSize {
    largest(limit, |items| predictor.predict(BatchSize(items)).is_none_or(|t| t <= time))
}

/// The largest batch up to `limit` that `fits`, which no larger one does when a smaller doesn't; at
/// least one item.
fn largest(limit: BatchSize, fits: impl Fn(u32) -> bool) -> BatchSize {
    let (mut low, mut high) = (1, limit.0.max(1));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) { low = middle } else { high = middle - 1 }
    }
    BatchSize(low)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TestModel, with_view};
    use super::super::{Interference, Running, Start};
    use super::*;

    /// 10 ms + 2 ms an item; half the device.
    fn predictor() -> Predictor {
        Predictor::new(&[(BatchSize(1), ms(12)), (BatchSize(8), ms(26))]).with_demand(0.5)
    }

    fn ms(millis: u64) -> Nanos {
        Nanos::from_millis(millis)
    }

    fn decide(slo_ms: u64, predictor: Predictor) -> Caps {
        let model = TestModel::new(slo_ms, predictor);
        let mut caps = [model.caps];
        with_view(&[model], &Running::default(), Nanos::ZERO, |device| {
            Deadline.decide(device, &[ModelId(0)], &mut caps);
        });
        caps[0]
    }

    fn running(batches: u16) -> Running {
        let mut running = Running::default();
        for instance in 0..batches {
            let start = Start {
                model: ModelId(0),
                instance,
                items: BatchSize(1),
                requests: 1,
                deadline: Nanos::MAX,
            };
            running.start(start, &predictor(), &Interference::default(), Nanos::ZERO);
        }
        running
    }

    fn ask(queue: &[u64], now: Nanos, batches: u16) -> Dispatch {
        let model = TestModel::new(100, predictor()).waiting(0, queue);
        with_view(&[model], &running(batches), now, |device| {
            Deadline.dispatch(device, &[ModelId(0)])
        })
    }

    fn start(batch: u32) -> Dispatch {
        Dispatch::Start(ModelId(0), BatchSize(batch))
    }

    #[test]
    fn the_batch_leaves_room_for_two_executions_in_the_slo() {
        assert_eq!(decide(100, predictor()).batch, BatchSize(8));
        assert_eq!(decide(40, predictor()).batch, BatchSize(5));
        let tight = decide(20, predictor());
        assert_eq!((tight.batch, tight.reason), (BatchSize(1), Reason::SloTooTight));
    }

    #[test]
    fn without_a_measurement_it_allows_all() {
        let caps = decide(20, Predictor::default());
        assert_eq!((caps.batch, caps.reason), (BatchSize(8), Reason::NothingMeasured));
    }

    #[test]
    fn an_idle_device_is_used_at_once() {
        assert_eq!(ask(&[100], ms(0), 1), start(1));
    }

    #[test]
    fn beside_other_work_it_waits_until_the_slack_is_gone() {
        // 12 ms × 1.5 beside two others × 2 before the deadline at 100 ms.
        assert_eq!(ask(&[100], ms(0), 2), Dispatch::WaitUntil(ms(64)));
        // By now only one item fits before the deadline.
        assert_eq!(ask(&[100], ms(87), 2), start(1));
        assert_eq!(ask(&[100; 8], ms(0), 2), start(8), "full");
    }

    fn take(queue: &[u64]) -> Dispatch {
        ask(queue, ms(0), 0)
    }

    #[test]
    fn an_urgent_item_gets_a_small_batch_when_the_others_can_wait() {
        assert_eq!(take(&[13, 90, 90]), start(1));
        assert_eq!(take(&[17, 90, 90, 90]), start(3));
    }

    #[test]
    fn an_urgent_item_does_not_cost_a_backlog_its_deadlines() {
        let backlog: Vec<u64> = (0..20).map(|i| 15 + 3 * i).collect();
        assert_eq!(take(&backlog), start(8));
    }

    #[test]
    fn for_an_item_that_is_late_anyway_no_batch_is_made_smaller() {
        assert_eq!(take(&[5; 20]), start(8));
        assert_eq!(take(&[5, 90, 90]), start(3));
    }
}
