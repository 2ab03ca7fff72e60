//! What keys and clicks change and send.

use super::{UNICODE, app, draw, text};
use crate::telemetry::{Command, CommandError};
use crate::tui::app::{App, Effect, Page, STALE_TICKS, Target};
use crate::tui::fixtures;
use crate::tui::keys::action;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Position;
use std::sync::Arc;

fn press(app: &mut App, keys: &str) -> Effect {
    let mut effect = Effect::None;
    for c in keys.chars() {
        let code = match c {
            '\n' => KeyCode::Enter,
            '\t' => KeyCode::Tab,
            '\x1b' => KeyCode::Esc,
            c => KeyCode::Char(c),
        };
        let action = action(KeyEvent::new(code, KeyModifiers::NONE)).expect("a bound key");
        effect = app.act(action);
    }
    effect
}

fn screen(app: &App) -> String {
    text(&draw(app, 120, 40).0)
}

#[test]
fn digits_tab_enter_and_escape_turn_pages() {
    let mut app = app("healthy", UNICODE);
    for (keys, page) in [
        ("2", Page::Model),
        ("3", Page::Scheduler),
        ("4", Page::Log),
        ("\t", Page::Overview),
        ("\n", Page::Model),
        ("\x1b", Page::Overview),
    ] {
        press(&mut app, keys);
        assert_eq!(app.page, page, "after {keys:?}");
    }
}

#[test]
fn the_selection_stays_with_its_model_when_the_order_changes() {
    let mut app = app("overload", UNICODE);
    press(&mut app, "jjj");
    assert_eq!(app.selected().unwrap().name, "efficientnet-b0");
    press(&mut app, "s");
    assert_eq!(app.selected().unwrap().name, "efficientnet-b0");
    assert_eq!(app.selected_row(), 0, "sorted by name it is the first");
    press(&mut app, "kkG");
    assert_eq!(app.selected().unwrap().name, "yolov5s");
}

#[test]
fn commands_are_about_the_selected_model() {
    let mut app = app("healthy", UNICODE);
    press(&mut app, "j");
    let model = || "mobilenetv3-small".to_string();
    let cases = [
        ("p", Command::NextPolicy { model: Some(model()) }),
        ("P", Command::NextPolicy { model: None }),
        ("B", Command::Override { model: model(), batch: Some(16), instances: None }),
        ("i", Command::Override { model: model(), batch: Some(16), instances: Some(1) }),
        ("[", Command::Override { model: model(), batch: Some(8), instances: Some(1) }),
        ("r", Command::ClearOverride { model: model() }),
        ("L", Command::Load { model: model() }),
    ];
    for (key, command) in cases {
        assert_eq!(press(&mut app, key), Effect::Send(command), "{key}");
    }
}

#[test]
fn learning_is_switched_to_what_it_is_not() {
    let mut on = app("healthy", UNICODE);
    let command = Command::Learning { on: Some(false) };
    assert_eq!(press(&mut on, "t"), Effect::Send(command));
    assert!(screen(&on).contains("sent: learning: off"));
    let mut off = app("twelve", UNICODE);
    assert_eq!(press(&mut off, "t"), Effect::Send(Command::Learning { on: Some(true) }));
}

#[test]
fn unloading_asks_first() {
    let mut app = app("healthy", UNICODE);
    assert_eq!(press(&mut app, "U"), Effect::None);
    assert!(screen(&app).contains("yolov5s: unload? y: yes"));
    assert_eq!(press(&mut app, "j"), Effect::None, "another key is a no");
    assert_eq!(app.selected_row(), 0, "and does nothing else");
    press(&mut app, "U");
    assert_eq!(press(&mut app, "y"), Effect::Send(Command::Unload { model: "yolov5s".into() }));
}

#[test]
fn a_step_beyond_the_limits_is_explained_and_not_sent() {
    let mut app = app("healthy", UNICODE);
    assert_eq!(press(&mut app, "b"), Effect::None);
    assert!(screen(&app).contains("yolov5s has the smallest batch"));
}

