//! How learning while serving goes: whether it is on, from which weights, and what it has come to.

use crate::telemetry::format::{NONE, count, short_count, signed, utility};
use crate::telemetry::snapshot::{LearningSnapshot, ModelSnapshot};
use crate::tui::app::App;
use crate::tui::history::{Fold, Series, resample};
use crate::tui::render::graph::sparkline;
use crate::tui::render::pen::Pen;
use crate::tui::render::{panel, row};
use crate::tui::theme::Tone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

const LABEL_WIDTH: u16 = 9;

pub fn draw(app: &App, buf: &mut Buffer, area: Rect, model: &ModelSnapshot) {
    let theme = app.theme;
    let learning = &app.snapshot().learning;
    let inner = panel(buf, area, theme, "Learning", "t switches");
    let lines = Lines { app, learning };
    lines.state(&mut Pen::new(buf, row(inner, 0)));
    lines.text(&mut Pen::new(buf, row(inner, 1)), "began as", &learning.weights);
    lines.text(&mut Pen::new(buf, row(inner, 2)), "file", &learning.file);
    lines.policy(&mut Pen::new(buf, row(inner, 3)));
    let history = app.history();
    let reward = learning.reward.map_or(NONE.into(), |reward| signed(reward.into()));
    lines.curve(&mut Pen::new(buf, row(inner, 4)), "reward", &reward, &history.reward);
    if let Some(of_model) = history.model(&model.name) {
        let value = utility(model.utility);
        lines.curve(&mut Pen::new(buf, row(inner, 5)), "utility", &value, &of_model.utility);
    }
}

struct Lines<'a> {
    app: &'a App,
    learning: &'a LearningSnapshot,
}

impl Lines<'_> {
    fn state(&self, pen: &mut Pen) {
        let (theme, learning) = (self.app.theme, self.learning);
        let (sign, state, tone) = if learning.is_dead() {
            ("✖", "dead", Tone::Bad)
        } else if learning.weights.is_empty() {
            ("○", "nothing learns", Tone::Neutral)
        } else if learning.enabled {
            ("●", "on", Tone::Good)
        } else {
            ("○", "off", Tone::Neutral)
        };
        pen.skip(1).put(sign, theme.tone(tone)).skip(1).put(state, theme.tone(tone)).skip(2);
        let (have, need) = (learning.experiences, learning.experiences_needed);
        let text = if learning.weights.is_empty() {
            String::new()
        } else if learning.is_dead() {
            "serving goes on".into()
        } else if learning.updates == 0 && have < need {
            format!("{} of {} to begin", count(have), count(need))
        } else {
            let number = if pen.left() >= 30 { count } else { short_count };
            format!(
                "{} updates, {} saved",
                number(learning.updates),
                number(learning.saved_updates)
            )
        };
        let width = pen.left();
        pen.fit(&text, width, theme.text());
    }

    /// A path's end says more than its beginning.
    fn text(&self, pen: &mut Pen, label: &str, text: &str) {
        let theme = self.app.theme;
        pen.skip(1).fit(label, LABEL_WIDTH, theme.dim());
        let text = if text.is_empty() { NONE } else { text };
        let (room, length) = (usize::from(pen.left().saturating_sub(1)), text.chars().count());
        if length <= room {
            pen.put(text, theme.text());
        } else {
            let end: String = text.chars().skip(length + 1 - room.max(1)).collect();
            pen.put("…", theme.text()).put(&end, theme.text());
        }
    }

    fn policy(&self, pen: &mut Pen) {
        let (theme, learning) = (self.app.theme, self.learning);
        let known = |value: f32| match learning.updates {
            0 => NONE.into(),
            _ => signed(value.into()),
        };
        pen.skip(1).pair("entropy", theme.dim(), &known(learning.entropy), theme.text());
        let temperature = match learning.updates {
            1.. if pen.left() >= 25 => format!("{:.4}", learning.temperature.clamp(0.0, 99.0)),
            _ => known(learning.temperature),
        };
        pen.pair("temperature", theme.dim(), &temperature, theme.text());
        pen.pair("loss", theme.dim(), &known(learning.critic_loss), theme.text());
        pen.pair("value", theme.dim(), &known(learning.value), theme.text());
    }

    /// A value and its curve, between the lowest and the highest shown.
    fn curve(&self, pen: &mut Pen, label: &str, value: &str, series: &Series) {
        let theme = self.app.theme;
        pen.skip(1).fit(label, LABEL_WIDTH, theme.dim());
        pen.right(value, 6, theme.text()).skip(1);
        let columns = usize::from(pen.left().saturating_sub(1));
        let end_us = self.app.snapshot().uptime_us;
        let values = || resample(series, end_us, self.app.span_us(), columns, Fold::Mean);
        let lowest = values().fold(f32::NAN, f32::min);
        let highest = values().fold(f32::NAN, f32::max);
        sparkline(pen, values().map(|v| v - lowest), highest - lowest, theme.curve());
    }
}
