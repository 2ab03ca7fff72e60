use super::super::cell::compare;
use super::super::results::ModelRow;
use super::super::roster::FAIR_ORACLE;
use super::*;
use crate::sim::Load;

/// A policy with this utility on both of two seeds, up to ± 0.01, and this worst hit rate.
fn row(policy: &str, utility: f64, worst: f64) -> Row {
    let model =
        ModelRow { slo_hit_rate: worst, goodput_per_s: 1.0, latency_ms_p99: 1.0, mean_batch: 1.0 };
    Row {
        policy: policy.into(),
        settings: None,
        utility,
        utility_by_seed: vec![utility - 0.01, utility + 0.01],
        utility_over_oracle: Estimate::exact(1.0),
        goodput_per_s: 1.0,
        slo_hit_rate: worst,
        worst_hit_rate: worst,
        worst_model: "m".into(),
        latency_ms_p50: 1.0,
        latency_ms_p99: 1.0,
        utilisation: 0.5,
        memory_mib: 60.0,
        memory_copies_mib: 100.0,
        starved: false,
        models: vec![model],
        requests: 1,
        decision: None,
    }
}

fn cell(load: Load, rows: Vec<Row>) -> Cell {
    let mut cell = Cell {
        platform: "p".into(),
        modelled: true,
        slo: "default".into(),
        load: "l".into(),
        load_details: load,
        capacity_per_s: 1.0,
        models: vec!["m".into()],
        slo_ms: vec![100.0],
        rates_per_s: vec![1.0],
        seconds: 60,
        seeds: vec![1, 2],
        fair_worst_hit_rate: 0.0,
        floor: 0.0,
        feasible: false,
        rows,
    };
    compare(&mut cell);
    cell
}

fn figure<'a>(summary: &'a Summary, name: &str) -> &'a Figure {
    let found = summary.figures.iter().find(|figure| figure.name == name);
    found.unwrap_or_else(|| panic!("{name}: {summary:#?}"))
}

fn close(value: f64, expected: f64) -> bool {
    (value - expected).abs() < 1e-9
}

fn two_cells() -> Vec<Cell> {
    let calm = vec![
        row("fixed", 3.0, 0.99),
        row("triton", 2.9, 0.99),
        row("planner", 3.05, 0.98),
        row("sac", 3.0, 0.97),
        row(ORACLE, 3.02, 0.98),
        row(FAIR_ORACLE, 2.8, 0.99),
    ];
    let full = vec![
        row("fixed", 2.0, 0.70),
        // The highest utility, bought with a model that gets nothing.
        row("triton", 2.9, 0.10),
        row("planner", 2.2, 0.70),
        row("sac", 2.3, 0.72),
        row(ORACLE, 2.25, 0.72),
        row(FAIR_ORACLE, 1.9, 0.75),
    ];
    vec![cell(Load::Steady { level: 0.6 }, calm), cell(Load::Even { per_s: 30.0 }, full)]
}

#[test]
fn figures_follow_from_the_cells() {
    let summary = Summary::of("sac", &two_cells());
    let value = |name: &str| figure(&summary, name).estimate.value;
    assert!(close(value("sac_over_rival{fixed}"), (0.3f64 / 2.0).exp()));
    // Triton starves a model in the second cell: equal at least.
    assert!(close(value("sac_over_rival{triton}"), (0.1f64 / 2.0).exp()));
    assert!(close(value("sac_over_baselines_mean"), (0.15f64.exp() + 0.05f64.exp()) / 2.0));
    assert!(close(value("sac_over_best_baseline_geomean"), (0.3f64 / 2.0).exp()));
    assert!(close(value("sac_over_best_rule_worst"), (-0.05f64).exp()));
    assert!(close(value("sac_over_best_rule_mean"), (0.05f64 / 2.0).exp()));
    assert!(close(value("sac_over_oracle_steady"), (-0.02f64).exp()));
    assert!(close(value("sac_over_oracle_other"), 0.05f64.exp()));
    assert_eq!(value("sac_starved_cells"), 0.0);
    assert!(close(value("sac_violation_max_where_feasible"), 0.03), "of the feasible cell only");
    assert!(close(value("sac_memory_saved"), 0.4));
    let worst = figure(&summary, "sac_over_best_rule_worst");
    assert_eq!(worst.remark, "p (modelled) · default · l, against planner");
    assert_eq!(worst.is_met(), Some(false));
    assert_eq!(summary.missing.len(), 3, "{:?}", summary.missing);
}

#[test]
fn starving_costs_half_whatever_the_utility() {
    let mut cells = two_cells();
    let sac = cells[1].rows.iter_mut().find(|row| row.policy == "sac").unwrap();
    *sac = row("sac", 9.0, 0.9 * 0.75 - 0.001);
    compare(&mut cells[1]);
    let summary = Summary::of("sac", &cells);
    let value = |name: &str| figure(&summary, name).estimate.value;
    assert!(close(value("sac_over_rival{fixed}"), (0.5f64.ln() / 2.0).exp()));
    assert!(close(value("sac_over_best_rule_worst"), 0.5));
    assert!(close(value("sac_over_oracle_other"), 0.5));
    assert_eq!(value("sac_starved_cells"), 1.0);
    assert_eq!(figure(&summary, "sac_starved_cells").remark, "p (modelled) · default · l");
}

#[test]
fn intervals_come_from_paired_seeds() {
    let mut cells = two_cells();
    for cell in &mut cells {
        let at = cell.rows.iter().position(|row| row.policy == "sac").unwrap();
        let fixed = cell.row("fixed").unwrap().utility_by_seed.clone();
        // Better on every seed by about as much, however much the seeds differ.
        cell.rows[at].utility_by_seed = vec![fixed[0] + 0.1, fixed[1] + 0.12];
    }
    let summary = Summary::of("sac", &cells);
    let Estimate { value, low, high } = figure(&summary, "sac_over_rival{fixed}").estimate;
    assert!(close(value, 0.11f64.exp()));
    // t(1) = 12.706, standard error 0.01.
    assert!(close(low, (0.11f64 - 0.12706).exp()) && close(high, (0.11f64 + 0.12706).exp()));
}

#[test]
fn the_json_carries_every_name() {
    let json = Summary::of("sac", &two_cells()).to_json();
    assert!(close(json["sac_over_rival"]["fixed"]["value"].as_f64().unwrap(), 0.15f64.exp()));
    assert_eq!(json["sac_over_rival"]["fixed"]["target"]["at_least"], 1.05);
    assert_eq!(json["sac_over_rival"]["fixed"]["met"], true);
    for name in [
        "sac_over_baselines_mean",
        "sac_over_best_baseline_geomean",
        "sac_over_best_rule_worst",
        "sac_over_best_rule_mean",
        "sac_over_oracle_steady",
        "sac_over_oracle_other",
        "sac_starved_cells",
        "sac_violation_max_where_feasible",
    ] {
        for part in ["value", "low", "high", "cells"] {
            assert!(json[name][part].is_number(), "{name}.{part}: {json}");
        }
    }
}

#[test]
fn who_did_not_take_part_is_named() {
    let cells: Vec<Cell> = two_cells();
    let summary = Summary::of("planner", &cells);
    assert!(summary.missing.iter().any(|what| what.starts_with("planner_over_rival{tac}")));
    assert!(Summary::of("nobody", &cells).missing.len() >= 5);
}
