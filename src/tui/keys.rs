//! What each key does, in one place: the keymap, the hints line and the help all come from here.

use crate::tui::app::Page;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What an operator can do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Quit,
    Suspend,
    Page(Page),
    NextPage,
    PreviousPage,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    First,
    Last,
    Open,
    Back,
    Help,
    Freeze,
    /// Longer or shorter time on the curves.
    ZoomOut,
    ZoomIn,
    NextPolicy,
    NextPolicyOfAll,
    /// Learning while serving, on or off.
    Learning,
    BatchDown,
    BatchUp,
    InstancesDown,
    InstancesUp,
    ClearOverride,
    Sort,
    LogLevel,
    Load,
    Unload,
    Confirm,
    Redraw,
}

/// The action of a key press; `None` for keys that do nothing.
pub fn action(key: KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return control_action(key.code);
    }
    Some(match key.code {
        KeyCode::Char(c) => return char_action(c),
        KeyCode::Tab => Action::NextPage,
        KeyCode::BackTab => Action::PreviousPage,
        KeyCode::Up => Action::Up,
        KeyCode::Down => Action::Down,
        KeyCode::Left => Action::Left,
        KeyCode::Right => Action::Right,
        KeyCode::PageUp => Action::PageUp,
        KeyCode::PageDown => Action::PageDown,
        KeyCode::Home => Action::First,
        KeyCode::End => Action::Last,
        KeyCode::Enter => Action::Open,
        KeyCode::Esc | KeyCode::Backspace => Action::Back,
        KeyCode::F(1) => Action::Help,
        _ => return None,
    })
}

fn control_action(code: KeyCode) -> Option<Action> {
    match code {
        KeyCode::Char('c') => Some(Action::Quit),
        KeyCode::Char('z') => Some(Action::Suspend),
        KeyCode::Char('l') => Some(Action::Redraw),
        KeyCode::Char('u') => Some(Action::PageUp),
        KeyCode::Char('d') => Some(Action::PageDown),
        _ => None,
    }
}

fn char_action(c: char) -> Option<Action> {
    Some(match c {
        '1' => Action::Page(Page::Overview),
        '2' => Action::Page(Page::Model),
        '3' => Action::Page(Page::Scheduler),
        '4' => Action::Page(Page::Log),
        'k' => Action::Up,
        'j' => Action::Down,
        'g' => Action::First,
        'G' => Action::Last,
        'q' => Action::Quit,
        '?' | 'h' => Action::Help,
        ' ' | 'f' => Action::Freeze,
        '+' | '=' => Action::ZoomOut,
        '-' | '_' => Action::ZoomIn,
        'p' => Action::NextPolicy,
        'P' => Action::NextPolicyOfAll,
        't' => Action::Learning,
        'b' | '[' => Action::BatchDown,
        'B' | ']' => Action::BatchUp,
        'i' | '{' => Action::InstancesDown,
        'I' | '}' => Action::InstancesUp,
        'r' | 'c' => Action::ClearOverride,
        's' => Action::Sort,
        'v' => Action::LogLevel,
        'L' => Action::Load,
        'U' => Action::Unload,
        'y' => Action::Confirm,
        _ => return None,
    })
}

/// The help: (keys, what they do), grouped.
pub const HELP: [(&str, &[(&str, &str)]); 3] = [
    (
        "Look",
        &[
            ("1 2 3 4  Tab", "page"),
            ("↑ ↓  j k", "select, scroll"),
            ("Enter  Esc", "open the model, back"),
            ("PgUp PgDn g G", "scroll far"),
            ("s", "sort the models"),
            ("+  -", "longer, shorter time"),
            ("Space  f", "freeze the screen"),
            ("v", "log: lowest level"),
            ("← →", "log: move sideways"),
        ],
    ),
    (
        "Act on the selected model",
        &[
            ("p  P", "next policy; of all"),
            ("t", "learning on, off"),
            ("b B   [ ]", "smaller, larger batch"),
            ("i I   { }", "fewer, more instances"),
            ("r  c", "back to its policy"),
            ("L  U", "load (again), unload"),
        ],
    ),
    (
        "Screen",
        &[
            ("?", "this help"),
            ("Ctrl-L", "draw anew"),
            ("Ctrl-Z", "suspend"),
            ("q  Ctrl-C", "quit"),
        ],
    ),
];

/// The hints of a page, most useful first: what does not fit is left out from the end.
pub fn hints(page: Page) -> &'static [(&'static str, &'static str)] {
    match page {
        Page::Overview => &[
            ("?", "help"),
            ("q", "quit"),
            ("↑↓", "select"),
            ("Enter", "model"),
            ("p", "policy"),
            ("bB", "batch"),
            ("iI", "instances"),
            ("r", "reset"),
            ("f", "freeze"),
            ("s", "sort"),
            ("+-", "time"),
            ("Tab", "page"),
            ("L U", "load, unload"),
        ],
        Page::Model => &[
            ("?", "help"),
            ("q", "quit"),
            ("Esc", "back"),
            ("↑↓", "model"),
            ("p", "policy"),
            ("bB", "batch"),
            ("iI", "instances"),
            ("r", "reset"),
            ("f", "freeze"),
            ("+-", "time"),
            ("L U", "load, unload"),
        ],
        Page::Scheduler => &[
            ("?", "help"),
            ("q", "quit"),
            ("↑↓", "select"),
            ("p", "policy"),
            ("P", "of all"),
            ("t", "learning"),
            ("bB", "batch"),
            ("iI", "instances"),
            ("r", "reset"),
            ("f", "freeze"),
            ("Esc", "back"),
        ],
        Page::Log => &[
            ("?", "help"),
            ("q", "quit"),
            ("↑↓", "scroll"),
            ("G", "newest"),
            ("v", "level"),
            ("←→", "sideways"),
            ("f", "freeze"),
            ("Esc", "back"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_help_and_the_hints_does_something() {
        let help = HELP.iter().flat_map(|(_, keys)| keys.iter());
        let hints = Page::ALL.into_iter().flat_map(|page| hints(page).iter());
        for (keys, meaning) in help.chain(hints) {
            for name in keys.split_whitespace() {
                for key in named(name) {
                    assert!(action(key).is_some(), "{name} is said to do: {meaning}");
                }
            }
        }
    }

    fn named(name: &str) -> Vec<KeyEvent> {
        let code = |code| vec![KeyEvent::new(code, KeyModifiers::NONE)];
        match name {
            "Tab" => code(KeyCode::Tab),
            "Enter" => code(KeyCode::Enter),
            "Esc" => code(KeyCode::Esc),
            "Space" => code(KeyCode::Char(' ')),
            "PgUp" => code(KeyCode::PageUp),
            "PgDn" => code(KeyCode::PageDown),
            _ if name.starts_with("Ctrl-") => {
                let letter = name.chars().last().unwrap().to_ascii_lowercase();
                vec![KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL)]
            }
            _ => name.chars().map(|c| KeyEvent::new(char_code(c), KeyModifiers::NONE)).collect(),
        }
    }

    fn char_code(c: char) -> KeyCode {
        match c {
            '↑' => KeyCode::Up,
            '↓' => KeyCode::Down,
            '←' => KeyCode::Left,
            '→' => KeyCode::Right,
            c => KeyCode::Char(c),
        }
    }

    #[test]
    fn a_released_key_does_nothing() {
        let mut key = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        key.kind = KeyEventKind::Release;
        assert_eq!(action(key), None);
    }
}
