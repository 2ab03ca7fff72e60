//! The pipeline against seeded random event sequences in virtual time: no threads, no sockets.
//!
//! Each seed makes up a small appliance (models, policies, limits), a load, and a world that
//! finishes, fails, loses and hangs batches; after every step the rules of the house are checked.

use bcedge::config::PolicyConfig;
use bcedge::pipeline::{
    Action, Event, ModelSettings, Outcome, Override, Pipeline, Request, Settings,
};
use bcedge::scheduler::{self, Predictor};
use bcedge::units::{BatchSize, InstanceCount, ModelId, Nanos, RequestId};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::{BTreeMap, BinaryHeap};
use std::hash::{DefaultHasher, Hash, Hasher};

const SEQUENCES: u64 = 100_000;
const EVENTS: usize = 60;
const HANG_FLOOR: Nanos = Nanos::from_millis(200);

/// Where a request is, as the checker knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Queued,
    Running {
        instance: u16,
    },
    /// With an instance that runs another batch.
    Ahead {
        instance: u16,
    },
}

/// Something the world will do to the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Future {
    Ready { model: u16, instance: u16, life: u32 },
    Done { model: u16, instance: u16, life: u32, ok: bool },
    Lost { model: u16, instance: u16, life: u32 },
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum InstanceState {
    #[default]
    None,
    Starting,
    Idle,
    Running,
}

struct ModelWorld {
    max_batch: u32,
    max_instances: u16,
    bound: u32,
    fixed: bool,
    up: bool,
    /// State and life of each slot; a message from an earlier life is dropped, as the live
    /// runtime drops an abandoned instance's.
    slots: Vec<(InstanceState, u32)>,
    /// Instances can be given a batch while they run one.
    takes_ahead: bool,
}

struct World {
    seed: u64,
    rng: Xoshiro256PlusPlus,
    pipeline: Pipeline,
    feasible_only: bool,
    now: Nanos,
    models: Vec<ModelWorld>,
    requests: BTreeMap<RequestId, (Request, Place)>,
    future: BinaryHeap<std::cmp::Reverse<(Nanos, u64, Future)>>,
    order: u64,
    next_id: u64,
    draining: bool,
    actions: Vec<Action>,
    trace: DefaultHasher,
    answers: Tally,
}

/// How often each kind of thing happened, over all seeds: a test that never saw an expiry would
/// prove nothing about expiries.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    completed: u64,
    late: u64,
    queue_full: u64,
    infeasible: u64,
    passed: u64,
    timed_out: u64,
    failed: u64,
    lost: u64,
    hung: u64,
    not_ready: u64,
    cancelled: u64,
    shut_down: u64,
    full_batches: u64,
    ahead: u64,
    ahead_lost: u64,
}

fn policy(rng: &mut Xoshiro256PlusPlus, max_batch: u32, max_instances: u16) -> PolicyConfig {
    let instances = u32::from(rng.random_range(1..=max_instances));
    match rng.random_range(0..9) {
        0 => PolicyConfig::Fixed { batch: rng.random_range(1..=max_batch), instances },
        1 => PolicyConfig::Triton {
            preferred_batch_sizes: vec![rng.random_range(1..=max_batch)],
            max_queue_delay_us: rng.random_range(0..20_000),
            instances,
        },
        2 => PolicyConfig::Deadline,
        3 => PolicyConfig::Aimd {
            latency_percent: rng.random_range(1..=100),
            step: rng.random_range(1..=4),
            max_queue_delay_us: rng.random_range(0..20_000),
            instances,
        },
        4 => PolicyConfig::DeepRt {
            window_percent: rng.random_range(1..=100),
            work_conserving: rng.random_bool(0.5),
        },
        5 => PolicyConfig::Lookahead { steepness: rng.random_range(1..=20) },
        // Several models under one joint policy shall be no rarity.
        6 => PolicyConfig::deeprt(),
        7 => PolicyConfig::lookahead(),
        _ => PolicyConfig::Planner,
    }
}

