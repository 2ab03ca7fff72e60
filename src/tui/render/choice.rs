//! What a trained policy chooses between for one model: a map of probabilities over batch sizes and
//! instances, with what is in force, what is masked, and in words why.

use crate::telemetry::format::{NONE, duration_us, signed};
use crate::telemetry::snapshot::{InsightSnapshot, Mask, ModelSnapshot};
use crate::tui::app::App;
use crate::tui::render::pen::{Pen, wrap};
use crate::tui::render::{panel, row};
use crate::tui::theme::Theme;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

const LABEL_WIDTH: u16 = 5;
/// The sign of the choice, a shade and three digits.
const LEAST_CELL: u16 = 5;
const WIDEST_CELL: u16 = 8;
/// Columns of the map: one for each batch size of [`crate::scheduler::actions`].
const SIZES: u16 = 8;

/// Columns the panel takes of a page so wide.
pub fn width(page: u16) -> u16 {
    let cell = (page * 2 / 5).saturating_sub(LABEL_WIDTH + 2) / SIZES;
    LABEL_WIDTH + 2 + SIZES * cell.clamp(LEAST_CELL, WIDEST_CELL)
}

/// Of the action in force, in percent; `None` under a rule.
pub fn probability(model: &ModelSnapshot) -> Option<f64> {
    let insight = model.insight.as_ref()?;
    Some(f64::from(*insight.probabilities.get(insight.action)?) * 100.0)
}

pub fn draw(
    app: &App,
    buf: &mut Buffer,
    area: Rect,
    model: &ModelSnapshot,
    insight: &InsightSnapshot,
) {
    let title = format!("{} chooses: {}", model.policy, model.name);
    let inner = panel(buf, area, app.theme, &title, "%");
    let map = Map { app, model, insight, inner };
    let sizes = insight.batches.len();
    if sizes == 0 || insight.probabilities.len() < sizes {
        Pen::new(buf, inner).skip(1).put("nothing chosen yet", app.theme.dim());
        return;
    }
    map.heads(buf);
    let next = map.rows(buf, insight.probabilities.len() / sizes);
    map.words(buf, next);
}

struct Map<'a> {
    app: &'a App,
    model: &'a ModelSnapshot,
    insight: &'a InsightSnapshot,
    inner: Rect,
}

