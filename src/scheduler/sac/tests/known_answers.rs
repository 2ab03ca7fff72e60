//! Problems whose best policy can be computed: the learnt one reaches 98 % of its value with each of
//! ten seeds, all three problems with one set of settings.

use super::mdp::{Mdp, Outcome, Training, train};
use super::*;

pub fn config(problem: &Mdp) -> SacConfig {
    SacConfig {
        hidden: [32, 32],
        batch: 64,
        actor_rate: 2e-3,
        critic_rate: 2e-3,
        temperature_rate: 3e-3,
        tau: 0.02,
        target_entropy: Schedule { start: 0.7, end: 0.1, updates: 2_500 },
        ..SacConfig::new(problem.observations[0].len(), problem.actions())
    }
}

/// Ten seeds, and for each the greedy policy's value, exactly, as a share of the best one's.
fn check(name: &str, problem: &Mdp, training: Training) {
    let (optimum, chance) = (problem.optimum(), problem.value_of_chance());
    for seed in 0..10 {
        let learner = train(problem, &config(problem), training, seed);
        let value = problem.value_of_greedy(&learner.actor());
        // Of two costs the smaller one is the better.
        let share = if optimum > 0.0 { value / optimum } else { optimum / value };
        println!("{name}, seed {seed}: {value:.4} of {optimum:.4}, chance {chance:.4}: {share:.4}");
        assert!(share >= 0.98, "{name}, seed {seed}: {share} of the optimum");
    }
}

/// 49 contexts in the plane, eight actions whose mean reward falls with the distance of the context
/// from a point of theirs, and is drowned in noise; in each context some are forbidden.
pub fn bandit() -> Mdp {
    let mut random = random(11);
    let centres: Vec<[f64; 2]> =
        (0..8).map(|_| [0, 1].map(|_| random.random_range(-1.0..1.0))).collect();
    let (mut observations, mut outcomes) = (Vec::new(), Vec::new());
    for i in 0..49 {
        let context = [i % 7, i / 7].map(|k| f64::from(k) / 3.0 - 1.0);
        observations.push(context.map(|x| 3.0 * x as f32).to_vec());
        let arm = |(action, centre): (usize, &[f64; 2])| {
            if (i as usize + action).is_multiple_of(4) {
                return Vec::new();
            }
            let distance = (context[0] - centre[0]).hypot(context[1] - centre[1]);
            let mean = (-distance).exp();
            let noisy = |reward| Outcome { probability: 0.5, reward, discount: 0.0, next: 0 };
            vec![noisy(mean - 0.3), noisy(mean + 0.3)]
        };
        outcomes.push(centres.iter().enumerate().map(arm).collect());
    }
    Mdp { observations, outcomes, starts: (0..49).collect() }
}

/// Ten states in a row. To the right there is one reward, at the far end; at the left end a little
/// one every time. Every tenth step goes the other way.
pub fn chain() -> Mdp {
    let (last, slip, gamma) = (9, 0.1, 0.95);
    let observations = (0..=last).map(|i| (0..=last).map(|j| f32::from(i == j)).collect());
    let step = |state: usize, right: bool| {
        if right && state == last {
            Outcome { probability: 1.0, reward: 1.0, discount: 0.0, next: last }
        } else if right {
            Outcome { probability: 1.0, reward: 0.0, discount: gamma, next: state + 1 }
        } else {
            let reward = if state == 0 { 0.01 } else { 0.0 };
            Outcome { probability: 1.0, reward, discount: gamma, next: state.saturating_sub(1) }
        }
    };
    let outcomes = (0..=last).map(|state| {
        [false, true]
            .map(|right| {
                vec![
                    Outcome { probability: 1.0 - slip, ..step(state, right) },
                    Outcome { probability: slip, ..step(state, !right) },
                ]
            })
            .to_vec()
    });
    Mdp { observations: observations.collect(), outcomes: outcomes.collect(), starts: vec![0] }
}

/// One model, a queue of at most 24, and batches of 1, 2, 4 or 8 of what waits: a batch takes two
/// slots and one more for every four items, and costs something to start; each request costs for
/// every slot it waits, and more when it finds the queue full. Or nothing is started for a slot.
/// Arrivals are binomial: up to two a slot.
pub fn queue() -> Mdp {
    const BOUND: usize = 24;
    const BATCHES: [usize; 5] = [0, 1, 2, 4, 8];
    let (gamma, chance) = (0.97_f64, 0.55);
    let (holding, start, lost) = (0.01, 0.1, 0.1);
    let arrivals =
        [(1.0 - chance) * (1.0 - chance), 2.0 * chance * (1.0 - chance), chance * chance];
    let decide = |queued: usize, batch: usize| {
        let slots = if batch == 0 { 1 } else { 2 + batch.div_ceil(4) as i32 };
        // By length of the queue: how likely, and the expected cost so far if so.
        let mut now = vec![(0.0, 0.0); BOUND + 1];
        let start = if batch == 0 { 0.0 } else { start };
        now[queued - batch] = (1.0, start);
        for slot in 0..slots {
            let mut next = vec![(0.0, 0.0); BOUND + 1];
            for (length, &(p, cost)) in now.iter().enumerate().filter(|(_, (p, _))| *p > 0.0) {
                for (count, &chance) in arrivals.iter().enumerate() {
                    let turned_away = (length + count).saturating_sub(BOUND);
                    let cost_now = holding * length as f64 + lost * turned_away as f64;
                    let entry: &mut (f64, f64) = &mut next[(length + count).min(BOUND)];
                    entry.0 += p * chance;
                    entry.1 += p * chance * (cost + gamma.powi(slot) * cost_now);
                }
            }
            for (p, cost) in &mut next {
                *cost /= p.max(f64::MIN_POSITIVE);
            }
            now = next;
        }
        let outcome = |(next, &(probability, cost)): (usize, &(f64, f64))| Outcome {
            probability,
            reward: -cost,
            discount: gamma.powi(slots),
            next,
        };
        now.iter().enumerate().filter(|(_, (p, _))| *p > 0.0).map(outcome).collect()
    };
    let outcomes = (0..=BOUND).map(|queued| {
        let allowed = |&batch: &usize| batch <= queued;
        BATCHES.iter().map(|b| if allowed(b) { decide(queued, *b) } else { Vec::new() }).collect()
    });
    let observations = (0..=BOUND).map(|queued| vec![queued as f32, (queued as f32).sqrt()]);
    Mdp {
        observations: observations.collect(),
        outcomes: outcomes.collect(),
        starts: (0..=BOUND).collect(),
    }
}

#[test]
fn a_contextual_bandit_is_learnt() {
    check("bandit", &bandit(), Training { updates: 3_000, steps_per_update: 4, cut_off: 1 });
}

#[test]
fn a_chain_with_its_reward_at_the_end_is_learnt() {
    check("chain", &chain(), Training { updates: 3_000, steps_per_update: 1, cut_off: 60 });
}

#[test]
fn a_queue_with_batches_is_learnt() {
    check("queue", &queue(), Training { updates: 3_000, steps_per_update: 1, cut_off: 40 });
}
