//! Reads a configuration, or another RON file, and finds everything that is wrong with it in one go.
//!
//! `ron` and `serde` decide what is valid, and stop at the first error. So the entry (field or list
//! item) with the error is noted and blanked out, and the text is read again, until it is accepted
//! or nothing is left to take out. Blanks keep every byte where it was, so places stay right.

use super::outline::{Entry, last_token_end};
use super::report::{ConfigErrors, Problem, Report, Severity};
use super::{Config, cross, explain};
use ron::Options;
use ron::error::{Error, Position, SpannedError};
use ron::extensions::Extensions;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A configuration is not larger than this.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// After so many problems the rest may wait: the file is probably something else.
const MAX_PROBLEMS: usize = 50;
/// Bounds the work on a hostile file; one problem takes a few passes at most.
const MAX_PASSES: usize = 4 * MAX_PROBLEMS;

/// Reads and checks a file. The configuration is there when the report has no error; it may still
/// have warnings.
pub fn check(path: &Path) -> (Option<Config>, Report) {
    let file = path.display().to_string();
    match read(path) {
        Ok(source) => check_text(&file, source),
        Err(why) => {
            let what = "the configuration can't be read";
            let hint = "run in the folder of config.ron or name another file";
            (None, unreadable(file, what, why, hint))
        }
    }
}

/// Checks a configuration text; `file` is only its name in the report.
pub fn check_text(file: &str, source: String) -> (Option<Config>, Report) {
    check_as(file, source, cross::check)
}

/// Reads any other RON file as strictly as the configuration: every problem at its place. `check`
/// finds what is wrong with a value whose parts are each valid, and names where: [`Entry::at`].
///
/// # Errors
/// Everything that is wrong with the file, as one text for the operator.
pub fn load_strictly<T: DeserializeOwned>(
    path: &Path,
    check: impl FnOnce(&T) -> Vec<(String, String)>,
) -> Result<T, ConfigErrors> {
    let file = path.display().to_string();
    match read(path) {
        Ok(source) => parse_strictly(&file, source, check),
        Err(why) => {
            let report = unreadable(file, "the file can't be read", why, "name another file");
            Err(ConfigErrors(report))
        }
    }
}

/// The same for a text; `file` is only its name in the report.
///
/// # Errors
/// Everything that is wrong with the text.
pub fn parse_strictly<T: DeserializeOwned>(
    file: &str,
    source: String,
    check: impl FnOnce(&T) -> Vec<(String, String)>,
) -> Result<T, ConfigErrors> {
    let (value, report) = check_as(file, source, |value: &T, reader| {
        let problem = |(path, what): (String, String)| {
            Problem::error(reader.root.at(&path).value_span.clone(), what)
        };
        check(value).into_iter().map(problem).collect()
    });
    value.ok_or(ConfigErrors(report))
}

/// The text of a file, or why it is none.
fn read(path: &Path) -> Result<String, Unreadable> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|f| f.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(Unreadable::Io)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Unreadable::Text(format!("the file is larger than {MAX_FILE_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        Unreadable::Text(format!("the file is not UTF-8 text: {}", error.utf8_error()))
    })
}

enum Unreadable {
    Io(std::io::Error),
    Text(String),
}

fn unreadable(file: String, what: &str, why: Unreadable, hint: &str) -> Report {
    let message = match why {
        Unreadable::Io(error) => format!("{what}: {error}; {hint}"),
        Unreadable::Text(text) => text,
    };
    Report { file, source: String::new(), problems: vec![Problem::of_file(message)] }
}

