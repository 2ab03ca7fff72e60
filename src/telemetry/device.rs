//! The machine's state, read from /proc and /sys. What a machine doesn't tell is absent.

use super::snapshot::DeviceSnapshot;
use crate::units::Nanos;
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::path::{Path, PathBuf};

/// Sensors of more than so many zones or cores are not looked at.
const MAX_SENSORS: usize = 256;

/// Takes samples of the machine; loads are over the time between two of them.
#[derive(Debug)]
pub struct DeviceMonitor {
    name: String,
    cores: u32,
    thermal_zones: Vec<PathBuf>,
    frequencies: Vec<PathBuf>,
    last_cpu: Option<CpuTimes>,
    /// Time of the sample, and the process's CPU time then.
    last_process: Option<(Nanos, Nanos)>,
}

impl Default for DeviceMonitor {
    fn default() -> DeviceMonitor {
        DeviceMonitor::new()
    }
}

impl DeviceMonitor {
    /// Looks up what does not change: names, cores and sensors.
    pub fn new() -> DeviceMonitor {
        let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
        let board = read("/proc/device-tree/model");
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        DeviceMonitor {
            name: device_name(board.as_deref(), &cpuinfo),
            cores,
            thermal_zones: cpu_thermal_zones(Path::new("/sys/class/thermal")),
            frequencies: frequency_files(Path::new("/sys/devices/system/cpu")),
            last_cpu: None,
            last_process: None,
        }
    }

    /// The machine at the time `now`, which counts up from call to call. The first call has no
    /// loads yet. Weights and GPUs are for others to fill in.
    pub fn sample(&mut self, now: Nanos) -> DeviceSnapshot {
        let memory = read("/proc/meminfo").and_then(|text| memory_bytes(&text));
        DeviceSnapshot {
            name: self.name.clone(),
            cores: self.cores,
            cpu_percent: self.cpu_percent(),
            process_cpu_percent: self.process_cpu_percent(now),
            resident_bytes: read("/proc/self/status").and_then(|text| kib_field(&text, "VmRSS:")),
            memory_used_bytes: memory.map(|(used, _)| used),
            memory_total_bytes: memory.map(|(_, total)| total),
            temperature_c: highest(&self.thermal_zones).map(|milli_c| milli_c / 1e3),
            frequency_mhz: highest(&self.frequencies)
                .map(|khz| khz / 1e3)
                .or_else(|| cpuinfo_mhz(&read("/proc/cpuinfo")?)),
            ..DeviceSnapshot::default()
        }
    }

    fn cpu_percent(&mut self) -> Option<f64> {
        let times = cpu_times(&read("/proc/stat")?)?;
        let last = self.last_cpu.replace(times)?;
        load_percent(last, times)
    }

    fn process_cpu_percent(&mut self, now: Nanos) -> Option<f64> {
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let used = Nanos(used.tv_sec as u64 * 1_000_000_000 + used.tv_nsec as u64);
        let (then, used_then) = self.last_process.replace((now, used))?;
        let elapsed = now - then;
        (elapsed > Nanos::ZERO)
            .then(|| 100.0 * (used - used_then).as_secs_f64() / elapsed.as_secs_f64())
    }
}

/// `None` where the file is absent or not readable. Device-tree texts end with a zero byte.
fn read(path: impl AsRef<Path>) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_string())
}

/// The highest of the numbers in these files.
fn highest(files: &[PathBuf]) -> Option<f64> {
    let numbers = files.iter().filter_map(|file| read(file)?.trim().parse::<f64>().ok());
    numbers.reduce(f64::max)
}

/// A board says what it is in its device tree; elsewhere the processor does.
fn device_name(board: Option<&str>, cpuinfo: &str) -> String {
    let field = |key| cpuinfo.lines().find_map(|line| value_of(line, key));
    board
        .filter(|name| !name.is_empty())
        .or_else(|| field("model name"))
        .or_else(|| field("Model"))
        .or_else(|| field("Hardware"))
        .unwrap_or(std::env::consts::ARCH)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// The value in a line `key : value`.
fn value_of<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (name, value) = line.split_once(':')?;
    (name.trim_end() == key && !value.trim().is_empty()).then(|| value.trim())
}

