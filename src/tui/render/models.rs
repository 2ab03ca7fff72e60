//! The overview's table: a row per model and one for all.

use crate::telemetry::WINDOW;
use crate::telemetry::format::{self, duration_us, rate, short_count};
use crate::telemetry::snapshot::{ModelSnapshot, ModelState, Totals};
use crate::tui::app::{App, Hits, Target};
use crate::tui::history::{Fold, ModelHistory, resample};
use crate::tui::render::graph::{gauge, sparkline};
use crate::tui::render::pen::{self, Pen};
use crate::tui::render::{mark_selected, panel, row, state_sign, window};
use crate::tui::theme::Tone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Name,
    Policy,
    QueueCurve,
    QueueDepth,
    Oldest,
    Arrivals,
    Goodput,
    Choice,
    P50,
    P99,
    Slo,
    Headroom,
    LatencyCurve,
    HitRate,
    Utility,
    Lost,
}

use Column::*;

const NAME_WIDTH: u16 = 12;

/// Always there.
const BASE: [(Column, u16); 11] = [
    (Name, NAME_WIDTH),
    (QueueCurve, 6),
    (QueueDepth, 4),
    (Arrivals, 5),
    (Choice, 6),
    (P50, 6),
    (P99, 7),
    (Slo, 6),
    (HitRate, 5),
    (Utility, 4),
    (Lost, 4),
];

/// Added while there is room, most useful first: (column, width, the one it stands after).
const EXTRA: [(Column, u16, Column); 5] = [
    (Goodput, 5, Arrivals),
    (Policy, 8, Name),
    (Headroom, 12, Slo),
    (Oldest, 6, QueueDepth),
    (LatencyCurve, 16, Headroom),
];

/// Cursor, state sign and a gap before the first column.
const LEAD: u16 = 3;

pub fn draw(app: &App, buf: &mut Buffer, area: Rect, hits: &mut Hits) {
    let theme = app.theme;
    let note = format!("sorted by {} · last {} s", app.sort.title(), WINDOW.as_millis_f64() / 1e3);
    let total = app.rows().len();
    let height = area.height.saturating_sub(4);
    let in_view = window(total, height, app.selected_row());
    let title = if in_view.len() < total {
        format!("Models {}-{} of {total}", in_view.start + 1, in_view.end)
    } else {
        "Models".into()
    };
    let inner = panel(buf, area, theme, &title, &note);
    let columns = columns(app, inner.width);
    heads(app, buf, row(inner, 0), &columns);
    for (i, model) in app.rows().enumerate().skip(in_view.start).take(in_view.len()) {
        let line = row(inner, 1 + (i - in_view.start) as u16);
        draw_model(app, buf, line, &columns, model, i == app.selected_row());
        hits.push((line, Target::Model(model.name.clone())));
    }
    if total == 0 {
        Pen::new(buf, row(inner, 1)).skip(LEAD).put("no models yet", theme.dim());
    }
    draw_totals(app, buf, row(inner, inner.height.saturating_sub(1)), &columns);
}

fn columns(app: &App, width: u16) -> Vec<(Column, u16)> {
    let mut columns = BASE.to_vec();
    let used =
        |columns: &[(Column, u16)]| LEAD + columns.iter().map(|(_, w)| w + 1).sum::<u16>() - 1;
    let longest = app.rows().map(|m| pen::columns(&m.name)).max().unwrap_or(0);
    // Whole names and a longer curve are worth more than another column.
    let kept = longest.clamp(NAME_WIDTH, 24) - NAME_WIDTH + 6;
    for (column, column_width, after) in EXTRA {
        if used(&columns) + column_width + 1 + kept > width {
            break;
        }
        let after = columns.iter().position(|(c, _)| *c == after).map_or(columns.len(), |i| i + 1);
        columns.insert(after, (column, column_width));
    }
    let mut left = width.saturating_sub(used(&columns));
    let most = [(Name, longest.clamp(NAME_WIDTH, 44)), (QueueCurve, 40), (LatencyCurve, 40)];
    for (column, most) in most {
        if let Some((_, width)) = columns.iter_mut().find(|(c, _)| *c == column) {
            let more = left.min(most.saturating_sub(*width));
            *width += more;
            left -= more;
        }
    }
    columns
}