impl ModelWorld {
    /// Ends the instances that run nothing.
    fn dismiss_idle(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| slot.0 != InstanceState::Running) {
            *slot = (InstanceState::None, slot.1 + 1);
        }
    }
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut models = Vec::new();
        let mut settings = Vec::new();
        let mut policies = Vec::new();
        for _ in 0..rng.random_range(1..=3) {
            let (max_batch, max_instances) = (rng.random_range(1..=8), rng.random_range(1..=3));
            let bound = rng.random_range(1..=6);
            let config = policy(&mut rng, max_batch, max_instances);
            models.push(ModelWorld {
                max_batch,
                max_instances,
                bound,
                fixed: matches!(config, PolicyConfig::Fixed { .. }),
                up: false,
                slots: vec![Default::default(); max_instances as usize],
                takes_ahead: rng.random_bool(0.5),
            });
            settings.push(ModelSettings { slo: Nanos::from_millis(50), queue_bound: bound });
            policies.push(scheduler::make(&config));
        }
        let feasible_only = rng.random_bool(0.7);
        let house = Settings {
            slot: Nanos::from_millis(rng.random_range(1..=50)),
            feasible_only,
            hang_factor: 20.0,
            hang_floor: HANG_FLOOR,
        };
        let mut pipeline = Pipeline::new(house, &settings, policies);
        for (index, world) in models.iter().enumerate() {
            pipeline.set_takes_ahead(ModelId(index as u16), world.takes_ahead);
        }
        World {
            seed,
            pipeline,
            rng,
            feasible_only,
            now: Nanos::ZERO,
            models,
            requests: BTreeMap::new(),
            future: BinaryHeap::new(),
            order: 0,
            next_id: 0,
            draining: false,
            actions: Vec::new(),
            trace: DefaultHasher::new(),
            answers: Tally::default(),
        }
    }

    fn run(mut self) -> (u64, Tally) {
        for index in 0..self.models.len() {
            self.bring_up(index);
        }
        for _ in 0..EVENTS {
            let pause = Nanos::from_micros(self.rng.random_range(0..4_000));
            self.advance_to(self.now + pause);
            self.disturb();
        }
        self.step(Event::Drain);
        self.draining = true;
        // Hung instances are given up, the others finish: nothing can be left after a while.
        if self.rng.random_bool(0.5) {
            self.advance_to(self.now + Nanos::from_millis(300));
            self.arrive();
        }
        self.step(Event::Abort);
        assert!(
            self.requests.is_empty(),
            "seed {}: never answered: {:?}",
            self.seed,
            self.requests
        );
        assert!(self.pipeline.is_idle(), "seed {}", self.seed);
        (self.trace.finish(), self.answers)
    }

    /// Lets everything happen that is due up to `end`.
    fn advance_to(&mut self, end: Nanos) {
        loop {
            let wake = self.pipeline.next_wake(self.now);
            let due = self.future.peek().map_or(Nanos::MAX, |next| next.0.0);
            let next = wake.min(due).max(self.now);
            if next > end {
                break;
            }
            self.now = next;
            if due <= wake {
                if let Some(std::cmp::Reverse((_, _, future))) = self.future.pop() {
                    self.happen(future);
                }
            } else {
                self.step(Event::Tick);
            }
        }
        self.now = end;
    }

    fn happen(&mut self, future: Future) {
        let (model, instance, life, state) = match future {
            Future::Ready { model, instance, life } => {
                (model, instance, life, InstanceState::Starting)
            }
            Future::Done { model, instance, life, .. } | Future::Lost { model, instance, life } => {
                (model, instance, life, InstanceState::Running)
            }
        };
        let slot = &mut self.models[model as usize].slots[instance as usize];
        if *slot != (state, life) {
            return;
        }
        let id = ModelId(model);
        match future {
            Future::Ready { .. } => {
                slot.0 = InstanceState::Idle;
                self.step(Event::InstanceReady { model: id, instance });
            }
            Future::Done { ok, .. } => {
                slot.0 = InstanceState::Idle;
                // The batch that was handed ahead runs, from this very moment.
                let ahead = self.requests.values_mut().filter(|(request, place)| {
                    request.model == id && *place == Place::Ahead { instance }
                });
                let mut items = 0;
                let mut promoted = Vec::new();
                for (request, place) in ahead {
                    promoted.push(request.id);
                    items += request.items.0;
                    // The batch that is done is answered in this step.
                    *place = Place::Queued;
                }
                if items > 0 {
                    slot.0 = InstanceState::Running;
                    for id in promoted {
                        self.requests.get_mut(&id).expect("just seen").1 =
                            Place::Running { instance };
                    }
                    self.begin(id, instance, items);
                }
                self.step(Event::BatchDone { model: id, instance, ok });
            }
            Future::Lost { .. } => {
                *slot = (InstanceState::None, life + 1);
                self.step(Event::InstanceLost { model: id, instance });
            }
        }
    }

    /// One random event from outside.
    fn disturb(&mut self) {
        let model = ModelId(self.rng.random_range(0..self.models.len()) as u16);
        match self.rng.random_range(0..100) {
            0..80 => self.arrive(),
            80..88 => {
                let ids: Vec<_> = self.requests.values().map(|(r, _)| (r.model, r.id)).collect();
                if !ids.is_empty() {
                    let (model, id) = ids[self.rng.random_range(0..ids.len())];
                    self.step(Event::Cancel { model, id });
                }
            }
            88 => self.step(Event::DeviceChanged),
            89..92 => {
                let world = &mut self.models[model.index()];
                let config = policy(&mut self.rng, world.max_batch, world.max_instances);
                world.fixed = matches!(config, PolicyConfig::Fixed { .. });
                self.pipeline.set_policy(model, scheduler::make(&config));
                self.step(Event::Tick);
            }
            92..97 => {
                let world = &self.models[model.index()];
                let batch = self.rng.random_range(0..=world.max_batch);
                let instances = self.rng.random_range(0..=world.max_instances);
                let manual = Override {
                    batch: (batch > 0).then_some(BatchSize(batch)),
                    instances: (instances > 0).then_some(InstanceCount(instances)),
                };
                self.pipeline.set_override(model, manual);
                self.step(Event::Tick);
            }
            _ if self.models[model.index()].up => {
                self.models[model.index()].up = false;
                self.models[model.index()].dismiss_idle();
                self.step(Event::ModelGone(model));
            }
            _ => self.bring_up(model.index()),
        }
    }

    fn bring_up(&mut self, index: usize) {
        let points: &[_] = if self.rng.random_bool(0.5) {
            &[(BatchSize(1), Nanos::from_millis(4)), (BatchSize(8), Nanos::from_millis(12))]
        } else {
            &[]
        };
        let world = &mut self.models[index];
        if world.slots.iter().any(|slot| slot.0 == InstanceState::Running) {
            return;
        }
        world.dismiss_idle();
        world.up = true;
        let event = Event::ModelReady {
            model: ModelId(index as u16),
            max_batch: BatchSize(world.max_batch),
            max_instances: InstanceCount(world.max_instances),
            predictor: Predictor::new(points)
                .with_demand(1.0 / f64::from(self.rng.random_range(1..=3))),
        };
        self.step(event);
    }

    fn arrive(&mut self) {
        let model = self.rng.random_range(0..self.models.len());
        self.next_id += 1;
        let request = Request {
            id: RequestId(self.next_id),
            model: ModelId(model as u16),
            items: BatchSize(if self.rng.random_bool(0.8) {
                1
            } else {
                self.rng.random_range(1..=self.models[model].max_batch)
            }),
            priority: if self.rng.random_bool(0.8) { 9 } else { self.rng.random_range(1..9) },
            arrival: self.now,
            deadline: self.now + Nanos::from_micros(self.rng.random_range(0..60_000)),
            queue_until: if self.rng.random_bool(0.8) {
                Nanos::MAX
            } else {
                self.now + Nanos::from_micros(self.rng.random_range(0..20_000))
            },
        };
        self.requests.insert(request.id, (request, Place::Queued));
        self.step(Event::Arrive(request));
    }

    fn step(&mut self, event: Event) {
        let mut actions = std::mem::take(&mut self.actions);
        self.pipeline.step(event, self.now, &mut actions);
        for action in actions.drain(..) {
            format!("{} {action:?}", self.now.0).hash(&mut self.trace);
            match action {
                Action::Answer { request, outcome } => self.check_answer(&request, &outcome),
                Action::Run { model, instance } => self.check_run(model, instance, false),
                Action::RunAhead { model, instance } => self.check_run(model, instance, true),
                Action::StartInstance { model, instance } => {
                    let slot = &mut self.models[model.index()].slots[instance as usize];
                    assert_eq!(slot.0, InstanceState::None, "seed {}: started twice", self.seed);
                    *slot = (InstanceState::Starting, slot.1 + 1);
                    let ready = Future::Ready { model: model.0, instance, life: slot.1 };
                    let wait = self.rng.random_range(0..3_000);
                    self.schedule(wait, ready);
                }
                Action::AbandonInstance { model, instance } => {
                    let slot = &mut self.models[model.index()].slots[instance as usize];
                    assert_eq!(slot.0, InstanceState::Running, "seed {}", self.seed);
                    *slot = (InstanceState::None, slot.1 + 1);
                    self.answers.hung += 1;
                }
            }
        }
        self.actions = actions;
        self.check_state();
    }

    fn schedule(&mut self, micros: u64, future: Future) {
        self.order += 1;
        let at = self.now + Nanos::from_micros(micros);
        self.future.push(std::cmp::Reverse((at, self.order, future)));
    }

    fn check_answer(&mut self, request: &Request, outcome: &Outcome) {
        let seed = self.seed;
        let known = self.requests.remove(&request.id);
        let (known, place) = known.unwrap_or_else(|| panic!("seed {seed}: answered twice"));
        assert_eq!(known, *request, "seed {seed}");
        let tally = &mut self.answers;
        match outcome {
            Outcome::Completed(done) => {
                assert!(matches!(place, Place::Running { .. }), "seed {seed}: never ran");
                assert_eq!(done.queue + done.compute, self.now - request.arrival, "seed {seed}");
                assert_eq!(done.slo_met, self.now <= request.deadline, "seed {seed}");
                tally.completed += 1;
                tally.late += u64::from(!done.slo_met);
            }
            Outcome::QueueFull { bound } => {
                assert_eq!(*bound, self.models[request.model.index()].bound);
                tally.queue_full += 1;
            }
            Outcome::Infeasible { needed, left } => {
                assert!(self.feasible_only && needed > left, "seed {seed}");
                assert!(request.deadline > self.now, "seed {seed}");
                tally.infeasible += 1;
            }
            Outcome::DeadlinePassed => {
                assert!(self.feasible_only && request.deadline <= self.now, "seed {seed}");
                tally.passed += 1;
            }
            Outcome::TimedOut => {
                assert!(request.queue_until <= self.now, "seed {seed}: timed out early");
                tally.timed_out += 1;
            }
            Outcome::EngineFailed => tally.failed += 1,
            Outcome::InstanceLost => {
                let (Place::Running { instance } | Place::Ahead { instance }) = place else {
                    panic!("seed {seed}: never ran")
                };
                tally.ahead_lost += u64::from(matches!(place, Place::Ahead { .. }));
                let slot = self.models[request.model.index()].slots[instance as usize];
                assert_ne!(slot.0, InstanceState::Running, "seed {seed}: given up, and it runs");
                tally.lost += 1;
            }
            Outcome::ModelNotReady => tally.not_ready += 1,
            Outcome::Cancelled => {
                assert_eq!(place, Place::Queued, "seed {seed}: a running batch is not cancelled");
                tally.cancelled += 1;
            }
            Outcome::ShuttingDown => tally.shut_down += 1,
            Outcome::PayloadLost | Outcome::BadInput => {
                panic!("seed {seed}: the pipeline knows no payloads")
            }
        }
    }

    fn check_run(&mut self, model: ModelId, instance: u16, ahead: bool) {
        let seed = self.seed;
        let batch = match ahead {
            true => self.pipeline.batch_ahead(model, instance).to_vec(),
            false => self.pipeline.batch(model, instance).to_vec(),
        };
        let caps = self.pipeline.status(model).caps;
        let items: u32 = batch.iter().map(|r| r.items.0).sum();
        assert!(!batch.is_empty(), "seed {seed}: an empty batch");
        assert!(items <= caps.batch.0 || batch.len() == 1, "seed {seed}: {items} in {caps:?}");
        assert!(items <= self.models[model.index()].max_batch, "seed {seed}: over the engine's");
        self.answers.full_batches += u64::from(items == caps.batch.0 && batch.len() > 1);

        let rank = |r: &Request| (r.priority, r.deadline);
        assert!(batch.is_sorted_by_key(rank), "seed {seed}: deadline order inside a batch");
        let last = batch.last().map(rank);
        for (request, place) in self.requests.values() {
            let waits = request.model == model
                && *place == Place::Queued
                && !batch.iter().any(|r| r.id == request.id);
            assert!(!waits || Some(rank(request)) >= last, "seed {seed}: overtaken: {request:?}");
        }
        for request in &batch {
            let (_, place) = self.requests.get_mut(&request.id).expect("runs a live request");
            assert_eq!(*place, Place::Queued, "seed {seed}: runs twice");
            *place = if ahead { Place::Ahead { instance } } else { Place::Running { instance } };
        }
        if ahead {
            self.check_ahead(model, instance, items);
            return;
        }

        let slots = &mut self.models[model.index()].slots;
        assert_eq!(slots[instance as usize].0, InstanceState::Idle, "seed {seed}: not free");
        slots[instance as usize].0 = InstanceState::Running;
        let running = slots.iter().filter(|slot| slot.0 == InstanceState::Running).count();
        assert!(running <= caps.instances.get(), "seed {seed}: {running} run, {caps:?}");

        self.begin(model, instance, items);
    }

    /// A batch was given to an instance that runs another one.
    fn check_ahead(&mut self, model: ModelId, instance: u16, items: u32) {
        let seed = self.seed;
        let world = &self.models[model.index()];
        assert!(world.takes_ahead, "seed {seed}: it can't take a batch ahead");
        let on_it = self.requests.values().filter(|(request, place)| {
            request.model == model && *place == Place::Ahead { instance }
        });
        assert_eq!(on_it.map(|(r, _)| r.items.0).sum::<u32>(), items, "seed {seed}: two ahead");
        // Nothing could have started at once.
        let running = world.slots.iter().filter(|slot| slot.0 == InstanceState::Running).count();
        let idle = world.slots.iter().any(|slot| slot.0 == InstanceState::Idle);
        let caps = self.pipeline.status(model).caps;
        assert!(!idle || running >= caps.instances.get(), "seed {seed}: an instance is free");
        let others = self
            .requests
            .values()
            .any(|(request, place)| request.model != model && *place == Place::Queued);
        assert!(!others, "seed {seed}: another model waits");
        self.answers.ahead += 1;
    }

    /// The world decides how a batch that begins to run will end.
    fn begin(&mut self, model: ModelId, instance: u16, items: u32) {
        let life = self.models[model.index()].slots[instance as usize].1;
        let micros = 3_000 + u64::from(items) * 1_000 + self.rng.random_range(0..2_000);
        let (model, ok) = (model.0, true);
        match self.rng.random_range(0..100) {
            0..90 => self.schedule(micros, Future::Done { model, instance, life, ok }),
            90..95 => self.schedule(micros, Future::Done { model, instance, life, ok: false }),
            95..98 => self.schedule(micros, Future::Lost { model, instance, life }),
            _ => {} // hangs
        }
    }

    fn check_state(&self) {
        let seed = self.seed;
        assert!(self.pipeline.next_wake(self.now) > self.now, "seed {seed}: would spin");
        for (index, world) in self.models.iter().enumerate() {
            let model = ModelId(index as u16);
            let status = self.pipeline.status(model);
            let mine = || self.requests.values().filter(|(r, _)| r.model == model);
            let queued = mine().filter(|(_, place)| *place == Place::Queued).count();
            assert_eq!(queued, status.queued as usize, "seed {seed}");
            assert!(status.queued <= world.bound, "seed {seed}: queue over its bound");
            let idle = world.slots.iter().any(|slot| slot.0 == InstanceState::Idle);
            let may_run = world.up && status.running < u32::from(status.caps.instances.0);
            assert!(
                !(world.fixed && queued > 0 && idle && may_run),
                "seed {seed}: fixed leaves a free instance and a queue side by side"
            );
        }
    }
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.completed += other.completed;
        self.late += other.late;
        self.queue_full += other.queue_full;
        self.infeasible += other.infeasible;
        self.passed += other.passed;
        self.timed_out += other.timed_out;
        self.failed += other.failed;
        self.lost += other.lost;
        self.hung += other.hung;
        self.not_ready += other.not_ready;
        self.cancelled += other.cancelled;
        self.shut_down += other.shut_down;
        self.full_batches += other.full_batches;
        self.ahead += other.ahead;
        self.ahead_lost += other.ahead_lost;
    }
}

