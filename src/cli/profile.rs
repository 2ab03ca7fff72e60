//! `bcedge profile`: measures the models of config.ron and saves what it finds next to them.

mod memory;
mod report;

use super::screen::load_config;
use super::signals::Signals;
use crate::config::{Config, ModelConfig};
use crate::engine::{self, Engine};
use crate::profiler::{self, Campaign, End, News, Profile, Request, Subject};
use crate::units::InstanceCount;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  bcedge profile                   every model of config.ron, alone and beside the others
  bcedge profile resnet18          only this one, beside the others
  bcedge profile --quick           a coarse one within a minute or two
  bcedge profile --samples 0       no combinations of models
  bcedge profile --samples 150     many, to learn from how models slow each other down
  bcedge profile --fresh           once more from the beginning

The result is engines/MODEL/profile.ron, with a picture of it in profile.svg. Each point is saved at
once: Ctrl-C keeps what is measured, and the same command goes on from there. Batch sizes are 1, 2, 4
and so on and the largest, instances 1 to 8, 16 and so on and the most.

Measure on a machine that does nothing else: the profile decides about batches and `slo: Auto`.
Points during which the machine was not as fast as at the beginning are measured anew or marked.";

/// Time for a point, thorough and quick.
const POINT_MS: [u64; 2] = [6_000, 300];
/// Combinations for each model, thorough and quick.
const COMBINATIONS: [usize; 2] = [10, 2];
/// Without a terminal there is a line so often.
const LINE_EVERY: Duration = Duration::from_secs(30);

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Configuration file that names the models [default: config.ron]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Milliseconds to measure each point [default: 6000; with --quick 300]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=600_000))]
    point_ms: Option<u64>,
    /// Combinations of models to measure [default: 10 for each model; with --quick 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    samples: Option<u32>,
    /// Seed of the choice of combinations
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Coarse: short points, few combinations, no memory
    #[arg(long)]
    quick: bool,
    /// Do not watch the machine's speed: no point is measured anew or marked because of it
    #[arg(long)]
    unguarded: bool,
    /// Measure anew what is there already
    #[arg(long)]
    fresh: bool,
    /// Read the memory of one model in this process; `profile` starts itself like this
    #[arg(long, value_name = "MODEL", hide = true)]
    memory_of: Option<String>,
    /// Only these models; all when none is named
    #[arg(value_name = "MODEL")]
    models: Vec<String>,
}

/// # Errors
/// A text for the operator: the configuration's, an unknown model, which models failed, or that it
/// was stopped.
pub fn run(args: Args) -> Result<(), String> {
    let config = load_config(args.config.as_deref())?;
    if let Some(name) = &args.memory_of {
        return memory::read_here(select(&config, std::slice::from_ref(name))?, &config);
    }
    let targets = select(&config, &args.models)?;
    println!("{}", profiler::device_name());
    let (subjects, mut failed) = subjects(&config, &targets);
    let count = subjects.iter().filter(|subject| subject.is_target).count();
    let pace = usize::from(args.quick);
    let request = Request {
        point_time: Duration::from_millis(args.point_ms.unwrap_or(POINT_MS[pace])),
        combinations: args.samples.map_or(COMBINATIONS[pace] * count, |count| count as usize),
        seed: args.seed,
        fresh: args.fresh,
        guarded: !args.unguarded,
    };
    if count > 0 {
        let stop = AtomicBool::new(false);
        let profiles = std::thread::scope(|scope| {
            // Nothing is half-written when it ends here: files are replaced whole.
            let signals = Signals::watch(scope, &stop, || std::process::exit(130))?;
            let measured = measure(&subjects, &config, &request, &args, &stop, &mut failed);
            drop(signals);
            measured
        })?;
        report::deliver(&profiles, config.lanes())?;
        if stop.load(Ordering::Relaxed) {
            return Err("stopped; what is measured is kept, and the same command goes on from \
                        there"
                .into());
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("not profiled: {}", failed.join(", "))) }
}

fn select<'a>(config: &'a Config, names: &[String]) -> Result<Vec<&'a ModelConfig>, String> {
    if let Some(unknown) = names.iter().find(|name| config.models.iter().all(|m| m.name != **name))
    {
        let known: Vec<_> = config.models.iter().map(|model| model.name.as_str()).collect();
        return Err(format!(
            "no model '{unknown}' in the configuration; there is: {}",
            known.join(", ")
        ));
    }
    Ok(config.models.iter().filter(|m| names.is_empty() || names.contains(&m.name)).collect())
}

