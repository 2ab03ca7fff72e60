//! Curves over time: of the appliance and of one model.

use crate::tui::app::App;
use crate::tui::format::{NONE, age_us, duration_us, rate, share, utility};
use crate::tui::history::{Fold, Series, resample};
use crate::tui::render::graph::area_curve;
use crate::tui::render::pen::Pen;
use crate::tui::render::{panel, row, take_left, take_top};
use crate::tui::theme::Tone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// Below this a chart says nothing.
const MIN_WIDTH: u16 = 36;
/// From this height on, charts stand in two rows.
const TWO_ROWS: u16 = 14;

/// One curve, and how it is to be read.
struct Chart<'a> {
    title: &'static str,
    series: &'a Series,
    how: Fold,
    /// A second curve, drawn as a line, and what it is.
    line: Option<(&'a Series, &'static str)>,
    /// A constant drawn as a line, and what it is.
    limit: Option<(f32, String)>,
    /// The top is at least this, so that noise around little is not a drama.
    least_max: f32,
    /// The top is this.
    fixed_max: Option<f32>,
    label: fn(f32) -> String,
    tone: Tone,
}

/// The charts of the overview, as many as fit.
pub fn overview(app: &App, buf: &mut Buffer, area: Rect) {
    let history = app.history();
    let chart = |title, series, label| Chart {
        title,
        series,
        how: Fold::Mean,
        line: None,
        limit: None,
        least_max: 1.0,
        fixed_max: None,
        label,
        tone: Tone::Neutral,
    };
    let charts = [
        chart("Utility", &history.utility, |v| utility(Some(f64::from(v)))),
        Chart {
            line: Some((&history.arrivals, "arrivals")),
            ..chart("Goodput/s", &history.goodput, |v| rate(f64::from(v)))
        },
        Chart {
            fixed_max: Some(1.0),
            tone: Tone::Good,
            ..chart("SLO hit rate", &history.hit_rate, |v| share(Some(f64::from(v))))
        },
        Chart {
            how: Fold::Max,
            limit: Some((1.0, "SLO".into())),
            least_max: 1.25,
            ..chart("Worst p99 / SLO", &history.worst_latency, |v| format!("{v:.2}"))
        },
    ];
    grid(app, buf, area, &charts);
}

/// The charts of one model.
pub fn of_model(app: &App, buf: &mut Buffer, area: Rect, name: &str, slo_us: u64) {
    let Some(history) = app.history().model(name) else { return };
    let charts = [
        Chart {
            title: "p99",
            series: &history.latency_us_p99,
            how: Fold::Max,
            line: None,
            limit: Some((slo_us as f32, format!("SLO {}", duration_us(slo_us)))),
            least_max: slo_us as f32 * 1.25,
            fixed_max: None,
            label: |v| duration_us(v as u64),
            tone: Tone::Neutral,
        },
        Chart {
            title: "Queue",
            series: &history.queue,
            how: Fold::Max,
            line: None,
            limit: None,
            least_max: 8.0,
            fixed_max: None,
            label: |v| rate(f64::from(v)),
            tone: Tone::Neutral,
        },
        Chart {
            title: "Arrivals/s",
            series: &history.arrivals,
            how: Fold::Mean,
            line: None,
            limit: None,
            least_max: 1.0,
            fixed_max: None,
            label: |v| rate(f64::from(v)),
            tone: Tone::Neutral,
        },
        Chart {
            title: "SLO hit rate",
            series: &history.hit_rate,
            how: Fold::Mean,
            line: None,
            limit: None,
            least_max: 1.0,
            fixed_max: Some(1.0),
            label: |v| share(Some(f64::from(v))),
            tone: Tone::Good,
        },
    ];
    grid(app, buf, area, &charts);
}

fn grid(app: &App, buf: &mut Buffer, area: Rect, charts: &[Chart; 4]) {
    let across = area.width / MIN_WIDTH;
    let (columns, rows) = match (area.height >= TWO_ROWS, across) {
        (true, 0 | 1) => (1, 2),
        (true, 2 | 3) => (2, 2),
        (true, _) if area.height >= 2 * TWO_ROWS => (2, 2),
        (_, across) => (across.clamp(1, 4), 1),
    };
    let mut rest = area;
    for line in 0..rows {
        let height = rest.height / (rows - line);
        let mut strip = take_top(&mut rest, height);
        for column in 0..columns {
            let width = strip.width / (columns - column);
            let place = take_left(&mut strip, width);
            draw(app, buf, place, &charts[usize::from(line * columns + column)]);
        }
    }
}

fn draw(app: &App, buf: &mut Buffer, area: Rect, chart: &Chart) {
    if area.width < 12 || area.height < 3 {
        return;
    }
    let (theme, end_us, span_us) = (app.theme, app.snapshot().uptime_us, app.span_us());
    let dots = usize::from(area.width.saturating_sub(8)) * 2;
    let values = || resample(chart.series, end_us, span_us, dots, chart.how);
    let line = |i: usize| chart.line.map(|(series, _)| (series, i));
    let of_line = || {
        let series = line(0).map(|(series, _)| resample(series, end_us, span_us, dots, chart.how));
        let limit = chart.limit.as_ref().map_or(f32::NAN, |(limit, _)| *limit);
        series.into_iter().flatten().chain(std::iter::repeat_n(limit, dots)).take(dots)
    };
    let highest = values().chain(of_line()).fold(chart.least_max, f32::max);
    let max = chart.fixed_max.unwrap_or(highest);
    let now = values().last().filter(|v| v.is_finite()).map_or(NONE.into(), chart.label);
    let inner = panel(buf, area, theme, chart.title, &now);
    let scale = Rect { width: inner.width.min(6), ..inner };
    let plot = Rect { x: inner.x + scale.width, width: inner.width - scale.width, ..inner };
    Pen::new(buf, scale).right(&(chart.label)(max), 5, theme.dim());
    if scale.height > 1 {
        Pen::new(buf, row(scale, scale.height - 1)).right("0", 5, theme.dim());
    }
    let style = |_height: f32| match chart.tone {
        Tone::Neutral => theme.curve(),
        tone => theme.tone(tone),
    };
    area_curve(buf, plot, values(), of_line(), max, style, theme.tone(Tone::Warning));
    foot(app, buf, area, chart, theme.dim());
}

/// On the lower edge: the time covered, and what the line is.
fn foot(app: &App, buf: &mut Buffer, area: Rect, chart: &Chart, style: Style) {
    let edge = row(area, area.height - 1);
    let edge = Rect { x: edge.x + 2, width: edge.width.saturating_sub(4), ..edge };
    let span = format!(" last {} ", age_us(app.span_us()));
    Pen::new(buf, edge).put(&span, style);
    let line = match (&chart.line, &chart.limit) {
        (Some((_, text)), _) => format!(" line: {text} "),
        (None, Some((_, text))) => format!(" line: {text} "),
        (None, None) => return,
    };
    if edge.width as usize > span.len() + line.len() + 2 {
        Pen::new(buf, edge).right(&line, edge.width, style);
    }
}
