//! The newest events, and how one line of log looks.

use crate::telemetry::format::time_of_day;
use crate::telemetry::snapshot::Event;
use crate::tui::app::App;
use crate::tui::render::pen::Pen;
use crate::tui::render::{panel, row};
use crate::tui::theme::{Theme, level_name};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// Newest first: the eye starts at the top.
pub fn draw(app: &App, buf: &mut Buffer, area: Rect) {
    let inner = panel(buf, area, app.theme, "Events", "newest first · UTC");
    let events = &app.snapshot().events;
    for (i, event) in (0..inner.height).zip(events.iter().rev()) {
        line(buf, row(inner, i), app.theme, event, 0);
    }
    if events.is_empty() {
        Pen::new(buf, row(inner, 0)).skip(1).put("nothing has happened yet", app.theme.dim());
    }
}

/// `12:34:56 WARN model: text`, the text moved `sideways` columns to the left.
pub fn line(buf: &mut Buffer, area: Rect, theme: Theme, event: &Event, sideways: u16) {
    let style = theme.level(event.level);
    let mut pen = Pen::new(buf, area);
    pen.skip(1).put(&time_of_day(event.unix_ms), theme.dim()).skip(1);
    pen.put(level_name(event.level), style).skip(1);
    let mut text = match &event.model {
        Some(model) => format!("{model}: "),
        None => String::new(),
    };
    text.push_str(event.text.trim_end());
    let text: String = text.chars().skip(sideways.into()).map(visible).collect();
    let width = pen.left();
    pen.fit(&text, width, style);
}

/// A line break inside a text must not glue two words together.
fn visible(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}
