//! Processor and memory, as /proc and /sys tell of every Linux machine.

use super::files::{self, Tree, numbered};
use crate::telemetry::snapshot::DeviceSnapshot;
use crate::units::Nanos;
use rustix::time::{ClockId, clock_gettime};
use std::path::PathBuf;

/// Takes samples; loads are over the time between two of them.
#[derive(Debug)]
pub(super) struct Host {
    tree: Tree,
    name: String,
    cores: u32,
    frequencies: Vec<PathBuf>,
    last_cpu: Option<CpuTimes>,
    /// Time of the sample, and the process's CPU time then.
    last_process: Option<(Nanos, Nanos)>,
}

impl Host {
    pub(super) fn of(tree: &Tree) -> Host {
        let cpuinfo = tree.text("/proc/cpuinfo").unwrap_or_default();
        let board = tree.text("/proc/device-tree/model");
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        Host {
            name: device_name(board.as_deref(), &cpuinfo),
            cores,
            frequencies: numbered(&tree.path("/sys/devices/system/cpu"), "cpu")
                .into_iter()
                .map(|core| core.join("cpufreq/scaling_cur_freq"))
                .filter(|file| file.exists())
                .collect(),
            tree: tree.clone(),
            last_cpu: None,
            last_process: None,
        }
    }

    pub(super) fn sample(&mut self, now: Nanos) -> DeviceSnapshot {
        let memory = self.tree.text("/proc/meminfo").and_then(|text| memory_bytes(&text));
        let resident =
            self.tree.text("/proc/self/status").and_then(|text| kib_field(&text, "VmRSS:"));
        let fastest_khz =
            self.frequencies.iter().filter_map(|file| files::number(file)).reduce(f64::max);
        DeviceSnapshot {
            name: self.name.clone(),
            cores: self.cores,
            cpu_percent: self.cpu_percent(),
            process_cpu_percent: self.process_cpu_percent(now),
            resident_bytes: resident,
            memory_used_bytes: memory.map(|(used, _)| used),
            memory_total_bytes: memory.map(|(_, total)| total),
            frequency_mhz: fastest_khz
                .map(|khz| khz / 1e3)
                .or_else(|| cpuinfo_mhz(&self.tree.text("/proc/cpuinfo")?)),
            ..DeviceSnapshot::default()
        }
    }

    fn cpu_percent(&mut self) -> Option<f64> {
        let times = cpu_times(&self.tree.text("/proc/stat")?)?;
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
}
