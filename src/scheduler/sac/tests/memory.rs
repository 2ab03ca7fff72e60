//! The replay memory and the normaliser.

use super::super::replay::NO_TEACHER;
use super::*;

fn push(replay: &mut Replay, number: f32, mask: &[bool; 70]) {
    let transition = Transition {
        observation: &[number, -number],
        mask,
        action: 69,
        reward: 2.0 * number,
        discount: 0.5,
        next_observation: &[number + 1.0, 0.0],
        next_mask: &[true; 70],
        entropy: (number > 2.0).then_some(number),
        teacher: Some(if number > 2.0 { 68 } else { 0 }),
    };
    replay.push(&transition).expect("a valid transition");
}

/// More actions than a word has bits, and more transitions than there is room for.
#[test]
fn what_is_remembered_comes_back_and_the_oldest_is_forgotten() {
    let mut random = random(1);
    let mut replay = Replay::new(4, 2, 70);
    let mut masks = Vec::new();
    for number in 0..6 {
        assert_eq!(replay.len(), number.min(4));
        let mut mask = [false; 70];
        mask.iter_mut().for_each(|allowed| *allowed = random.random_bool(0.5));
        mask[69] = true;
        masks.push(mask);
        push(&mut replay, number as f32, &mask);
    }
    let mut batch = Batch::default();
    replay.sample(400, &mut random, &mut batch);
    let mut seen = [0; 6];
    for row in 0..400 {
        let number = batch.observations[2 * row];
        let mask: Vec<f32> =
            masks[number as usize].iter().map(|&allowed| f32::from(u8::from(allowed))).collect();
        assert_eq!(batch.observations[2 * row + 1], -number);
        assert_eq!(batch.masks[70 * row..][..70], mask);
        assert_eq!(batch.next_masks[70 * row..][..70], [1.0; 70]);
        assert_eq!(batch.next_observations[2 * row..][..2], [number + 1.0, 0.0]);
        assert_eq!((batch.rewards[row], batch.discounts[row]), (2.0 * number, 0.5));
        assert_eq!(batch.actions[row], 69);
        assert!(if number > 2.0 {
            batch.entropies[row] == number
        } else {
            batch.entropies[row].is_nan()
        });
        // An action that was not allowed is no teacher's.
        let teacher = if number > 2.0 { 68 } else { 0 };
        let known = masks[number as usize][teacher];
        assert_eq!(batch.teachers[row], if known { teacher as u32 } else { NO_TEACHER });
        seen[number as usize] += 1;
    }
    assert_eq!(seen[..2], [0, 0]);
    assert!(seen[2..].iter().all(|&count| (60..140).contains(&count)), "{seen:?}");
    replay.clear();
    replay.sample(10, &mut random, &mut batch);
    assert!(replay.is_empty() && batch.is_empty());
}

#[test]
fn sampling_is_seeded_and_allocates_only_once() {
    let replay = noise(100, 4, 6, 1);
    let (mut batch, mut again) = (Batch::default(), Batch::default());
    replay.sample(64, &mut random(1), &mut batch);
    let places = (batch.observations.as_ptr(), batch.masks.as_ptr(), batch.entropies.as_ptr());
    for seed in 2..20 {
        replay.sample(64, &mut random(seed), &mut batch);
        assert!(batch.len() == 64 && batch.is_finite());
    }
    assert_eq!(
        (batch.observations.as_ptr(), batch.masks.as_ptr(), batch.entropies.as_ptr()),
        places
    );
    replay.sample(64, &mut random(19), &mut again);
    assert_eq!(batch.observations, again.observations);
    assert_eq!(batch.actions, again.actions);
}

#[test]
fn what_cannot_be_learnt_from_is_refused() {
    let mut replay = Replay::new(5, 1, 3);
    let fine = Transition {
        observation: &[0.5],
        mask: &[true, true, false],
        action: 1,
        reward: 1.0,
        discount: 0.9,
        next_observation: &[0.6],
        next_mask: &[true; 3],
        entropy: None,
        teacher: None,
    };
    let bad = f32::NAN;
    for (transition, reason) in [
        (Transition { observation: &[bad], ..fine }, Refused::NotFinite("observation")),
        (Transition { next_observation: &[bad], ..fine }, Refused::NotFinite("next observation")),
        (Transition { reward: f32::INFINITY, ..fine }, Refused::NotFinite("reward")),
        (Transition { discount: bad, ..fine }, Refused::NotFinite("discount")),
        (Transition { entropy: Some(bad), ..fine }, Refused::NotFinite("entropy")),
        (Transition { action: 2, ..fine }, Refused::Masked { action: 2 }),
        (Transition { action: 3, ..fine }, Refused::Masked { action: 3 }),
        (Transition { next_mask: &[false; 3], ..fine }, Refused::NowhereToGo),
    ] {
        assert_eq!(replay.push(&transition), Err(reason));
    }
    assert!(replay.is_empty());
    // Where nothing follows, nothing need be allowed.
    let last = Transition { next_mask: &[false; 3], discount: 0.0, ..fine };
    assert_eq!((replay.push(&fine), replay.push(&last), replay.len()), (Ok(()), Ok(()), 2));
    let mut learner =
        Learner::new(SacConfig { batch: 16, ..quick(1, 3) }, 1).expect("valid settings");
    learner.update(&replay).expect("finite numbers");
}

#[test]
fn normalised_features_have_mean_zero_and_deviation_one() {
    let mut random = random(1);
    let mut normaliser = Normaliser::new(4);
    let mut untouched = [3.0, -2.0, 0.5, 1.0];
    normaliser.apply(&mut untouched);
    assert_eq!(untouched, [3.0, -2.0, 0.5, 1.0]);
    // A large offset, a large and a small scale, and a constant.
    let rows: Vec<f32> = (0..2_000)
        .flat_map(|_| {
            let x = [0; 3].map(|_| random.random_range(-1.0..1.0_f32));
            [1e4 + x[0], 1e3 * x[1], 1e-3 * x[2] - 1e-3, 7.0]
        })
        .collect();
    for rows in rows.chunks(4 * 7) {
        normaliser.observe(rows);
    }
    let mut out = Vec::new();
    normaliser.apply_to(&rows, &mut out);
    for feature in 0..4 {
        let values = || out.iter().skip(feature).step_by(4).map(|&x| f64::from(x));
        let mean = values().sum::<f64>() / 2_000.0;
        let variance = values().map(|x| (x - mean).powi(2)).sum::<f64>() / 2_000.0;
        let expected = if feature == 3 { 0.0 } else { 1.0 };
        assert!(mean.abs() < 2e-3 && (variance - expected).abs() < 2e-3, "{mean}, {variance}");
    }
    let mut far = [1e9, -1e9, 0.0, 8.0];
    normaliser.apply(&mut far);
    assert_eq!((far[0], far[1], far[3]), (5.0, -5.0, 1.0));

    let before = normaliser.clone();
    normaliser.observe(&[1.0, f32::NAN, 0.0, 0.0]);
    assert_eq!(normaliser, before, "a row with a number that is none is passed over");
    normaliser.freeze(true);
    normaliser.observe(&[0.0; 4]);
    normaliser.freeze(false);
    assert_eq!(normaliser, before);
    normaliser.observe(&[0.0; 4]);
    assert_ne!(normaliser, before);
}
