//! Small files that may be absent: what can't be read is `None`, whatever the reason.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders with more entries than this are not looked at to their end.
const MAX_ENTRIES: usize = 512;

/// A file tree: the machine's own, or one that looks like another machine's.
#[derive(Clone, Debug)]
pub(super) struct Tree(PathBuf);

impl Tree {
    pub(super) fn at(root: &Path) -> Tree {
        Tree(root.to_path_buf())
    }

    /// The place of an absolute path in this tree.
    pub(super) fn path(&self, absolute: &str) -> PathBuf {
        self.0.join(absolute.trim_start_matches('/'))
    }

    pub(super) fn text(&self, absolute: &str) -> Option<String> {
        text(&self.path(absolute))
    }

    /// The first of these files that holds a number.
    pub(super) fn first_number(&self, absolute: &[&str]) -> Option<f64> {
        absolute.iter().find_map(|path| number(&self.path(path)))
    }
}

/// Without the white space around it. Device-tree texts end with a zero byte.
pub(super) fn text(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_string())
}

pub(super) fn number(path: &Path) -> Option<f64> {
    text(path)?.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Names and paths of a folder's entries, by name; numbers at the end of names by their value.
pub(super) fn entries(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(MAX_ENTRIES);
    let named = entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry)));
    let mut found: Vec<_> = named.map(|(name, entry)| (name, entry.path())).collect();
    found.sort_by_cached_key(|(name, _)| {
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        (stem.to_string(), name[stem.len()..].parse::<u64>().ok(), name.clone())
    });
    found
}

/// The entries whose name is `prefix` and a number.
pub(super) fn numbered(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let is_one = |name: &str| name.strip_prefix(prefix).is_some_and(|n| n.parse::<u32>().is_ok());
    let found = entries(folder).into_iter().filter(|(name, _)| is_one(name));
    found.map(|(_, path)| path).collect()
}

/// Names of sensors, each once: what comes again gets a number.
#[derive(Default)]
pub(super) struct Names(HashMap<String, u32>);

impl Names {
    pub(super) fn unique(&mut self, name: String) -> String {
        let count = self.0.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 { name } else { format!("{name} {count}") }
    }
}
