//! The lines under the header that say in words what is wrong, worst first.

use crate::tui::app::{App, STALE_TICKS, TICK_MS};
use crate::tui::diagnose::{Severity, all_well};
use crate::tui::render::pen::{Pen, wrap};
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
}

/// The banner for a screen of this size: one line at least, more the taller the screen is.
pub fn lines(app: &App, width: u16, height: u16) -> Vec<BannerLine> {
    let most = if height < 30 { 3 } else { (height / 10).min(6) } as usize;
    let mut lines: Vec<BannerLine> = Vec::new();
    let messages = messages(app);
    let mut left_out = 0;
    for (tone, text) in &messages {
        let wrapped = wrap(text, width.saturating_sub(4).max(8));
        if lines.len() >= most {
            left_out += 1;
            continue;
        }
        for (i, text) in wrapped.into_iter().take(most - lines.len()).enumerate() {
            let sign = if i == 0 { sign(*tone) } else { "" };
            lines.push(BannerLine { tone: *tone, sign, text });
        }
    }
    if left_out > 0
        && let Some(last) = lines.last_mut()
    {
        let more = format!("  (+{left_out} more)");
        let room = usize::from(width).saturating_sub(4 + more.len());
        last.text = last.text.chars().take(room).collect::<String>() + &more;
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
        pen.skip(1).fit(line.sign, 2, style);
        let width = pen.left();
        pen.fit(&line.text, width, style);
    }
}
