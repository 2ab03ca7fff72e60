//! The result of a run: its schema, and the table for people.

use crate::telemetry::format::duration_us;
use crate::telemetry::snapshot::Percentiles;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Version of the schema of [`LoadReport`]. Fields may be added under the same number; a field that
/// changes its meaning or goes away raises it.
pub const SCHEMA: u32 = 1;

/// The figures of a run, as `--json` writes them. Only requests that were due in the measured time
/// count, and `sent = ok + rejected + expired + failed` once the run has ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// [`SCHEMA`].
    pub schema: u32,
    pub socket: String,
    /// `poisson`, `uniform`, `bursty`, `trace` or `closed`.
    pub load: String,
    /// Requests kept outstanding for each model; in a closed loop only.
    pub concurrency: Option<usize>,
    pub connections: usize,
    pub shared_memory: bool,
    pub seed: u64,
    /// Measured time planned, and how much of it has passed. Rates are per second of the latter.
    pub seconds: f64,
    pub elapsed_s: f64,
    /// Absent while it runs, then `finished`, `stopped`, or what went wrong on the way.
    pub ended: Option<String>,
    /// Over all models; its utility is the mean of theirs.
    pub total: Figures,
    pub models: Vec<ModelReport>,
    /// What requests that were not answered with outputs got instead, the most frequent first.
    pub errors: Vec<ErrorCount>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelReport {
    pub name: String,
    /// Mean rate asked for; absent in a closed loop.
    pub rate_per_s: Option<f64>,
    /// What `slo_met` is judged by; absent when neither `--slo-us` nor the server tell one.
    pub slo_us: Option<u64>,
    /// Size of one request's message.
    pub request_bytes: usize,
    #[serde(flatten)]
    pub figures: Figures,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Requests that were due.
    pub sent: u64,
    /// Answered with outputs, in time or late.
    pub ok: u64,
    /// Refused: RESOURCE_EXHAUSTED or UNAVAILABLE.
    pub rejected: u64,
    /// DEADLINE_EXCEEDED.
    pub expired: u64,
    /// Any other error, a lost connection, or no answer at all.
    pub failed: u64,
    /// Of `ok`: answered within the SLO, by this side's clock and from the intended start.
    pub slo_met: Option<u64>,
    /// Answers with outputs per second, within the measured time.
    pub throughput_per_s: f64,
    /// `slo_met` per second.
    pub goodput_per_s: Option<f64>,
    /// Of `ok`, from the intended start of the request to its reply.
    pub latency_us: Percentiles,
    /// Requests per execution, from the replies' parameter `batch`; absent when no reply had one.
    pub mean_batch: Option<f64>,
    /// ln(1 + goodput / mean normalised latency), over windows of 5 s; absent without an SLO.
    pub utility: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCount {
    /// Texts that differ in digits only are counted together, under the first of them.
    pub text: String,
    pub count: u64,
}

const COLUMNS: [&str; 15] = [
    "model",
    "sent",
    "ok",
    "rejected",
    "expired",
    "failed",
    "ok/s",
    "slo met",
    "goodput/s",
    "p50",
    "p90",
    "p99",
    "p99.9",
    "batch",
    "utility",
];

/// One row of the table.
pub type TableRow = [String; COLUMNS.len()];

/// The first of [`COLUMNS`] that goes to the second part of a divided table.
const FIRST_TIME_COLUMN: usize = 9;
/// Error lines under the table.
const ERROR_LINES: usize = 5;

impl LoadReport {
    /// The report as the JSON that `--json` writes.
    ///
    /// # Errors
    /// A text for the operator.
    pub fn json(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self).map_err(|e| e.to_string())
    }

    /// Rows of text for a table: a header, a line per model and, for several models, the total.
    pub fn rows(&self) -> Vec<TableRow> {
        let mut rows = vec![COLUMNS.map(String::from)];
        rows.extend(self.models.iter().map(|model| row(&model.name, &model.figures)));
        if self.models.len() > 1 {
            rows.push(row("total", &self.total));
        }
        rows
    }

    /// The table printed at the end of a run. Where its lines would be longer than `max_width`
    /// characters it comes in two parts.
    pub fn table(&self, max_width: usize) -> String {
        let rows = self.rows();
        let all: Vec<usize> = (0..COLUMNS.len()).collect();
        let mut text = columns_text(&rows, &all);
        if text.lines().any(|line| line.chars().count() > max_width) {
            let (counts, times) = all.split_at(FIRST_TIME_COLUMN);
            let times = [&[0], times].concat();
            text = format!("{}\n{}", columns_text(&rows, counts), columns_text(&rows, &times));
        }
        for error in self.errors.iter().take(ERROR_LINES) {
            let _ = writeln!(text, "{} × {}", error.count, error.text);
        }
        if self.errors.len() > ERROR_LINES {
            let _ = writeln!(text, "and {} other kinds of errors", self.errors.len() - ERROR_LINES);
        }
        text
    }

    /// One line about the run as it stands.
    pub fn line(&self) -> String {
        let t = &self.total;
        let mut line = format!(
            "{:6.1} s  {} sent, {} ok, {} rejected, {} expired, {} failed, {:.0}/s",
            self.elapsed_s, t.sent, t.ok, t.rejected, t.expired, t.failed, t.throughput_per_s
        );
        if let Some(share) = t.hit_rate() {
            let _ = write!(line, ", {:.1} % in SLO", share * 100.0);
        }
        let p = &t.latency_us;
        if p.count > 0 {
            let _ = write!(line, ", p50 {}, p99 {}", duration_us(p.p50), duration_us(p.p99));
        }
        line
    }

    /// What was run, in words.
    pub fn title(&self) -> String {
        let mut title = match self.concurrency {
            Some(n) => format!("closed loop, {n} outstanding per model"),
            None => format!("{} arrivals, seed {}", self.load, self.seed),
        };
        if self.shared_memory {
            title.push_str(", shared memory");
        }
        format!("{title}, {}", self.socket)
    }
}

