//! One cell: all policies under one load on one device, on the same seeds.

use super::bench::{Bench, WARM_UP, end};
use super::capacity::seconds;
use super::results::{Cell, DecisionTime, Row};
use super::roster::{self, FAIR_ORACLE, ORACLE};
use super::stats::Estimate;
use super::tune::{Effort, FLOOR, Tuned, oracles};
use crate::scheduler::Policy;
use crate::scheduler::trained::Trained;
use crate::sim::{Load, LoadPlan, RunResult};

/// Violations of a model are within this share where the load is feasible.
pub const FEASIBLE_VIOLATIONS: f64 = 0.05;
/// Requests of each model in a run, where the limits of its length allow it.
const REQUESTS: f64 = 600.0;
/// Shortest and longest time that arrivals count for.
const SECONDS: (u64, u64) = (60, 300);

/// Times decisions, where somebody wants to know: the suite itself reads no clock.
pub trait Meter: Sync {
    /// The same policy, with its decisions timed.
    fn timed(&self, policy: Box<dyn Policy>) -> Box<dyn Policy>;
    /// What this thread's timed policies took since the last call.
    fn take(&self) -> Option<DecisionTime>;
}

/// Nobody wants to know.
pub struct NoMeter;

impl Meter for NoMeter {
    fn timed(&self, policy: Box<dyn Policy>) -> Box<dyn Policy> {
        policy
    }

    fn take(&self) -> Option<DecisionTime> {
        None
    }
}

/// A load with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedLoad {
    pub name: String,
    pub load: Load,
}

/// What is run in a cell, and how thoroughly.
#[derive(Clone, Debug)]
pub struct Plan {
    /// By name; the oracles come by themselves.
    pub policies: Vec<&'static str>,
    pub runs: usize,
    /// Run lengths as a share of the full ones.
    pub shortened: f64,
    pub effort: Effort,
    pub seed: u64,
    /// What the trained policies decide with.
    pub trained: Trained,
}

/// Where a cell belongs.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub platform: &'a str,
    pub modelled: bool,
    pub slo: &'a str,
}

/// Runs one cell.
///
/// # Errors
/// When the load's rates or shape contradict themselves.
pub fn run(
    place: Place<'_>,
    bench: &Bench,
    tuned: &Tuned,
    load: &NamedLoad,
    plan: &Plan,
    meter: &dyn Meter,
) -> Result<Cell, String> {
    let level = load.load.level().unwrap_or(1.0);
    let (least, most) = SECONDS;
    let full = seconds(level * tuned.capacity_per_s, REQUESTS).clamp(least, most);
    // Utility is told by windows of five seconds.
    let seconds = ((full as f64 * plan.shortened / 5.0).ceil() as u64 * 5).max(20);
    let figures = load.load.plan(&bench.surfaces, tuned.capacity_per_s, WARM_UP, end(seconds));
    let name = format!("{}/{}/{}", place.platform, place.slo, load.name);
    let seeds: Vec<u64> = (0..plan.runs).map(|run| seed(plan.seed, &name, run as u64)).collect();
    let search_seed = seed(plan.seed, &name, u64::MAX);
    let hints = [tuned.fixed.clone()];
    let found = oracles(bench, &figures, seconds, &hints, plan.effort, search_seed)?;

    let context = Context { bench, load: &figures, seconds, seeds: &seeds, meter };
    let mut rows = Vec::new();
    for &policy in &plan.policies {
        let (_, settings) = roster::set_up(policy, bench, tuned, &figures, &plan.trained);
        let policies = || roster::set_up(policy, bench, tuned, &figures, &plan.trained).0;
        rows.push(context.row(policy, settings, &policies)?);
    }
    for (name, choice) in roster::oracle_rows(&found) {
        let policies = || choice.policies(&figures);
        rows.push(context.row(name, Some(choice.to_string()), &policies)?);
    }
    let mut cell = Cell {
        platform: place.platform.into(),
        modelled: place.modelled,
        slo: place.slo.into(),
        load: load.name.clone(),
        load_details: load.load.clone(),
        capacity_per_s: tuned.capacity_per_s,
        models: bench.surfaces.models.iter().map(|model| model.name.clone()).collect(),
        slo_ms: bench.surfaces.models.iter().map(|model| model.slo.as_millis_f64()).collect(),
        rates_per_s: figures.rates_per_s.clone(),
        seconds,
        seeds,
        fair_worst_hit_rate: 0.0,
        floor: 0.0,
        feasible: false,
        rows,
    };
    compare(&mut cell);
    Ok(cell)
}

/// Fills in what follows from comparing the rows.
pub fn compare(cell: &mut Cell) {
    let fair = cell.row(FAIR_ORACLE).map_or(0.0, |row| row.worst_hit_rate);
    cell.fair_worst_hit_rate = fair;
    cell.floor = FLOOR * fair;
    cell.feasible = fair >= 1.0 - FEASIBLE_VIOLATIONS;
    let oracle = cell.row(ORACLE).cloned();
    for row in &mut cell.rows {
        row.starved = row.worst_hit_rate < cell.floor;
        if let Some(oracle) = &oracle {
            row.utility_over_oracle = Estimate::of_ratio(&row.over(oracle));
        }
    }
}

struct Context<'a> {
    bench: &'a Bench,
    load: &'a LoadPlan,
    seconds: u64,
    seeds: &'a [u64],
    meter: &'a dyn Meter,
}

impl Context<'_> {
    fn row(
        &self,
        name: &str,
        settings: Option<String>,
        policies: &dyn Fn() -> Vec<Box<dyn Policy>>,
    ) -> Result<Row, String> {
        let mut runs: Vec<RunResult> = Vec::with_capacity(self.seeds.len());
        for &seed in self.seeds {
            let timed = policies().into_iter().map(|policy| self.meter.timed(policy)).collect();
            runs.push(self.bench.run(self.load, timed, self.seconds, seed)?);
        }
        let names: Vec<String> =
            self.bench.surfaces.models.iter().map(|model| model.name.clone()).collect();
        let row = Row::of_runs(name, settings, &runs, &names);
        Ok(Row { decision: self.meter.take(), ..row })
    }
}

/// A seed that depends on the suite's, on what it is for, and on a number: FNV-1a, then mixed.
pub fn seed(suite: u64, name: &str, number: u64) -> u64 {
    let bytes = name.bytes().chain(suite.to_le_bytes()).chain(number.to_le_bytes());
    let hash = bytes.fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^ (mixed >> 27)
}
