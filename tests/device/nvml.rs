//! The driver's management library, absent, without a driver, and as a mock that a C compiler
//! makes of `nvml.c`.

use super::{NO_LIBRARY, monitor, trees};
use bcedge::telemetry::device::SpeedWatch;
use bcedge::telemetry::snapshot::{GpuSnapshot, Level};
use bcedge::units::Nanos;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// The built mock, and beside it the file that tells it how to behave.
struct Mock {
    folder: TempDir,
}

impl Mock {
    /// Built by `$BCEDGE_MOCK_CC`, which may have arguments, or `cc`.
    fn build() -> Mock {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let compiler = std::env::var("BCEDGE_MOCK_CC").unwrap_or_else(|_| "cc".into());
        let mut words = compiler.split_whitespace();
        let output = Command::new(words.next().expect("it names a compiler"))
            .args(words)
            .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
            .arg(folder.path().join("libnvidia-ml.so.1"))
            .arg(format!("-DBEHAVIOUR=\"{}\"", folder.path().join("behaviour").display()))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/device/nvml.c"))
            .output()
            .unwrap_or_else(|e| panic!("{compiler}: {e}; these tests need a C compiler"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Mock { folder }
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("libnvidia-ml.so.1")
    }

    fn behave(&self, words: &str) {
        fs::write(self.folder.path().join("behaviour"), words).expect("a file");
    }
}

#[test]
fn a_card_tells_everything_and_an_old_one_its_name() {
    let mock = Mock::build();
    let nothing = trees::Tree::of(&[]);
    let mut monitor = monitor(nothing.root(), mock.library());
    let device = monitor.sample(Nanos::ZERO);
    let a2 = GpuSnapshot {
        name: "NVIDIA A2".into(),
        uuid: Some("GPU-8e7a".into()),
        integrated: false,
        load_percent: Some(73.0),
        memory_used_bytes: Some(5 << 30),
        memory_total_bytes: Some(16 << 30),
        temperature_c: Some(64.0),
        power_w: Some(41.5),
        power_limit_w: Some(60.0),
        energy_j: Some(0.0),
        frequency_mhz: Some(1_410.0),
        frequency_limit_mhz: Some(1_770.0),
        throttled_by: Some(Vec::new()),
    };
    let old = GpuSnapshot { name: "Quadro K600".into(), ..GpuSnapshot::default() };
    assert_eq!(device.gpus, [a2.clone(), old.clone()]);
    let later = monitor.sample(Nanos::from_millis(1_000)).gpus;
    assert_eq!(later, [GpuSnapshot { energy_j: Some(41.5), ..a2 }, old], "since the start");
    assert!(device.jetson.is_none());
}

#[test]
fn heat_and_another_power_limit_are_events_and_a_lost_card_is_silent() {
    let mock = Mock::build();
    let nothing = trees::Tree::of(&[]);
    let mut monitor = monitor(nothing.root(), mock.library());
    let mut watch = SpeedWatch::default();
    assert_eq!(watch.observe(&monitor.sample(Nanos::ZERO), Nanos::ZERO), []);
    mock.behave("hot");
    let now = Nanos::from_millis(1_000);
    let device = monitor.sample(now);
    assert_eq!(device.gpus[0].throttled_by.as_deref(), Some(&["heat (hardware)".to_string()][..]));
    let events = watch.observe(&device, now);
    let texts: Vec<_> = events.iter().map(|event| event.text.as_str()).collect();
    let limit = "NVIDIA A2: power limit 60.0 → 40.0 W";
    assert_eq!(texts, [limit, "throttled by NVIDIA A2: heat (hardware)"]);
    assert_eq!(events[1].level, Level::Warn);
    mock.behave("lost");
    let now = Nanos::from_millis(2_000);
    let lost = monitor.sample(now);
    let silent = GpuSnapshot { name: "NVIDIA GPU".into(), ..GpuSnapshot::default() };
    assert_eq!(lost.gpus, [silent.clone(), silent]);
    assert_eq!(watch.observe(&lost, now), [], "what is not told is no change");
}

#[test]
fn without_the_library_or_a_driver_below_it_there_is_no_gpu() {
    let mock = Mock::build();
    let nothing = trees::Tree::of(&[]);
    mock.behave("no-driver");
    assert!(monitor(nothing.root(), mock.library()).sample(Nanos::ZERO).gpus.is_empty());
    assert!(monitor(nothing.root(), NO_LIBRARY).sample(Nanos::ZERO).gpus.is_empty());
    // A file that is no library.
    mock.behave("");
    let file = mock.folder.path().join("behaviour");
    assert!(monitor(nothing.root(), file).sample(Nanos::ZERO).gpus.is_empty());
}

#[test]
fn a_jetson_asks_the_driver_only_for_what_its_files_do_not_tell() {
    let mock = Mock::build();
    let orin = trees::orin();
    let device = monitor(orin.root(), mock.library()).sample(Nanos::ZERO);
    assert_eq!(device.gpus.len(), 1);
    assert_eq!(device.gpus[0].name, "Ampere (ga10b)");
    let thor = trees::thor();
    let gpu = &monitor(thor.root(), mock.library()).sample(Nanos::ZERO).gpus[0];
    assert_eq!((gpu.integrated, gpu.load_percent), (true, Some(73.0)));
    assert_eq!(gpu.temperature_c, Some(64.0), "the driver's where both tell");
}
