//! Where the log goes: to stderr, or to a file while the terminal UI has the screen. Either way the
//! last lines stay in memory for the UI to show.
//!
//! `BCEDGE_LOG` says what is logged, in the words of `tracing`'s `EnvFilter`: `debug`, or
//! `info,bcedge::server=debug`. Without it: `info`.

use super::MAX_LOG_LINES;
use super::snapshot::{Event, Level};
use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::field::{Field, Visit};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::format::{FmtSpan, Format};
use tracing_subscriber::layer::{Context, Layer, Layered, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// Says what is logged.
const FILTER_VARIABLE: &str = "BCEDGE_LOG";
/// A log file that has grown to this size becomes `NAME.1`, in place of the one before.
const MAX_FILE_BYTES: u64 = 8 << 20;
/// A longer line is cut in the memory of lines (not in the file).
const MAX_LINE_CHARS: usize = 1_000;

/// Milliseconds since 1970. Handed in, because only the runtime reads the clock.
pub type WallClock = fn() -> u64;

/// The log options of a command that serves.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct LogArgs {
    /// Log to this file (with the screen up: bcedge.log, else stderr)
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Log one JSON object a line
    #[arg(long)]
    pub log_json: bool,
}

impl LogArgs {
    /// Where the log goes when the terminal UI has the screen, or has not.
    pub fn target(&self, with_screen: bool) -> LogTarget {
        let json = self.log_json;
        match (&self.log_file, with_screen) {
            (Some(path), _) => LogTarget::File { path: path.clone(), json },
            (None, true) => LogTarget::File { path: "bcedge.log".into(), json },
            (None, false) => LogTarget::Stderr { json },
        }
    }
}

/// Where log lines are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    Stderr { json: bool },
    File { path: PathBuf, json: bool },
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "{FILTER_VARIABLE}={filter} is not a log filter: {why}; expected a level (error, warn, info, \
         debug, trace, off) or such as info,bcedge::server=debug"
    )]
    Filter { filter: String, why: String },
    #[error("the log file {path} can't be written: {why}; --log-file FILE chooses another")]
    File { path: String, why: io::Error },
    #[error("logging is set up already")]
    Twice,
}

/// Starts logging for the whole process. What is logged can be changed later, with
/// [`LogBuffer::set_level`].
///
/// # Errors
/// When `BCEDGE_LOG` or the file is not usable, or logging has been started before.
pub fn init(target: &LogTarget, now_unix_ms: WallClock) -> Result<LogBuffer, LogError> {
    let text = std::env::var(FILTER_VARIABLE).unwrap_or_else(|_| "info".to_string());
    let filter = EnvFilter::try_new(&text)
        .map_err(|error| LogError::Filter { filter: text.clone(), why: error.to_string() })?;
    let (filter, handle) = reload::Layer::new(filter);
    let buffer =
        LogBuffer { filter: Some(Arc::new(Filter::new(&text, handle))), ..LogBuffer::default() };
    let lines = Lines { buffer: buffer.clone(), now_unix_ms };
    let subscriber = Registry::default().with(filter).with(writer_layer(target)?).with(lines);
    subscriber.try_init().map_err(|_| LogError::Twice)?;
    Ok(buffer)
}

type Filtered = Layered<reload::Layer<EnvFilter, Registry>, Registry>;
type BoxedLayer = Box<dyn Layer<Filtered> + Send + Sync>;

fn writer_layer(target: &LogTarget) -> Result<BoxedLayer, LogError> {
    let layer = tracing_subscriber::fmt::layer().with_span_events(FmtSpan::NONE);
    Ok(match target {
        LogTarget::Stderr { json: false } => {
            let colours = io::IsTerminal::is_terminal(&io::stderr());
            let format = Format::default().with_ansi(colours).with_target(false);
            layer.event_format(format).with_ansi(colours).with_writer(io::stderr).boxed()
        }
        LogTarget::Stderr { json: true } => layer.json().with_writer(io::stderr).boxed(),
        LogTarget::File { path, json } => {
            let file = BoundedFile::create(path, MAX_FILE_BYTES);
            let file =
                file.map_err(|why| LogError::File { path: path.display().to_string(), why })?;
            // A full disk must not write its complaints over the screen.
            let layer = layer.log_internal_errors(false).with_ansi(false);
            let layer = layer.with_writer(Mutex::new(file));
            if *json { layer.json().boxed() } else { layer.boxed() }
        }
    })
}

