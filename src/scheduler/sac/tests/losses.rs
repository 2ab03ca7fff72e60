//! Every loss's gradient against finite differences of the loss, computed a second time in `f64`
//! from its formula.

use super::super::learner::{by_actor, by_imitation, critic_loss};
use super::super::networks::{Policy, Row};
use super::*;
use crate::scheduler::nn::{Mlp, Tape, masked_softmax};

const ACTIONS: usize = 7;

/// ln π and π, straight from the definition; 0 and 0 where masked.
fn policy(logits: &[f64], mask: &[f32]) -> Vec<(f64, f64)> {
    let allowed = |i: &usize| mask[*i] == 1.0;
    let sum: f64 = (0..logits.len()).filter(allowed).map(|i| logits[i].exp()).sum();
    let one = |i: usize| match mask[i] == 1.0 {
        true => (logits[i] - sum.ln(), logits[i].exp() / sum),
        false => (0.0, 0.0),
    };
    (0..logits.len()).map(one).collect()
}

fn actor_loss(logits: &[f64], mask: &[f32], q: &[f64], alpha: f64, beta: f64, before: f64) -> f64 {
    let policy = policy(logits, mask);
    let entropy: f64 = -policy.iter().map(|(log_p, p)| p * log_p).sum::<f64>();
    let soft: f64 = policy.iter().zip(q).map(|((log_p, p), q)| p * (alpha * log_p - q)).sum();
    soft + 0.5 * beta * (before - entropy).powi(2)
}

/// By differences on both sides.
fn difference(at: f64, loss: impl Fn(f64) -> f64) -> f64 {
    let step = 1e-5;
    (loss(at + step) - loss(at - step)) / (2.0 * step)
}

#[test]
fn the_actors_gradient_is_its_losss() {
    let mut random = random(1);
    for (alpha, beta) in [(0.0, 0.0), (0.3, 0.0), (0.3, 0.7), (0.0, 2.0)] {
        for before in [0.1, 1.5] {
            let logits = uniform(ACTIONS, &mut random);
            let mask: Vec<f32> =
                masks(1, ACTIONS, &mut random).iter().map(|&a| f32::from(u8::from(a))).collect();
            let (q1, q2) = (uniform(ACTIONS, &mut random), uniform(ACTIONS, &mut random));
            let (mut p, mut log_p) = (vec![0.0; ACTIONS], vec![0.0; ACTIONS]);
            let entropy = masked_softmax(&logits, &mask, &mut p, &mut log_p);
            let value: f32 = (0..ACTIONS).map(|a| p[a] * 0.5 * (q1[a] + q2[a])).sum();
            let row = Row { probabilities: &p, log_probabilities: &log_p, entropy };
            let mut gradient = vec![f32::NAN; ACTIONS];
            let temperature = alpha + beta * (before - entropy);
            by_actor(&row, &q1, &q2, value, temperature, 1.0, &mut gradient);
            // The rule's action, here any that is allowed.
            let rule = mask.iter().position(|&allowed| allowed == 1.0).expect("one is allowed");
            let imitation = 0.5 * beta;
            by_imitation(&row, rule, imitation, &mut gradient);

            let exact: Vec<f64> = logits.iter().map(|&x| f64::from(x)).collect();
            let q: Vec<f64> = q1.iter().zip(&q2).map(|(a, b)| 0.5 * f64::from(a + b)).collect();
            for action in 0..ACTIONS {
                let expected = difference(exact[action], |logit| {
                    let mut logits = exact.clone();
                    logits[action] = logit;
                    let (alpha, beta) = (f64::from(alpha), f64::from(beta));
                    let imitation = f64::from(imitation) * policy(&logits, &mask)[rule].0;
                    actor_loss(&logits, &mask, &q, alpha, beta, f64::from(before)) - imitation
                });
                let got = f64::from(gradient[action]);
                assert!((got - expected).abs() < 1e-5, "action {action}: {got} for {expected}");
                if mask[action] == 0.0 {
                    assert_eq!(gradient[action], 0.0);
                }
            }
        }
    }
}

#[test]
fn the_critics_gradient_is_its_losss_with_and_without_clip() {
    let loss = |q: f64, anchor: f64, goal: f64, clip: f64| {
        let clipped = anchor + (q - anchor).clamp(-clip, clip) - goal;
        0.5 * (q - goal).powi(2).max(clipped * clipped)
    };
    let mut held = 0;
    for goal in [-2.0, 0.3, 2.0_f32] {
        for anchor in [-0.6, 0.2, 1.1_f32] {
            for q in [-1.9, -0.35, 0.25, 1.0, 3.0_f32] {
                let (twice, gradient) = critic_loss(q, Some(anchor), goal, 0.5);
                let [q, anchor, goal] = [q, anchor, goal].map(f64::from);
                assert!((f64::from(twice) / 2.0 - loss(q, anchor, goal, 0.5)).abs() < 1e-6);
                let expected = difference(q, |q| loss(q, anchor, goal, 0.5));
                assert!((f64::from(gradient) - expected).abs() < 1e-4, "{gradient} for {expected}");
                held += usize::from(gradient == 0.0);
            }
        }
    }
    assert!(held > 5, "the clip held {held} times");
    // Within the clip nothing is held back, not even by rounding.
    let mut random = random(2);
    for _ in 0..10_000 {
        let [q, by, goal] = [0; 3].map(|_| random.random_range(-0.4..0.4_f32));
        assert_eq!(critic_loss(q, Some(q + by), goal, 0.5), ((q - goal) * (q - goal), q - goal));
    }
    assert_eq!(critic_loss(3.0, None, 1.0, f32::INFINITY), (4.0, 2.0));
}

