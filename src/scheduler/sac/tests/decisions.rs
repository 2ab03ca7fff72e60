//! What the actor answers, and how learning treats masks, seeds and the temperature.

use super::*;
use std::sync::Arc;

#[test]
fn forbidden_actions_have_probability_zero_before_and_after_learning() {
    let (observation, actions) = (4, 6);
    let replay = noise(300, observation, actions, 1);
    let mut learner = Learner::new(quick(observation, actions), 2).expect("valid settings");
    let (mut random, mut scratch) = (random(3), Scratch::default());
    for round in 0..5 {
        let rows = 16;
        let observations = uniform(rows * observation, &mut random);
        let masks = masks(rows, actions, &mut random);
        let mut p = vec![f32::NAN; rows * actions];
        learner.actor().probabilities(&observations, &masks, &mut scratch, &mut p);
        for (p, mask) in p.chunks(actions).zip(masks.chunks(actions)) {
            assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-5, "round {round}: {p:?}");
            for (&p, &allowed) in p.iter().zip(mask) {
                assert_eq!(p > 0.0, allowed, "round {round}: {p}");
            }
            assert!(mask[greedy(p).expect("some action")]);
            for _ in 0..20 {
                assert!(mask[sample(p, &mut random).expect("some action")]);
            }
        }
        for _ in 0..50 {
            learner.update(&replay).expect("finite numbers");
        }
    }
}

/// Whatever the critics think of a forbidden action changes no bit of what is learnt: not in the
/// goals, not in the actor's gradient.
#[test]
fn forbidden_actions_have_no_say_in_what_is_learnt() {
    let (observation, actions) = (3, 5);
    let mut replay = Replay::new(200, observation, actions);
    let mut random = random(1);
    let mask = [true, false, true, true, false];
    for i in 0..200 {
        let transition = Transition {
            observation: &uniform(observation, &mut random),
            mask: &mask,
            action: [0, 2, 3][i % 3],
            reward: random.random_range(-1.0..1.0),
            discount: 0.9,
            next_observation: &uniform(observation, &mut random),
            next_mask: &mask,
            entropy: None,
            teacher: None,
        };
        replay.push(&transition).expect("a valid transition");
    }
    let config = SacConfig { critic_entropy: 1.0, ..quick(observation, actions) };
    let learn = |shift: f32| {
        let mut learner = Learner::new(config.clone(), 7).expect("valid settings");
        let networks = &mut learner.networks;
        for critic in networks.critics.iter_mut().chain(&mut networks.targets) {
            let biases = critic.biases(2);
            for action in [1, 4] {
                critic.parameters_mut()[biases.start + action] = shift;
            }
        }
        for _ in 0..50 {
            learner.update(&replay).expect("finite numbers");
        }
        learner
    };
    let (plain, shifted) = (learn(0.0), learn(1000.0));
    assert_eq!(plain.networks.actor, shifted.networks.actor);
    assert_eq!(plain.networks.ln_alpha, shifted.networks.ln_alpha);
    assert_ne!(plain.networks.critics, shifted.networks.critics);
}

#[test]
fn where_nothing_is_allowed_nothing_is_chosen() {
    let actor = Learner::new(quick(2, 3), 1).expect("valid settings").actor();
    let mut p = [1.0; 6];
    let masks = [false, false, false, true, true, true];
    actor.probabilities(&[0.1; 4], &masks, &mut Scratch::default(), &mut p);
    assert_eq!(p[..3], [0.0; 3]);
    assert_eq!((greedy(&p[..3]), sample(&p[..3], &mut random(1))), (None, None));
    assert!((p[3..].iter().sum::<f32>() - 1.0).abs() < 1e-6);
}

#[test]
fn samples_follow_the_probabilities() {
    let p = [0.0, 0.5, 0.0, 0.3, 0.2];
    let (mut counts, mut random) = ([0; 5], random(1));
    for _ in 0..10_000 {
        counts[sample(&p, &mut random).expect("some action")] += 1;
    }
    for (count, p) in counts.into_iter().zip(p) {
        assert!((f64::from(count) / 1e4 - f64::from(p)).abs() < 0.02, "{counts:?}");
    }
    assert_eq!(greedy(&p), Some(1));
    assert!((entropy(&p) - 1.02965).abs() < 1e-4);
}