fn heads(app: &App, buf: &mut Buffer, line: Rect, columns: &[(Column, u16)]) {
    let mut pen = Pen::new(buf, line);
    pen.skip(LEAD);
    for (column, width) in columns {
        let title = match column {
            Name => "MODEL",
            Policy => "POLICY",
            QueueCurve => "QUEUE",
            QueueDepth => "NOW",
            Oldest => "OLDEST",
            Arrivals => "ARR/s",
            Goodput => "GOOD",
            Choice => "B×INST",
            P50 => "P50",
            P99 => "P99",
            Slo => "SLO",
            Headroom => "P99 OF SLO",
            LatencyCurve => "P99 OVER TIME",
            HitRate => "SLO%",
            Utility => "UTIL",
            Lost => "LOST",
        };
        let style = app.theme.heading();
        match column {
            Name | Policy | QueueCurve | Headroom | LatencyCurve => pen.fit(title, *width, style),
            _ => pen.right(title, *width, style),
        };
        pen.skip(1);
    }
}

fn draw_model(
    app: &App,
    buf: &mut Buffer,
    line: Rect,
    columns: &[(Column, u16)],
    model: &ModelSnapshot,
    selected: bool,
) {
    let theme = app.theme;
    let mut pen = Pen::new(buf, line);
    let (sign, tone) = state_sign(&model.state);
    pen.fit(if selected { "▸" } else { "" }, 1, theme.heading());
    pen.put(sign, theme.tone(tone)).skip(1);
    let name_width = columns.first().map_or(0, |(_, width)| *width);
    let instead = match &model.state {
        ModelState::Ready => None,
        ModelState::Loading => Some("loading".into()),
        ModelState::Unloaded => Some("unloaded; L loads it".into()),
        ModelState::Failed(reason) => {
            Some(format!("FAILED: {}", reason.split_whitespace().collect::<Vec<_>>().join(" ")))
        }
    };
    if let Some(text) = instead {
        pen.fit(&model.name, name_width, theme.text()).skip(1);
        let width = pen.left();
        pen.fit(&text, width, theme.tone(tone));
    } else {
        let cells = Cells { app, model, history: app.history().model(&model.name) };
        for (column, width) in columns {
            cells.draw(&mut pen, *column, *width);
            pen.skip(1);
        }
    }
    if selected {
        mark_selected(buf, Rect { width: LEAD + name_width, ..line }, theme.selected());
    }
}

/// The cells of one model's row.
struct Cells<'a> {
    app: &'a App,
    model: &'a ModelSnapshot,
    history: Option<&'a ModelHistory>,
}

