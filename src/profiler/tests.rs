use super::*;
use crate::config::{Config, Fault};
use crate::engine::open;
use std::path::{Path, PathBuf};

/// A configuration with one pretended model.
fn config(table: &str, faults: &str, max_batch: u32) -> Config {
    let text = format!(
        "(models: [(name: \"m\", max_batch: {max_batch}, \
         engine: Synthetic((latency_us: {table}, elements: 4, faults: {faults})))])"
    );
    ron::from_str(&text).unwrap()
}

fn engine(config: &Config) -> std::sync::Arc<dyn Engine> {
    open(&config.models[0], config).unwrap()
}

fn batches(points: &[Point]) -> Vec<u32> {
    points.iter().map(|point| point.batch.0).collect()
}

#[test]
fn the_ladder_ends_at_the_limit() {
    let ladder = |max| batch_ladder(BatchSize(max)).iter().map(|b| b.0).collect::<Vec<_>>();
    assert_eq!(ladder(1), [1]);
    assert_eq!(ladder(8), [1, 2, 4, 8]);
    assert_eq!(ladder(6), [1, 2, 4, 6]);
    assert_eq!(ladder(0), [1]);
    assert_eq!(ladder(u32::MAX).len(), 33);
}

#[test]
fn quantiles_are_those_of_the_sorted_runs() {
    let runs = (1..=100).rev().map(Duration::from_micros).collect();
    let point = point(BatchSize(2), InstanceCount(4), runs);
    assert_eq!((point.latency_us_p50, point.latency_us_p95, point.runs), (50.0, 95.0, 100));
    assert_eq!(point.items_per_second(), 8.0 * 1e6 / 50.0);
}

#[test]
fn measuring_goes_through_the_whole_plan_in_order() {
    let config = config("[(1, 0)]", "[]", 3);
    let engine = engine(&config);
    let plan = Plan::full(&*engine, 2, Duration::ZERO);
    let mut told = Vec::new();
    let points = measure(&*engine, &plan, &mut |point| told.push(point.clone())).unwrap();
    assert_eq!(told, points);
    let order: Vec<_> = points.iter().map(|p| (p.instances.0, p.batch.0, p.runs)).collect();
    // No time to spend: the fewest runs, three by each instance.
    assert_eq!(order, [(1, 1, 3), (1, 2, 3), (1, 3, 3), (2, 1, 6), (2, 2, 6), (2, 3, 6)]);
}

#[test]
fn a_sleeping_engine_takes_at_least_its_sleep() {
    let config = config("[(1, 2000), (4, 8000)]", "[]", 4);
    let points = quick(&*engine(&config), Duration::from_millis(200)).unwrap();
    assert_eq!(points[0].batch, BatchSize::ONE);
    for point in &points {
        let slept_us = 2000.0 * f64::from(point.batch.0);
        assert!(point.latency_us_p50 >= slept_us && point.runs >= 1, "{point:?}");
        assert!(point.latency_us_p95 >= point.latency_us_p50, "{point:?}");
    }
}

#[test]
fn a_quick_profile_of_a_light_engine_has_every_batch() {
    let config = config("[(1, 0)]", "[]", 16);
    let points = quick(&*engine(&config), Duration::from_secs(5)).unwrap();
    assert_eq!(batches(&points), [1, 2, 4, 8, 16]);
    assert!(points.iter().all(|point| point.runs == 50), "{points:?}");
}

#[test]
fn a_quick_profile_of_a_heavy_engine_has_what_fits() {
    let config = config("[(1, 20000), (64, 1280000)]", "[]", 64);
    let start = std::time::Instant::now();
    let points = quick(&*engine(&config), Duration::from_millis(250)).unwrap();
    assert_eq!(points[0].batch, BatchSize::ONE);
    // 64 items would take 2.5 s, and even 8 a third of one.
    assert!(points.iter().all(|point| point.batch.0 <= 4), "{points:?}");
    assert!(start.elapsed() < Duration::from_secs(2));
    // Without any time at all batch 1 is still known.
    let points = quick(&*engine(&config), Duration::ZERO).unwrap();
    assert_eq!((batches(&points), points[0].runs), (vec![1], 1));
}

