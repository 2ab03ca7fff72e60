//! Writes text into one row of the screen, from left to right, never beyond its end.

use ratatui::buffer::{Buffer, CellWidth};
use ratatui::layout::Rect;
use ratatui::style::Style;

/// Rows at least this long have room for wider gaps.
const WIDE: u16 = 100;

/// Columns a text takes; control characters are never drawn.
pub fn columns(text: &str) -> u16 {
    if text.contains(char::is_control) {
        text.replace(char::is_control, "").as_str().cell_width()
    } else {
        text.cell_width()
    }
}

/// Stands at the next free column of a row.
pub struct Pen<'a> {
    buf: &'a mut Buffer,
    start: u16,
    x: u16,
    y: u16,
    end: u16,
}

impl<'a> Pen<'a> {
    /// At the left of the area's first row. What lies outside the screen is not drawn.
    pub fn new(buf: &'a mut Buffer, area: Rect) -> Pen<'a> {
        let area = area.intersection(buf.area);
        let end = if area.height == 0 { area.x } else { area.right() };
        Pen { buf, start: area.x, x: area.x, y: area.y, end }
    }

    /// Columns left in the row.
    pub fn left(&self) -> u16 {
        self.end - self.x
    }

    /// The next column.
    pub fn x(&self) -> u16 {
        self.x
    }

    /// As much of the text as there is room for.
    pub fn put(&mut self, text: &str, style: Style) -> &mut Self {
        if self.left() > 0 {
            let room = usize::from(self.left());
            self.x = self.buf.set_stringn(self.x, self.y, text, room, style).0;
        }
        self
    }

    /// `count` times the same character.
    pub fn repeat(&mut self, c: char, count: u16, style: Style) -> &mut Self {
        for _ in 0..count.min(self.left()) {
            if let Some(cell) = self.buf.cell_mut((self.x, self.y)) {
                cell.set_char(c).set_style(style);
            }
            self.x += 1;
        }
        self
    }

    pub fn skip(&mut self, columns: u16) -> &mut Self {
        self.x = self.x.saturating_add(columns).min(self.end);
        self
    }

    /// Exactly `width` columns, aligned left; `…` stands for what is cut off.
    pub fn fit(&mut self, text: &str, width: u16, style: Style) -> &mut Self {
        let width = width.min(self.left());
        let next = self.x + width;
        if columns(text) > width && width > 0 {
            let kept = self.buf.set_stringn(self.x, self.y, text, usize::from(width) - 1, style).0;
            self.buf.set_stringn(kept, self.y, "…", 1, style);
        } else {
            self.put(text, style);
        }
        self.x = next;
        self
    }

    /// Exactly `width` columns, aligned right.
    pub fn right(&mut self, text: &str, width: u16, style: Style) -> &mut Self {
        let pad = width.saturating_sub(columns(text));
        self.skip(pad.min(width)).fit(text, width - pad.min(width), style)
    }

    /// A label and its value, with a gap after them; all of it or, once something did not fit,
    /// nothing.
    pub fn pair(
        &mut self,
        label: &str,
        label_style: Style,
        value: &str,
        style: Style,
    ) -> &mut Self {
        if columns(label) + 1 + columns(value) > self.left() {
            return self.skip(u16::MAX);
        }
        let gap = if self.end - self.start >= WIDE { 3 } else { 2 };
        self.put(label, label_style).skip(1).put(value, style).skip(gap)
    }
}

/// Breaks a text into lines of at most `width` columns, between words where it can be.
pub fn wrap(text: &str, width: u16) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        let paragraph = paragraph.replace(char::is_control, " ");
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.cell_width() + 1 + word.cell_width() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            for c in word.chars() {
                // A word longer than a line is broken.
                if line.cell_width() + c.to_string().cell_width() > width.max(2) {
                    lines.push(std::mem::take(&mut line));
                }
                line.push(c);
            }
        }
        if !line.is_empty() {
            lines.push(line);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(width: u16, draw: impl FnOnce(&mut Pen)) -> String {
        let mut buf = Buffer::empty(Rect::new(0, 0, width, 1));
        draw(&mut Pen::new(&mut buf, Rect::new(0, 0, width, 1)));
        buf.content.iter().map(|cell| cell.symbol()).collect()
    }

    #[test]
    fn columns_have_their_width_whatever_the_text() {
        let style = Style::new();
        let text = drawn(12, |pen| {
            pen.fit("abcdef", 4, style).right("1", 3, style).right("12345", 4, style);
        });
        assert_eq!(text, "abc…  1123… ");
        // A wide character that would be cut in half is left out.
        assert_eq!(
            drawn(4, |pen| {
                pen.fit("日本語", 4, style);
            }),
            "日 … "
        );
    }

    #[test]
    fn nothing_is_written_outside() {
        let mut buf = Buffer::empty(Rect::new(0, 0, 3, 1));
        Pen::new(&mut buf, Rect::new(2, 0, 50, 1)).put("xyz", Style::new());
        Pen::new(&mut buf, Rect::new(0, 7, 50, 1)).put("xyz", Style::new()).fit(
            "a",
            3,
            Style::new(),
        );
        assert_eq!(buf, Buffer::with_lines(["  x"]));
    }

    #[test]
    fn lines_break_between_words_and_long_words_anywhere() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("a\n\nb", 9), ["a", "b"]);
        assert_eq!(wrap("", 0), Vec::<String>::new());
    }
}
