//! How hot the machine is, and whether that slows it down.

use super::files::{self, Names, Tree, numbered};
use crate::telemetry::snapshot::Zone;
use std::path::{Path, PathBuf};

/// What a sensor that is switched off may show instead of a temperature, such as -256 °C.
const PLAUSIBLE_C: std::ops::RangeInclusive<f64> = -60.0..=200.0;

/// The kernel's thermal zones and cooling devices.
#[derive(Debug)]
pub(super) struct Thermal {
    zones: Vec<ZoneFile>,
    /// What slows the machine down, and its state: 0 is full speed.
    brakes: Vec<(String, PathBuf)>,
    over_current: Vec<OverCurrent>,
}

#[derive(Debug)]
struct ZoneFile {
    name: String,
    is_cpu: bool,
    temp: PathBuf,
}

/// A counter of a Jetson's protection against too much current or too little voltage. Each event
/// throttles the processor and the GPU for a moment.
#[derive(Debug)]
struct OverCurrent {
    name: String,
    count: PathBuf,
    last: Option<f64>,
}

impl Thermal {
    pub(super) fn of(tree: &Tree) -> Thermal {
        let folder = tree.path("/sys/class/thermal");
        let brakes = numbered(&folder, "cooling_device").into_iter().filter_map(|device| {
            let kind = files::text(&device.join("type"))?;
            is_brake(&kind).then(|| (kind, device.join("cur_state")))
        });
        Thermal { zones: zones(tree), brakes: brakes.collect(), over_current: over_current(tree) }
    }

    pub(super) fn zones(&self) -> Vec<Zone> {
        let read = |zone: &ZoneFile| Zone { name: zone.name.clone(), celsius: celsius(&zone.temp) };
        self.zones.iter().map(read).collect()
    }

    /// The hottest zone of the processor; of all zones when none says it is the processor's.
    pub(super) fn hottest_cpu(&self, zones: &[Zone]) -> Option<f64> {
        let any = self.zones.iter().any(|zone| zone.is_cpu);
        let of_cpu = self.zones.iter().zip(zones).filter(|(file, _)| file.is_cpu || !any);
        of_cpu.filter_map(|(_, zone)| zone.celsius).reduce(f64::max)
    }

    /// What slows the machine down now; `None` when this machine has nothing that would tell.
    pub(super) fn throttled_by(&mut self) -> Option<Vec<String>> {
        if self.brakes.is_empty() && self.over_current.is_empty() {
            return None;
        }
        let on = |state: &PathBuf| files::number(state).is_some_and(|state| state > 0.0);
        let brakes = self.brakes.iter().filter(|(_, state)| on(state));
        let mut reasons: Vec<String> = brakes.map(|(kind, _)| kind.clone()).collect();
        reasons.sort();
        reasons.dedup();
        reasons.extend(self.over_current.iter_mut().filter_map(OverCurrent::has_struck));
        Some(reasons)
    }
}

impl OverCurrent {
    /// Its name when there were events since the last look.
    fn has_struck(&mut self) -> Option<String> {
        let count = files::number(&self.count);
        let last = std::mem::replace(&mut self.last, count);
        (count? > last?).then(|| self.name.clone())
    }
}

fn celsius(temp: &Path) -> Option<f64> {
    files::number(temp).map(|milli| milli / 1e3).filter(|c| PLAUSIBLE_C.contains(c))
}

fn zones(tree: &Tree) -> Vec<ZoneFile> {
    let mut names = Names::default();
    let mut zones = Vec::new();
    for zone in numbered(&tree.path("/sys/class/thermal"), "thermal_zone") {
        let kind = files::text(&zone.join("type")).unwrap_or_default();
        // A constant on the boards that have it, not a measurement.
        if kind.is_empty() || kind.starts_with("PMIC") {
            continue;
        }
        let is_cpu = is_cpu(&kind);
        zones.push(ZoneFile { name: names.unique(kind), is_cpu, temp: zone.join("temp") });
    }
    zones
}

/// Such as `CPU-therm` (JetPack 4 and 5), `cpu-thermal` (JetPack 6, Raspberry Pi), `x86_pkg_temp`.
fn is_cpu(kind: &str) -> bool {
    let kind = kind.to_lowercase();
    ["cpu", "x86_pkg", "soc", "package"].iter().any(|word| kind.contains(word))
}

/// Cooling by running slower. Other cooling devices are fans and alarms, or, like a backlight,
/// always on.
fn is_brake(kind: &str) -> bool {
    let slows = kind.ends_with("-throttle-alert") || kind.ends_with("-balanced");
    let frequency = ["cpufreq", "devfreq", "thermal-cpufreq", "thermal-devfreq"];
    slows || kind == "Processor" || frequency.iter().any(|prefix| kind.starts_with(prefix))
}

/// The counters of `soctherm_oc` (Orin, JetPack 5 and newer); their meaning is from the Jetson
/// Linux developer guide, "Over-Current Throttling".
fn over_current(tree: &Tree) -> Vec<OverCurrent> {
    let monitors = numbered(&tree.path("/sys/class/hwmon"), "hwmon");
    let is_it =
        |folder: &PathBuf| files::text(&folder.join("name")).as_deref() == Some("soctherm_oc");
    let Some(folder) = monitors.into_iter().find(is_it) else { return Vec::new() };
    [(1, "under-voltage"), (2, "average over-current"), (3, "over-current peaks")]
        .into_iter()
        .map(|(number, name)| (name, folder.join(format!("oc{number}_event_cnt"))))
        .filter(|(_, count)| count.exists())
        .map(|(name, count)| OverCurrent { name: name.into(), last: files::number(&count), count })
        .collect()
}