/// What is logged, and the way to change it.
#[derive(Debug)]
struct Filter {
    /// The directives for single targets; they hold whatever the level is.
    own: Vec<String>,
    /// The level of everything else.
    level: Mutex<LevelFilter>,
    handle: reload::Handle<EnvFilter, Registry>,
}

impl Filter {
    /// `text` is a valid filter.
    fn new(text: &str, handle: reload::Handle<EnvFilter, Registry>) -> Filter {
        let (mut own, mut level) = (Vec::new(), LevelFilter::OFF);
        for directive in text.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            match directive.parse() {
                Ok(parsed) => level = parsed,
                Err(_) => own.push(directive.to_string()),
            }
        }
        Filter { own, level: Mutex::new(level), handle }
    }

    fn level(&self) -> MutexGuard<'_, LevelFilter> {
        self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directives(&self, level: LevelFilter) -> String {
        self.own.iter().cloned().chain([level.to_string()]).collect::<Vec<_>>().join(",")
    }
}

/// The running log: its last lines, shared with the layer that fills them, and its level.
#[derive(Clone, Debug, Default)]
pub struct LogBuffer {
    ring: Arc<Mutex<Ring>>,
    /// Absent when [`init`] did not make it.
    filter: Option<Arc<Filter>>,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Event>,
    /// The lines as they were last asked for; `None` when one has come since.
    shown: Option<Arc<Vec<Event>>>,
}

impl LogBuffer {
    /// At most [`MAX_LOG_LINES`], newest last. The same `Arc` as before when nothing has changed.
    pub fn lines(&self) -> Arc<Vec<Event>> {
        let ring = &mut *self.lock();
        let lines = &ring.lines;
        ring.shown.get_or_insert_with(|| Arc::new(lines.iter().cloned().collect())).clone()
    }

    /// What is logged where no directive for a target says otherwise; `None` where that can't be
    /// told, nor changed.
    pub fn level(&self) -> Option<LevelFilter> {
        self.filter.as_ref().map(|filter| *filter.level())
    }

    /// Logs events of this level and above from now on. Directives for single targets in
    /// `BCEDGE_LOG` stay in force.
    pub fn set_level(&self, level: LevelFilter) {
        let Some(filter) = &self.filter else { return };
        let mut current = filter.level();
        let directives = EnvFilter::new(filter.directives(level));
        // Fails only when the log itself is gone.
        if filter.handle.reload(directives).is_ok() {
            *current = level;
        }
    }

    fn push(&self, event: Event) {
        let mut ring = self.lock();
        if ring.lines.len() == MAX_LOG_LINES {
            ring.lines.pop_front();
        }
        ring.lines.push_back(event);
        ring.shown = None;
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        // A line is in the ring or not, whatever panicked: a poisoned ring is still whole.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts every event into the buffer.
struct Lines {
    buffer: LogBuffer,
    now_unix_ms: WallClock,
}

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let Words { message, fields, model } = words;
        let mut text = message + &fields;
        if let Some((end, _)) = text.char_indices().nth(MAX_LINE_CHARS) {
            text.truncate(end);
            text.push('…');
        }
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            _ => Level::Debug,
        };
        self.buffer.push(Event { unix_ms: (self.now_unix_ms)(), level, model, text });
    }
}

/// An event's message, its other fields as ` name=value`, and the field `model` on its own.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
    model: Option<String>,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a `String` can't fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "model" => {
                self.model = Some(format!("{value:?}"));
                Ok(())
            }
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            "model" => self.model = Some(value.to_string()),
            _ => self.record_debug(field, &value),
        }
    }
}

/// A file that never grows beyond its bound: a full one is put aside as `NAME.1`, once.
struct BoundedFile {
    file: File,
    path: PathBuf,
    bytes: u64,
    max_bytes: u64,
}