/// The models that can be run, targets or not, and the names of the targets that can't.
fn subjects(config: &Config, targets: &[&ModelConfig]) -> (Vec<Subject>, Vec<String>) {
    let (mut subjects, mut failed): (Vec<Subject>, _) = (Vec::new(), Vec::new());
    let is_target = |model: &ModelConfig| targets.iter().any(|target| target.name == model.name);
    // Targets first: of two that share a file or a folder, the one that is asked for counts.
    let (wanted, others): (Vec<_>, Vec<_>) = config.models.iter().partition(|m| is_target(m));
    for model in wanted.into_iter().chain(others) {
        let is_target = is_target(model);
        let name = &model.name;
        let Some(file) = model.engine.file() else {
            if is_target {
                println!("{name}: a pretended engine, its table is its profile");
            }
            continue;
        };
        let has_same_file = |other: &Subject| {
            config.models.iter().any(|m| m.name == other.name && m.engine.file() == Some(file))
        };
        let subject = match shares_folder(&subjects, file) {
            Some(other) if has_same_file(other) => {
                if is_target {
                    println!("{name}: has the model file of {}, and so its profile", other.name);
                }
                continue;
            }
            Some(other) => Err(format!(
                "its model file is in one folder with that of {}, where only one profile.ron can \
                 be; give each model a folder of its own",
                other.name
            )),
            None => engine::open(model, config)
                .map(|engine| subject(model, file, engine, is_target))
                .map_err(|e| e.to_string()),
        };
        match subject {
            Ok(subject) => subjects.push(subject),
            Err(reason) if is_target => {
                eprintln!("{name}: {reason}");
                failed.push(name.clone());
            }
            Err(reason) => eprintln!("{name} is not among the neighbours: {reason}"),
        }
    }
    (subjects, failed)
}

fn shares_folder<'a>(subjects: &'a [Subject], file: &Path) -> Option<&'a Subject> {
    subjects.iter().find(|subject| subject.file.parent() == file.parent())
}

/// What is measured of a loaded model: the file that was loaded, which may be a plan beside the
/// configured `file`, and no more instances than it can have.
pub(super) fn subject(
    model: &ModelConfig,
    file: &Path,
    engine: Arc<dyn Engine>,
    is_target: bool,
) -> Subject {
    Subject {
        name: model.name.clone(),
        file: engine.file().unwrap_or(file).to_owned(),
        max_instances: most_instances(model, &*engine),
        engine,
        is_target,
    }
}

fn most_instances(model: &ModelConfig, engine: &dyn Engine) -> InstanceCount {
    let most = engine.max_instances().map_or(model.max_instances, |m| m.min(model.max_instances));
    InstanceCount(u16::try_from(most).unwrap_or(u16::MAX).max(1))
}

/// Measures what is missing; gives what there is then, complete or not.
fn measure(
    subjects: &[Subject],
    config: &Config,
    request: &Request,
    args: &Args,
    stop: &AtomicBool,
    failed: &mut Vec<String>,
) -> Result<Vec<(PathBuf, Profile)>, String> {
    let progress = Progress::new();
    let tell = &mut |news: News| progress.tell(&news);
    let text = |error: profiler::ProfileError| error.to_string();
    let mut campaign = Campaign::begin(subjects, config, request, tell).map_err(text)?;
    if !args.quick {
        for at in campaign.without_memory() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let name = &subjects[at].name;
            progress.bar.set_message(format!("memory of {name}"));
            match memory::of(name, args.config.as_deref()) {
                Ok((memory, limit)) => campaign.set_memory(at, memory, limit).map_err(text)?,
                Err(reason) => progress.say(&format!("{name}: memory is not known: {reason}")),
            }
        }
    }
    let end = campaign.run(stop, tell).map_err(text)?;
    progress.bar.finish_and_clear();
    debug_assert!(end == End::Complete || stop.load(Ordering::Relaxed));
    failed.extend(campaign.failures().map(|(name, _)| name.to_owned()));
    let measured = campaign.profiles();
    Ok(measured.map(|(at, profile)| (subjects[at].file.clone(), profile.clone())).collect())
}

/// A bar where standard error is a terminal, else a line now and then.
struct Progress {
    bar: ProgressBar,
    last_line: std::cell::Cell<Duration>,
}

impl Progress {
    fn new() -> Progress {
        let bar = ProgressBar::new(0).with_style(style("points"));
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress { bar, last_line: Default::default() }
    }

    fn tell(&self, news: &News) {
        let News::Progress { done, total, what } = news else { return self.say(&news.to_string()) };
        if self.bar.length() == Some(0) {
            // What was there before took no time.
            self.bar.reset_eta();
        }
        self.bar.set_length(*total as u64);
        self.bar.set_position(*done as u64);
        self.bar.set_message(what.clone());
        let elapsed = self.bar.elapsed();
        if self.bar.is_hidden() && elapsed >= self.last_line.get() + LINE_EVERY {
            self.last_line.set(elapsed);
            eprintln!("{done} of {total} points, {what}");
        }
    }

    fn say(&self, line: &str) {
        match self.bar.is_hidden() {
            true => eprintln!("{line}"),
            false => self.bar.println(line),
        }
    }
}

pub(super) fn style(things: &str) -> ProgressStyle {
    ProgressStyle::with_template(&format!(
        "{{bar:24}} {{pos}}/{{len}} {things}, {{eta}} left  {{wide_msg}}"
    ))
    .unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        ron::from_str(
            r#"(models: [(name: "a", engine: Synthetic(())), (name: "b", engine: Onnx("no/b.onnx"))])"#,
        )
        .unwrap()
    }

    #[test]
    fn models_are_chosen_by_name() {
        let config = config();
        let names = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|&name| name.into()).collect();
            select(&config, &wanted)
                .map(|models| models.iter().map(|m| m.name.clone()).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap(), ["a", "b"]);
        assert_eq!(names(&["b"]).unwrap(), ["b"]);
        let error = names(&["c"]).unwrap_err();
        assert!(error.contains("'c'") && error.contains("a, b"), "{error}");
    }
}
