//! The live view of a run on a terminal.

use super::Lines;
use crate::load::{self, Figures, LoadPlan, LoadReport};
use crate::telemetry::format::duration_us;
use crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Gauge, Paragraph, Row, Sparkline, Table};
use ratatui::{DefaultTerminal, Frame};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Seconds the sparkline shows.
const HISTORY: usize = 120;
/// From this width on the table has all its columns.
const WIDE: u16 = 128;
/// The columns of the report's rows that a narrower table shows.
const NARROW_COLUMNS: [usize; 10] = [0, 1, 2, 6, 7, 8, 9, 11, 13, 14];

/// Runs the plan under the live view.
///
/// # Errors
/// As [`load::run`].
pub(super) fn run(plan: &LoadPlan, stop: &AtomicBool) -> Result<LoadReport, String> {
    let mut screen = None;
    let mut view = View::default();
    let mut lines = Lines::default();
    load::run(plan, stop, |report| {
        // Not before there is something to show: an error on the way there stays readable.
        let screen = screen.get_or_insert_with(Screen::open);
        view.take(report);
        match screen {
            Some(screen) => screen.update(&view, stop),
            None => lines.show(report),
        }
    })
}

/// Owns the terminal; gives it back when dropped. A panic on any thread gives it back too.
struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// `None` when this terminal can't be taken over; lines of text do then.
    fn open() -> Option<Screen> {
        ratatui::try_init().ok().map(|terminal| Screen { terminal })
    }

    fn update(&mut self, view: &View, stop: &AtomicBool) {
        while event::poll(Duration::ZERO).unwrap_or(false) {
            let Ok(event) = event::read() else { break };
            if ends_the_run(&event) {
                stop.store(true, Ordering::Relaxed);
            }
        }
        // A terminal that can't be drawn to is no reason to end the run.
        let _ = self.terminal.draw(|frame| render(frame, view));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn ends_the_run(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    match key.code {
        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
        KeyCode::Char('q') | KeyCode::Esc => true,
        _ => false,
    }
}

/// What is drawn: the present report, and the throughput of each second so far.
#[derive(Debug, Default)]
struct View {
    report: LoadReport,
    answers_per_s: Vec<u64>,
    /// Answers until the last whole second.
    counted: u64,
    seconds: u64,
}

impl View {
    fn take(&mut self, report: &LoadReport) {
        self.report = report.clone();
        let second = report.elapsed_s as u64;
        if second > self.seconds {
            let since = (second - self.seconds).max(1);
            self.answers_per_s.push((report.total.ok - self.counted) / since);
            self.counted = report.total.ok;
            self.seconds = second;
        }
        let surplus = self.answers_per_s.len().saturating_sub(HISTORY);
        self.answers_per_s.drain(..surplus);
    }
}

fn render(frame: &mut Frame, view: &View) {
    let report = &view.report;
    let rows = report.rows().len() as u16;
    let [title, gauge, table, charts, errors, hints] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(rows + 2),
        Constraint::Min(0),
        Constraint::Length(report.errors.len().min(3) as u16),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Line::styled(format!("bcedge load: {}", report.title()), bold), title);
    render_progress(frame, report, gauge);
    render_table(frame, report, table);
    let [left, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(34)]).areas(charts);
    let newest = view.answers_per_s.len().saturating_sub(usize::from(left.width.saturating_sub(2)));
    let latest = view.answers_per_s.last().copied().unwrap_or(0);
    let sparkline = Sparkline::default()
        .data(&view.answers_per_s[newest..])
        .block(Block::bordered().title(format!(" answers per second: {latest} ")));
    frame.render_widget(sparkline, left);
    render_latency(frame, &report.total, right);
    let lines: Vec<Line> =
        report.errors.iter().take(3).map(|e| format!("{} × {}", e.count, e.text).into()).collect();
    frame.render_widget(Paragraph::new(lines), errors);
    frame.render_widget(Line::raw("q or Ctrl-C: end now, with the table"), hints);
}

fn render_progress(frame: &mut Frame, report: &LoadReport, area: Rect) {
    let share = (report.elapsed_s / report.seconds).clamp(0.0, 1.0);
    let t = &report.total;
    let outstanding = t.sent - (t.ok + t.rejected + t.expired + t.failed).min(t.sent);
    let label = if share < 1.0 {
        format!("{:.1} of {:.0} s", report.elapsed_s, report.seconds)
    } else {
        format!("waiting for {outstanding} answers")
    };
    let ratio = if share.is_nan() { 0.0 } else { share };
    frame.render_widget(Gauge::default().ratio(ratio).label(label), area);
}

