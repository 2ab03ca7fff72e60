//! Searches for the best settings: of the rivals, on a load they are then stuck with, and of the
//! oracle, on the very load it is judged by.

use super::bench::{Bench, WARM_UP, end};
use super::capacity::{capacity, seconds};
use super::choice::Choice;
use super::counts::Counts;
use super::roster::COUNTED;
use super::search::{Goal, Search, Trial};
use super::triton::Batchers;
use crate::scheduler::trained::Trained;
use crate::sim::{Load, LoadPlan};

/// A policy whose worst model has less than this share of the fair oracle's hit rate starves it.
pub const FLOOR: f64 = 0.9;
/// Searches stay above it by this much: short runs tell hit rates roughly.
const FLOOR_MARGIN: f64 = 1.02;
/// The level of the load the rivals are tuned on.
pub const TUNED_AT: f64 = 0.6;
/// Requests of each model in a run that decides between settings.
const REQUESTS: f64 = 600.0;

/// How many runs the searches may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    pub fair: usize,
    pub utility: usize,
    /// For numbers of instances alone.
    pub counts: usize,
}

impl Effort {
    pub const FULL: Effort = Effort { fair: 160, utility: 260, counts: 60 };
    pub const QUICK: Effort = Effort { fair: 60, utility: 90, counts: 12 };

    /// With settings for each phase there is more to choose.
    fn of(self, phases: usize) -> Effort {
        Effort { fair: self.fair * phases, utility: self.utility * phases, ..self }
    }
}

/// What is known of a bench before any load is run on it.
#[derive(Clone, Debug)]
pub struct Tuned {
    /// Requests per second of each model.
    pub capacity_per_s: f64,
    pub fixed: Choice,
    pub triton: Batchers,
    /// In the order of [`COUNTED`].
    pub counts: [Counts; COUNTED.len()],
}

impl Tuned {
    /// Instances of one of [`COUNTED`].
    pub fn counts(&self, name: &str) -> Option<&Counts> {
        let at = COUNTED.iter().position(|counted| *counted == name)?;
        Some(&self.counts[at])
    }
}

/// Finds the capacity, and tunes `fixed`, `triton` and the instances of [`COUNTED`] on the steady load
/// at [`TUNED_AT`].
///
/// # Errors
/// Those of [`capacity`].
pub fn tune(bench: &Bench, trained: &Trained, effort: Effort, seed: u64) -> Result<Tuned, String> {
    let (capacity_per_s, serves) = capacity(bench, seed)?;
    let seconds = seconds(TUNED_AT * capacity_per_s, REQUESTS);
    let load = Load::Steady { level: TUNED_AT };
    let plan = load.plan(&bench.surfaces, capacity_per_s, WARM_UP, end(seconds));
    let found = oracles(bench, &plan, seconds, &[serves], effort, seed)?;
    let models = &bench.surfaces.models;
    let mut search = Search::new(models, |batchers: &Batchers| {
        let run = bench.run(&plan, batchers.policies(), seconds, seed)?;
        Ok(Trial::from(&run))
    });
    let goal = Goal::Utility { floor: FLOOR * FLOOR_MARGIN * found.fair_worst };
    let from = [Batchers::like(&found.best), Batchers::like(&found.fair)];
    let (triton, _) = search.best(goal, &from, effort.utility)?;
    let beginnings = [Counts(vec![1; models.len()]), Counts(found.best.instances())];
    let counted = |name: &str| {
        let mut search = Search::new(models, |counts: &Counts| {
            let run = bench.run(&plan, counts.policies(name, trained), seconds, seed)?;
            Ok(Trial::from(&run))
        });
        search.best(goal, &beginnings, effort.counts).map(|(counts, _)| counts)
    };
    let counts = [counted(COUNTED[0])?, counted(COUNTED[1])?];
    Ok(Tuned { capacity_per_s, fixed: found.best, triton, counts })
}

/// The best fixed choices for a load, by phase.
#[derive(Clone, Debug)]
pub struct Oracles {
    /// For the utility, above the floor.
    pub best: Choice,
    /// For the worst model.
    pub fair: Choice,
    /// The worst model's hit rate with it, in the search.
    pub fair_worst: f64,
}

/// Searches for both, in runs of `seconds`, beginning with the `hints` too.
///
/// # Errors
/// Those of the runs.
pub fn oracles(
    bench: &Bench,
    plan: &LoadPlan,
    seconds: u64,
    hints: &[Choice],
    effort: Effort,
    seed: u64,
) -> Result<Oracles, String> {
    let phases = plan.phases.iter().map(|&(_, phase)| phase + 1).max().unwrap_or(1);
    let hints: Vec<Choice> = hints
        .iter()
        .filter_map(|hint| Some(Choice::steady(hint.0.first()?.clone(), phases)))
        .collect();
    let effort = effort.of(phases);
    let mut search = Search::new(&bench.surfaces.models, |choice: &Choice| {
        let run = bench.run(plan, choice.policies(plan), seconds, seed)?;
        Ok(Trial::from(&run))
    });
    let (fair, trial) = search.fair(phases, &hints, 1.0, effort.fair)?;
    let floor = FLOOR * FLOOR_MARGIN * trial.worst;
    let mut from = hints;
    from.push(fair.clone());
    from.extend(super::choice::beginnings(&bench.surfaces.models, phases));
    let (best, _) = search.best(Goal::Utility { floor }, &from, effort.utility)?;
    Ok(Oracles { best, fair, fair_worst: trial.worst })
}
