//! Triton's load generator, unmodified, and what it reports.

use super::{build_once, python_env};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const FETCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/triton_tools.py");

/// perf_analyzer 2.51, ready for its arguments.
///
/// # Panics
/// When it can't be had from PyPI.
pub fn perf_analyzer() -> Command {
    let recipe = std::fs::read_to_string(FETCH).expect(FETCH);
    let python = python_env();
    let folder = build_once("perf_analyzer", &recipe, |folder| {
        let mut fetch = Command::new(&python);
        fetch.arg(FETCH).arg(folder).env("PYTHONDONTWRITEBYTECODE", "1");
        let status = super::run_with_deadline(fetch, Duration::from_secs(900))?;
        if status.success() { Ok(()) } else { Err(format!("{FETCH} failed: {status}")) }
    });
    let folder = folder.unwrap_or_else(|reason| panic!("perf_analyzer: {reason}"));
    let mut command = Command::new(folder.join("perf_analyzer"));
    command.env("LD_LIBRARY_PATH", folder.join("lib"));
    command
}

/// One row of the file that `perf_analyzer -f FILE` writes: one concurrency or request rate.
#[derive(Clone, Debug)]
pub struct PerfReport {
    /// The concurrency or the request rate asked for.
    pub load: f64,
    pub inferences_per_s: f64,
    pub latency_us_p50: f64,
    /// Of the server's own statistics, the mean time a request was in the queue and in execution.
    pub server_queue_us: f64,
    pub server_compute_us: f64,
}

impl PerfReport {
    /// # Panics
    /// When the file is not there or has not the columns expected.
    pub fn read(path: &Path) -> Vec<PerfReport> {
        let text = std::fs::read_to_string(path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut lines = text.lines();
        let columns: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        lines.map(|line| PerfReport::parse(&columns, line)).collect()
    }

    fn parse(columns: &[&str], line: &str) -> PerfReport {
        let fields: Vec<&str> = line.split(',').collect();
        let field = |names: &[&str]| {
            let at = columns.iter().position(|column| names.contains(column));
            let value = at.and_then(|at| fields.get(at)).and_then(|text| text.parse().ok());
            value.unwrap_or_else(|| panic!("no {names:?} in {columns:?}: {line}"))
        };
        PerfReport {
            load: field(&["Concurrency", "Request Rate"]),
            inferences_per_s: field(&["Inferences/Second"]),
            latency_us_p50: field(&["p50 latency"]),
            server_queue_us: field(&["Server Queue"]),
            server_compute_us: field(&["Server Compute Infer"]),
        }
    }
}
