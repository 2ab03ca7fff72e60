//! `aimd`: the adaptive batching of Clipper (Crankshaw et al.: "Clipper: A Low-Latency Online
//! Prediction Serving System", NSDI 2017, section 4.3).
//!
//! The largest batch grows by a fixed step after each full batch that executes within the target,
//! and shrinks by a tenth after one that does not; just below the target it stays, as in Clipper's
//! source. No profile is used. A free instance takes what is there, or waits a little for a full
//! batch ("delayed batching").
//!
//! Clipper's target is the whole SLO; a request that just misses a batch is then late. So the target
//! is a share of the SLO here, and tuned. The number of a model's replicas is the operator's choice
//! in Clipper too; it is tuned like the rest. They share one queue and one largest batch, because
//! they share the device.

use super::{Caps, DeviceView, Dispatch, Executed, Policy, Reason};
use crate::units::{BatchSize, InstanceCount, ModelId, Nanos};

pub(super) const NAME: &str = "aimd";

/// What is left of the largest batch after one that took too long.
const BACK_OFF: f64 = 0.9;
/// From this share of the target on the batch grows no more.
const CLOSE: f64 = 0.9;
/// More full batches than that can't be under way: some of them were lost.
const MOST_UNDER_WAY: usize = 64;

/// What the operator sets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Share of the SLO that the execution of a batch may take.
    pub(super) target: f64,
    /// Items added after a full batch below the target.
    pub(super) step: u32,
    pub(super) max_queue_delay: Nanos,
    pub(super) instances: InstanceCount,
}

#[derive(Debug)]
pub(super) struct Aimd {
    settings: Settings,
    limit: u32,
    max_batch: u32,
    target: Nanos,
    /// When the full batches under way began: a smaller one says nothing about the limit.
    full: Vec<Nanos>,
}

impl Aimd {
    pub(super) fn new(settings: Settings) -> Aimd {
        let full = Vec::with_capacity(MOST_UNDER_WAY);
        Aimd { settings, limit: 1, max_batch: 1, target: Nanos::ZERO, full }
    }
}

