//! Every page of every scene, at three sizes.

use super::{UNICODE, app, check, draw, text};
use crate::tui::app::Page;
use crate::tui::fixtures::SCENES;
use crate::tui::keys::Action;
use crate::tui::svg;
use crate::tui::theme::Theme;

fn check_pages(scene: &str, width: u16, height: u16) {
    let mut app = app(scene, UNICODE);
    // The third model: the one that failed, where one did.
    app.act(Action::Down);
    app.act(Action::Down);
    for page in Page::ALL {
        app.act(Action::Page(page));
        let frame = text(&draw(&app, width, height).0);
        check(&format!("{scene}_{}_{width}x{height}", page.title().to_lowercase()), &frame);
    }
}

#[test]
fn every_page_at_80x24() {
    for scene in SCENES {
        check_pages(scene, 80, 24);
    }
}

#[test]
fn every_page_at_120x40() {
    for scene in SCENES {
        check_pages(scene, 120, 40);
    }
}

#[test]
fn every_page_at_200x60() {
    for scene in SCENES {
        check_pages(scene, 200, 60);
    }
}

#[test]
fn help_frozen_confirm_and_lost_connection() {
    let mut app = app("overload", UNICODE);
    app.act(Action::Help);
    check("help_80x24", &text(&draw(&app, 80, 24).0));
    app.act(Action::Back);
    app.act(Action::Freeze);
    app.act(Action::Unload);
    check("frozen_confirm_80x24", &text(&draw(&app, 80, 24).0));
    app.act(Action::Back);
    app.observe(Err("no answer from bcedge.sock: Connection refused; trying again".into()));
    check("no_data_80x24", &text(&draw(&app, 80, 24).0));
}

#[test]
fn the_scheduler_page_tells_of_drift_of_settings_by_hand_and_of_fixed_instances() {
    let mut overload = app("overload", UNICODE);
    overload.act(Action::Page(Page::Scheduler));
    check("drift_scheduler_120x40", &text(&draw(&overload, 120, 40).0));
    let mut held = app("twelve", UNICODE);
    held.act(Action::Page(Page::Scheduler));
    check("held_tac_scheduler_80x24", &text(&draw(&held, 80, 24).0));
    check("held_tac_scheduler_80x40", &text(&draw(&held, 80, 40).0));
}

#[test]
fn too_small_says_so_and_still_tells_the_worst() {
    let frame = text(&draw(&app("failed", UNICODE), 60, 10).0);
    check("too_small_60x10", &frame);
}

#[test]
fn ascii_frames_are_ascii() {
    let theme = Theme { no_color: true, ascii: true };
    for scene in SCENES {
        let mut app = app(scene, theme);
        for page in Page::ALL {
            app.act(Action::Page(page));
            let frame = text(&draw(&app, 120, 40).0);
            assert!(frame.is_ascii(), "{scene} {page:?}:\n{frame}");
        }
    }
    let mut overload = app("overload", theme);
    check("ascii_overview_80x24", &text(&draw(&overload, 80, 24).0));
    overload.act(Action::Open);
    check("ascii_model_80x24", &text(&draw(&overload, 80, 24).0));
    overload.act(Action::Page(Page::Scheduler));
    check("ascii_scheduler_80x24", &text(&draw(&overload, 80, 24).0));
}

#[test]
fn without_colour_the_text_is_the_same_and_no_cell_has_one() {
    use ratatui::style::Color;
    for scene in SCENES {
        for page in Page::ALL {
            let mut plain = app(scene, Theme { no_color: true, ascii: false });
            let mut coloured = app(scene, UNICODE);
            plain.act(Action::Page(page));
            coloured.act(Action::Page(page));
            let (plain, coloured) = (draw(&plain, 120, 40).0, draw(&coloured, 120, 40).0);
            assert_eq!(text(&plain), text(&coloured));
            let uncoloured = |c: Color| c == Color::Reset;
            assert!(plain.content.iter().all(|c| uncoloured(c.fg) && uncoloured(c.bg)));
            assert!(coloured.content.iter().any(|c| !uncoloured(c.fg)));
            let of_sixteen = |c: Color| !matches!(c, Color::Indexed(_) | Color::Rgb(..));
            assert!(coloured.content.iter().all(|c| of_sixteen(c.fg) && of_sixteen(c.bg)));
        }
    }
}

#[test]
fn what_is_bad_is_also_red_and_bold() {
    use ratatui::style::{Color, Modifier};
    let buf = draw(&app("overload", UNICODE), 80, 24).0;
    let cells = &buf.content;
    let starts = |text: &str| {
        let symbols: Vec<String> = text.chars().map(String::from).collect();
        let matches = |at: &usize| (0..symbols.len()).all(|i| cells[at + i].symbol() == symbols[i]);
        (0..cells.len() - symbols.len()).find(matches).expect("drawn")
    };
    let bad = &cells[starts("!312ms")];
    assert_eq!(bad.fg, Color::Red);
    assert!(bad.modifier.contains(Modifier::BOLD));
    assert_eq!(cells[starts("6.62ms")].fg, Color::Green);
}

#[test]
fn a_frame_becomes_a_picture() {
    let svg = svg::render(&draw(&app("overload", UNICODE), 120, 40).0);
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    assert!(svg.contains("yolov5s") && svg.len() < 400_000, "{} bytes", svg.len());
}
