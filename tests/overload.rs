//! Overload in virtual time: what the real pipeline and policies still get done in time when more
//! comes than the device can do. One model, 10 ms and 2 ms an item, executions that scatter.

use bcedge::config::PolicyConfig;
use bcedge::pipeline::{Action, Event, ModelSettings, Outcome, Pipeline, Request, Settings};
use bcedge::scheduler::{self, Predictor};
use bcedge::units::{BatchSize, InstanceCount, ModelId, Nanos, RequestId};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

const MODEL: ModelId = ModelId(0);
const SLO: Nanos = Nanos::from_millis(100);
const MAX_BATCH: u32 = 8;
const SECONDS: u64 = 60;
/// Executions take between 1 - SCATTER and 1 + SCATTER times what they should.
const SCATTER: f64 = 0.2;

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    arrived: u64,
    met: u64,
    late: u64,
    batches: u64,
    items: u64,
}

impl Tally {
    fn goodput(&self) -> f64 {
        self.met as f64 / SECONDS as f64
    }

    fn mean_batch(&self) -> f64 {
        self.items as f64 / self.batches as f64
    }
}

fn execution(items: u32) -> Nanos {
    Nanos::from_millis(10 + 2 * u64::from(items))
}

/// Items a second with nothing but full batches.
fn capacity(instances: u16) -> f64 {
    f64::from(instances) * f64::from(MAX_BATCH) / execution(MAX_BATCH).as_secs_f64()
}

struct World {
    pipeline: Pipeline,
    rng: Xoshiro256PlusPlus,
    now: Nanos,
    next_arrival: Nanos,
    /// When a running batch ends, and whose it is.
    ends: BinaryHeap<Reverse<(Nanos, u16)>>,
    tally: Tally,
}

impl World {
    fn new(policy: &PolicyConfig, instances: u16, feasible_only: bool) -> World {
        let settings = Settings {
            slot: Nanos::from_millis(50),
            feasible_only,
            hang_factor: 20.0,
            hang_floor: Nanos::from_millis(10_000),
        };
        let model = ModelSettings { slo: SLO, queue_bound: 256 };
        let mut world = World {
            pipeline: Pipeline::new(settings, &[model], vec![scheduler::make(policy)]),
            rng: Xoshiro256PlusPlus::seed_from_u64(7),
            now: Nanos::ZERO,
            next_arrival: Nanos::ZERO,
            ends: BinaryHeap::new(),
            tally: Tally::default(),
        };
        world.step(Event::ModelReady {
            model: MODEL,
            max_batch: BatchSize(MAX_BATCH),
            max_instances: InstanceCount(instances),
            predictor: Predictor::new(&[1, 2, 4, 8].map(|n| (BatchSize(n), execution(n))))
                .with_demand(1.0 / f64::from(instances)),
        });
        for instance in 0..instances {
            world.step(Event::InstanceReady { model: MODEL, instance });
        }
        world
    }

    /// Poisson arrivals at `rate`.
    fn run(mut self, rate: f64) -> Tally {
        loop {
            let end = self.ends.peek().map_or(Nanos::MAX, |next| next.0.0);
            let wake = self.pipeline.next_wake(self.now);
            self.now = end.min(self.next_arrival).min(wake);
            if self.now >= Nanos::from_millis(1_000 * SECONDS) {
                return self.tally;
            }
            if self.now == end {
                let Some(Reverse((_, instance))) = self.ends.pop() else { return self.tally };
                self.step(Event::BatchDone { model: MODEL, instance, ok: true });
            } else if self.now == self.next_arrival {
                self.arrive();
                let gap_s = -(1.0 - self.rng.random::<f64>()).ln() / rate;
                self.next_arrival += Nanos::from_secs_f64(gap_s);
            } else {
                self.step(Event::Tick);
            }
        }
    }

    fn arrive(&mut self) {
        self.tally.arrived += 1;
        self.step(Event::Arrive(Request {
            id: RequestId(self.tally.arrived),
            model: MODEL,
            items: BatchSize::ONE,
            priority: 1,
            arrival: self.now,
            deadline: self.now + SLO,
            queue_until: Nanos::MAX,
        }));
    }

    fn step(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.pipeline.step(event, self.now, &mut actions);
        for action in actions {
            match action {
                Action::Run { instance, .. } => self.begin(instance),
                Action::Answer { outcome: Outcome::Completed(done), .. } => {
                    self.tally.met += u64::from(done.slo_met);
                    self.tally.late += u64::from(!done.slo_met);
                }
                Action::Answer { .. } | Action::StartInstance { .. } => {}
                Action::RunAhead { .. } => panic!("nobody takes batches ahead here"),
                Action::AbandonInstance { .. } => panic!("nothing hangs here"),
            }
        }
    }

    fn begin(&mut self, instance: u16) {
        let items = self.pipeline.batch(MODEL, instance).len() as u32;
        self.tally.batches += 1;
        self.tally.items += u64::from(items);
        let scatter = self.rng.random_range(1.0 - SCATTER..1.0 + SCATTER);
        self.ends.push(Reverse((self.now + execution(items).scale(scatter), instance)));
    }
}

fn policies(instances: u16) -> [PolicyConfig; 3] {
    let instances = instances.into();
    [
        PolicyConfig::Deadline,
        PolicyConfig::Fixed { batch: MAX_BATCH, instances },
        PolicyConfig::Triton {
            preferred_batch_sizes: vec![],
            max_queue_delay_us: 2_000,
            instances,
        },
    ]
}

#[test]
fn under_overload_the_device_works_at_capacity_and_hardly_anything_is_late() {
    for instances in [1, 2] {
        for load in [1.1, 1.5, 2.0, 3.0] {
            for policy in policies(instances) {
                let full = capacity(instances);
                let tally = World::new(&policy, instances, true).run(load * full);
                let what = format!("{policy:?}, {instances} instances, load {load}: {tally:?}");
                assert!(tally.goodput() > 0.95 * full, "{what}");
                assert!((tally.late as f64) < 0.02 * tally.met as f64, "{what}");
            }
        }
    }
}

#[test]
fn below_capacity_nearly_all_are_in_time() {
    for policy in policies(2) {
        let tally = World::new(&policy, 2, true).run(0.8 * capacity(2));
        assert!(tally.met as f64 > 0.99 * tally.arrived as f64, "{policy:?}: {tally:?}");
    }
}

#[test]
fn without_admission_a_backlog_is_worked_off_in_full_batches() {
    let [deadline, fixed, _] = policies(1);
    for load in [0.95, 1.5] {
        let [deadline, fixed] =
            [&deadline, &fixed].map(|policy| World::new(policy, 1, false).run(load * capacity(1)));
        assert!(deadline.mean_batch() > 0.9 * fixed.mean_batch(), "{deadline:?} {fixed:?}");
        assert!(deadline.met as f64 > 0.9 * fixed.met as f64, "{deadline:?} {fixed:?}");
    }
}
