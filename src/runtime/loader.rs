//! Loads engines off the reactor thread, as many at a time as there are cores.

use crate::config::{Config, EngineConfig, ModelConfig, Slo};
use crate::doorbell::Doorbell;
use crate::engine::Engine;
use crate::profiler::{self, Profile};
use crate::scheduler::Predictor;
use crate::units::{BatchSize, ModelId, Nanos};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

/// A loaded model, ready to get instances.
pub(super) struct Loaded {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) predictor: Predictor,
    pub(super) slo: Nanos,
    pub(super) took: Nanos,
    /// Something to tell the operator, such as a profile that could not be used.
    pub(super) remark: Option<String>,
}

/// The end of one loading.
pub(super) struct LoadReport {
    pub(super) model: ModelId,
    pub(super) result: Result<Loaded, String>,
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
                let result = catch_unwind(AssertUnwindSafe(open))
                    .unwrap_or_else(|_| Err("the engine panicked while loading".into()));
                if reports.send(LoadReport { model, result }).is_err() {
                    return;
                }
                bell.ring();
            }
        })?;
    }
    Ok(())
}

fn load_one(model: &ModelConfig, config: &Config) -> Result<Loaded, String> {
    let start = Instant::now();
    let engine = crate::engine::open(model, config).map_err(|e| e.to_string())?;
    let (profile, remark) = match Profile::for_model(model, engine.platform()) {
        Ok(profile) => (profile, None),
        Err(reason) => (None, Some(reason)),
    };
    let points: Vec<(BatchSize, Nanos)> = match (&profile, &model.engine) {
        // Its table is its profile, and its scripted faults count runs.
        (_, EngineConfig::Synthetic(synthetic)) => {
            let point = |&(batch, micros)| (BatchSize(batch), Nanos::from_micros(micros));
            synthetic.latency_us.iter().map(point).collect()
        }
        (Some(profile), _) => profile.alone(),
        (None, _) => measure_one_item(&*engine)?,
    };
    let predictor = Predictor::new(&points);
    let slo = match model.slo {
        Slo::Ms(millis) => Nanos::from_millis(millis),
        Slo::Us(micros) => Nanos::from_micros(micros),
        Slo::Auto => automatic_slo(&predictor),
    };
    Ok(Loaded { engine, predictor, slo, took: start.elapsed().into(), remark })
}

/// `slo: Auto`: five times what one item takes alone, at least 50 ms, in steps of 5 ms. Enough to
/// form a batch, to wait for one that runs, and for neighbours that slow it down.
pub fn automatic_slo(predictor: &Predictor) -> Nanos {
    let one = predictor.predict(BatchSize::ONE).unwrap_or(Nanos::from_millis(100));
    let step = Nanos::from_millis(5).0;
    Nanos((one.0 * 5).div_ceil(step) * step).max(Nanos::from_millis(50))
}

/// Without a profile: the second run of one item, the first being the warm-up.
fn measure_one_item(engine: &dyn Engine) -> Result<Vec<(BatchSize, Nanos)>, String> {
    let mut context = engine.create_context().map_err(|e| e.to_string())?;
    let mut result = Ok(Nanos::ZERO);
    context.enter(Box::new(|context| {
        result = profiler::run_once(context, engine.spec(), BatchSize::ONE)
            .and_then(|_| profiler::run_once(context, engine.spec(), BatchSize::ONE))
            .map_err(|e| e.to_string());
    }));
    Ok(vec![(BatchSize::ONE, result?)])
}
