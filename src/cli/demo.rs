//! `bcedge demo`: everything at once, on any machine: builds the reference engines, profiles them
//! quickly, serves them, and sends them a Poisson load through the socket.

use super::screen::{ScreenArgs, load_config};
use super::{Failure, ended};
use crate::config::{Config, EngineConfig, ModelConfig};
use crate::engine;
use crate::load::{self, Load, LoadPlan, LoadReport, ModelRate};
use crate::models::Reference;
use crate::profiler::{self, Profile, ProfileError, Subject, profile_path};
use crate::runtime::Appliance;
use crate::telemetry::snapshot::{ModelState, Snapshot};
use crate::units::Nanos;
use crate::workload::Process;
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Share of the device that the default rates keep busy, if every request ran alone: busy enough to
/// batch now and then, and the SLOs hold.
const UTILISATION: f64 = 0.45;

/// Time for the short profile of one model, its part in combinations included.
const PROFILE_BUDGET: Duration = Duration::from_millis(1_200);

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  bcedge demo                               until q is pressed
  bcedge demo --seconds 30 --json out.json  ends with a table, and writes it
  bcedge demo --headless --load 1.5         one line a second, at 1.5 times the default rates")]
pub struct Args {
    /// Configuration file [default: config.ron]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// End after this many seconds of load
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Write the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Multiplies the default rates
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    load: f64,
    #[command(flatten)]
    screen: ScreenArgs,
}

/// # Errors
/// A text for the operator.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    if !(args.load > 0.0 && args.load <= 1000.0) {
        return Err(format!("--load {}: above 0 and at most 1000", args.load).into());
    }
    let config = load_config(args.config.as_deref())?;
    build_missing(&config)?;
    profile_missing(&config)?;

    let socket = config.socket.path.clone();
    let lanes = config.lanes();
    let log = args.screen.init_log()?;
    let appliance = Appliance::start(config, log)?;
    appliance.wait_until_settled();
    let rates = rates(&appliance.gateway().snapshot(), lanes, args.load);
    if rates.is_empty() {
        let reasons = failures(&appliance.gateway().snapshot());
        let lost = appliance.device_lost();
        let none = Err(format!("no model came up:\n{reasons}"));
        return ended(lost, appliance.shut_down().and(none));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let load = start_load(&socket, rates, args.seconds, &stop)?;
    let now = || appliance.gateway().now();
    let until = args.seconds.map(|seconds| now() + Nanos::from_millis(seconds * 1_000));
    let shown = args.screen.show(&appliance, until);
    // A run with an end waits for the last replies; one that was broken off does not.
    if until.is_none_or(|until| now() < until) {
        stop.store(true, Ordering::Relaxed);
    }
    let report = load.join().map_err(|_| "the load generator panicked".to_owned());
    let lost = appliance.device_lost();
    ended(lost, appliance.shut_down().and(shown))?;
    Ok(super::load::deliver(&report??, args.json.as_deref())?)
}

/// Builds the reference networks that `config` names and that are not there.
fn build_missing(config: &Config) -> Result<(), String> {
    for model in &config.models {
        let EngineConfig::Onnx(path) = &model.engine else { continue };
        let Some(reference) = Reference::named(&model.name) else { continue };
        // engines/<name>/model.onnx
        let Some(dir) = path.parent().and_then(Path::parent) else { continue };
        if reference.path(dir) == *path {
            super::models::write(&[reference], dir, false)?;
        }
    }
    Ok(())
}

/// Makes short profiles of the models that have none for this device and engine, also of some of
/// them together. A model that can't be opened is left to the appliance, which shows it as failed.
fn profile_missing(config: &Config) -> Result<(), String> {
    let missing: Vec<Subject> =
        config.models.iter().filter_map(|model| subject(model, config)).collect();
    let bar = ProgressBar::new(missing.len() as u64).with_style(super::profile::style("models"));
    bar.set_message("short profiles");
    let progress = &mut |done| bar.set_position(done as u64);
    let glances = profiler::glance(&missing, config, PROFILE_BUDGET, progress);
    for (subject, profile) in missing.iter().zip(glances.map_err(|e| e.to_string())?) {
        if let Some(profile) = profile {
            profile.save(&subject.file).map_err(|e| e.to_string())?;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// The model, if it can be opened and has no profile that is worth keeping.
fn subject(model: &ModelConfig, config: &Config) -> Option<Subject> {
    let file = model.engine.file()?;
    let engine = engine::open(model, config).ok()?;
    let subject = super::profile::subject(model, file, engine, true);
    match Profile::load(&subject.file, &*subject.engine, config) {
        Ok(_) => None,
        Err(ProfileError::Missing(_)) => Some(subject),
        // What took minutes is not given up for a glance; the appliance measures for itself.
        Err(reason) if !is_glance(&subject.file) => {
            eprintln!("{reason}; it is kept, and {} is measured for this run only", model.name);
            None
        }
        Err(_) => Some(subject),
    }
}

/// Whether the profile of that model file is another demo's.
fn is_glance(model_file: &Path) -> bool {
    Profile::read(&profile_path(model_file)).is_ok_and(|profile| profile.point_ms == 0)
}

/// Each model gets the same share of the device's time.
fn rates(snapshot: &Snapshot, lanes: u32, factor: f64) -> Vec<ModelRate> {
    let ready: Vec<_> = snapshot.models.iter().filter(|m| m.state == ModelState::Ready).collect();
    let share = factor * UTILISATION * f64::from(lanes) / ready.len().max(1) as f64;
    let rate = |one_us: u64| share / (one_us.max(1) as f64 / 1e6);
    ready
        .iter()
        .filter_map(|m| {
            let &(_, one_us) = m.predicted_us.first()?;
            Some(ModelRate { model: m.name.clone(), rate: rate(one_us) })
        })
        .collect()
}

fn failures(snapshot: &Snapshot) -> String {
    let failed = snapshot.models.iter().filter_map(|m| match &m.state {
        ModelState::Failed(reason) => Some(format!("  {}: {reason}", m.name)),
        _ => None,
    });
    failed.collect::<Vec<_>>().join("\n")
}

fn start_load(
    socket: &Path,
    rates: Vec<ModelRate>,
    seconds: Option<u64>,
    stop: &Arc<AtomicBool>,
) -> Result<JoinHandle<Result<LoadReport, String>>, String> {
    let mut plan = LoadPlan::new(socket, Load::Open { models: rates, process: Process::Poisson });
    plan.seconds = seconds.unwrap_or(load::MAX_SECONDS as u64) as f64;
    let stop = stop.clone();
    thread::Builder::new()
        .name("load".into())
        .spawn(move || load::run(&plan, &stop, |_| {}))
        .map_err(|e| format!("cannot start the load generator: {e}"))
}
