//! `lookahead`: the scheduler of EdgeServing ("EdgeServing: Deadline-Aware Multi-DNN Serving at the
//! Edge", arXiv 2605.05527, and the authors' published source) without early exits.
//!
//! The models take turns: one batch at a time has the whole device, which makes its execution time
//! predictable. Whenever the device is free, the stability score tells of every model how all
//! queues would stand when its batch ends,
//!
//! ```text
//! score = sum over all requests still waiting then of min(exp(s (w / slo - 1)), 10)
//! ```
//!
//! with w the time since the request's arrival, and the model with the lowest score goes next, with
//! all that waits for it up to its largest batch. It never waits for company.
//!
//! The steepness s is 1 in the source; it is tuned here. Smaller batches as further candidates were
//! tried and starved the slow models. The source's exits (how much of the network a batch runs
//! through) are left out: an engine has one output.

use super::{Caps, DeviceView, Dispatch, Policy, Reason};
use crate::units::{BatchSize, InstanceCount, ModelId, Nanos};

pub(super) const NAME: &str = "lookahead";

/// One request counts no more than this.
const MOST: f64 = 10.0;

#[derive(Debug)]
pub(super) struct Lookahead {
    steepness: f64,
    /// That it governs.
    models: Vec<ModelId>,
}

impl Lookahead {
    /// `steepness`: how much more urgent a request has become when it has waited for its SLO, as
    /// the logarithm of the factor.
    pub(super) fn new(steepness: f64) -> Lookahead {
        Lookahead { steepness, models: Vec::new() }
    }

    /// The stability score when the first `items` of `chosen` have run, at `end`.
    fn score(&self, device: &DeviceView<'_>, chosen: ModelId, items: u32, end: Nanos) -> f64 {
        let mut score = 0.0;
        for &id in &self.models {
            let mut served = if id == chosen { items } else { 0 };
            for request in device.of(id).queue {
                if served > 0 {
                    served = served.saturating_sub(request.items.0);
                    continue;
                }
                let slo = (request.deadline - request.arrival).0.max(1) as f64;
                let waited = (end - request.arrival).0 as f64;
                score += (self.steepness * (waited / slo - 1.0)).exp().min(MOST);
            }
        }
        score
    }
}

impl Policy for Lookahead {
    fn name(&self) -> &'static str {
        NAME
    }

    fn decide(&mut self, device: &DeviceView<'_>, models: &[ModelId], caps: &mut [Caps]) {
        self.models.clear();
        self.models.extend_from_slice(models);
        for (&model, caps) in models.iter().zip(caps) {
            let batch = device.of(model).max_batch;
            *caps = Caps { batch, instances: InstanceCount::ONE, reason: Reason::TakesTurns };
        }
    }

    fn dispatch(&mut self, device: &DeviceView<'_>, ready: &[ModelId]) -> Dispatch {
        if device.runs.iter().any(|run| self.models.contains(&run.model)) {
            return Dispatch::WaitUntil(Nanos::MAX);
        }
        let mut best = (f64::INFINITY, ready[0], device.of(ready[0]).caps.batch);
        for &id in ready {
            let model = device.of(id);
            let items = BatchSize(model.queued_items.min(model.caps.batch.0));
            // Before the first measurement it goes at once, to be measured.
            let Some(took) = device.execution(&model, items) else {
                return Dispatch::Start(id, model.caps.batch);
            };
            let score = self.score(device, id, items.0, device.now + took);
            if score < best.0 {
                best = (score, id, items);
            }
        }
        Dispatch::Start(best.1, best.2)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TestModel, with_view};
    use super::super::{Interference, Predictor, Running, Start};
    use super::*;

    fn ms(millis: u64) -> Nanos {
        Nanos::from_millis(millis)
    }

    /// Executions of `fixed` ms and 1 ms an item.
    fn model(slo_ms: u64, fixed: u64) -> TestModel {
        TestModel::new(
            slo_ms,
            Predictor::new(&[(BatchSize(1), ms(fixed + 1)), (BatchSize(8), ms(fixed + 8))]),
        )
    }

    fn ask(models: &[TestModel], running: &Running, now: u64) -> Dispatch {
        let ids: Vec<ModelId> = (0..models.len() as u16).map(ModelId).collect();
        let mut policy = Lookahead::new(1.0);
        with_view(models, running, ms(now), |device| {
            let mut caps: Vec<Caps> = models.iter().map(|model| model.caps).collect();
            policy.decide(device, &ids, &mut caps);
            assert!(caps.iter().all(|caps| caps.instances == InstanceCount::ONE));
            policy.dispatch(device, &ids)
        })
    }

    fn start(model: u16, items: u32) -> Dispatch {
        Dispatch::Start(ModelId(model), BatchSize(items))
    }

    #[test]
    fn the_model_goes_first_whose_batch_leaves_all_queues_best() {
        // The longer queue leaves less behind, although the other's deadline comes first.
        let models = [model(100, 10).waiting(0, &[100]), model(101, 10).waiting(0, &[101; 5])];
        assert_eq!(ask(&models, &Running::default(), 10), start(1, 5));
        // But not when its batch takes so long that the waiting request of the first gets urgent.
        let models = [model(100, 2).waiting(0, &[100]), model(300, 90).waiting(0, &[300; 2])];
        assert_eq!(ask(&models, &Running::default(), 10), start(0, 1));
    }

    #[test]
    fn the_score_is_that_of_the_paper() {
        let models = [model(100, 9).waiting(0, &[100, 100]), model(200, 9).waiting(20, &[220])];
        let mut policy = Lookahead::new(1.0);
        policy.models = vec![ModelId(0), ModelId(1)];
        let score = with_view(&models, &Running::default(), ms(40), |device| {
            policy.score(device, ModelId(0), 1, ms(60))
        });
        let expected = (60.0f64 / 100.0 - 1.0).exp() + (40.0f64 / 200.0 - 1.0).exp();
        assert!((score - expected).abs() < 1e-12, "{score}");
        let late = with_view(&models, &Running::default(), ms(40), |device| {
            policy.score(device, ModelId(0), 2, ms(10_000))
        });
        assert_eq!(late, MOST);
    }

    #[test]
    fn one_batch_at_a_time_has_the_device() {
        let models = [model(100, 10).waiting(0, &[100]), model(100, 10)];
        let mut running = Running::default();
        let start = Start {
            model: ModelId(1),
            instance: 0,
            items: BatchSize(1),
            requests: 1,
            deadline: Nanos::MAX,
        };
        running.start(start, &models[1].predictor, &Interference::default(), ms(0));
        assert_eq!(ask(&models, &running, 10), Dispatch::WaitUntil(Nanos::MAX));
    }
}
