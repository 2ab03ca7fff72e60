//! The machine: what it has, how busy and how hot it is. Nothing is shown that is not measured.

use crate::telemetry::format::{bytes, percent, span_us};
use crate::telemetry::snapshot::{DeviceSnapshot, GpuSnapshot};
use crate::tui::app::App;
use crate::tui::history::{Fold, resample};
use crate::tui::render::graph::{CurveStyle, area_curve, gauge};
use crate::tui::render::pen::{Pen, columns};
use crate::tui::render::{panel, row};
use crate::tui::theme::Tone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

const LABEL_WIDTH: u16 = 5;
/// Stands where a machine should tell something and does not.
const ABSENT: &str = "—";

pub fn draw(app: &App, buf: &mut Buffer, area: Rect) {
    let device = &app.snapshot().device;
    let cores = if device.cores == 1 { "1 core".into() } else { format!("{} cores", device.cores) };
    let note = if device.cores > 0 { cores.as_str() } else { "" };
    let room = usize::from(area.width).saturating_sub(note.len() + 8);
    let title: String = match device.name.as_str() {
        "" => "Device".into(),
        name => name.chars().take(room).collect(),
    };
    let inner = panel(buf, area, app.theme, &title, note);
    let lines = Lines { app, device, width: inner.width };
    let mut next = 0;
    let mut line = |buf: &mut Buffer, draw: &dyn Fn(&mut Pen) -> bool| {
        let mut pen = Pen::new(buf, row(inner, next));
        if pen.left() > 0 && draw(&mut pen) {
            next += 1;
        }
    };
    line(buf, &|pen| lines.cpu(pen));
    line(buf, &|pen| lines.memory(pen));
    for gpu in &device.gpus {
        line(buf, &|pen| lines.gpu(pen, gpu));
    }
    if device.gpus.is_empty() {
        line(buf, &|pen| lines.absent(pen, "GPU"));
    }
    line(buf, &|pen| lines.speed(pen));
    line(buf, &|pen| lines.process(pen));
    line(buf, &|pen| lines.clocks(pen));
    for gpu in &device.gpus {
        line(buf, &|pen| lines.gpu_memory(pen, gpu));
        line(buf, &|pen| lines.gpu_details(pen, gpu));
    }
    line(buf, &|pen| lines.memory_bus(pen));
    for text in lines.rails() {
        line(buf, &|pen| lines.text(pen, &text));
    }
    for text in lines.zones() {
        line(buf, &|pen| lines.text(pen, &text));
    }
    line(buf, &|pen| lines.weights(pen));
    let used = next + 1;
    let below = Rect {
        x: inner.x + 1,
        y: inner.y + used.min(inner.height),
        width: inner.width.saturating_sub(2),
        height: inner.height.saturating_sub(used),
    };
    if device.cpu_percent.is_some() && below.height >= 3 {
        load_curve(app, buf, below);
    }
}

/// How busy all cores were; the top is all of them.
fn load_curve(app: &App, buf: &mut Buffer, area: Rect) {
    let theme = app.theme;
    let title = format!("CPU, last {}", span_us(app.span_us()));
    Pen::new(buf, area).put(&title, theme.dim());
    let plot = Rect { y: area.y + 1, height: area.height - 1, ..area };
    let columns = usize::from(plot.width) * 2;
    let end_us = app.snapshot().uptime_us;
    let values = resample(&app.history().cpu, end_us, app.span_us(), columns, Fold::Mean);
    let good = theme.tone(Tone::Good);
    let style = CurveStyle {
        edge: good.add_modifier(Modifier::BOLD),
        fill: good.add_modifier(Modifier::DIM),
        line: theme.text(),
    };
    area_curve(buf, plot, values, std::iter::empty(), 0.0..100.0, style);
}

/// The lines of the panel. What a machine of this kind has and does not tell is shown as absent;
/// a line that it does not have says so by drawing nothing and returning false.
struct Lines<'a> {
    app: &'a App,
    device: &'a DeviceSnapshot,
    width: u16,
}

