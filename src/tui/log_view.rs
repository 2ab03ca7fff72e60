//! Which part of the log is shown: lowest level, how far up, how far sideways.

use crate::telemetry::snapshot::{Event, Level};
use std::sync::Arc;

/// Scroll state of the log page. Follows the newest line until scrolled up; then the lines in view
/// stay in view while new ones come.
#[derive(Clone, Debug, Default)]
pub struct LogView {
    /// Lines below it are hidden.
    pub level: Level,
    /// Columns the texts are moved to the left.
    pub sideways: u16,
    /// Lines (of those that pass the filter) below the last one in view.
    below: usize,
    seen: Arc<Vec<Event>>,
}

impl LogView {
    /// The lines that pass the filter, newest last.
    pub fn lines<'a>(&self, log: &'a [Event]) -> impl DoubleEndedIterator<Item = &'a Event> + 'a {
        let level = self.level;
        log.iter().filter(move |line| line.level >= level)
    }

    /// Whether new lines appear as they come.
    pub fn following(&self) -> bool {
        self.below == 0
    }

    /// Lines below the view when `total` pass the filter and `height` are shown.
    pub fn below(&self, total: usize, height: usize) -> usize {
        self.below.min(total.saturating_sub(height))
    }

    /// A new log: keeps the lines in view where they are.
    pub fn observe(&mut self, log: &Arc<Vec<Event>>) {
        if Arc::ptr_eq(&self.seen, log) {
            return;
        }
        if self.below > 0 {
            let newest = self.seen.last();
            let known = newest.and_then(|newest| log.iter().rposition(|line| line == newest));
            let new = known.map_or(log.len(), |known| log.len() - 1 - known);
            self.below += self.lines(&log[log.len() - new..]).count();
            self.clamp(log);
        }
        self.seen = log.clone();
    }

    /// Towards older lines.
    pub fn up(&mut self, lines: usize, log: &[Event]) {
        self.below = self.below.saturating_add(lines);
        self.clamp(log);
    }

    /// Towards newer lines.
    pub fn down(&mut self, lines: usize) {
        self.below = self.below.saturating_sub(lines);
    }

    /// The next lowest level, round and round; shows the newest lines again.
    pub fn next_level(&mut self) {
        self.level = match self.level {
            Level::Debug => Level::Info,
            Level::Info => Level::Warn,
            Level::Warn => Level::Error,
            Level::Error => Level::Debug,
        };
        self.below = 0;
    }

    fn clamp(&mut self, log: &[Event]) {
        self.below = self.below.min(self.lines(log).count().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(texts: std::ops::Range<u64>) -> Arc<Vec<Event>> {
        let line = |i| Event {
            unix_ms: i,
            level: if i % 2 == 0 { Level::Info } else { Level::Warn },
            model: None,
            text: format!("line {i}"),
        };
        Arc::new(texts.map(line).collect())
    }

    #[test]
    fn the_lines_in_view_stay_while_new_ones_come() {
        let mut view = LogView::default();
        let first = log(0..20);
        view.observe(&first);
        view.up(5, &first);
        // Old lines fall off the front at the same time, as in a bounded log.
        view.observe(&log(4..24));
        assert_eq!(view.below(20, 10), 9);
        view.down(100);
        assert!(view.following());
        view.observe(&log(6..26));
        assert_eq!(view.below(20, 10), 0);
    }

    #[test]
    fn only_lines_that_pass_the_filter_count() {
        let mut view = LogView::default();
        view.next_level();
        assert_eq!(view.level, Level::Warn);
        let first = log(0..20);
        view.observe(&first);
        assert_eq!(view.lines(&first).count(), 10);
        view.up(3, &first);
        view.observe(&log(0..24));
        assert_eq!(view.below(12, 5), 5);
    }

    #[test]
    fn scrolling_ends_at_the_oldest_line() {
        let (mut view, log) = (LogView::default(), log(0..3));
        view.up(usize::MAX, &log);
        assert_eq!(view.below(3, 1), 2);
        assert_eq!(view.below(3, 3), 0);
    }
}
