use super::*;
use crate::engine::{ExecutionContext, InstanceLoop, ModelSpec, OutputTensor, open};
use crate::profiler::{
    Beside, RepeatError, Sample, batch_ladder, glance, profile_path, repeat_error, samples,
};
use std::fs;
use std::sync::atomic::{AtomicU32, AtomicU64};
use tempfile::TempDir;

/// Pretended models with model files in folders of their own.
struct Zoo {
    folder: TempDir,
    config: Config,
    subjects: Vec<Subject>,
}

/// The times are those of one item in µs.
fn zoo(latencies_us: &[u64], max_batch: u32, max_instances: u16) -> Zoo {
    let model = |(at, us): (usize, &u64)| {
        format!(
            "(name: \"m{at}\", max_batch: {max_batch}, max_instances: {max_instances},
              engine: Synthetic((latency_us: [(1, {us})], elements: 4)))"
        )
    };
    let models: Vec<String> = latencies_us.iter().enumerate().map(model).collect();
    let config: Config = ron::from_str(&format!("(models: [{}])", models.join(", "))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let subject = |model: &crate::config::ModelConfig| {
        let file = folder.path().join(&model.name).join("model.onnx");
        fs::create_dir(file.parent().unwrap()).unwrap();
        fs::write(&file, &model.name).unwrap();
        Subject {
            name: model.name.clone(),
            file,
            engine: open(model, &config).unwrap(),
            max_instances: InstanceCount(max_instances),
            is_target: true,
        }
    };
    let subjects = config.models.iter().map(subject).collect();
    Zoo { folder, config, subjects }
}

fn request(combinations: usize) -> Request {
    let point_time = Duration::from_millis(1);
    Request { point_time, combinations, seed: 1, fresh: false, guarded: false }
}

/// Where the machine's speed matters.
fn guarded(combinations: usize) -> Request {
    Request { guarded: true, ..request(combinations) }
}

impl Zoo {
    /// A campaign that is stopped when so many points are done, and what it told.
    fn run(&self, request: &Request, stop_at: usize) -> (End, Vec<News>) {
        let stop = AtomicBool::new(false);
        let mut news = Vec::new();
        let tell = &mut |new: News| {
            if let News::Progress { done, .. } = new
                && done >= stop_at
            {
                stop.store(true, Ordering::Relaxed);
            }
            news.push(new);
        };
        let mut campaign = Campaign::begin(&self.subjects, &self.config, request, tell).unwrap();
        let end = campaign.run(&stop, tell).unwrap();
        (end, news)
    }

    fn load(&self, at: usize) -> Result<Profile, ProfileError> {
        let Subject { file, engine, .. } = &self.subjects[at];
        Profile::load(file, &**engine, &self.config)
    }

    fn profiles(&self) -> Vec<Profile> {
        (0..self.subjects.len()).map(|at| self.load(at).unwrap()).collect()
    }
}

/// What is measured, without the figures.
fn keys(profiles: &[Profile]) -> Vec<String> {
    let of = |profile: &Profile| {
        let points =
            profile.points.iter().map(|point| format!("{} {}", point.batch, point.instances));
        let beside = profile.beside.iter().map(|beside| format!("{:?}", beside.key()));
        let mut all: Vec<String> = points.chain(beside).collect();
        all.sort();
        all
    };
    profiles.iter().flat_map(of).collect()
}

fn resumed(news: &[News]) -> Option<(usize, usize)> {
    news.iter().find_map(|new| match new {
        News::Resumed { done, total } => Some((*done, *total)),
        _ => None,
    })
}

