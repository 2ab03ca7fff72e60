//! The scheduler page: what each model's policy chooses, how sure it is, what it was not allowed to
//! choose and why, what came of it, and how learning goes.

use crate::telemetry::SLOW_DRIFT;
use crate::telemetry::format::{NONE, age_us, duration_us, percent, times};
use crate::telemetry::snapshot::{ModelSnapshot, ModelState};
use crate::tui::app::{App, Hits, Target};
use crate::tui::render::pen::{self, Pen};
use crate::tui::render::{
    charts, choice, compared, decisions, events, learning, mark_selected, panel, row, runs,
    state_sign, take_bottom, take_left, take_right, take_top, window,
};
use crate::tui::theme::Tone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// From this height below the table on, there are curves and lists.
const TALL: u16 = 22;
/// Least height of the choice and what stands beside it.
const CHOICE_HEIGHT: u16 = 12;
/// From this width on there is room for run times beside the choice, and for more columns.
const WIDE: u16 = 116;
const POLICY_WIDTH: u16 = 10;

pub fn draw(app: &App, buf: &mut Buffer, area: Rect, hits: &mut Hits) {
    let mut rest = area;
    let total = app.rows().len().min(1_000) as u16;
    let most = area.height.saturating_sub(CHOICE_HEIGHT).min(area.height / 2);
    table(app, buf, take_top(&mut rest, (total + 3).clamp(5, most.max(5))), hits);
    let Some(model) = app.selected() else {
        panel(buf, rest, app.theme, "Choice", "");
        return;
    };
    if rest.height < TALL {
        choice_and_learning(app, buf, rest, model);
        return;
    }
    let height = (rest.height * 2 / 5).clamp(14, 18);
    choice_and_learning(app, buf, take_top(&mut rest, height), model);
    let height = if rest.height < 12 { rest.height } else { rest.height * 3 / 5 };
    charts::of_policy(app, buf, take_top(&mut rest, height), model);
    if rest.height > 0 {
        lists(app, buf, rest, model);
    }
}

fn choice_and_learning(app: &App, buf: &mut Buffer, area: Rect, model: &ModelSnapshot) {
    let mut rest = area;
    let left = take_left(&mut rest, choice::width(area.width));
    match &model.insight {
        Some(insight) => choice::draw(app, buf, left, model, insight),
        None => decisions::draw(app, buf, left, model),
    }
    if area.width >= WIDE {
        let width = (rest.width * 9 / 20).max(35);
        runs::draw(app, buf, take_left(&mut rest, width), model);
    }
    learning::draw(app, buf, take_top(&mut rest, 8), model);
    compared::draw(app, buf, rest, model);
}

/// What has happened. Under a rule the decisions stand in the choice's place.
fn lists(app: &App, buf: &mut Buffer, area: Rect, model: &ModelSnapshot) {
    let mut rest = area;
    if area.width < WIDE {
        runs::draw(app, buf, take_left(&mut rest, area.width / 2), model);
    }
    if model.insight.is_none() {
        events::draw(app, buf, rest);
        return;
    }
    if area.width >= WIDE {
        events::draw(app, buf, take_right(&mut rest, area.width / 2));
    } else if rest.height >= 12 {
        let height = rest.height / 2;
        events::draw(app, buf, take_bottom(&mut rest, height));
    }
    decisions::draw(app, buf, rest, model);
}

