//! Whole frames as pictures in text, what keys do, and that nothing can break the screen.

mod frames;
mod keys;
mod random;

use crate::tui::app::{App, Hits};
use crate::tui::fixtures;
use crate::tui::render;
use crate::tui::theme::Theme;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::sync::Arc;

pub(super) const UNICODE: Theme = Theme { no_color: false, ascii: false };

/// An application that has watched the scene.
fn app(scene: &str, theme: Theme) -> App {
    let mut app = App::new(theme);
    for snapshot in fixtures::timeline(scene) {
        app.observe(Ok(Arc::new(snapshot)));
    }
    app
}

fn draw(app: &App, width: u16, height: u16) -> (Buffer, Hits) {
    let mut buf = Buffer::empty(Rect::new(0, 0, width, height));
    let mut hits = Hits::new();
    render::frame(app, &mut buf, &mut hits);
    (buf, hits)
}

/// The characters of a frame, without what trails a line.
pub(super) fn text(buf: &Buffer) -> String {
    let lines = buf.content.chunks(usize::from(buf.area.width.max(1)));
    let lines = lines.map(|cells| {
        let line: String = cells.iter().map(|cell| cell.symbol()).collect();
        line.trim_end().to_string()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Compares a frame with the picture of that name.
pub(super) fn check(name: &str, frame: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("snapshots");
    settings.bind(|| insta::assert_snapshot!(name, frame));
}
