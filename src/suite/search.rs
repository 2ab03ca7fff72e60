//! Hill climbing over settings, each of which is tried out in a short simulated run.

use super::choice::{self, Choice};
use crate::sim::{ModelSurface, RunResult};
use std::collections::HashMap;
use std::hash::Hash;

/// A setting has to gain so much to be preferred: less is within the noise of short runs.
const GAIN: f64 = 5e-4;

/// How a setting did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    pub utility: f64,
    /// Hit rate of the model that has the lowest.
    pub worst: f64,
}

impl From<&RunResult> for Trial {
    fn from(run: &RunResult) -> Trial {
        Trial { utility: run.utility, worst: run.worst_hit_rate() }
    }
}

/// What a search looks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// The highest hit rate of the worst model; enough is enough.
    Fair { enough: f64 },
    /// The highest utility, as long as the worst model's hit rate stays above the floor.
    Utility { floor: f64 },
}

impl Goal {
    fn score(self, trial: Trial) -> f64 {
        match self {
            Goal::Fair { .. } => trial.worst,
            Goal::Utility { floor } if trial.worst >= floor => trial.utility,
            // Below every utility, and the closer to the floor the better.
            Goal::Utility { floor } => trial.worst - floor - 1e3,
        }
    }

    fn is_reached(self, trial: Trial) -> bool {
        matches!(self, Goal::Fair { enough } if trial.worst >= enough)
    }
}

/// Something that can be searched over.
pub trait Setting: Clone + Eq + Hash {
    /// How many groups of neighbours it has.
    fn groups(&self, models: &[ModelSurface]) -> usize;
    fn neighbours(&self, group: usize, models: &[ModelSurface]) -> Vec<Self>;
}

impl Setting for Choice {
    fn groups(&self, models: &[ModelSurface]) -> usize {
        Choice::groups(self, models)
    }

    fn neighbours(&self, group: usize, models: &[ModelSurface]) -> Vec<Choice> {
        Choice::neighbours(self, group, models)
    }
}

type TryOut<'a, S> = Box<dyn FnMut(&S) -> Result<Trial, String> + 'a>;

/// Remembers what has been tried.
pub struct Search<'a, S> {
    models: &'a [ModelSurface],
    try_out: TryOut<'a, S>,
    tried: HashMap<S, Trial>,
}

impl<'a, S: Setting> Search<'a, S> {
    pub fn new(
        models: &'a [ModelSurface],
        try_out: impl FnMut(&S) -> Result<Trial, String> + 'a,
    ) -> Search<'a, S> {
        Search { models, try_out: Box::new(try_out), tried: HashMap::new() }
    }

    /// The best setting found with about `most` runs, from the best of `beginnings` on.
    ///
    /// # Errors
    /// Those of the runs.
    pub fn best(
        &mut self,
        goal: Goal,
        beginnings: &[S],
        most: usize,
    ) -> Result<(S, Trial), String> {
        let bound = self.tried.len() + most;
        let mut best: Option<(S, Trial)> = None;
        for setting in beginnings {
            let trial = self.trial(setting)?;
            if best.as_ref().is_none_or(|(_, b)| goal.score(trial) > goal.score(*b)) {
                best = Some((setting.clone(), trial));
            }
        }
        let (mut here, mut trial) = best.ok_or("a search has to begin somewhere")?;
        let mut improved = true;
        while improved {
            improved = false;
            for group in 0..here.groups(self.models) {
                if goal.is_reached(trial) || self.tried.len() >= bound {
                    return Ok((here, trial));
                }
                let mut next = None;
                for neighbour in here.neighbours(group, self.models) {
                    let tried = self.trial(&neighbour)?;
                    let to_beat = next.as_ref().map_or(trial, |(_, trial)| *trial);
                    if goal.score(tried) > goal.score(to_beat) + GAIN {
                        next = Some((neighbour, tried));
                    }
                }
                if let Some(next) = next {
                    (here, trial) = next;
                    improved = true;
                }
            }
        }
        Ok((here, trial))
    }

    fn trial(&mut self, setting: &S) -> Result<Trial, String> {
        if let Some(&known) = self.tried.get(setting) {
            return Ok(known);
        }
        let trial = (self.try_out)(setting)?;
        self.tried.insert(setting.clone(), trial);
        Ok(trial)
    }
}

impl<'a> Search<'a, Choice> {
    /// The fixed choice that is best for the worst model.
    ///
    /// # Errors
    /// Those of the runs.
    pub fn fair(
        &mut self,
        phases: usize,
        hints: &[Choice],
        enough: f64,
        most: usize,
    ) -> Result<(Choice, Trial), String> {
        let mut from = hints.to_vec();
        from.extend(choice::beginnings(self.models, phases));
        self.best(Goal::Fair { enough }, &from, most)
    }
}