#[test]
fn a_campaign_measures_every_point_alone_and_the_combinations_of_all() {
    let zoo = zoo(&[200, 300, 500], 4, 2);
    let (end, news) = zoo.run(&request(10), usize::MAX);
    assert_eq!((end, resumed(&news)), (End::Complete, None));
    let profiles = zoo.profiles();
    for (profile, us) in profiles.iter().zip([200.0, 300.0, 500.0]) {
        let alone: Vec<_> = profile.points.iter().map(|p| (p.instances.0, p.batch.0)).collect();
        assert_eq!(alone, [(1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (2, 4)]);
        for point in &profile.points {
            assert!(point.latency_us_p50 >= us, "{point:?}");
            assert!(point.runs >= u32::from(point.instances.0), "{point:?}");
        }
        assert!(!profile.beside.is_empty());
        assert_eq!(profile.point_ms, 1);
        for beside in &profile.beside {
            let alone = profile.alone(beside.point.batch, InstanceCount::ONE).unwrap();
            let ratio = beside.point.latency_us_mean / alone.latency_us_mean;
            assert!((beside.multiplier - ratio).abs() < 1e-3, "{beside:?}");
        }
    }
    // Each combination stands in the profiles of all its members, as those see it.
    let all = profiles.iter().flat_map(|profile| &profile.beside);
    let stands: f64 = all.map(|beside| 1.0 / (beside.neighbours.len() + 1) as f64).sum();
    assert!((stands - 10.0).abs() < 1e-6, "{stands} combinations");
    // Two of the ten were measured twice.
    let RepeatError { pairs, median, p90 } = repeat_error(&profiles).unwrap();
    assert!((4..=6).contains(&pairs) && median <= p90, "{pairs} pairs");
}

#[test]
fn a_glance_has_a_little_of_everything_within_its_time() {
    let zoo = zoo(&[300, 2_000, 20_000], 8, 2);
    let start = std::time::Instant::now();
    let (budget, mut heard) = (Duration::from_millis(400), 0);
    let profiles = glance(&zoo.subjects, &zoo.config, budget, &mut |done| heard = done).unwrap();
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    assert_eq!((profiles.len(), heard), (3, 3));
    for profile in profiles.iter().flatten() {
        for instances in [1, 2] {
            assert!(profile.alone(BatchSize::ONE, InstanceCount(instances)).is_some());
        }
        assert!(!profile.beside.is_empty(), "{profile:?}");
        assert_eq!(profile.point_ms, 0);
    }
    let light = profiles[0].as_ref().unwrap();
    assert!(light.alone(BatchSize(8), InstanceCount::ONE).is_some(), "{light:?}");
    // A thorough campaign does not build on it.
    light.save(&zoo.subjects[0].file).unwrap();
    let (_, news) = zoo.run(&request(0), usize::MAX);
    assert!(
        matches!(&news[0], News::Anew { model, reason }
        if model == "m0" && reason.contains("at a glance")),
        "{news:?}"
    );
}

#[test]
fn a_campaign_that_is_stopped_goes_on_where_it_was() {
    let whole = zoo(&[0, 0, 0], 2, 2);
    whole.run(&request(8), usize::MAX);
    let pieces = zoo(&[0, 0, 0], 2, 2);
    let mut kept: Vec<Profile> = Vec::new();
    let mut done_before = 0;
    for stop_at in [1, 5, 13, 20, 21, usize::MAX] {
        let (end, news) = pieces.run(&request(8), stop_at);
        let stopped = stop_at != usize::MAX;
        assert_eq!(end, if stopped { End::Stopped } else { End::Complete });
        if done_before > 0 {
            assert_eq!(resumed(&news), Some((done_before, 12 + 8 + 2)));
        }
        done_before = stop_at;
        // What was measured before is there as it was.
        for old in &kept {
            let new = pieces.profiles_there().into_iter().find(|p| p.model == old.model).unwrap();
            assert_eq!(new.points[..old.points.len()], old.points);
            for beside in &old.beside {
                let there = new.beside.iter().find(|b| b.key() == beside.key()).unwrap();
                assert_eq!(there.point, beside.point);
            }
            assert_eq!(new.anchor, old.anchor);
        }
        kept = pieces.profiles_there();
    }
    assert_eq!(keys(&pieces.profiles()), keys(&whole.profiles()));
    // There is nothing left to do then.
    let before = pieces.profiles();
    let (end, news) = pieces.run(&request(8), usize::MAX);
    assert_eq!((end, resumed(&news)), (End::Complete, Some((22, 22))));
    assert_eq!(pieces.profiles(), before);
    // Unless more is asked for, or everything anew.
    let (_, news) = pieces.run(&request(12), usize::MAX);
    assert_eq!(resumed(&news), Some((22, 12 + 12 + 3)));
    let (_, news) = pieces.run(&Request { fresh: true, ..request(8) }, 2);
    assert_eq!(resumed(&news), None);
}

impl Zoo {
    fn profiles_there(&self) -> Vec<Profile> {
        (0..self.subjects.len()).filter_map(|at| self.load(at).ok()).collect()
    }
}

#[test]
fn what_can_not_be_used_is_measured_anew_and_said() {
    let zoo = zoo(&[0, 0], 1, 1);
    zoo.run(&request(1), usize::MAX);
    let anew = |request: &Request| -> Vec<String> {
        let (_, news) = zoo.run(request, usize::MAX);
        let texts = news.iter().filter(|new| matches!(new, News::Anew { .. }));
        texts.map(News::to_string).collect()
    };
    assert_eq!(anew(&request(1)), Vec::<String>::new());
    // A damaged file.
    fs::write(profile_path(&zoo.subjects[1].file), "(").unwrap();
    let said = anew(&request(1));
    assert!(matches!(&said[..], [one] if one.starts_with("m1 is measured anew: ")), "{said:?}");
    assert!(!said[0].contains("measure again"), "{said:?}");
    // Longer points, and then not shorter ones.
    let longer = Request { point_time: Duration::from_millis(2), ..request(1) };
    assert!(anew(&longer).iter().all(|text| text.contains("1 ms a point")));
    assert_eq!(anew(&request(1)), Vec::<String>::new());
    // A model file that has changed takes what was measured beside it along.
    fs::write(&zoo.subjects[0].file, "another network").unwrap();
    let said = anew(&request(1));
    assert!(matches!(&said[..], [one] if one.contains("another model file")), "{said:?}");
    let [a, b] = &zoo.profiles()[..] else { panic!() };
    assert_eq!(b.neighbour_stamps["m0"], a.model_stamp);
    assert_eq!((a.beside.len(), b.beside.len()), (1, 1));
}

#[test]
fn only_targets_get_a_profile_and_the_others_are_their_company() {
    let mut zoo = zoo(&[0, 0, 0], 1, 1);
    zoo.subjects[1].is_target = false;
    zoo.subjects[2].is_target = false;
    zoo.run(&request(3), usize::MAX);
    assert_eq!(zoo.profiles_there().len(), 1);
    assert_eq!(zoo.load(0).unwrap().beside.len(), 3, "alone with each, and with both");
}

/// An engine that lends out so many contexts and no more, and whose machine has a speed.
struct Tight {
    inner: Arc<dyn Engine>,
    contexts: Arc<AtomicU32>,
    most: u32,
    /// Extra time of a run, µs.
    extra_us: Arc<AtomicU64>,
    largest_batch: u32,
}

struct TightContext {
    inner: Box<dyn ExecutionContext>,
    contexts: Arc<AtomicU32>,
    extra_us: Arc<AtomicU64>,
    largest_batch: u32,
}

impl Engine for Tight {
    fn platform(&self) -> &'static str {
        self.inner.platform()
    }

    fn spec(&self) -> &ModelSpec {
        self.inner.spec()
    }

    fn weight_bytes(&self) -> u64 {
        0
    }

    fn create_context(&self) -> Result<Box<dyn ExecutionContext>, EngineError> {
        let (contexts, extra_us) = (self.contexts.clone(), self.extra_us.clone());
        if contexts.fetch_add(1, Ordering::SeqCst) >= self.most {
            contexts.fetch_sub(1, Ordering::SeqCst);
            return Err(EngineError::Context("out of memory".into()));
        }
        let (inner, largest_batch) = (self.inner.create_context()?, self.largest_batch);
        Ok(Box::new(TightContext { inner, contexts, extra_us, largest_batch }))
    }
}

