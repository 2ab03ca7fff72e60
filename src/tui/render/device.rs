//! The machine: what it has, how busy and how hot it is. Nothing is shown that is not measured.

use crate::telemetry::snapshot::{DeviceSnapshot, GpuSnapshot};
use crate::tui::app::App;
use crate::tui::format::{bytes, percent};
use crate::tui::render::graph::gauge;
use crate::tui::render::pen::Pen;
use crate::tui::render::{panel, row};
use crate::tui::theme::Tone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

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
        let width = self.width.saturating_sub(LABEL_WIDTH + text_width + 2);
        pen.skip(1).fit(label, LABEL_WIDTH - 1, theme.dim());
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
