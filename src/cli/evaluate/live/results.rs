//! What came out: measured beside simulated, policy by policy.

use crate::load::LoadReport;
use crate::sim::{Load, RunResult};
use crate::suite::roster::RULES;
use crate::suite::stats::{Estimate, mean};
use crate::suite::summary::{Figure, Summary, Target};
use serde::Serialize;
use std::fmt::Write;

/// Most that the simulator may be off: points of the SLO hit rate, and percent of the p99.
const HIT_RATE_POINTS: f64 = 3.0;
const P99_PERCENT: f64 = 15.0;

/// All policies under one trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LiveCell {
    pub load: String,
    pub load_details: Load,
    /// Requests per second of each model, by the simulator.
    pub capacity_per_s: f64,
    pub models: Vec<String>,
    pub slo_ms: Vec<f64>,
    pub rates_per_s: Vec<f64>,
    /// Time that arrivals count for in each round.
    pub seconds: u64,
    pub rounds: usize,
    /// Of the arrivals, which are the same in every round.
    pub seed: u64,
    /// That count, in each round.
    pub requests: usize,
    pub rows: Vec<LiveRow>,
}

/// One policy: means over the rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LiveRow {
    pub policy: String,
    /// Batch sizes and instances, for those that are tuned.
    pub settings: Option<String>,
    pub measured: Outcome,
    pub simulated: Outcome,
    /// Measured.
    pub utility_by_round: Vec<f64>,
}

/// What became of the requests of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Outcome {
    pub requests: f64,
    pub utility: f64,
    pub goodput_per_s: f64,
    pub slo_hit_rate: f64,
    /// Of the model that has the lowest.
    pub worst_hit_rate: f64,
    /// Of the requests answered with outputs.
    pub latency_ms_p50: f64,
    pub latency_ms_p99: f64,
}

impl From<&LoadReport> for Outcome {
    fn from(report: &LoadReport) -> Outcome {
        let total = &report.total;
        let worst = report.models.iter().filter_map(|model| model.figures.hit_rate());
        Outcome {
            requests: total.sent as f64,
            utility: total.utility.unwrap_or(0.0),
            goodput_per_s: total.goodput_per_s.unwrap_or(0.0),
            slo_hit_rate: total.hit_rate().unwrap_or(0.0),
            worst_hit_rate: worst.fold(1.0, f64::min),
            latency_ms_p50: total.latency_us.p50 as f64 / 1e3,
            latency_ms_p99: total.latency_us.p99 as f64 / 1e3,
        }
    }
}

impl From<&RunResult> for Outcome {
    fn from(run: &RunResult) -> Outcome {
        Outcome {
            requests: run.requests as f64,
            utility: run.utility,
            goodput_per_s: run.goodput_per_s,
            slo_hit_rate: run.slo_hit_rate,
            worst_hit_rate: run.worst_hit_rate(),
            latency_ms_p50: run.latency_us_p50 as f64 / 1e3,
            latency_ms_p99: run.latency_us_p99 as f64 / 1e3,
        }
    }
}

impl Outcome {
    fn mean(all: &[Outcome]) -> Outcome {
        let over = |of: fn(&Outcome) -> f64| mean(&all.iter().map(of).collect::<Vec<_>>());
        Outcome {
            requests: over(|o| o.requests),
            utility: over(|o| o.utility),
            goodput_per_s: over(|o| o.goodput_per_s),
            slo_hit_rate: over(|o| o.slo_hit_rate),
            worst_hit_rate: over(|o| o.worst_hit_rate),
            latency_ms_p50: over(|o| o.latency_ms_p50),
            latency_ms_p99: over(|o| o.latency_ms_p99),
        }
    }
}

impl LiveRow {
    /// From the rounds of a policy.
    pub fn new(
        policy: &str,
        settings: Option<String>,
        measured: &[Outcome],
        simulated: &[Outcome],
    ) -> LiveRow {
        LiveRow {
            policy: policy.into(),
            settings,
            measured: Outcome::mean(measured),
            simulated: Outcome::mean(simulated),
            utility_by_round: measured.iter().map(|outcome| outcome.utility).collect(),
        }
    }

