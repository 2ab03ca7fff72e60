//! Colours and letters. Sixteen ANSI colours, so that the operator's own palette holds; without
//! colour the same things are told by weight, and always by symbols as well.

use crate::telemetry::snapshot::Level;
use ratatui::style::{Color, Modifier, Style};

/// How the screen may look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Theme {
    pub no_color: bool,
    /// Only ASCII characters reach the terminal.
    pub ascii: bool,
}

/// How good or bad something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    #[default]
    Neutral,
    Good,
    Warning,
    Bad,
}

impl Tone {
    /// Larger is worse: good below `warning`, bad from `bad` on.
    pub fn rising(value: f64, warning: f64, bad: f64) -> Tone {
        if value >= bad {
            Tone::Bad
        } else if value >= warning {
            Tone::Warning
        } else {
            Tone::Good
        }
    }

    /// Of an SLO hit rate.
    pub fn of_hit_rate(hit_rate: Option<f64>) -> Tone {
        match hit_rate {
            None => Tone::Neutral,
            Some(rate) if rate < 0.95 => Tone::Bad,
            Some(rate) if rate < 0.99 => Tone::Warning,
            Some(_) => Tone::Good,
        }
    }

    /// Of a latency against its SLO.
    pub fn of_latency(latency_us: u64, slo_us: u64) -> Tone {
        if slo_us == 0 {
            return Tone::Neutral;
        }
        Tone::rising(latency_us as f64 / slo_us as f64, 0.8, 1.000_001)
    }
}

impl Theme {
    /// From what the environment says: `NO_COLOR` (any value but empty), and the locale, which
    /// must name UTF-8 for anything beyond ASCII. The Linux console has no glyphs for it.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Theme {
        let set = |name: &str| get(name).filter(|value| !value.is_empty());
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
        let utf8 = locale.is_some_and(|l| {
            let l = l.to_ascii_lowercase();
            l.contains("utf-8") || l.contains("utf8")
        });
        let term = set("TERM").unwrap_or_default();
        Theme {
            no_color: set("NO_COLOR").is_some() || term == "dumb",
            ascii: !utf8 || term == "linux",
        }
    }

    fn colored(self, color: Color, otherwise: Modifier) -> Style {
        if self.no_color { Style::new().add_modifier(otherwise) } else { Style::new().fg(color) }
    }

    /// The terminal's own colour, also where it stands on a border.
    pub fn text(self) -> Style {
        Style::new().fg(Color::Reset)
    }

    /// Labels and units: there when looked for.
    pub fn dim(self) -> Style {
        self.text().add_modifier(Modifier::DIM)
    }

    pub fn border(self) -> Style {
        self.colored(Color::DarkGray, Modifier::DIM)
    }

    /// Panel titles.
    pub fn title(self) -> Style {
        self.colored(Color::Cyan, Modifier::empty()).add_modifier(Modifier::BOLD)
    }

    /// Column heads.
    pub fn heading(self) -> Style {
        self.text().add_modifier(Modifier::BOLD)
    }

    /// A key in the hints and the help.
    pub fn key(self) -> Style {
        self.colored(Color::Cyan, Modifier::BOLD)
    }

    pub fn selected(self) -> Style {
        self.text().add_modifier(Modifier::REVERSED)
    }

    /// What an operator set by hand.
    pub fn manual(self) -> Style {
        self.colored(Color::Magenta, Modifier::empty()).add_modifier(Modifier::BOLD)
    }

    pub fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Neutral => self.text(),
            Tone::Good => self.colored(Color::Green, Modifier::empty()),
            Tone::Warning => self.colored(Color::Yellow, Modifier::BOLD),
            Tone::Bad => self.colored(Color::Red, Modifier::BOLD).add_modifier(Modifier::BOLD),
        }
    }

    /// A badge that must not be overlooked.
    pub fn badge(self, tone: Tone) -> Style {
        self.tone(tone).add_modifier(Modifier::REVERSED | Modifier::BOLD)
    }

    /// Curves and bars that are neither good nor bad.
    pub fn curve(self) -> Style {
        self.colored(Color::Cyan, Modifier::empty())
    }

    /// The second of two curves or of two parts of a bar.
    pub fn second(self) -> Style {
        self.colored(Color::Blue, Modifier::DIM)
    }

    pub fn level(self, level: Level) -> Style {
        match level {
            Level::Debug => self.dim(),
            Level::Info => self.text(),
            Level::Warn => self.tone(Tone::Warning),
            Level::Error => self.tone(Tone::Bad),
        }
    }
}

/// A level in four letters.
pub fn level_name(level: Level) -> &'static str {
    match level {
        Level::Debug => "dbug",
        Level::Info => "info",
        Level::Warn => "WARN",
        Level::Error => "ERR!",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theme(vars: &[(&str, &str)]) -> Theme {
        Theme::from_env(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_string()))
    }

    #[test]
    fn the_locale_decides_about_ascii() {
        assert!(theme(&[]).ascii);
        assert!(theme(&[("LANG", "C")]).ascii);
        assert!(!theme(&[("LANG", "de_DE.UTF-8")]).ascii);
        assert!(!theme(&[("LANG", "C.utf8")]).ascii);
        assert!(theme(&[("LC_ALL", "POSIX"), ("LANG", "en_US.UTF-8")]).ascii);
        assert!(!theme(&[("LC_ALL", ""), ("LANG", "en_US.UTF-8")]).ascii);
        assert!(theme(&[("LANG", "en_US.UTF-8"), ("TERM", "linux")]).ascii);
    }

    #[test]
    fn no_color_takes_any_value_but_an_empty_one() {
        assert!(!theme(&[("NO_COLOR", "")]).no_color);
        assert!(theme(&[("NO_COLOR", "0")]).no_color);
    }

    #[test]
    fn without_colour_no_style_has_one() {
        let theme = Theme { no_color: true, ascii: false };
        let tones = [Tone::Neutral, Tone::Good, Tone::Warning, Tone::Bad];
        let styles = tones.map(|t| theme.tone(t)).into_iter().chain([
            theme.border(),
            theme.title(),
            theme.key(),
            theme.manual(),
            theme.curve(),
            theme.second(),
            theme.badge(Tone::Bad),
        ]);
        for style in styles {
            assert!(matches!(style.fg, None | Some(Color::Reset)), "{style:?}");
            assert_eq!(style.bg, None);
        }
    }
}
