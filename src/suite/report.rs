//! The suite as one HTML page that needs nothing else: figures, plots, every table.

mod style;
mod tables;

use super::ablation::Ablation;
use super::results::{Cell, Row};
use super::roster::{FAIR_ORACLE, ORACLE};
use super::stats::Estimate;
use super::summary::Summary;
use crate::chart::{
    Axis, Chart, Dot, Groups, Place, Scale, Series, Style, escaped, figure, groups,
};
use crate::sim::published::Published;
use std::fmt::Write;

/// What the page shows.
pub struct Page<'a> {
    pub seed: u64,
    pub summary: &'a Summary,
    pub cells: &'a [Cell],
    /// Published measurements, and what the model says for the same in ms.
    pub published: Vec<(Published, f64)>,
    /// The same cells without some of the house rules.
    pub ablations: &'a [Ablation],
}

/// The whole page.
pub fn page(page: &Page<'_>) -> String {
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>bcedge: policies compared</title>\n<style>{}</style>\n</head>\n<body>\n",
        style::CSS
    );
    let _ = writeln!(html, "<h1>Policies compared</h1>\n{}", introduction(page));
    html += &tables::summary(page.summary);
    for ablation in page.ablations {
        html += &tables::worth(ablation.rule, &ablation.worth(page.cells));
    }
    for (platform, slo) in benches(page.cells) {
        let cells: Vec<&Cell> =
            page.cells.iter().filter(|c| c.platform == platform && c.slo == slo).collect();
        let Some(first) = cells.first() else { continue };
        let _ = writeln!(
            html,
            "<h2>{}{} · {} SLOs</h2>\n<p>Capacity {:.1} requests per second of each model. SLOs: \
             {}.</p>",
            escaped(platform),
            if first.modelled { " (modelled)" } else { "" },
            escaped(slo),
            first.capacity_per_s,
            slos(first)
        );
        html += &groups(&ratios(&cells));
        html += &groups(&worst_hit_rates(&cells));
        html += &by_level(&cells);
        for cell in &cells {
            html += &tables::cell(cell);
        }
    }
    html += &tables::published(&page.published);
    html + "</body>\n</html>\n"
}

fn introduction(page: &Page<'_>) -> String {
    let modelled = page.cells.iter().any(|cell| cell.modelled);
    let seeds = page.cells.first().map_or(0, |cell| cell.seeds.len());
    format!(
        "<p>bcedge {}, seed {}, {} cells, {seeds} runs of every policy in each, on the same arrivals \
         and the same noise. The pipeline and the policies are the ones that serve; only the clock \
         and the engines are simulated.{}</p>\n<p>Two policies are compared by the ratio of their \
         utilities, exp(U<sub>a</sub> − U<sub>b</sub>); brackets and whiskers are 95 % intervals \
         over paired seeds. A policy whose worst model has less than 0.9 times the hit rate that \
         the fair oracle gives it <em>starves</em> a model: its figure does not count, and it is \
         crossed out. The oracle is the best fixed choice of batch size and instances for the very \
         load, chosen anew in each of its phases; <code>fixed</code> and <code>triton</code> are \
         tuned on the steady load at 0.6 of the capacity.</p>",
        env!("CARGO_PKG_VERSION"),
        page.seed,
        page.cells.len(),
        if modelled {
            " <strong>The platforms are modelled</strong> from published figures; nothing here was \
             measured on them. How far the model is off published measurements stands at the end."
        } else {
            ""
        }
    )
}

/// Platforms and SLO sets in the order in which they come first.
fn benches(cells: &[Cell]) -> Vec<(&str, &str)> {
    let mut benches: Vec<(&str, &str)> = Vec::new();
    for cell in cells {
        let bench = (cell.platform.as_str(), cell.slo.as_str());
        if !benches.contains(&bench) {
            benches.push(bench);
        }
    }
    benches
}

