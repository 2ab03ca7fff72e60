//! `bcedge train`: trains the policy `sac` in the simulator.

use crate::policy_file;
use crate::scheduler::sac::{Layout, UpdateStats};
use crate::scheduler::trained;
use crate::sim::network;
use crate::sim::platform::Platform;
use crate::train::{Materials, Options, Round, Subject, Trainer};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  bcedge train --out policy.safetensors        as the shipped policy was trained, within 45 minutes
  bcedge train --out p.safetensors --steps 20000          a tenth of it, to look
  bcedge train --out p.safetensors --without nano,yolov5s  without a platform and a network
  bcedge train --out p.safetensors             again after an interruption: goes on

Progress is kept in OUT.training, beside the policy: a run that goes on has its networks and their
optimisers, and plays anew what it remembered. While it runs it shows the utility and, in brackets,
how much more that is than the planner's (both of the exploring policy, which is below what it is
worth), the entropy of the policy and its goal in nats, the temperature, and the critics' and the
actor's losses.
To serve with the result, copy it to the `policy_file` of config.ron.";

/// Steps between two savings.
const STEPS_PER_SAVING: u64 = 5_000;

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the policy is written to
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Updates of the networks in all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    steps: Option<u64>,
    /// Only these platforms to vary [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    platforms: Vec<String>,
    /// Without these platforms and networks
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    without: Vec<String>,
    /// Train `tac` instead, which chooses batch sizes only: a rival to compare with
    #[arg(long)]
    batch_only: bool,
    /// Seed of everything that is drawn
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Begin anew, even if there is a run to go on with
    #[arg(long)]
    restart: bool,
}

impl Args {
    fn subject(&self) -> Subject {
        if self.batch_only { Subject::Tac } else { Subject::Sac }
    }

    fn layout(&self) -> Layout {
        if self.batch_only { trained::tac_layout() } else { trained::sac_layout() }
    }
}

/// # Errors
/// A text for the operator: an unknown name, a run of other settings, a file that can't be written.
pub fn run(args: Args) -> Result<(), String> {
    let materials = materials(&args)?;
    let mut options = Options::new(args.subject(), materials, args.seed);
    options.updates = args.steps.unwrap_or(options.updates);
    let steps = options.updates;
    let made_by = made_by(&args, steps);
    let state = state_file(&args.out);
    let mut trainer = begin(&args, options, &state, &made_by)?;
    let mut saved = trainer.learner().updates();

    let style = ProgressStyle::with_template("{pos}/{len} steps {bar:24} {eta} left  {msg}");
    let bar =
        ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut means = Means::default();
    while !trainer.is_done() {
        let round = trainer.round()?;
        means.add(&round);
        let updates = trainer.learner().updates();
        bar.set_position(updates);
        bar.set_message(in_words(&means, &round.stats));
        if let Some(reason) = &round.reason {
            let text =
                format!("step {updates}: {} updates were taken back: {reason}", round.setbacks);
            bar.suspend(|| eprintln!("{text}"));
        }
        if updates >= saved + STEPS_PER_SAVING || trainer.is_done() {
            save(&trainer, &args, &state, &made_by)?;
            saved = updates;
            // Where there is no bar, a line now and then.
            if bar.is_hidden() {
                println!("step {updates}: {}", in_words(&means, &round.stats));
            }
        }
    }
    bar.finish_and_clear();
    println!("{} is written, {made_by}", args.out.display());
    Ok(())
}

/// What the last rounds came to: a single one says little.
#[derive(Default)]
struct Means {
    rounds: u64,
    utility: f64,
    gain: f64,
}

impl Means {
    fn add(&mut self, round: &Round) {
        self.rounds += 1;
        let weight = (1.0 / self.rounds as f64).max(0.05);
        self.utility += weight * (round.utility - self.utility);
        self.gain += weight * (round.gain - self.gain);
    }
}

fn in_words(means: &Means, stats: &UpdateStats) -> String {
    format!(
        "utility {:.3} ({:+.4})  entropy {:.2} → {:.2}  temperature {:.1e}  losses {:.3} {:.3}",
        means.utility,
        means.gain,
        stats.entropy,
        stats.target_entropy,
        stats.alpha,
        stats.critic_loss,
        stats.actor_loss
    )
}

