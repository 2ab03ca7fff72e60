//! `bcedge profile`: measures the models of config.ron and saves what it finds next to them.

use super::screen::load_config;
use crate::config::{Config, ModelConfig};
use crate::engine;
use crate::profiler::{self, Plan, Point, Profile};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  bcedge profile                   every model of config.ron, into engines/MODEL/profile.ron
  bcedge profile resnet18          only this one
  bcedge profile --point-ms 5000   longer, for steadier figures

Measure on a machine that does nothing else: the profile decides about batches and `slo: Auto`.";

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Configuration file that names the models [default: config.ron]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Milliseconds to measure each batch size and number of instances
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    point_ms: u64,
    /// Only these models; all when none is named
    #[arg(value_name = "MODEL")]
    models: Vec<String>,
}

/// # Errors
/// A text for the operator: the configuration's, an unknown model, or which models failed.
pub fn run(args: Args) -> Result<(), String> {
    let config = load_config(args.config.as_deref())?;
    let models = select(&config, &args.models)?;
    println!("{}", profiler::device_name());
    let mut failed = Vec::new();
    for model in models {
        if let Err(reason) = profile(model, &config, Duration::from_millis(args.point_ms)) {
            eprintln!("{}: {reason}", model.name);
            failed.push(model.name.as_str());
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

fn profile(model: &ModelConfig, config: &Config, time_per_point: Duration) -> Result<(), String> {
    let Some(file) = model.engine.file() else {
        println!("\n{}: a pretended engine, its table is its profile", model.name);
        return Ok(());
    };
    let engine = engine::open(model, config).map_err(|error| error.to_string())?;
    let file = engine.file().unwrap_or(file);
    let most = engine.max_instances().map_or(model.max_instances, |m| m.min(model.max_instances));
    let plan = Plan::full(&*engine, most, time_per_point);
    // Hidden by itself where stderr is not a terminal.
    let bar = ProgressBar::new(plan.points() as u64).with_style(style("points"));
    bar.set_message(model.name.clone());
    let measured = profiler::measure(&*engine, &plan, &mut |_| bar.inc(1));
    bar.finish_and_clear();
    let points = measured.map_err(|error| error.to_string())?;
    println!("\n{} ({})\n{}", model.name, engine.platform(), table(&points));
    let saved = Profile::new(file, &*engine, config, points)
        .and_then(|profile| profile.save(file))
        .map_err(|error| error.to_string())?;
    println!("saved as {}", saved.display());
    Ok(())
}

pub(super) fn style(things: &str) -> ProgressStyle {
    ProgressStyle::with_template(&format!(
        "{{msg:30}} {{bar:30}} {{pos}}/{{len}} {things}, {{eta}} left"
    ))
    .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn table(points: &[Point]) -> String {
    let mut text = format!(
        "{:>9} {:>6} {:>10} {:>10} {:>9} {:>6}",
        "instances", "batch", "p50 ms", "p95 ms", "items/s", "runs"
    );
    for point in points {
        text += &format!(
            "\n{:>9} {:>6} {:>10.3} {:>10.3} {:>9.1} {:>6}",
            point.instances,
            point.batch,
            point.latency_us_p50 / 1e3,
            point.latency_us_p95 / 1e3,
            point.items_per_second(),
            point.runs,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{BatchSize, InstanceCount};

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

    #[test]
    fn one_failing_model_does_not_hide_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.ron");
        std::fs::write(&file, r#"(models: [(name: "b", engine: Onnx("no/b.onnx")), (name: "a", engine: Synthetic(()))])"#).unwrap();
        let args = Args { config: Some(file), point_ms: 1, models: vec![] };
        assert_eq!(run(args).unwrap_err(), "not profiled: b");
    }

    #[test]
    fn the_table_shows_milliseconds_and_throughput() {
        let point = Point {
            batch: BatchSize(8),
            instances: InstanceCount(2),
            latency_us_p50: 4_000.0,
            latency_us_p95: 5_500.0,
            runs: 250,
        };
        let text = table(&[point]);
        let row: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["2", "8", "4.000", "5.500", "4000.0", "250"]);
    }
}
