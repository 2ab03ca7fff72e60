//! What one request costs inside the pipeline, virtual time: arrival, batch, completion.
//!
//! `cargo bench --bench pipeline`. One iteration is one request on its whole way; with six models
//! of eight instance slots, as on a busy device.

use bcedge::config::PolicyConfig;
use bcedge::pipeline::{Action, Event, ModelSettings, Pipeline, Request, Settings};
use bcedge::scheduler::{self, Predictor};
use bcedge::units::{BatchSize, InstanceCount, ModelId, Nanos, RequestId};
use criterion::{Criterion, criterion_group, criterion_main};
use std::collections::VecDeque;
use std::hint::black_box;

const MODELS: u16 = 6;
const EXECUTION: Nanos = Nanos::from_millis(4);

/// An appliance at a load that keeps batches forming.
struct Rig {
    pipeline: Pipeline,
    now: Nanos,
    next_id: u64,
    running: VecDeque<(Nanos, ModelId, u16)>,
    actions: Vec<Action>,
}

impl Rig {
    fn new(policy: &PolicyConfig) -> Rig {
        let settings = Settings {
            slot: Nanos::from_millis(50),
            feasible_only: true,
            hang_factor: 20.0,
            hang_floor: Nanos::from_millis(10_000),
        };
        let models =
            [ModelSettings { slo: Nanos::from_millis(100), queue_bound: 256 }; MODELS as usize];
        let policies = models.iter().map(|_| scheduler::make(policy)).collect();
        let mut rig = Rig {
            pipeline: Pipeline::new(settings, &models, policies),
            now: Nanos::ZERO,
            next_id: 0,
            running: VecDeque::new(),
            actions: Vec::new(),
        };
        for model in (0..MODELS).map(ModelId) {
            rig.step(Event::ModelReady {
                model,
                max_batch: BatchSize(32),
                max_instances: InstanceCount(8),
                predictor: Predictor::new(&[(BatchSize(1), EXECUTION), (BatchSize(32), EXECUTION)])
                    .with_demand(0.25),
            });
        }
        rig
    }

    fn step(&mut self, event: Event) {
        let mut actions = std::mem::take(&mut self.actions);
        self.pipeline.step(event, self.now, &mut actions);
        for action in actions.drain(..) {
            match action {
                Action::Run { model, instance } => {
                    self.running.push_back((self.now + EXECUTION, model, instance));
                }
                Action::StartInstance { model, instance } => {
                    let mut ready = Vec::new();
                    let event = Event::InstanceReady { model, instance };
                    self.pipeline.step(event, self.now, &mut ready);
                }
                other => drop(black_box(other)),
            }
        }
        self.actions = actions;
    }

    /// One request arrives, 20 µs after the last; batches that are due end before it.
    fn request(&mut self) {
        let arrival = self.now + Nanos::from_micros(20);
        while let Some(&(due, model, instance)) = self.running.front()
            && due <= arrival
        {
            self.running.pop_front();
            self.now = due;
            self.step(Event::BatchDone { model, instance, ok: true });
        }
        self.now = arrival;
        self.next_id += 1;
        self.step(Event::Arrive(Request {
            id: RequestId(self.next_id),
            model: ModelId((self.next_id % u64::from(MODELS)) as u16),
            items: BatchSize::ONE,
            priority: u32::MAX,
            arrival,
            deadline: arrival + Nanos::from_millis(100),
            queue_until: Nanos::MAX,
        }));
    }
}

fn requests(c: &mut Criterion) {
    let policies = [
        ("fixed", PolicyConfig::Fixed { batch: 32, instances: 4 }),
        (
            "triton",
            PolicyConfig::Triton {
                preferred_batch_sizes: vec![8, 16],
                max_queue_delay_us: 2_000,
                instances: 4,
            },
        ),
        ("deadline", PolicyConfig::Deadline),
    ];
    for (name, policy) in policies {
        let mut rig = Rig::new(&policy);
        c.bench_function(&format!("one request, {name}"), |b| b.iter(|| rig.request()));
    }
}

criterion_group!(benches, requests);
criterion_main!(benches);
