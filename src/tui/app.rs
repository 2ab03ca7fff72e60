//! The screen's state: what is shown of which snapshot, and what keys and clicks change.

use crate::telemetry::snapshot::{ModelSnapshot, Snapshot};
use crate::telemetry::{Command, CommandError};
use crate::tui::diagnose::{self, Finding, Severity};
use crate::tui::history::History;
use crate::tui::keys::Action;
use crate::tui::log_view::LogView;
use crate::tui::manual::{Knob, Manual};
use crate::tui::order::{self, Sort};
use crate::tui::theme::Theme;
use ratatui::layout::{Position, Rect};
use std::sync::Arc;

/// Time the curves and sparklines cover, in seconds.
pub const SCALES_S: [u64; 5] = [30, 60, 120, 300, 900];
/// Ticks a message stays.
const NOTICE_TICKS: u32 = 50;
/// Ticks without a new snapshot before the screen says so.
pub const STALE_TICKS: u32 = 30;
/// Ticks are this long.
pub const TICK_MS: u64 = 100;
const SCROLL_FAR: usize = 10;

/// The four screens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Page {
    #[default]
    Overview,
    Model,
    Scheduler,
    Log,
}

impl Page {
    pub const ALL: [Page; 4] = [Page::Overview, Page::Model, Page::Scheduler, Page::Log];

    pub fn title(self) -> &'static str {
        match self {
            Page::Overview => "Overview",
            Page::Model => "Model",
            Page::Scheduler => "Scheduler",
            Page::Log => "Log",
        }
    }

    fn turn(self, by: usize) -> Page {
        Page::ALL[(self as usize + by) % Page::ALL.len()]
    }
}

/// What the run loop has to do after a key or a click.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    None,
    Quit,
    Suspend,
    /// Clear the terminal and draw everything.
    Redraw,
    Send(Command),
}

/// What a click hits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Page(Page),
    Model(String),
}

/// Where things can be clicked, as last drawn.
pub type Hits = Vec<(Rect, Target)>;

/// A message to the operator that goes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub severity: Severity,
    pub text: String,
    ticks_left: u32,
}

/// Everything the renderer draws from.
#[derive(Debug, Default)]
pub struct App {
    pub theme: Theme,
    pub page: Page,
    pub help: bool,
    /// The history as it was when the screen was frozen; the live one goes on behind it.
    frozen: Option<Box<History>>,
    pub sort: Sort,
    pub log: LogView,
    /// Waits for a yes.
    pub confirm: Option<Command>,
    pub notice: Option<Notice>,
    /// Why there are no snapshots.
    pub problem: Option<String>,
    /// Ticks since the last new snapshot.
    pub stale_ticks: u32,
    scale: usize,
    shown: Arc<Snapshot>,
    live: Arc<Snapshot>,
    history: History,
    findings: Vec<Finding>,
    /// Indices of the shown snapshot's models, in the order of the rows.
    order: Vec<usize>,
    selected: Option<String>,
    manual: Manual,
}

impl App {
    pub fn new(theme: Theme) -> App {
        App { theme, scale: 1, ..App::default() }
    }

    /// The snapshot on the screen; while frozen not the newest.
    pub fn snapshot(&self) -> &Snapshot {
        &self.shown
    }

    /// Of the shown snapshot and before.
    pub fn history(&self) -> &History {
        self.frozen.as_deref().unwrap_or(&self.history)
    }

    /// Whether the screen stands still.
    pub fn frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// Of the shown snapshot, worst first.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The time the curves cover.
    pub fn span_us(&self) -> u64 {
        SCALES_S[self.scale] * 1_000_000
    }

    /// True before the first snapshot.
    pub fn waiting(&self) -> bool {
        self.shown.sequence == 0 && self.shown.models.is_empty()
    }