/// Imitation and regression have no function of their own: their gradients are seen in what they do.
/// With Adam's moments at zero, the first step goes against the sign of each parameter's gradient.
#[test]
fn teachers_and_returns_pull_the_right_way_and_to_the_end() {
    let mut random = random(3);
    let config = SacConfig { actor_rate: 1e-2, critic_rate: 1e-2, ..quick(3, 5) };
    let mut learner = Learner::new(config, 1).expect("valid settings");
    let observations = uniform(3 * 8, &mut random);
    let masks = masks(8, 5, &mut random);
    // A distribution over the allowed actions, and something on the others, which must not matter.
    let mut teacher = Vec::new();
    let mut lowest = 0.0;
    for mask in masks.chunks(5) {
        let raw: Vec<f32> = (0..5).map(|_| random.random_range(0.1..1.0)).collect();
        let sum: f32 =
            raw.iter().zip(mask).map(|(x, &allowed)| if allowed { *x } else { 0.0 }).sum();
        let p = raw.iter().zip(mask).map(|(x, &allowed)| if allowed { x / sum } else { 0.0 });
        lowest += p.clone().filter(|&p| p > 0.0).map(|p| -p * p.ln()).sum::<f32>() / 8.0;
        teacher.extend(p.zip(mask).map(|(p, &allowed)| if allowed { 3.0 * p } else { 0.5 }));
    }
    let first = learner.imitate(&observations, &masks, &teacher).expect("finite");
    let mut last = first;
    for _ in 0..2_000 {
        last = learner.imitate(&observations, &masks, &teacher).expect("finite");
    }
    // Cross-entropy is least, and equal to the teacher's entropy, where both agree.
    assert!(last < first && (last - lowest).abs() < 1e-3, "{first} to {last}, at least {lowest}");

    let actions: Vec<u32> = (0..8).map(|_| random.random_range(0..5)).collect();
    let returns = uniform(8, &mut random);
    for _ in 0..2_000 {
        last = learner.fit_critics(&observations, &actions, &returns).expect("finite");
    }
    assert!(last < 1e-4, "{last}");
    let (mut values, mut scratch) = (vec![0.0; 8 * 5], Scratch::default());
    learner.actor().values(&observations, &mut scratch, &mut values);
    for (row, (&action, goal)) in actions.iter().zip(returns).enumerate() {
        let value = values[row * 5 + action as usize];
        assert!((value - goal).abs() < 0.03, "{value} for {goal}");
    }
    assert_eq!(learner.networks.targets, learner.networks.critics);
    assert_eq!(learner.updates(), 0, "a teacher's steps are not updates");
}

/// The whole way through the network: the mean over the batch of the imitation loss.
#[test]
fn the_imitation_gradient_is_its_losss() {
    let mut random = random(4);
    let (rows, mlp) = (6, Mlp::new(&[3, 8, 8, ACTIONS], 1.0, &mut random));
    let mut learner =
        Learner::new(SacConfig { hidden: [8, 8], ..quick(3, ACTIONS) }, 1).expect("valid settings");
    learner.networks.actor = mlp.clone();
    let observations = uniform(rows * 3, &mut random);
    let masks = masks(rows, ACTIONS, &mut random);
    let teacher: Vec<f32> = masks
        .iter()
        .map(|&allowed| if allowed { random.random_range(0.1..1.0) } else { 0.0 })
        .collect();
    learner.imitate(&observations, &masks, &teacher).expect("finite");

    let numbers: Vec<f32> = masks.iter().map(|&allowed| f32::from(u8::from(allowed))).collect();
    let loss = |mlp: &Mlp| -> f64 {
        let (mut tape, mut found) = (Tape::default(), Policy::default());
        found.evaluate(mlp, &observations, &numbers, &mut tape);
        let rows = tape.outputs().chunks(ACTIONS).zip(teacher.chunks(ACTIONS));
        let each = rows.zip(numbers.chunks(ACTIONS)).map(|((logits, teacher), mask)| {
            let logits: Vec<f64> = logits.iter().map(|&x| f64::from(x)).collect();
            let sum: f32 = teacher.iter().sum();
            let policy = policy(&logits, mask);
            policy
                .iter()
                .zip(teacher)
                .map(|((log_p, _), t)| -f64::from(t / sum) * log_p)
                .sum::<f64>()
        });
        each.sum::<f64>() / 6.0
    };
    for i in (0..mlp.parameters().len()).step_by(3) {
        let shifted = |step: f32| {
            let mut mlp = mlp.clone();
            mlp.parameters_mut()[i] += step;
            loss(&mlp)
        };
        let expected = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
        let got = f64::from(learner.work.actor_gradient[i]);
        assert!((got - expected).abs() < 2e-3, "parameter {i}: {got} for {expected}");
    }
}