/// The clock of the fastest core in /proc/cpuinfo, for machines without cpufreq.
fn cpuinfo_mhz(cpuinfo: &str) -> Option<f64> {
    let clocks = cpuinfo.lines().filter_map(|line| value_of(line, "cpu MHz")?.parse().ok());
    clocks.reduce(f64::max)
}

/// Time all cores have spent since the start of the machine, in ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
struct CpuTimes {
    busy: u64,
    total: u64,
}

/// The first line of /proc/stat: `cpu user nice system idle iowait irq softirq steal …`.
fn cpu_times(stat: &str) -> Option<CpuTimes> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // What follows (guest time) is part of user time already.
    let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|t| t.parse().ok()).collect();
    let total = ticks.iter().fold(0u64, |sum, ticks| sum.saturating_add(*ticks));
    let idle = ticks.get(3)?.saturating_add(*ticks.get(4).unwrap_or(&0));
    Some(CpuTimes { busy: total.saturating_sub(idle), total })
}

fn load_percent(last: CpuTimes, now: CpuTimes) -> Option<f64> {
    // The kernel may take a little idle time back.
    let total = now.total.checked_sub(last.total).filter(|&total| total > 0)?;
    let busy = now.busy.saturating_sub(last.busy);
    Some((100.0 * busy as f64 / total as f64).min(100.0))
}

/// (used, total); used is what a new program could not have.
fn memory_bytes(meminfo: &str) -> Option<(u64, u64)> {
    let total = kib_field(meminfo, "MemTotal:")?;
    let available = kib_field(meminfo, "MemAvailable:")?;
    Some((total.saturating_sub(available), total))
}

