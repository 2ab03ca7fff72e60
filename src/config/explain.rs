//! Turns `ron`'s errors into words for the operator: what was found, what is allowed, what to do.

use super::outline::{Entry, Unbalanced, closing, last_token_end, unbalanced};
use super::report::Problem;
use ron::error::Error;
use std::ops::Range;

/// A longer value is not repeated in a message; the source line shows it.
const MAX_SHOWN_CHARS: usize = 40;

/// How the values that are not plain numbers are written, by field.
const FORMS: [(&str, &str); 13] = [
    ("models", "models: [(name: \"…\", engine: Onnx(\"….onnx\")), …]"),
    ("engine", "engine: Onnx(\"engines/NAME/model.onnx\") or engine: Synthetic(())"),
    ("slo", "slo: Auto, slo: Ms(50) or slo: Us(50000)"),
    (
        "policy",
        "policy: Deadline, policy: Fixed(batch: 8, instances: 2), policy: Triton(instances: 2), \
         policy: Planner, policy: Aimd(), policy: DeepRt() or policy: Lookahead()",
    ),
    ("device", "device: Auto, device: Rten or device: OnnxRuntime"),
    ("admission", "admission: Feasible or admission: QueueOnly"),
    ("socket", "socket: (path: \"bcedge.sock\", mode: 0o660, …)"),
    ("scheduler", "scheduler: (slot_ms: 50, admission: Feasible, …)"),
    ("mode", "mode: 0o660"),
    ("latency_us", "latency_us: [(1, 1000), (8, 4000)], pairs of batch size and microseconds"),
    ("faults", "faults: [(10, Fail), (20, Slow(2.0))], pairs of run number and fault"),
    ("preferred_batch_sizes", "preferred_batch_sizes: [4, 8]"),
    ("load", "load: true or load: false"),
];

/// An error at `at` that concerns `entry`, which stands in the field `field`; the text is
/// well-formed.
pub fn problem(source: &str, field: &str, entry: &Entry, at: usize, error: &Error) -> Problem {
    let value = entry.value_span.clone();
    let found = shown(&source[value.clone()]);
    let not_allowed = match (field, entry.key.as_str()) {
        ("", _) => format!("{found} can't stand here"),
        (_, "") => format!("{found} can't stand in `{field}`"),
        (_, key) => format!("`{key}` can't be {found}"),
    };
    let problem = match error {
        Error::NoSuchStructField { expected, found, .. } => {
            return unknown("field", found, expected, entry.key_span.clone());
        }
        Error::NoSuchEnumVariant { expected, found, .. } => {
            let named = at.saturating_sub(found.len())..at;
            let span = if source.get(named.clone()) == Some(found) { named } else { value };
            return unknown("name", found, expected, span);
        }
        Error::DuplicateStructField { field, .. } => {
            return Problem::error(entry.key_span.clone(), format!("`{field}` is given twice"))
                .label("remove one of the two");
        }
        Error::MissingStructField { field, .. } => return missing(source, field, entry),
        Error::Message(text) => Problem::error(value, text.clone()),
        Error::InvalidValueForType { expected, .. } => {
            Problem::error(value, not_allowed).label(format!("expected {expected}"))
        }
        Error::ExpectedDifferentLength { expected, .. } => {
            Problem::error(value, not_allowed).label(format!("expected {expected}"))
        }
        Error::ExpectedIdentifier if found.starts_with("`\"") => {
            Problem::error(value, not_allowed).label("expected a name, without quotes")
        }
        _ => Problem::error(value, not_allowed).label(expected(error)),
    };
    match error {
        // These say themselves what is allowed.
        Error::Message(_) => problem,
        _ => with_form(problem, field),
    }
}

/// The field `field` is not in `entry`, but must be.
pub fn missing(source: &str, field: &str, entry: &Entry) -> Problem {
    let at = first_token(source, entry.value_span.clone());
    let problem = Problem::error(at, format!("`{field}` is missing"));
    with_form(problem.label(format!("`{field}` must be given in here")), field)
}

/// Adds how the field is written, where that is not plain.
fn with_form(problem: Problem, field: &str) -> Problem {
    match FORMS.iter().find(|(key, _)| *key == field) {
        Some((_, form)) => problem.help(format!("write {form}")),
        None => problem,
    }
}

