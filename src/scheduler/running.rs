//! The batches under way on the device, and how far each has come: they share it, so that each
//! start and end changes the speed of all others.

use super::{Footprint, Imprint, Interference, Neighbours, Predictor};
use crate::units::{BatchSize, ModelId, Nanos};

/// One batch under way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    pub model: ModelId,
    pub instance: u16,
    pub items: BatchSize,
    /// Requests in it.
    pub requests: u32,
    pub since: Nanos,
    /// Earliest deadline of its requests.
    pub deadline: Nanos,
    /// What it asks of the device …
    footprint: Footprint,
    /// … and what that means to it and its neighbours.
    pub imprint: Imprint,
    /// Its predicted execution time alone, ns.
    work: f64,
    /// Of that, done by `updated`, ns.
    done: f64,
    /// Work done per time at present: 1 over the multiplier beside the others.
    speed: f64,
    updated: Nanos,
}

impl Run {
    /// Work done by `now`, in ns of execution alone.
    fn done_by(&self, now: Nanos) -> f64 {
        self.done + (now - self.updated).0 as f64 * self.speed
    }

    /// Predicted time until it ends, if its neighbours stay; zero when it is overdue.
    pub fn left(&self, now: Nanos) -> Nanos {
        Nanos((self.work_left(now) / self.speed) as u64)
    }

    /// Work that is still to be done, in ns of execution alone.
    pub fn work_left(&self, now: Nanos) -> f64 {
        (self.work - self.done_by(now)).max(0.0)
    }

    /// Time of the whole device that it still needs.
    pub fn device_time_left(&self, now: Nanos) -> Nanos {
        Nanos((self.work_left(now) * self.imprint.share()) as u64)
    }

    /// How many times longer it takes beside its present neighbours than alone.
    pub fn multiplier(&self) -> f64 {
        1.0 / self.speed
    }

    /// Share of its work that is still to be done, from 1 down to 0.
    pub fn share_left(&self, now: Nanos) -> f64 {
        (1.0 - self.done_by(now) / self.work.max(1.0)).clamp(0.0, 1.0)
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Running {
    runs: Vec<Run>,
    all: Neighbours,
}

/// A batch that starts.
pub struct Start {
    pub model: ModelId,
    pub instance: u16,
    pub items: BatchSize,
    pub requests: u32,
    pub deadline: Nanos,
}

impl Running {
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// All of them summed up.
    pub fn all(&self) -> &Neighbours {
        &self.all
    }

    /// Sum of the shares of the device that they take.
    pub fn load(&self) -> f64 {
        self.all.share()
    }

    /// Adds a batch; its neighbours become slower.
    pub fn start(
        &mut self,
        start: Start,
        predictor: &Predictor,
        interference: &Interference,
        now: Nanos,
    ) {
        let Start { model, instance, items, requests, deadline } = start;
        let footprint = predictor.footprint(items);
        self.runs.push(Run {
            model,
            instance,
            items,
            requests,
            since: now,
            deadline,
            footprint,
            imprint: interference.imprint(&footprint),
            work: predictor.alone(items).unwrap_or(Nanos::ZERO).0 as f64,
            done: 0.0,
            speed: 1.0,
            updated: now,
        });
        self.settle(interference, now);
    }

    /// Takes a batch out that ended or was given up: how long it would have taken alone, judged by
    /// the neighbours it had, and how long it took. `None` if there is none.
    pub fn finish(
        &mut self,
        model: ModelId,
        instance: u16,
        interference: &Interference,
        now: Nanos,
    ) -> Option<(Nanos, Nanos)> {
        let at = self.runs.iter().position(|r| r.model == model && r.instance == instance)?;
        let run = self.runs.swap_remove(at);
        let alone = Nanos(run.done_by(now) as u64);
        self.settle(interference, now);
        Some((alone, now - run.since))
    }

    /// Forgets a model's batches.
    pub fn forget(&mut self, model: ModelId, interference: &Interference, now: Nanos) {
        self.runs.retain(|run| run.model != model);
        self.settle(interference, now);
    }

    /// How batches slow each other is known better now.
    pub fn learn(&mut self, interference: &Interference, now: Nanos) {
        for run in &mut self.runs {
            run.imprint = interference.imprint(&run.footprint);
        }
        self.settle(interference, now);
    }

    /// Brings every run's progress up to `now` and its speed to its present neighbours.
    fn settle(&mut self, interference: &Interference, now: Nanos) {
        self.all = Neighbours::default();
        self.runs.iter().for_each(|run| self.all.add(&run.imprint));
        for run in &mut self.runs {
            run.done = run.done_by(now);
            run.updated = now;
            let others = self.all.without(&run.imprint);
            run.speed = 1.0 / interference.multiplier(&run.imprint, &others);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Nanos {
        Nanos::from_millis(millis)
    }

    #[test]
    fn a_neighbour_for_half_the_time_costs_half_the_speed_meanwhile() {
        let interference = Interference::default();
        let predictor = Predictor::new(&[(BatchSize(1), ms(10))]);
        let mut running = Running::default();
        let start = |running: &mut Running, instance, now| {
            let start = Start {
                model: ModelId(0),
                instance,
                items: BatchSize(1),
                requests: 1,
                deadline: Nanos::MAX,
            };
            running.start(start, &predictor, &interference, now);
        };
        start(&mut running, 0, ms(0));
        assert_eq!(running.runs()[0].left(ms(4)), ms(6));
        start(&mut running, 1, ms(4));
        assert_eq!((running.load(), running.runs()[0].left(ms(4))), (2.0, ms(12)));
        assert_eq!(running.finish(ModelId(0), 1, &interference, ms(8)), Some((ms(2), ms(4))));
        assert_eq!(running.runs()[0].left(ms(8)), ms(4));
        assert_eq!(running.finish(ModelId(0), 0, &interference, ms(12)), Some((ms(10), ms(12))));
        assert_eq!(running.finish(ModelId(0), 0, &interference, ms(12)), None);
        assert_eq!(running.load(), 0.0);
    }
}
