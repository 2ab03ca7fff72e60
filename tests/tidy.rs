//! The rules of the house, checked: module directions, who reads the clock, sizes, `unsafe`, and
//! that nothing panics without a proof beside it. Tests inside `src` are not looked at.

use std::fs;
use std::path::{Path, PathBuf};

/// What each module may use besides itself. A module that stands before another in the flow of a
/// request may not be known to it.
const DIRECTIONS: [(&str, &[&str]); 21] = [
    ("units", &[]),
    ("chart", &[]),
    ("files", &[]),
    ("doorbell", &["units"]),
    ("config", &["units"]),
    ("scheduler", &["config", "units"]),
    ("policy_file", &["files", "scheduler"]),
    ("pipeline", &["scheduler", "units"]),
    ("telemetry", &["pipeline", "scheduler", "units"]),
    ("models", &["units"]),
    ("workload", &["units"]),
    ("engine", &["config", "files", "models", "units"]),
    ("profiler", &["chart", "config", "engine", "files", "scheduler", "units"]),
    ("server", &["config", "doorbell", "engine", "pipeline", "telemetry", "units"]),
    ("client", &["engine", "server", "telemetry", "units"]),
    // Of the scheduler only its utility, so that both sides judge by one definition.
    ("load", &["client", "engine", "scheduler", "server", "telemetry", "units", "workload"]),
    ("tui", &["telemetry"]),
    ("sim", &["config", "pipeline", "scheduler", "telemetry", "units", "workload"]),
    ("suite", &["chart", "config", "pipeline", "scheduler", "sim", "units"]),
    ("train", &["scheduler", "sim", "suite", "units"]),
    (
        "runtime",
        &[
            "config",
            "doorbell",
            "engine",
            "models",
            "pipeline",
            "policy_file",
            "profiler",
            "scheduler",
            "server",
            "telemetry",
            "units",
        ],
    ),
];
/// The command line knows everybody, and nobody knows the command line.
const TOP: [&str; 3] = ["cli", "lib", "main"];
/// Modules and files that may read the clock.
const CLOCK: [&str; 5] = ["runtime", "server", "load", "profiler", "cli/evaluate/meter.rs"];
/// Folders with `unsafe` in them.
const UNSAFE: [&str; 2] = ["engine/cuda/", "engine/tensorrt/"];
/// Without its tests.
const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 70;

/// A source file; the lines of its tests are blank.
struct Source {
    /// Relative to `src`.
    path: String,
    /// Line by line: the code with texts and comments blanked out, and the comment.
    lines: Vec<(String, String)>,
    /// How many lines are tests.
    test_lines: usize,
    /// Files that are modules of tests.
    test_files: Vec<PathBuf>,
}

impl Source {
    fn read(path: &Path) -> Source {
        let mut lines = scrub(&fs::read_to_string(path).unwrap());
        let (mut test_lines, mut test_files) = (0, Vec::new());
        let mut in_test = false;
        for (code, comment) in &mut lines {
            in_test |= code.starts_with("#[cfg(test)]");
            if !in_test {
                continue;
            }
            test_lines += 1;
            if let Some((_, module)) = code.trim_end_matches(';').split_once("mod ") {
                let folder = match path.file_stem().and_then(|stem| stem.to_str()) {
                    Some("mod" | "lib" | "main") => path.parent().unwrap().to_path_buf(),
                    _ => path.with_extension(""),
                };
                test_files.push(folder.join(module).with_extension("rs"));
            }
            // The item ends: `mod tests;`, `use x;`, or the bracket of its body.
            in_test = !(code.ends_with(';') && !code.starts_with(' ') || *code == "}");
            code.clear();
            comment.clear();
        }
        let path = path.strip_prefix("src").unwrap().display().to_string();
        Source { path, lines, test_lines, test_files }
    }

    /// The module at the top: `server` for `server/mod.rs`, `units` for `units.rs`.
    fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }
}

