//! The latency histogram: requests over latency (logarithmic), with the SLO and the percentiles
//! marked.

use crate::telemetry::format::{count, duration_us};
use crate::telemetry::snapshot::ModelSnapshot;
use crate::tui::app::App;
use crate::tui::render::graph::column;
use crate::tui::render::pen::Pen;
use crate::tui::render::{panel, row, take_bottom, take_top};
use crate::tui::theme::Tone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

pub fn draw(app: &App, buf: &mut Buffer, area: Rect, model: &ModelSnapshot) {
    let theme = app.theme;
    let total = model.latency_us.count;
    let inner = panel(buf, area, theme, "Latency", &format!("{} requests", count(total)));
    let mut plot = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let Some(axis) = Axis::new(model, plot.width).filter(|_| plot.height >= 4) else {
        Pen::new(buf, row(plot, 0)).put("no requests answered lately", theme.dim());
        return;
    };
    let labels = take_bottom(&mut plot, 1);
    let marks = take_bottom(&mut plot, 1);
    let slo_label = take_top(&mut plot, 1);
    let slo_x = axis.column(model.slo_us as f64);
    let heights = heights(model, &axis);
    let highest = heights.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    for (x, height) in (0..plot.width).zip(&heights) {
        let late = x > slo_x;
        let style = theme.tone(if late { Tone::Bad } else { Tone::Good });
        column(buf, plot, plot.x + x, height / highest, !late, style);
    }
    let style = theme.tone(Tone::Warning);
    for y in 0..plot.height {
        if let Some(cell) = buf.cell_mut((plot.x + slo_x, plot.y + y)) {
            cell.set_char('┊').set_style(style);
        }
    }
    let label = format!("SLO {}", duration_us(model.slo_us));
    let from = slo_x.min(plot.width.saturating_sub(label.len() as u16));
    Pen::new(buf, slo_label).skip(from).put(&label, style);
    Pen::new(buf, marks).repeat('─', marks.width, theme.border());
    for (name, us) in [("p50", model.latency_us.p50), ("p99", model.latency_us.p99)] {
        let x = axis.column(us as f64);
        let from = x.min(marks.width.saturating_sub(5));
        Pen::new(buf, marks).skip(from).put("↑", theme.heading()).put(name, theme.heading());
    }
    let style = theme.dim();
    Pen::new(buf, labels).put(&duration_us(axis.low as u64), style);
    Pen::new(buf, labels).right(&duration_us(axis.high as u64), labels.width, style);
    let middle = (axis.low * axis.high).sqrt() as u64;
    Pen::new(buf, labels).skip(labels.width / 2).put(&duration_us(middle), style);
}

/// Latencies on columns, logarithmic.
struct Axis {
    low: f64,
    high: f64,
    width: u16,
}

impl Axis {
    fn new(model: &ModelSnapshot, width: u16) -> Option<Axis> {
        let filled = || model.latency_histogram.iter().filter(|(_, n)| *n > 0);
        let first = model.latency_histogram.iter().position(|(_, n)| *n > 0)?;
        let low = match first.checked_sub(1) {
            Some(before) => model.latency_histogram[before].0,
            None => model.latency_histogram[first].0 / 2,
        };
        let last = filled().map(|(bound, _)| *bound).max()?;
        let low = (low.min(model.slo_us / 2) as f64).max(1.0);
        let high = (last as f64).max(model.slo_us as f64 * 1.15).max(low * 2.0);
        (width >= 8).then_some(Axis { low, high, width })
    }

    fn position(&self, us: f64) -> f64 {
        let share = (us.max(self.low) / self.low).ln() / (self.high / self.low).ln();
        share.clamp(0.0, 1.0) * f64::from(self.width)
    }

    fn column(&self, us: f64) -> u16 {
        (self.position(us) as u16).min(self.width - 1)
    }
}

/// Requests per column. A bucket is spread evenly over the columns it covers, so that wide ones
/// are plateaus and not spikes.
fn heights(model: &ModelSnapshot, axis: &Axis) -> Vec<f64> {
    let mut heights = vec![0.0; usize::from(axis.width)];
    let mut from: f64 = 0.0;
    for (bound, n) in &model.latency_histogram {
        let to = axis.position(*bound as f64);
        let (first, last) = (from as usize, (to.ceil() as usize).min(heights.len()));
        let first = first.min(last.saturating_sub(1));
        for (column, height) in heights.iter_mut().enumerate().take(last).skip(first) {
            let covered = (to.min(column as f64 + 1.0) - from.max(column as f64)).max(0.0);
            let part =
                if to - from > 1.0 { covered / (to - from) } else { 1.0 / (last - first) as f64 };
            *height += *n as f64 * part;
        }
        from = to;
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_in_some_column() {
        let model = ModelSnapshot {
            slo_us: 100,
            latency_histogram: vec![(10, 0), (20, 5), (21, 7), (22, 1), (80, 9), (400, 3)],
            ..ModelSnapshot::default()
        };
        for width in [8, 33, 190] {
            let axis = Axis::new(&model, width).unwrap();
            let total: f64 = heights(&model, &axis).iter().sum();
            assert!((total - 25.0).abs() < 1e-6, "{total} at {width}");
            assert!(axis.column(100.0) < axis.column(400.0));
        }
    }

    #[test]
    fn without_requests_there_is_no_axis() {
        assert!(Axis::new(&ModelSnapshot::default(), 40).is_none());
    }
}
