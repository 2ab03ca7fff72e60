//! `bcedge top`: the terminal UI of an appliance that runs elsewhere, over its socket.

mod link;

use crate::tui::app::{App, Hits, Page};
use crate::tui::theme::Theme;
use crate::tui::{self, Options, render, svg};
use link::Link;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Largest picture in characters: wider than any screen.
const MAX_SIZE: u16 = 500;

const EXAMPLES: &str = "\
Examples:
  bcedge top                                the appliance whose socket is bcedge.sock
  bcedge top --socket /run/bcedge.sock      another one
  bcedge top --page model --model resnet18  begin with one model in depth
  bcedge top --svg screen.svg --after 30    a picture after half a minute

? shows all keys, q leaves; the appliance goes on.";

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Socket of the appliance
    #[arg(long, value_name = "PATH", default_value = "bcedge.sock")]
    socket: PathBuf,
    /// Without colours (as does the environment variable NO_COLOR)
    #[arg(long)]
    no_color: bool,
    /// ASCII characters only (the default where the locale is not UTF-8)
    #[arg(long, conflicts_with = "unicode")]
    ascii: bool,
    /// All characters, whatever the locale says
    #[arg(long)]
    unicode: bool,
    /// Write the screen as an SVG picture and end, instead of showing it
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Of the picture: columns x rows
    #[arg(long, value_name = "WxH", default_value = "120x40", value_parser = parse_size, requires = "svg")]
    size: (u16, u16),
    /// Of the picture: seconds to watch first, so that the curves have something to show
    #[arg(long, value_name = "N", default_value_t = 10, requires = "svg")]
    after: u32,
    /// The first page shown
    #[arg(long, value_enum, default_value_t)]
    page: Page,
    /// The model selected first
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
}

/// Shows the appliance until the operator quits.
///
/// # Errors
/// Nobody listens on the socket, or there is no terminal to draw on.
pub fn run(args: Args) -> Result<(), String> {
    let link = Link::open(&args.socket)?;
    let mut app = App::new(theme(&args));
    app.page = args.page;
    app.select(args.model.clone());
    if let Some(file) = &args.svg {
        return picture(app, &link, &args, file);
    }
    if !std::io::stdout().is_terminal() {
        return Err("standard output is not a terminal; --svg FILE writes a picture instead".into());
    }
    let options = Options { can_suspend: true };
    tui::run(app, || link.snapshot(), |command| link.send(command), link.stop(), options)
        .map_err(|e| format!("the terminal failed: {e}"))
}

fn theme(args: &Args) -> Theme {
    let env = Theme::from_env(|name| std::env::var(name).ok());
    Theme {
        no_color: env.no_color || args.no_color,
        ascii: (env.ascii || args.ascii) && !args.unicode,
    }
}

fn picture(mut app: App, link: &Link, args: &Args, file: &Path) -> Result<(), String> {
    // A picture is for the eyes of others: their colours and characters, not this terminal's.
    app.theme = Theme { no_color: args.no_color, ascii: args.ascii };
    for _ in 0..=args.after.saturating_mul(10) {
        app.observe(link.snapshot());
        if link.stop().load(std::sync::atomic::Ordering::Relaxed) {
            return Err("interrupted, no picture was written".into());
        }
        thread::sleep(Duration::from_millis(100));
    }
    let (width, height) = args.size;
    let mut buf = Buffer::empty(Rect::new(0, 0, width, height));
    render::frame(&app, &mut buf, &mut Hits::new());
    std::fs::write(file, svg::render(&buf))
        .map_err(|e| format!("{} can't be written: {e}", file.display()))
}

fn parse_size(text: &str) -> Result<(u16, u16), String> {
    let parts = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    let fits = |(w, h): &(u16, u16)| {
        (render::MIN_WIDTH..=MAX_SIZE).contains(w) && (render::MIN_HEIGHT..=MAX_SIZE).contains(h)
    };
    parts.filter(fits).ok_or_else(|| {
        let (w, h) = (render::MIN_WIDTH, render::MIN_HEIGHT);
        format!("expected columns x rows from {w}x{h} to {MAX_SIZE}x{MAX_SIZE}, such as 120x40")
    })
}
