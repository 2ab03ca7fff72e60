//! `bcedge load`.

mod plan;
mod screen;

use super::signals::Signals;
use super::socket::SocketArgs;
use crate::load::{self, LoadReport};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  bcedge load --model resnet18=40 --model tinybert=100 --seconds 30
      40 and 100 requests per second with Poisson arrivals
  bcedge load --model resnet18 --concurrency 16
      a closed loop: 16 requests outstanding, a reply brings the next
  bcedge load --arrivals trace day.txt
      one `seconds model` a line

Bursty arrivals: half of all requests come in a tenth of the time, at five times the mean rate, in
bursts of half a second on average (a Markov-modulated Poisson process with two states).

Latency counts from the intended start of a request: a server that stalls is charged for every
request that was due meanwhile. Exit status 1 when the run could not begin, the server went away, or
no request was answered.";

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    socket: SocketArgs,
    /// Models and their requests per second; in a closed loop names alone, or none for all that
    /// are ready
    #[arg(long, value_name = "MODEL=RATE", num_args = 1..)]
    model: Vec<String>,
    /// Closed loop with this many requests outstanding for each model
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// poisson, uniform, bursty, or trace FILE [default: poisson]
    #[arg(long, value_name = "PROCESS", num_args = 1..=2)]
    arrivals: Vec<String>,
    /// SLO of every request in microseconds [default: the model's own, where the server tells it]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    slo_us: Option<u64>,
    /// Seconds to measure [default: 10; a trace is played to its end]
    #[arg(long, value_name = "N")]
    seconds: Option<f64>,
    /// Seconds of load before the measured time
    #[arg(long, value_name = "N", default_value_t = 0.0)]
    warmup: f64,
    /// Connections the requests are spread over
    #[arg(long, value_name = "N", default_value_t = 1)]
    connections: usize,
    /// Send tensors in system shared memory instead of in the messages
    #[arg(long)]
    shm: bool,
    /// Seed of arrival times and input data
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write the result to this file as JSON (`-`: to the standard output, instead of the table)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Lines of text even on a terminal
    #[arg(long)]
    plain: bool,
}

/// # Errors
/// A text for the operator.
pub fn run(args: Args) -> Result<(), String> {
    let plan = plan::from_args(&args)?;
    // Found out now, not after an hour of load.
    if let Some(path) = file_for_json(&args) {
        std::fs::write(path, "").map_err(|e| format!("can't write {}: {e}", path.display()))?;
    }
    let stop = AtomicBool::new(false);
    let on_terminal = std::io::stdout().is_terminal() && !args.plain;
    let report = std::thread::scope(|scope| {
        // Ending a run takes a bounded time, so a second signal has nothing to add.
        let signals = Signals::watch(scope, &stop, || {})?;
        let report = if on_terminal {
            screen::run(&plan, &stop)
        } else {
            let mut lines = Lines::default();
            load::run(&plan, &stop, |report| lines.show(report))
        };
        drop(signals);
        report
    })?;
    deliver(&report, args.json.as_deref())?;
    verdict(&report)
}

fn file_for_json(args: &Args) -> Option<&Path> {
    args.json.as_deref().filter(|path| *path != Path::new("-"))
}

/// Prints the result table, and writes the JSON if asked for.
///
/// # Errors
/// A text for the operator that names the file.
pub(super) fn deliver(report: &LoadReport, json: Option<&Path>) -> Result<(), String> {
    let to_stdout = json == Some(Path::new("-"));
    if !to_stdout {
        println!("\n{}\n\n{}", report.title(), report.table(width()));
    }
    let Some(path) = json else { return Ok(()) };
    if to_stdout {
        println!("{}", report.json()?);
        return Ok(());
    }
    std::fs::write(path, report.json()? + "\n")
        .map_err(|e| format!("can't write {}: {e}", path.display()))
}

/// Of the terminal; what goes into a file or a pipe has no bound.
fn width() -> usize {
    let on_terminal = std::io::stdout().is_terminal();
    let size = on_terminal.then(crossterm::terminal::size).and_then(Result::ok);
    size.map_or(usize::MAX, |(columns, _)| columns.into())
}

/// Whether the run is a success for the exit status.
fn verdict(report: &LoadReport) -> Result<(), String> {
    match report.ended.as_deref() {
        Some("finished" | "stopped") | None => {}
        Some(problem) => return Err(format!("after {:.1} s: {problem}", report.elapsed_s)),
    }
    let total = &report.total;
    if total.sent > 0 && total.ok == 0 && total.failed == total.sent {
        return Err(format!("all {} requests failed", total.sent));
    }
    Ok(())
}

/// Plain progress: one line a second on the standard error stream.
#[derive(Debug, Default)]
struct Lines {
    shown: Duration,
}

impl Lines {
    fn show(&mut self, report: &LoadReport) {
        let elapsed = Duration::from_secs_f64(report.elapsed_s);
        if elapsed.as_secs() > self.shown.as_secs() {
            self.shown = elapsed;
            eprintln!("{}", report.line());
        }
    }
}