impl Cells<'_> {
    fn draw(&self, pen: &mut Pen, column: Column, width: u16) {
        let theme = self.app.theme;
        match column {
            Name => {
                pen.fit(&self.model.name, width, theme.text());
            }
            Policy => {
                pen.fit(&self.model.policy, width, theme.dim());
            }
            QueueCurve => self.queue_curve(pen, width),
            LatencyCurve => self.latency_curve(pen, width),
            Headroom => self.headroom(pen, width),
            _ => {
                let (text, style) = self.number(column);
                pen.right(&text, width, style);
            }
        }
    }

    /// The text of a column of numbers.
    fn number(&self, column: Column) -> (String, Style) {
        let (model, theme) = (self.model, self.app.theme);
        let latency = |us| if self.answered() { duration_us(us) } else { format::NONE.into() };
        match column {
            QueueDepth => (short_count(model.queue_depth.into()), theme.tone(self.queue())),
            Oldest => {
                let waits_us = if model.queue_depth > 0 { model.queue_oldest_us } else { 0 };
                (duration_us(waits_us), theme.tone(Tone::of_latency(waits_us, model.slo_us)))
            }
            Arrivals => (rate(model.arrivals_per_s), theme.text()),
            Goodput => (rate(model.goodput_per_s), theme.text()),
            Choice => {
                let (mark, style) =
                    if model.overridden { ("M", theme.manual()) } else { ("", theme.text()) };
                (format!("{}×{}{mark}", model.batch, model.instances), style)
            }
            P50 => (latency(model.latency_us.p50), theme.text()),
            P99 => {
                let mark = if self.latency_tone() == Tone::Bad { "!" } else { "" };
                let text = format!("{mark}{}", latency(model.latency_us.p99));
                (text, theme.tone(self.latency_tone()))
            }
            Slo => (duration_us(model.slo_us), theme.dim()),
            HitRate => {
                let tone = Tone::of_hit_rate(model.slo_hit_rate);
                (format::share(model.slo_hit_rate), theme.tone(tone))
            }
            Utility => (format::utility(model.utility), theme.text()),
            Lost => {
                let lost = self.history.map_or(0.0, lost_per_s);
                // As with the hit rate, one request in twenty is too many.
                let tone = if lost < 0.05 {
                    Tone::Neutral
                } else if lost < model.arrivals_per_s * 0.05 {
                    Tone::Warning
                } else {
                    Tone::Bad
                };
                (short_rate(lost), theme.tone(tone))
            }
            Name | Policy | QueueCurve | Headroom | LatencyCurve => (String::new(), theme.text()),
        }
    }

    fn answered(&self) -> bool {
        self.model.latency_us.count > 0
    }

    fn latency_tone(&self) -> Tone {
        match self.answered() {
            true => Tone::of_latency(self.model.latency_us.p99, self.model.slo_us),
            false => Tone::Neutral,
        }
    }

    fn queue(&self) -> Tone {
        let bound = f64::from(self.model.queue_bound.max(1));
        Tone::rising(f64::from(self.model.queue_depth) / bound, 0.5, 1.0)
    }

    fn queue_curve(&self, pen: &mut Pen, width: u16) {
        let Some(history) = self.history else {
            pen.skip(width);
            return;
        };
        let (end_us, span_us) = (self.app.snapshot().uptime_us, self.app.span_us());
        let values = || resample(&history.queue, end_us, span_us, width.into(), Fold::Max);
        // A queue of one or two must not look like a mountain.
        let max = values().fold(8.0, f32::max);
        let style = match self.queue() {
            Tone::Good => self.app.theme.curve(),
            tone => self.app.theme.tone(tone),
        };
        sparkline(pen, values(), max, style);
    }

    fn latency_curve(&self, pen: &mut Pen, width: u16) {
        let Some(history) = self.history else {
            pen.skip(width);
            return;
        };
        let (end_us, span_us) = (self.app.snapshot().uptime_us, self.app.span_us());
        let series = &history.latency_us_p99;
        let values = || resample(series, end_us, span_us, width.into(), Fold::Max);
        let max = values().fold(self.model.slo_us as f32, f32::max);
        sparkline(pen, values(), max, self.app.theme.curve());
    }

    fn headroom(&self, pen: &mut Pen, width: u16) {
        let theme = self.app.theme;
        if !self.answered() || self.model.slo_us == 0 {
            pen.skip(width);
            return;
        }
        let share = self.model.latency_us.p99 as f64 / self.model.slo_us as f64;
        let tone = self.latency_tone();
        gauge(pen, share, width.saturating_sub(6), theme.tone(tone), theme.dim());
        pen.right(&format::percent(share * 100.0), 6.min(width), theme.tone(tone));
    }
}

/// Requests that got no outputs, per second.
fn lost_per_s(history: &ModelHistory) -> f64 {
    let rates = history.recent_rates();
    rates.rejected + rates.expired + rates.failed
}

/// In four columns: losses are few or far too many.
fn short_rate(value: f64) -> String {
    if value < 999.5 { rate(value) } else { short_count(value as u64) }
}

fn draw_totals(app: &App, buf: &mut Buffer, line: Rect, columns: &[(Column, u16)]) {
    let theme = app.theme;
    let totals: &Totals = &app.snapshot().totals;
    let mut pen = Pen::new(buf, line);
    pen.skip(LEAD);
    let bold = theme.heading();
    for (column, width) in columns {
        match column {
            Name => pen.fit("all", *width, bold),
            QueueDepth => {
                let depth = app.rows().map(|m| u64::from(m.queue_depth)).sum();
                pen.right(&short_count(depth), *width, bold)
            }
            Arrivals => pen.right(&rate(totals.arrivals_per_s), *width, bold),
            Goodput => pen.right(&rate(totals.goodput_per_s), *width, bold),
            HitRate => {
                let style = theme.tone(Tone::of_hit_rate(totals.slo_hit_rate)).patch(bold);
                pen.right(&format::share(totals.slo_hit_rate), *width, style)
            }
            Utility => pen.right(&format::utility(totals.utility), *width, bold),
            Lost => {
                let histories = app.rows().filter_map(|m| app.history().model(&m.name));
                let lost = histories.map(lost_per_s).sum();
                pen.right(&short_rate(lost), *width, bold)
            }
            _ => pen.skip(*width),
        };
        pen.skip(1);
    }
}