impl Lines<'_> {
    fn gauge(&self, pen: &mut Pen, label: &str, share: f64, text: &str, tone: Tone) -> bool {
        let theme = self.app.theme;
        let text_width = 13.min(self.width / 2);
        let width = self.width.saturating_sub(LABEL_WIDTH + text_width + 3);
        pen.skip(1).fit(label, LABEL_WIDTH, theme.dim());
        gauge(pen, share, width, theme.tone(tone), theme.dim());
        let style = if tone == Tone::Good { theme.text() } else { theme.tone(tone) };
        pen.skip(1).right(text, text_width, style);
        true
    }

    fn absent(&self, pen: &mut Pen, label: &str) -> bool {
        self.without_gauge(pen, label, ABSENT)
    }

    fn without_gauge(&self, pen: &mut Pen, label: &str, text: &str) -> bool {
        let theme = self.app.theme;
        let width = self.width.saturating_sub(LABEL_WIDTH + 2);
        pen.skip(1).fit(label, LABEL_WIDTH, theme.dim()).right(text, width, theme.dim());
        true
    }

    fn cpu(&self, pen: &mut Pen) -> bool {
        let Some(load) = self.device.cpu_percent else { return self.absent(pen, "CPU") };
        let tone = Tone::rising(load, 85.0, 97.0);
        self.gauge(pen, "CPU", load / 100.0, &percent(load), tone)
    }

    fn memory(&self, pen: &mut Pen) -> bool {
        let (used, total) = (self.device.memory_used_bytes, self.device.memory_total_bytes);
        self.bytes_gauge(pen, "MEM", used, total)
    }

    fn bytes_gauge(
        &self,
        pen: &mut Pen,
        label: &str,
        used: Option<u64>,
        total: Option<u64>,
    ) -> bool {
        let (Some(used), Some(total)) = (used, total.filter(|t| *t > 0)) else {
            return self.absent(pen, label);
        };
        let share = used as f64 / total as f64;
        let gib = |b: u64| format!("{:.1}", b as f64 / f64::from(1 << 30));
        let text = format!("{}/{} GiB", gib(used), gib(total));
        self.gauge(pen, label, share, &text, Tone::rising(share, 0.85, 0.95))
    }

    fn gpu(&self, pen: &mut Pen, gpu: &GpuSnapshot) -> bool {
        let heat = measured(gpu.temperature_c, |c| format!("{c:.0} °C"));
        match gpu.load_percent {
            Some(load) => {
                let text = format!("{} {heat}", percent(load));
                self.gauge(pen, "GPU", load / 100.0, &text, Tone::Good)
            }
            None if gpu.temperature_c.is_none() => self.absent(pen, "GPU"),
            None => self.without_gauge(pen, "GPU", &format!("{ABSENT} {heat}")),
        }
    }

    /// Power mode and throttling: whether the device runs as fast as it can.
    fn speed(&self, pen: &mut Pen) -> bool {
        let theme = self.app.theme;
        let sources = self.device.gpus.iter().map(|gpu| &gpu.throttled_by);
        let told: Vec<_> = sources.chain([&self.device.throttled_by]).flatten().collect();
        if told.is_empty() && self.device.jetson.is_none() {
            return false;
        }
        pen.skip(1);
        if let Some(jetson) = &self.device.jetson {
            let mode = jetson.power_mode.as_deref().unwrap_or(ABSENT);
            pen.put("mode ", theme.dim()).put(mode, theme.text()).skip(2);
        }
        let reasons: Vec<&str> = told.iter().flat_map(|by| by.iter()).map(String::as_str).collect();
        if told.is_empty() {
            pen.put("throttled ", theme.dim()).put(ABSENT, theme.dim());
        } else if reasons.is_empty() {
            pen.put("not throttled", theme.dim());
        } else {
            let width = pen.left();
            pen.fit(&format!("▲ {}", reasons.join(", ")), width, theme.tone(Tone::Bad));
        }
        true
    }

    fn process(&self, pen: &mut Pen) -> bool {
        let theme = self.app.theme;
        pen.skip(1).put("bcedge", theme.dim()).skip(2);
        let cpu = self.device.process_cpu_percent.map_or(ABSENT.into(), percent);
        pen.put(&cpu, theme.text()).put(" CPU", theme.dim()).skip(2);
        pen.put(&self.device.resident_bytes.map_or(ABSENT.into(), bytes), theme.text());
        true
    }

    fn clocks(&self, pen: &mut Pen) -> bool {
        let theme = self.app.theme;
        let (clock, heat) = (self.device.frequency_mhz, self.device.temperature_c);
        let clock = measured(clock, |mhz| format!("{mhz:.0} MHz"));
        pen.skip(1).put("clock ", theme.dim()).put(&clock, theme.text()).skip(2);
        let tone = heat.map_or(Tone::Good, |c| Tone::rising(c, 80.0, 90.0));
        let style = if tone == Tone::Good { theme.text() } else { theme.tone(tone) };
        pen.put("temp ", theme.dim()).put(&measured(heat, |c| format!("{c:.0} °C")), style);
        true
    }

    fn gpu_memory(&self, pen: &mut Pen, gpu: &GpuSnapshot) -> bool {
        if gpu.integrated {
            return false;
        }
        self.bytes_gauge(pen, "VRAM", gpu.memory_used_bytes, gpu.memory_total_bytes)
    }

    /// Clock and power, each with its limit where that is known.
    fn gpu_details(&self, pen: &mut Pen, gpu: &GpuSnapshot) -> bool {
        let theme = self.app.theme;
        let limited = |now: Option<f64>, limit: Option<f64>, unit: &str| {
            let limit = limit.map_or(String::new(), |limit| format!("/{limit:.0}"));
            format!("{}{limit} {unit}", measured(now, |now| format!("{now:.0}")))
        };
        pen.skip(1).put(&limited(gpu.frequency_mhz, gpu.frequency_limit_mhz, "MHz"), theme.text());
        pen.skip(2).put(&limited(gpu.power_w, gpu.power_limit_w, "W"), theme.text());
        let left = pen.skip(2).left();
        pen.fit(&gpu.name, left, theme.dim());
        true
    }

    /// The load of the memory bus, which a Jetson's processor and GPU share.
    fn memory_bus(&self, pen: &mut Pen) -> bool {
        let Some(jetson) = &self.device.jetson else { return false };
        let clock = measured(jetson.memory_clock_mhz, |mhz| format!("{mhz:.0} MHz"));
        match jetson.memory_load_percent {
            Some(load) => {
                let text = format!("{} {clock}", percent(load));
                self.gauge(pen, "EMC", load / 100.0, &text, Tone::rising(load, 85.0, 97.0))
            }
            None if jetson.memory_clock_mhz.is_none() => self.absent(pen, "EMC"),
            None => self.without_gauge(pen, "EMC", &format!("{ABSENT} {clock}")),
        }
    }

    fn rails(&self) -> Vec<String> {
        let Some(jetson) = &self.device.jetson else { return Vec::new() };
        let watts = |watts| measured(watts, |watts| format!("{watts:.1}W"));
        let rails = jetson.rails.iter().map(|rail| format!("{} {}", rail.name, watts(rail.watts)));
        if jetson.rails.is_empty() {
            return vec![format!("power {ABSENT}")];
        }
        packed(rails, self.width.saturating_sub(2))
    }

    fn zones(&self) -> Vec<String> {
        let zones = self.device.zones.iter().map(|zone| {
            let name = zone.name.split(['-', '_']).next().unwrap_or_default().to_lowercase();
            format!("{name} {}", measured(zone.celsius, |c| format!("{c:.0}°")))
        });
        packed(zones, self.width.saturating_sub(2))
    }

    fn text(&self, pen: &mut Pen, text: &str) -> bool {
        pen.skip(1).put(text, self.app.theme.dim());
        true
    }

    fn weights(&self, pen: &mut Pen) -> bool {
        let theme = self.app.theme;
        if self.device.weight_bytes == 0 {
            return false;
        }
        pen.skip(1).put("weights ", theme.dim());
        pen.put(&bytes(self.device.weight_bytes), theme.text());
        pen.put(", shared by all instances", theme.dim());
        true
    }
}

