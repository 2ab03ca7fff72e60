//! What the predictor of interference makes of profiles that were measured on real engines: those in
//! `tests/data/profiles` are of the six reference models on two cores, with the embedded engine.

use bcedge::profiler::{Profile, interference, interference_samples};
use bcedge::scheduler::interference::judge::cross_validate;
use std::path::Path;

/// Cores of the machine they were measured on.
const LANES: u32 = 2;

fn profiles() -> Vec<Profile> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/profiles");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path().join("profile.ron")).collect();
    paths.sort();
    paths.iter().map(|path| Profile::read(path).unwrap()).collect()
}

#[test]
fn held_out_combinations_are_predicted_within_5_percent_and_better_than_by_regression() {
    let (samples, combinations) = interference_samples(&profiles(), LANES);
    let judgement = cross_validate(&samples, &combinations, 10, 1).unwrap();
    println!("{judgement:?}");
    assert!(judgement.combinations >= 40, "{judgement:?}");
    assert!(judgement.network <= 0.05, "{judgement:?}");
    assert!(judgement.network < judgement.linear, "{judgement:?}");
    assert!(judgement.network < judgement.sharing, "{judgement:?}");
}

#[test]
fn the_same_profiles_give_the_same_predictions() {
    let profiles = profiles();
    let fitted = interference(&profiles, LANES);
    assert!(fitted.is_fitted());
    assert_eq!(format!("{fitted:?}"), format!("{:?}", interference(&profiles, LANES)));
    assert!(!interference(&profiles[..1], LANES).is_fitted(), "one model says too little");
}
