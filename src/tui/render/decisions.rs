//! A model's last decisions with their reasons, newest first.

use crate::telemetry::format::age_us;
use crate::telemetry::snapshot::ModelSnapshot;
use crate::tui::app::App;
use crate::tui::render::pen::Pen;
use crate::tui::render::{panel, row};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

pub fn draw(app: &App, buf: &mut Buffer, area: Rect, model: &ModelSnapshot) {
    let theme = app.theme;
    let title = format!("Last decisions: {}", model.name);
    let inner = panel(buf, area, theme, &title, "newest first");
    if model.decisions.is_empty() {
        Pen::new(buf, row(inner, 0)).skip(1).put("none yet", theme.dim());
    }
    let now_us = app.snapshot().uptime_us;
    for (i, decision) in (0..inner.height).zip(model.decisions.iter().rev()) {
        let mut pen = Pen::new(buf, row(inner, i));
        let age = format!("{} ago", age_us(now_us.saturating_sub(decision.uptime_us)));
        pen.right(&age, 11, theme.dim()).skip(2);
        pen.right(&format!("{}×{}", decision.batch, decision.instances), 6, theme.heading());
        pen.skip(2).fit(&decision.policy, 9, theme.text()).skip(1);
        let width = pen.left();
        pen.fit(&decision.reason, width, theme.text());
    }
}
