//! What only a Jetson has: its GPU in sysfs, power rails, power modes, the memory's clock. These
//! are the files that `tegrastats` reads; their places differ from JetPack to JetPack.

use super::files::{self, Names, Tree, entries};
use crate::telemetry::snapshot::{GpuSnapshot, JetsonSnapshot, Rail, Zone};
use std::path::{Path, PathBuf};

/// GPU generations by the chip's name in the device tree.
const CHIPS: [(&str, &str); 5] = [
    ("gm20b", "Maxwell"),
    ("gp10b", "Pascal"),
    ("gv11b", "Volta"),
    ("ga10b", "Ampere"),
    ("gb10b", "Blackwell"),
];
/// Rails that feed the GPU and nothing else: Nano, TX2, AGX Xavier, Thor.
const GPU_RAILS: [&str; 4] = ["POM_5V_GPU", "VDD_SYS_GPU", "GPU", "VDD_GPU"];
const NVPMODEL_CONF: &str = "/etc/nvpmodel.conf";
/// Written by `nvpmodel` when it sets a mode: `pmode:0002`, on JetPack 4 with more behind it.
const NVPMODEL_STATUS: &str = "/var/lib/nvpmodel/status";
/// In Hz. All but the last are debugfs, which only root reads. T186 and newer; Nano; Thor.
const MEMORY_CLOCK: [&str; 4] = [
    "/sys/kernel/debug/bpmp/debug/clk/emc/rate",
    "/sys/kernel/debug/clk/override.emc/clk_rate",
    "/sys/kernel/debug/clk/emc/clk_rate",
    "/sys/class/devfreq/bwmgr/cur_freq",
];
/// In kHz: the clock at which the memory, always busy, would move what it moves now. JetPack 6;
/// 7; 4 and 5.
const MEMORY_ACTIVITY: [&str; 3] = [
    "/sys/kernel/debug/cactmon/mc_all",
    "/sys/kernel/debug/bpmp/debug/actmon/mc_all_avg_activity",
    "/sys/kernel/actmon_avg_activity/mc_all",
];

#[derive(Debug)]
pub(super) struct Jetson {
    tree: Tree,
    gpu: Option<Gpu>,
    rails: Vec<RailFiles>,
    /// The status as it was read last, and the mode it means.
    power_mode: (Option<String>, Option<String>),
}

#[derive(Debug)]
struct Gpu {
    name: String,
    /// In tenths of a percent.
    load: Option<PathBuf>,
    /// Its folder in /sys/class/devfreq; clocks in Hz.
    devfreq: Option<PathBuf>,
}

/// One channel of an INA3221 power monitor.
#[derive(Debug)]
struct RailFiles {
    name: String,
    /// In mW.
    power: Option<PathBuf>,
    /// In mV and mA, where the driver has no power.
    voltage: PathBuf,
    current: PathBuf,
}

impl Jetson {
    /// `None` on another machine.
    pub(super) fn of(tree: &Tree) -> Option<Jetson> {
        let compatible = tree.text("/proc/device-tree/compatible")?;
        compatible.contains("nvidia,tegra").then(|| Jetson {
            gpu: Gpu::of(tree),
            rails: rails(tree),
            power_mode: (None, power_mode(tree, None)),
            tree: tree.clone(),
        })
    }

    pub(super) fn sample(&mut self) -> JetsonSnapshot {
        let clock_hz = self.tree.first_number(&MEMORY_CLOCK).filter(|hz| *hz > 0.0);
        let activity_khz = self.tree.first_number(&MEMORY_ACTIVITY);
        let load = |khz: f64| Some((100.0 * khz / (clock_hz? / 1e3)).min(100.0));
        JetsonSnapshot {
            power_mode: self.power_mode(),
            memory_load_percent: activity_khz.and_then(load),
            memory_clock_mhz: clock_hz.map(|hz| hz / 1e6),
            rails: self.rails.iter().map(RailFiles::sample).collect(),
        }
    }

    /// Whether sysfs tells how busy the GPU is. Thor's is for the driver to tell.
    pub(super) fn knows_its_gpu(&self) -> bool {
        self.gpu.as_ref().is_some_and(|gpu| gpu.load.is_some())
    }

    /// The GPU, as far as sysfs tells; it shares the machine's memory. Its temperature and power
    /// are among what was sampled of zones and rails.
    pub(super) fn gpu(&self, rails: &[Rail], zones: &[Zone]) -> Option<GpuSnapshot> {
        let gpu = self.gpu.as_ref()?;
        let mhz = |file: &str| {
            let hz = files::number(&gpu.devfreq.as_ref()?.join(file))?;
            (hz > 0.0).then_some(hz / 1e6)
        };
        let rail = rails.iter().find(|rail| GPU_RAILS.contains(&rail.name.as_str()));
        Some(GpuSnapshot {
            name: gpu.name.clone(),
            integrated: true,
            load_percent: gpu.load.as_deref().and_then(files::number).map(|load| load / 10.0),
            temperature_c: zones.iter().find(|zone| is_gpu_zone(zone)).and_then(|z| z.celsius),
            power_w: rail.and_then(|rail| rail.watts),
            frequency_mhz: mhz("cur_freq"),
            frequency_limit_mhz: mhz("max_freq"),
            ..GpuSnapshot::default()
        })
    }