impl Drop for TightContext {
    fn drop(&mut self) {
        self.contexts.fetch_sub(1, Ordering::SeqCst);
    }
}

impl ExecutionContext for TightContext {
    fn stage(&mut self, input: usize, batch: BatchSize) -> &mut [u8] {
        self.inner.stage(input, batch)
    }

    fn execute(&mut self, batch: BatchSize) -> Result<(), EngineError> {
        if batch.0 > self.largest_batch {
            return Err(EngineError::Execute("scratch memory is used up".into()));
        }
        let extra = Duration::from_micros(self.extra_us.load(Ordering::Relaxed));
        // Not slept: a sleeping thread wakes up too late to tell a few percent.
        let start = std::time::Instant::now();
        while start.elapsed() < extra {
            std::hint::spin_loop();
        }
        self.inner.execute(batch)
    }

    fn take_output(&mut self, output: usize) -> OutputTensor {
        self.inner.take_output(output)
    }

    fn enter(&mut self, body: InstanceLoop<'_>) {
        body(self);
    }
}

impl Zoo {
    /// Makes subject `at` one of that kind, and gives the time that its runs take longer.
    fn tighten(&mut self, at: usize, most: u32, largest_batch: u32) -> Arc<AtomicU64> {
        let extra_us = Arc::new(AtomicU64::new(0));
        let inner = self.subjects[at].engine.clone();
        let contexts = Arc::default();
        let tight = Tight { inner, contexts, most, extra_us: extra_us.clone(), largest_batch };
        self.subjects[at].engine = Arc::new(tight);
        extra_us
    }
}

