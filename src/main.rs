//! Parses the command line, runs the subcommand, turns its end into an exit status.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    bcedge::cli::run(bcedge::cli::Cli::parse())
}
