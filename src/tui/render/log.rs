//! The log page.

use crate::telemetry::snapshot::Level;
use crate::tui::app::App;
use crate::tui::render::events::line;
use crate::tui::render::pen::Pen;
use crate::tui::render::{panel, row};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

pub fn draw(app: &App, buf: &mut Buffer, area: Rect) {
    let log = &app.snapshot().log;
    let total = app.log.lines(log).count();
    let height = usize::from(area.height.saturating_sub(2));
    let below = app.log.below(total, height);
    let filter = match app.log.level {
        Level::Debug => "all levels",
        Level::Info => "info and worse",
        Level::Warn => "warnings and errors",
        Level::Error => "errors only",
    };
    let place = if app.log.following() {
        "newest at the bottom".into()
    } else {
        format!("{below} newer lines below, G goes there")
    };
    let note = format!("{filter} · {total} of {} lines · {place} · UTC", log.len());
    let inner = panel(buf, area, app.theme, "Log", &note);
    let in_view = app.log.lines(log).rev().skip(below).take(height);
    let shown = total.saturating_sub(below).min(height) as u16;
    for (i, event) in in_view.enumerate() {
        let y = shown.saturating_sub(1 + i as u16);
        line(buf, row(inner, y), app.theme, event, app.log.sideways);
    }
    if total == 0 {
        Pen::new(buf, row(inner, 0)).skip(1).put("no lines of this level", app.theme.dim());
    }
}
