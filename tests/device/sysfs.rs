//! What sysfs tells, from JetPack to JetPack.

use super::{NO_LIBRARY, monitor, sample, trees};
use bcedge::telemetry::device::{DeviceEvent, DeviceMonitor, SpeedWatch};
use bcedge::telemetry::snapshot::{DeviceSnapshot, Level};
use bcedge::units::Nanos;

fn zones(device: &DeviceSnapshot) -> Vec<(&str, Option<f64>)> {
    device.zones.iter().map(|zone| (zone.name.as_str(), zone.celsius)).collect()
}

fn rails(device: &DeviceSnapshot) -> Vec<(&str, Option<f64>)> {
    let rails = &device.jetson.as_ref().expect("a Jetson").rails;
    rails.iter().map(|rail| (rail.name.as_str(), rail.watts)).collect()
}

#[test]
fn a_nano_with_jetpack_4() {
    let device = sample(&trees::nano());
    assert_eq!(device.name, "NVIDIA Jetson Nano Developer Kit");
    assert_eq!(device.memory_used_bytes, Some(2_029_734 * 1024));
    let jetson = device.jetson.as_ref().unwrap();
    assert_eq!(jetson.power_mode.as_deref(), Some("5W"));
    assert_eq!(jetson.memory_clock_mhz, Some(1_600.0));
    assert_eq!(jetson.memory_load_percent, Some(20.0));
    assert_eq!(
        rails(&device),
        [("POM_5V_IN", Some(3.28)), ("POM_5V_GPU", Some(0.812)), ("POM_5V_CPU", Some(0.64))]
    );
    assert_eq!(
        zones(&device),
        [
            ("AO-therm", Some(39.0)),
            ("CPU-therm", Some(31.5)),
            ("GPU-therm", Some(29.5)),
            ("PLL-therm", Some(28.5)),
        ],
        "without the constant of the power chip"
    );
    assert_eq!(device.temperature_c, Some(31.5));
    assert_eq!(device.throttled_by, Some(Vec::new()), "a fan that turns throttles nothing");
    let [gpu] = &device.gpus[..] else { panic!("{:?}", device.gpus) };
    assert_eq!((gpu.name.as_str(), gpu.integrated), ("Maxwell (gm20b)", true));
    assert_eq!((gpu.load_percent, gpu.temperature_c), (Some(43.7), Some(29.5)));
    assert_eq!((gpu.frequency_mhz, gpu.frequency_limit_mhz), (Some(460.8), Some(640.0)));
    assert_eq!(gpu.power_w, Some(0.812));
    assert_eq!((gpu.memory_total_bytes, gpu.energy_j), (None, None), "it has none, tells none");
}

#[test]
fn a_xavier_with_jetpack_5_and_without_the_right_to_read_debugfs() {
    let device = sample(&trees::xavier());
    let jetson = device.jetson.as_ref().unwrap();
    assert_eq!(jetson.power_mode.as_deref(), Some("MODE_15W"));
    assert_eq!((jetson.memory_clock_mhz, jetson.memory_load_percent), (None, None));
    let sys5v = ("SYS5V", None);
    assert_eq!(rails(&device), [("GPU", Some(1.9)), ("CPU", Some(4.752)), sys5v]);
    let switched_off = ("GPU-therm", None);
    let expected = [("CPU-therm", Some(42.0)), switched_off, ("Tboard_tegra", Some(38.0))];
    assert_eq!(zones(&device), expected);
    assert_eq!(device.throttled_by, Some(Vec::new()), "an alarm throttles nothing");
    let [gpu] = &device.gpus[..] else { panic!("the video unit is no GPU: {:?}", device.gpus) };
    assert_eq!(gpu.name, "Volta (gv11b)");
    assert_eq!((gpu.load_percent, gpu.temperature_c), (Some(0.0), None), "idle is not absent");
    assert_eq!((gpu.power_w, gpu.frequency_limit_mhz), (Some(1.9), Some(675.75)));
}

