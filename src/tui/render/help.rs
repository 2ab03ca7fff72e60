//! The help overlay: every key, and what the signs mean.

use crate::tui::app::App;
use crate::tui::keys::HELP;
use crate::tui::render::pen::Pen;
use crate::tui::render::{panel, row};
use crate::tui::theme::Tone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Clear, Widget};

const WIDTH: u16 = 80;
const KEYS_WIDTH: u16 = 15;

pub fn draw(app: &App, buf: &mut Buffer, screen: Rect) {
    let theme = app.theme;
    let left_rows = HELP[0].1.len() as u16 + 1;
    let right_rows = (HELP[1].1.len() + HELP[2].1.len()) as u16 + 3;
    let height = left_rows.max(right_rows) + 6;
    let area = Rect {
        x: screen.x + screen.width.saturating_sub(WIDTH) / 2,
        y: screen.y + screen.height.saturating_sub(height) / 2,
        width: WIDTH.min(screen.width),
        height: height.min(screen.height),
    };
    Clear.render(area, buf);
    let inner = panel(buf, area, theme, "Keys", "any key closes");
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let half = inner.width / 2;
    let left = Rect { width: half, ..inner };
    let right = Rect { x: inner.x + half, width: inner.width - half, ..inner };
    let next = group(app, buf, left, 0, 0);
    let below = group(app, buf, right, 1, 0);
    let next = next.max(group(app, buf, right, 2, below + 1));
    legend(app, buf, inner, next + 1);
}

fn group(app: &App, buf: &mut Buffer, area: Rect, index: usize, first: u16) -> u16 {
    let (title, keys) = HELP[index];
    Pen::new(buf, row(area, first)).put(title, app.theme.heading());
    let mut next = first + 1;
    for (key, meaning) in keys {
        Pen::new(buf, row(area, next))
            .fit(key, KEYS_WIDTH, app.theme.key())
            .put(meaning, app.theme.text());
        next += 1;
    }
    next
}

fn legend(app: &App, buf: &mut Buffer, area: Rect, first: u16) {
    let theme = app.theme;
    let mut pen = Pen::new(buf, row(area, first));
    let signs = [
        ("●", Tone::Good, "ready"),
        ("◌", Tone::Warning, "loading"),
        ("✖", Tone::Bad, "failed, SLO broken"),
        ("▲", Tone::Warning, "warning"),
        ("○", Tone::Neutral, "unloaded"),
    ];
    for (sign, tone, meaning) in signs {
        pen.put(sign, theme.tone(tone)).skip(1).put(meaning, theme.dim()).skip(2);
    }
    Pen::new(buf, row(area, first + 1))
        .put("4×2M", theme.manual())
        .put(" batch 4, 2 instances, M: held by hand", theme.dim())
        .put("   !", theme.tone(Tone::Bad))
        .put(" beyond its bound", theme.dim());
}
