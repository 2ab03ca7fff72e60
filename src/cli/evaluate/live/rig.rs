//! The models of config.ron on this machine, twice: as they are served, and as the simulator has
//! them from their profiles.

use super::super::profiles;
use crate::config::{Admission, Config, EngineConfig, ModelConfig, PolicyConfig};
use crate::engine;
use crate::pipeline::Settings;
use crate::profiler::{self, Known, Point, Profile};
use crate::runtime;
use crate::scheduler::trained::Trained;
use crate::scheduler::{self, Predictor};
use crate::sim::{Knowledge, MeasuredModel, MeasuredPoint, SloMix, Surfaces};
use crate::suite::bench::Bench;
use crate::suite::counts;
use crate::suite::tune::{Effort, Tuned, tune};
use crate::units::Nanos;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Requests that may wait for a model, as in the simulated suite.
const QUEUE_BOUND: u32 = 256;
/// Of a pretended engine there is nothing to measure.
const NO_TIME: Duration = Duration::ZERO;

/// Everything that all policies have in common.
pub struct Rig {
    /// As the models are served, but for their policies.
    config: Config,
    /// The simulator on their profiles.
    pub bench: Bench,
    pub tuned: Tuned,
}

impl Rig {
    /// Reads the profiles, and tunes `fixed` and `triton` on them.
    ///
    /// # Errors
    /// A text for the operator: a model that can't be loaded or has no profile of this device, or
    /// an SLO that nothing can meet.
    pub fn new(
        mut config: Config,
        trained: &Trained,
        effort: Effort,
        seed: u64,
    ) -> Result<Rig, String> {
        config.models.retain(|model| model.load);
        let mut measured = Vec::with_capacity(config.models.len());
        let mut predictors = Vec::with_capacity(config.models.len());
        let (mut saved, mut places) = (Vec::new(), Vec::new());
        for (place, model) in config.models.iter().enumerate() {
            let (surface, predictor, profile) = known(model, &config)?;
            measured.push(surface);
            predictors.push(predictor);
            places.extend(profile.as_ref().map(|_| place));
            saved.extend(profile);
        }
        profiles::add_beside(&mut measured, &saved, &places);
        let interference = profiler::interference(&saved, config.lanes());
        for (model, known) in config.models.iter_mut().zip(&measured) {
            model.queue_bound = QUEUE_BOUND;
            model.slo = crate::config::Slo::Us(known.slo.as_micros());
        }
        let surfaces = Surfaces::measured(&measured, Some(config.lanes()), profiles::AMPLE_MEMORY)?;
        let bench = Bench {
            knowledge: Knowledge { predictors, interference },
            pipeline: settings(&config),
            queue_bound: QUEUE_BOUND,
            ..Bench::new(surfaces, SloMix::Same(1.0), seed)
        };
        let tuned = tune(&bench, trained, effort, seed)?;
        Ok(Rig { config, bench, tuned })
    }

    /// The configuration to serve with, all models under the policy of that name, as the simulator
    /// has it. Nothing is learnt meanwhile: what is compared is the policy as it stands.
    pub fn config(&self, policy: &str, socket: &Path, weights: Option<&Path>) -> Config {
        let mut config = self.config.clone();
        config.socket.path = socket.to_owned();
        config.scheduler.learning = false;
        // Without weights a file that is not there: the shipped ones are used.
        let none = || socket.with_extension("safetensors");
        config.scheduler.policy_file = weights.map_or_else(none, PathBuf::from);
        for (index, model) in config.models.iter_mut().enumerate() {
            model.policy = Some(self.policy(policy, index));
        }
        config
    }

    fn policy(&self, name: &str, model: usize) -> PolicyConfig {
        let fixed = self.tuned.fixed.0.first().and_then(|limits| limits.get(model));
        let triton = self.tuned.triton.0.get(model);
        let counts = self.tuned.counts(name).and_then(|counts| counts.0.get(model)).copied();
        match (name, fixed, triton, counts) {
            ("fixed", Some(limit), ..) => {
                PolicyConfig::Fixed { batch: limit.batch, instances: u32::from(limit.instances) }
            }
            ("triton", _, Some(batcher), _) => batcher.config(),
            (name, _, _, Some(instances)) => counts::config(name, instances),
            (name, ..) => scheduler::default_config(name).unwrap_or_default(),
        }
    }

    /// In the order of the models everywhere here.
    pub fn names(&self) -> Vec<String> {
        self.config.models.iter().map(|model| model.name.clone()).collect()
    }
}

fn settings(config: &Config) -> Settings {
    let scheduler = &config.scheduler;
    Settings {
        slot: Nanos::from_millis(scheduler.slot_ms),
        feasible_only: scheduler.admission == Admission::Feasible,
        hang_factor: scheduler.hang_factor,
        hang_floor: Nanos::from_millis(scheduler.hang_floor_ms),
    }
}

/// What is known of a model: as a surface for the simulator, to policies, here and there, and its
/// profile.
fn known(
    model: &ModelConfig,
    config: &Config,
) -> Result<(MeasuredModel, Predictor, Option<Profile>), String> {
    let failed = |what: String| format!("{}: {what}", model.name);
    let engine = engine::open(model, config).map_err(|e| failed(e.to_string()))?;
    let (known, mut measured) = match &model.engine {
        EngineConfig::Onnx(file) | EngineConfig::Plan(file) => {
            // Its profile is beside the file that was loaded, which may be a plan.
            let profile = Profile::load(engine.file().unwrap_or(file), &*engine, config)
                .map_err(|e| failed(format!("{e}\n`bcedge profile` measures it")))?;
            let measured = profiles::model(&profile, config.models.len());
            (Known::Profile(Box::new(profile)), measured)
        }
        EngineConfig::Synthetic(_) => {
            let known = profiler::known(model, config, &*engine, NO_TIME);
            let known = known.map_err(|e| failed(e.to_string()))?;
            let measured = pretended(model, known.points());
            (known, measured)
        }
    };
    measured.slo = runtime::slo(model, known.points(), config);
    measured.max_instances = model.max_instances as u16;
    let largest = model.max_batch.min(engine.spec().max_batch.0);
    measured.points.retain(|point| point.batch <= largest);
    let predictor = profiler::predictor(known.points(), known.features(), config.lanes());
    Ok((measured, predictor, known.into_profile()))
}

/// A pretended engine only sleeps: however many there are, they don't slow each other.
fn pretended(model: &ModelConfig, points: &[Point]) -> MeasuredModel {
    let point = |point: &Point, instances| MeasuredPoint {
        batch: point.batch.0,
        instances,
        mean_ns: point.latency_us_p50 * 1e3,
        deviation_ns: 0.0,
    };
    MeasuredModel {
        name: model.name.clone(),
        points: points.iter().flat_map(|p| [point(p, 1), point(p, u16::MAX)]).collect(),
        ..MeasuredModel::default()
    }
}