    /// Simulated less measured, in points.
    fn hit_rate_off(&self) -> f64 {
        100.0 * (self.simulated.slo_hit_rate - self.measured.slo_hit_rate)
    }

    /// Simulated over measured less one, in percent.
    fn p99_off(&self) -> f64 {
        100.0 * (self.simulated.latency_ms_p99 / self.measured.latency_ms_p99 - 1.0)
    }
}

/// The figures over all cells: `subject` against the best rule, and the simulator against reality.
pub fn summary(subject: &str, cells: &[LiveCell]) -> Summary {
    let mut figures = Vec::new();
    let mut missing = Vec::new();
    match over_best_rule(subject, cells) {
        Some(figure) => figures.push(figure),
        None => missing.push(format!("live_{subject}_over_best_rule: no rule took part beside it")),
    }
    let off = |name: &str, of: fn(&LiveRow) -> f64, most| {
        let rows = cells.iter().flat_map(|cell| cell.rows.iter().map(move |row| (cell, row)));
        let (cell, row) = rows.max_by(|a, b| of(a.1).abs().total_cmp(&of(b.1).abs()))?;
        Some(Figure {
            name: name.into(),
            estimate: Estimate::exact(of(row).abs()),
            target: Some(Target::AtMost(most)),
            cells: cells.len(),
            remark: format!("{}, {}", cell.load, row.policy),
        })
    };
    figures.extend(off("simulator_hit_rate_off_points", LiveRow::hit_rate_off, HIT_RATE_POINTS));
    figures.extend(off("simulator_p99_off_percent", LiveRow::p99_off, P99_PERCENT));
    Summary { subject: subject.into(), figures, missing }
}

/// On paired rounds, against the rule that has the most utility in each cell.
fn over_best_rule(subject: &str, cells: &[LiveCell]) -> Option<Figure> {
    let mut samples = Vec::new();
    let mut rules = Vec::new();
    for cell in cells {
        let own = cell.rows.iter().find(|row| row.policy == subject)?;
        let is_rule =
            |row: &&LiveRow| row.policy != subject && RULES.contains(&row.policy.as_str());
        let best = cell
            .rows
            .iter()
            .filter(is_rule)
            .max_by(|a, b| a.measured.utility.total_cmp(&b.measured.utility))?;
        rules.push(format!("{}: {}", cell.load, best.policy));
        let pairs = own.utility_by_round.iter().zip(&best.utility_by_round);
        samples.extend(pairs.map(|(own, rule)| own - rule));
    }
    Some(Figure {
        name: format!("live_{subject}_over_best_rule"),
        estimate: Estimate::of_ratio(&samples),
        target: Some(Target::AtLeastWithinNoise(1.0)),
        cells: cells.len(),
        remark: rules.join(", "),
    })
}