#[test]
fn an_orin_with_jetpack_6() {
    let tree = trees::orin();
    let device = sample(&tree);
    let jetson = device.jetson.as_ref().unwrap();
    assert_eq!(jetson.power_mode.as_deref(), Some("25W"), "the default of a fresh board");
    assert_eq!(jetson.memory_clock_mhz, Some(2_133.0));
    assert_eq!(jetson.memory_load_percent, Some(18.0));
    let [(_, Some(input)), (_, Some(cpu_gpu))] = rails(&device)[..] else {
        panic!("{:?}", rails(&device))
    };
    assert!((input - 7.9104).abs() < 1e-9 && (cpu_gpu - 2.9664).abs() < 1e-9);
    let cv0 = ("cv0-thermal", None);
    let expected = [
        ("cpu-thermal", Some(48.031)),
        ("gpu-thermal", Some(47.5)),
        cv0,
        ("tj-thermal", Some(48.031)),
    ];
    assert_eq!(zones(&device), expected, "in the order of their numbers");
    let [gpu] = &device.gpus[..] else { panic!("{:?}", device.gpus) };
    assert_eq!(gpu.name, "Ampere (ga10b)");
    assert_eq!((gpu.load_percent, gpu.power_w), (Some(84.0), None), "a shared rail is not its own");
    tree.set("var/lib/nvpmodel/status", "pmode:0007");
    let jetson = sample(&tree).jetson.unwrap();
    assert_eq!(jetson.power_mode.as_deref(), Some("mode 7"), "one that the file does not name");
}

#[test]
fn a_thor_without_its_driver_tells_clock_and_heat() {
    let device = sample(&trees::thor());
    let [gpu] = &device.gpus[..] else { panic!("{:?}", device.gpus) };
    assert_eq!((gpu.load_percent, gpu.temperature_c), (None, Some(44.0)));
    assert_eq!((gpu.frequency_mhz, gpu.frequency_limit_mhz), (Some(1_575.0), Some(1_692.0)));
    let jetson = device.jetson.as_ref().unwrap();
    assert_eq!((jetson.power_mode.as_ref(), jetson.memory_clock_mhz), (None, Some(4_266.0)));
}

#[test]
fn sources_that_go_away_become_absent_and_rubbish_is_no_measurement() {
    let tree = trees::orin();
    let mut monitor = monitor(tree.root(), NO_LIBRARY);
    assert!(monitor.sample(Nanos::ZERO).gpus[0].load_percent.is_some());
    tree.remove("sys/devices/platform/bus@0/17000000.gpu/load");
    tree.remove("sys/kernel/debug/bpmp/debug/clk/emc/rate");
    tree.set("sys/class/thermal/thermal_zone0/temp", "hot");
    tree.set("sys/class/thermal/thermal_zone10/temp", "inf");
    tree.set("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/curr1_input", "");
    tree.set("etc/nvpmodel.conf", "< POWER_MODEL\n<>\n< PM_CONFIG DEFAULT= >");
    tree.set("var/lib/nvpmodel/status", "pmode:");
    let device = monitor.sample(Nanos::from_millis(1_000));
    assert_eq!(device.gpus[0].load_percent, None);
    assert_eq!(device.temperature_c, None);
    assert_eq!(rails(&device)[0], ("VDD_IN", None));
    let jetson = device.jetson.as_ref().unwrap();
    assert_eq!((jetson.memory_clock_mhz, jetson.memory_load_percent), (None, None));
    assert_eq!(jetson.power_mode, None);
}

#[test]
fn a_machine_without_anything_has_nothing() {
    let device = sample(&trees::Tree::of(&[]));
    let expected = DeviceSnapshot {
        name: device.name.clone(),
        cores: device.cores,
        ..DeviceSnapshot::default()
    };
    assert_eq!(device, expected);
    assert!(device.cores >= 1 && !device.name.is_empty());
}

/// Takes a sample every second and collects what is told.
struct Watched {
    monitor: DeviceMonitor,
    watch: SpeedWatch,
    second: u64,
}