#[test]
fn an_engine_that_fails_or_panics_is_an_error() {
    let failing = config("[(1, 0)]", "[(4, Fail)]", 1);
    let plan = |engine: &dyn Engine| Plan::full(engine, 2, Duration::ZERO);
    let engine_ = engine(&failing);
    let error = measure(&*engine_, &plan(&*engine_), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("run 4 fails"), "{error}");
    let panicking = config("[(1, 0)]", "[(4, Panic)]", 1);
    let engine_ = engine(&panicking);
    let error = measure(&*engine_, &plan(&*engine_), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
}

#[test]
fn a_pretended_engine_is_not_run_to_be_known() {
    let mut config = config("[(1, 100), (3, 300)]", "[]", 4);
    if let EngineConfig::Synthetic(table) = &mut config.models[0].engine {
        table.faults = vec![(1, Fault::Hang)];
    }
    let engine = engine(&config);
    let points = points(&config.models[0], &config, &*engine, Duration::from_secs(1)).unwrap();
    let known: Vec<_> = points.iter().map(|p| (p.batch.0, p.latency_us_p50, p.runs)).collect();
    assert_eq!(known, [(1, 100.0, 0), (2, 200.0, 0), (4, 400.0, 0)]);
}

/// A folder with a model file (whose content does not matter here) and a saved profile of it.
struct Saved {
    _folder: tempfile::TempDir,
    model: PathBuf,
    config: Config,
    engine: std::sync::Arc<dyn Engine>,
    profile: Profile,
}

fn saved() -> Saved {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.onnx");
    std::fs::write(&model, b"weights").unwrap();
    let config = config("[(1, 0)]", "[]", 2);
    let engine = engine(&config);
    let points = configured(&[(1, 150)], BatchSize(2));
    let profile = Profile::new(&model, &*engine, &config, points).unwrap();
    profile.save(&model).unwrap();
    Saved { _folder: folder, model, config, engine, profile }
}

impl Saved {
    fn load(&self) -> Result<Profile, ProfileError> {
        Profile::load(&self.model, &*self.engine, &self.config)
    }

    fn edit(&self, from: &str, to: &str) {
        let path = profile_path(&self.model);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    }
}

#[test]
fn a_profile_comes_back_as_it_was_saved() {
    let saved = saved();
    assert_eq!(saved.load().unwrap(), saved.profile);
    assert_eq!(profile_path(Path::new("engines/a/model.onnx")), Path::new("engines/a/profile.ron"));
}

#[test]
fn saving_replaces_and_leaves_nothing_else_behind() {
    let mut saved = saved();
    saved.profile.points[0].latency_us_p50 = 99.5;
    saved.profile.save(&saved.model).unwrap();
    assert_eq!(saved.load().unwrap(), saved.profile);
    let folder = saved.model.parent().unwrap();
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["model.onnx", "profile.ron"]);
}

#[test]
fn a_profile_of_something_else_is_refused_with_the_reason() {
    let cases = [
        ("device: \"", "device: \"another ", "another device"),
        ("\"synthetic\"", "\"tensorrt_plan\"", "another engine"),
        ("crate_version: \"", "crate_version: \"0.", "another bcedge version"),
        ("threads_per_instance: 1", "threads_per_instance: 9", "another number of threads"),
        ("bytes: 7", "bytes: 8", "another model file"),
    ];
    for (from, to, reason) in cases {
        let saved = saved();
        saved.edit(from, to);
        let error = saved.load().unwrap_err();
        assert!(matches!(error, ProfileError::Foreign { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    let saved = saved();
    std::fs::write(&saved.model, b"other weights").unwrap();
    assert!(saved.load().unwrap_err().to_string().contains("another model file"));
}

#[test]
fn a_damaged_profile_is_refused_with_the_reason() {
    let cases = [
        ("points: [", "points: [ oops", ":"),
        ("device:", "gadget:", "gadget"),
        ("batch: 1", "batch: 0", "impossible point"),
        ("batch: 2", "batch: 1", "appears twice"),
        ("latency_us_p50: 150", "latency_us_p50: -150", "impossible point"),
        ("latency_us_p50: 150.0", "latency_us_p50: inf", "impossible point"),
        ("batch: 1", "batch: 4", "batch 1 with 1 instance is missing"),
    ];
    for (from, to, reason) in cases {
        let saved = saved();
        saved.edit(from, to);
        let error = saved.load().unwrap_err();
        assert!(matches!(error, ProfileError::Corrupt { .. }), "{from}: {error}");
        let text = error.to_string();
        assert!(text.contains(reason) && text.contains("profile.ron"), "{text}");
        assert!(text.contains("bcedge profile"), "{text}");
    }
    let saved = saved();
    let path = profile_path(&saved.model);
    std::fs::write(&path, vec![b' '; 2 << 20]).unwrap();
    assert!(saved.load().unwrap_err().to_string().contains("too long"));
    std::fs::write(&path, [0xff, 0xfe, 0]).unwrap();
    assert!(matches!(saved.load().unwrap_err(), ProfileError::Corrupt { .. }));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(saved.load().unwrap_err(), ProfileError::Missing(_)));
}
