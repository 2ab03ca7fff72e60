//! What a prediction costs, and how good it is.
//!
//! `cargo bench --bench predictor`. The limit for a prediction is 2 µs. Before the times stand the
//! errors on held-out combinations of the profiles in `tests/data/profiles`, of the network beside
//! linear regression and equal shares; `bcedge profile` prints the same for the machine it runs on.

use bcedge::profiler::{Profile, interference, interference_samples, predictor};
use bcedge::scheduler::interference::judge::cross_validate;
use bcedge::scheduler::{Neighbours, Predictor};
use bcedge::units::BatchSize;
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::Path;

/// Cores of the machine the profiles were measured on.
const LANES: u32 = 2;

fn profiles() -> Vec<Profile> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/profiles");
    let entries = std::fs::read_dir(folder).expect("the folder is in the repository");
    let mut paths: Vec<_> = entries.flatten().map(|e| e.path().join("profile.ron")).collect();
    paths.sort();
    paths.iter().map(|path| Profile::read(path).expect("a sound profile")).collect()
}

fn prediction(criterion: &mut Criterion) {
    let profiles = profiles();
    let (samples, combinations) = interference_samples(&profiles, LANES);
    if let Some(judgement) = cross_validate(&samples, &combinations, 10, 1) {
        println!("{judgement:?}");
    }
    let predictors: Vec<Predictor> =
        profiles.iter().map(|p| predictor(&p.points, p.features.as_ref(), LANES)).collect();
    let fitted = interference(&profiles, LANES);
    let imprint = |at: usize, batch| fitted.imprint(&predictors[at].footprint(BatchSize(batch)));
    let running =
        (0..predictors.len()).fold(Neighbours::default(), |all, at| all.with(&imprint(at, 1)));
    criterion.bench_function("execution time of a batch beside six others", |bencher| {
        bencher.iter(|| {
            let model = black_box(&predictors[0]);
            let batch = black_box(BatchSize(3));
            let own = fitted.imprint(&model.footprint(batch));
            model.alone(batch).map(|time| time.scale(fitted.multiplier(&own, &running)))
        });
    });
    let own = imprint(0, 3);
    criterion.bench_function("multiplier of a batch under way", |bencher| {
        bencher.iter(|| fitted.multiplier(black_box(&own), black_box(&running)));
    });
    criterion.bench_function("fit", |bencher| bencher.iter(|| interference(&profiles, LANES)));
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = prediction
}
criterion_main!(benches);
