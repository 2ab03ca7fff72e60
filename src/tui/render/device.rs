//! The machine: what it has, how busy and how hot it is. Nothing is shown that is not measured.

use crate::telemetry::format::{bytes, percent, span_us};
use crate::telemetry::snapshot::{DeviceSnapshot, GpuSnapshot};
use crate::tui::app::App;
use crate::tui::history::{Fold, resample};
use crate::tui::render::graph::{CurveStyle, area_curve, gauge};
use crate::tui::render::pen::Pen;
use crate::tui::render::{panel, row};
use crate::tui::theme::Tone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

const LABEL_WIDTH: u16 = 5;

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
    line(buf, &|pen| lines.process(pen));
    line(buf, &|pen| lines.clocks(pen));
    for gpu in &device.gpus {
        line(buf, &|pen| lines.gpu_memory(pen, gpu));
        line(buf, &|pen| lines.gpu_details(pen, gpu));
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

/// The lines of the panel. Each draws itself and says whether there was anything to show.
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

    fn cpu(&self, pen: &mut Pen) -> bool {
        let Some(load) = self.device.cpu_percent else { return false };
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
        let (Some(used), Some(total)) = (used, total.filter(|t| *t > 0)) else { return false };
        let share = used as f64 / total as f64;
        let gib = |b: u64| format!("{:.1}", b as f64 / f64::from(1 << 30));
        let text = format!("{}/{} GiB", gib(used), gib(total));
        self.gauge(pen, label, share, &text, Tone::rising(share, 0.85, 0.95))
    }

    fn gpu(&self, pen: &mut Pen, gpu: &GpuSnapshot) -> bool {
        let Some(load) = gpu.load_percent else { return false };
        let text = match gpu.temperature_c.filter(|c| c.is_finite()) {
            Some(c) => format!("{} {c:.0} °C", percent(load)),
            None => percent(load),
        };
        self.gauge(pen, "GPU", load / 100.0, &text, Tone::Good)
    }

    fn gpu_memory(&self, pen: &mut Pen, gpu: &GpuSnapshot) -> bool {
        self.bytes_gauge(pen, "VRAM", gpu.memory_used_bytes, gpu.memory_total_bytes)
    }

    fn gpu_details(&self, pen: &mut Pen, gpu: &GpuSnapshot) -> bool {
        let theme = self.app.theme;
        pen.skip(1).put(&gpu.name, theme.dim()).skip(2);
        if let Some(watts) = gpu.power_w.filter(|w| w.is_finite()) {
            pen.put(&format!("{watts:.1} W"), theme.text());
        }
        true
    }

    fn process(&self, pen: &mut Pen) -> bool {
        let theme = self.app.theme;
        let (cpu, memory) = (self.device.process_cpu_percent, self.device.resident_bytes);
        if cpu.is_none() && memory.is_none() {
            return false;
        }
        pen.skip(1).put("bcedge", theme.dim()).skip(2);
        if let Some(cpu) = cpu {
            pen.put(&percent(cpu), theme.text()).put(" CPU", theme.dim()).skip(2);
        }
        if let Some(memory) = memory {
            pen.put(&bytes(memory), theme.text());
        }
        true
    }

    fn clocks(&self, pen: &mut Pen) -> bool {
        let theme = self.app.theme;
        let (clock, heat) = (self.device.frequency_mhz, self.device.temperature_c);
        if clock.is_none() && heat.is_none() {
            return false;
        }
        pen.skip(1);
        if let Some(mhz) = clock.filter(|v| v.is_finite()) {
            pen.put("clock ", theme.dim()).put(&format!("{mhz:.0} MHz"), theme.text()).skip(2);
        }
        if let Some(c) = heat.filter(|v| v.is_finite()) {
            let tone = Tone::rising(c, 80.0, 90.0);
            let style = if tone == Tone::Good { theme.text() } else { theme.tone(tone) };
            pen.put("temp ", theme.dim()).put(&format!("{c:.0} °C"), style);
        }
        true
    }

    fn weights(&self, pen: &mut Pen) -> bool {
        let theme = self.app.theme;
        pen.skip(1).put("weights ", theme.dim());
        pen.put(&bytes(self.device.weight_bytes), theme.text());
        pen.put(", shared by all instances", theme.dim());
        self.device.weight_bytes > 0
    }
}
