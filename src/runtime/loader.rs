//! Loads engines off the reactor thread, as many at a time as there are cores.

use crate::config::{Config, ModelConfig, Slo, auto_slo_us};
use crate::doorbell::Doorbell;
use crate::engine::{Engine, EngineError};
use crate::profiler::{self, Point, Profile, latency_table};
use crate::scheduler::{Interference, Predictor};
use crate::units::{ModelId, Nanos};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// A model without a profile is measured this long while it is loaded, at least one run of one
/// item after the warm-up: enough for an SLO and a first prediction.
const UNPROFILED_BUDGET: Duration = Duration::from_millis(50);

/// The SLO of a model that could not be measured at all.
const UNKNOWN_SLO: Nanos = Nanos::from_millis(1_000);

/// A loaded model, ready to get instances.
pub(super) struct Loaded {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) predictor: Predictor,
    pub(super) slo: Nanos,
    pub(super) took: Nanos,
    profile: Option<Profile>,
}

/// The end of one loading.
pub(super) struct LoadReport {
    pub(super) model: ModelId,
    pub(super) result: Result<Loaded, EngineError>,
    /// How models slow each other, when this one's profile tells more of it.
    pub(super) interference: Option<Interference>,
}

/// Where loaders report.
#[derive(Clone)]
pub(super) struct LoadSender {
    reports: mpsc::Sender<LoadReport>,
    /// Of all models that were loaded so far, by the name they were measured under.
    profiles: Arc<Mutex<BTreeMap<String, Profile>>>,
    lanes: u32,
}

impl LoadSender {
    pub(super) fn new(reports: mpsc::Sender<LoadReport>, config: &Config) -> LoadSender {
        LoadSender { reports, profiles: Arc::default(), lanes: config.lanes() }
    }

    /// Learns how models slow each other from all profiles there are now, and reports. False when
    /// nobody listens any more.
    fn send(&self, model: ModelId, mut result: Result<Loaded, EngineError>) -> bool {
        // Held until it is sent: the last report is of the most profiles.
        let mut profiles = self.profiles.lock().unwrap_or_else(PoisonError::into_inner);
        let new = result.as_mut().ok().and_then(|loaded| loaded.profile.take());
        let interference = new.map(|profile| {
            profiles.insert(profile.model.clone(), profile);
            let all: Vec<Profile> = profiles.values().cloned().collect();
            profiler::interference(&all, self.lanes)
        });
        self.reports.send(LoadReport { model, result, interference }).is_ok()
    }
}

/// Starts loading `models`; each sends one report and rings the bell.
///
/// # Errors
/// When the system gives no more threads.
pub(super) fn load(
    config: &Arc<Config>,
    models: Vec<ModelId>,
    reports: &LoadSender,
    bell: &Arc<Doorbell>,
) -> std::io::Result<()> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let workers = cores.min(models.len());
    let waiting = Arc::new(Mutex::new(models.into_iter()));
    for _ in 0..workers {
        let (waiting, config) = (waiting.clone(), config.clone());
        let (reports, bell) = (reports.clone(), bell.clone());
        let next = move || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
        thread::Builder::new().name("loader".into()).spawn(move || {
            while let Some(model) = next() {
                let open = || load_one(&config.models[model.index()], &config);
                let result = catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| {
                    Err(EngineError::Load("the engine panicked while loading".into()))
                });
                if !reports.send(model, result) {
                    return;
                }
                bell.ring();
            }
        })?;
    }
    Ok(())
}

fn load_one(model: &ModelConfig, config: &Config) -> Result<Loaded, EngineError> {
    let start = Instant::now();
    let engine = crate::engine::open(model, config)?;
    let known = profiler::known(model, config, &*engine, UNPROFILED_BUDGET)?;
    let predictor = profiler::predictor(known.points(), known.features(), config.lanes());
    let slo = slo(model, known.points(), config);
    let profile = known.into_profile();
    Ok(Loaded { engine, predictor, slo, took: start.elapsed().into(), profile })
}

/// The SLO that the model is served with.
pub fn slo(model: &ModelConfig, points: &[Point], config: &Config) -> Nanos {
    match model.slo {
        Slo::Ms(millis) => Nanos::from_millis(millis),
        Slo::Us(micros) => Nanos::from_micros(micros),
        Slo::Auto => auto_slo_us(&latency_table(points), config.models.len())
            .map_or(UNKNOWN_SLO, Nanos::from_micros),
    }
}
