use super::*;
use crate::config::{Config, Fault};
use crate::engine::open;
use crate::units::InstanceCount;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

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
fn the_ladders_end_at_the_limit() {
    let ladder = |max| batch_ladder(BatchSize(max)).iter().map(|b| b.0).collect::<Vec<_>>();
    assert_eq!(ladder(1), [1]);
    assert_eq!(ladder(8), [1, 2, 4, 8]);
    assert_eq!(ladder(6), [1, 2, 4, 6]);
    assert_eq!(ladder(0), [1]);
    assert_eq!(ladder(u32::MAX).len(), 33);
    let ladder = |max| instance_ladder(InstanceCount(max)).iter().map(|n| n.0).collect::<Vec<_>>();
    assert_eq!(ladder(0), [1]);
    assert_eq!(ladder(3), [1, 2, 3]);
    assert_eq!(ladder(20), [1, 2, 3, 4, 5, 6, 7, 8, 16, 20]);
    assert_eq!(ladder(u16::MAX).last(), Some(&u16::MAX));
}

#[test]
fn figures_are_those_of_the_sorted_runs() {
    let runs = (1..=100).rev().map(Duration::from_micros).collect();
    let point = Point::of_runs(BatchSize(2), InstanceCount(4), runs);
    assert_eq!((point.latency_us_p50, point.latency_us_p95, point.runs), (50.0, 95.0, 100));
    // Half of 1..=100 are within 25 of 50.
    assert_eq!((point.latency_us_mean, point.latency_us_mad), (50.5, 25.0));
    assert_eq!(point.items_per_second(), 8.0 * 1e6 / 50.5);
}

#[test]
fn the_latency_table_is_that_of_one_instance() {
    let at = |batch, instances, latency_us| Point {
        instances: InstanceCount(instances),
        ..Point::configured(BatchSize(batch), latency_us)
    };
    let points = [at(4, 1, 40.6), at(1, 1, 10.0), at(1, 2, 15.0)];
    assert_eq!(latency_table(&points), [(1, 10), (4, 41)]);
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

/// A measurement of pretended models, each `(latency_us, batch, instances)` with `faults`.
fn run_together(
    parts: &[(u64, u32, u16)],
    faults: &str,
    effort: Effort,
    stop: &AtomicBool,
) -> Result<Vec<Point>, Failure> {
    let engines: Vec<_> = parts
        .iter()
        .map(|(latency_us, ..)| engine(&config(&format!("[(1, {latency_us})]"), faults, 8)))
        .collect();
    let parts: Vec<Part> = parts
        .iter()
        .zip(&engines)
        .map(|(&(_, batch, instances), engine)| Part {
            engine: &**engine,
            batch: BatchSize(batch),
            instances: InstanceCount(instances),
        })
        .collect();
    together(&parts, effort, stop)
}

fn effort(time_ms: u64, min_runs: u32) -> Effort {
    let time = Duration::from_millis(time_ms);
    Effort { time, min_runs, max_time: Duration::from_secs(20) }
}

#[test]
fn all_that_run_together_run_until_the_slowest_has_enough() {
    let parts = [(40_000, 1, 1), (2_000, 4, 2)];
    let points = run_together(&parts, "[]", effort(10, 4), &AtomicBool::new(false)).unwrap();
    let [slow, fast] = &points[..] else { panic!("{points:?}") };
    assert_eq!((slow.batch.0, slow.instances.0, fast.batch.0, fast.instances.0), (1, 1, 4, 2));
    assert!((4..=5).contains(&slow.runs) && slow.latency_us_p50 >= 40_000.0, "{slow:?}");
    // Four runs of 40 ms have room for 80 of 2 ms in each of two instances. A busy machine
    // stretches the short ones most, so only that there are many more is certain.
    assert!(fast.runs > 3 * slow.runs && fast.latency_us_p50 >= 2_000.0, "{fast:?}");
}

#[test]
fn a_measurement_of_slow_runs_ends_at_its_most_time() {
    let effort = Effort { max_time: Duration::from_millis(1), ..effort(0, 1_000) };
    let points = run_together(&[(30_000, 1, 2)], "[]", effort, &AtomicBool::new(false)).unwrap();
    assert!((2..=4).contains(&points[0].runs), "one of each instance: {points:?}");
}

#[test]
fn windows_end_when_their_time_is_over_or_they_agree() {
    let engine = engine(&config("[(1, 30000)]", "[]", 8));
    let parts = [Part { engine: &*engine, batch: BatchSize::ONE, instances: InstanceCount::ONE }];
    let stop = AtomicBool::new(false);
    let runs = |time_ms| {
        let time = Duration::from_millis(time_ms);
        let points = measure::in_windows(&parts, effort(0, 1), time, &stop).unwrap();
        points[0].runs
    };
    assert_eq!(runs(1), 1, "one window of one run");
    // Each window has three runs, of which two warm up: an hour is over when windows agree.
    assert!(runs(3_600_000) >= 4);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let broken_off = measure::in_windows(&parts, effort(0, 1), Duration::ZERO, &stop);
    assert!(matches!(broken_off, Err(Failure::Stopped)));
}

#[test]
fn an_engine_that_fails_or_panics_ends_the_measurement_of_all() {
    for (faults, words) in [("[(5, Fail)]", "run 5 fails"), ("[(5, Panic)]", "panicked")] {
        let parts = [(1_000, 1, 2), (1_000, 1, 1)];
        let endless = effort(3_600_000, 1_000_000);
        let failure = run_together(&parts, faults, endless, &AtomicBool::new(false)).unwrap_err();
        assert!(matches!(failure, Failure::Failed { .. }), "{failure:?}");
        assert!(failure.to_string().contains(words), "{failure}");
    }
}

#[test]
fn a_measurement_can_be_stopped() {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let endless = effort(3_600_000, 1_000_000);
        let stopped = run_together(&[(1_000, 1, 3)], "[]", endless, &stop);
        assert!(matches!(stopped, Err(Failure::Stopped)), "{stopped:?}");
    });
}

