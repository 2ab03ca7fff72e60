//! What the learnt policy costs: a decision, and a step of training, on one core.
//!
//! `cargo bench --bench learner`. The budget for a whole decision over six models is 20 µs at p99,
//! and for a training step with a batch of 128 it is 3 ms; both are shown here for the networks
//! without the pipeline around them.

use bcedge::scheduler::nn::{Adam, Mlp, Tape, clip_norm};
use bcedge::scheduler::sac::{Learner, Replay, SacConfig, Scratch, Transition, greedy};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::hint::black_box;

const SHAPES: [[usize; 4]; 2] = [[48, 64, 64, 64], [48, 128, 128, 64]];

fn rows(count: usize, width: usize) -> Vec<f32> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    (0..count * width).map(|_| random.random_range(-1.0..1.0)).collect()
}

fn network(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("network");
    for shape in SHAPES {
        let mut mlp = Mlp::new(&shape, 0.1, &mut Xoshiro256PlusPlus::seed_from_u64(2));
        let mut tape = Tape::default();
        for count in [1, 6, 16, 128] {
            let inputs = rows(count, shape[0]);
            let name = BenchmarkId::new(format!("forward {shape:?}"), count);
            group.bench_function(name, |b| {
                b.iter(|| black_box(mlp.forward(black_box(&inputs), &mut tape)).len());
            });
        }
        let inputs = rows(128, shape[0]);
        let by_outputs = rows(128, shape[3]);
        let mut gradient = vec![0.0; mlp.parameters().len()];
        mlp.forward(&inputs, &mut tape);
        group.bench_function(BenchmarkId::new(format!("backward {shape:?}"), 128), |b| {
            b.iter(|| mlp.backward(&inputs, &mut tape, black_box(&by_outputs), &mut gradient));
        });
        let mut adam = Adam::new(gradient.len());
        group.bench_function(BenchmarkId::new("clip and Adam", format!("{shape:?}")), |b| {
            b.iter(|| {
                clip_norm(black_box(&mut gradient), 1.0);
                adam.step(mlp.parameters_mut(), &gradient, 1e-9);
            });
        });
    }
    group.finish();
}

fn config(shape: [usize; 4]) -> SacConfig {
    let [observation, first, second, actions] = shape;
    SacConfig { hidden: [first, second], ..SacConfig::new(observation, actions) }
}

/// From observations as they come to the action of each row, a third of the actions masked.
fn decision(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision");
    for shape in SHAPES {
        let mut learner = Learner::new(config(shape), 1).expect("valid settings");
        learner.normaliser_mut().observe(&rows(100, shape[0]));
        let (actor, mut scratch) = (learner.actor(), Scratch::default());
        for count in [1, 6, 16] {
            let observations = rows(count, shape[0]);
            let masks: Vec<bool> = (0..count * shape[3]).map(|i| i % 3 > 0).collect();
            let mut out = vec![0.0; count * shape[3]];
            let name = BenchmarkId::new(format!("{shape:?}"), count);
            group.bench_function(name, |b| {
                b.iter(|| {
                    actor.probabilities(black_box(&observations), &masks, &mut scratch, &mut out);
                    out.chunks(shape[3]).filter_map(greedy).sum::<usize>()
                });
            });
        }
    }
    group.finish();
}

/// All of an update with 128 transitions: drawn, normalised, both critics, actor, temperature,
/// targets. As it ships, and without Q-clip's look at the target networks.
fn training(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("training step");
    for shape in SHAPES {
        let mut replay = Replay::new(10_000, shape[0], shape[3]);
        let observations = rows(10_001, shape[0]);
        let mask: Vec<bool> = (0..shape[3]).map(|i| i % 3 > 0).collect();
        let mut next = observations.chunks(shape[0]);
        while let (Some(observation), Some(next_observation)) = (next.next(), next.clone().next()) {
            let transition = Transition {
                observation,
                mask: &mask,
                action: 1,
                reward: observation[0],
                discount: 0.95,
                next_observation,
                next_mask: &mask,
                entropy: Some(1.0),
                teacher: None,
            };
            replay.push(&transition).expect("a valid transition");
        }
        for (name, q_clip) in [("as it ships", 0.5), ("without Q-clip", f32::INFINITY)] {
            let config = SacConfig { q_clip, ..config(shape) };
            let mut learner = Learner::new(config, 1).expect("valid settings");
            group.bench_function(BenchmarkId::new(name, format!("{shape:?}")), |b| {
                b.iter(|| learner.update(black_box(&replay)).expect("finite numbers"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, network, decision, training);
criterion_main!(benches);