impl Policy for Aimd {
    fn name(&self) -> &'static str {
        NAME
    }

    fn decide(&mut self, device: &DeviceView<'_>, models: &[ModelId], caps: &mut [Caps]) {
        for (&model, caps) in models.iter().zip(caps) {
            let model = device.of(model);
            self.max_batch = model.max_batch.0;
            self.target = model.slo.scale(self.settings.target);
            self.limit = self.limit.min(self.max_batch);
            *caps = Caps {
                batch: BatchSize(self.limit),
                instances: self.settings.instances,
                reason: Reason::Measured,
            };
        }
    }

    fn dispatch(&mut self, device: &DeviceView<'_>, ready: &[ModelId]) -> Dispatch {
        let id = ready[0];
        let model = device.of(id);
        let limit = self.limit.min(model.caps.batch.0);
        if model.queued_items >= limit {
            if self.full.len() >= MOST_UNDER_WAY {
                self.full.clear();
            }
            self.full.push(device.now);
            return Dispatch::Start(id, BatchSize(limit));
        }
        let oldest = model.oldest_arrival().unwrap_or(device.now);
        let patience = oldest + self.settings.max_queue_delay;
        if device.now >= patience {
            return Dispatch::Start(id, BatchSize(limit));
        }
        Dispatch::WaitUntil(patience)
    }

    fn executed(&mut self, batch: &Executed) {
        let Some(at) = self.full.iter().position(|&since| since == batch.since) else { return };
        self.full.swap_remove(at);
        let items = batch.items.0;
        if batch.took >= self.target {
            self.limit = (f64::from(items) * BACK_OFF) as u32;
        } else if batch.took < self.target.scale(CLOSE) {
            // One of several instances can be behind the others.
            self.limit = self.limit.max(items + self.settings.step);
        }
        self.limit = self.limit.clamp(1, self.max_batch);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TestModel, with_view};
    use super::super::{Predictor, Running};
    use super::*;

    /// Half of 100 ms for an execution.
    const SETTINGS: Settings = Settings {
        target: 0.5,
        step: 2,
        max_queue_delay: Nanos::ZERO,
        instances: InstanceCount(2),
    };

    fn ms(millis: u64) -> Nanos {
        Nanos::from_millis(millis)
    }

    /// Asks at `now` with so many items waiting since 10 ms, under the caps it has just set.
    fn ask(policy: &mut Aimd, queued_items: usize, now: u64) -> (Caps, Dispatch) {
        let mut model =
            TestModel::new(100, Predictor::default()).waiting(10, &vec![110; queued_items]);
        model.max_batch = 32;
        let id = [ModelId(0)];
        let mut caps = [model.caps];
        let running = Running::default();
        with_view(std::slice::from_ref(&model), &running, ms(now), |device| {
            policy.decide(device, &id, &mut caps);
        });
        model.caps = caps[0];
        let dispatch =
            with_view(&[model], &running, ms(now), |device| policy.dispatch(device, &id));
        (caps[0], dispatch)
    }

    /// Starts a batch from a queue of so many items, which then takes so long.
    fn run(policy: &mut Aimd, queued_items: usize, took_ms: u64) -> u32 {
        let (_, dispatch) = ask(policy, queued_items, 50);
        let Dispatch::Start(model, batch) = dispatch else { panic!("{dispatch:?}") };
        let items = BatchSize(batch.0.min(queued_items as u32));
        policy.executed(&Executed { model, items, since: ms(50), took: ms(took_ms) });
        items.0
    }

    #[test]
    fn the_batch_grows_by_a_step_and_shrinks_by_a_tenth() {
        let mut policy = Aimd::new(SETTINGS);
        let sizes: Vec<u32> = (0..6).map(|_| run(&mut policy, 100, 20)).collect();
        assert_eq!(sizes, [1, 3, 5, 7, 9, 11]);
        assert_eq!(run(&mut policy, 100, 60), 13, "exceeds 50 ms");
        assert_eq!(run(&mut policy, 100, 47), 11, "0.9 × 13, and now close to the target");
        assert_eq!(run(&mut policy, 100, 50), 11, "where it neither grows nor shrinks");
        assert_eq!(run(&mut policy, 100, 20), 9, "0.9 × 11");
    }

    #[test]
    fn only_full_batches_count() {
        let mut policy = Aimd::new(SETTINGS);
        (0..4).for_each(|_| _ = run(&mut policy, 100, 20));
        assert_eq!(run(&mut policy, 4, 90), 4, "of 9");
        assert_eq!(run(&mut policy, 100, 20), 9);
    }

    #[test]
    fn it_stays_between_one_item_and_what_the_model_can_do() {
        let mut policy = Aimd::new(SETTINGS);
        for _ in 0..3 {
            assert_eq!(run(&mut policy, 100, 80), 1);
        }
        (0..40).for_each(|_| _ = run(&mut policy, 100, 1));
        assert_eq!(run(&mut policy, 100, 1), 32);
        let (caps, _) = ask(&mut policy, 1, 60);
        assert_eq!((caps.batch, caps.instances), (BatchSize(32), InstanceCount(2)));
    }

    #[test]
    fn waits_for_a_full_batch_no_longer_than_the_delay() {
        let mut policy = Aimd::new(Settings { max_queue_delay: ms(5), ..SETTINGS });
        run(&mut policy, 100, 20);
        assert_eq!(ask(&mut policy, 2, 12).1, Dispatch::WaitUntil(ms(15)));
        assert_eq!(ask(&mut policy, 2, 15).1, Dispatch::Start(ModelId(0), BatchSize(3)));
        assert_eq!(ask(&mut policy, 3, 12).1, Dispatch::Start(ModelId(0), BatchSize(3)), "full");
    }
}
