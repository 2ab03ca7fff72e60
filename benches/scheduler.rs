//! What a decision costs: each of `sac`'s over six models, timed one by one inside the pipeline.
//!
//! `cargo bench --bench scheduler`. A simulated minute of the modelled Orin Nano at 0.6, 0.9 and 1.2
//! of its capacity drives the shipping pipeline, so the queues, the running batches and the caches
//! are what they are in use; the clock stands around the policy's own calls. *decide* is the slot's
//! choice for all six models, with everything it looks at. `sac`'s decisions stay for six slots and the
//! models take turns, so a slot masks for six and renews one; *anew* is the same slot for a policy made
//! for it, which decides for all six and has nothing in the caches. *dispatch* is what to start at an
//! arrival or a completion. First come the quantiles, which the target is about (p99 of both at most 20 µs),
//! and those of a whole step of the learner that ships, with a batch of 128 (at most 3 ms); then
//! criterion's means. Each p99 stands as a share of its limit, too.

use bcedge::config::PolicyConfig;
use bcedge::scheduler::actions::ACTIONS;
use bcedge::scheduler::observation::FEATURES;
use bcedge::scheduler::sac::{Learner, Replay, SacConfig, Transition};
use bcedge::scheduler::trained::Trained;
use bcedge::scheduler::{self, Caps, DeviceView, Dispatch, Policy};
use bcedge::sim::platform::Platform;
use bcedge::sim::{Load, SloMix, network};
use bcedge::suite::bench::{Bench, WARM_UP, end};
use bcedge::units::{InstanceCount, ModelId};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SECONDS: u64 = 60;
/// About what the suite finds for this platform.
const CAPACITY_PER_S: f64 = 75.0;
const LEVELS: [f64; 3] = [0.6, 0.9, 1.2];
const POLICIES: [&str; 2] = ["sac", "planner"];
const DECISION_LIMIT: Duration = Duration::from_micros(20);
const STEP_LIMIT: Duration = Duration::from_millis(3);
/// Steps of the learner that are timed, after a tenth of as many.
const STEPS: usize = 1_000;

/// What every call took.
#[derive(Debug, Default)]
struct Taken {
    decide: Vec<Duration>,
    dispatch: Vec<Duration>,
}

type Make = Box<dyn Fn() -> Box<dyn Policy> + Send>;

struct Timed {
    policy: Box<dyn Policy>,
    /// Makes the policy that is timed in a slot in its place, if it is to decide for all models.
    anew: Option<Make>,
    taken: Arc<Mutex<Taken>>,
}

impl std::fmt::Debug for Timed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timed").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Policy for Timed {
    fn name(&self) -> &'static str {
        self.policy.name()
    }

    fn decide(&mut self, device: &DeviceView<'_>, models: &[ModelId], caps: &mut [Caps]) {
        let mut anew = self.anew.as_ref().map(|make| (make(), caps.to_vec()));
        let begun = Instant::now();
        match &mut anew {
            Some((policy, caps)) => policy.decide(device, models, caps),
            None => self.policy.decide(device, models, caps),
        }
        let took = begun.elapsed();
        self.taken.lock().expect("one thread").decide.push(took);
        if anew.is_some() {
            self.policy.decide(device, models, caps);
        }
    }

    fn dispatch(&mut self, device: &DeviceView<'_>, ready: &[ModelId]) -> Dispatch {
        let begun = Instant::now();
        let dispatch = self.policy.dispatch(device, ready);
        let took = begun.elapsed();
        self.taken.lock().expect("one thread").dispatch.push(took);
        dispatch
    }
}

fn bench() -> Bench {
    let platform = Platform::built_in("orin_nano").expect("a platform that is built in");
    let surfaces = platform.surfaces(&network::reference(), 32, 8).expect("it fits");
    Bench::new(surfaces, SloMix::Same(1.0), 1)
}