/// Every file of `src` that is not one of tests: declared under `#[cfg(test)]`, or by its place.
fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                sources.push(Source::read(&path));
            }
        }
    }
    let tests: Vec<PathBuf> = sources.iter().flat_map(|s| s.test_files.clone()).collect();
    sources.retain(|source| {
        let of_tests = |part: &str| part == "tests" || part == "tests.rs";
        !tests.contains(&Path::new("src").join(&source.path))
            && !source.path.split('/').any(of_tests)
    });
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// Splits a text into lines of (code, comment); what is quoted in the code becomes blank.
fn scrub(text: &str) -> Vec<(String, String)> {
    let mut lines = vec![(String::new(), String::new())];
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (len, is_comment) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), true)
        } else if rest.starts_with("/*") {
            (rest.find("*/").map_or(rest.len(), |i| i + 2), true)
        } else {
            (quoted_len(rest), false)
        };
        let taken = if len == 0 { first.len_utf8() } else { len };
        for c in rest[..taken].chars() {
            let (code, comment) = lines.last_mut().unwrap();
            match c {
                '\n' => lines.push(Default::default()),
                c if is_comment => comment.push(c),
                c if len == 0 => code.push(c),
                _ => code.push(' '),
            }
        }
        rest = &rest[taken..];
    }
    if text.ends_with('\n') {
        lines.pop();
    }
    lines
}