#[test]
fn an_instance_that_can_not_be_made_ends_the_line_and_is_the_limit() {
    let mut zoo = zoo(&[0, 0], 4, 4);
    zoo.tighten(0, 2, 8);
    let (end, news) = zoo.run(&request(12), usize::MAX);
    assert_eq!(end, End::Complete);
    let limits: Vec<&News> = news.iter().filter(|n| matches!(n, News::Limit { .. })).collect();
    let [limit] = limits[..] else { panic!("{limits:?}") };
    let text = limit.to_string();
    assert!(text.contains("m0") && text.contains("3 instances") && text.contains("out of memory"));
    let [tight, roomy] = &zoo.profiles()[..] else { panic!() };
    assert_eq!(tight.points.iter().map(|point| point.instances.0).max(), Some(2));
    assert_eq!(roomy.points.iter().map(|point| point.instances.0).max(), Some(4));
    assert_eq!((tight.limits.len(), tight.limits[0].instances.0), (1, 3));
    assert!(tight.beside.iter().all(|beside| beside.point.instances.0 <= 2));
    assert_eq!(tight.beside.len(), 12, "combinations are of what fits");
    // It is known the next time.
    let (_, news) = zoo.run(&request(12), usize::MAX);
    assert!(!news.iter().any(|new| matches!(new, News::Limit { .. })), "{news:?}");
}

#[test]
fn a_batch_that_does_not_run_is_a_limit_and_a_model_that_never_runs_is_left_out() {
    let mut zoo = zoo(&[0, 0, 0], 8, 2);
    zoo.tighten(0, 9, 2);
    zoo.tighten(2, 9, 0);
    let (end, news) = zoo.run(&request(6), usize::MAX);
    assert_eq!(end, End::Complete);
    let failed: Vec<String> =
        news.iter().filter(|n| matches!(n, News::Failed { .. })).map(News::to_string).collect();
    assert_eq!(failed, ["m2: scratch memory is used up"]);
    let [small, free] = &zoo.profiles_there()[..] else { panic!("{news:?}") };
    assert_eq!(small.points.iter().map(|point| point.batch.0).max(), Some(2));
    assert_eq!((small.limits.len(), small.limits[0].batch.0), (1, 4));
    assert_eq!(free.points.len(), 2 * batch_ladder(BatchSize(8)).len());
    assert!(free.beside.iter().all(|beside| beside.neighbours[0].model == "m0"));
}