fn unknown(what: &str, found: &str, allowed: &[&str], at: Range<usize>) -> Problem {
    let problem = Problem::error(at, format!("unknown {what} `{found}`"))
        .help(format!("allowed here: {}", allowed.join(", ")));
    match nearest(found, allowed.iter().copied()) {
        Some(near) => problem.label(format!("did you mean `{near}`?")),
        None => problem,
    }
}

/// The name most like `found`, if it is like it at all.
pub fn nearest<'a>(found: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let found = found.to_lowercase();
    let near = names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&found, &name.to_lowercase()), name));
    let (distance, name) = near.min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + found.chars().count().min(name.len()) / 4).then_some(name)
}

fn expected(error: &Error) -> &'static str {
    match error {
        Error::ExpectedBoolean => "expected true or false",
        Error::ExpectedString | Error::ExpectedStringEnd => "expected a text in double quotes",
        Error::ExpectedArray => "expected a list in [ ]",
        Error::ExpectedStructLike | Error::ExpectedNamedStructLike(_) => {
            "expected ( ) with the fields or values in it"
        }
        Error::ExpectedIdentifier | Error::SuggestRawIdentifier(_) => "expected a name",
        Error::ExpectedDifferentStructName { .. } => "expected ( ) without a name before it",
        Error::ExpectedComma
        | Error::ExpectedArrayEnd
        | Error::ExpectedOptionEnd
        | Error::ExpectedStructLikeEnd => "there is more here than belongs here",
        _ => "this has the wrong form",
    }
}

/// A value as it is written, shortened.
fn shown(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("`{}…`", &line[..end]),
        None if line.len() < text.len() => format!("`{line}…`"),
        None => format!("`{line}`"),
    }
}

/// The name or bracket that a value begins with.
fn first_token(source: &str, value: Range<usize>) -> Range<usize> {
    let text = &source[value.clone()];
    let name = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    value.start..value.start + name.max(text.chars().next().map_or(0, char::len_utf8))
}

/// An error in a text that is not well-formed, found by `ron` at `at`.
pub fn syntax(source: &str, at: usize, error: &Error) -> Problem {
    if let Some(unbalanced) = unbalanced(source) {
        let (open, close) = match unbalanced {
            Unbalanced::Bracket { open, close } => (open, close),
            Unbalanced::Text(at) => {
                return Problem::error(at..at + 1, "this text is never closed")
                    .label("its closing `\"` is missing");
            }
        };
        return match (open, close) {
            (Some((open, at)), None) => {
                Problem::error(at..at + 1, format!("this `{open}` is never closed"))
                    .label(format!("its `{}` is missing", closing(open)))
            }
            (Some((open, opened)), Some((close, at))) => {
                let line = 1 + source[..opened].matches('\n').count();
                Problem::error(at..at + 1, format!("`{close}` can't close `{open}` of line {line}"))
                    .label(format!("expected `{}`", closing(open)))
            }
            (None, close) => {
                let (close, at) = close.unwrap_or((')', 0));
                Problem::error(at..at + 1, format!("this `{close}` closes nothing"))
                    .label("remove it, or open it above")
            }
        };
    }
    let behind = last_token_end(source, at);
    let there = at..source[at..].chars().next().map_or(at, |c| at + c.len_utf8());
    match error {
        Error::Eof if behind == 0 => Problem::of_file(
            "the file is empty; expected at least (models: [(name: \"…\", engine: …)])",
        ),
        Error::ExpectedComma if ends_in_field_name(&source[..behind]) => {
            Problem::error(behind..behind, "a colon is missing")
                .label("expected `:` between a field's name and its value")
        }
        Error::ExpectedComma => Problem::error(behind..behind, "a comma is missing")
            .label("expected `,` between this and what follows"),
        Error::Eof => Problem::error(behind..behind, "the file ends too early"),
        Error::UnclosedBlockComment => Problem::error(there, "a comment's closing `*/` is missing"),
        Error::TrailingCharacters => Problem::error(there, "there is more after the end")
            .label("the configuration is one ( … ); expected nothing after it"),
        Error::UnexpectedChar(c) => Problem::error(there, format!("{c:?} can't stand here"))
            .label("expected a value: a number, a \"text\", a Name, [ … ] or ( … )"),
        other => Problem::error(there, other.to_string()),
    }
}

/// All names of fields are in small letters, and no other names are.
fn ends_in_field_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    let rest = text.trim_end_matches(is_part);
    let name = &text[rest.len()..];
    !matches!(name, "" | "true" | "false")
        && !rest.ends_with(|c: char| c.is_alphanumeric() || c == '"')
}