    /// The configuration is read again only when the status has changed.
    fn power_mode(&mut self) -> Option<String> {
        let status = self.tree.text(NVPMODEL_STATUS);
        if self.power_mode.0 != status {
            let mode = power_mode(&self.tree, status.as_deref());
            self.power_mode = (status, mode);
        }
        self.power_mode.1.clone()
    }
}

impl Gpu {
    fn of(tree: &Tree) -> Option<Gpu> {
        let devices = entries(&tree.path("/sys/class/devfreq"));
        let is_gpu = |name: &str| {
            let kind = name.rsplit('.').next().unwrap_or(name);
            kind == "gpu" || name == "gpu-gpc-0" || CHIPS.iter().any(|(chip, _)| *chip == kind)
        };
        let devfreq = devices.into_iter().find(|(name, _)| is_gpu(name)).map(|(_, path)| path);
        let beside = devfreq.iter().map(|path| path.join("device/load"));
        // Links that name no chip, for kernels without devfreq.
        let links = ["/sys/devices/gpu.0/load", "/sys/devices/platform/gpu.0/load"];
        let load = beside.chain(links.map(|link| tree.path(link))).find(|file| file.exists());
        if devfreq.is_none() && load.is_none() {
            return None;
        }
        let node = load.as_ref().and_then(|load| load.parent().map(|gpu| gpu.join("of_node")));
        let kind = node.and_then(|node| files::text(&node.join("compatible"))).unwrap_or_default();
        let chip = CHIPS.iter().find(|(chip, _)| kind.contains(chip));
        let name = chip.map_or("Tegra GPU".into(), |(chip, family)| format!("{family} ({chip})"));
        Some(Gpu { name, load, devfreq })
    }
}

impl RailFiles {
    fn sample(&self) -> Rail {
        let product = || {
            let (volts, amperes) = (files::number(&self.voltage)?, files::number(&self.current)?);
            Some(volts * amperes / 1e6)
        };
        let milliwatts = self.power.as_deref().and_then(files::number);
        Rail { name: self.name.clone(), watts: milliwatts.map(|mw| mw / 1e3).or_else(product) }
    }
}

/// `GPU-therm` up to JetPack 5, then `gpu-thermal`.
fn is_gpu_zone(zone: &Zone) -> bool {
    zone.name.to_lowercase().starts_with("gpu")
}

/// The channels of all power monitors, in the order of their addresses.
fn rails(tree: &Tree) -> Vec<RailFiles> {
    let mut rails = Vec::new();
    for driver in ["/sys/bus/i2c/drivers/ina3221x", "/sys/bus/i2c/drivers/ina3221"] {
        for (_, monitor) in entries(&tree.path(driver)) {
            for (name, folder) in entries(&monitor) {
                match name.as_str() {
                    "hwmon" => {
                        for (_, folder) in entries(&folder) {
                            rails.extend((1..=3).filter_map(|n| hwmon_rail(&folder, n)));
                        }
                    }
                    name if name.starts_with("iio:device") => {
                        rails.extend((0..3).filter_map(|n| iio_rail(&folder, n)));
                    }
                    _ => {}
                }
            }
        }
    }
    let mut names = Names::default();
    rails.iter_mut().for_each(|rail| rail.name = names.unique(std::mem::take(&mut rail.name)));
    rails
}

/// JetPack 5 and newer. A label `NC` says that nothing is connected.
fn hwmon_rail(folder: &Path, number: u32) -> Option<RailFiles> {
    let name = files::text(&folder.join(format!("in{number}_label")))?;
    (!name.is_empty() && name != "NC").then(|| RailFiles {
        name,
        power: None,
        voltage: folder.join(format!("in{number}_input")),
        current: folder.join(format!("curr{number}_input")),
    })
}

/// JetPack 4.
fn iio_rail(folder: &Path, number: u32) -> Option<RailFiles> {
    let name = files::text(&folder.join(format!("rail_name_{number}")))?;
    (!name.is_empty() && name != "NC").then(|| RailFiles {
        name,
        power: Some(folder.join(format!("in_power{number}_input"))),
        voltage: folder.join(format!("in_voltage{number}_input")),
        current: folder.join(format!("in_current{number}_input")),
    })
}

/// The mode's name. Where no mode was ever set there is no status, and the default is in force.
fn power_mode(tree: &Tree, status: Option<&str>) -> Option<String> {
    let conf = tree.text(NVPMODEL_CONF).unwrap_or_default();
    let id = match status {
        Some(status) => status.split_whitespace().find_map(|word| word.strip_prefix("pmode:")),
        None => tag_field(&conf, "PM_CONFIG", "DEFAULT", |_| true),
    };
    let id: u32 = id?.parse().ok()?;
    let is_it = |tag: &str| field(tag, "ID").and_then(|value| value.parse().ok()) == Some(id);
    let name = tag_field(&conf, "POWER_MODEL", "NAME", is_it);
    Some(name.map_or_else(|| format!("mode {id}"), str::to_owned))
}

/// The value of `field` in the first line `< TAG FIELD=value … >` that `accepts` says yes to.
fn tag_field<'a>(
    conf: &'a str,
    tag: &str,
    name: &str,
    accepts: impl Fn(&str) -> bool,
) -> Option<&'a str> {
    conf.lines().find_map(|line| {
        let inside = line.trim().strip_prefix('<')?.trim_end().strip_suffix('>')?.trim();
        let fields = inside.strip_prefix(tag)?;
        accepts(fields).then(|| field(fields, name))?
    })
}

fn field<'a>(fields: &'a str, name: &str) -> Option<&'a str> {
    fields.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}
