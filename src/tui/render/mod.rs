//! Draws the application's state. One file per panel; nothing here changes anything.

mod banner;
mod charts;
mod choice;
mod compared;
mod decisions;
mod device;
mod events;
mod graph;
mod header;
mod help;
mod hints;
mod histogram;
mod learning;
mod log;
mod model;
mod models;
mod pen;
mod runs;
mod scheduler;
mod shares;

use crate::telemetry::snapshot::ModelState;
use crate::tui::app::{App, Hits, Page};
use crate::tui::ascii;
use crate::tui::theme::{Theme, Tone};
use pen::{Pen, wrap};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Block, BorderType, Widget};

/// The smallest screen everything fits on.
pub const MIN_WIDTH: u16 = 80;
pub const MIN_HEIGHT: u16 = 24;

/// Draws the whole screen into `buf` and notes what can be clicked.
pub fn frame(app: &App, buf: &mut Buffer, hits: &mut Hits) {
    hits.clear();
    let area = buf.area;
    if area.width < MIN_WIDTH || area.height < MIN_HEIGHT {
        too_small(app, buf, area);
    } else {
        full(app, buf, area, hits);
    }
    if app.theme.ascii {
        ascii::degrade(buf);
    }
}

fn full(app: &App, buf: &mut Buffer, area: Rect, hits: &mut Hits) {
    let mut rest = area;
    header::draw(app, buf, take_top(&mut rest, 1), hits);
    hints::draw(app, buf, take_bottom(&mut rest, 1));
    let banner = banner::lines(app, area.width, area.height);
    banner::draw(app, buf, take_top(&mut rest, banner.len() as u16), &banner);
    match app.page {
        Page::Overview => overview(app, buf, rest, hits),
        Page::Model => model::draw(app, buf, rest),
        Page::Scheduler => scheduler::draw(app, buf, rest, hits),
        Page::Log => log::draw(app, buf, rest),
    }
    if app.help {
        help::draw(app, buf, area);
    }
}

fn overview(app: &App, buf: &mut Buffer, area: Rect, hits: &mut Hits) {
    let mut rest = area;
    // The charts and two events keep their place however many models there are.
    let table = (app.rows().len().min(1_000) as u16 + 4).max(6).min(rest.height.saturating_sub(10));
    models::draw(app, buf, take_top(&mut rest, table), hits);
    let known = app.snapshot().events.len().min(20) as u16;
    let events = (known + 2).clamp(4, (rest.height / 3).max(4));
    events::draw(app, buf, take_bottom(&mut rest, events));
    device::draw(app, buf, take_right(&mut rest, (area.width / 4).clamp(34, 50)));
    charts::overview(app, buf, rest);
}

fn too_small(app: &App, buf: &mut Buffer, area: Rect) {
    let text = format!(
        "bcedge needs {MIN_WIDTH} × {MIN_HEIGHT} characters, this terminal has {} × {}. \
         Make it larger, or press q to quit.",
        area.width, area.height
    );
    let worst = app.findings().first().map(|finding| finding.text.as_str()).unwrap_or_default();
    let lines = wrap(&text, area.width).into_iter().map(|line| (line, app.theme.text()));
    let worst = wrap(worst, area.width).into_iter().map(|l| (l, app.theme.tone(Tone::Bad)));
    for (y, (line, style)) in (0..area.height).zip(lines.chain(worst)) {
        Pen::new(buf, Rect { y, height: 1, ..area }).put(&line, style);
    }
}

/// A frame with a title on its upper edge and an optional note at the right of it; the inside.
fn panel(buf: &mut Buffer, area: Rect, theme: Theme, title: &str, note: &str) -> Rect {
    let mut block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(theme.border())
        .title(Line::styled(format!(" {title} "), theme.title()));
    if !note.is_empty() {
        block = block.title(Line::styled(format!(" {note} "), theme.dim()).right_aligned());
    }
    let inner = block.inner(area);
    block.render(area, buf);
    inner
}

/// A panel whose note is its present value.
fn value_panel(buf: &mut Buffer, area: Rect, theme: Theme, title: &str, value: &str) -> Rect {
    let inner = panel(buf, area, theme, title, "");
    let edge = row(area, 0);
    let edge = Rect { width: edge.width.saturating_sub(1), ..edge };
    let room = edge.width.saturating_sub(pen::columns(title) + 4);
    let value = format!(" {value} ");
    if pen::columns(&value) <= room {
        Pen::new(buf, edge).right(&value, edge.width, theme.heading());
    }
    inner
}

/// The sign and the tone of a model's state.
fn state_sign(state: &ModelState) -> (&'static str, Tone) {
    match state {
        ModelState::Ready => ("●", Tone::Good),
        ModelState::Loading => ("◌", Tone::Warning),
        ModelState::Failed(_) => ("✖", Tone::Bad),
        ModelState::Unloaded => ("○", Tone::Neutral),
    }
}

/// The rows of a list that are in view, so that `selected` is among them.
fn window(total: usize, height: u16, selected: usize) -> std::ops::Range<usize> {
    let height = usize::from(height);
    let first = selected.saturating_sub(height / 2).min(total.saturating_sub(height));
    first..total.min(first + height)
}

fn row(area: Rect, index: u16) -> Rect {
    let y = area.y.saturating_add(index);
    Rect { y, height: u16::from(index < area.height), ..area }
}

fn take_top(area: &mut Rect, height: u16) -> Rect {
    let height = height.min(area.height);
    let taken = Rect { height, ..*area };
    area.y += height;
    area.height -= height;
    taken
}

fn take_bottom(area: &mut Rect, height: u16) -> Rect {
    let height = height.min(area.height);
    area.height -= height;
    Rect { y: area.y + area.height, height, ..*area }
}

fn take_left(area: &mut Rect, width: u16) -> Rect {
    let width = width.min(area.width);
    let taken = Rect { width, ..*area };
    area.x += width;
    area.width -= width;
    taken
}

fn take_right(area: &mut Rect, width: u16) -> Rect {
    let width = width.min(area.width);
    area.width -= width;
    Rect { x: area.x + area.width, width, ..*area }
}

/// Marks a selected row over its whole width; the cursor sign stands there without colour too.
fn mark_selected(buf: &mut Buffer, area: Rect, style: Style) {
    buf.set_style(area, style);
}