impl Watched {
    fn new(tree: &trees::Tree) -> Watched {
        let monitor = monitor(tree.root(), NO_LIBRARY);
        let mut watched = Watched { monitor, watch: SpeedWatch::default(), second: 0 };
        assert_eq!(watched.seconds(3), [], "what a machine is like at first is no change");
        watched
    }

    fn seconds(&mut self, count: u64) -> Vec<DeviceEvent> {
        let mut events = Vec::new();
        for _ in 0..count {
            let now = Nanos::from_millis(self.second * 1_000);
            events.extend(self.watch.observe(&self.monitor.sample(now), now));
            self.second += 1;
        }
        events
    }
}

fn event(level: Level, text: &str) -> DeviceEvent {
    DeviceEvent { level, text: text.into() }
}

#[test]
fn another_power_mode_is_told_with_the_limits_that_come_with_it() {
    let tree = trees::orin();
    let mut watched = Watched::new(&tree);
    tree.set("var/lib/nvpmodel/status", "pmode:0000");
    let limit = "sys/devices/platform/bus@0/17000000.gpu/devfreq/17000000.gpu/max_freq";
    tree.set(limit, "408000000");
    let expected = [
        event(Level::Info, "power mode 25W → 15W"),
        event(Level::Info, "Ampere (ga10b): clock limit 625 → 408 MHz"),
    ];
    assert_eq!(watched.seconds(3), expected);
    tree.remove("var/lib/nvpmodel/status");
    assert_eq!(watched.seconds(1), [event(Level::Info, "power mode 15W → 25W")]);
}

#[test]
fn a_limit_that_keeps_moving_is_told_now_and_then() {
    let tree = trees::orin();
    let mut watched = Watched::new(&tree);
    let limit = "sys/devices/platform/bus@0/17000000.gpu/devfreq/17000000.gpu/max_freq";
    let mut told = Vec::new();
    for step in 1..=12u64 {
        tree.set(limit, &format!("{}", 624_750_000 - step * 20_000_000));
        told.extend(watched.seconds(1));
    }
    told.extend(watched.seconds(10));
    let clock =
        |old, new| event(Level::Info, &format!("Ampere (ga10b): clock limit {old} → {new} MHz"));
    let expected = [clock(625, 605), clock(605, 505), clock(505, 405), clock(405, 385)];
    assert_eq!(told, expected, "at once, every five seconds, and the last value");
}

#[test]
fn throttling_is_told_when_it_begins_and_once_when_it_has_ended() {
    let tree = trees::xavier();
    let mut watched = Watched::new(&tree);
    let state = |device: u32, state: &str| {
        tree.set(&format!("sys/class/thermal/cooling_device{device}/cur_state"), state);
    };
    state(1, "2");
    assert_eq!(watched.seconds(2), [event(Level::Warn, "throttled by gpu-throttle-alert")]);
    for _ in 0..5 {
        state(1, "0");
        assert_eq!(watched.seconds(2), [], "a pause is no end");
        state(1, "1");
        assert_eq!(watched.seconds(2), [], "told already");
    }
    state(0, "4");
    assert_eq!(watched.seconds(1), [event(Level::Warn, "throttled by thermal-cpufreq-0")]);
    state(0, "0");
    state(1, "0");
    let expected = [event(Level::Info, "no longer throttled, after 22 s")];
    assert_eq!(watched.seconds(30), expected);
}

#[test]
fn over_current_throttles_while_its_counters_grow() {
    let tree = trees::orin();
    let mut watched = Watched::new(&tree);
    for count in 38..60 {
        tree.set("sys/class/hwmon/hwmon3/oc3_event_cnt", &count.to_string());
        let first = [event(Level::Warn, "throttled by over-current peaks")];
        assert_eq!(watched.seconds(1), &first[..usize::from(count == 38)]);
    }
    tree.set("sys/class/hwmon/hwmon3/oc1_event_cnt", "1");
    assert_eq!(watched.seconds(1), [event(Level::Warn, "throttled by under-voltage")]);
    assert_eq!(watched.seconds(30).len(), 1, "it ends");
}