impl Figures {
    /// Share of the answered requests that met their SLO.
    pub fn hit_rate(&self) -> Option<f64> {
        let answered = self.ok + self.rejected + self.expired + self.failed;
        let met = self.slo_met?;
        (answered > 0).then(|| met as f64 / answered as f64)
    }
}

/// The given columns, aligned.
fn columns_text(rows: &[TableRow], columns: &[usize]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let mut text = String::new();
    for row in rows {
        for (place, &column) in columns.iter().enumerate() {
            let (cell, width) = (&row[column], width(column).unwrap_or(0));
            let _ = match place {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
    text
}

fn row(name: &str, f: &Figures) -> TableRow {
    let p = &f.latency_us;
    let time = |us| if p.count > 0 { duration_us(us) } else { "–".into() };
    let number = |value: Option<f64>, decimals: usize| {
        value.map_or("–".into(), |value| format!("{value:.decimals$}"))
    };
    let met = match (f.slo_met, f.hit_rate()) {
        (Some(_), Some(share)) => format!("{:.1} %", share * 100.0),
        _ => "–".into(),
    };
    [
        name.into(),
        f.sent.to_string(),
        f.ok.to_string(),
        f.rejected.to_string(),
        f.expired.to_string(),
        f.failed.to_string(),
        format!("{:.1}", f.throughput_per_s),
        met,
        number(f.goodput_per_s, 1),
        time(p.p50),
        time(p.p90),
        time(p.p99),
        time(p.p999),
        number(f.mean_batch, 2),
        number(f.utility, 2),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever reads these files relies on the names: adding one is fine, anything else raises
    /// [`SCHEMA`].
    #[test]
    fn the_names_in_the_json_are_stable() {
        let report = LoadReport {
            models: vec![ModelReport::default()],
            errors: vec![ErrorCount::default()],
            ..LoadReport::default()
        };
        let json = serde_json::to_value(&report).unwrap();
        let keys = |value: &serde_json::Value| -> String {
            value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            keys(&json),
            "concurrency connections elapsed_s ended errors load models schema seconds seed \
             shared_memory socket total"
        );
        assert_eq!(
            keys(&json["total"]),
            "expired failed goodput_per_s latency_us mean_batch ok rejected sent slo_met \
             throughput_per_s utility"
        );
        assert_eq!(keys(&json["total"]["latency_us"]), "count max p50 p90 p99 p999");
        assert_eq!(
            keys(&json["models"][0]),
            "expired failed goodput_per_s latency_us mean_batch name ok rate_per_s rejected \
             request_bytes sent slo_met slo_us throughput_per_s utility"
        );
        assert_eq!(keys(&json["errors"][0]), "count text");
        assert_eq!(serde_json::from_value::<LoadReport>(json).unwrap(), report);
    }

    #[test]
    fn a_table_that_is_too_wide_is_divided() {
        let model = ModelReport { name: "mobilenetv3_small".into(), ..ModelReport::default() };
        let report = LoadReport { models: vec![model; 2], ..LoadReport::default() };
        assert_eq!(report.table(200).lines().count(), 4);
        let narrow = report.table(80);
        assert_eq!(narrow.lines().count(), 9);
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
        assert_eq!(narrow.matches("mobilenetv3_small").count(), 4);
    }

    #[test]
    fn a_server_without_reply_parameters_shows_dashes() {
        let model = ModelReport { name: "m".into(), ..ModelReport::default() };
        let report = LoadReport { models: vec![model], ..LoadReport::default() };
        let table = report.table(200);
        let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row[7..], ["–"; 8]);
        assert_eq!(table.lines().count(), 2, "one model needs no total");
    }
}