#[test]
fn a_pretended_engine_is_not_run_to_be_known() {
    let mut config = config("[(1, 100), (3, 300)]", "[]", 4);
    if let EngineConfig::Synthetic(table) = &mut config.models[0].engine {
        table.faults = vec![(1, Fault::Hang)];
    }
    let engine = engine(&config);
    let known = known(&config.models[0], &config, &*engine, Duration::from_secs(1)).unwrap();
    let known: Vec<_> =
        known.points().iter().map(|p| (p.batch.0, p.latency_us_p50, p.runs)).collect();
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
    let mut profile = Profile::new("m", &model, &*engine, &config, points).unwrap();
    let (batch, instances) = (BatchSize(2), InstanceCount::ONE);
    let limit = (BatchSize(4), InstanceCount(2), "\"no\"".into());
    profile.limits = vec![Limit { batch: limit.0, instances: limit.1, reason: limit.2 }];
    profile.features =
        Some(Features { multiply_adds: 7, weight_bytes: 6, activation_bytes: 5, kernels: 4 });
    profile.memory = Some(Memory {
        loaded_bytes: 3,
        instance_bytes: vec![(batch, 2)],
        further_instance_bytes: None,
    });
    let latency_us_p50 = 77.0;
    profile.anchor = Some(Anchor { model: "m".into(), instances, latency_us_p50 });
    profile.neighbour_stamps.insert("n".into(), profile.model_stamp);
    profile.add_beside(
        Point::configured(batch, 300.0),
        vec![Neighbour { model: "n".into(), batch, instances }],
    );
    profile.beside[0].again_us_mean = Some(303.0);
    profile.save(&model).unwrap();
    Saved { _folder: folder, model, config, engine, profile }
}

impl Saved {
    fn load(&self) -> Result<Profile, ProfileError> {
        Profile::load(&self.model, &*self.engine, &self.config)
    }

    /// Replaces the first `from`, and gives the place behind it: line and column, from 1.
    fn edit(&self, from: &str, to: &str) -> (usize, usize) {
        let path = profile_path(&self.model);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        let edited = text.replacen(from, to, 1);
        let before = &edited[..text.find(from).unwrap() + to.len()];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
        std::fs::write(path, edited).unwrap();
        (line, column)
    }
}

