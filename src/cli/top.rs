//! `bcedge top`.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// # Errors
/// A text for the operator.
pub fn run(_args: Args) -> Result<(), String> {
    Err("not built yet".into())
}
