//! Loads engines off the reactor thread, as many at a time as there are cores.

use crate::config::{Config, ModelConfig, Slo, auto_slo_us};
use crate::doorbell::Doorbell;
use crate::engine::{Engine, EngineError};
use crate::profiler::{self, Point, latency_table};
use crate::scheduler::Predictor;
use crate::units::{InstanceCount, ModelId, Nanos};
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
}

/// The end of one loading.
pub(super) struct LoadReport {
    pub(super) model: ModelId,
    pub(super) result: Result<Loaded, EngineError>,
}

/// Starts loading `models`; each sends one report and rings the bell.
///
/// # Errors
/// When the system gives no more threads.
pub(super) fn load(
    config: &Arc<Config>,
    models: Vec<ModelId>,
    reports: &mpsc::Sender<LoadReport>,
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
                if reports.send(LoadReport { model, result }).is_err() {
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
    let points = profiler::points(model, config, &*engine, UNPROFILED_BUDGET)?;
    let predictor = predictor(&points, config);
    let slo = slo(model, &points, config);
    Ok(Loaded { engine, predictor, slo, took: start.elapsed().into() })
}

/// What serving begins to predict with, from a model's measured points.
pub fn predictor(points: &[Point], config: &Config) -> Predictor {
    let alone = points.iter().filter(|point| point.instances == InstanceCount::ONE);
    let time = |point: &Point| Nanos((point.latency_us_p50 * 1e3) as u64);
    let points: Vec<_> = alone.map(|point| (point.batch, time(point))).collect();
    // A thread of an instance has a core to itself while there are enough of them.
    Predictor::new(&points).with_demand(1.0 / f64::from(config.lanes()))
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