#[test]
fn a_profile_comes_back_as_it_was_saved() {
    let saved = saved();
    assert_eq!(saved.load().unwrap(), saved.profile);
    assert_eq!(Profile::read(&profile_path(&saved.model)).unwrap(), saved.profile);
    assert_eq!(saved.profile.beside[0].multiplier, 2.0);
    assert_eq!(profile_path(Path::new("engines/a/model.onnx")), Path::new("engines/a/profile.ron"));
    assert!(!saved.profile.is_beyond_limits(BatchSize(4), InstanceCount::ONE));
    assert!(!saved.profile.is_beyond_limits(BatchSize(2), InstanceCount(9)));
    assert!(saved.profile.is_beyond_limits(BatchSize(8), InstanceCount(2)));
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
        ("library_version: \"", "library_version: \"1.17", "another engine version"),
        ("crate_version: \"", "crate_version: \"0.", "another bcedge version"),
        ("threads_per_instance: 1", "threads_per_instance: 9", "another number of threads"),
        ("bytes: 7", "bytes: 8", "another model file"),
        ("format: 2", "format: 1", "another format"),
        // A later one may have fields that are not known here.
        ("format: 2", "format: 3, later: true", "another format: measured with 3, this is 2"),
    ];
    for (from, to, reason) in cases {
        let saved = saved();
        saved.edit(from, to);
        let error = saved.load().unwrap_err();
        assert!(matches!(error, ProfileError::Foreign { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        // Whoever only wants to look at it can, unless it is written in another way.
        assert_eq!(
            Profile::read(&profile_path(&saved.model)).is_ok(),
            reason != "another format" && !reason.contains("measured with 3"),
            "{reason}"
        );
    }
    let saved = saved();
    std::fs::write(&saved.model, b"other weights").unwrap();
    assert!(saved.load().unwrap_err().to_string().contains("another model file"));
}

#[test]
fn serving_measures_for_itself_where_a_profile_does_not_hold() {
    let known_with = |prepare: fn(&Saved)| {
        let mut saved = saved();
        saved.config.models[0].engine = EngineConfig::Onnx(saved.model.clone());
        prepare(&saved);
        let before = std::fs::read(profile_path(&saved.model)).ok();
        let model = &saved.config.models[0];
        let known = known(model, &saved.config, &*saved.engine, Duration::from_millis(50)).unwrap();
        assert_eq!(
            std::fs::read(profile_path(&saved.model)).ok(),
            before,
            "the file is left alone"
        );
        known
    };
    assert!(matches!(known_with(|_| ()), Known::Profile(_)));
    let unusable: [fn(&Saved); 3] = [
        |saved| std::fs::remove_file(profile_path(&saved.model)).unwrap(),
        |saved| {
            saved.edit("device: \"", "device: \"another ");
        },
        |saved| {
            saved.edit("format: 2", "format: two");
        },
    ];
    for prepare in unusable {
        let known = known_with(prepare);
        assert!(matches!(known, Known::Points(_)));
        assert!(!known.points().is_empty() && known.points().iter().all(|point| point.runs > 0));
    }
}

#[test]
fn a_damaged_profile_is_refused_with_place_field_and_what_is_expected() {
    let cases: [(&str, &str, &[&str]); 13] = [
        ("points: [", "points: [ oops", &["points"]),
        ("device:", "gadget:", &["`gadget`", "`device`"]),
        ("    device: ", "    ,device: ", &[]),
        ("batch: 1", "batch: 0", &["field `batch`", "at least 1"]),
        ("instances: 1", "instances: 0", &["field `instances`", "at least 1 instance"]),
        ("latency_us_p50: 150.0", "latency_us_p50: -150", &["field `latency_us_p50`", "-150"]),
        ("latency_us_p50: 150.0", "latency_us_p50: inf", &["finite number of at least 0"]),
        ("latency_us_mad: 0.0", "latency_us_mad: NaN", &["field `latency_us_mad`"]),
        ("latency_us_p95: 150.0", "latency_us_p95: \"fast\"", &["field `latency_us_p95`", "float"]),
        ("drift: 1.0", "drift: 0.0", &["field `drift`", "above 0"]),
        ("multiplier: 2.0", "multiplier: -1.0", &["field `multiplier`", "above 0"]),
        ("again_us_mean: Some(303.0", "again_us_mean: Some(-1.0", &["field `again_us_mean`"]),
        ("latency_us_p50: 77.0", "latency_us_p50: 0.0", &["field `latency_us_p50`", "above 0"]),
    ];
    for (from, to, words) in cases {
        let saved = saved();
        let (line, _) = saved.edit(from, to);
        let error = saved.load().unwrap_err();
        assert!(matches!(error, ProfileError::Corrupt { .. }), "{from}: {error}");
        let text = error.to_string();
        assert!(text.contains(&format!("profile.ron:{line}:")), "line {line}: {text}");
        assert!(text.contains("measure again with `bcedge profile`"), "{text}");
        for word in words {
            assert!(text.contains(word), "'{word}' is not in: {text}");
        }
    }
    let cases = [
        ("batch: 2", "batch: 1", "appears twice"),
        ("batch: 1", "batch: 4", "batch 1 with 1 instance is missing"),
    ];
    for (from, to, reason) in cases {
        let saved = saved();
        saved.edit(from, to);
        let error = saved.load().unwrap_err();
        assert!(matches!(error, ProfileError::Corrupt { .. }), "{from}: {error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn what_is_no_profile_at_all_is_refused() {
    let saved = saved();
    let path = profile_path(&saved.model);
    let text = std::fs::read_to_string(&path).unwrap();
    // Cut off anywhere, as by a full disk.
    for len in (0..text.trim_end().len() - 1).step_by(7) {
        std::fs::write(&path, &text[..len]).unwrap();
        assert!(matches!(saved.load(), Err(ProfileError::Corrupt { .. })), "{len} bytes");
    }
    std::fs::write(&path, vec![b' '; 17 << 20]).unwrap();
    assert!(saved.load().unwrap_err().to_string().contains("too long"));
    std::fs::write(&path, [0xff, 0xfe, 0]).unwrap();
    assert!(matches!(saved.load().unwrap_err(), ProfileError::Corrupt { .. }));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(saved.load().unwrap_err(), ProfileError::Missing(_)));
}

#[test]
fn a_profile_is_drawn_as_a_picture_with_a_line_for_each_number_of_instances() {
    let mut saved = saved();
    saved.profile.model = "a<b&c".into();
    saved
        .profile
        .points
        .push(Point { instances: InstanceCount(2), ..Point::configured(BatchSize::ONE, 300.0) });
    let drawn = picture(&saved.profile);
    let document = roxmltree::Document::parse(&drawn).unwrap();
    let text: Vec<&str> = document.descendants().filter_map(|node| node.text()).collect();
    for wanted in ["1 instance", "2 instances", "items/s", "ms", "batch size"] {
        assert!(text.contains(&wanted), "{wanted}: {text:?}");
    }
    assert!(text.iter().any(|text| text.starts_with("a<b&c on ")), "{text:?}");
}
