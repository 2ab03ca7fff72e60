//! Changes of the device's speed: another power mode, throttling, another limit on clock or power.
//!
//! Whoever predicts execution times has to hear of them; a person wants to read of each once, and
//! not of every time a governor takes a limit up and down again.

use crate::telemetry::snapshot::{DeviceSnapshot, Level};
use crate::units::Nanos;
use std::collections::BTreeSet;

/// A source that keeps changing is heard this often.
const QUIET: Nanos = Nanos::from_millis(5_000);
/// Throttling has ended when nothing throttled for so long.
const CALM: Nanos = Nanos::from_millis(10_000);
/// A limit that moves by less than this share has not moved.
const NOTABLE: f64 = 0.005;

/// The device became faster or slower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceEvent {
    pub level: Level,
    /// In words, such as `power mode MAXN → 15W`.
    pub text: String,
}

/// Compares each sample with what was reported before.
#[derive(Debug, Default)]
pub struct SpeedWatch {
    power_mode: Option<String>,
    /// Clock limit (MHz) and power limit (W), by GPU.
    limits: Vec<[Limit; 2]>,
    throttling: Throttling,
}

/// A limit as it was reported last, or seen first.
#[derive(Clone, Copy, Debug, Default)]
struct Limit {
    reported: Option<f64>,
    quiet_until: Nanos,
}

#[derive(Debug, Default)]
struct Throttling {
    /// What was reported since it began; empty while nothing throttles.
    reported: BTreeSet<String>,
    since: Nanos,
    last_seen: Nanos,
}

impl SpeedWatch {
    /// What changed up to this sample, taken at `now`. What a machine does not tell is no change.
    pub fn observe(&mut self, device: &DeviceSnapshot, now: Nanos) -> Vec<DeviceEvent> {
        let mut events = Vec::new();
        events.extend(self.power_mode(device));
        self.limits.resize_with(device.gpus.len(), Default::default);
        for (limits, gpu) in self.limits.iter_mut().zip(&device.gpus) {
            let of_gpu = |text: String| DeviceEvent {
                level: Level::Info,
                text: format!("{}: {text}", gpu.name),
            };
            let [clock, power] = limits;
            let moved = clock.moved(gpu.frequency_limit_mhz, now);
            events.extend(
                moved.map(|(old, new)| of_gpu(format!("clock limit {old:.0} → {new:.0} MHz"))),
            );
            let moved = power.moved(gpu.power_limit_w, now);
            events.extend(
                moved.map(|(old, new)| of_gpu(format!("power limit {old:.1} → {new:.1} W"))),
            );
        }
        events.extend(self.throttling.observe(reasons(device), now));
        events
    }

    fn power_mode(&mut self, device: &DeviceSnapshot) -> Option<DeviceEvent> {
        let mode = device.jetson.as_ref()?.power_mode.as_ref()?;
        let old = self.power_mode.replace(mode.clone())?;
        (old != *mode)
            .then(|| DeviceEvent {
                level: Level::Info, text: format!("power mode {old} → {mode}")
            })
    }
}

/// Everything that throttles now, with the GPU's name where it is a GPU that says so.
fn reasons(device: &DeviceSnapshot) -> BTreeSet<String> {
    let mut reasons: BTreeSet<String> = device.throttled_by.iter().flatten().cloned().collect();
    for gpu in &device.gpus {
        let of_gpu = gpu.throttled_by.iter().flatten();
        reasons.extend(of_gpu.map(|reason| format!("{}: {reason}", gpu.name)));
    }
    reasons
}

impl Limit {
    /// The old and the new value, when it is time to tell that it has moved.
    fn moved(&mut self, value: Option<f64>, now: Nanos) -> Option<(f64, f64)> {
        let value = value?;
        let old = *self.reported.get_or_insert(value);
        if (value - old).abs() <= old.abs() * NOTABLE || now < self.quiet_until {
            return None;
        }
        *self = Limit { reported: Some(value), quiet_until: now + QUIET };
        Some((old, value))
    }
}

impl Throttling {
    /// Reports each reason when it comes up, and the end once, when it has held.
    fn observe(&mut self, reasons: BTreeSet<String>, now: Nanos) -> Option<DeviceEvent> {
        if reasons.is_empty() {
            if self.reported.is_empty() || now - self.last_seen < CALM {
                return None;
            }
            self.reported.clear();
            let lasted = (self.last_seen - self.since).as_secs_f64();
            let text = format!("no longer throttled, after {lasted:.0} s");
            return Some(DeviceEvent { level: Level::Info, text });
        }
        if self.reported.is_empty() {
            self.since = now;
        }
        self.last_seen = now;
        let new: Vec<String> = reasons.difference(&self.reported).cloned().collect();
        self.reported.extend(reasons);
        (!new.is_empty()).then(|| DeviceEvent {
            level: Level::Warn,
            text: format!("throttled by {}", new.join(", ")),
        })
    }
}
