//! What the house rules are worth: the same cells with one of them left out.

use super::results::Cell;
use super::stats::{Estimate, mean};
use serde::Serialize;

/// All cells without one rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ablation {
    /// What was left out.
    pub rule: &'static str,
    pub cells: Vec<Cell>,
}

impl Ablation {
    /// For every policy its utility with the rule over that without it: geometric mean over the
    /// cells, on paired seeds. `with` are the same cells with the rule.
    pub fn worth(&self, with: &[Cell]) -> Vec<(String, Estimate)> {
        let policies = with.first().map_or(&[][..], |cell| &cell.rows);
        let worth = |policy: &str| {
            let pairs = with.iter().zip(&self.cells);
            let logs: Vec<Vec<f64>> = pairs
                .filter_map(|(with, without)| Some(with.row(policy)?.over(without.row(policy)?)))
                .collect();
            let seeds = logs.iter().map(Vec::len).min().unwrap_or(0);
            let by_seed: Vec<f64> = (0..seeds)
                .map(|seed| mean(&logs.iter().map(|logs| logs[seed]).collect::<Vec<_>>()))
                .collect();
            Estimate::of_ratio(&by_seed)
        };
        policies.iter().map(|row| (row.policy.clone(), worth(&row.policy))).collect()
    }
}