#[test]
fn the_rules_hold_over_seeded_event_sequences() {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let mut total = Tally::default();
    std::thread::scope(|scope| {
        let share = |first: u64| {
            scope.spawn(move || {
                let mut sum = Tally::default();
                for seed in (first..SEQUENCES).step_by(threads as usize) {
                    sum.add(&World::new(seed).run().1);
                }
                sum
            })
        };
        let workers: Vec<_> = (0..threads).map(share).collect();
        for worker in workers {
            total.add(&worker.join().expect("a seed failed; its message is above"));
        }
    });
    println!("{total:?}");
    let Tally {
        completed,
        late,
        queue_full,
        infeasible,
        passed,
        timed_out,
        failed,
        lost,
        hung,
        not_ready,
        cancelled,
        shut_down,
        full_batches,
        ahead,
        ahead_lost,
    } = total;
    for count in [
        completed,
        late,
        queue_full,
        infeasible,
        passed,
        timed_out,
        failed,
        lost,
        hung,
        not_ready,
        cancelled,
        shut_down,
        full_batches,
        ahead,
        ahead_lost,
    ] {
        assert!(count > 1_000, "something hardly ever happened: {total:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..500 {
        assert_eq!(World::new(seed).run().0, World::new(seed).run().0, "seed {seed}");
    }
    assert_ne!(World::new(1).run().0, World::new(2).run().0);
}

/// A board that was put into a faster mode: what it took before refuses nobody any more.
#[test]
fn a_device_that_changed_its_speed_is_given_a_new_chance() {
    let settings = Settings {
        slot: Nanos::from_millis(50),
        feasible_only: true,
        hang_factor: 20.0,
        hang_floor: HANG_FLOOR,
    };
    let models = [ModelSettings { slo: Nanos::from_millis(50), queue_bound: 4 }];
    let policy = scheduler::make(&PolicyConfig::Fixed { batch: 1, instances: 1 });
    let mut pipeline = Pipeline::new(settings, &models, vec![policy]);
    let model = ModelId(0);
    let mut now = Nanos::ZERO;
    let mut step = |event: Event, millis: u64| {
        now += Nanos::from_millis(millis);
        let mut actions = Vec::new();
        pipeline.step(event, now, &mut actions);
        (now, actions)
    };
    let request = |id: u64, now: Nanos| Request {
        id: RequestId(id),
        model,
        items: BatchSize(1),
        priority: 1,
        arrival: now,
        deadline: now + Nanos::from_millis(50),
        queue_until: Nanos::MAX,
    };
    let refused = |actions: &[Action]| {
        let infeasible = |action: &Action| {
            matches!(action, Action::Answer { outcome: Outcome::Infeasible { .. }, .. })
        };
        actions.iter().any(infeasible)
    };
    let predictor = Predictor::new(&[(BatchSize(1), Nanos::from_millis(200))]);
    let (max_batch, max_instances) = (BatchSize(1), InstanceCount(1));
    step(Event::ModelReady { model, max_batch, max_instances, predictor }, 1);
    step(Event::InstanceReady { model, instance: 0 }, 1);
    let (now, _) = step(Event::Tick, 1);
    step(Event::Arrive(request(1, now)), 0);
    step(Event::BatchDone { model, instance: 0, ok: true }, 200);
    let (now, _) = step(Event::Tick, 1);
    assert!(refused(&step(Event::Arrive(request(2, now)), 0).1), "200 ms can't be done in 50");
    step(Event::DeviceChanged, 1);
    let (now, _) = step(Event::Tick, 1);
    let (_, actions) = step(Event::Arrive(request(3, now)), 0);
    assert!(!refused(&actions) && actions.contains(&Action::Run { model, instance: 0 }));
}

/// Beside what runs a batch is slow, but not for long. Whoever keeps its deadlines is given the
/// benefit of that; whoever loses many is not, since time that is wasted is taken from others.
#[test]
fn a_batch_that_may_still_be_in_time_runs_while_nearly_all_are() {
    let ms = Nanos::from_millis;
    let settings =
        Settings { slot: ms(50), feasible_only: true, hang_factor: 20.0, hang_floor: HANG_FLOOR };
    // Each takes the whole device, the first for 40 ms and the second for 20.
    let outcome = |loses_some: bool| {
        let one = ModelSettings { slo: ms(100), queue_bound: 4 };
        let fixed = || scheduler::make(&PolicyConfig::Fixed { batch: 1, instances: 1 });
        let mut pipeline = Pipeline::new(settings, &[one, one], vec![fixed(), fixed()]);
        let mut step = |event: Event, at_ms: u64| {
            let mut actions = Vec::new();
            pipeline.step(event, ms(at_ms), &mut actions);
            actions
        };
        let arrive = |model: u16, at_ms: u64, slo_ms: u64| {
            Event::Arrive(Request {
                id: RequestId(at_ms),
                model: ModelId(model),
                items: BatchSize(1),
                priority: 1,
                arrival: ms(at_ms),
                deadline: ms(at_ms + slo_ms),
                queue_until: Nanos::MAX,
            })
        };
        let done = |model: u16| Event::BatchDone { model: ModelId(model), instance: 0, ok: true };
        let (max_batch, max_instances) = (BatchSize(1), InstanceCount(1));
        for (model, takes) in [(0, 40), (1, 20)] {
            let model = ModelId(model);
            let predictor = Predictor::new(&[(BatchSize(1), ms(takes))]);
            step(Event::ModelReady { model, max_batch, max_instances, predictor }, 1);
            step(Event::InstanceReady { model, instance: 0 }, 1);
        }
        step(Event::Tick, 1);
        step(arrive(1, 2, 100), 2);
        step(done(1), 22);
        step(arrive(0, 30, 100), 30);
        for at_ms in 31..33 {
            if loses_some {
                step(arrive(1, at_ms, 5), at_ms);
            }
        }
        // 10 ms of the first are left: 40 ms beside it as it is now, 30 in truth.
        let actions = step(arrive(1, 60, 36), 60);
        actions.into_iter().find(|action| {
            matches!(action, Action::Run { model: ModelId(1), .. } | Action::Answer { .. })
        })
    };
    assert!(matches!(outcome(false), Some(Action::Run { .. })), "{:?}", outcome(false));
    let refused = outcome(true);
    let Some(Action::Answer { outcome: Outcome::Infeasible { needed, left }, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((needed, left), (ms(40), ms(36)));
}
