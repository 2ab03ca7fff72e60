//! `bcedge check`: everything that is wrong with a configuration, before it is served.

use crate::config::report::{Report, Severity};
use crate::config::{self, Config, EngineConfig, ModelConfig, PolicyConfig, Slo};
use std::path::{Path, PathBuf};

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  bcedge check                     check config.ron in this folder
  bcedge check /etc/bcedge.ron     check another file
  bcedge check && bcedge serve     serve only what is right

Exit status 0: the file is valid (there may be warnings); 1: it is not.";

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The configuration to check
    #[arg(value_name = "FILE", default_value = "config.ron")]
    file: PathBuf,
}

/// Prints the problems, and a table of what would be served if the file is valid.
///
/// # Errors
/// A text for the operator, when the file has errors.
pub fn run(args: Args) -> Result<(), String> {
    let (config, report) = config::check(&args.file);
    match config {
        Some(config) => {
            print!("{}", summary(&args.file, &config, &report));
            Ok(())
        }
        None => Err(format!("the configuration is not valid\n\n{report}")),
    }
}

fn summary(file: &Path, config: &Config, report: &Report) -> String {
    let warnings =
        if report.count(Severity::Warning) > 0 { format!("{report}\n\n") } else { String::new() };
    let header = ["MODEL", "ENGINE", "SLO", "POLICY", "BATCH", "INSTANCES", "QUEUE"];
    let mut rows = vec![header.map(String::from)];
    rows.extend(config.models.iter().map(|model| row(model, config)));
    format!(
        "{warnings}{}: ok, {} on {}\n\n{}",
        file.display(),
        plural(config.models.len(), "model"),
        config.socket.path.display(),
        table(&rows)
    )
}

fn row(model: &ModelConfig, config: &Config) -> [String; 7] {
    let engine = match &model.engine {
        EngineConfig::Onnx(path) => path.display().to_string(),
        EngineConfig::Synthetic(_) => "synthetic".to_string(),
    };
    let engine = if model.load { engine } else { format!("{engine} (on demand)") };
    let slo = match model.slo {
        Slo::Auto => "auto".to_string(),
        Slo::Ms(ms) => format!("{ms} ms"),
        Slo::Us(us) => format!("{us} µs"),
    };
    let policy = match model.policy.as_ref().unwrap_or(&config.policy) {
        PolicyConfig::Fixed { batch, instances } => format!("fixed({batch}, {instances})"),
        PolicyConfig::Triton { max_queue_delay_us, instances, .. } => {
            format!("triton({max_queue_delay_us} µs, {instances})")
        }
        PolicyConfig::Sac => "sac".to_string(),
        PolicyConfig::Tac { instances } => format!("tac({instances})"),
        PolicyConfig::Deadline => "deadline".to_string(),
        PolicyConfig::Planner => "planner".to_string(),
        PolicyConfig::Aimd { latency_percent, instances, .. } => {
            format!("aimd({latency_percent} %, {instances})")
        }
        PolicyConfig::DeepRt { window_percent, .. } => format!("deeprt({window_percent} %)"),
        PolicyConfig::Lookahead { steepness } => format!("lookahead({steepness})"),
    };
    [
        model.name.clone(),
        engine,
        slo,
        policy,
        format!("1..{}", model.max_batch),
        format!("1..{}", model.max_instances),
        model.queue_bound.to_string(),
    ]
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// Columns as wide as their widest cell, two blanks between them.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}  "));
        text.push_str(cells.collect::<String>().trim_end());
        text.push('\n');
    }
    text
}