fn slos(cell: &Cell) -> String {
    let each = cell.models.iter().zip(&cell.slo_ms);
    let each: Vec<String> =
        each.map(|(model, ms)| format!("{} {ms:.0} ms", escaped(model))).collect();
    each.join(", ")
}

/// Names of the policies that have a row in the first cell, without the oracles.
fn policies<'a>(cells: &[&'a Cell]) -> Vec<&'a str> {
    let rows = cells.first().map_or(&[][..], |cell| &cell.rows);
    let names = rows.iter().map(|row| row.policy.as_str());
    names.filter(|name| ![ORACLE, FAIR_ORACLE].contains(name)).collect()
}

fn dots(
    cells: &[&Cell],
    policies: &[&str],
    of: impl Fn(&Row) -> (f64, Option<(f64, f64)>),
) -> Vec<(String, Vec<Option<Dot>>)> {
    let dot = |row: &Row| {
        let (value, interval) = of(row);
        Dot { value, interval, crossed: row.starved }
    };
    let of_policy = |name: &&str| {
        let dots = cells.iter().map(|cell| cell.row(name).map(dot)).collect();
        ((*name).to_string(), dots)
    };
    policies.iter().map(of_policy).collect()
}

fn names(cells: &[&Cell]) -> Vec<String> {
    cells.iter().map(|cell| cell.load.clone()).collect()
}

fn ratios(cells: &[&Cell]) -> Groups {
    Groups {
        title: "Utility over the oracle's".into(),
        y: Axis::new("ratio; above 1 is better than the best fixed choice", Scale::Linear),
        names: names(cells),
        series: dots(cells, &policies(cells), |row| {
            let Estimate { value, low, high } = row.utility_over_oracle;
            (value, Some((low, high)).filter(|(low, high)| low.is_finite() && high.is_finite()))
        }),
        line: Some(1.0),
    }
}

fn worst_hit_rates(cells: &[&Cell]) -> Groups {
    let mut names_of = policies(cells);
    names_of.push(FAIR_ORACLE);
    Groups {
        title: "SLO hit rate of the worst model".into(),
        y: Axis::new("share of its requests in time", Scale::Linear).from_zero(),
        names: names(cells),
        series: dots(cells, &names_of, |row| (row.worst_hit_rate, None)),
        line: None,
    }
}

/// Charts over the level of the steady loads, where there are several.
fn by_level(cells: &[&Cell]) -> String {
    let steady: Vec<(f64, &Cell)> = cells
        .iter()
        .filter(|cell| cell.load_details.is_steady())
        .filter_map(|&cell| Some((cell.load_details.level()?, cell)))
        .collect();
    if steady.len() < 2 {
        return String::new();
    }
    let chart = |title: &str, label: &str, scale, of: &dyn Fn(&Row) -> f64| {
        let mut names = policies(cells);
        names.push(ORACLE);
        let series = names.iter().map(|name| {
            let points = steady
                .iter()
                .filter_map(|(level, cell)| Some(Place::new(*level, of(cell.row(name)?))));
            let style = if *name == ORACLE { Style::Dashed } else { Style::Solid };
            Series { style, ..Series::new(*name, points.collect()) }
        });
        Chart {
            title: title.into(),
            x: Axis::new("load, as a multiple of the capacity", Scale::Linear).from_zero(),
            y: Axis::new(label, scale),
            series: series.collect(),
        }
    };
    figure(
        "Steady loads",
        &[
            chart("Goodput", "requests per second in time", Scale::Linear, &|row| {
                row.goodput_per_s
            }),
            chart("Latency, 99th percentile", "ms", Scale::Log10, &|row| row.latency_ms_p99),
            chart("Device in use", "share", Scale::Linear, &|row| row.utilisation),
            chart("Memory, pooled", "MiB", Scale::Linear, &|row| row.memory_mib),
        ],
    )
}

#[cfg(test)]
mod tests;