fn materials(args: &Args) -> Result<Materials, String> {
    let left_out = |name: &str| args.without.iter().any(|without| without == name);
    let networks = network::reference();
    let platforms: Vec<&str> = Platform::names().collect();
    let all: Vec<&str> =
        platforms.iter().copied().chain(networks.iter().map(|n| n.name.as_str())).collect();
    if let Some(unknown) = args.without.iter().find(|name| !all.contains(&name.as_str())) {
        return Err(format!(
            "there is no platform or network '{unknown}' to leave out; there are {}",
            all.join(", ")
        ));
    }
    let wanted: Vec<&str> = match &args.platforms[..] {
        [] => platforms,
        some => some.iter().map(String::as_str).collect(),
    };
    let kept = wanted.into_iter().filter(|name| !left_out(name));
    Ok(Materials {
        platforms: kept.map(Platform::built_in).collect::<Result<_, _>>()?,
        networks: networks.iter().filter(|n| !left_out(&n.name)).cloned().collect(),
    })
}

/// What the policy says made it.
fn made_by(args: &Args, steps: u64) -> String {
    let mut text = format!("bcedge train --seed {} --steps {steps}", args.seed);
    if args.batch_only {
        text += " --batch-only";
    }
    if !args.platforms.is_empty() {
        text += &format!(" --platforms {}", args.platforms.join(","));
    }
    if !args.without.is_empty() {
        text += &format!(" --without {}", args.without.join(","));
    }
    text + &format!(", bcedge {}", env!("CARGO_PKG_VERSION"))
}

fn state_file(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".training");
    out.with_file_name(name)
}

/// Goes on with a run of the same command, or begins one.
fn begin(args: &Args, options: Options, state: &Path, made_by: &str) -> Result<Trainer, String> {
    if args.restart || !state.exists() {
        return Trainer::new(options);
    }
    let loaded = policy_file::load_learner(state, &args.layout(), options.sac.clone());
    let (learner, theirs) = loaded.map_err(|e| e.to_string())?;
    if theirs != made_by {
        return Err(format!(
            "{} is of another run, '{theirs}'; this is '{made_by}': give the same options to go on \
             with it, or --restart to begin anew",
            state.display()
        ));
    }
    println!("going on at step {}", learner.updates());
    Ok(Trainer::resume(options, learner))
}

fn save(trainer: &Trainer, args: &Args, state: &Path, made_by: &str) -> Result<(), String> {
    let layout = args.layout();
    policy_file::save_learner(state, trainer.learner(), &layout, made_by)
        .and_then(|()| policy_file::save(&args.out, &trainer.actor(), &layout, made_by))
        .map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(out: &Path, steps: u64) -> Args {
        Args {
            out: out.to_owned(),
            steps: Some(steps),
            platforms: Vec::new(),
            without: Vec::new(),
            batch_only: false,
            seed: 3,
            restart: false,
        }
    }

    #[test]
    fn an_unknown_name_is_told_with_those_there_are() {
        let named = |platforms: &[&str], without: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
            let mut args = args(Path::new("x"), 1);
            (args.platforms, args.without) = (owned(platforms), owned(without));
            materials(&args)
        };
        assert!(named(&["nanno"], &[]).unwrap_err().contains("'nanno'; there are nano, tx2"));
        assert!(named(&[], &["yolo"]).unwrap_err().contains("'yolo' to leave out; there are nano"));
        let materials = named(&["nano", "tx2"], &["tx2", "yolov5s"]).unwrap();
        assert_eq!((materials.platforms.len(), materials.networks.len()), (1, 5));
    }

    #[test]
    fn progress_tells_the_return_entropy_temperature_and_losses() {
        let round = |utility, gain| Round { utility, gain, ..Round::default() };
        let mut means = Means::default();
        means.add(&round(1.0, -0.02));
        means.add(&round(2.0, 0.0));
        let stats = UpdateStats {
            entropy: 0.31,
            target_entropy: 0.05,
            alpha: 2e-3,
            critic_loss: 0.125,
            actor_loss: -0.5,
            ..UpdateStats::default()
        };
        assert_eq!(
            in_words(&means, &stats),
            "utility 1.500 (-0.0100)  entropy 0.31 → 0.05  temperature 2.0e-3  losses 0.125 -0.500"
        );
    }

    #[test]
    fn a_run_goes_on_where_it_stopped_and_only_with_its_own_options() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("p.safetensors");
        run(args(&out, 100)).unwrap();
        let (_, made_by) = policy_file::load(&out, &trained::sac_layout()).unwrap();
        assert!(made_by.starts_with("bcedge train --seed 3 --steps 100"), "{made_by}");
        run(args(&out, 100)).unwrap();
        let error = run(args(&out, 200)).unwrap_err();
        assert!(error.contains("of another run") && error.contains("--restart"), "{error}");
        std::fs::write(state_file(&out), b"garbage").unwrap();
        let error = run(args(&out, 100)).unwrap_err();
        assert!(
            error.contains("p.safetensors.training") && error.contains("safetensors"),
            "{error}"
        );
    }
}
