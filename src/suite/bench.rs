//! A device with its models and SLOs, ready to run any policies under any load.

use crate::pipeline::{Order, Settings};
use crate::scheduler::{Policy, Predictor};
use crate::sim::{
    Arrivals, LoadPlan, RunResult, Simulation, SimulationSettings, SloMix, Surfaces, learn,
};
use crate::units::Nanos;

/// Arrivals before this don't count: queues and predictions have to settle.
pub const WARM_UP: Nanos = Nanos::from_millis(5_000);

/// What all policies of a comparison have in common.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The truth about the device.
    pub surfaces: Surfaces,
    /// What policies know of it.
    pub predictors: Vec<Predictor>,
    /// What requests bring, as multiples of the models' SLOs in `surfaces`.
    pub slo: SloMix,
    pub pipeline: Settings,
    /// In which waiting requests run.
    pub order: Order,
    /// Requests that may wait for a model.
    pub queue_bound: u32,
}

impl Bench {
    /// With the settings that bcedge has by default, on a device that has been profiled.
    pub fn new(surfaces: Surfaces, slo: SloMix, seed: u64) -> Bench {
        let defaults = crate::config::SchedulerConfig::default();
        Bench {
            predictors: learn(&surfaces, seed),
            surfaces,
            slo,
            pipeline: Settings {
                slot: Nanos::from_millis(defaults.slot_ms),
                feasible_only: true,
                hang_factor: defaults.hang_factor,
                hang_floor: Nanos::from_millis(defaults.hang_floor_ms),
            },
            order: Order::default(),
            queue_bound: 256,
        }
    }

    /// Runs policies, one for each model, until arrivals have counted for `seconds`. The same seed
    /// gives the same arrivals, SLOs and noise, whatever the policies do.
    ///
    /// # Errors
    /// When the load's rates or shape contradict themselves.
    pub fn run(
        &self,
        load: &LoadPlan,
        policies: Vec<Box<dyn Policy>>,
        seconds: u64,
        seed: u64,
    ) -> Result<RunResult, String> {
        let arrivals = Arrivals::new(&load.shape, &load.rates_per_s, self.slo.clone(), seed)?;
        Ok(self.replay(load, arrivals, policies, seconds, seed))
    }

    /// Runs policies as [`Bench::run`] does, with these arrivals and the noise of `seed`.
    pub fn replay(
        &self,
        load: &LoadPlan,
        arrivals: Arrivals,
        policies: Vec<Box<dyn Policy>>,
        seconds: u64,
        seed: u64,
    ) -> RunResult {
        let settings = SimulationSettings {
            pipeline: self.pipeline,
            queue_bound: self.queue_bound,
            warm_up: WARM_UP,
            length: end(seconds),
            speeds: load.speeds.clone(),
        };
        let run =
            Simulation::new(&settings, &self.surfaces, &self.predictors, policies, arrivals, seed);
        run.with_order(self.order).run()
    }
}

/// When a run ends whose arrivals count for `seconds`.
pub fn end(seconds: u64) -> Nanos {
    WARM_UP + Nanos::from_millis(1_000 * seconds)
}