    /// The models in the order of the rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &ModelSnapshot> {
        self.order.iter().map(|index| &self.shown.models[*index])
    }

    /// Row of the selected model.
    pub fn selected_row(&self) -> usize {
        let name = self.selected.as_deref();
        self.rows().position(|m| Some(m.name.as_str()) == name).unwrap_or(0)
    }

    /// The selected model, the first one if none was chosen.
    pub fn selected(&self) -> Option<&ModelSnapshot> {
        let row = self.selected_row();
        self.rows().nth(row)
    }

    /// Chooses a model by name; the first one while there is none of that name.
    pub fn select(&mut self, name: Option<String>) {
        self.selected = name;
    }

    /// Takes in what the appliance shows now; true when the screen has to be drawn again.
    pub fn observe(&mut self, source: Result<Arc<Snapshot>, String>) -> bool {
        let snapshot = match source {
            Ok(snapshot) => snapshot,
            Err(problem) => {
                let changed = self.problem.as_deref() != Some(&problem);
                self.problem = Some(problem);
                return changed;
            }
        };
        let recovered = self.problem.take().is_some();
        let known =
            self.live.sequence == snapshot.sequence && self.live.uptime_us == snapshot.uptime_us;
        if Arc::ptr_eq(&self.live, &snapshot) || (known && !self.waiting()) {
            return recovered;
        }
        self.stale_ticks = 0;
        self.history.observe(&snapshot);
        self.manual.observe(&snapshot);
        self.live = snapshot;
        if self.frozen() {
            return recovered;
        }
        self.show_live();
        true
    }

    /// A tenth of a second has passed; true when the screen has to be drawn again.
    pub fn tick(&mut self) -> bool {
        self.stale_ticks = self.stale_ticks.saturating_add(1);
        let stale = self.stale_ticks >= STALE_TICKS && self.stale_ticks.is_multiple_of(10);
        let Some(notice) = &mut self.notice else { return stale };
        notice.ticks_left = notice.ticks_left.saturating_sub(1);
        if notice.ticks_left > 0 {
            return stale;
        }
        self.notice = None;
        true
    }

    /// Shows a message for some seconds.
    pub fn say(&mut self, severity: Severity, text: impl Into<String>) {
        self.notice = Some(Notice { severity, text: text.into(), ticks_left: NOTICE_TICKS });
    }

    /// The end of a command that was sent.
    pub fn on_reply(&mut self, command: &Command, result: Result<(), CommandError>) {
        match result {
            Ok(()) => self.say(Severity::Info, format!("done: {}", in_words(command))),
            Err(error) => {
                if let Command::Override { model, .. } = command {
                    self.manual.forget(model);
                }
                self.say(Severity::Critical, format!("not done: {}: {error}", in_words(command)));
            }
        }
    }

    /// Carries out a key's action.
    pub fn act(&mut self, action: Action) -> Effect {
        if let Some(command) = self.confirm.take() {
            return match action {
                Action::Confirm => self.send(command),
                Action::Quit => Effect::Quit,
                _ => Effect::None,
            };
        }
        if self.help && !matches!(action, Action::Quit | Action::Suspend | Action::Redraw) {
            self.help = false;
            return Effect::None;
        }
        match action {
            Action::Quit => return Effect::Quit,
            Action::Suspend => return Effect::Suspend,
            Action::Redraw => return Effect::Redraw,
            Action::Page(page) => self.page = page,
            Action::NextPage => self.page = self.page.turn(1),
            Action::PreviousPage => self.page = self.page.turn(Page::ALL.len() - 1),
            Action::Open if self.page != Page::Log => self.page = Page::Model,
            Action::Back => self.page = Page::Overview,
            Action::Help => self.help = true,
            Action::Freeze => self.freeze(),
            Action::ZoomOut => self.scale = (self.scale + 1).min(SCALES_S.len() - 1),
            Action::ZoomIn => self.scale = self.scale.saturating_sub(1),
            Action::Sort => {
                self.sort = self.sort.next();
                self.order = order::sorted(&self.shown.models, self.sort);
            }
            Action::LogLevel => self.log.next_level(),
            Action::Left => self.log.sideways = self.log.sideways.saturating_sub(8),
            Action::Right => self.log.sideways = (self.log.sideways + 8).min(400),
            Action::Up | Action::Down | Action::PageUp | Action::PageDown => self.scroll(action),
            Action::First | Action::Last => self.scroll(action),
            Action::Open | Action::Confirm => {}
            _ => return self.command(action),
        }
        Effect::None
    }

    /// The left mouse button was pressed.
    pub fn click(&mut self, at: Position, hits: &Hits) -> Effect {
        if self.help {
            self.help = false;
            return Effect::None;
        }
        match hits.iter().rev().find(|(area, _)| area.contains(at)).map(|(_, target)| target) {
            Some(Target::Page(page)) => self.page = *page,
            // The second click on a row opens it.
            Some(Target::Model(name)) if self.selected.as_ref() == Some(name) => {
                self.page = Page::Model;
            }
            Some(Target::Model(name)) => self.selected = Some(name.clone()),
            None => {}
        }
        Effect::None
    }

    fn freeze(&mut self) {
        if self.frozen.take().is_some() {
            self.show_live();
        } else {
            self.frozen = Some(Box::new(self.history.clone()));
        }
    }

    fn show_live(&mut self) {
        self.shown = self.live.clone();
        self.log.observe(&self.shown.log);
        self.order = order::sorted(&self.shown.models, self.sort);
        self.findings = diagnose::diagnose(&self.shown, &self.history);
    }

    fn scroll(&mut self, action: Action) {
        if self.page == Page::Log {
            return match action {
                Action::Up => self.log.up(1, &self.shown.log),
                Action::Down => self.log.down(1),
                Action::PageUp => self.log.up(SCROLL_FAR, &self.shown.log),
                Action::PageDown => self.log.down(SCROLL_FAR),
                Action::First => self.log.up(usize::MAX, &self.shown.log),
                _ => self.log.down(usize::MAX),
            };
        }
        let last = self.order.len().saturating_sub(1);
        let row = self.selected_row();
        let row = match action {
            Action::Up => row.saturating_sub(1),
            Action::Down => (row + 1).min(last),
            Action::PageUp => row.saturating_sub(SCROLL_FAR),
            Action::PageDown => (row + SCROLL_FAR).min(last),
            Action::First => 0,
            _ => last,
        };
        let name = self.rows().nth(row).map(|m| m.name.clone());
        self.selected = name;
    }

    fn command(&mut self, action: Action) -> Effect {
        if action == Action::NextPolicyOfAll {
            return self.send(Command::NextPolicy { model: None });
        }
        if action == Action::Learning {
            let on = !self.live.learning.enabled;
            return self.send(Command::Learning { on: Some(on) });
        }
        let Some(name) = self.selected().map(|m| m.name.clone()) else {
            self.say(Severity::Warning, "there is no model to act on");
            return Effect::None;
        };
        match action {
            Action::NextPolicy => self.send(Command::NextPolicy { model: Some(name) }),
            Action::BatchDown => self.step(&name, Knob::Batch, false),
            Action::BatchUp => self.step(&name, Knob::Batch, true),
            Action::InstancesDown => self.step(&name, Knob::Instances, false),
            Action::InstancesUp => self.step(&name, Knob::Instances, true),
            Action::ClearOverride => {
                self.manual.forget(&name);
                self.send(Command::ClearOverride { model: name })
            }
            Action::Load => self.send(Command::Load { model: name }),
            Action::Unload => {
                self.confirm = Some(Command::Unload { model: name });
                Effect::None
            }
            _ => Effect::None,
        }
    }

    fn step(&mut self, name: &str, knob: Knob, up: bool) -> Effect {
        // The newest values count, also while an older snapshot is shown.
        let Some(model) = self.live.models.iter().find(|m| m.name == name) else {
            self.say(Severity::Warning, format!("{name} is gone"));
            return Effect::None;
        };
        match self.manual.step(model, knob, up) {
            Ok(command) => self.send(command),
            Err(why) => {
                self.say(Severity::Warning, format!("{name} {why}"));
                Effect::None
            }
        }
    }

    fn send(&mut self, command: Command) -> Effect {
        self.say(Severity::Info, format!("sent: {}", in_words(&command)));
        Effect::Send(command)
    }
}

/// A command as the operator would say it.
pub fn in_words(command: &Command) -> String {
    let or_policy = |value: &Option<u32>| value.map_or("by policy".into(), |v| v.to_string());
    match command {
        Command::Learning { on: Some(on) } => {
            format!("learning: {}", if *on { "on" } else { "off" })
        }
        Command::Learning { on: None } => "learning: the other way".into(),
        Command::NextPolicy { model: Some(model) } => format!("{model}: next policy"),
        Command::NextPolicy { model: None } => "all models: next policy".into(),
        Command::SetPolicy { model, policy } => {
            format!("{}: policy {policy}", model.as_deref().unwrap_or("all models"))
        }
        Command::Override { model, batch, instances } => {
            format!("{model}: hold batch {}, instances {}", or_policy(batch), or_policy(instances))
        }
        Command::ClearOverride { model } => format!("{model}: back to its policy"),
        Command::Load { model } => format!("{model}: load"),
        Command::Unload { model } => format!("{model}: unload"),
    }
}
