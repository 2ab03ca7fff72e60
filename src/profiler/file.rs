//! Profiles as files: read with errors that have a place.

use super::ProfileError;
use crate::files;
use ron::error::SpannedError;
use std::path::Path;

/// A combination takes some hundred bytes; what is longer is something else.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The text of a file that may be a profile.
pub(super) fn read(path: &Path) -> Result<String, ProfileError> {
    let corrupt = |reason: String| ProfileError::Corrupt { path: path.to_owned(), reason };
    let unreadable = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => ProfileError::Missing(path.to_owned()),
        std::io::ErrorKind::FileTooLarge => corrupt(" is too long to be a profile".into()),
        _ => ProfileError::Io { path: path.to_owned(), source },
    };
    let bytes = files::read(path, MAX_FILE_BYTES).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|error| corrupt(format!(": {}", error.utf8_error())))
}

/// Place, field, and what was expected there.
pub(super) fn explain(text: &str, error: &SpannedError) -> String {
    let at = error.span.end;
    let field = match &error.code {
        // These name it themselves.
        ron::Error::MissingStructField { .. }
        | ron::Error::NoSuchStructField { .. }
        | ron::Error::DuplicateStructField { .. } => String::new(),
        _ => field_before(text, at.line, at.col)
            .map_or_else(String::new, |name| format!("field `{name}`: ")),
    };
    format!(":{}:{}: {field}{}", at.line, at.col, error.code)
}

/// The last field name that begins at or before that line and column, both from 1.
fn field_before(text: &str, line: usize, column: usize) -> Option<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let lines: Vec<&str> = text.lines().take(line).collect();
    for (index, content) in lines.iter().enumerate().rev() {
        let end = match index + 1 == line {
            true => {
                content.char_indices().nth(column.saturating_sub(1)).map_or(content.len(), |c| c.0)
            }
            false => content.len(),
        };
        if let Some(colon) = content[..end].rfind(':') {
            let before = content[..colon].trim_end();
            let name = &before[before.rfind(|c| !is_part(c)).map_or(0, |at| at + 1)..];
            if !name.is_empty() {
                return Some(name);
            }
        }
    }
    None
}
