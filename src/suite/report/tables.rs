//! The page's tables.

use super::super::results::{Cell, Row};
use super::super::stats::Estimate;
use super::super::summary::Summary;
use super::super::table::interval;
use crate::chart::escaped;
use crate::sim::published::Published;
use std::fmt::Write;

fn table(head: &[&str], rows: &str) -> String {
    let head: String = head.iter().map(|name| format!("<th>{}</th>", escaped(name))).collect();
    format!(
        "<div class=\"wide\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n\
         </table></div>\n"
    )
}

pub fn summary(summary: &Summary) -> String {
    let mut rows = String::new();
    for figure in &summary.figures {
        let target = figure.target.map_or_else(String::new, |target| target.to_string());
        let met = match figure.is_met() {
            Some(true) => "<td class=\"good\">met</td>",
            Some(false) => "<td class=\"bad\">missed</td>",
            None => "<td></td>",
        };
        let _ = writeln!(
            rows,
            "<tr><td><code>{}</code></td><td>{}</td><td>{target}</td>{met}<td>{}</td>\
             <td class=\"words\">{}</td></tr>",
            escaped(&figure.name),
            interval(figure.estimate),
            figure.cells,
            escaped(&figure.remark)
        );
    }
    let missing: String =
        summary.missing.iter().map(|what| format!("<li>{}</li>", escaped(what))).collect();
    let missing = if missing.is_empty() { missing } else { format!("<ul>{missing}</ul>\n") };
    format!(
        "<h2>Summary of <code>{}</code></h2>\n{}{missing}",
        escaped(&summary.subject),
        table(&["figure", "value [95 %]", "target", "", "cells", "remark"], &rows)
    )
}

pub fn worth(rule: &str, worth: &[(String, Estimate)]) -> String {
    let mut rows = String::new();
    for (policy, ratio) in worth {
        let _ =
            writeln!(rows, "<tr><td>{}</td><td>{}</td></tr>", escaped(policy), interval(*ratio));
    }
    format!(
        "<h2>What {rule} is worth</h2>\n<p>Utility with it over utility without it; geometric mean \
         over all cells.</p>\n{}",
        table(&["policy", "with over without [95 %]"], &rows)
    )
}

pub fn cell(cell: &Cell) -> String {
    let rows: String = cell.rows.iter().map(row).collect();
    let rates: Vec<String> = cell.rates_per_s.iter().map(|rate| format!("{rate:.1}")).collect();
    format!(
        "<details><summary>{}: floor of the worst model's hit rate {:.3}</summary>\n<p>Requests per \
         second at the beginning: {}. {} s counted in each of {} runs.{}</p>\n{}</details>\n",
        escaped(&cell.load),
        cell.floor,
        rates.join(", "),
        cell.seconds,
        cell.seeds.len(),
        if cell.modelled { " Modelled." } else { "" },
        table(
            &[
                "policy",
                "utility",
                "over oracle [95 %]",
                "goodput /s",
                "hits",
                "worst",
                "worst model",
                "p50 ms",
                "p99 ms",
                "device",
                "MiB",
                "MiB, copies",
                "decision µs (p99)",
                "batch × instances",
            ],
            &rows
        )
    )
}

fn row(row: &Row) -> String {
    let starved = if row.starved { " <span class=\"bad\">starved</span>" } else { "" };
    let decision =
        row.decision.map_or_else(String::new, |d| format!("{:.2} ({:.1})", d.us_mean, d.us_p99));
    format!(
        "<tr><td>{}{starved}</td><td>{:.3}</td><td>{}</td><td>{:.1}</td><td>{:.3}</td>\
         <td>{:.3}</td><td>{}</td><td>{:.1}</td><td>{:.1}</td><td>{:.2}</td><td>{:.0}</td>\
         <td>{:.0}</td><td>{decision}</td><td>{}</td></tr>\n",
        escaped(&row.policy),
        row.utility,
        interval(row.utility_over_oracle),
        row.goodput_per_s,
        row.slo_hit_rate,
        row.worst_hit_rate,
        escaped(&row.worst_model),
        row.latency_ms_p50,
        row.latency_ms_p99,
        row.utilisation,
        row.memory_mib,
        row.memory_copies_mib,
        escaped(row.settings.as_deref().unwrap_or_default()),
    )
}

pub fn published(published: &[(Published, f64)]) -> String {
    let mut rows = String::new();
    for (published, ms) in published {
        let note = match (published.fitted, published.whole_way) {
            (_, true) => "includes more than the network; the model should be below",
            (true, false) => "the model was fitted to it",
            (false, false) => "",
        };
        let _ = writeln!(
            rows,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.1}</td><td>{ms:.1}</td><td>{:+.0} %</td>\
             <td class=\"words\">{}</td><td class=\"words\">{note}</td></tr>",
            escaped(&published.platform),
            escaped(&published.network),
            published.batch,
            published.ms,
            100.0 * (ms / published.ms - 1.0),
            escaped(&published.source),
        );
    }
    format!(
        "<h2>The model against published measurements</h2>\n<p>One batch alone, TensorRT, \
         FP16.</p>\n{}",
        table(
            &["platform", "network", "batch", "published ms", "modelled ms", "error", "source", ""],
            &rows
        )
    )
}