fn render_table(frame: &mut Frame, report: &LoadReport, area: Rect) {
    let all: Vec<usize> = (0..report.rows()[0].len()).collect();
    let columns = if area.width >= WIDE { &all[..] } else { &NARROW_COLUMNS };
    let rows: Vec<Vec<String>> = report
        .rows()
        .iter()
        .map(|row| columns.iter().map(|&column| row[column].clone()).collect())
        .collect();
    let widths: Vec<Constraint> = (0..columns.len())
        .map(|column| {
            let width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            Constraint::Length(width as u16)
        })
        .collect();
    let mut rows = rows.into_iter().map(|row| {
        let cells = row.into_iter().enumerate().map(|(column, cell)| match column {
            0 => Line::raw(cell),
            _ => Line::raw(cell).right_aligned(),
        });
        Row::new(cells)
    });
    let header = rows.next().unwrap_or_default();
    let table = Table::new(rows, widths)
        .header(header.style(Style::new().add_modifier(Modifier::BOLD)))
        .block(Block::bordered());
    frame.render_widget(table, area);
}

/// Percentiles as bars, the longest reaching the right edge.
fn render_latency(frame: &mut Frame, total: &Figures, area: Rect) {
    let p = &total.latency_us;
    let longest = p.max.max(1) as f64;
    let room = f64::from(area.width.saturating_sub(18));
    let rows = [("p50", p.p50), ("p90", p.p90), ("p99", p.p99), ("p99.9", p.p999), ("max", p.max)];
    let lines: Vec<Line> = rows
        .iter()
        .map(|&(name, us)| {
            let bar = "█".repeat((us as f64 / longest * room).round() as usize);
            Line::raw(format!("{name:>5} {:>7} {bar}", duration_us(us)))
        })
        .collect();
    let block = Block::bordered().title(" latency from intended start ");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{ErrorCount, ModelReport};
    use crate::telemetry::snapshot::Percentiles;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn report(ok: u64, elapsed_s: f64) -> LoadReport {
        let figures = Figures {
            sent: ok + 1,
            ok,
            slo_met: Some(ok),
            goodput_per_s: Some(99.5),
            latency_us: Percentiles {
                count: ok,
                p50: 1_490,
                p90: 2_000,
                p99: 3_530,
                p999: 9_000,
                max: 12_000,
            },
            ..Figures::default()
        };
        let model = |name: &str| ModelReport {
            name: name.into(),
            figures: figures.clone(),
            ..ModelReport::default()
        };
        LoadReport {
            load: "poisson".into(),
            seconds: 10.0,
            elapsed_s,
            total: figures.clone(),
            models: vec![model("resnet18"), model("efficientnet_b0")],
            errors: vec![ErrorCount { text: "the queue is full".into(), count: 3 }],
            ..LoadReport::default()
        }
    }

    fn drawn(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| render(frame, view)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn everything_is_visible_on_a_small_terminal() {
        let mut view = View::default();
        view.take(&report(100, 1.05));
        view.take(&report(250, 2.01));
        assert_eq!(view.answers_per_s, [100, 150]);
        let text = drawn(&view, 80, 24);
        for part in [
            "poisson arrivals",
            "2.0 of 10 s",
            "efficientnet_b0",
            "total",
            "slo met",
            "100.0 %",
            "answers per second: 150",
            "p99  3.53ms",
            "3 × the queue is full",
            "q or Ctrl-C",
        ] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
        assert!(drawn(&view, 140, 30).contains("rejected"));
    }

    #[test]
    fn no_size_breaks_it() {
        let mut view = View::default();
        for (width, height) in [(1, 1), (20, 5), (80, 10), (300, 80)] {
            drawn(&view, width, height);
        }
        view.take(&report(10, 1.5));
        for (width, height) in [(1, 1), (20, 5), (80, 10), (300, 80)] {
            drawn(&view, width, height);
        }
    }

    #[test]
    fn only_quit_keys_end_the_run() {
        let key = |code, modifiers| Event::Key(event::KeyEvent::new(code, modifiers));
        assert!(ends_the_run(&key(KeyCode::Char('q'), KeyModifiers::NONE)));
        assert!(ends_the_run(&key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!ends_the_run(&key(KeyCode::Char('c'), KeyModifiers::NONE)));
        assert!(!ends_the_run(&Event::Resize(80, 24)));
    }
}
