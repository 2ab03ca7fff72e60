//! Measures how long batches take on this device, alone and beside other instances of their model.
//!
//! [`measure`] is thorough and meant for `bcedge profile`, which saves the result next to the model
//! ([`store`]); [`quick`] takes about a second and gives a first start something to plan with.

mod device;
mod store;

pub use device::device_name;
pub use store::{Profile, ProfileError, profile_path};

use crate::config::{Config, EngineConfig, ModelConfig};
use crate::engine::{Engine, EngineError, ExecutionContext, synthetic_latency};
use crate::units::{BatchSize, InstanceCount};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Latency of one batch size while `instances` instances of the model run it without a pause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    pub batch: BatchSize,
    pub instances: InstanceCount,
    pub latency_us_p50: f64,
    pub latency_us_p95: f64,
    /// Runs the figures come from, over all instances. 0: not measured but configured.
    pub runs: u32,
}

impl Point {
    /// Items per second that the instances do together.
    pub fn items_per_second(&self) -> f64 {
        let items = f64::from(self.batch.0) * f64::from(self.instances.0);
        items * 1e6 / self.latency_us_p50.max(1e-3)
    }
}

/// Batch size and median latency in microseconds of one instance alone, ascending: what a default
/// SLO is derived from.
pub fn latency_table(points: &[Point]) -> Vec<(u32, u64)> {
    let alone = points.iter().filter(|point| point.instances == InstanceCount::ONE);
    let mut table: Vec<_> =
        alone.map(|point| (point.batch.0, point.latency_us_p50.round() as u64)).collect();
    table.sort_unstable();
    table
}

/// What [`measure`] goes through: every batch size at every number of instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub batches: Vec<BatchSize>,
    pub instances: Vec<InstanceCount>,
    /// Each point is measured for about this long, and for at least three runs per instance.
    pub time_per_point: Duration,
}

impl Plan {
    /// Batch sizes 1, 2, 4, … up to the engine's limit, 1 to `max_instances` instances.
    pub fn full(engine: &dyn Engine, max_instances: u32, time_per_point: Duration) -> Plan {
        let most = u16::try_from(max_instances).unwrap_or(u16::MAX).max(1);
        Plan {
            batches: batch_ladder(engine.spec().max_batch),
            instances: (1..=most).map(InstanceCount).collect(),
            time_per_point,
        }
    }

    pub fn points(&self) -> usize {
        self.batches.len() * self.instances.len()
    }
}

/// 1, 2, 4, … and the limit itself.
pub fn batch_ladder(max_batch: BatchSize) -> Vec<BatchSize> {
    let max = max_batch.0.max(1);
    let powers = (0..32).map(|exponent| 1u32 << exponent).take_while(|&batch| batch < max);
    powers.chain([max]).map(BatchSize).collect()
}

/// Measures every point of `plan`, telling `progress` each as it is known.
///
/// # Errors
/// The engine's first, also when it panics.
pub fn measure(
    engine: &dyn Engine,
    plan: &Plan,
    progress: &mut dyn FnMut(&Point),
) -> Result<Vec<Point>, EngineError> {
    let mut points = Vec::with_capacity(plan.points());
    for &instances in &plan.instances {
        let contexts = (0..instances.get()).map(|_| engine.create_context());
        let mut contexts = contexts.collect::<Result<Vec<_>, _>>()?;
        for &batch in &plan.batches {
            let warm = Effort { time: Duration::ZERO, min_runs: 2, max_runs: 2 };
            together(&mut contexts, engine, batch, warm)?;
            let effort = Effort { time: plan.time_per_point, min_runs: 3, max_runs: 100_000 };
            let runs = together(&mut contexts, engine, batch, effort)?;
            let point = point(batch, instances, runs);
            progress(&point);
            points.push(point);
        }
    }
    Ok(points)
}

/// Measures one instance within about `budget`: batch 1 always, then the largest batch that fits
/// into the time, then those between. Nothing is extrapolated; a heavy model gets fewer points.
///
/// # Errors
/// The engine's first.
pub fn quick(engine: &dyn Engine, budget: Duration) -> Result<Vec<Point>, EngineError> {
    let mut context = engine.create_context()?;
    let mut result = Ok(Vec::new());
    let body = |context: &mut dyn ExecutionContext| result = quick_points(context, engine, budget);
    context.enter(Box::new(body));
    result
}

