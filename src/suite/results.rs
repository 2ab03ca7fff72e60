//! What the suite finds out, as it stands in the JSON file.

use super::stats::{Estimate, mean};
use crate::sim::{Load, RunResult};
use serde::Serialize;

/// One platform, SLO set and load, with all policies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// Name of the platform's file, or of the device.
    pub platform: String,
    /// Said wherever its figures are shown: nothing was measured on the real device.
    pub modelled: bool,
    pub slo: String,
    pub load: String,
    pub load_details: Load,
    /// Requests per second of each model.
    pub capacity_per_s: f64,
    pub models: Vec<String>,
    pub slo_ms: Vec<f64>,
    /// At the beginning of the load.
    pub rates_per_s: Vec<f64>,
    /// Time that arrivals count for in each run.
    pub seconds: u64,
    /// Of the runs, the same for every policy.
    pub seeds: Vec<u64>,
    /// The worst model's hit rate with the fair oracle.
    pub fair_worst_hit_rate: f64,
    /// Less than this starves the worst model.
    pub floor: f64,
    /// The fair oracle keeps every model's violations within 5 %.
    pub feasible: bool,
    pub rows: Vec<Row>,
}

/// One policy in a cell: means over the seeds, unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub policy: String,
    /// Batch sizes and instances, for those that are tuned.
    pub settings: Option<String>,
    pub utility: f64,
    pub utility_by_seed: Vec<f64>,
    /// exp of the difference to the oracle's utility, on paired seeds.
    pub utility_over_oracle: Estimate,
    pub goodput_per_s: f64,
    pub slo_hit_rate: f64,
    /// Of the model that has the lowest.
    pub worst_hit_rate: f64,
    pub worst_model: String,
    pub latency_ms_p50: f64,
    pub latency_ms_p99: f64,
    /// Share of the device that was in use.
    pub utilisation: f64,
    /// Most that the models took, in any of the runs: weights once, scratch pooled.
    pub memory_mib: f64,
    /// The same with a copy of weights and scratch in every instance.
    pub memory_copies_mib: f64,
    /// Its worst model is below the floor.
    pub starved: bool,
    pub models: Vec<ModelRow>,
    /// Requests in all runs.
    pub requests: u64,
    /// Measured while the suite ran: no two runs agree on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionTime>,
}

/// One model of a policy in a cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelRow {
    pub slo_hit_rate: f64,
    pub goodput_per_s: f64,
    pub latency_ms_p99: f64,
    pub mean_batch: f64,
}

/// Time that the policy takes for a decision, be it about a slot or a dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DecisionTime {
    pub us_mean: f64,
    pub us_p99: f64,
    pub decisions: u64,
}

impl Cell {
    pub fn row(&self, policy: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.policy == policy)
    }

    /// Such as `orin_nano · default · steady 0.6`.
    pub fn name(&self) -> String {
        let modelled = if self.modelled { " (modelled)" } else { "" };
        format!("{}{modelled} · {} · {}", self.platform, self.slo, self.load)
    }
}

impl Row {
    /// From one run for each seed; what compares with other rows is still to be filled in.
    pub fn of_runs(
        policy: &str,
        settings: Option<String>,
        runs: &[RunResult],
        names: &[String],
    ) -> Row {
        let over =
            |value: &dyn Fn(&RunResult) -> f64| mean(&runs.iter().map(value).collect::<Vec<_>>());
        let model = |index: usize| {
            // A model without requests has missed none.
            let hit_rate = |run: &RunResult| run.models[index].slo_hit_rate.unwrap_or(1.0);
            ModelRow {
                slo_hit_rate: over(&hit_rate),
                goodput_per_s: over(&|run| run.models[index].goodput_per_s),
                latency_ms_p99: over(&|run| run.models[index].latency_us_p99 as f64 / 1e3),
                mean_batch: over(&|run| run.models[index].mean_batch),
            }
        };
        let models: Vec<ModelRow> = (0..names.len()).map(model).collect();
        let hit_rate = |index: &usize| models[*index].slo_hit_rate;
        let worst = (0..names.len()).min_by(|a, b| hit_rate(a).total_cmp(&hit_rate(b)));
        let mib = |bytes: &dyn Fn(&RunResult) -> u64| {
            runs.iter().map(bytes).max().unwrap_or(0) as f64 / f64::from(1 << 20)
        };
        Row {
            policy: policy.into(),
            settings,
            utility: over(&|run| run.utility),
            utility_by_seed: runs.iter().map(|run| run.utility).collect(),
            utility_over_oracle: Estimate::exact(1.0),
            goodput_per_s: over(&|run| run.goodput_per_s),
            slo_hit_rate: over(&|run| run.slo_hit_rate),
            worst_hit_rate: worst.as_ref().map_or(1.0, hit_rate),
            worst_model: worst.map_or_else(String::new, |index| names[index].clone()),
            latency_ms_p50: over(&|run| run.latency_us_p50 as f64 / 1e3),
            latency_ms_p99: over(&|run| run.latency_us_p99 as f64 / 1e3),
            utilisation: over(&|run| run.utilisation),
            memory_mib: mib(&|run| run.pooled_bytes),
            memory_copies_mib: mib(&|run| run.copies_bytes),
            starved: false,
            models,
            requests: runs.iter().map(|run| run.requests).sum(),
            decision: None,
        }
    }

    /// Logarithms of the utility ratios to another policy, by seed.
    pub fn over(&self, other: &Row) -> Vec<f64> {
        self.utility_by_seed.iter().zip(&other.utility_by_seed).map(|(a, b)| a - b).collect()
    }
}