fn table(app: &App, buf: &mut Buffer, area: Rect, hits: &mut Hits) {
    let theme = app.theme;
    let inner = panel(buf, area, theme, "Scheduler", "batch and instances: now / most");
    let longest = app.rows().map(|m| pen::columns(&m.name)).max().unwrap_or(0);
    let name_width = longest.clamp(12, (inner.width / 4).max(17));
    let mut pen = Pen::new(buf, row(inner, 0));
    let bold = theme.heading();
    pen.skip(3).fit("MODEL", name_width + 1, bold).fit("POLICY", POLICY_WIDTH, bold);
    pen.right("BATCH", 6, bold).right("INST", 6, bold).skip(1).right("PROB", 5, bold);
    pen.right("PRED", 8, bold).right("MEAS", 8, bold).right("DRIFT", 8, bold);
    if inner.width >= WIDE {
        pen.right("BUSY", 7, bold).skip(2).put("LAST CHANGE", bold);
    }
    let in_view = window(app.rows().len(), inner.height.saturating_sub(1), app.selected_row());
    for (i, model) in app.rows().enumerate().skip(in_view.start).take(in_view.len()) {
        let line = row(inner, 1 + (i - in_view.start) as u16);
        let selected = i == app.selected_row();
        draw_model(app, buf, line, name_width, model, selected);
        if selected {
            mark_selected(buf, Rect { width: 3 + name_width, ..line }, theme.selected());
        }
        hits.push((line, Target::Model(model.name.clone())));
    }
    if app.rows().len() == 0 {
        Pen::new(buf, row(inner, 1)).skip(3).put("no models yet", theme.dim());
    }
}

fn draw_model(
    app: &App,
    buf: &mut Buffer,
    line: Rect,
    name_width: u16,
    model: &ModelSnapshot,
    selected: bool,
) {
    let theme = app.theme;
    let mut pen = Pen::new(buf, line);
    let (sign, tone) = state_sign(&model.state);
    pen.fit(if selected { "▸" } else { "" }, 1, theme.heading());
    pen.put(sign, theme.tone(tone)).skip(1);
    pen.fit(&model.name, name_width, theme.text()).skip(1);
    pen.fit(&model.policy, POLICY_WIDTH - 1, theme.text()).skip(1);
    if model.state != ModelState::Ready {
        let text = match model.state {
            ModelState::Loading => "loading",
            ModelState::Unloaded => "unloaded",
            _ => "FAILED, see page 2",
        };
        pen.skip(2).put(text, theme.tone(tone));
        return;
    }
    let held = if model.overridden { theme.manual() } else { theme.text() };
    pen.right(&format!("{}/{}", model.batch, model.max_batch), 6, held);
    pen.right(&format!("{}/{}", model.instances, model.max_instances), 6, held);
    pen.fit(if model.overridden { "M" } else { "" }, 1, held);
    pen.right(&choice::probability(model).map_or(NONE.into(), percent), 5, theme.text());
    let (predicted, measured) = match runs::overall(model) {
        Some((predicted, measured)) => (duration_us(predicted), duration_us(measured)),
        None => (NONE.into(), NONE.into()),
    };
    pen.right(&predicted, 8, theme.text()).right(&measured, 8, theme.text());
    drift(app, &mut pen, model, 8);
    if line.width < WIDE {
        return;
    }
    pen.right(&format!("{}/{}", model.instances_running, model.instances_alive), 7, theme.text());
    pen.skip(2);
    if let Some(last) = model.decisions.last() {
        let age = age_us(app.snapshot().uptime_us.saturating_sub(last.uptime_us));
        let text = format!("{age} ago: {}", last.reason);
        let width = pen.left();
        pen.fit(&text, width, theme.dim());
    }
}

/// Measured over profiled execution time; a sign stands before one that is worth a warning.
fn drift(app: &App, pen: &mut Pen, model: &ModelSnapshot, width: u16) {
    let theme = app.theme;
    // It is never 0 where it is known.
    let known = Some(model.drift).filter(|drift| *drift > 0.0 && drift.is_finite());
    let slow = known.is_some_and(|drift| drift >= SLOW_DRIFT);
    let text = match known {
        Some(drift) if slow => format!("▲{}", times(drift)),
        Some(drift) => times(drift),
        None => NONE.into(),
    };
    pen.right(&text, width, theme.tone(if slow { Tone::Warning } else { Tone::Neutral }));
}
