//! A device made by hand, for the tests of the policies.

use super::*;
use std::collections::VecDeque;

/// One model of it.
#[derive(Clone)]
pub(super) struct TestModel {
    pub(super) slo: Nanos,
    pub(super) max_batch: u32,
    pub(super) max_instances: u16,
    pub(super) caps: Caps,
    /// Arrival and deadline of each waiting request, in milliseconds.
    pub(super) queue: VecDeque<Request>,
    pub(super) predictor: Predictor,
    pub(super) demand: Demand,
    pub(super) tally: Tally,
}

impl TestModel {
    pub(super) fn new(slo_ms: u64, predictor: Predictor) -> TestModel {
        let caps =
            Caps { batch: BatchSize(8), instances: InstanceCount(1), reason: Reason::Configured };
        TestModel {
            slo: Nanos::from_millis(slo_ms),
            max_batch: 8,
            max_instances: 3,
            caps,
            queue: VecDeque::new(),
            predictor,
            demand: Demand::default(),
            tally: Tally::default(),
        }
    }

    /// Requests of one item with these deadlines, in milliseconds, that arrived at `arrival_ms`.
    pub(super) fn waiting(mut self, arrival_ms: u64, deadlines_ms: &[u64]) -> TestModel {
        self.queue.extend(deadlines_ms.iter().map(|&deadline| Request {
            id: crate::units::RequestId(deadline),
            model: ModelId(0),
            items: BatchSize(1),
            priority: 1,
            arrival: Nanos::from_millis(arrival_ms),
            deadline: Nanos::from_millis(deadline),
            queue_until: Nanos::MAX,
        }));
        self
    }
}

/// Shows `models` to `act` at `now`, with `running` under way.
pub(super) fn with_view<R>(
    models: &[TestModel],
    running: &Running,
    now: Nanos,
    act: impl FnOnce(&DeviceView<'_>) -> R,
) -> R {
    let view = |id: ModelId| {
        let m = &models[id.index()];
        ModelView {
            ready: true,
            slo: m.slo,
            max_batch: BatchSize(m.max_batch),
            max_instances: InstanceCount(m.max_instances),
            caps: m.caps,
            queue: &m.queue,
            queued_items: m.queue.iter().map(|r| r.items.0).sum(),
            queue_bound: 256,
            running: running.runs().iter().filter(|run| run.model == id).count() as u32,
            can_start: !m.queue.is_empty(),
            predictor: &m.predictor,
            demand: m.demand,
            tally: &m.tally,
        }
    };
    act(&DeviceView {
        now,
        runs: running.runs(),
        running: running.all(),
        load: running.load(),
        interference: &Interference::default(),
        models: models.len(),
        model: &view,
    })
}