/// Lines of at most `width` columns with as many of the items as fit, none of them broken.
fn packed(items: impl Iterator<Item = String>, width: u16) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        match lines.last_mut() {
            Some(line) if columns(line) + 2 + columns(&item) <= width => {
                line.push_str("  ");
                line.push_str(&item);
            }
            _ => lines.push(item),
        }
    }
    lines
}

/// A number that was measured, as text; what was not is absent.
fn measured(value: Option<f64>, text: impl Fn(f64) -> String) -> String {
    value.filter(|value| value.is_finite()).map_or(ABSENT.into(), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixtures;
    use crate::tui::tests::{UNICODE, check, text};
    use std::sync::Arc;

    /// As small as the panel gets, and with room for everything.
    #[test]
    fn every_kind_of_machine_at_two_sizes() {
        for (name, device) in fixtures::machines() {
            let (mut snapshot, _) = fixtures::settled("healthy");
            snapshot.device = device;
            let mut app = App::new(UNICODE);
            app.observe(Ok(Arc::new(snapshot)));
            for (width, height) in [(34, 8), (50, 18)] {
                let area = Rect::new(0, 0, width, height);
                let mut buf = Buffer::empty(area);
                draw(&app, &mut buf, area);
                check(&format!("device_{name}_{width}x{height}"), &text(&buf));
            }
        }
    }
}
