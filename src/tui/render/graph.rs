//! Curves and bars made of characters.

use crate::tui::render::pen::Pen;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

const EIGHTHS_UP: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Braille dots of the left and right half of a cell, from the bottom up.
const DOTS: [[u32; 4]; 2] = [[0x40, 0x04, 0x02, 0x01], [0x80, 0x20, 0x10, 0x08]];

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, Default)]
pub struct CurveStyle {
    /// Cells the curve's upper edge goes through.
    pub edge: Style,
    /// What is below.
    pub fill: Style,
    /// The line over it.
    pub line: Style,
}

/// A filled curve, two values a column, with an optional second one as a line over it. `values`
/// and `line` bring `2 × area.width` values, NaN where there is none; the plot covers `range`.
pub fn area_curve(
    buf: &mut Buffer,
    area: Rect,
    values: impl Iterator<Item = f32>,
    line: impl Iterator<Item = f32>,
    range: std::ops::Range<f32>,
    style: CurveStyle,
) {
    let area = area.intersection(buf.area);
    let top = u32::from(area.height) * 4;
    let dots_of = |value: f32| {
        if !value.is_finite() {
            return 0;
        }
        // The bottom is a dot: it differs from not knowing.
        let height = (range.end - range.start).max(f32::MIN_POSITIVE);
        let share = ((value - range.start) / height).clamp(0.0, 1.0);
        ((share * top as f32).round() as u32).max(1)
    };
    let (mut values, mut line) = (values, line);
    for x in area.left()..area.right() {
        let next =
            |from: &mut dyn Iterator<Item = f32>| [(); 2].map(|()| from.next().map_or(0, dots_of));
        let (filled, marks) = (next(&mut values), next(&mut line));
        for row in 0..area.height {
            let floor = u32::from(area.height - 1 - row) * 4;
            if let Some((symbol, style)) = curve_cell(floor, filled, marks, style)
                && let Some(cell) = buf.cell_mut((x, area.y + row))
            {
                cell.set_char(symbol).set_style(style);
            }
        }
    }
}

/// One cell, whose lowest dots stand at `floor`: its halves are filled up to `filled` dots and
/// have one dot at `marks`; 0 is none.
fn curve_cell(
    floor: u32,
    filled: [u32; 2],
    marks: [u32; 2],
    style: CurveStyle,
) -> Option<(char, Style)> {
    let (mut fill, mut line) = (0, 0);
    for half in 0..2 {
        for (level, bit) in (floor + 1..).zip(DOTS[half]) {
            // Inside the fill the line is a gap.
            match level == marks[half] {
                true if level > filled[half] => line |= bit,
                false if level <= filled[half] => fill |= bit,
                _ => {}
            }
        }
    }
    let edge = filled.iter().any(|dots| (floor + 1..=floor + 4).contains(dots));
    let style = match fill {
        0 => style.line,
        _ if edge => style.edge,
        _ => style.fill,
    };
    let symbol = char::from_u32(0x2800 + (fill | line)).filter(|_| fill | line != 0)?;
    Some((symbol, style))
}

/// One row of eighth blocks, scaled to `max`; nothing where there is no value. The top eighth stays
/// free, so that curves in rows below each other do not run into one.
pub fn sparkline(pen: &mut Pen, values: impl Iterator<Item = f32>, max: f32, style: Style) {
    for value in values {
        let symbol = if value.is_finite() {
            let eighths = (value / max.max(f32::MIN_POSITIVE) * 6.0).ceil().clamp(0.0, 6.0);
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

/// A bar of up to `width` columns, at least one unless it stands for nothing; blank up to `width`.
pub fn bar(pen: &mut Pen, share: f64, width: u16, style: Style) {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let full = (share * f64::from(width)).round().max(f64::from(u8::from(share > 0.0))) as u16;
    pen.repeat('■', full.min(width), style).skip(width.saturating_sub(full));
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
        area_curve(&mut buf, area, values, line, 0.0..8.0, CurveStyle::default());
        buf
    }

    const NONE: [f32; 8] = [f32::NAN; 8];

    #[test]
    fn a_curve_fills_from_the_bottom_and_leaves_gaps() {
        let buf = curve(3, 2, &[8.0, 4.0, 0.0, f32::NAN, f32::NAN, 16.0], &NONE);
        assert_eq!(buf, Buffer::with_lines(["⡇ ⢸", "⣿⡀⢸"]));
    }

    #[test]
    fn a_line_is_dots_above_the_fill_and_a_gap_inside() {
        let buf = curve(1, 2, &[2.0, 2.0], &[8.0, 1.0]);
        assert_eq!(buf, Buffer::with_lines(["⠁", "⡤"]));
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
        assert_eq!(buf, Buffer::with_lines(["■■■  |      ", "■■········  ", "▁▂▄▇ |      "]));
    }
}
