//! `bcedge models`: writes the reference networks.

use crate::models::{self, REFERENCE, Reference};
use crate::telemetry::format::count;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  bcedge models                    the six reference networks into engines/
  bcedge models resnet18 tinybert  only these
  bcedge models --out /tmp/nets    somewhere else

The weights are random: good for measuring speed, not for answers.";

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folder that gets a folder for each network
    #[arg(long, value_name = "DIR", default_value = "engines")]
    out: PathBuf,
    /// Write files anew that are there already
    #[arg(long)]
    force: bool,
    /// Networks to write; all six when none is named
    #[arg(value_name = "NAME", value_parser = reference)]
    names: Vec<&'static Reference>,
}

fn reference(name: &str) -> Result<&'static Reference, String> {
    Reference::named(name).ok_or_else(|| {
        let known: Vec<&str> = REFERENCE.iter().map(|reference| reference.name).collect();
        format!("there is no such reference network; there are {}", known.join(", "))
    })
}

/// # Errors
/// A text for the operator.
pub fn run(args: Args) -> Result<(), String> {
    let wanted = if args.names.is_empty() { REFERENCE.iter().collect() } else { args.names };
    let files = write(&wanted, &args.out, args.force)?;
    println!("{:<20}{:>13}{:>11}  file", "network", "parameters", "MB");
    for file in files {
        println!(
            "{:<20}{:>13}{:>11.1}  {}{}",
            file.reference.title,
            count(file.reference.parameters),
            file.bytes as f64 / 1e6,
            file.path.display(),
            if file.new { "" } else { " (was there)" },
        );
    }
    println!("Weights are random: good for measuring speed, not for answers.");
    Ok(())
}

/// A reference network's file after [`write`].
#[derive(Debug)]
pub struct ModelFile {
    pub reference: &'static Reference,
    pub path: PathBuf,
    pub bytes: u64,
    /// False: it was there before.
    pub new: bool,
}

/// Writes those of `wanted` that are missing under `dir` (all of them with `force`), with a
/// progress bar where standard error is a terminal.
///
/// # Errors
/// A text for the operator that names the file.
pub fn write(
    wanted: &[&'static Reference],
    dir: &Path,
    force: bool,
) -> Result<Vec<ModelFile>, String> {
    wanted
        .iter()
        .map(|&reference| {
            let path = reference.path(dir);
            match std::fs::metadata(&path) {
                Ok(there) if there.is_file() && !force => {
                    Ok(ModelFile { reference, path, bytes: there.len(), new: false })
                }
                _ => write_one(reference, dir).map(|bytes| ModelFile {
                    reference,
                    path,
                    bytes,
                    new: true,
                }),
            }
        })
        .collect()
}

fn write_one(reference: &Reference, dir: &Path) -> Result<u64, String> {
    let style = ProgressStyle::with_template("{msg:20} {wide_bar} {bytes:>10} {eta:>4}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(reference.parameters * 4).with_style(style);
    bar.set_message(reference.title);
    let written = models::write(reference, dir, &mut |bytes| bar.set_position(bytes));
    bar.finish_and_clear();
    written.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_there_are_kept_unless_forced() {
        let dir = tempfile::tempdir().unwrap();
        let small = Reference::named("mobilenet_v3_small").unwrap();
        let path = small.path(dir.path());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "mine").unwrap();

        let kept = write(&[small], dir.path(), false).unwrap();
        assert!(!kept[0].new);
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");

        let forced = write(&[small], dir.path(), true).unwrap();
        assert!(forced[0].new);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), forced[0].bytes);
        let beside: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(beside.len(), 1, "no temporary file is left: {beside:?}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let small = Reference::named("mobilenet_v3_small").unwrap();
        let error = write(&[small], file.path(), false).unwrap_err();
        assert!(error.contains(&file.path().display().to_string()), "{error}");
    }
}