impl Map<'_> {
    fn cell_width(&self) -> u16 {
        (self.inner.width.saturating_sub(LABEL_WIDTH) / SIZES).clamp(LEAST_CELL, WIDEST_CELL)
    }

    fn heads(&self, buf: &mut Buffer) {
        let mut pen = Pen::new(buf, row(self.inner, 0));
        pen.fit("batch", LABEL_WIDTH, self.app.theme.dim());
        for size in &self.insight.batches {
            pen.right(&size.to_string(), self.cell_width(), self.app.theme.heading());
        }
    }

    /// One row for each number of instances; those beyond what the model may have share one. The
    /// first row that is free.
    fn rows(&self, buf: &mut Buffer, all: usize) -> u16 {
        let theme = self.app.theme;
        let allowed = (self.model.max_instances as usize).clamp(1, all);
        let sizes = self.insight.batches.len();
        let mut next = 1;
        for instances in 0..allowed {
            let mut pen = Pen::new(buf, row(self.inner, next));
            pen.fit(&format!("  × {}", instances + 1), LABEL_WIDTH, theme.heading());
            (0..sizes).for_each(|size| self.cell(&mut pen, instances * sizes + size));
            next += 1;
        }
        if allowed < all {
            let label = match all - allowed {
                1 => format!("  × {all}"),
                _ => format!("×{}-{all}", allowed + 1),
            };
            let mut pen = Pen::new(buf, row(self.inner, next));
            pen.right(&label, LABEL_WIDTH, theme.dim());
            (0..sizes).for_each(|size| self.cell(&mut pen, allowed * sizes + size));
            next += 1;
        }
        next
    }

    /// A masked one has a sign in place of its number.
    fn cell(&self, pen: &mut Pen, action: usize) {
        let theme = self.app.theme;
        let chosen = action == self.insight.action;
        let shades = self.cell_width() - 4;
        let base = if chosen { theme.selected() } else { Style::new() };
        pen.fit(if chosen { "▸" } else { "" }, 1, theme.heading());
        if let Some(why) = self.insight.masked.get(action).copied().flatten() {
            let style = if why == Mask::Slo { theme.second() } else { theme.dim() };
            pen.skip(shades).right(sign(why), 3, style.patch(base));
            return;
        }
        let share = self.insight.probabilities.get(action).copied().unwrap_or(f32::NAN);
        let (shade, style) = heat(theme, share);
        pen.repeat(shade, shades, style);
        let number = if share.is_finite() {
            format!("{:.0}", share.clamp(0.0, 1.0) * 100.0)
        } else {
            NONE.into()
        };
        let style = if shade == ' ' { theme.dim() } else { theme.text() };
        pen.right(&number, 3, style.patch(base));
    }

    fn words(&self, buf: &mut Buffer, first: u16) {
        let theme = self.app.theme;
        let width = self.inner.width.saturating_sub(2);
        let mut lines: Vec<(String, Style)> = Vec::new();
        let mut say = |text: String, style| {
            lines.extend(wrap(&text, width).into_iter().map(|line| (line, style)));
        };
        if let Some(text) = self.in_force() {
            say(text, theme.text());
        }
        if self.model.overridden {
            let (batch, instances) = (self.model.batch, self.model.instances);
            say(format!("held by hand at {batch} × {instances}: r gives it back"), theme.manual());
        }
        for text in self.reasons() {
            say(text, theme.dim());
        }
        for (y, (line, style)) in (first..self.inner.height).zip(lines) {
            Pen::new(buf, row(self.inner, y)).skip(1).put(&line, style);
        }
    }

    fn in_force(&self) -> Option<String> {
        let (batch, instances) = self.insight.limits(self.insight.action)?;
        let free = self.insight.masked.iter().filter(|why| why.is_none()).count().max(1);
        let (now, most) = (signed(self.insight.entropy.into()), signed((free as f64).ln()));
        Some(format!("▸ {batch} × {instances} in force, entropy {now}/{most} nats"))
    }

    /// Why cells are masked, for each sign that there is.
    fn reasons(&self) -> Vec<String> {
        let (insight, model) = (self.insight, self.model);
        let masked = &insight.masked;
        let is = |why: Mask| masked.iter().position(|w| *w == Some(why));
        let mut reasons = Vec::new();
        if let Some(action) = is(Mask::Slo) {
            let column = action % insight.batches.len();
            let size = insight.batches[column];
            let slo = duration_us(model.slo_us);
            let sign = sign(Mask::Slo);
            reasons.push(match insight.alone_us.get(column) {
                Some(us) => {
                    let alone = duration_us(*us);
                    format!("{sign}: {size} items take {alone} alone, SLO {slo}")
                }
                None => format!("{sign}: {size} items are predicted to break the SLO of {slo}"),
            });
        }
        if is(Mask::Policy).is_some() {
            let (sign, policy) = (sign(Mask::Policy), &model.policy);
            reasons.push(format!("{sign}: {policy} keeps the instances it was given"));
        }
        let items = is(Mask::BatchLimit).map(|_| format!("{} items", model.max_batch));
        let instances =
            is(Mask::InstanceLimit).map(|_| format!("{} instances", model.max_instances));
        let limits: Vec<String> = items.into_iter().chain(instances).collect();
        if !limits.is_empty() {
            let whose = if self.inner.width >= 65 { " (engine, config, memory)" } else { "" };
            let sign = sign(Mask::BatchLimit);
            reasons.push(format!("{sign}: over the limits{whose}: {}", limits.join(", ")));
        }
        reasons
    }
}

fn sign(why: Mask) -> &'static str {
    match why {
        Mask::BatchLimit | Mask::InstanceLimit => "─",
        Mask::Slo => "slo",
        Mask::Policy => "pol",
    }
}

/// The denser, the more probable; nothing for what rounds to nothing.
fn heat(theme: Theme, share: f32) -> (char, Style) {
    let curve = theme.curve();
    match share {
        share if share >= 0.5 => ('█', curve.add_modifier(Modifier::BOLD)),
        share if share >= 0.2 => ('▓', curve),
        share if share >= 0.05 => ('▒', curve),
        share if share >= 0.005 => ('░', curve),
        _ => (' ', theme.dim()),
    }
}
