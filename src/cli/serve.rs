//! `bcedge serve`: the appliance.

use super::screen::{ScreenArgs, load_config};
use super::{Failure, ended};
use crate::runtime::Appliance;
use crate::telemetry::snapshot::ModelState;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  bcedge serve                          the models of config.ron, with the terminal UI
  bcedge serve --headless --log-json    under systemd
  bcedge serve --config /etc/bcedge/config.ron

SIGTERM and Ctrl-C finish what was accepted (drain_timeout_ms), then exit with status 0.
When the GPU fails in a way that only a new process recovers from, what was accepted is answered
with an error and the exit status is 75 (systemd: Restart=on-failure, or RestartForceExitStatus=75).")]
pub struct Args {
    /// Configuration file [default: config.ron]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    screen: ScreenArgs,
}

/// # Errors
/// A text for the operator.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    let config = load_config(args.config.as_deref())?;
    let socket = config.socket.path.clone();
    let log = args.screen.init_log()?;
    let appliance = Appliance::start(config, log)?;
    appliance.wait_until_settled();
    let snapshot = appliance.gateway().snapshot();
    let ready = snapshot.models.iter().filter(|m| m.state == ModelState::Ready).count();
    tracing::info!(
        "ready in {:.2} s: {ready} of {} models on {}",
        snapshot.uptime_us as f64 / 1e6,
        snapshot.models.len(),
        socket.display()
    );
    let shown = args.screen.show(&appliance, None);
    let lost = appliance.device_lost();
    ended(lost, appliance.shut_down().and(shown))
}