fn quick_points(
    context: &mut dyn ExecutionContext,
    engine: &dyn Engine,
    budget: Duration,
) -> Result<Vec<Point>, EngineError> {
    let start = Instant::now();
    let mut measure = |batch: BatchSize, time: Duration| -> Result<Point, EngineError> {
        zero_inputs(context, engine, batch);
        context.execute(batch)?;
        let runs = timed_runs(context, batch, Effort { time, min_runs: 1, max_runs: 50 })?;
        Ok(point(batch, InstanceCount::ONE, runs))
    };
    let first = measure(BatchSize::ONE, budget / 4)?;
    let item = Duration::from_secs_f64(first.latency_us_p50 / 1e6);
    let mut points = vec![first];

    let mut open = batch_ladder(engine.spec().max_batch).split_off(1);
    let fits = |batch: BatchSize, left: Duration| item * 2 * batch.0 <= left;
    let left = budget.saturating_sub(start.elapsed());
    while open.last().is_some_and(|&batch| !fits(batch, left)) {
        open.pop();
    }
    // The largest bounds what the others are interpolated between, so it comes first.
    let count = open.len();
    open.rotate_right(count.min(1));
    for (done, batch) in open.into_iter().enumerate() {
        let left = budget.saturating_sub(start.elapsed());
        if fits(batch, left) {
            points.push(measure(
                batch,
                (left / (count - done) as u32).saturating_sub(item * batch.0),
            )?);
        }
    }
    points.sort_by_key(|point| point.batch);
    Ok(points)
}

/// What to plan a model's batches with: of a pretended engine its table, else the saved profile,
/// else a [`quick`] one.
///
/// # Errors
/// The engine's, while it is measured.
pub fn points(
    model: &ModelConfig,
    config: &Config,
    engine: &dyn Engine,
    budget: Duration,
) -> Result<Vec<Point>, EngineError> {
    match &model.engine {
        // Running it would use up its scripted faults.
        EngineConfig::Synthetic(table) => {
            Ok(configured(&table.latency_us, engine.spec().max_batch))
        }
        EngineConfig::Onnx(path) | EngineConfig::Plan(path) => {
            match Profile::load(engine.file().unwrap_or(path), engine, config) {
                Ok(profile) => Ok(profile.points),
                Err(reason) => {
                    if !matches!(reason, ProfileError::Missing(_)) {
                        tracing::warn!(model = model.name, "{reason}");
                    }
                    quick(engine, budget)
                }
            }
        }
    }
}

fn configured(table: &[(u32, u64)], max_batch: BatchSize) -> Vec<Point> {
    let point = |batch| {
        let latency_us = synthetic_latency(table, batch).as_secs_f64() * 1e6;
        Point {
            batch,
            instances: InstanceCount::ONE,
            latency_us_p50: latency_us,
            latency_us_p95: latency_us,
            runs: 0,
        }
    };
    batch_ladder(max_batch).into_iter().map(point).collect()
}

/// How long to go on: until `time` is over and `min_runs` are done, but at most `max_runs`.
#[derive(Clone, Copy)]
struct Effort {
    time: Duration,
    min_runs: usize,
    max_runs: usize,
}

/// Runs all contexts at once, each on its own thread as instances do.
fn together(
    contexts: &mut [Box<dyn ExecutionContext>],
    engine: &dyn Engine,
    batch: BatchSize,
    effort: Effort,
) -> Result<Vec<Duration>, EngineError> {
    std::thread::scope(|scope| {
        let one = |context: &mut Box<dyn ExecutionContext>| {
            let mut result = Ok(Vec::new());
            context.enter(Box::new(|context| {
                zero_inputs(context, engine, batch);
                result = timed_runs(context, batch, effort);
            }));
            result
        };
        let threads: Vec<_> =
            contexts.iter_mut().map(|context| scope.spawn(move || one(context))).collect();
        let mut all = Vec::new();
        let mut failure = None;
        for thread in threads {
            match thread.join() {
                Ok(Ok(runs)) => all.extend(runs),
                Ok(Err(error)) => failure = Some(error),
                Err(_) => failure = Some(EngineError::Execute("the engine panicked".into())),
            }
        }
        failure.map_or(Ok(all), Err)
    })
}

fn timed_runs(
    context: &mut dyn ExecutionContext,
    batch: BatchSize,
    effort: Effort,
) -> Result<Vec<Duration>, EngineError> {
    let mut runs = Vec::new();
    let start = Instant::now();
    while runs.len() < effort.min_runs
        || (runs.len() < effort.max_runs && start.elapsed() < effort.time)
    {
        let begun = Instant::now();
        context.execute(batch)?;
        runs.push(begun.elapsed());
    }
    Ok(runs)
}

/// Zeros are valid for every model: pixels, masks and token ids alike.
fn zero_inputs(context: &mut dyn ExecutionContext, engine: &dyn Engine, batch: BatchSize) {
    for input in 0..engine.spec().inputs.len() {
        context.stage(input, batch).fill(0);
    }
}

fn point(batch: BatchSize, instances: InstanceCount, mut runs: Vec<Duration>) -> Point {
    runs.sort_unstable();
    let quantile = |q: f64| {
        let rank = ((runs.len() as f64 * q).ceil() as usize).saturating_sub(1);
        runs.get(rank).map_or(0.0, |run| run.as_nanos() as f64 / 1e3)
    };
    Point {
        batch,
        instances,
        latency_us_p50: quantile(0.5),
        latency_us_p95: quantile(0.95),
        runs: runs.len() as u32,
    }
}

#[cfg(test)]
mod tests;
