//! Curves and bars made of characters.

use crate::tui::render::pen::Pen;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

const EIGHTHS_UP: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const EIGHTHS_RIGHT: [char; 9] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
/// Braille dots of the left and right half of a cell, from the bottom up.
const DOTS: [[u32; 4]; 2] = [[0x40, 0x04, 0x02, 0x01], [0x80, 0x20, 0x10, 0x08]];

/// A filled curve, two values a column, with an optional second one as a line over it. `values`
/// and `line` bring `2 × area.width` values, NaN where there is none; `max` is the top.
pub fn area_curve(
    buf: &mut Buffer,
    area: Rect,
    values: impl Iterator<Item = f32>,
    line: impl Iterator<Item = f32>,
    max: f32,
    style: impl Fn(f32) -> Style,
    line_style: Style,
) {
    let area = area.intersection(buf.area);
    let top = u32::from(area.height) * 4;
    let dots_of = |value: f32| {
        if !value.is_finite() {
            return None;
        }
        // Zero is a dot: it differs from not knowing.
        let share = (value / max.max(f32::MIN_POSITIVE)).clamp(0.0, 1.0);
        Some(((share * top as f32).round() as u32).max(1))
    };
    for (i, (value, line)) in values.zip(line).take(usize::from(area.width) * 2).enumerate() {
        let x = area.x + (i / 2) as u16;
        let half = &DOTS[i % 2];
        let (filled, mark) = (dots_of(value), dots_of(line));
        for row in 0..area.height {
            let floor = u32::from(area.height - 1 - row) * 4;
            let mut bits = 0;
            let mut only_line = true;
            for (dot, bit) in half.iter().enumerate() {
                let level = floor + dot as u32 + 1;
                if filled.is_some_and(|f| level <= f) {
                    bits |= bit;
                    only_line = false;
                } else if mark == Some(level) {
                    bits |= bit;
                }
            }
            if bits == 0 {
                continue;
            }
            let height = 1.0 - f32::from(row) / f32::from(area.height);
            let style = if only_line { line_style } else { style(height) };
            add_dots(buf, x, area.y + row, bits, style, only_line);
        }
    }
}

fn add_dots(buf: &mut Buffer, x: u16, y: u16, bits: u32, style: Style, keep_style: bool) {
    let Some(cell) = buf.cell_mut((x, y)) else { return };
    let old = cell.symbol().chars().next().map_or(0, |c| (c as u32).wrapping_sub(0x2800));
    let old = if old < 0x100 { old } else { 0 };
    let symbol = char::from_u32(0x2800 + (old | bits)).unwrap_or(' ');
    cell.set_char(symbol);
    if old == 0 || !keep_style {
        cell.set_style(style);
    }
}

/// One row of eighth blocks, scaled to `max`; nothing where there is no value.
pub fn sparkline(pen: &mut Pen, values: impl Iterator<Item = f32>, max: f32, style: Style) {
    for value in values {
        let symbol = if value.is_finite() {
            let eighths = (value / max.max(f32::MIN_POSITIVE) * 7.0).ceil().clamp(0.0, 7.0);
            EIGHTHS_UP[1 + eighths as usize]
        } else {
            ' '
        };
        pen.repeat(symbol, 1, style);
    }
}

/// A gauge of `width` columns: `■■■···`.
pub fn gauge(pen: &mut Pen, share: f64, width: u16, style: Style, rest: Style) {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let full = (share * f64::from(width)).round() as u16;
    pen.repeat('■', full, style).repeat('·', width - full.min(width), rest);
}

/// A bar of up to `width` columns, precise to an eighth; blank up to `width`.
pub fn bar(pen: &mut Pen, share: f64, width: u16, style: Style) {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let mut eighths = (share * f64::from(width) * 8.0).round() as u16;
    if share > 0.0 {
        eighths = eighths.max(1);
    }
    let (full, part) = (eighths / 8, eighths % 8);
    pen.repeat('█', full, style);
    if part > 0 {
        pen.repeat(EIGHTHS_RIGHT[usize::from(part)], 1, style);
    }
    pen.skip(width.saturating_sub(full + u16::from(part > 0)));
}

/// A column of blocks growing from the bottom of `area`'s column `x`: `solid` ones to the eighth,
/// others in whole cells of `▒`.
pub fn column(buf: &mut Buffer, area: Rect, x: u16, share: f64, solid: bool, style: Style) {
    let cells = share.clamp(0.0, 1.0) * f64::from(area.height);
    let eighths = if share > 0.0 { ((cells * 8.0).round() as u32).max(1) } else { 0 };
    for row in 0..u32::from(area.height) {
        let level = eighths.saturating_sub(row * 8).min(8);
        if level == 0 {
            break;
        }
        let symbol = if solid { EIGHTHS_UP[level as usize] } else { '▒' };
        if let Some(cell) = buf.cell_mut((x, area.bottom() - 1 - row as u16)) {
            cell.set_char(symbol).set_style(style);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(width: u16, height: u16, values: &[f32], line: &[f32]) -> Buffer {
        let area = Rect::new(0, 0, width, height);
        let mut buf = Buffer::empty(area);
        let (values, line) = (values.iter().copied(), line.iter().copied());
        area_curve(&mut buf, area, values, line, 8.0, |_| Style::new(), Style::new());
        buf
    }

    const NONE: [f32; 8] = [f32::NAN; 8];

    #[test]
    fn a_curve_fills_from_the_bottom_and_leaves_gaps() {
        let buf = curve(3, 2, &[8.0, 4.0, 0.0, f32::NAN, f32::NAN, 16.0], &NONE);
        assert_eq!(buf, Buffer::with_lines(["⡇ ⢸", "⣿⡀⢸"]));
    }

    #[test]
    fn a_line_goes_over_the_fill() {
        let buf = curve(1, 2, &[2.0, 2.0], &[8.0, 1.0]);
        assert_eq!(buf, Buffer::with_lines(["⠁", "⣤"]));
    }

    #[test]
    fn bars_and_sparklines_keep_their_width() {
        let mut buf = Buffer::empty(Rect::new(0, 0, 12, 3));
        let row = |y| Rect::new(0, y, 12, 1);
        let mut pen = Pen::new(&mut buf, row(0));
        bar(&mut pen, 0.5, 5, Style::new());
        pen.put("|", Style::new());
        let mut pen = Pen::new(&mut buf, row(1));
        gauge(&mut pen, 0.4, 5, Style::new(), Style::new());
        gauge(&mut pen, f64::NAN, 5, Style::new(), Style::new());
        let mut pen = Pen::new(&mut buf, row(2));
        sparkline(&mut pen, [0.0, 1.0, 4.0, 8.0, f32::NAN].into_iter(), 8.0, Style::new());
        pen.put("|", Style::new());
        assert_eq!(buf, Buffer::with_lines(["██▌  |      ", "■■········  ", "▁▂▅█ |      "]));
    }
}
