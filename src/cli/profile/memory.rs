//! The memory of a model, measured in a process that does nothing else.

use crate::config::{Config, ModelConfig};
use crate::engine;
use crate::profiler::{self, Limit, Memory, Reading};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Output};

/// Starts this program once more to read the memory of the model `name`.
///
/// # Errors
/// A text for the operator, when there is nothing to learn from what that process did.
pub(super) fn of(
    name: &str,
    config: Option<&Path>,
) -> Result<(Option<Memory>, Option<Limit>), String> {
    let program = std::env::current_exe().map_err(|e| format!("this program is not there: {e}"))?;
    let mut command = Command::new(program);
    command.args(["profile", "--memory-of", name]);
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    let Output { status, stdout, stderr } =
        command.output().map_err(|e| format!("a process for it can't be started: {e}"))?;
    let stdout = String::from_utf8_lossy(&stdout);
    let readings: Vec<Reading> = stdout.lines().filter_map(|line| line.parse().ok()).collect();
    let ended = (!status.success()).then(|| in_words(status, &String::from_utf8_lossy(&stderr)));
    match profiler::evaluate_memory(&readings, ended.as_deref()) {
        (None, None) => Err(ended.unwrap_or_else(|| "its process told nothing".into())),
        known => Ok(known),
    }
}

fn in_words(status: ExitStatus, stderr: &str) -> String {
    let last_line = stderr.lines().rfind(|line| !line.trim().is_empty());
    match (status.signal(), last_line) {
        // What the kernel does when memory is used up.
        (Some(9), _) => "it was killed, as the system does when memory is used up".into(),
        (Some(signal), _) => format!("it ended by signal {signal}"),
        (None, Some(line)) => line.trim_start_matches("bcedge: ").to_owned(),
        (None, None) => format!("it ended with {status}"),
    }
}

/// Reads the memory of the one model in this process, and prints the readings.
///
/// # Errors
/// The engine's.
pub(super) fn read_here(models: Vec<&ModelConfig>, config: &Config) -> Result<(), String> {
    let Some(model) = models.first() else { return Ok(()) };
    let open = || engine::open(model, config).map_err(|error| error.to_string());
    let instances = super::most_instances(model);
    profiler::read_memory(open, instances, &mut |reading| println!("{reading}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_process_is_told_in_words() {
        let killed = in_words(ExitStatus::from_raw(9), "");
        assert!(killed.contains("memory is used up"), "{killed}");
        assert!(in_words(ExitStatus::from_raw(11), "x").contains("signal 11"));
        let failed = ExitStatus::from_raw(1 << 8);
        assert_eq!(in_words(failed, "warning\nbcedge: no such model\n\n"), "no such model");
        assert!(in_words(failed, "").contains('1'));
    }
}
