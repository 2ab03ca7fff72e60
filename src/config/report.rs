//! Problems of a configuration file, shown as rustc shows its own: place, source line, caret.

use std::fmt;
use std::ops::Range;

/// Wider source lines are shown around the place only.
const MAX_LINE_CHARS: usize = 120;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The appliance starts, but something will not work as written.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    /// Bytes of the source it is about; none when the file could not be read.
    pub at: Option<Range<usize>>,
    /// What is wrong.
    pub message: String,
    /// Beside the caret: what was expected there, or meant.
    pub label: Option<String>,
    /// What is allowed, or what to do.
    pub help: Option<String>,
}

impl Problem {
    pub fn error(at: Range<usize>, message: impl Into<String>) -> Problem {
        let severity = Severity::Error;
        Problem { severity, at: Some(at), message: message.into(), label: None, help: None }
    }

    pub fn warning(at: Range<usize>, message: impl Into<String>) -> Problem {
        Problem { severity: Severity::Warning, ..Problem::error(at, message) }
    }

    /// Something about the file as a whole.
    pub fn of_file(message: impl Into<String>) -> Problem {
        Problem { at: None, ..Problem::error(0..0, message) }
    }

    pub fn label(self, label: impl Into<String>) -> Problem {
        Problem { label: Some(label.into()), ..self }
    }

    pub fn help(self, help: impl Into<String>) -> Problem {
        Problem { help: Some(help.into()), ..self }
    }
}

/// All problems of one file, in the order of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The file's name as the operator gave it.
    pub file: String,
    pub source: String,
    pub problems: Vec<Problem>,
}

impl Report {
    pub fn count(&self, severity: Severity) -> usize {
        self.problems.iter().filter(|p| p.severity == severity).count()
    }

    /// Line and column of a byte offset, both from 1; the column counts characters.
    pub fn line_column(&self, at: usize) -> (usize, usize) {
        let before = &self.source[..at];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        (1 + before.matches('\n').count(), 1 + before[line_start..].chars().count())
    }

    fn show_place(&self, f: &mut fmt::Formatter<'_>, problem: &Problem) -> fmt::Result {
        let Some(at) = &problem.at else {
            return writeln!(f, " --> {}", self.file);
        };
        let (line, column) = self.line_column(at.start);
        let margin = line.to_string().len();
        writeln!(f, "{:margin$}--> {}:{line}:{column}", "", self.file)?;
        writeln!(f, "{:margin$} |", "")?;
        let text = self.source.lines().nth(line - 1).unwrap_or_default();
        let first = if column > MAX_LINE_CHARS { column - MAX_LINE_CHARS / 2 } else { 1 };
        let shown: String = text.chars().skip(first - 1).take(MAX_LINE_CHARS).collect();
        // A tab would put the caret somewhere else.
        writeln!(f, "{line} | {}", shown.replace('\t', " ").trim_end())?;
        let marked = self.source[at.clone()].lines().next().unwrap_or_default().chars().count();
        let carets = marked.clamp(1, (MAX_LINE_CHARS + 1).saturating_sub(column - first).max(1));
        let label = problem.label.as_deref().unwrap_or_default();
        let under = format!("{:indent$}{:^>carets$} {label}", "", "", indent = column - first);
        writeln!(f, "{:margin$} | {}", "", under.trim_end())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            let severity = match problem.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            writeln!(f, "{severity}: {}", problem.message)?;
            self.show_place(f, problem)?;
            if let Some(help) = &problem.help {
                writeln!(f, "  = {help}")?;
            }
            writeln!(f)?;
        }
        let counts =
            [(Severity::Error, "error"), (Severity::Warning, "warning")].map(|(severity, word)| {
                match self.count(severity) {
                    0 => String::new(),
                    1 => format!("1 {word}"),
                    n => format!("{n} {word}s"),
                }
            });
        let counts: Vec<_> = counts.into_iter().filter(|text| !text.is_empty()).collect();
        if counts.is_empty() { Ok(()) } else { write!(f, "{}: {}", self.file, counts.join(", ")) }
    }
}

/// Why a configuration was refused. Shows every problem with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Report);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ConfigErrors {}