#[test]
fn rows_are_decided_alike_alone_and_together() {
    let mut random = random(2);
    let mut learner = Learner::new(quick(4, 9), 1).expect("valid settings");
    learner.normaliser_mut().observe(&uniform(400, &mut random));
    let actor = learner.actor();
    let (observations, masks) = (uniform(4 * 6, &mut random), masks(6, 9, &mut random));
    let (mut together, mut values) = ([0.0; 54], [0.0; 54]);
    let mut scratch = Scratch::default();
    actor.probabilities(&observations, &masks, &mut scratch, &mut together);
    actor.values(&observations, &mut scratch, &mut values);
    for row in 0..6 {
        let (mut p, mut q) = ([0.0; 9], [0.0; 9]);
        let observation = &observations[row * 4..][..4];
        actor.probabilities(observation, &masks[row * 9..][..9], &mut scratch, &mut p);
        actor.values(observation, &mut scratch, &mut q);
        assert_eq!(p, together[row * 9..][..9]);
        assert_eq!(q, values[row * 9..][..9]);
    }
    let copy = actor.clone();
    assert!(Arc::ptr_eq(&copy.networks, &actor.networks), "copies share the weights");
}

#[test]
fn a_seed_gives_the_same_weights_bit_for_bit() {
    let replay = noise(500, 4, 6, 1);
    let learn = |seed| {
        let mut learner = Learner::new(quick(4, 6), seed).expect("valid settings");
        let stats: Vec<_> = (0..100).map(|_| learner.update(&replay).expect("finite")).collect();
        (learner.networks, stats)
    };
    assert_eq!(learn(5), learn(5));
    assert_ne!(learn(5).0, learn(6).0);
}

/// Each state has its own number of allowed actions, so the target is their mean. The actions differ
/// in worth, so that the temperature has something to work against.
#[test]
fn the_temperature_brings_the_entropy_to_its_target() {
    for (fraction, seed) in [(0.2, 1), (0.5, 2), (0.8, 3)] {
        let (observation, actions) = (2, 6);
        let mut replay = Replay::new(600, observation, actions);
        let mut random = random(seed);
        for i in 0..600 {
            let mask: Vec<bool> = (0..actions).map(|action| action < 2 + i / 6 % 5).collect();
            let action = random.random_range(0..2 + i / 6 % 5);
            let transition = Transition {
                observation: &uniform(observation, &mut random),
                mask: &mask,
                action,
                reward: action as f32 * 0.3,
                discount: 0.0,
                next_observation: &[0.0; 2],
                next_mask: &mask,
                entropy: None,
                teacher: None,
            };
            replay.push(&transition).expect("a valid transition");
        }
        let target_entropy = Schedule::constant(fraction);
        let config = SacConfig { target_entropy, ..quick(observation, actions) };
        let mut learner = Learner::new(config, seed).expect("valid settings");
        let (mut entropy, mut target) = (0.0, 0.0);
        for update in 0..2_500 {
            let stats = learner.update(&replay).expect("finite numbers");
            if update >= 2_000 {
                entropy += stats.entropy / 500.0;
                target += stats.target_entropy / 500.0;
            }
        }
        assert!((entropy - target).abs() < 0.05 * target + 0.02, "{entropy} for {target}");
        let uniform = (2..=6).map(|n| (n as f32).ln()).sum::<f32>() / 5.0;
        assert!((target / uniform - fraction).abs() < 0.02, "{target} of {uniform}");
    }
}

#[test]
fn schedules_go_straight_and_stay() {
    let schedule = Schedule { start: 0.8, end: 0.2, updates: 100 };
    let values = [0, 50, 100, 1_000_000].map(|updates| schedule.at(updates));
    for (got, expected) in values.into_iter().zip([0.8, 0.5, 0.2, 0.2]) {
        assert!((got - expected).abs() < 1e-6, "{values:?}");
    }
    assert_eq!(Schedule::constant(0.3).at(0), 0.3);
}