/// Bytes of a line such as `VmRSS:    2104 kB`.
fn kib_field(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Temperature files of the processor's zones; of all zones when none says it is the processor's.
fn cpu_thermal_zones(folder: &Path) -> Vec<PathBuf> {
    let zones: Vec<(bool, PathBuf)> = numbered(folder, "thermal_zone")
        .map(|zone| {
            let kind = read(zone.join("type")).unwrap_or_default().trim().to_lowercase();
            (is_cpu_zone(&kind), zone.join("temp"))
        })
        .collect();
    let any = zones.iter().any(|(is_cpu, _)| *is_cpu);
    zones.into_iter().filter(|(is_cpu, _)| *is_cpu || !any).map(|(_, temp)| temp).collect()
}

/// Such as `cpu-thermal` (Jetson, Raspberry Pi) or `x86_pkg_temp`.
fn is_cpu_zone(kind: &str) -> bool {
    ["cpu", "x86_pkg", "soc", "package"].iter().any(|word| kind.contains(word))
}

fn frequency_files(folder: &Path) -> Vec<PathBuf> {
    numbered(folder, "cpu")
        .map(|core| core.join("cpufreq/scaling_cur_freq"))
        .filter(|file| file.exists())
        .collect()
}

/// The entries `prefix` + number of a folder.
fn numbered(folder: &Path, prefix: &str) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut paths: Vec<PathBuf> = names
        .filter(|name| name.strip_prefix(prefix).is_some_and(|n| n.parse::<u32>().is_ok()))
        .take(MAX_SENSORS)
        .map(|name| folder.join(name))
        .collect();
    paths.sort();
    paths.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    const X86_CPUINFO: &str = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 2\n\
        model name\t: AMD EPYC  7B13\ncpu MHz\t\t: 2596.094\n\nprocessor\t: 1\nmodel name\t: AMD \
        EPYC  7B13\ncpu MHz\t\t: 3100.5\n";
    /// A Jetson Orin: no model name, no clock.
    const JETSON_CPUINFO: &str = "processor\t: 0\nBogoMIPS\t: 62.50\nFeatures\t: fp asimd\nCPU \
        implementer\t: 0x41\nCPU part\t: 0xd42\n";
    const PI_CPUINFO: &str = "processor\t: 0\nCPU part\t: 0xd0b\n\nRevision\t: c04170\nModel\t\t: \
        Raspberry Pi 5 Model B Rev 1.0\n";

    #[test]
    fn a_device_is_named_by_its_board_or_processor() {
        assert_eq!(device_name(None, X86_CPUINFO), "AMD EPYC 7B13");
        let orin = "NVIDIA Orin Nano Developer Kit";
        assert_eq!(device_name(Some(orin), JETSON_CPUINFO), orin);
        assert_eq!(device_name(Some(""), PI_CPUINFO), "Raspberry Pi 5 Model B Rev 1.0");
        assert_eq!(device_name(None, "Hardware\t: BCM2835\n"), "BCM2835");
        assert_eq!(device_name(None, JETSON_CPUINFO), std::env::consts::ARCH);
    }

    #[test]
    fn the_clock_is_the_fastest_cores() {
        assert_eq!(cpuinfo_mhz(X86_CPUINFO), Some(3100.5));
        assert_eq!(cpuinfo_mhz(JETSON_CPUINFO), None);
    }

    #[test]
    fn load_is_what_is_not_idle_between_two_samples() {
        let first = cpu_times("cpu  100 0 50 800 50 0 0 0 7 7\ncpu0 1 1 1 1\n").unwrap();
        assert_eq!(first, CpuTimes { busy: 150, total: 1000 });
        let second = cpu_times("cpu  150 0 75 825 50 0 0 0 7 7\n").unwrap();
        assert_eq!(load_percent(first, second), Some(75.0));
        assert_eq!(load_percent(first, first), None, "no time has passed");
        assert_eq!(load_percent(second, first), None, "backwards");
        for broken in ["", "cpu\n", "cpu  1 2\n", "intr 5\n", "cpu  x y z w\n"] {
            assert_eq!(cpu_times(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn memory_in_use_is_what_is_not_available() {
        let meminfo = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    400 kB\n";
        assert_eq!(memory_bytes(meminfo), Some((600 * 1024, 1000 * 1024)));
        assert_eq!(memory_bytes("MemTotal: 1000 kB\n"), None);
        assert_eq!(kib_field("VmRSS:\t    2104 kB\n", "VmRSS:"), Some(2104 * 1024));
        assert_eq!(kib_field("VmRSS:\t 99999999999999999999 kB\n", "VmRSS:"), None);
    }

    #[test]
    fn the_processors_sensors_are_found_among_others() {
        let folder = tempfile::tempdir().unwrap();
        let zone = |name: &str, kind: &str, temp: &str| {
            let zone = folder.path().join(name);
            fs::create_dir(&zone).unwrap();
            fs::write(zone.join("type"), kind).unwrap();
            fs::write(zone.join("temp"), temp).unwrap();
        };
        zone("thermal_zone0", "gpu-thermal\n", "70000\n");
        assert_eq!(highest(&cpu_thermal_zones(folder.path())), Some(70_000.0), "the only one");
        zone("thermal_zone1", "CPU-thermal\n", "51500\n");
        zone("thermal_zone2", "soc0-thermal\n", "49000\n");
        zone("cooling_device0", "cpu-fan\n", "99000\n");
        zone("thermal_zone3", "cpu-broken\n", "-\n");
        assert_eq!(highest(&cpu_thermal_zones(folder.path())), Some(51_500.0));
        assert!(cpu_thermal_zones(Path::new("/no/such/folder")).is_empty());
    }

    #[test]
    fn this_machine_can_be_sampled() {
        let mut monitor = DeviceMonitor::new();
        let first = monitor.sample(Nanos::ZERO);
        assert!(first.cores >= 1 && !first.name.is_empty());
        assert_eq!((first.cpu_percent, first.process_cpu_percent), (None, None));
        let second = monitor.sample(Nanos::from_millis(1_000));
        assert!(second.process_cpu_percent.is_some_and(|percent| percent >= 0.0));
        assert!(second.resident_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(second.memory_used_bytes <= second.memory_total_bytes);
    }
}
