//! The fallback for terminals without UTF-8: every glyph the screen uses becomes the ASCII
//! character that looks or weighs most like it. One pass over the finished frame, so that no
//! panel has to know.

use ratatui::buffer::Buffer;

/// Replaces everything that is not ASCII.
pub fn degrade(buf: &mut Buffer) {
    for cell in &mut buf.content {
        if cell.symbol().is_ascii() {
            continue;
        }
        let first = cell.symbol().chars().next().unwrap_or(' ');
        cell.set_char(ascii(first));
    }
}

fn ascii(c: char) -> char {
    match c {
        '─' | '—' | '–' => '-',
        '│' | '┊' | '┃' => '|',
        '╭' | '╮' | '╰' | '╯' | '├' | '┤' | '┬' | '┴' | '┼' | '✔' => '+',
        '●' => '*',
        '○' | '◐' | '◑' => 'o',
        '◌' | '·' | '░' => '.',
        '✖' => 'X',
        '▲' => '!',
        '▸' | '→' => '>',
        '←' => '<',
        '↑' => '^',
        '↓' => 'v',
        '×' => 'x',
        'µ' => 'u',
        'Σ' => 'S',
        '…' => '~',
        '°' => ' ',
        '■' | '█' | '▓' => '#',
        '▒' => '=',
        '▁' => '_',
        '▂' | '▃' => '.',
        '▄' | '▅' => ':',
        '▆' | '▇' => '+',
        '▉' | '▊' | '▋' | '▌' => '#',
        '▍' | '▎' | '▏' => ' ',
        '\u{2800}'..='\u{28ff}' => match (c as u32 - 0x2800).count_ones() {
            0 => ' ',
            1 | 2 => '.',
            3 | 4 => ':',
            5 | 6 => '+',
            _ => '#',
        },
        _ => '?',
    }
}
