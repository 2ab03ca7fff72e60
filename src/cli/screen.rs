//! What an operator sees while the appliance runs in this process: the terminal UI, or one line a
//! second.

use crate::config::Config;
use crate::runtime::{Appliance, unix_ms};
use crate::telemetry::log::{self, LogBuffer};
use crate::telemetry::snapshot::{ModelState, Snapshot};
use crate::tui;
use crate::tui::app::App;
use crate::tui::theme::Theme;
use crate::units::Nanos;
use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How the appliance shows itself; flattened into `serve` and `demo`.
#[derive(clap::Args, Debug)]
pub struct ScreenArgs {
    /// Print one line a second instead of the terminal UI (as without a terminal)
    #[arg(long)]
    headless: bool,
    #[command(flatten)]
    log: log::LogArgs,
}

/// The log of a command without a screen.
#[derive(clap::Args, Debug)]
pub struct LogOptions {
    #[command(flatten)]
    log: log::LogArgs,
}

impl LogOptions {
    /// Starts logging, to standard error unless a file is named.
    ///
    /// # Errors
    /// When the log file can't be written.
    pub fn init(&self) -> Result<LogBuffer, String> {
        log::init(&self.log.target(false), unix_ms).map_err(|e| e.to_string())
    }
}

impl ScreenArgs {
    /// Whether the terminal UI comes up.
    pub fn has_ui(&self) -> bool {
        !self.headless && stdout().is_terminal()
    }

    /// Starts logging: to a file while the UI has the terminal, else to standard error.
    ///
    /// # Errors
    /// When the log file can't be written.
    pub fn init_log(&self) -> Result<LogBuffer, String> {
        log::init(&self.log.target(self.has_ui()), unix_ms).map_err(|e| e.to_string())
    }

    /// Shows the appliance until it is asked to stop or, by its own clock, `until` has come.
    ///
    /// # Errors
    /// When the terminal can't be used.
    pub fn show(&self, appliance: &Appliance, until: Option<Nanos>) -> Result<(), String> {
        let now = || appliance.gateway().now();
        let over = || appliance.stop_requested() || until.is_some_and(|until| now() >= until);
        if self.has_ui() {
            return show_ui(appliance, over);
        }
        const PERIOD: Nanos = Nanos::from_millis(1_000);
        let mut next = now() + PERIOD;
        while !over() {
            if now() >= next {
                next += PERIOD;
                println!("{}", summary_line(&appliance.gateway().snapshot()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

fn show_ui(appliance: &Appliance, over: impl Fn() -> bool + Sync) -> Result<(), String> {
    let gateway = appliance.gateway();
    let stop = AtomicBool::new(false);
    let app = App::new(Theme::from_env(|name| std::env::var(name).ok()));
    // Ctrl-Z would stop the serving too.
    let options = tui::Options { can_suspend: false };
    thread::scope(|scope| {
        let watch = || {
            while !stop.load(Ordering::Relaxed) {
                stop.store(over(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
        };
        scope.spawn(watch);
        let source = || Ok(gateway.snapshot());
        let shown = tui::run(app, source, |command| gateway.send_command(command), &stop, options);
        stop.store(true, Ordering::Relaxed);
        shown.map_err(|e| format!("the terminal UI failed: {e}"))
    })
}

/// The state of the whole appliance in one line.
fn summary_line(snapshot: &Snapshot) -> String {
    let totals = &snapshot.totals;
    let queued: u32 = snapshot.models.iter().map(|m| m.queue_depth).sum();
    let failed = snapshot.models.iter().filter(|m| matches!(m.state, ModelState::Failed(_)));
    let mut line = format!(
        "{:>5} s  in {:>8.1}/s  good {:>8.1}/s  SLO hit {:>7}  utility {:>6}  queued {queued:>4}  \
         rejected {}  expired {}  failed {}",
        snapshot.uptime_us / 1_000_000,
        totals.arrivals_per_s,
        totals.goodput_per_s,
        totals.slo_hit_rate.map_or("–".into(), |rate| format!("{:.1} %", rate * 100.0)),
        totals.utility.map_or("–".into(), |utility| format!("{utility:.3}")),
        totals.counters.rejected,
        totals.counters.expired,
        totals.counters.failed,
    );
    let failed: Vec<&str> = failed.map(|m| m.name.as_str()).collect();
    if !failed.is_empty() {
        line += &format!("  NOT SERVING: {}", failed.join(", "));
    }
    line
}

/// The configuration in `path`; without one given, `config.ron` here or, failing that, the one
/// built in.
///
/// # Errors
/// All that is wrong with the file.
pub fn load_config(path: Option<&Path>) -> Result<Config, String> {
    let default = PathBuf::from("config.ron");
    match path {
        None if !default.exists() => {
            eprintln!("bcedge: there is no config.ron here; the built-in one is used");
            Config::built_in().map_err(|e| e.to_string())
        }
        path => Config::load(path.unwrap_or(&default)).map_err(|e| e.to_string()),
    }
}