/// How long the string or character that begins here is; 0 when none does.
fn quoted_len(text: &str) -> usize {
    let end_of = |skip: usize, quote: char| {
        let mut escaped = false;
        let end = text[skip..].find(|c| {
            let ends = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        end.map_or(text.len(), |i| skip + i + 1)
    };
    let hashes = text.get(1..).map_or(0, |t| t.len() - t.trim_start_matches('#').len());
    let mut chars = text.chars().skip(1);
    match text.chars().next() {
        Some('"') => end_of(1, '"'),
        Some('r') if text[1 + hashes..].starts_with('"') => {
            let end = format!("\"{}", "#".repeat(hashes));
            text[hashes + 2..].find(&end).map_or(text.len(), |i| hashes + 2 + i + end.len())
        }
        // Not a lifetime: those have no quote behind them.
        Some('\'') if chars.next() == Some('\\') || chars.next() == Some('\'') => end_of(1, '\''),
        _ => 0,
    }
}

/// Fails with all of them, one a line.
fn none(violations: Vec<String>) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

/// `place: what` for every line of code that `found` finds something in.
fn search(found: impl Fn(&Source, usize) -> Option<String>) -> Vec<String> {
    let mut violations = Vec::new();
    for source in sources() {
        for i in 0..source.lines.len() {
            if let Some(what) = found(&source, i) {
                violations.push(format!("src/{}:{}: {what}", source.path, i + 1));
            }
        }
    }
    violations
}

#[test]
fn modules_use_only_what_lies_below_them() {
    none(search(|source, i| {
        let module = source.module();
        if TOP.contains(&module) {
            return None;
        }
        let Some((_, allowed)) = DIRECTIONS.iter().find(|(name, _)| *name == module) else {
            return Some(format!("module {module} has no line in DIRECTIONS of tests/tidy.rs"));
        };
        let used = source.lines[i].0.split("crate::").skip(1).find_map(|rest| {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let name = &rest[..end.unwrap_or(rest.len())];
            (name != module && !allowed.contains(&name)).then(|| name.to_string())
        })?;
        Some(match used.as_str() {
            "" => "name modules one a line: `use crate::module::…`".to_string(),
            used => format!("{module} may not use {used}; it may use: {}", allowed.join(", ")),
        })
    }));
}

#[test]
fn only_the_drivers_read_the_clock() {
    none(search(|source, i| {
        let reads = ["Instant::now", "SystemTime::now"]
            .into_iter()
            .find(|call| source.lines[i].0.contains(call))?;
        let allowed = CLOCK.contains(&source.module()) || CLOCK.contains(&source.path.as_str());
        (!allowed)
            .then(|| format!("{reads} outside {}; take the time as an argument", CLOCK.join(", ")))
    }));
}

#[test]
fn files_and_functions_can_be_read_in_one_go() {
    let mut violations = search(|source, i| {
        let (code, _) = &source.lines[i];
        let indent = code.len() - code.trim_start().len();
        let words = code
            .split_whitespace()
            .take_while(|word| !word.contains('(') || word.starts_with("pub("));
        if !words.into_iter().any(|word| word == "fn") || code.trim_end().ends_with([';', '}']) {
            return None;
        }
        let closing = format!("{}}}", " ".repeat(indent));
        let body = source.lines[i..].iter().position(|(code, _)| code.trim_end() == closing)?;
        let lines = body + 1;
        (lines > MAX_FUNCTION_LINES)
            .then(|| format!("a function of {lines} lines; at most {MAX_FUNCTION_LINES}"))
    });
    for Source { path, lines, test_lines, .. } in sources() {
        let lines = lines.len() - test_lines;
        if lines > MAX_FILE_LINES {
            violations
                .push(format!("src/{path}: {lines} lines without tests; at most {MAX_FILE_LINES}"));
        }
    }
    none(violations);
}

#[test]
fn unsafe_stands_only_where_it_is_allowed() {
    none(search(|source, i| {
        let allowed = UNSAFE.iter().any(|folder| source.path.starts_with(folder));
        (has_unsafe(&source.lines[i].0) && !allowed).then(|| "unsafe".to_string())
    }));
}

fn has_unsafe(code: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
}

/// Every block and every claim of `unsafe` says why it holds, every function what must hold for it.
#[test]
fn unsafe_has_its_reason() {
    none(search(|source, i| {
        let code = source.lines[i].0.trim();
        // Types of functions, and functions of C that are called by pointer, promise nothing.
        let is_type = code.contains("unsafe extern") || code.contains("unsafe fn(");
        if !has_unsafe(code) || is_type {
            return None;
        }
        let wanted = if code.contains("unsafe fn") { "# Safety" } else { "SAFETY:" };
        // Above the statement or the item that it is in.
        let near = source.lines[i.saturating_sub(12)..=i].iter();
        (!near.into_iter().any(|(_, comment)| comment.contains(wanted)))
            .then(|| format!("unsafe without a `{wanted}` near above it"))
    }));
}

#[test]
fn nothing_panics_without_a_proof_that_it_does_not() {
    none(search(|source, i| {
        let code = &source.lines[i].0;
        if code.contains("todo!") || code.contains("unimplemented!") {
            return Some("unfinished".to_string());
        }
        let call = [".unwrap()", ".expect(", "unreachable!(", "panic!("]
            .into_iter()
            .find(|call| code.contains(call))?;
        let what = format!("{call} without a comment that says why it can't fail");
        (!is_proven(&source.lines, i)).then_some(what)
    }));
}

/// Whether a comment on the line or directly above its statement says why it holds.
fn is_proven(lines: &[(String, String)], at: usize) -> bool {
    let says_why = |comment: &str| {
        let comment = comment.to_lowercase();
        ["can't", "cannot", "never", "always", "fails only", "on purpose"]
            .iter()
            .any(|w| comment.contains(w))
    };
    if says_why(&lines[at].1) {
        return true;
    }
    let mut first = at;
    while first > 0 && !lines[first - 1].0.trim_end().ends_with([';', '{', '}']) {
        first -= 1;
        // The comment itself ends the statement's lines; it may have several.
        if lines[first].0.trim().is_empty() && !lines[first].1.is_empty() {
            let block = lines[..=first].iter().rev();
            return block
                .take_while(|(code, comment)| code.trim().is_empty() && !comment.is_empty())
                .any(|(_, comment)| says_why(comment));
        }
    }
    false
}

/// The checks above rest on this.
#[test]
fn texts_and_comments_are_told_from_code() {
    let scrubbed = scrub(
        "let a = \"x // \\\" y\"; // why\nfn f<'a>(c: char) { c == '\"' } /* two\nlines */ b(r#\"\"{\"#);",
    );
    let code: Vec<_> = scrubbed.iter().map(|(code, _)| code.replace(' ', "")).collect();
    assert_eq!(code, ["leta=;", "fnf<'a>(c:char){c==}", "b();"]);
    let comments: Vec<_> = scrubbed.iter().map(|(_, comment)| comment.as_str()).collect();
    assert_eq!(comments, ["// why", "/* two", "lines */"]);
    let lines = scrub(
        "a();\n// It is always there,\n// see above.\nlet b = c\n    .unwrap();\nd.unwrap();",
    );
    assert!(is_proven(&lines, 4) && !is_proven(&lines, 5));
}
