//! The scheduler page: per model the policy, its present choice and why.

use crate::telemetry::format::{self, age_us, duration_us};
use crate::telemetry::snapshot::{ModelSnapshot, ModelState};
use crate::tui::app::{App, Hits, Target};
use crate::tui::render::decisions;
use crate::tui::render::pen::{self, Pen};
use crate::tui::render::{mark_selected, panel, row, state_sign, take_top, window};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

pub fn draw(app: &App, buf: &mut Buffer, area: Rect, hits: &mut Hits) {
    let mut rest = area;
    let total = app.rows().len().min(1_000) as u16;
    let height = (total + 3).max(5).min(area.height.saturating_sub(6));
    table(app, buf, take_top(&mut rest, height), hits);
    match app.selected() {
        Some(model) => decisions::draw(app, buf, rest, model),
        None => drop(panel(buf, rest, app.theme, "Last decisions", "")),
    }
}

fn table(app: &App, buf: &mut Buffer, area: Rect, hits: &mut Hits) {
    let theme = app.theme;
    let inner = panel(buf, area, theme, "Scheduler", "batch and instances: now / most");
    let longest = app.rows().map(|m| pen::columns(&m.name)).max().unwrap_or(0);
    let name_width = longest.clamp(12, (inner.width / 4).max(17));
    let mut pen = Pen::new(buf, row(inner, 0));
    let bold = theme.heading();
    pen.skip(3).fit("MODEL", name_width + 1, bold).fit("POLICY", 9, bold);
    pen.right("BATCH", 7, bold).right("INST", 6, bold).right("BUSY", 6, bold);
    pen.right("RUN", 8, bold).skip(2).put("LAST CHANGE", bold);
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
    pen.fit(&model.policy, 8, theme.text()).skip(1);
    if model.state != ModelState::Ready {
        let text = match model.state {
            ModelState::Loading => "loading",
            ModelState::Unloaded => "unloaded",
            _ => "FAILED, see page 2",
        };
        pen.skip(2).put(text, theme.tone(tone));
        return;
    }
    let choice = if model.overridden { theme.manual() } else { theme.text() };
    pen.right(&format!("{}/{}", model.batch, model.max_batch), 7, choice);
    pen.right(&format!("{}/{}", model.instances, model.max_instances), 6, choice);
    pen.right(&format!("{}/{}", model.instances_running, model.instances_alive), 6, theme.text());
    let predicted = model.predicted_us.iter().find(|(b, _)| *b >= model.batch);
    let run = predicted.map_or(format::NONE.into(), |(_, us)| duration_us(*us));
    pen.right(&run, 8, theme.text()).skip(2);
    if model.overridden {
        pen.put("MANUAL", theme.manual()).skip(1);
    }
    if let Some(last) = model.decisions.last() {
        let age = age_us(app.snapshot().uptime_us.saturating_sub(last.uptime_us));
        let text = format!("{age} ago: {}", last.reason);
        let width = pen.left();
        pen.fit(&text, width, theme.dim());
    }
}
