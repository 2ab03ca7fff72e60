//! Horizontal bars: how large the batches were, and how long each batch size is predicted to take.

use crate::telemetry::format::{count, duration_us, share};
use crate::telemetry::snapshot::ModelSnapshot;
use crate::tui::app::App;
use crate::tui::render::graph::bar;
use crate::tui::render::pen::Pen;
use crate::tui::render::{panel, row};
use crate::tui::theme::Tone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// Batches of the window by size. More sizes than rows: the most frequent ones.
pub fn batches(app: &App, buf: &mut Buffer, area: Rect, model: &ModelSnapshot) {
    let theme = app.theme;
    let total: u64 =
        model.batch_distribution.iter().map(|(_, n)| n).fold(0, |a, b| a.saturating_add(*b));
    let items =
        model.batch_distribution.iter().map(|(b, n)| u128::from(*b) * u128::from(*n)).sum::<u128>();
    let mean = items as f64 / total.max(1) as f64;
    let note = if total > 0 { format!("mean {mean:.1}") } else { String::new() };
    let inner = panel(buf, area, theme, "Batch sizes", &note);
    if total == 0 {
        Pen::new(buf, row(inner, 0)).skip(1).put("no batches lately", theme.dim());
        return;
    }
    let mut rows = model.batch_distribution.clone();
    rows.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    rows.truncate(inner.height.into());
    rows.sort_unstable();
    let most = rows.iter().map(|(_, n)| *n).max().unwrap_or(1).max(1);
    for (i, (size, n)) in (0..).zip(rows) {
        let mut pen = Pen::new(buf, row(inner, i));
        pen.right(&size.to_string(), 4, theme.text()).skip(1);
        let width = pen.left().saturating_sub(16);
        bar(&mut pen, n as f64 / most as f64, width, theme.curve());
        pen.right(&share(Some(n as f64 / total as f64)), 6, theme.text());
        let width = pen.left().saturating_sub(1);
        pen.right(&count(n), width, theme.dim());
    }
}

/// Predicted execution time of each batch size against the SLO.
pub fn predicted(app: &App, buf: &mut Buffer, area: Rect, model: &ModelSnapshot) {
    let theme = app.theme;
    let inner = panel(buf, area, theme, "Predicted run", "time, per item");
    if model.predicted_us.is_empty() {
        Pen::new(buf, row(inner, 0)).skip(1).put("not measured yet", theme.dim());
        return;
    }
    let longest = model.predicted_us.iter().map(|(_, us)| *us).max().unwrap_or(1);
    let top = longest.max(model.slo_us).max(1) as f64;
    for (i, (size, us)) in (0..inner.height).zip(&model.predicted_us) {
        let over = *us > model.slo_us;
        let chosen = *size == model.batch;
        let style = if over { theme.tone(Tone::Bad) } else { theme.curve() };
        let mut pen = Pen::new(buf, row(inner, i));
        pen.put(if chosen { "▸" } else { " " }, theme.heading());
        pen.right(&size.to_string(), 3, if chosen { theme.heading() } else { theme.text() })
            .skip(1);
        let width = pen.left().saturating_sub(16);
        bar(&mut pen, *us as f64 / top, width, style);
        pen.right(if over { "!" } else { "" }, 2, style);
        pen.right(&duration_us(*us), 6, if over { style } else { theme.text() });
        pen.right(&duration_us(us / u64::from((*size).max(1))), 7, theme.dim());
    }
}
