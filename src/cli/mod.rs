//! The command line: one file per subcommand.

mod check;
mod demo;
mod infer;
mod load;
mod models;
mod profile;
mod screen;
mod serve;
mod socket;
mod top;

use std::process::ExitCode;

/// SLO-aware DNN inference appliance for edge devices.
#[derive(clap::Parser, Debug)]
#[command(version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Build the reference engines if missing, serve them under a Poisson load, show the screen
    Demo(demo::Args),
    /// Serve the models of config.ron on a Unix socket
    Serve(serve::Args),
    /// Watch a running appliance
    #[command(after_help = TOP_EXAMPLES)]
    Top(top::Args),
    /// Send load to a running server of the protocol and report latency and goodput
    Load(load::Args),
    /// Send one input to a model and print the reply
    Infer(infer::Args),
    /// Measure latency over batch size and instances on this device
    #[command(after_help = PROFILE_EXAMPLES)]
    Profile(profile::Args),
    /// Build the six reference networks as ONNX files
    #[command(after_help = MODELS_EXAMPLES)]
    Models(models::Args),
    /// Check config.ron and report everything that is wrong with it
    Check(check::Args),
}

const TOP_EXAMPLES: &str = "\
Examples:
  bcedge top                           the appliance on bcedge.sock
  bcedge top --help                    all options

Keys: ? shows them all, q leaves; the appliance goes on.";

const PROFILE_EXAMPLES: &str = "\
Examples:
  bcedge profile                       every model of config.ron, into engines/MODEL/profile.ron
  bcedge profile resnet18              only this one
  bcedge profile --point-ms 5000       longer, for steadier figures

Measure on a machine that does nothing else: the profile decides about batches and `slo: Auto`.";

const MODELS_EXAMPLES: &str = "\
Examples:
  bcedge models                        the six reference networks into engines/
  bcedge models resnet18 tinybert      only these
  bcedge models --out /tmp/engines     somewhere else

The weights are random: good for measuring speed, not for answers.";

/// Runs the subcommand; an error is printed and becomes exit status 1.
pub fn run(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Top(args) => top::run(args),
        Command::Load(args) => load::run(args),
        Command::Infer(args) => infer::run(args),
        Command::Profile(args) => profile::run(args),
        Command::Models(args) => models::run(args),
        Command::Check(args) => check::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("bcedge: {message}");
            ExitCode::FAILURE
        }
    }
}
