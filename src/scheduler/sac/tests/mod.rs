use super::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

mod decisions;
mod faults;
mod files;
mod known_answers;
mod losses;
mod mdp;
mod memory;

fn random(seed: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed)
}

fn uniform(count: usize, random: &mut Xoshiro256PlusPlus) -> Vec<f32> {
    (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
}

/// Masks with at least one action allowed in each row.
fn masks(rows: usize, actions: usize, random: &mut Xoshiro256PlusPlus) -> Vec<bool> {
    let mut masks = Vec::new();
    for _ in 0..rows {
        let sure = random.random_range(0..actions);
        masks.extend((0..actions).map(|action| action == sure || random.random_bool(0.5)));
    }
    masks
}

/// A small learner that changes fast.
fn quick(observation: usize, actions: usize) -> SacConfig {
    SacConfig {
        hidden: [16, 16],
        batch: 32,
        actor_rate: 3e-3,
        critic_rate: 3e-3,
        temperature_rate: 1e-2,
        ..SacConfig::new(observation, actions)
    }
}

/// Random transitions that mean nothing.
fn noise(count: usize, observation: usize, actions: usize, seed: u64) -> Replay {
    let mut random = random(seed);
    let mut replay = Replay::new(count, observation, actions);
    for i in 0..count {
        let masks = masks(2, actions, &mut random);
        let (mask, next_mask) = masks.split_at(actions);
        let allowed: Vec<usize> = (0..actions).filter(|&action| mask[action]).collect();
        let transition = Transition {
            observation: &uniform(observation, &mut random),
            mask,
            action: allowed[random.random_range(0..allowed.len())],
            reward: random.random_range(-1.0..1.0),
            discount: [0.0, 0.9, 0.99][i % 3],
            next_observation: &uniform(observation, &mut random),
            next_mask,
            entropy: (i % 4 > 0).then_some(0.5),
            teacher: (i % 3 > 0).then_some(allowed[i % allowed.len()]),
        };
        replay.push(&transition).expect("a valid transition");
    }
    replay
}