/// The penalty pulls the entropy to what it was when the transitions were recorded.
#[test]
fn the_entropy_penalty_holds_the_entropy_where_it_was() {
    let mean_entropy = |penalty: f32| {
        let mut replay = Replay::new(64, 1, 4);
        for i in 0..64 {
            let transition = Transition {
                observation: &[i as f32 / 64.0],
                mask: &[true; 4],
                action: i % 4,
                reward: (i % 4) as f32,
                discount: 0.0,
                next_observation: &[0.0],
                next_mask: &[true; 4],
                entropy: Some(1.0),
                teacher: None,
            };
            replay.push(&transition).expect("a valid transition");
        }
        let config = SacConfig {
            entropy_penalty: penalty,
            target_entropy: Schedule::constant(0.0),
            ..quick(1, 4)
        };
        let mut learner = Learner::new(config, 1).expect("valid settings");
        (0..1_500).map(|_| learner.update(&replay).expect("finite").entropy).last()
    };
    let (free, held) = (mean_entropy(0.0).expect("some"), mean_entropy(100.0).expect("some"));
    assert!(free < 0.3, "without it the policy decides itself: {free}");
    assert!((held - 1.0).abs() < 0.1, "with it the entropy stays near 1: {held}");
}

/// After three steps of the same transition the goal is r + d · V(s') by hand, with target networks
/// that stand still: one action allowed next, so that V is its average target value.
#[test]
fn goals_average_the_targets_and_discount_by_the_transition() {
    for (discount, critic_entropy) in [(0.0, 1.0), (0.5, 0.0), (0.97, 1.0)] {
        let config = SacConfig {
            critic_entropy,
            q_clip: f32::INFINITY,
            critic_rate: 1e-2,
            tau: 1e-12,
            ..quick(1, 3)
        };
        let mut learner = Learner::new(config, 1).expect("valid settings");
        for (target, value) in learner.networks.targets.iter_mut().zip([1.0, 4.0]) {
            let biases = target.biases(2);
            target.parameters_mut().fill(0.0);
            target.parameters_mut()[biases].fill(value);
        }
        let mut replay = Replay::new(1, 1, 3);
        let transition = Transition {
            observation: &[0.5],
            mask: &[true; 3],
            action: 2,
            reward: 0.25,
            discount,
            next_observation: &[-0.5],
            next_mask: &[false, true, false],
            entropy: None,
            teacher: None,
        };
        replay.push(&transition).expect("a valid transition");
        for _ in 0..1_500 {
            learner.update(&replay).expect("finite numbers");
        }
        let mut values = [0.0; 3];
        learner.actor().values(&[0.5], &mut Scratch::default(), &mut values);
        let expected = 0.25 + discount * 2.5;
        assert!((values[2] - expected).abs() < 0.02, "{values:?} for {expected}");
    }
}

#[test]
fn settings_out_of_range_are_named() {
    let fine = SacConfig::new(4, 6);
    assert_eq!(fine.check(), Ok(()));
    type Change = fn(&mut SacConfig);
    let changes: [(&str, Change); 8] = [
        ("observation", |c| c.observation = 0),
        ("hidden", |c| c.hidden = [64, 0]),
        ("actor_rate", |c| c.actor_rate = f32::NAN),
        ("tau", |c| c.tau = 1.5),
        ("q_clip", |c| c.q_clip = -1.0),
        ("entropy_penalty", |c| c.entropy_penalty = f32::INFINITY),
        ("target_entropy.end", |c| c.target_entropy.end = 1.1),
        ("critic_entropy", |c| c.critic_entropy = f32::NAN),
    ];
    for (setting, change) in changes {
        let mut config = fine.clone();
        change(&mut config);
        let refused = Learner::new(config, 1).expect_err("out of range");
        assert_eq!(refused.setting, setting);
        assert!(refused.to_string().contains(setting));
    }
}

#[test]
fn the_actor_waits_for_the_critics_where_that_is_asked_for() {
    let replay = noise(64, 3, 5, 1);
    let config = SacConfig { critics_first: 3, ..quick(3, 5) };
    let mut learner = Learner::new(config, 1).expect("valid settings");
    let decide = |learner: &Learner| {
        let (mut scratch, mut out) = (Scratch::default(), vec![0.0; 5]);
        learner.actor().probabilities(&[0.5; 3], &[true; 5], &mut scratch, &mut out);
        out
    };
    let before = decide(&learner);
    for _ in 0..3 {
        learner.update(&replay).expect("finite numbers");
        assert_eq!(decide(&learner), before);
    }
    learner.update(&replay).expect("finite numbers");
    assert_ne!(decide(&learner), before);
}
