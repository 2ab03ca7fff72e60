//! A frame as an SVG picture, for the README: text as text, blocks, lines and dots as shapes, so
//! that the picture does not depend on the glyphs of the reader's fonts.

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Size of a character cell in pixels; the width is that of common monospaced fonts at this size.
const CELL_WIDTH: f64 = 8.43;
const CELL_HEIGHT: f64 = 17.0;
const FONT_SIZE: f64 = 14.0;
/// Of the baseline, from the top of a cell.
const BASELINE: f64 = 12.8;
const MARGIN: f64 = 12.0;
const BACKGROUND: &str = "#10141b";
const FOREGROUND: &str = "#d5dae3";
/// Opacity of what is drawn faintly, in percent.
const FAINT: u8 = 60;

/// Draws the buffer as it would look in a dark terminal.
pub fn render(buf: &Buffer) -> String {
    let width = f64::from(buf.area.width) * CELL_WIDTH + 2.0 * MARGIN;
    let height = f64::from(buf.area.height) * CELL_HEIGHT + 2.0 * MARGIN;
    let mut svg = Svg::default();
    for y in 0..buf.area.height {
        svg.row(buf, y);
    }
    svg.flush_rect();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.1} {height:.1}\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n\
         <g transform=\"translate({MARGIN} {MARGIN})\" font-family=\"ui-monospace, 'DejaVu Sans \
         Mono', Menlo, Consolas, monospace\" font-size=\"{FONT_SIZE}\" xml:space=\"preserve\">\n"
    );
    out += &svg.rects;
    for (ink, path) in &svg.dots {
        let stroke = "stroke-width=\"1.9\" stroke-linecap=\"round\" fill=\"none\"";
        let _ = writeln!(out, "<path d=\"{path}\" {} {stroke}/>", ink.attribute("stroke"));
    }
    for (ink, path) in &svg.lines {
        let _ = writeln!(out, "<path d=\"{path}\" {} fill=\"none\"/>", ink.attribute("stroke"));
    }
    out += &svg.text;
    out += "</g>\n</svg>\n";
    out
}

/// Colour and faintness of what is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ink {
    color: &'static str,
    /// In percent.
    opacity: u8,
}

impl Ink {
    fn attribute(self, name: &str) -> String {
        let opacity = match self.opacity {
            100.. => String::new(),
            percent => format!(" opacity=\"{}\"", f64::from(percent) / 100.0),
        };
        format!("{name}=\"{}\"{opacity}", self.color)
    }
}

#[derive(Default)]
struct Svg {
    rects: String,
    last_rect: Option<Block>,
    dots: BTreeMap<Ink, String>,
    lines: BTreeMap<Ink, String>,
    text: String,
}

/// A filled rectangle.
struct Block {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    ink: Ink,
}

/// Neighbouring characters of one look.
struct Run {
    x: u16,
    cells: u16,
    text: String,
    ink: Ink,
    bold: bool,
}

impl Svg {
    fn row(&mut self, buf: &Buffer, y: u16) {
        let mut run: Option<Run> = None;
        let top = f64::from(y) * CELL_HEIGHT;
        for x in 0..buf.area.width {
            let Some(cell) = buf.cell((buf.area.x + x, buf.area.y + y)) else { continue };
            let (ink, behind) = colors(cell);
            let left = f64::from(x) * CELL_WIDTH;
            if let Some(color) = behind {
                self.rect(left, top, CELL_WIDTH, CELL_HEIGHT, Ink { color, opacity: 100 });
            }
            let symbol = cell.symbol();
            let first = symbol.chars().next().unwrap_or(' ');
            if first == ' ' || self.shape(first, left, top, ink) {
                self.flush(run.take(), top);
                continue;
            }
            let bold = cell.modifier.contains(Modifier::BOLD);
            match &mut run {
                Some(run) if run.ink == ink && run.bold == bold => {
                    run.text.push_str(symbol);
                    run.cells += 1;
                }
                _ => {
                    self.flush(run.take(), top);
                    run = Some(Run { x, cells: 1, text: symbol.into(), ink, bold });
                }
            }
        }
        self.flush(run, top);
    }

    fn flush(&mut self, run: Option<Run>, top: f64) {
        let Some(run) = run else { return };
        let weight = if run.bold { " font-weight=\"bold\"" } else { "" };
        let (x, y) = (f64::from(run.x) * CELL_WIDTH, top + BASELINE);
        let (length, fill) = (f64::from(run.cells) * CELL_WIDTH, run.ink.attribute("fill"));
        let text = run.text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = writeln!(
            self.text,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{length:.1}\" {fill}{weight}>{text}</text>"
        );
    }

