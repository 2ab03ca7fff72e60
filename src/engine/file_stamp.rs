//! Tells whether a model file is still the one that was looked at.

use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Size and time of the last change: what changes when a file is replaced or written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileStamp {
    pub bytes: u64,
    pub modified_unix_us: u64,
}

impl FileStamp {
    /// # Errors
    /// Those of the file system.
    pub fn of(path: &Path) -> std::io::Result<FileStamp> {
        let metadata = std::fs::metadata(path)?;
        let since_1970 = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(FileStamp {
            bytes: metadata.len(),
            modified_unix_us: u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX),
        })
    }
}
