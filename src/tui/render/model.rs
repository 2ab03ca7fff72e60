//! The page of one model.

use crate::telemetry::format::{self, count, duration_us, rate, share, utility};
use crate::telemetry::snapshot::{ModelSnapshot, ModelState};
use crate::tui::app::App;
use crate::tui::render::pen::{Pen, wrap};
use crate::tui::render::{
    charts, decisions, histogram, panel, row, shares, state_sign, take_bottom, take_right, take_top,
};
use crate::tui::theme::Tone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// From this height on there is room for curves over time.
const CHARTS_FROM: u16 = 30;

pub fn draw(app: &App, buf: &mut Buffer, area: Rect) {
    let Some(model) = app.selected() else {
        let inner = panel(buf, area, app.theme, "Model", "");
        Pen::new(buf, row(inner, 0)).skip(1).put("no models yet", app.theme.dim());
        return;
    };
    let mut rest = area;
    summary(app, buf, take_top(&mut rest, 7), model);
    if let ModelState::Failed(reason) = &model.state {
        failure(app, buf, rest, reason);
        return;
    }
    if rest.height >= CHARTS_FROM - 7 {
        let height = rest.height / 2;
        charts::of_model(app, buf, take_bottom(&mut rest, height), &model.name, model.slo_us);
    }
    if rest.width >= 150 {
        let width = rest.width / 4;
        decisions::draw(app, buf, take_right(&mut rest, width), model);
    }
    let width = (rest.width * 2 / 5).clamp(32, 60);
    let mut right = take_right(&mut rest, width);
    let height = right.height / 2;
    shares::batches(app, buf, take_top(&mut right, height), model);
    shares::predicted(app, buf, right, model);
    histogram::draw(app, buf, rest, model);
}

fn failure(app: &App, buf: &mut Buffer, area: Rect, reason: &str) {
    let inner = panel(buf, area, app.theme, "Why it is not serving", "L loads it again");
    let lines = wrap(reason, inner.width.saturating_sub(2));
    for (i, line) in (0..inner.height).zip(lines) {
        Pen::new(buf, row(inner, i)).skip(1).put(&line, app.theme.tone(Tone::Bad));
    }
}

fn summary(app: &App, buf: &mut Buffer, area: Rect, model: &ModelSnapshot) {
    let theme = app.theme;
    let place = format!("{} of {} · ↑↓ changes", app.selected_row() + 1, app.rows().len());
    let inner = panel(buf, area, theme, &model.name, &place);
    state(app, &mut Pen::new(buf, row(inner, 0)), model);
    traffic(app, &mut Pen::new(buf, row(inner, 1)), model);
    latency(app, &mut Pen::new(buf, row(inner, 2)), model);
    time_split(app, &mut Pen::new(buf, row(inner, 3)), model);
    counters(app, &mut Pen::new(buf, row(inner, 4)), model);
}

fn state(app: &App, pen: &mut Pen, model: &ModelSnapshot) {
    let theme = app.theme;
    let (sign, tone) = state_sign(&model.state);
    let text = match model.state {
        ModelState::Ready => "READY",
        ModelState::Loading => "LOADING",
        ModelState::Failed(_) => "FAILED",
        ModelState::Unloaded => "UNLOADED",
    };
    pen.skip(1).put(sign, theme.tone(tone)).skip(1).put(text, theme.tone(tone)).skip(2);
    if model.overridden {
        pen.put("MANUAL", theme.manual()).skip(2);
    }
    let label = theme.dim();
    pen.pair("policy", label, &model.policy, theme.text());
    let choice = if model.overridden { theme.manual() } else { theme.text() };
    pen.pair("batch", label, &format!("{}/{}", model.batch, model.max_batch), choice);
    let instances = format!("{}/{}", model.instances, model.max_instances);
    pen.pair("instances", label, &instances, choice);
    let busy = format!("{}/{}", model.instances_running, model.instances_alive);
    pen.pair("busy", label, &busy, theme.text());
    if !model.platform.is_empty() {
        pen.pair("engine", label, &model.platform, theme.text());
    }
}