    /// Neighbours of one height and look become one, so that no seams show.
    fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, ink: Ink) {
        if let Some(last) = &mut self.last_rect
            && (last.y, last.height, last.ink) == (y, height, ink)
            && (last.x + last.width - x).abs() < 0.01
        {
            last.width += width;
            return;
        }
        self.flush_rect();
        self.last_rect = Some(Block { x, y, width, height, ink });
    }

    fn flush_rect(&mut self) {
        let Some(Block { x, y, width, height, ink }) = self.last_rect.take() else { return };
        let fill = ink.attribute("fill");
        let _ = writeln!(
            self.rects,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" {fill}/>"
        );
    }

    /// Draws a block, line or braille character; false for all others.
    fn shape(&mut self, c: char, left: f64, top: f64, ink: Ink) -> bool {
        let (width, height) = (CELL_WIDTH, CELL_HEIGHT);
        match c {
            '\u{2581}'..='\u{2588}' => {
                let tall = f64::from(c as u32 - 0x2580) / 8.0 * height;
                self.rect(left, top + height - tall, width, tall, ink);
            }
            '\u{2589}'..='\u{258f}' => {
                let wide = f64::from(0x2590 - c as u32) / 8.0 * width;
                self.rect(left, top, wide, height, ink);
            }
            '░' => self.rect(left, top, width, height, Ink { opacity: 25, ..ink }),
            '▒' => self.rect(left, top, width, height, Ink { opacity: FAINT, ..ink }),
            '▓' => self.rect(left, top, width, height, Ink { opacity: 80, ..ink }),
            '■' => self.rect(left + 0.8, top + 4.2, width - 1.8, width, ink),
            '\u{2800}'..='\u{28ff}' => self.braille(c as u32 - 0x2800, left, top, ink),
            '─' | '│' | '┊' | '╭' | '╮' | '╰' | '╯' => self.line(c, left, top, ink),
            _ => return false,
        }
        true
    }

    fn braille(&mut self, bits: u32, left: f64, top: f64, ink: Ink) {
        const PLACES: [(u32, u32); 8] =
            [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)];
        let path = self.dots.entry(ink).or_default();
        for (bit, (column, line)) in PLACES.into_iter().enumerate() {
            if bits >> bit & 1 == 1 {
                let x = left + CELL_WIDTH * (0.25 + 0.5 * f64::from(column));
                let y = top + CELL_HEIGHT * (0.125 + 0.25 * f64::from(line));
                let _ = write!(path, "M{x:.1} {y:.1}h0");
            }
        }
    }

    fn line(&mut self, c: char, left: f64, top: f64, ink: Ink) {
        let (right, bottom) = (left + CELL_WIDTH, top + CELL_HEIGHT);
        let (x, y) = (left + CELL_WIDTH / 2.0, top + CELL_HEIGHT / 2.0);
        let path = self.lines.entry(ink).or_default();
        let _ = match c {
            '─' => write!(path, "M{left:.1} {y:.1}H{right:.1}"),
            '│' => write!(path, "M{x:.1} {top:.1}V{bottom:.1}"),
            '┊' => {
                let step = CELL_HEIGHT / 6.0;
                (0..3).try_for_each(|i| {
                    let from = top + step * (f64::from(i) * 2.0 + 0.5);
                    write!(path, "M{x:.1} {from:.1}v{step:.1}")
                })
            }
            '╭' => write!(path, "M{x:.1} {bottom:.1}Q{x:.1} {y:.1} {right:.1} {y:.1}"),
            '╮' => write!(path, "M{left:.1} {y:.1}Q{x:.1} {y:.1} {x:.1} {bottom:.1}"),
            '╰' => write!(path, "M{x:.1} {top:.1}Q{x:.1} {y:.1} {right:.1} {y:.1}"),
            _ => write!(path, "M{left:.1} {y:.1}Q{x:.1} {y:.1} {x:.1} {top:.1}"),
        };
    }
}

/// The ink of a cell, and what is behind it unless that is the background.
fn colors(cell: &Cell) -> (Ink, Option<&'static str>) {
    let front = hex(cell.fg).unwrap_or(FOREGROUND);
    let back = hex(cell.bg);
    let opacity = if cell.modifier.contains(Modifier::DIM) { FAINT } else { 100 };
    if cell.modifier.contains(Modifier::REVERSED) {
        return (Ink { color: back.unwrap_or(BACKGROUND), opacity: 100 }, Some(front));
    }
    (Ink { color: front, opacity }, back)
}

/// The sixteen colours; what the UI never uses is drawn in the default colour.
fn hex(color: Color) -> Option<&'static str> {
    Some(match color {
        Color::Black => "#1b212b",
        Color::Red | Color::LightRed => "#f4656b",
        Color::Green | Color::LightGreen => "#63d493",
        Color::Yellow | Color::LightYellow => "#f0c252",
        Color::Blue | Color::LightBlue => "#5a97f5",
        Color::Magenta | Color::LightMagenta => "#d88af0",
        Color::Cyan | Color::LightCyan => "#56c8d8",
        Color::Gray => "#aab2c0",
        Color::DarkGray => "#465064",
        Color::White => "#f4f6fa",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::style::Style;

    #[test]
    fn text_is_text_and_blocks_are_shapes() {
        let mut buf = Buffer::with_lines(["a<b  █⣿─"]);
        buf.set_style(buf.area, Style::new().fg(Color::Green));
        let svg = render(&buf);
        assert!(svg.contains(">a&lt;b</text>"), "{svg}");
        assert_eq!(svg.matches("h0").count(), 8, "a full braille cell has eight dots");
        assert!(!svg.contains('█') && !svg.contains('⣿') && !svg.contains('─'));
        assert!(svg.contains("#63d493"));
    }

    #[test]
    fn reversed_cells_swap_their_colours() {
        let mut buf = Buffer::with_lines(["x"]);
        buf.set_style(buf.area, Style::new().add_modifier(Modifier::REVERSED));
        let svg = render(&buf);
        assert!(svg.contains(&format!("fill=\"{BACKGROUND}\">x</text>")), "{svg}");
    }
}