#[test]
fn points_of_a_machine_that_has_become_slower_are_marked_and_no_samples() {
    let mut zoo = zoo(&[0, 0], 2, 1);
    // Long enough runs that the noise of this machine is small beside a fourfold slow-down.
    let extra = [zoo.tighten(0, 9, 8), zoo.tighten(1, 9, 8)];
    let set = |us| extra.iter().for_each(|extra| extra.store(us, Ordering::Relaxed));
    set(300);
    let stop = AtomicBool::new(false);
    let mut drifts = Vec::new();
    let tell = &mut |new: News| match new {
        // Alone everything was as usual; then it gets hot.
        News::Progress { done: 4, .. } => set(1_200),
        News::Drift { factor, .. } => drifts.push(factor),
        _ => {}
    };
    let mut campaign = Campaign::begin(&zoo.subjects, &zoo.config, &guarded(3), tell).unwrap();
    assert_eq!(campaign.run(&stop, tell).unwrap(), End::Complete);
    assert!(drifts.len() >= 3, "{drifts:?}");
    assert!(drifts.iter().all(|factor| *factor > 1.5), "{drifts:?}");
    let profiles = zoo.profiles();
    for profile in &profiles {
        assert!(profile.beside.iter().all(|beside| beside.point.drift > 1.5), "{profile:?}");
        assert_eq!(profile.beside.len(), 3);
    }
    assert_eq!(samples(&profiles), Vec::<Sample>::new());
}

#[test]
fn a_campaign_begun_on_a_disturbed_machine_is_put_right_when_that_is_over() {
    let mut zoo = zoo(&[0, 0], 2, 1);
    let extra = [zoo.tighten(0, 9, 8), zoo.tighten(1, 9, 8)];
    let set = |us| extra.iter().for_each(|extra| extra.store(us, Ordering::Relaxed));
    set(2_000);
    let mut factors = Vec::new();
    let tell = &mut |new: News| match new {
        News::Progress { done: 4, .. } => set(300),
        News::Faster { factor } => factors.push(factor),
        _ => {}
    };
    let mut campaign = Campaign::begin(&zoo.subjects, &zoo.config, &guarded(6), tell).unwrap();
    assert_eq!(campaign.run(&AtomicBool::new(false), tell).unwrap(), End::Complete);
    assert!(matches!(factors[..], [factor, ..] if factor > 2.0), "{factors:?}");
    for profile in zoo.profiles() {
        // The points alone were measured on the slow machine first.
        assert!(profile.points.iter().all(|p| p.latency_us_p50 < 1_500.0), "{profile:?}");
        assert!(profile.anchor.unwrap().latency_us_p50 < 1_500.0);
        let alone = profile.points.iter().map(|p| (p.batch, p.latency_us_mean));
        for (batch, us) in alone {
            let mut beside = profile.beside.iter().filter(|b| b.point.batch == batch);
            let fits = |b: &Beside| (b.multiplier - b.point.latency_us_mean / us).abs() < 1e-3;
            assert!(beside.all(fits), "multipliers are of what is measured now");
        }
    }
}

#[test]
fn a_file_that_can_not_be_written_is_an_error_and_the_old_one_stays() {
    let zoo = zoo(&[0], 1, 1);
    zoo.run(&request(0), usize::MAX);
    let before = zoo.load(0).unwrap();
    // Its folder is gone, as when a medium is pulled; also for root, whom permissions don't stop.
    let away = zoo.folder.path().join("away");
    fs::rename(zoo.folder.path().join("m0"), &away).unwrap();
    let request = Request { fresh: true, ..request(0) };
    let error = Campaign::begin(&zoo.subjects, &zoo.config, &request, &mut |_| {}).err().unwrap();
    assert!(error.to_string().contains("m0"), "{error}");
    fs::rename(away, zoo.folder.path().join("m0")).unwrap();
    assert_eq!(zoo.load(0).unwrap(), before);
}
