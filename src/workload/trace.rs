//! Recorded arrivals: a text file with one `seconds model` a line.

use super::Arrival;
use crate::units::Nanos;

/// Most arrivals in one trace.
const MAX_ARRIVALS: usize = 50_000_000;
/// Latest time in a trace: 30 days.
const MAX_SECONDS: f64 = 30.0 * 86_400.0;

/// The arrivals of a file, in order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Models in the order of their first arrival; [`Arrival::stream`] indexes it.
    pub models: Vec<String>,
    pub arrivals: Vec<Arrival>,
}

/// What is wrong with a trace, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TraceError {
    /// From 1.
    pub line: usize,
    pub message: String,
}

impl Trace {
    /// Empty lines and lines that begin with `#` are passed over.
    ///
    /// # Errors
    /// With the line, when it is not `seconds model`, or its time lies before the line above.
    pub fn parse(text: &str) -> Result<Trace, TraceError> {
        let mut trace = Trace::default();
        let mut last = Nanos::ZERO;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fail = |message| TraceError { line: index + 1, message };
            let (at, model) = parse_line(line).map_err(fail)?;
            if at < last {
                return Err(fail(format!(
                    "the time {} s is before the {} s above it; a trace is in order of time",
                    at.as_secs_f64(),
                    last.as_secs_f64()
                )));
            }
            if trace.arrivals.len() == MAX_ARRIVALS {
                return Err(fail(format!("more than {MAX_ARRIVALS} arrivals; split the trace")));
            }
            last = at;
            let stream = trace.stream(model);
            trace.arrivals.push(Arrival { at, stream });
        }
        if trace.arrivals.is_empty() {
            let message = "the trace has no arrivals; one a line is expected: `seconds model`";
            return Err(TraceError { line: text.lines().count().max(1), message: message.into() });
        }
        Ok(trace)
    }

    /// When the last request comes.
    pub fn last(&self) -> Nanos {
        self.arrivals.last().map_or(Nanos::ZERO, |arrival| arrival.at)
    }

    fn stream(&mut self, model: &str) -> usize {
        match self.models.iter().position(|name| name == model) {
            Some(index) => index,
            None => {
                self.models.push(model.into());
                self.models.len() - 1
            }
        }
    }
}

fn parse_line(line: &str) -> Result<(Nanos, &str), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [seconds, model] = words[..] else {
        return Err(format!("'{line}' is not `seconds model`, such as `0.125 resnet18`"));
    };
    match seconds.parse::<f64>() {
        Ok(s) if (0.0..=MAX_SECONDS).contains(&s) => Ok((Nanos::from_secs_f64(s), model)),
        Ok(s) => Err(format!("the time {s} s is not between 0 and {MAX_SECONDS} s")),
        Err(_) => Err(format!("'{seconds}' is not a time in seconds")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_in_order() {
        let trace = Trace::parse("# two models\n0 a\n\n0.5\tb\n 0.5 a \r\n").unwrap();
        assert_eq!(trace.models, ["a", "b"]);
        let at = |ms, stream| Arrival { at: Nanos::from_millis(ms), stream };
        assert_eq!(trace.arrivals, [at(0, 0), at(500, 1), at(500, 0)]);
    }

    #[test]
    fn every_error_names_its_line() {
        let cases = [
            ("0 a\nsoon b", "line 2: 'soon' is not a time in seconds"),
            ("0 a\n\n1", "line 3: '1' is not `seconds model`"),
            ("0 a b", "line 1: '0 a b' is not `seconds model`"),
            ("-1 a", "line 1: the time -1 s is not between 0 and"),
            ("nan a", "line 1: the time NaN s"),
            ("inf a", "line 1: the time inf s"),
            ("2 a\n1.5 a", "line 2: the time 1.5 s is before the 2 s above it"),
            ("", "line 1: the trace has no arrivals"),
            ("# nothing\n", "line 1: the trace has no arrivals"),
        ];
        for (text, expected) in cases {
            let error = Trace::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }
}
