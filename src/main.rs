//! Parses the command line, runs the subcommand, turns its end into an exit status.

use clap::Parser;
use mimalloc::MiMalloc;
use std::process::ExitCode;

/// Requests are allocated on one thread and freed on another, which costs the system's allocator
/// locks.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    bcedge::cli::run(bcedge::cli::Cli::parse())
}
