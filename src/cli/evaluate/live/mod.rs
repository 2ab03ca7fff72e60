//! `bcedge evaluate --live`: one trace per load, replayed through the socket under every policy on
//! the real engines of this machine, and in the simulator on their profiles.

mod play;
mod results;
mod rig;

use super::super::screen::load_config;
use super::super::signals::Signals;
use super::{Args, output, select};
use crate::policy_file;
use crate::scheduler::trained::Trained;
use crate::sim::Load;
use crate::suite::bench::{WARM_UP, end};
use crate::suite::cell::{NamedLoad, seed};
use crate::suite::grid;
use crate::suite::roster;
use crate::suite::table;
use crate::suite::tune::Effort;
use indicatif::{ProgressBar, ProgressStyle};
use play::Piece;
use results::{LiveCell, LiveRow, Outcome};
use rig::Rig;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where policies differ, and no admission or starving decides everything.
const DEFAULT_LOAD: &str = "steady 0.9";
/// Rounds, and seconds of each; quick ones.
const ROUNDS: [u16; 2] = [3, 2];
const SECONDS: [u64; 2] = [30, 10];

/// # Errors
/// A text for the operator: a bad argument, a model without a profile, or a run that failed.
pub fn run(args: &Args) -> Result<(), String> {
    let policies = policies(args)?;
    let subject = super::subject(args, &policies)?;
    let loads = loads(args)?;
    let trained = match &args.policy {
        Some(path) => policy_file::trained(path).map_err(|e| e.to_string())?,
        None => Trained::shipped(),
    };
    output::check_writable(args.json.as_deref(), None)?;
    let config = load_config(args.config.as_deref())?;
    let effort = if args.quick { Effort::QUICK } else { Effort::FULL };
    println!("tuning the rivals in the simulator, on the profiles of this machine");
    let rig = Rig::new(config, &trained, effort, args.seed)?;
    let stop = AtomicBool::new(false);
    let evaluation = Evaluation { args, rig: &rig, policies: &policies, trained: &trained };
    let cells = std::thread::scope(|scope| {
        // A run ends within a bounded time, so a second signal has nothing to add.
        let signals = Signals::watch(scope, &stop, || {})?;
        let cells: Result<Vec<_>, String> =
            loads.iter().map(|load| evaluation.cell(load, &stop)).collect();
        drop(signals);
        cells
    })?;
    let summary = results::summary(subject, &cells);
    print!("{}", table::summary(&summary));
    let Some(path) = &args.json else { return Ok(()) };
    let all = json!({
        "format": output::FORMAT,
        "bcedge": env!("CARGO_PKG_VERSION"),
        "device": crate::profiler::device_name(),
        "seed": args.seed,
        "summary": summary.to_json(),
        "live": cells,
    });
    let text = serde_json::to_string_pretty(&all).map_err(|error| error.to_string())?;
    output::write(path, text.as_bytes())
}

fn policies(args: &Args) -> Result<Vec<&'static str>, String> {
    match &args.policies[..] {
        [] => Ok(roster::all()),
        names => names.iter().map(|name| roster::named(name)).collect(),
    }
}

fn loads(args: &Args) -> Result<Vec<NamedLoad>, String> {
    let default = [DEFAULT_LOAD.to_owned()];
    let wanted = if args.loads.is_empty() { &default[..] } else { &args.loads };
    let loads = select("load", grid::loads(), wanted, |load| &load.name)?;
    match loads.iter().find(|load| matches!(load.load, Load::SlowDown { .. })) {
        Some(load) => Err(format!(
            "the load '{}' changes the speed of the device, which a real one does not do at will; \
             leave it out",
            load.name
        )),
        None => Ok(loads),
    }
}

/// What came of one policy, by round.
#[derive(Clone, Default)]
struct Played {
    measured: Vec<Outcome>,
    simulated: Vec<Outcome>,
}

struct Evaluation<'a> {
    args: &'a Args,
    rig: &'a Rig,
    policies: &'a [&'static str],
    trained: &'a Trained,
}

impl Evaluation<'_> {
    /// All policies in turn, round after round.
    fn cell(&self, load: &NamedLoad, stop: &AtomicBool) -> Result<LiveCell, String> {
        let pace = usize::from(self.args.quick);
        let rounds = usize::from(self.args.runs.unwrap_or(ROUNDS[pace]));
        let seconds = self.args.seconds.unwrap_or(SECONDS[pace]);
        let Rig { bench, tuned, .. } = self.rig;
        let plan = load.load.plan(&bench.surfaces, tuned.capacity_per_s, WARM_UP, end(seconds));
        let piece = Piece::new(self.rig, plan, seconds, self.args.seed)?;
        let played = self.play(&piece, &load.name, rounds, stop)?;
        let row = |(&policy, played): (&&'static str, &Played)| {
            let set_up = roster::set_up(policy, bench, tuned, &piece.load, self.trained);
            LiveRow::new(policy, set_up.1, &played.measured, &played.simulated)
        };
        let models = &bench.surfaces.models;
        let cell = LiveCell {
            load: load.name.clone(),
            load_details: load.load.clone(),
            capacity_per_s: tuned.capacity_per_s,
            models: self.rig.names(),
            slo_ms: models.iter().map(|model| model.slo.as_millis_f64()).collect(),
            rates_per_s: piece.load.rates_per_s.clone(),
            seconds,
            rounds,
            seed: piece.seed,
            requests: piece.requests(),
            rows: self.policies.iter().zip(&played).map(row).collect(),
        };
        print!("{}", results::table(&cell));
        Ok(cell)
    }

    /// What came out, by policy.
    fn play(
        &self,
        piece: &Piece,
        name: &str,
        rounds: usize,
        stop: &AtomicBool,
    ) -> Result<Vec<Played>, String> {
        let count = self.policies.len();
        let folder = tempfile::tempdir().map_err(|e| format!("no folder for a socket: {e}"))?;
        // Hidden by itself where stderr is not a terminal.
        let style = ProgressStyle::with_template("{msg:44} {bar:24} {pos}/{len}, {eta} left");
        let bar = ProgressBar::new((rounds * count) as u64)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let mut played = vec![Played::default(); count];
        for round in 0..rounds {
            // Whoever comes first in one round comes last in another.
            for place in 0..count {
                let index = (place + round) % count;
                let policy = self.policies[index];
                bar.set_message(format!("{name}, round {}: {policy}", round + 1));
                let weights = self.args.policy.as_deref();
                let report = piece.live(self.rig, policy, weights, folder.path(), stop);
                if stop.load(Ordering::Relaxed) {
                    return Err("stopped; nothing is told of half an evaluation".into());
                }
                played[index].measured.push(Outcome::from(&report?));
                let noise = seed(self.args.seed, name, round as u64);
                let run = piece.simulated(self.rig, policy, self.trained, noise)?;
                played[index].simulated.push(Outcome::from(&run));
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        Ok(played)
    }
}