/// A cell's table.
pub fn table(cell: &LiveCell) -> String {
    let mut text = format!(
        "\nthis machine · {}   {} s × {} rounds of one trace, {} requests, capacity {:.1}/s a model\n\
         {:<12}{:>24}{:>18}{:>16}{:>14}{:>18}{:>20}\n",
        cell.load,
        cell.seconds,
        cell.rounds,
        cell.requests,
        cell.capacity_per_s,
        "policy",
        "utility [95 %]",
        "good/s real, sim",
        "hits real, sim",
        "off by",
        "p99 ms real, sim",
        "off by",
    );
    for row in &cell.rows {
        let (real, simulated) = (&row.measured, &row.simulated);
        let utility = crate::suite::table::interval(Estimate::of_mean(&row.utility_by_round));
        let _ = writeln!(
            text,
            "{:<12}{utility:>24}{:>9.1}{:>9.1}{:>8.3}{:>8.3}{:>+7.1} points{:>9.1}{:>9.1}{:>+18.1} %",
            row.policy,
            real.goodput_per_s,
            simulated.goodput_per_s,
            real.slo_hit_rate,
            simulated.slo_hit_rate,
            row.hit_rate_off(),
            real.latency_ms_p99,
            simulated.latency_ms_p99,
            row.p99_off(),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(utility: f64, slo_hit_rate: f64, latency_ms_p99: f64) -> Outcome {
        Outcome { utility, slo_hit_rate, latency_ms_p99, ..Outcome::default() }
    }

    fn cell(rows: Vec<LiveRow>) -> LiveCell {
        LiveCell {
            load: "steady 0.6".into(),
            load_details: Load::Steady { level: 0.6 },
            capacity_per_s: 10.0,
            models: vec!["m".into()],
            slo_ms: vec![100.0],
            rates_per_s: vec![6.0],
            seconds: 20,
            rounds: 2,
            seed: 1,
            requests: 120,
            rows,
        }
    }

    fn row(policy: &str, measured: [Outcome; 2], simulated: Outcome) -> LiveRow {
        LiveRow::new(policy, None, &measured, &[simulated; 2])
    }

    #[test]
    fn the_summary_names_the_best_rule_and_how_far_the_simulator_is_off() {
        let sac = [outcome(2.0, 0.9, 100.0), outcome(2.2, 0.94, 120.0)];
        let planner = [outcome(2.05, 0.9, 100.0), outcome(2.05, 0.9, 100.0)];
        let fixed = [outcome(1.0, 0.5, 50.0), outcome(1.0, 0.5, 50.0)];
        let rows = vec![
            row("fixed", fixed, outcome(1.0, 0.51, 51.0)),
            row("planner", planner, outcome(2.0, 0.9, 116.0)),
            row("sac", sac, outcome(2.0, 0.96, 110.0)),
        ];
        let summary = summary("sac", &[cell(rows)]);
        let [over, hits, p99] = &summary.figures[..] else { panic!("{summary:?}") };
        assert!((over.estimate.value.ln() - 0.05).abs() < 1e-9);
        assert_eq!((over.is_met(), over.remark.as_str()), (Some(true), "steady 0.6: planner"));
        assert!((hits.estimate.value - 4.0).abs() < 1e-9);
        assert_eq!((hits.is_met(), hits.remark.as_str()), (Some(false), "steady 0.6, sac"));
        assert!((p99.estimate.value - 16.0).abs() < 1e-9);
        assert_eq!((p99.is_met(), p99.remark.as_str()), (Some(false), "steady 0.6, planner"));
    }

    #[test]
    fn less_than_the_best_rule_is_enough_only_within_the_noise() {
        let steady = |utility| [outcome(utility, 1.0, 1.0), outcome(utility, 1.0, 1.0)];
        let noisy = [outcome(1.0, 1.0, 1.0), outcome(1.9, 1.0, 1.0)];
        for (sac, met) in [(steady(1.4), false), (noisy, true), (steady(1.5), true)] {
            let rows = ["planner", "sac"].into_iter().zip([steady(1.5), sac]);
            let rows = rows.map(|(name, measured)| row(name, measured, measured[0])).collect();
            assert_eq!(summary("sac", &[cell(rows)]).figures[0].is_met(), Some(met));
        }
        let alone = vec![row("sac", noisy, noisy[0])];
        assert!(summary("sac", &[cell(alone)]).missing[0].contains("no rule"));
    }

    #[test]
    fn a_single_round_tells_no_noise() {
        let one = |name: &str, utility| {
            let outcome = outcome(utility, 1.0, 1.0);
            LiveRow::new(name, None, &[outcome], &[outcome])
        };
        let cells = [cell(vec![one("planner", 1.0), one("sac", 2.0)])];
        assert_eq!(summary("sac", &cells).figures[0].is_met(), None);
        assert!(table(&cells[0]).contains("sac"));
    }
}
