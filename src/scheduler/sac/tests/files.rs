//! Weights as bytes: there and back, and everything that is refused.

use super::*;

const NAMES: [&str; 4] = ["queued", "slack", "rate", "memory"];

fn layout() -> Layout {
    Layout::new(1, &NAMES, 6, "batch 1,2,4 × instances 1,2")
}

/// A learner that has learnt something, and what it learnt from.
fn trained() -> (Learner, Replay) {
    let replay = noise(300, 4, 6, 1);
    let mut learner = Learner::new(quick(4, 6), 9).expect("valid settings");
    learner.normaliser_mut().observe(&uniform(400, &mut random(2)));
    for _ in 0..120 {
        learner.update(&replay).expect("finite numbers");
    }
    (learner, replay)
}

#[test]
fn a_policy_survives_the_way_there_and_back() {
    let actor = trained().0.actor();
    let bytes = actor.to_bytes(&layout(), "bcedge train --seed 9").expect("it fits");
    let (read, made_by) = Actor::from_bytes(&bytes, &layout()).expect("just written");
    assert_eq!((read, made_by.as_str()), (actor.clone(), "bcedge train --seed 9"));
    assert_eq!(actor.to_bytes(&layout(), "bcedge train --seed 9").expect("it fits"), bytes);
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one_bit_for_bit() {
    let (mut learner, replay) = trained();
    let bytes = learner.to_bytes(&layout(), "").expect("it fits");
    let (mut resumed, _) =
        Learner::from_bytes(&bytes, &layout(), learner.config().clone()).expect("just written");
    let mut random = random(5);
    for _ in 0..150 {
        let rows = uniform(8, &mut random);
        learner.normaliser_mut().observe(&rows);
        resumed.normaliser_mut().observe(&rows);
        assert_eq!(learner.update(&replay), resumed.update(&replay));
    }
    assert_eq!(learner.networks, resumed.networks);
    assert_eq!(learner.actor(), resumed.actor());
    assert_eq!(learner.to_bytes(&layout(), "").ok(), resumed.to_bytes(&layout(), "").ok());
}

#[test]
fn a_shipped_policy_can_be_learnt_on_from() {
    let (learner, replay) = trained();
    let actor = learner.actor();
    let mut tuned = Learner::from_actor(quick(4, 6), &actor, 1).expect("the same sizes");
    assert_eq!(tuned.actor(), actor);
    tuned.update(&replay).expect("finite numbers");
    let wider = SacConfig { hidden: [16, 17], ..quick(4, 6) };
    let refused = Learner::from_actor(wider, &actor, 1).expect_err("another size");
    assert_eq!((refused.setting, refused.value), ("hidden", 17.0));
}

#[test]
fn foreign_files_are_refused_with_what_was_found_and_expected() {
    let (learner, _) = trained();
    let policy = learner.actor().to_bytes(&layout(), "").expect("it fits");
    let whole = learner.to_bytes(&layout(), "").expect("it fits");
    let refusal = |layout: &Layout| {
        Actor::from_bytes(&policy, layout).expect_err("another layout").to_string()
    };
    let other = |change: fn(&mut Layout)| {
        let mut layout = layout();
        change(&mut layout);
        refusal(&layout)
    };
    let says = "the file's observation's version is 1; expected 2";
    assert_eq!(other(|l| l.version = 2), says);
    assert_eq!(other(|l| l.features = 5), "the file's number of features is 4; expected 5");
    assert_eq!(other(|l| l.actions = 8), "the file's number of actions is 6; expected 8");
    let says = "the file's action grid is batch 1,2,4 × instances 1,2; expected batch 1";
    assert_eq!(other(|l| l.grid = "batch 1".to_string()), says);
    let renamed = Layout::new(1, &["queued", "slack", "rate", "power"], 6, &layout().grid);
    assert!(refusal(&renamed).starts_with("the file's checksum of the features' names is "));

    let error = Actor::from_bytes(&whole, &layout()).expect_err("a learner").to_string();
    assert_eq!(error, "the file's kind is learner; expected policy");
    let error = Learner::from_bytes(&policy, &layout(), quick(4, 6)).expect_err("a policy");
    assert_eq!(error.to_string(), "the file's kind is policy; expected learner");
    let wider = SacConfig { hidden: [32, 16], ..quick(4, 6) };
    let error = Learner::from_bytes(&whole, &layout(), wider).expect_err("other sizes");
    assert_eq!(error.to_string(), "the file's network is [4, 16, 16, 6]; expected [4, 32, 16, 6]");
    let broken = SacConfig { tau: 0.0, ..quick(4, 6) };
    let error = Learner::from_bytes(&whole, &layout(), broken).expect_err("a bad setting");
    assert!(matches!(error, WeightsError::Config(_)), "{error}");
}

/// Safetensors, but somebody else's.
#[test]
fn files_of_other_programs_are_refused() {
    use safetensors::tensor::{Dtype, TensorView};
    let data = [0; 16];
    let view = TensorView::new(Dtype::F32, vec![4], &data).expect("sixteen bytes");
    let bytes = safetensors::serialize([("weight", view)], None).expect("it fits");
    let error = Actor::from_bytes(&bytes, &layout()).expect_err("no description");
    assert!(matches!(error, WeightsError::Description(_)), "{error}");
    for bytes in [&b""[..], b"{}", b"PK\x03\x04not a tensor at all", &[0xff; 64]] {
        let error = Actor::from_bytes(bytes, &layout()).expect_err("not safetensors");
        assert!(matches!(error, WeightsError::Format(_)), "{error}");
    }
}

#[test]
fn numbers_that_are_none_are_refused_by_name() {
    let (learner, _) = trained();
    let mut bad = learner.clone();
    let place = bad.networks.critics[1].biases(2).start;
    bad.networks.critics[1].parameters_mut()[place] = f32::NAN;
    let bytes = bad.to_bytes(&layout(), "").expect("it fits");
    let error = Learner::from_bytes(&bytes, &layout(), quick(4, 6)).expect_err("a NaN");
    assert_eq!(error.to_string(), "the file's critic.1.2.bias holds a number that is not finite");
    let bytes = bad.actor().to_bytes(&layout(), "").expect("it fits");
    let error = Actor::from_bytes(&bytes, &layout()).expect_err("a NaN");
    assert!(matches!(error, WeightsError::NotFinite(_)), "{error}");

    let mut bad = learner.clone();
    bad.networks.ln_alpha = f32::INFINITY;
    let bytes = bad.to_bytes(&layout(), "").expect("it fits");
    let error = Learner::from_bytes(&bytes, &layout(), quick(4, 6)).expect_err("infinite");
    assert_eq!(error.to_string(), "the file's ln_alpha holds a number that is not finite");

    // Finite as f64, but not what becomes of it.
    let mut bad = learner;
    bad.normaliser.mean[2] = 1e300;
    let bytes = bad.actor().to_bytes(&layout(), "").expect("it fits");
    let error = Actor::from_bytes(&bytes, &layout()).expect_err("too large");
    assert_eq!(error.to_string(), "the file's normaliser holds a number that is not finite");
}

/// Whatever happens to the bytes, they are refused: the checksum sees what the rest does not.
#[test]
fn damaged_files_are_refused_and_nothing_panics() {
    let (learner, _) = trained();
    let config = learner.config().clone();
    let mut random = random(1);
    let files = [
        learner.actor().to_bytes(&layout(), "seed 9").expect("it fits"),
        learner.to_bytes(&layout(), "seed 9").expect("it fits"),
    ];
    for (kind, bytes) in files.iter().enumerate() {
        let is_refused = |bytes: &[u8]| match kind {
            0 => Actor::from_bytes(bytes, &layout()).is_err(),
            _ => Learner::from_bytes(bytes, &layout(), config.clone()).is_err(),
        };
        assert!(!is_refused(bytes));
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
        for i in 0..600 {
            let length = match i % 2 {
                0 => random.random_range(0..bytes.len()),
                _ => random.random_range(0..header + 8),
            };
            assert!(is_refused(&bytes[..length]), "cut off at {length}");
        }
        for i in 0..1_500 {
            let mut damaged = bytes.clone();
            // Half of them in the header, where there is most to go wrong.
            let end = if i % 2 == 0 { header } else { bytes.len() };
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..end);
                match random.random_range(0..4) {
                    0 => damaged[at] ^= 1 << random.random_range(0..8),
                    1 => damaged[at] = random.random_range(0..=255),
                    2 => damaged.insert(at, random.random_range(0..=255)),
                    _ => drop(damaged.remove(at)),
                }
                damaged.resize(damaged.len().max(bytes.len()), 0);
            }
            // The same content is no damage: spaces in the header, a byte written over by itself.
            if damaged != *bytes && !is_refused(&damaged) {
                let same = match kind {
                    0 => {
                        Actor::from_bytes(&damaged, &layout()).expect("not refused").0
                            == learner.actor()
                    }
                    _ => {
                        Learner::from_bytes(&damaged, &layout(), config.clone())
                            .expect("not refused")
                            .0
                            .networks
                            == learner.networks
                    }
                };
                assert!(same, "case {i}: a damaged file was taken for another policy");
            }
        }
    }
}
