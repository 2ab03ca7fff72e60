//! `bcedge evaluate`: runs the shipping pipeline and policies under a virtual clock, on modelled
//! devices, and compares them; with `--live` also on the real engines of this machine.

mod live;
mod meter;
mod output;
mod profiles;

use crate::pipeline::Order;
use crate::policy_file;
use crate::scheduler::trained::Trained;
use crate::sim::network;
use crate::sim::platform::Platform as Modelled;
use crate::suite::ablation::Ablation;
use crate::suite::cell::Plan;
use crate::suite::grid::{self, Grid, Platform, Rules};
use crate::suite::results::Cell;
use crate::suite::roster;
use crate::suite::scenario::{DEFAULT_BATCH, DEFAULT_INSTANCES, Ready, Scenario};
use crate::suite::tune::Effort;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  bcedge evaluate                                   all platforms, SLO sets, loads and policies
  bcedge evaluate --quick                           two platforms and four loads, within a minute
  bcedge evaluate --platforms orin_nano --policies planner,fixed
  bcedge evaluate --report out --json out/suite.json
  bcedge evaluate --profiles engines                and on what was measured on this machine
  bcedge evaluate --live                            on this machine's engines, through the socket
  bcedge evaluate --scenario assets/scenarios/camera.ron

Platforms are modelled from published figures, not measured; how far the model is off published
measurements is listed. Scenarios: assets/scenarios/everything.ron shows the whole format.
The same seed gives the same figures, on any number of threads; decision times alone are measured.";

/// Loads of `--quick`: light, full, unsteady, and when the device becomes slow.
const QUICK_LOADS: [&str; 4] = ["steady 0.6", "steady 1.2", "bursty", "slow-down"];
const QUICK_PLATFORMS: [&str; 2] = ["tx2", "orin_nano"];

