//! The last line: what the keys do here, and what just happened.

use crate::tui::app::{App, in_words};
use crate::tui::diagnose::Severity;
use crate::tui::keys;
use crate::tui::render::pen::{Pen, columns};
use crate::tui::theme::Tone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// Room that a message leaves to the hints.
const KEPT_FOR_HINTS: u16 = 18;

pub fn draw(app: &App, buf: &mut Buffer, area: Rect) {
    let theme = app.theme;
    let mut pen = Pen::new(buf, area);
    pen.skip(1);
    if let Some(command) = &app.confirm {
        let question = format!(" {}? y: yes, any other key: no ", in_words(command));
        let width = pen.left();
        pen.fit(&question, width, theme.badge(Tone::Warning));
        return;
    }
    if let Some(notice) = &app.notice {
        let (tone, text) = (tone(notice.severity), format!(" {} ", notice.text));
        let width = columns(&text).min(pen.left().saturating_sub(KEPT_FOR_HINTS));
        pen.fit(&text, width, theme.badge(tone)).skip(2);
    }
    for (key, meaning) in keys::hints(app.page) {
        let width = columns(key) + 1 + columns(meaning);
        if width > pen.left() {
            break;
        }
        pen.put(key, theme.key()).skip(1).put(meaning, theme.dim()).skip(2);
    }
}

fn tone(severity: Severity) -> Tone {
    match severity {
        Severity::Info => Tone::Good,
        Severity::Warning => Tone::Warning,
        Severity::Critical => Tone::Bad,
    }
}
