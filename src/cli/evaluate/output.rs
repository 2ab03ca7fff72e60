//! What an evaluation says: on the terminal, as JSON, and as a page.

use crate::files;
use crate::sim::platform::Platform;
use crate::sim::published::{Published, published as all_published};
use crate::suite::ablation::Ablation;
use crate::suite::report::Page;
use crate::suite::results::Cell;
use crate::suite::summary::Summary;
use crate::suite::table;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Of the JSON file's form.
pub const FORMAT: u32 = 1;

/// All that came out.
pub struct Outcome {
    seed: u64,
    summary: Summary,
    cells: Vec<Cell>,
    ablations: Vec<Ablation>,
}

impl Outcome {
    pub fn new(seed: u64, subject: &str, cells: Vec<Cell>, ablations: Vec<Ablation>) -> Outcome {
        Outcome { seed, summary: Summary::of(subject, &cells), cells, ablations }
    }

    /// What follows the cells on the terminal.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for ablation in &self.ablations {
            let rule = ablation.rule;
            let _ = writeln!(text, "\nutility with {rule} over utility without it [95 %]");
            for (policy, ratio) in ablation.worth(&self.cells) {
                let _ = writeln!(text, "{policy:<12} {}", table::interval(ratio));
            }
        }
        text + &table::summary(&self.summary)
    }

    /// Everything, for machines. Figures that do not exist, such as the bounds of an interval from
    /// one run, are null.
    pub fn json(&self) -> Result<String, String> {
        let comparisons: Vec<Value> = comparisons()
            .iter()
            .map(|(published, modelled_ms)| {
                let mut value = json!(published);
                value["modelled_ms"] = json!(modelled_ms);
                value["error"] = json!(modelled_ms / published.ms - 1.0);
                value
            })
            .collect();
        let ablations: Vec<Value> = self
            .ablations
            .iter()
            .map(|ablation| {
                let worth: BTreeMap<_, _> = ablation.worth(&self.cells).into_iter().collect();
                let mut value = json!(ablation);
                value["worth"] = json!(worth);
                value
            })
            .collect();
        let all = json!({
            "format": FORMAT,
            "bcedge": env!("CARGO_PKG_VERSION"),
            "seed": self.seed,
            "summary": self.summary.to_json(),
            "published": comparisons,
            "ablations": ablations,
            "cells": self.cells,
        });
        serde_json::to_string_pretty(&all).map_err(|error| error.to_string())
    }

    /// What the page is made of.
    pub fn page(&self) -> Page<'_> {
        Page {
            seed: self.seed,
            summary: &self.summary,
            cells: &self.cells,
            published: comparisons(),
            ablations: &self.ablations,
        }
    }
}

/// Published measurements beside what the model says, in ms.
fn comparisons() -> Vec<(Published, f64)> {
    let known = all_published().unwrap_or_default().into_iter();
    let compared = known.filter_map(|published| {
        let platform = Platform::built_in(&published.platform).ok()?;
        let ms = published.modelled_ms(&platform)?;
        Some((published, ms))
    });
    compared.collect()
}

/// How far the modelled platforms are off.
pub fn published() -> String {
    let mut text = format!(
        "modelled platforms against published TensorRT figures, FP16\n\
         {:<11}{:<15}{:>6}{:>11}{:>10}{:>8}  source\n",
        "platform", "network", "batch", "published", "modelled", "error"
    );
    for (published, ms) in comparisons() {
        let note = match (published.fitted, published.whole_way) {
            (_, true) => ", includes more than the network",
            (true, false) => ", the model was fitted to it",
            (false, false) => "",
        };
        let _ = writeln!(
            text,
            "{:<11}{:<15}{:>6}{:>8.1} ms{:>7.1} ms{:>+7.0}%  {}{note}",
            published.platform,
            published.network,
            published.batch,
            published.ms,
            ms,
            100.0 * (ms / published.ms - 1.0),
            published.source,
        );
    }
    text
}

/// Says early that a file will not be writable: a suite takes minutes.
///
/// # Errors
/// With the path and the reason.
pub fn check_writable(json: Option<&Path>, report: Option<&Path>) -> Result<(), String> {
    if let Some(folder) = report {
        std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        temporary(folder)?;
    }
    if let Some(path) = json {
        if path.is_dir() {
            return Err(format!("{} is a folder; --json wants a file", path.display()));
        }
        temporary(folder_of(path))?;
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn temporary(folder: &Path) -> Result<tempfile::NamedTempFile, String> {
    tempfile::Builder::new()
        .prefix(".bcedge-evaluate")
        .tempfile_in(folder)
        .map_err(|error| format!("can't write into {}: {error}", folder.display()))
}

/// Replaces a file: a reader sees the old content or the new.
///
/// # Errors
/// With the path and the reason; the old file is intact then.
pub fn write(path: &Path, content: &[u8]) -> Result<(), String> {
    files::replace(path, content)
        .map_err(|error| format!("can't write {}: {error}", path.display()))
}
