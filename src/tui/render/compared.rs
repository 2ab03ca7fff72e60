//! The policies that were in force on a model while this screen watched, side by side.

use crate::telemetry::format::{NONE, age_us, duration_us, rate, share, utility};
use crate::telemetry::snapshot::ModelSnapshot;
use crate::tui::app::App;
use crate::tui::render::pen::Pen;
use crate::tui::render::{panel, row};
use crate::tui::theme::Tone;
use crate::tui::trial::Trial;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// From this width on, goodput and the time watched have room.
const ROOMY: u16 = 48;

pub fn draw(app: &App, buf: &mut Buffer, area: Rect, model: &ModelSnapshot) {
    let theme = app.theme;
    let small = area.height < 5;
    let (title, note) =
        if small { ("Utility, in SLO, p99", "") } else { ("Compared", "p switches") };
    let inner = panel(buf, area, theme, title, note);
    let trials = app.history().model(&model.name).map_or(&[][..], |history| &history.trials);
    let mut rows: Vec<&Trial> = trials.iter().collect();
    // The one in force, then the best of the others.
    let utility = |trial: &Trial| trial.utility.get().unwrap_or(f64::NEG_INFINITY);
    rows.sort_by(|a, b| {
        b.is_in_force().cmp(&a.is_in_force()).then(utility(b).total_cmp(&utility(a)))
    });
    let mut next = 0;
    if !small {
        heads(app, &mut Pen::new(buf, row(inner, 0)));
        next = 1;
    }
    if rows.is_empty() {
        let text = if model.overridden { "held by hand: not compared" } else { "none yet" };
        Pen::new(buf, row(inner, next)).skip(1).put(text, theme.dim());
    }
    for (i, trial) in (next..inner.height).zip(rows) {
        line(app, &mut Pen::new(buf, row(inner, i)), trial);
    }
}

fn heads(app: &App, pen: &mut Pen) {
    let bold = app.theme.heading();
    let roomy = pen.left() >= ROOMY;
    pen.skip(2).fit("POLICY", 9, bold).right("UTIL", 6, bold).right("IN SLO", 7, bold);
    pen.right("P99", 7, bold);
    if roomy {
        pen.right("GOOD/S", 8, bold).right("FOR", 8, bold);
    }
}

fn line(app: &App, pen: &mut Pen, trial: &Trial) {
    let theme = app.theme;
    let roomy = pen.left() >= ROOMY;
    pen.fit(if trial.is_in_force() { "▸" } else { "" }, 2, theme.heading());
    pen.fit(&trial.policy, 9, theme.text());
    if trial.watched_us == 0 {
        pen.skip(1).put(if trial.is_in_force() { "settles" } else { "too short" }, theme.dim());
        return;
    }
    pen.right(&utility(trial.utility.get()), 6, theme.heading());
    let hit = trial.slo_hit_rate.get();
    let tone = Tone::of_hit_rate(hit);
    let style = if tone == Tone::Good { theme.text() } else { theme.tone(tone) };
    pen.right(&share(hit), 7, style);
    let p99 = trial.latency_us_p99.get().map_or(NONE.into(), |us| duration_us(us as u64));
    pen.right(&p99, 7, theme.text());
    if roomy {
        pen.right(&trial.goodput_per_s.get().map_or(NONE.into(), rate), 8, theme.text());
        pen.right(&age_us(trial.watched_us), 8, theme.dim());
    }
}