/// House rules that `--ablation` leaves out, one at a time.
const ABLATIONS: [(&str, Rules); 2] = [
    ("admission", Rules { admission: false, order: Order::Deadline }),
    ("deadline order", Rules { admission: true, order: Order::Arrival }),
];

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Two platforms, the default SLOs and four loads, in shorter runs
    #[arg(long)]
    quick: bool,
    /// Only these platforms [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', conflicts_with = "scenario")]
    platforms: Vec<String>,
    /// Only these SLO sets: default, tight, mixed
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    slos: Vec<String>,
    /// Only these loads, such as `steady 0.9,bursty`
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    loads: Vec<String>,
    /// Only these policies [default: all]; the oracles always take part
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    policies: Vec<String>,
    /// Replay one trace under each policy, in turns, on the real engines of this machine and in the
    /// simulator on their profiles (`bcedge profile`), and compare both
    #[arg(
        long,
        conflicts_with_all = ["platforms", "slos", "scenario", "profiles", "ablation", "threads", "report"]
    )]
    live: bool,
    /// Configuration file that names the models of --live [default: config.ron]
    #[arg(long, value_name = "FILE", requires = "live")]
    config: Option<PathBuf>,
    /// Seconds that count of each run of --live [default: 30, quick: 10]
    #[arg(long, value_name = "N", requires = "live", value_parser = clap::value_parser!(u64).range(5..=3_600))]
    seconds: Option<u64>,
    /// Platforms, models, SLOs and loads of this file instead of the suite's
    #[arg(long, value_name = "FILE.ron")]
    scenario: Option<PathBuf>,
    /// Also the devices whose profiles are in this folder, in MODEL/profile.ron (`bcedge profile`)
    #[arg(long, value_name = "DIR", conflicts_with = "scenario")]
    profiles: Option<PathBuf>,
    /// The policy that the summary is about [default: sac, else the last one]
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// Weights that `sac` decides with [default: the shipped ones]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Also run without refusing what can't be in time, and without deadline order, and compare
    #[arg(long)]
    ablation: bool,
    /// Runs of each policy in each cell, with seeds of their own [default: 5, quick: 3]; rounds of
    /// --live [default: 3, quick: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    runs: Option<u16>,
    /// Seed of arrivals, noise and profiles
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Threads; results do not depend on it [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Write every cell and the summary
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with plots, index.html, into this folder
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

/// # Errors
/// A text for the operator: an unknown name, a bad scenario, or a file that can't be written.
pub fn run(args: Args) -> Result<(), String> {
    if args.live {
        return live::run(&args);
    }
    let grid = plan(&args)?;
    let subject = subject(&args, &grid.plan.policies)?;
    output::check_writable(args.json.as_deref(), args.report.as_deref())?;
    print!("{}", output::published());
    let cells = simulate(&grid, &args, "")?;
    for cell in &cells {
        print!("{}", crate::suite::table::cell(cell));
    }
    let mut ablations = Vec::new();
    for (rule, rules) in if args.ablation { &ABLATIONS[..] } else { &[] } {
        let without = Grid { rules: *rules, ..grid.clone() };
        let cells = simulate(&without, &args, &format!("without {rule}: "))?;
        ablations.push(Ablation { rule, cells });
    }
    let outcome = output::Outcome::new(args.seed, subject, cells, ablations);
    print!("{}", outcome.text());
    if let Some(path) = &args.json {
        output::write(path, outcome.json()?.as_bytes())?;
    }
    if let Some(folder) = &args.report {
        let page = folder.join("index.html");
        output::write(&page, crate::suite::report::page(&outcome.page()).as_bytes())?;
        println!("report: {}", page.display());
    }
    Ok(())
}

fn simulate(grid: &Grid, args: &Args, what: &str) -> Result<Vec<Cell>, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.map_or(cores, usize::from);
    // Hidden by itself where stderr is not a terminal.
    let style = ProgressStyle::with_template("{msg:44} {bar:24} {pos}/{len}, {eta} left");
    let bar = ProgressBar::new(grid.steps() as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let cells = grid.run(threads, &meter::Stopwatch, &|step| {
        bar.set_message(format!("{what}{step}"));
        bar.inc(1);
    });
    bar.finish_and_clear();
    cells
}

/// What the arguments ask for.
fn plan(args: &Args) -> Result<Grid, String> {
    let ready = match &args.scenario {
        Some(path) => Scenario::load(path)
            .map_err(|problems| format!("the scenario is not valid\n\n{problems}"))?,
        None => built_in(args)?,
    };
    let slo_sets = select("SLO set", ready.slo_sets, &args.slos, |set| &set.name)?;
    let loads = select("load", ready.loads, &args.loads, |load| &load.name)?;
    let policies = match (&args.policies[..], ready.policies) {
        ([], Some(policies)) => policies,
        ([], None) => roster::all(),
        (names, _) => names.iter().map(|name| roster::named(name)).collect::<Result<_, _>>()?,
    };
    let trained = match &args.policy {
        Some(path) => policy_file::trained(path).map_err(|e| e.to_string())?,
        None => Trained::shipped(),
    };
    let plan = Plan {
        trained,
        policies,
        runs: usize::from(args.runs.unwrap_or(if args.quick { 3 } else { 5 })),
        shortened: if args.quick { 0.5 } else { 1.0 },
        effort: if args.quick { Effort::QUICK } else { Effort::FULL },
        seed: args.seed,
    };
    Ok(Grid { platforms: ready.platforms, slo_sets, loads, plan, rules: Rules::default() })
}

/// The suite's own platforms, SLO sets and loads; fewer of each with `--quick`, unless named.
fn built_in(args: &Args) -> Result<Ready, String> {
    let names: Vec<&str> = match &args.platforms[..] {
        [] if args.quick => QUICK_PLATFORMS.to_vec(),
        [] => Modelled::names().collect(),
        names => names.iter().map(String::as_str).collect(),
    };
    let networks = network::reference();
    let platforms = names.into_iter().map(|name| {
        let surfaces =
            Modelled::built_in(name)?.surfaces(&networks, DEFAULT_BATCH, DEFAULT_INSTANCES)?;
        Ok(Platform { name: name.into(), modelled: true, surfaces })
    });
    let mut platforms = platforms.collect::<Result<Vec<_>, String>>()?;
    if let Some(folder) = &args.profiles {
        let (measured, warnings) = profiles::platforms(folder)?;
        for warning in warnings {
            eprintln!("warning: {warning}");
        }
        platforms.extend(measured);
    }
    let mut slo_sets = grid::slo_sets();
    let mut loads = grid::loads();
    if args.quick && args.slos.is_empty() {
        slo_sets.truncate(1);
    }
    if args.quick && args.loads.is_empty() {
        loads.retain(|load| QUICK_LOADS.contains(&load.name.as_str()));
    }
    Ok(Ready { platforms, slo_sets, loads, policies: None })
}

/// Those of the wanted names, in the order of `all`; all when none is named.
fn select<T>(
    what: &str,
    all: Vec<T>,
    wanted: &[String],
    name: impl Fn(&T) -> &str,
) -> Result<Vec<T>, String> {
    if let Some(unknown) = wanted.iter().find(|w| all.iter().all(|item| name(item) != w.as_str())) {
        let known: Vec<&str> = all.iter().map(&name).collect();
        return Err(format!("there is no {what} '{unknown}'; there are {}", known.join(", ")));
    }
    let is_wanted = |item: &T| wanted.is_empty() || wanted.iter().any(|w| w == name(item));
    Ok(all.into_iter().filter(is_wanted).collect())
}

/// Whom the summary is about.
fn subject(args: &Args, taking_part: &[&'static str]) -> Result<&'static str, String> {
    match &args.subject {
        Some(name) => {
            let name = roster::named(name)?;
            if taking_part.contains(&name) {
                return Ok(name);
            }
            Err(format!("'{name}' does not take part; add it to --policies"))
        }
        None if taking_part.contains(&roster::SUBJECT) => Ok(roster::SUBJECT),
        None => taking_part.last().copied().ok_or_else(|| "no policy takes part".into()),
    }
}

#[cfg(test)]
mod tests;
