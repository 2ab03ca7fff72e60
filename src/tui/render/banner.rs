//! The lines under the header that say in words what is wrong, worst first.

use crate::tui::app::{App, STALE_TICKS, TICK_MS};
use crate::tui::diagnose::{Severity, all_well};
use crate::tui::render::pen::{Pen, columns, wrap};
use crate::tui::render::row;
use crate::tui::theme::Tone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// One line of the banner.
pub struct BannerLine {
    tone: Tone,
    /// Empty where a text goes on.
    sign: &'static str,
    text: String,
    /// Messages that found no room, told at the end of the last line.
    more: usize,
}

/// Columns before the text: a gap, the sign, a gap.
const LEAD: u16 = 3;

/// The banner for a screen of this size: one line at least, more the taller the screen is. The
/// worst message may take two lines, unless the others would be lost by that.
pub fn lines(app: &App, width: u16, height: u16) -> Vec<BannerLine> {
    let most = if height < 30 { 2 } else { usize::from(height / 10).min(6) };
    let messages = messages(app);
    let lines_of_first = if messages.len() == 1 || most > 2 { 2 } else { 1 };
    let room = width.saturating_sub(LEAD + 1);
    let mut lines: Vec<BannerLine> = Vec::new();
    let mut shown = 0;
    for (tone, text) in &messages {
        let lines_of_this = if shown == 0 { lines_of_first } else { 1 };
        if lines.len() + lines_of_this > most.max(1) {
            break;
        }
        shown += 1;
        let wrapped = fold(text, room, lines_of_this);
        lines.extend(wrapped.into_iter().enumerate().map(|(i, text)| {
            let sign = if i == 0 { sign(*tone) } else { "" };
            BannerLine { tone: *tone, sign, text, more: 0 }
        }));
    }
    if let Some(last) = lines.last_mut() {
        last.more = messages.len() - shown;
    }
    lines
}

/// At most `most` lines; what is too much is cut off when it is drawn.
fn fold(text: &str, width: u16, most: usize) -> Vec<String> {
    let mut lines = wrap(text, width);
    if lines.len() > most {
        let rest = lines.split_off(most - 1).join(" ");
        lines.push(rest);
    }
    lines
}

fn messages(app: &App) -> Vec<(Tone, String)> {
    let mut messages = Vec::new();
    if let Some(problem) = &app.problem {
        messages.push((Tone::Bad, problem.clone()));
    } else if app.waiting() {
        return vec![(Tone::Warning, "waiting for the appliance's first snapshot".into())];
    } else if app.stale_ticks >= STALE_TICKS {
        let s = u64::from(app.stale_ticks) * TICK_MS / 1_000;
        messages.push((Tone::Bad, format!("no new data for {s} s: the appliance does not answer")));
    }
    for finding in app.findings() {
        let tone = match finding.severity {
            Severity::Info => Tone::Neutral,
            Severity::Warning => Tone::Warning,
            Severity::Critical => Tone::Bad,
        };
        messages.push((tone, finding.text.clone()));
    }
    if messages.is_empty() {
        messages.push((Tone::Good, all_well(app.snapshot())));
    }
    messages
}

fn sign(tone: Tone) -> &'static str {
    match tone {
        Tone::Neutral => "·",
        Tone::Good => "✔",
        Tone::Warning => "▲",
        Tone::Bad => "✖",
    }
}

pub fn draw(app: &App, buf: &mut Buffer, area: Rect, lines: &[BannerLine]) {
    for (i, line) in (0..area.height).zip(lines) {
        let style = app.theme.tone(line.tone);
        let mut pen = Pen::new(buf, row(area, i));
        pen.skip(1).fit(line.sign, LEAD - 1, style);
        let more = match line.more {
            0 => String::new(),
            n => format!(" (+{n} more)"),
        };
        let width = pen.left().saturating_sub(columns(&more) + 1);
        pen.fit(&line.text, width, style).put(&more, style);
    }
}
