//! The first line: what this is, how it is, and the pages.

use crate::telemetry::format::{count, duration_us};
use crate::telemetry::snapshot::ApplianceState;
use crate::tui::app::{App, Hits, Page, Target};
use crate::tui::render::pen::Pen;
use crate::tui::theme::Tone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

/// Width of all tabs: ` 1 Overview ` and so on.
const TABS_WIDTH: u16 = 12 + 9 + 13 + 7;

pub fn draw(app: &App, buf: &mut Buffer, area: Rect, hits: &mut Hits) {
    let theme = app.theme;
    let snapshot = app.snapshot();
    let left = Rect { width: area.width.saturating_sub(TABS_WIDTH), ..area };
    let mut pen = Pen::new(buf, left);
    pen.put(" bcedge ", theme.title());
    let (sign, text, tone) = match snapshot.state {
        _ if app.problem.is_some() => ("✖", "NO DATA", Tone::Bad),
        ApplianceState::Starting => ("◐", "STARTING", Tone::Warning),
        ApplianceState::Serving => ("●", "SERVING", Tone::Good),
        ApplianceState::Draining => ("◑", "DRAINING", Tone::Warning),
    };
    if app.frozen() {
        pen.put(" FROZEN ", theme.badge(Tone::Warning)).skip(1);
    }
    pen.put(sign, theme.tone(tone)).skip(1).put(text, theme.tone(tone)).skip(2);
    if area.width >= 100 {
        pen.put("up ", theme.dim());
    }
    pen.put(&duration_us(snapshot.uptime_us), theme.text()).skip(2);
    if pen.left() >= 10 {
        pen.put(&count(snapshot.connections.into()), theme.text()).put(" clients", theme.dim());
        pen.skip(2);
    }
    if !snapshot.version.is_empty() && pen.left() >= 10 {
        pen.put("v", theme.dim()).put(&snapshot.version, theme.dim());
    }
    tabs(app, buf, Rect { x: left.right(), width: area.width - left.width, ..area }, hits);
}

fn tabs(app: &App, buf: &mut Buffer, area: Rect, hits: &mut Hits) {
    let theme = app.theme;
    let mut pen = Pen::new(buf, area);
    for (page, digit) in Page::ALL.into_iter().zip(["1", "2", "3", "4"]) {
        let from = pen.x();
        if page == app.page {
            let label = format!(" {digit} {} ", page.title());
            pen.put(&label, theme.title().add_modifier(Modifier::REVERSED));
        } else {
            pen.skip(1).put(digit, theme.key()).skip(1).put(page.title(), theme.dim()).skip(1);
        }
        hits.push((Rect { x: from, width: pen.x() - from, ..area }, Target::Page(page)));
    }
}