/// All calls of a minute.
fn minute(bench: &Bench, name: &'static str, level: f64, anew: bool) -> Taken {
    let taken = Arc::new(Mutex::new(Taken::default()));
    let trained = Trained::shipped();
    let policies = bench.surfaces.models.iter().map(|model| {
        let instances = InstanceCount(model.max_instances);
        let (max_batch, trained) = (model.max_batch, trained.clone());
        let make: Make = Box::new(move || {
            let config = PolicyConfig::default();
            let policy = scheduler::make_named(name, &config, max_batch, instances, &trained);
            policy.expect("a policy of this program")
        });
        let policy = make();
        Box::new(Timed { policy, anew: anew.then_some(make), taken: taken.clone() })
            as Box<dyn Policy>
    });
    let plan = Load::Steady { level }.plan(&bench.surfaces, CAPACITY_PER_S, WARM_UP, end(SECONDS));
    bench.run(&plan, policies.collect(), SECONDS, 1).expect("a load that is possible");
    std::mem::take(&mut taken.lock().expect("one thread"))
}

/// Whole steps of the learner: drawing the batch, both critics, actor, temperature, targets.
fn steps() -> Vec<Duration> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut replay = Replay::new(10_000, FEATURES, ACTIONS);
    let mask: Vec<bool> = (0..ACTIONS).map(|action| action % 3 != 1).collect();
    let mut row =
        || -> Vec<f32> { (0..FEATURES).map(|_| random.random_range(-1.0..1.0)).collect() };
    let mut observation = row();
    for _ in 0..10_000 {
        let next_observation = row();
        let transition = Transition {
            observation: &observation,
            mask: &mask,
            action: 0,
            reward: observation[0],
            discount: 0.95,
            next_observation: &next_observation,
            next_mask: &mask,
            entropy: Some(0.05),
            teacher: None,
        };
        replay.push(&transition).expect("a valid transition");
        observation = next_observation;
    }
    let config = SacConfig { batch: 128, ..SacConfig::new(FEATURES, ACTIONS) };
    let mut learner = Learner::new(config, 1).expect("valid settings");
    let mut step = || {
        let begun = Instant::now();
        learner.update(&replay).expect("finite numbers");
        begun.elapsed()
    };
    for _ in 0..STEPS / 10 {
        step();
    }
    (0..STEPS).map(|_| step()).collect()
}

fn quantiles(mut calls: Vec<Duration>, limit: Duration) -> String {
    calls.sort_unstable();
    let at =
        |q: f64| calls[((calls.len() - 1) as f64 * q).round() as usize].as_nanos() as f64 / 1e3;
    let count = calls.len();
    format!(
        "{count:>7} calls  p50 {:>7.2}  p99 {:>7.2}  p99.9 {:>7.2} µs; p99 is {:.3} of the limit",
        at(0.5),
        at(0.99),
        at(0.999),
        at(0.99) * 1e3 / limit.as_nanos() as f64
    )
}

fn decisions(criterion: &mut Criterion) {
    let bench = bench();
    for name in POLICIES {
        for level in LEVELS {
            let Taken { decide, dispatch } = minute(&bench, name, level, false);
            let decide = quantiles(decide, DECISION_LIMIT);
            let anew = quantiles(minute(&bench, name, level, true).decide, DECISION_LIMIT);
            let dispatch = quantiles(dispatch, DECISION_LIMIT);
            println!("{name:<8} {level:.1} of capacity  decide   {decide}");
            println!("{name:<8} {level:.1} of capacity  anew     {anew}");
            println!("{name:<8} {level:.1} of capacity  dispatch {dispatch}");
        }
    }
    println!("sac      step of the learner, 128   {}", quantiles(steps(), STEP_LIMIT));
    let mut group = criterion.benchmark_group("decide for six models");
    group.sample_size(10);
    for level in LEVELS {
        group.bench_function(BenchmarkId::new("sac", level), |b| {
            b.iter_custom(|decisions| {
                let (mut total, mut left) = (Duration::ZERO, decisions as usize);
                while left > 0 {
                    let calls = minute(&bench, "sac", level, false).decide;
                    let counted = left.min(calls.len());
                    total += calls[..counted].iter().sum::<Duration>();
                    left -= counted;
                }
                total
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