fn traffic(app: &App, pen: &mut Pen, model: &ModelSnapshot) {
    let (theme, label) = (app.theme, app.theme.dim());
    pen.skip(1);
    pen.pair("arr/s", label, &rate(model.arrivals_per_s), theme.text());
    pen.pair("good/s", label, &rate(model.goodput_per_s), theme.text());
    let hit = theme.tone(Tone::of_hit_rate(model.slo_hit_rate));
    pen.pair("in SLO", label, &share(model.slo_hit_rate), hit);
    pen.pair("utility", label, &utility(model.utility), theme.text());
    let queue = format!("{}/{}", model.queue_depth, model.queue_bound);
    pen.pair("queue", label, &queue, theme.text());
    if model.queue_depth > 0 {
        pen.pair("oldest", label, &duration_us(model.queue_oldest_us), theme.text());
    }
}

fn latency(app: &App, pen: &mut Pen, model: &ModelSnapshot) {
    let (theme, label) = (app.theme, app.theme.dim());
    let latency = &model.latency_us;
    pen.skip(1);
    let points = [
        ("p50", latency.p50),
        ("p90", latency.p90),
        ("p99", latency.p99),
        ("p99.9", latency.p999),
        ("max", latency.max),
    ];
    for (name, us) in points {
        let (text, tone) = if latency.count > 0 {
            (duration_us(us), Tone::of_latency(us, model.slo_us))
        } else {
            (format::NONE.into(), Tone::Neutral)
        };
        let text = if tone == Tone::Bad { format!("{text}!") } else { text };
        let style = if tone == Tone::Good { theme.text() } else { theme.tone(tone) };
        pen.pair(name, label, &text, style);
    }
    pen.pair("SLO", label, &duration_us(model.slo_us), theme.heading());
}

/// One bar as long as the SLO (or the mean latency, if that is longer): waiting, then computing.
fn time_split(app: &App, pen: &mut Pen, model: &ModelSnapshot) {
    let (theme, label) = (app.theme, app.theme.dim());
    pen.skip(1);
    let known = |us: f64| if us.is_finite() { us.max(0.0) } else { 0.0 };
    let (queue_us, compute_us) = (known(model.queue_us_mean), known(model.compute_us_mean));
    let total_us = queue_us + compute_us;
    if model.latency_us.count == 0 || total_us <= 0.0 {
        pen.put("queue and compute: no requests answered lately", label);
        return;
    }
    let waiting = theme.tone(Tone::Warning);
    pen.put("queue ", label).put(&duration_us(queue_us as u64), waiting).skip(1);
    let room = pen.left().saturating_sub(34);
    let slo_us = model.slo_us as f64;
    let scale = f64::from(room) / total_us.max(slo_us).max(1.0);
    let queue_width = (queue_us * scale).round() as u16;
    let compute_width = ((total_us * scale).round() as u16).saturating_sub(queue_width);
    pen.repeat('▒', queue_width, waiting).repeat('█', compute_width, theme.curve());
    pen.repeat('·', room.saturating_sub(queue_width + compute_width), label);
    pen.skip(1).put(&duration_us(compute_us as u64), theme.curve()).put(" compute", label);
    if slo_us > 0.0 {
        let part = format::percent(total_us / slo_us * 100.0);
        pen.put(&format!(" = {part} of SLO"), label);
    }
}

fn counters(app: &App, pen: &mut Pen, model: &ModelSnapshot) {
    let (theme, label) = (app.theme, app.theme.dim());
    let c = &model.counters;
    pen.skip(1);
    let roomy = pen.left() >= 110;
    let number = |n: u64| if roomy { count(n) } else { format::short_count(n) };
    for (name, n) in [("received", c.received), ("ok", c.ok), ("in SLO", c.slo_met)] {
        pen.pair(name, label, &number(n), theme.text());
    }
    let bad = [
        ("rejected", c.rejected),
        ("expired", c.expired),
        ("failed", c.failed),
        ("replaced", c.replaced),
    ];
    for (name, n) in bad {
        let style = if n > 0 { theme.tone(Tone::Warning) } else { theme.text() };
        pen.pair(name, label, &number(n), style);
    }
    for (name, n) in [("cancelled", c.cancelled), ("batches", c.executions), ("items", c.items)] {
        pen.pair(name, label, &number(n), theme.text());
    }
}