fn check_as<T: DeserializeOwned>(
    file: &str,
    source: String,
    check: impl FnOnce(&T, &Reader<'_>) -> Vec<Problem>,
) -> (Option<T>, Report) {
    let mut report = Report { file: file.to_string(), source, problems: Vec::new() };
    if let Err(error) = options().from_str::<IgnoredAny>(&report.source) {
        let at = offset(&report.source, error.span.end);
        report.problems.push(explain::syntax(&report.source, at, &error.code));
        return (None, report);
    }
    let root = Entry::root(&report.source);
    let mut reader = Reader::new(&report.source, &root);
    let value = reader.read();
    let mut problems = std::mem::take(&mut reader.problems);
    if let Some(value) = &value {
        for problem in check(value, &reader) {
            // A missing field may have been noted by the reader already.
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    }
    problems.sort_by_key(|problem| problem.at.as_ref().map_or(usize::MAX, |at| at.start));
    report.problems = problems;
    let value = value.filter(|_| report.count(Severity::Error) == 0);
    (value, report)
}

/// `Some(…)` need not be written.
fn options() -> Options {
    Options::default().with_default_extension(Extensions::IMPLICIT_SOME)
}

/// A text being read, with what had to be taken out of it.
pub(super) struct Reader<'a> {
    pub source: &'a str,
    pub root: &'a Entry,
    /// The source with what was wrong blanked out.
    text: String,
    removed: Vec<&'a Entry>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn new(source: &'a str, root: &'a Entry) -> Reader<'a> {
        let text = source.to_string();
        Reader { source, root, text, removed: Vec::new(), problems: Vec::new() }
    }

    /// What could be read; `None` if that is not even the frame.
    fn read<T: DeserializeOwned>(&mut self) -> Option<T> {
        for _ in 0..MAX_PASSES {
            let error = match options().from_str(&self.text) {
                Ok(value) => return Some(value),
                Err(error) => error,
            };
            if self.problems.len() == MAX_PROBLEMS {
                self.problems.push(Problem::of_file("too many errors; there may be more"));
                return None;
            }
            if !self.note(&error) {
                return None;
            }
        }
        None
    }

    /// Whether nothing inside the entry had to be taken out.
    pub fn is_intact(&self, entry: &Entry) -> bool {
        let span = entry.span();
        !self.removed.iter().any(|removed| span.contains(&removed.span().start))
    }

    /// The models that were read, in the order of [`Config::models`].
    pub fn models(&self) -> impl Iterator<Item = &'a Entry> {
        let models = self.root.field("models").map_or(&[][..], |models| &models.children);
        models.iter().filter(|model| !self.is_removed(model))
    }

    fn is_removed(&self, entry: &Entry) -> bool {
        self.removed.iter().any(|removed| std::ptr::eq(*removed, entry))
    }

    /// Notes the error and takes its entry out; false when that can't be done.
    fn note(&mut self, error: &SpannedError) -> bool {
        let at = offset(&self.text, error.span.end);
        let mut path = self.path_to(at, &error.code);
        let Some(&entry) = path.last() else { return false };
        let consequence = match &error.code {
            Error::MissingStructField { field, .. } => {
                entry.field(field).is_some_and(|field| self.is_removed(field))
            }
            Error::Message(_) | Error::ExpectedDifferentLength { .. } => !self.is_intact(entry),
            _ => false,
        };
        if !consequence {
            let field =
                path.iter().rev().map(|entry| entry.key.as_str()).find(|key| !key.is_empty());
            let field = field.unwrap_or_default();
            self.problems.push(explain::problem(self.source, field, entry, at, &error.code));
        }
        while let Some(entry) = path.pop() {
            if entry.removable {
                self.remove(entry);
                return true;
            }
        }
        false
    }

    /// From the root to the entry that an error at `at` is about.
    fn path_to(&self, at: usize, code: &Error) -> Vec<&'a Entry> {
        let path = |at| {
            let path = self.root.path_to(at).into_iter();
            path.take_while(|entry| !self.is_removed(entry)).collect::<Vec<_>>()
        };
        match code {
            // `ron` stands at the bracket that closes the entry where something is missing.
            Error::MissingStructField { .. } | Error::ExpectedDifferentLength { .. } => {
                let mut path = path(at);
                while path.last().is_some_and(|entry| entry.value_span.end <= at) {
                    path.pop();
                }
                path
            }
            // `ron` stands behind the opening bracket, perhaps at the first entry inside.
            Error::InvalidValueForType { found, .. }
                if found == "a sequence" || found == "a map" =>
            {
                let mut path = path(at.saturating_sub(1));
                while path.last().is_some_and(|entry| entry.span().start >= at) {
                    path.pop();
                }
                path
            }
            // `ron` stands at the value, behind it, or at the token after it.
            _ => {
                let before = path(last_token_end(&self.text, at));
                let here = path(at);
                if before.len() > here.len() { before } else { here }
            }
        }
    }

    fn remove(&mut self, entry: &'a Entry) {
        let comma = entry.comma.map(|at| at..at + 1);
        for span in [Some(entry.span()), comma].into_iter().flatten() {
            let blanks = self.text[span.clone()]
                .bytes()
                .map(|byte| if byte == b'\n' { '\n' } else { ' ' })
                .collect::<String>();
            self.text.replace_range(span, &blanks);
        }
        self.removed.push(entry);
    }
}

/// The byte at `ron`'s line and column; the end of the text when they are past it.
fn offset(text: &str, position: Position) -> usize {
    let line_start = match position.line.checked_sub(2) {
        None => 0,
        Some(n) => text.match_indices('\n').nth(n).map_or(text.len(), |(i, _)| i + 1),
    };
    let mut chars = text[line_start..].char_indices();
    chars.nth(position.col.saturating_sub(1)).map_or(text.len(), |(i, _)| line_start + i)
}
