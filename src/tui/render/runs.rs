//! Predicted against measured: how long batches of each size took, and were expected to take.

use crate::telemetry::SLOW_DRIFT;
use crate::telemetry::format::{NONE, duration_us, short_count, times};
use crate::telemetry::snapshot::{ModelSnapshot, RunTime};
use crate::tui::app::App;
use crate::tui::render::pen::Pen;
use crate::tui::render::{panel, row, take_bottom};
use crate::tui::theme::Tone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// A prediction that is off by more than this share is marked.
const FAR_OFF: f64 = 0.25;

/// Means over the batches of the window whose time was predicted: (predicted, measured) in µs.
pub fn overall(model: &ModelSnapshot) -> Option<(u64, u64)> {
    let (mut batches, mut predicted, mut measured) = (0u128, 0u128, 0u128);
    for run in &model.run_times {
        let Some(predicted_us) = run.predicted_us else { continue };
        let n = u128::from(run.batches);
        batches += n;
        predicted = predicted.saturating_add(n * u128::from(predicted_us));
        measured = measured.saturating_add(n * u128::from(run.measured_us));
    }
    let mean = |sum: u128| u64::try_from(sum / batches.max(1)).unwrap_or(u64::MAX);
    (batches > 0).then(|| (mean(predicted), mean(measured)))
}

pub fn draw(app: &App, buf: &mut Buffer, area: Rect, model: &ModelSnapshot) {
    let theme = app.theme;
    let mut inner = panel(buf, area, theme, "Run times", "last 5 s");
    factors(app, &mut Pen::new(buf, take_bottom(&mut inner, 1)), model);
    if model.run_times.is_empty() {
        Pen::new(buf, row(inner, 0)).skip(1).put("no batches lately", theme.dim());
        return;
    }
    let mut pen = Pen::new(buf, row(inner, 0));
    let bold = theme.heading();
    pen.right("ITEMS", 6, bold).right("RUNS", 6, bold).right("PRED", 7, bold);
    pen.right("MEAS", 7, bold).right("OFF", 6, bold);
    // More sizes than rows: the most frequent ones.
    let mut runs = model.run_times.clone();
    runs.sort_by_key(|run| std::cmp::Reverse(run.batches));
    runs.truncate(inner.height.saturating_sub(1).into());
    runs.sort_by_key(|run| run.items);
    for (i, run) in (1..inner.height).zip(&runs) {
        line(app, &mut Pen::new(buf, row(inner, i)), run);
    }
}

fn line(app: &App, pen: &mut Pen, run: &RunTime) {
    let theme = app.theme;
    pen.right(&short_count(run.items.into()), 6, theme.text());
    pen.right(&short_count(run.batches), 6, theme.dim());
    pen.right(&run.predicted_us.map_or(NONE.into(), duration_us), 7, theme.text());
    pen.right(&duration_us(run.measured_us), 7, theme.text());
    let Some(predicted) = run.predicted_us.filter(|us| *us > 0) else {
        pen.right(NONE, 6, theme.dim());
        return;
    };
    let off = run.measured_us as f64 / predicted as f64 - 1.0;
    let far = off.abs() > FAR_OFF;
    let text = format!("{:+.0}%", (off * 100.0).min(999.0));
    pen.right(&text, 6, theme.tone(if far { Tone::Warning } else { Tone::Neutral }));
    pen.put(if far { "!" } else { "" }, theme.tone(Tone::Warning));
}

/// What the predictions are made of besides the profile.
fn factors(app: &App, pen: &mut Pen, model: &ModelSnapshot) {
    let theme = app.theme;
    let known = |factor: f64| Some(factor).filter(|f| f.is_finite() && *f > 0.0);
    let slow = known(model.drift).is_some_and(|drift| drift >= SLOW_DRIFT);
    let drift = known(model.drift).map_or(NONE.into(), times);
    let drift = if slow { format!("▲{drift}") } else { drift };
    pen.skip(1).pair(
        "drift",
        theme.dim(),
        &drift,
        theme.tone(if slow { Tone::Warning } else { Tone::Neutral }),
    );
    let crowding = known(model.crowding).map_or(NONE.into(), times);
    pen.pair("neighbours", theme.dim(), &crowding, theme.text());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overall_means_are_over_the_same_batches() {
        let run = |batches, measured_us, predicted_us| RunTime {
            items: 1,
            batches,
            measured_us,
            predicted_us,
        };
        let mut model = ModelSnapshot::default();
        assert_eq!(overall(&model), None);
        model.run_times = vec![run(3, 100, Some(80)), run(1, 500, Some(480)), run(9, 7, None)];
        assert_eq!(overall(&model), Some((180, 200)));
        model.run_times = vec![run(u64::MAX, u64::MAX, Some(u64::MAX)); 3];
        assert!(overall(&model).is_some());
    }
}
