//! The cells and the summary as text for a terminal.

use super::results::{Cell, Row};
use super::stats::Estimate;
use super::summary::Summary;
use std::fmt::Write;

/// A cell's table.
pub fn cell(cell: &Cell) -> String {
    let modelled = if cell.modelled { " (modelled)" } else { "" };
    let mut text = format!(
        "\n{}{modelled} · {} SLOs · {}   {} s × {} seeds, capacity {:.1}/s a model, hit floor {:.3}\n",
        cell.platform,
        cell.slo,
        cell.load,
        cell.seconds,
        cell.seeds.len(),
        cell.capacity_per_s,
        cell.floor,
    );
    let _ = writeln!(
        text,
        "{:<12}{:>8}{:>22}{:>10}{:>7}{:>7} {:<19}{:>8}{:>8}{:>7}{:>9}",
        "policy",
        "utility",
        "over oracle [95 %]",
        "good/s",
        "hits",
        "worst",
        "model",
        "p50 ms",
        "p99 ms",
        "MiB",
        "decide µs"
    );
    for row in &cell.rows {
        let _ = writeln!(text, "{}", line(row));
    }
    text
}

fn line(row: &Row) -> String {
    let decision = row.decision.map_or_else(String::new, |d| format!("{:.1}", d.us_mean));
    let starved = if row.starved { "  starved" } else { "" };
    format!(
        "{:<12}{:>8.3}{:>22}{:>10.1}{:>7.3}{:>7.3} {:<19}{:>8.1}{:>8.1}{:>7.0}{:>9}{starved}",
        row.policy,
        row.utility,
        interval(row.utility_over_oracle),
        row.goodput_per_s,
        row.slo_hit_rate,
        row.worst_hit_rate,
        row.worst_model,
        row.latency_ms_p50,
        row.latency_ms_p99,
        row.memory_mib,
        decision,
    )
}

/// The summary's figures, what they should be, and whether they are.
pub fn summary(summary: &Summary) -> String {
    let mut text = format!(
        "\n{:<36}{:>22}  {:<9}{:<7}\n",
        format!("summary of {}", summary.subject),
        "value [95 %]",
        "target",
        "met"
    );
    for figure in &summary.figures {
        let target = figure.target.map_or_else(String::new, |target| target.to_string());
        let met = match figure.is_met() {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        let _ = writeln!(
            text,
            "{:<36}{:>22}  {target:<9}{met:<4}{}",
            figure.name,
            interval(figure.estimate),
            figure.remark
        );
    }
    for missing in &summary.missing {
        let _ = writeln!(text, "{missing}");
    }
    text
}

/// Such as `1.034 [1.021, 1.047]`; without an interval where there is none.
pub fn interval(estimate: Estimate) -> String {
    let Estimate { value, low, high } = estimate;
    if low == high || !low.is_finite() || !high.is_finite() {
        return format!("{value:.3}");
    }
    format!("{value:.3} [{low:.3}, {high:.3}]")
}