#[test]
fn a_refused_command_is_said_and_forgotten() {
    let mut app = app("healthy", UNICODE);
    let Effect::Send(command) = press(&mut app, "B") else { panic!("nothing was sent") };
    app.on_reply(&command, Err(CommandError::ShuttingDown));
    assert!(screen(&app).contains("not done: yolov5s: hold batch 2, instances by policy: the app"));
    let first = Command::Override { model: "yolov5s".into(), batch: Some(2), instances: None };
    assert_eq!(press(&mut app, "B"), Effect::Send(first), "it does not build on the refused one");
}

#[test]
fn an_override_is_marked() {
    let app = app("failed", UNICODE);
    assert!(screen(&app).contains("8×2M"));
}

#[test]
fn frozen_shows_the_same_snapshot_and_says_so() {
    let mut app = app("healthy", UNICODE);
    press(&mut app, " ");
    let before = screen(&app);
    assert!(before.contains(" FROZEN "));
    let mut next = fixtures::settled("overload").0;
    (next.sequence, next.uptime_us) = (10_000, next.uptime_us + 500_000);
    assert!(!app.observe(Ok(Arc::new(next))), "nothing to draw");
    assert_eq!(screen(&app), before);
    press(&mut app, "f");
    assert!(screen(&app).contains("over SLO 138ms") && !screen(&app).contains("FROZEN"));
}

#[test]
fn the_same_snapshot_is_not_drawn_twice() {
    let snapshot = Arc::new(fixtures::settled("healthy").0);
    let mut app = App::new(UNICODE);
    assert!(app.observe(Ok(snapshot.clone())));
    assert!(!app.observe(Ok(snapshot.clone())));
    assert!(app.observe(Err("gone".into())));
    assert!(!app.observe(Err("gone".into())));
    assert!(app.observe(Ok(snapshot)), "the problem is over");
}

#[test]
fn silence_is_told() {
    let mut app = app("healthy", UNICODE);
    let drawn = (0..STALE_TICKS).filter(|_| app.tick()).count();
    assert_eq!(drawn, 1);
    assert!(screen(&app).contains("no new data for 3 s"));
}

#[test]
fn a_message_goes_by_itself() {
    let mut app = app("healthy", UNICODE);
    press(&mut app, "p");
    assert!(screen(&app).contains("sent: yolov5s: next policy"));
    while app.notice.is_some() {
        app.tick();
    }
    assert!(!screen(&app).contains("sent:"));
}

#[test]
fn any_key_closes_the_help_and_q_quits() {
    let mut app = app("healthy", UNICODE);
    press(&mut app, "?");
    assert!(screen(&app).contains("any key closes"));
    assert_eq!(press(&mut app, "p"), Effect::None, "the key that closes it does nothing else");
    assert!(!screen(&app).contains("any key closes"));
    assert_eq!(press(&mut app, "q"), Effect::Quit);
}

#[test]
fn clicks_turn_pages_and_choose_and_open_models() {
    let mut app = app("healthy", UNICODE);
    let at = |app: &App, target: &Target| {
        let hits = draw(app, 80, 24).1;
        let (area, _) = hits.iter().find(|(_, t)| t == target).expect("drawn").clone();
        (Position::new(area.x + 3, area.y), hits)
    };
    let model = Target::Model("tinybert".into());
    let (place, hits) = at(&app, &model);
    app.click(place, &hits);
    assert_eq!((app.page, app.selected_row()), (Page::Overview, 5));
    app.click(place, &hits);
    assert_eq!(app.page, Page::Model);
    let (place, hits) = at(&app, &Target::Page(Page::Log));
    app.click(place, &hits);
    assert_eq!(app.page, Page::Log);
    app.click(Position::new(0, 23), &hits);
    assert_eq!(app.page, Page::Log);
}

#[test]
fn time_scales_change_and_end() {
    let mut app = app("healthy", UNICODE);
    press(&mut app, "+");
    assert!(screen(&app).contains("last 2 min"));
    press(&mut app, "+++++");
    assert!(screen(&app).contains("last 15 min"));
    press(&mut app, "---------");
    assert!(screen(&app).contains("last 30 s"));
}
