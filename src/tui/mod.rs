//! The terminal UI. It renders [`Snapshot`]s and emits [`Command`]s; it knows nothing else of the
//! appliance, so `serve`, `demo` and `top` (over the socket) show the same screen.
//!
//! ```text
//! source ─► App::observe ─► History, diagnose ─► render::frame ─► terminal
//! keys   ─► keys::action ─► App::act ─► Effect ─► send
//! ```

pub mod app;
mod ascii;
pub mod diagnose;
#[cfg(test)]
mod fixtures;
pub mod history;
pub mod keys;
mod log_view;
mod manual;
mod order;
pub mod render;
pub mod svg;
mod terminal;
#[cfg(test)]
mod tests;
pub mod theme;
mod trial;

use crate::telemetry::{Command, CommandError, Snapshot};
use app::{App, Effect, Hits, Page, TICK_MS};
use crossterm::event::{self, Event, MouseButton, MouseEvent, MouseEventKind};
use diagnose::Severity;
use keys::Action;
use ratatui::layout::Position;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use terminal::Guard;
use tokio::sync::oneshot;

/// Commands that may be under way at once; a key held down must not pile them up.
const MAX_PENDING: usize = 64;

/// The end of a command that was sent.
pub type Reply = oneshot::Receiver<Result<(), CommandError>>;

/// What the screen may do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether Ctrl-Z stops the process. Not where it would stop the serving too.
    pub can_suspend: bool,
}

/// Shows the appliance until the operator quits or `stop` is set. `app` says how it begins, such
/// as `App::new(theme)`.
///
/// `source` gives the newest snapshot, or why there is none; it is asked ten times a second and
/// after every key. `send` hands a command to the appliance and must not block.
///
/// # Errors
/// When there is no terminal, or it goes away. The terminal is restored in any case.
pub fn run(
    mut app: App,
    mut source: impl FnMut() -> Result<Arc<Snapshot>, String>,
    mut send: impl FnMut(Command) -> Reply,
    stop: &AtomicBool,
    options: Options,
) -> io::Result<()> {
    let mut hits = Hits::new();
    let mut pending: Vec<(Command, Reply)> = Vec::new();
    let mut guard = Guard::new()?;
    let mut changed = true;
    while !stop.load(Ordering::Relaxed) {
        changed |= app.observe(source());
        changed |= collect_replies(&mut app, &mut pending);
        if changed {
            guard.draw(|buf| render::frame(&app, buf, &mut hits))?;
        }
        changed = false;
        guard.wait(Duration::from_millis(TICK_MS))?;
        if !event::poll(Duration::ZERO)? {
            changed = app.tick();
            continue;
        }
        // All that has come by now is carried out before the next frame.
        while event::poll(Duration::ZERO)? {
            changed = true;
            match on_event(&mut app, &hits, event::read()?) {
                Effect::None => {}
                Effect::Quit => return Ok(()),
                Effect::Redraw => guard.terminal.clear()?,
                Effect::Suspend if options.can_suspend => guard.suspend()?,
                Effect::Suspend => {
                    app.say(Severity::Warning, "Ctrl-Z would stop the serving; use bcedge top");
                }
                Effect::Send(_) if pending.len() >= MAX_PENDING => {
                    app.say(Severity::Critical, "too many commands wait for an answer");
                }
                Effect::Send(command) => pending.push((command.clone(), send(command))),
            }
        }
    }
    Ok(())
}

fn collect_replies(app: &mut App, pending: &mut Vec<(Command, Reply)>) -> bool {
    let before = pending.len();
    pending.retain_mut(|(command, reply)| {
        let result = match reply.try_recv() {
            Ok(result) => result,
            Err(oneshot::error::TryRecvError::Empty) => return true,
            Err(oneshot::error::TryRecvError::Closed) => Err(CommandError::ShuttingDown),
        };
        app.on_reply(command, result);
        false
    });
    pending.len() < before
}

fn on_event(app: &mut App, hits: &Hits, event: Event) -> Effect {
    match event {
        Event::Key(key) => keys::action(key).map_or(Effect::None, |action| app.act(action)),
        Event::Mouse(mouse) => on_mouse(app, hits, mouse),
        // A resize only has to be drawn; a paste is not meant for us.
        _ => Effect::None,
    }
}

fn on_mouse(app: &mut App, hits: &Hits, mouse: MouseEvent) -> Effect {
    match mouse.kind {
        MouseEventKind::Down(MouseButton::Left) => {
            app.click(Position::new(mouse.column, mouse.row), hits)
        }
        MouseEventKind::ScrollUp => wheel(app, Action::Up),
        MouseEventKind::ScrollDown => wheel(app, Action::Down),
        _ => Effect::None,
    }
}

/// One notch of the wheel: a row of a list, some lines of the log.
fn wheel(app: &mut App, action: Action) -> Effect {
    let lines = if app.page == Page::Log { 3 } else { 1 };
    (0..lines).map(|_| app.act(action)).last().unwrap_or(Effect::None)
}
