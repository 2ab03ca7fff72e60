//! Files of trained policies and of training runs.

use crate::files;
use crate::scheduler::sac::{Actor, Layout, Learner, SacConfig};
use crate::scheduler::trained::{Trained, sac_layout};
use std::io;
use std::path::{Path, PathBuf};

/// A policy takes some hundred kilobytes, a learner three times as much.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Why a policy or a training run can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {reason}; train one with `bcedge train`, or leave it out for the shipped one", path.display())]
    Refused { path: PathBuf, reason: String },
}

/// Reads a policy of this layout, with what its description says made it.
///
/// # Errors
/// When it can't be read, is damaged, or is for other observations or actions.
pub fn load(path: &Path, layout: &Layout) -> Result<(Actor, String), PolicyFileError> {
    Actor::from_bytes(&read(path)?, layout).map_err(|error| refused(path, &error))
}

/// Reads the policy `sac` to decide with, without learning.
///
/// # Errors
/// As [`load`].
pub fn trained(path: &Path) -> Result<Trained, PolicyFileError> {
    load(path, &sac_layout()).map(|(actor, _)| Trained::with(actor))
}

/// Writes a policy: whole or not at all.
///
/// # Errors
/// When it can't be written; the old file is as it was.
pub fn save(
    path: &Path,
    actor: &Actor,
    layout: &Layout,
    made_by: &str,
) -> Result<(), PolicyFileError> {
    let content = actor.to_bytes(layout, made_by).map_err(|error| refused(path, &error))?;
    write(path, &content)
}

/// Reads a learner that goes on with the settings of `config`.
///
/// # Errors
/// As [`load`].
pub fn load_learner(
    path: &Path,
    layout: &Layout,
    config: SacConfig,
) -> Result<(Learner, String), PolicyFileError> {
    let content = read(path)?;
    Learner::from_bytes(&content, layout, config).map_err(|error| refused(path, &error))
}

/// Writes a learner: whole or not at all.
///
/// # Errors
/// As [`save`].
pub fn save_learner(
    path: &Path,
    learner: &Learner,
    layout: &Layout,
    made_by: &str,
) -> Result<(), PolicyFileError> {
    let content = learner.to_bytes(layout, made_by).map_err(|error| refused(path, &error))?;
    write(path, &content)
}

fn read(path: &Path) -> Result<Vec<u8>, PolicyFileError> {
    files::read(path, MAX_FILE_BYTES)
        .map_err(|source| PolicyFileError::Io { path: path.to_owned(), source })
}

fn write(path: &Path, content: &[u8]) -> Result<(), PolicyFileError> {
    files::replace(path, content)
        .map_err(|source| PolicyFileError::Io { path: path.to_owned(), source })
}

fn refused(path: &Path, reason: &dyn std::fmt::Display) -> PolicyFileError {
    PolicyFileError::Refused { path: path.to_owned(), reason: reason.to_string() }
}