impl BoundedFile {
    /// Goes on at the end of a file that is there.
    fn create(path: &Path, max_bytes: u64) -> io::Result<BoundedFile> {
        let file = File::options().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(BoundedFile { file, path: path.to_path_buf(), bytes, max_bytes })
    }

    fn put_aside(&mut self) -> io::Result<()> {
        let mut aside = self.path.clone().into_os_string();
        aside.push(".1");
        fs::rename(&self.path, aside)?;
        *self = BoundedFile::create(&self.path, self.max_bytes)?;
        Ok(())
    }
}

impl Write for BoundedFile {
    /// `tracing` hands over one whole line at a time.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.max_bytes {
            self.put_aside()?;
        }
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the lines become for events logged inside `body`.
    fn logged(body: impl FnOnce()) -> Arc<Vec<Event>> {
        let buffer = LogBuffer::default();
        let lines = Lines { buffer: buffer.clone(), now_unix_ms: || 77 };
        tracing::subscriber::with_default(Registry::default().with(lines), body);
        buffer.lines()
    }

    #[test]
    fn an_event_becomes_a_line_with_its_fields_and_model() {
        let lines = logged(|| {
            tracing::warn!(model = "resnet18", batch = 4, why = "hang", "instance {} lost", 2);
            tracing::trace!(model = %"b", "fine");
        });
        let line = |level, model: &str, text: &str| Event {
            unix_ms: 77,
            level,
            model: Some(model.into()),
            text: text.into(),
        };
        let expected = [
            line(Level::Warn, "resnet18", "instance 2 lost batch=4 why=\"hang\""),
            line(Level::Debug, "b", "fine"),
        ];
        assert_eq!(*lines, expected);
    }

    #[test]
    fn lines_are_bounded_in_number_and_length() {
        let lines = logged(|| {
            for i in 0..MAX_LOG_LINES + 10 {
                tracing::info!("{i}");
            }
            tracing::info!("{}", "ü".repeat(5_000));
        });
        assert_eq!(lines.len(), MAX_LOG_LINES);
        assert_eq!(lines[0].text, "11");
        assert_eq!(lines[MAX_LOG_LINES - 1].text.chars().count(), MAX_LINE_CHARS + 1);
    }

    #[test]
    fn a_new_level_leaves_the_directives_for_targets_alone() {
        let (_layer, handle) = reload::Layer::new(EnvFilter::new("info"));
        let filter = Filter::new("h2=off, debug,bcedge::server=trace", handle);
        assert_eq!(*filter.level(), LevelFilter::DEBUG);
        assert_eq!(filter.directives(LevelFilter::WARN), "h2=off,bcedge::server=trace,warn");
        assert!(EnvFilter::try_new(filter.directives(LevelFilter::OFF)).is_ok());
    }

    #[test]
    fn lines_are_shared_until_one_comes() {
        let buffer = LogBuffer::default();
        buffer.push(Event::default());
        let first = buffer.lines();
        assert!(Arc::ptr_eq(&first, &buffer.lines()));
        buffer.push(Event::default());
        assert_eq!((first.len(), buffer.lines().len()), (1, 2));
    }

    #[test]
    fn a_file_never_exceeds_its_bound_and_keeps_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.log");
        fs::write(&path, "old\n").unwrap();
        let mut file = BoundedFile::create(&path, 10).unwrap();
        for line in ["12345\n", "abc\n", "a line longer than the bound\n", "z\n"] {
            file.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "z\n");
        let aside = fs::read_to_string(folder.path().join("b.log.1")).unwrap();
        assert_eq!(aside, "a line longer than the bound\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn the_screen_sends_the_log_to_a_file() {
        let args = LogArgs::default();
        assert_eq!(args.target(false), LogTarget::Stderr { json: false });
        let file = |path: &str, json| LogTarget::File { path: path.into(), json };
        assert_eq!(args.target(true), file("bcedge.log", false));
        let args = LogArgs { log_file: Some("x".into()), log_json: true };
        assert_eq!(args.target(false), file("x", true));
    }
}
