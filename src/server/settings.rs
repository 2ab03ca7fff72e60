//! Settings a client may ask for: the log's, and those that are politely refused.

use crate::server::status::Refusal;
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};
use tracing::level_filters::LevelFilter;

/// Told the level the log shall have from now on.
pub type OnLevel = Box<dyn Fn(LevelFilter) + Send + Sync>;

/// Triton's log settings, as far as a level can express them.
pub struct LogSettings {
    current: Mutex<Current>,
    on_level: Option<OnLevel>,
}

#[derive(Clone, Copy, Debug)]
struct Current {
    error: bool,
    warning: bool,
    info: bool,
    verbose_level: u32,
}

/// One setting's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    Bool(bool),
    Number(u32),
    Text(String),
}

impl LogSettings {
    /// `level` is the log's now. Without `on_level` it is fixed, and asking for another one an
    /// error.
    pub fn new(level: LevelFilter, on_level: Option<OnLevel>) -> LogSettings {
        LogSettings { current: Mutex::new(Current::of(level)), on_level }
    }

    /// Changes the settings named; all of them as they are then.
    ///
    /// # Errors
    /// Unknown names, wrong types, and settings that can't be changed here; nothing is changed then.
    pub fn change(
        &self,
        wanted: Vec<(String, Setting)>,
    ) -> Result<Vec<(&'static str, Setting)>, Refusal> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = *current;
        for (name, value) in &wanted {
            next.set(name, value)?;
        }
        if next.level() != current.level() {
            let on_level = self.on_level.as_ref().ok_or_else(|| {
                Refusal::unsupported("the log's level can't be changed while the appliance runs")
            })?;
            on_level(next.level());
        }
        *current = next;
        Ok(next.list())
    }
}

impl Current {
    fn of(level: LevelFilter) -> Current {
        Current {
            error: level >= LevelFilter::ERROR,
            warning: level >= LevelFilter::WARN,
            info: level >= LevelFilter::INFO,
            verbose_level: match level {
                LevelFilter::TRACE => 2,
                LevelFilter::DEBUG => 1,
                _ => 0,
            },
        }
    }

    fn set(&mut self, name: &str, value: &Setting) -> Result<(), Refusal> {
        match (name, value) {
            ("log_error", Setting::Bool(on)) => self.error = *on,
            ("log_warning", Setting::Bool(on)) => self.warning = *on,
            ("log_info", Setting::Bool(on)) => self.info = *on,
            ("log_verbose_level", Setting::Number(level)) => self.verbose_level = *level,
            ("log_file" | "log_format", Setting::Text(text)) if text.is_empty() => {}
            ("log_file" | "log_format", _) => {
                return Err(Refusal::unsupported(format!(
                    "log setting '{name}' can't be changed by a client"
                )));
            }
            ("log_error" | "log_warning" | "log_info" | "log_verbose_level", _) => {
                return Err(Refusal::invalid(format!(
                    "log setting '{name}': expected true or false, or for log_verbose_level a \
                     number, came {value:?}"
                )));
            }
            _ => {
                return Err(Refusal::invalid(format!(
                    "unknown log setting '{name}'; the settings are log_error, log_warning, \
                     log_info, log_verbose_level"
                )));
            }
        }
        Ok(())
    }

    fn level(&self) -> LevelFilter {
        match self {
            Current { verbose_level: 2.., .. } => LevelFilter::TRACE,
            Current { verbose_level: 1, .. } => LevelFilter::DEBUG,
            Current { info: true, .. } => LevelFilter::INFO,
            Current { warning: true, .. } => LevelFilter::WARN,
            Current { error: true, .. } => LevelFilter::ERROR,
            _ => LevelFilter::OFF,
        }
    }

    fn list(&self) -> Vec<(&'static str, Setting)> {
        vec![
            ("log_error", Setting::Bool(self.error)),
            ("log_format", Setting::Text(String::new())),
            ("log_file", Setting::Text(String::new())),
            ("log_info", Setting::Bool(self.info)),
            ("log_verbose_level", Setting::Number(self.verbose_level)),
            ("log_warning", Setting::Bool(self.warning)),
        ]
    }
}

/// A model is loaded as config.ron says; nothing about it can be overridden by a client.
///
/// # Errors
/// When there is any parameter.
pub fn check_load_parameters<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), Refusal> {
    match names.into_iter().next() {
        None => Ok(()),
        Some(name) => Err(Refusal::unsupported(format!(
            "load parameter '{name}' is not supported: a model is loaded as config.ron says"
        ))),
    }
}

pub fn cuda_shared_memory_unsupported() -> Refusal {
    Refusal::unsupported("CUDA shared memory is not supported; use system shared memory")
}

pub fn trace_unsupported() -> Refusal {
    Refusal::unsupported(
        "trace settings are not supported; every reply carries queue_us and compute_us",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_shown_as_the_settings_that_mean_it() {
        for level in [
            LevelFilter::OFF,
            LevelFilter::ERROR,
            LevelFilter::WARN,
            LevelFilter::INFO,
            LevelFilter::DEBUG,
            LevelFilter::TRACE,
        ] {
            assert_eq!(Current::of(level).level(), level);
        }
    }
}
