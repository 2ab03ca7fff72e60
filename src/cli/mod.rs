//! The command line: one file per subcommand.

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

Exit status 0: done; 1: it failed, and standard error says why; 2: the command line is wrong.";

/// Runs the subcommand; an error is printed and becomes exit status 1.
pub fn run(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Top(args) => top::run(args),
        Command::Load(args) => load::run(args),
        Command::Infer(args) => infer::run(args),
        Command::Profile(args) => profile::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Train(args) => train::run(args),
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
