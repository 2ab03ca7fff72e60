//! Curves over time: of the appliance and of one model.

use crate::telemetry::format::{NONE, duration_us, rate, share, signed, span_us, utility};
use crate::telemetry::snapshot::ModelSnapshot;
use crate::tui::app::App;
use crate::tui::history::{Fold, Series, resample};
use crate::tui::render::graph::{CurveStyle, area_curve};
use crate::tui::render::pen::Pen;
use crate::tui::render::{row, take_left, take_top, value_panel};
use crate::tui::theme::Tone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

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
    scale: Scale,
    label: fn(f32) -> String,
    tone: Tone,
}

/// What the bottom and the top of a chart stand for.
#[derive(Clone, Copy)]
enum Scale {
    /// From zero to a little above the highest value, but at least to this, so that noise around
    /// little is not a drama.
    Zero(f32),
    /// From the lowest to the highest value, both of which may be below zero.
    Fit,
    /// Up to 1. The bottom is as low as the values need it: a hit rate's last percents count.
    Share,
}

impl Scale {
    fn range(self, values: impl Iterator<Item = f32>) -> std::ops::Range<f32> {
        match self {
            Scale::Zero(least) => 0.0..values.fold(least / 1.15, f32::max) * 1.15,
            Scale::Fit => {
                let (low, high) = values
                    .filter(|v| v.is_finite())
                    .fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(v), high.max(v)));
                let spread = (high - low).max(high.abs() * 0.05).max(1e-6);
                if low > high { 0.0..1.0 } else { low - spread * 0.1..high + spread * 0.1 }
            }
            Scale::Share => {
                let lowest = values.fold(1.0, f32::min);
                let floor = [0.9, 0.75, 0.5].into_iter().find(|floor| lowest > *floor);
                floor.unwrap_or(0.0)..1.0
            }
        }
    }
}

fn chart<'a>(title: &'static str, series: &'a Series, label: fn(f32) -> String) -> Chart<'a> {
    Chart {
        title,
        series,
        how: Fold::Mean,
        line: None,
        limit: None,
        scale: Scale::Zero(1.0),
        label,
        tone: Tone::Neutral,
    }
}

fn hit_rate_chart(series: &Series) -> Chart<'_> {
    Chart {
        scale: Scale::Share,
        limit: Some((0.95, "95%".into())),
        tone: Tone::Good,
        ..chart("SLO hit rate", series, |v| share(Some((f64::from(v) * 1e4).round() / 1e4)))
    }
}

/// The charts of the overview, as many as fit.
pub fn overview(app: &App, buf: &mut Buffer, area: Rect) {
    let history = app.history();
    let charts = [
        chart("Utility", &history.utility, |v| utility(Some(f64::from(v)))),
        Chart {
            line: Some((&history.arrivals, "arrivals")),
            ..chart("Goodput/s", &history.goodput, |v| rate(f64::from(v)))
        },
        hit_rate_chart(&history.hit_rate),
        Chart {
            how: Fold::Max,
            limit: Some((1.0, "SLO".into())),
            scale: Scale::Zero(1.25),
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
            how: Fold::Max,
            limit: Some((slo_us as f32, format!("SLO {}", duration_us(slo_us)))),
            scale: Scale::Zero(slo_us as f32 * 1.25),
            ..chart("p99", &history.latency_us_p99, |v| duration_us(v as u64))
        },
        Chart {
            how: Fold::Max,
            scale: Scale::Zero(8.0),
            ..chart("Queue", &history.queue, |v| rate(f64::from(v)))
        },
        chart("Arrivals/s", &history.arrivals, |v| rate(f64::from(v))),
        hit_rate_chart(&history.hit_rate),
    ];
    grid(app, buf, area, &charts);
}

/// The charts of a model's policy: what it is rewarded with, what that is to the model, and how
/// sure it is.
pub fn of_policy(app: &App, buf: &mut Buffer, area: Rect, model: &ModelSnapshot) {
    let all = app.history();
    let Some(history) = all.model(&model.name) else { return };
    let reward = Chart {
        scale: Scale::Fit,
        ..chart("Reward, all models", &all.reward, |v| signed(v.into()))
    };
    let utility = Chart {
        line: Some((&all.utility, "all models")),
        ..chart("Utility", &history.utility, |v| utility(Some(f64::from(v))))
    };
    let temperature = Chart {
        scale: Scale::Fit,
        ..chart("Temperature × 1000", &all.temperature, |v| signed(f64::from(v) * 1e3))
    };
    if model.insight.is_none() {
        let charts = [utility, hit_rate_chart(&history.hit_rate), reward, temperature];
        return grid(app, buf, area, &charts);
    }
    let entropy = Chart {
        scale: Scale::Zero(0.1),
        ..chart("Entropy", &history.entropy, |v| signed(v.into()))
    };
    grid(app, buf, area, &[reward, utility, entropy, temperature]);
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
    let (theme, end_us, length_us) = (app.theme, app.snapshot().uptime_us, app.span_us());
    let dots = usize::from(area.width.saturating_sub(8)) * 2;
    let values = || resample(chart.series, end_us, length_us, dots, chart.how);
    let of_line = || {
        let series =
            chart.line.map(|(series, _)| resample(series, end_us, length_us, dots, chart.how));
        let limit = chart.limit.as_ref().map_or(f32::NAN, |(limit, _)| *limit);
        series.into_iter().flatten().chain(std::iter::repeat_n(limit, dots)).take(dots)
    };
    let range = match chart.scale {
        Scale::Zero(_) => chart.scale.range(values().chain(of_line())),
        Scale::Fit | Scale::Share => chart.scale.range(values()),
    };
    let now = values().last().filter(|v| v.is_finite()).map_or(NONE.into(), chart.label);
    let inner = value_panel(buf, area, theme, chart.title, &now);
    let scale = Rect { width: inner.width.min(6), ..inner };
    let plot = Rect { x: inner.x + scale.width, width: inner.width - scale.width, ..inner };
    Pen::new(buf, scale).right(&(chart.label)(range.end), 5, theme.dim());
    if scale.height > 1 {
        let bottom = if range.start != 0.0 { (chart.label)(range.start) } else { "0".into() };
        Pen::new(buf, row(scale, scale.height - 1)).right(&bottom, 5, theme.dim());
    }
    let edge = match chart.tone {
        Tone::Neutral => theme.curve(),
        tone => theme.tone(tone),
    };
    let style = CurveStyle {
        edge: edge.add_modifier(Modifier::BOLD),
        fill: edge.add_modifier(Modifier::DIM),
        line: theme.tone(Tone::Warning),
    };
    area_curve(buf, plot, values(), of_line(), range, style);
    foot(app, buf, area, chart, theme.dim());
}

/// On the lower edge: the time covered, and what the line is.
fn foot(app: &App, buf: &mut Buffer, area: Rect, chart: &Chart, style: Style) {
    let edge = row(area, area.height - 1);
    let edge = Rect { x: edge.x + 2, width: edge.width.saturating_sub(4), ..edge };
    let span = format!(" last {} ", span_us(app.span_us()));
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
