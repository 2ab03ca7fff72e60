//! Numbers that are none.

use super::*;

fn batch(replay: &Replay, seed: u64) -> Batch {
    let mut batch = Batch::default();
    replay.sample(32, &mut random(seed), &mut batch);
    batch
}

#[test]
fn a_batch_with_bad_numbers_changes_nothing_and_is_named() {
    let replay = noise(200, 4, 6, 1);
    let mut learner = Learner::new(quick(4, 6), 1).expect("valid settings");
    for _ in 0..30 {
        learner.update(&replay).expect("finite numbers");
    }
    let before = learner.networks.clone();
    type Spoil = fn(&mut Batch, f32);
    let spoils: [Spoil; 4] = [
        |batch, bad| batch.rewards[7] = bad,
        |batch, bad| batch.observations[50] = bad,
        |batch, bad| batch.next_observations[0] = bad,
        |batch, bad| batch.discounts[31] = bad,
    ];
    for (i, spoil) in spoils.into_iter().enumerate() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut batch = batch(&replay, i as u64);
            spoil(&mut batch, bad);
            let error = learner.update_on(&batch).expect_err("a number that is none");
            assert_eq!(error, UpdateError::BadData { update: learner.updates() });
            assert_eq!(learner.networks, before);
        }
    }
    learner.update(&replay).expect("and it goes on");
}

/// Finite rewards whose squares are not: the networks go back to the last copy, which is that of
/// update 100, and learning goes on from there.
#[test]
fn networks_that_diverge_are_restored() {
    let replay = noise(200, 4, 6, 1);
    let mut learner = Learner::new(quick(4, 6), 1).expect("valid settings");
    for _ in 0..100 {
        learner.update(&replay).expect("finite numbers");
    }
    let good = learner.networks.clone();
    for _ in 0..5 {
        learner.update(&replay).expect("finite numbers");
    }
    assert_ne!(learner.networks, good);
    let mut huge = batch(&replay, 1);
    huge.rewards[3] = 3e38;
    let error = learner.update_on(&huge).expect_err("it overflows");
    assert!(
        matches!(error, UpdateError::Diverged { update: 106, restored: 100, value, .. }
            if !value.is_finite()),
        "{error}"
    );
    assert!(error.to_string().contains("the critics' loss became inf"), "{error}");
    assert_eq!(learner.networks, good);
    for _ in 0..50 {
        learner.update(&replay).expect("and it goes on");
    }
}

/// Weights that were spoilt by something else are seen, too, in each of the networks.
#[test]
fn spoilt_weights_are_seen_and_replaced() {
    let replay = noise(200, 4, 6, 1);
    let fresh = Learner::new(quick(4, 6), 1).expect("valid settings");
    type Spoil = fn(&mut Learner) -> &mut f32;
    let spoils: [Spoil; 4] = [
        |learner| &mut learner.networks.actor.parameters_mut()[10],
        |learner| &mut learner.networks.critics[1].parameters_mut()[0],
        |learner| &mut learner.networks.targets[0].parameters_mut()[20],
        |learner| &mut learner.networks.ln_alpha,
    ];
    for (i, spoil) in spoils.into_iter().enumerate() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut learner = fresh.clone();
            *spoil(&mut learner) = bad;
            let error = learner.update(&replay).expect_err("a weight that is none");
            assert!(matches!(error, UpdateError::Diverged { restored: 0, .. }), "{i}: {error}");
            assert_eq!(learner.networks, fresh.networks);
        }
    }
}

#[test]
fn bad_lessons_change_nothing() {
    let mut learner = Learner::new(quick(2, 3), 1).expect("valid settings");
    let before = learner.networks.clone();
    let masks = [true; 3];
    let teacher = [0.2, f32::NAN, 0.3];
    let bad = Err(UpdateError::BadData { update: 0 });
    assert_eq!(learner.imitate(&[0.0; 2], &masks, &teacher), bad);
    assert_eq!(learner.imitate(&[f32::INFINITY; 2], &masks, &[0.3; 3]), bad);
    assert_eq!(learner.fit_critics(&[0.0; 2], &[1], &[f32::NAN]), bad);
    assert_eq!(learner.imitate(&[], &[], &[]), Err(UpdateError::Empty));
    assert_eq!(learner.fit_critics(&[], &[], &[]), Err(UpdateError::Empty));
    assert_eq!(learner.update(&Replay::new(5, 2, 3)), Err(UpdateError::Empty));
    let overflows = learner.fit_critics(&[0.0; 2], &[1], &[3e38]);
    assert!(matches!(overflows, Err(UpdateError::Diverged { .. })), "{overflows:?}");
    assert_eq!(learner.networks, before);
    // A teacher that gives nothing to what is allowed teaches nothing.
    let loss = learner.imitate(&[0.0; 2], &[true, true, false], &[0.0, 0.0, 1.0]);
    assert_eq!(loss, Ok(0.0));
}
