//! Takes the terminal over and gives it back, whatever happens in between.

use crossterm::cursor::{Hide, Show};
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::terminal::{
    BeginSynchronizedUpdate, DisableLineWrap, EnableLineWrap, EndSynchronizedUpdate,
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{Command, execute, queue};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use rustix::io::Errno;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::sync::{Mutex, Once, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// A frame goes out in one write.
const WRITE_BUFFER_BYTES: usize = 64 << 10;

/// The thread that has the terminal, if one has.
static OWNER: Mutex<Option<ThreadId>> = Mutex::new(None);

type Backend = CrosstermBackend<BufWriter<Stdout>>;

/// The terminal in raw mode on its alternate screen. Dropping it restores what was before.
pub struct Guard {
    pub terminal: Terminal<Backend>,
}

impl Guard {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// When standard output is no terminal, or the terminal can't be set.
    pub fn new() -> io::Result<Guard> {
        restore_on_panic();
        let out = BufWriter::with_capacity(WRITE_BUFFER_BYTES, io::stdout());
        enter()?;
        let terminal = Terminal::new(CrosstermBackend::new(out)).inspect_err(|_| leave())?;
        Ok(Guard { terminal })
    }

    /// Draws one frame; the terminal shows it at once and whole.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn draw(&mut self, draw: impl FnOnce(&mut ratatui::buffer::Buffer)) -> io::Result<()> {
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| draw(frame.buffer_mut()))?;
        queue!(self.terminal.backend_mut(), EndSynchronizedUpdate)?;
        io::Write::flush(self.terminal.backend_mut())
    }

    /// Waits up to `timeout` for something to read from the terminal.
    ///
    /// # Errors
    /// When the terminal is gone. crossterm must not be asked then: it would read the end of the
    /// terminal for ever, and never return.
    pub fn wait(&self, timeout: Duration) -> io::Result<()> {
        let (input, output) = (io::stdin(), io::stdout());
        // Without events asked for, only a hang-up is reported. A standard input that is no
        // terminal is not where the keys come from, and a closed one is always ready.
        let mut watched = vec![PollFd::new(&output, PollFlags::empty())];
        if input.is_terminal() {
            watched.push(PollFd::new(&input, PollFlags::IN));
        }
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        match poll(&mut watched, Some(&timeout)) {
            // A resize interrupts the wait; crossterm has noticed it.
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        if watched.iter().any(|fd| fd.revents().intersects(gone)) {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the terminal is gone"));
        }
        Ok(())
    }

    /// Gives the terminal back, stops the process until it is continued, and takes it over again.
    ///
    /// # Errors
    /// When the terminal is gone by then.
    pub fn suspend(&mut self) -> io::Result<()> {
        leave();
        let stopped =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TSTP);
        enter()?;
        stopped?;
        self.terminal.clear()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        leave();
    }
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    *OWNER.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current().id());
    execute!(
        io::stdout(),
        EnterAlternateScreen,
        EnableClicks,
        EnableBracketedPaste,
        DisableLineWrap,
        Hide
    )
    .inspect_err(|_| leave())
}

/// Does nothing when the terminal is not ours (any more).
fn leave() {
    if OWNER.lock().unwrap_or_else(PoisonError::into_inner).take().is_none() {
        return;
    }
    // Each on its own: when one fails, the others still matter.
    let _ = execute!(
        io::stdout(),
        EndSynchronizedUpdate,
        DisableClicks,
        DisableBracketedPaste,
        EnableLineWrap,
        Show,
        LeaveAlternateScreen
    );
    let _ = disable_raw_mode();
    let _ = io::stdout().flush();
}

/// A panic of the UI's own thread is printed on the restored terminal. One of another thread must
/// not end or smear the screen: it goes to the log.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let owner = *OWNER.lock().unwrap_or_else(PoisonError::into_inner);
            match owner {
                Some(owner) if owner != thread::current().id() => {
                    tracing::error!(panic = %info, "a thread panicked");
                }
                _ => {
                    leave();
                    before(info);
                }
            }
        }));
    });
}

/// Reports of buttons and the wheel, not of every movement: nothing here follows the pointer.
struct EnableClicks;

impl Command for EnableClicks {
    fn write_ansi(&self, f: &mut impl fmt::Write) -> fmt::Result {
        f.write_str("\x1b[?1000h\x1b[?1006h")
    }
}

struct DisableClicks;

impl Command for DisableClicks {
    fn write_ansi(&self, f: &mut impl fmt::Write) -> fmt::Result {
        f.write_str("\x1b[?1006l\x1b[?1000l")
    }
}
