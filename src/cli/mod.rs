//! The command line: one file per subcommand.

mod build;
mod check;
mod demo;
mod evaluate;
mod infer;
mod load;
mod models;
mod profile;
mod screen;
mod serve;
mod signals;
mod socket;
mod top;
mod train;

use std::process::ExitCode;

/// SLO-aware DNN inference appliance for edge devices.
#[derive(clap::Parser, Debug)]
#[command(version, about, max_term_width = 100, after_help = EXAMPLES)]
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
    /// Watch a running appliance in the terminal
    Top(top::Args),
    /// Send load to a running server of the protocol and report latency and goodput
    Load(load::Args),
    /// Send one input to a model and print the reply
    Infer(infer::Args),
    /// Measure the models' latency on this device: over batch size and instances, beside others
    Profile(profile::Args),
    /// Build a TensorRT plan from an ONNX file, on the GPU that will run it
    Build(build::Args),
    /// Compare the policies on modelled devices, loads and SLOs, without any hardware
    Evaluate(evaluate::Args),
    /// Train the scheduling policy in the simulator
    Train(train::Args),
    /// Build the six reference networks as ONNX files
    Models(models::Args),
    /// Check config.ron and report everything that is wrong with it
    Check(check::Args),
}

const EXAMPLES: &str = "\
Examples:
  bcedge demo                          see it work: builds, serves and loads six networks
  bcedge serve                         serve the models of config.ron on its socket
  bcedge top                           watch the appliance that runs in this folder
  bcedge load --model resnet18=40      send it 40 requests per second
  bcedge infer resnet18 cat.jpg        send it one picture

Exit status 0: done; 1: it failed, and standard error says why; 2: the command line is wrong;
75: the GPU has failed in a way that only a new process recovers from: start it again.";

/// Exit status of a process that should be started again: `EX_TEMPFAIL` of sysexits.h.
const START_AGAIN: u8 = 75;

/// Why a subcommand failed.
struct Failure {
    message: String,
    status: u8,
}

impl From<String> for Failure {
    fn from(message: String) -> Failure {
        Failure { message, status: 1 }
    }
}

/// What a subcommand that ran an appliance ends with.
///
/// # Errors
/// That the appliance lost its device, or else `ended`'s.
fn ended(device_lost: Option<String>, ended: Result<(), String>) -> Result<(), Failure> {
    match device_lost {
        Some(reason) => Err(Failure {
            message: format!(
                "the GPU can't be used any more by this process: {reason}; start it again (exit \
                 status {START_AGAIN})"
            ),
            status: START_AGAIN,
        }),
        None => Ok(ended?),
    }
}

/// Runs the subcommand; an error is printed and becomes the exit status.
pub fn run(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Top(args) => top::run(args).map_err(Failure::from),
        Command::Load(args) => load::run(args).map_err(Failure::from),
        Command::Infer(args) => infer::run(args).map_err(Failure::from),
        Command::Profile(args) => profile::run(args).map_err(Failure::from),
        Command::Build(args) => build::run(args).map_err(Failure::from),
        Command::Evaluate(args) => evaluate::run(args).map_err(Failure::from),
        Command::Train(args) => train::run(args).map_err(Failure::from),
        Command::Models(args) => models::run(args).map_err(Failure::from),
        Command::Check(args) => check::run(args).map_err(Failure::from),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { message, status }) => {
            eprintln!("bcedge: {message}");
            if status == START_AGAIN {
                crate::engine::leave(status);
            }
            ExitCode::from(status)
        }
    }
}
