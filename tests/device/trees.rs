//! File trees that look like machines: /proc, /sys, /etc and /var as far as the monitor reads them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use tempfile::TempDir;

/// A machine made of files.
pub struct Tree(TempDir);

impl Tree {
    /// With these files; each is `path: contents`.
    pub fn of(files: &[(&str, &str)]) -> Tree {
        let tree = Tree(tempfile::tempdir().expect("a folder for temporary files"));
        files.iter().for_each(|(path, contents)| tree.set(path, contents));
        tree
    }

    pub fn root(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, as the kernel does with a line end.
    pub fn set(&self, path: &str, contents: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().expect("not the root")).expect("a folder");
        fs::write(path, format!("{contents}\n")).expect("a file");
    }

    pub fn remove(&self, path: &str) {
        fs::remove_file(self.root().join(path)).expect("it was there");
    }

    /// A link as sysfs has them, relative to its folder.
    fn link(&self, path: &str, target: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().expect("not the root")).expect("a folder");
        symlink(target, path).expect("a link");
    }
}

/// Jetson Nano, JetPack 4.6, as root: the memory bus is in debugfs, power in iio.
pub fn nano() -> Tree {
    let tree = Tree::of(&[
        ("proc/device-tree/model", "NVIDIA Jetson Nano Developer Kit\0"),
        ("proc/device-tree/compatible", "nvidia,p3450-0000\0nvidia,jetson-nano\0nvidia,tegra210\0"),
        ("proc/meminfo", "MemTotal:        4059468 kB\nMemAvailable:    2029734 kB"),
        ("etc/nvpmodel.conf", NANO_CONF),
        ("var/lib/nvpmodel/status", "pmode:0001 fmode:fanNull"),
        ("sys/devices/57000000.gpu/load", "437"),
        ("sys/devices/57000000.gpu/of_node/compatible", "nvidia,tegra210-gm20b\0nvidia,gm20b\0"),
        ("sys/devices/57000000.gpu/devfreq/57000000.gpu/cur_freq", "460800000"),
        ("sys/devices/57000000.gpu/devfreq/57000000.gpu/max_freq", "640000000"),
        ("sys/kernel/debug/clk/override.emc/clk_rate", "1600000000"),
        ("sys/kernel/actmon_avg_activity/mc_all", "320000"),
        ("sys/class/thermal/thermal_zone0/type", "AO-therm"),
        ("sys/class/thermal/thermal_zone0/temp", "39000"),
        ("sys/class/thermal/thermal_zone1/type", "CPU-therm"),
        ("sys/class/thermal/thermal_zone1/temp", "31500"),
        ("sys/class/thermal/thermal_zone2/type", "GPU-therm"),
        ("sys/class/thermal/thermal_zone2/temp", "29500"),
        ("sys/class/thermal/thermal_zone3/type", "PLL-therm"),
        ("sys/class/thermal/thermal_zone3/temp", "28500"),
        ("sys/class/thermal/thermal_zone4/type", "PMIC-Die"),
        ("sys/class/thermal/thermal_zone4/temp", "100000"),
        ("sys/class/thermal/cooling_device0/type", "pwm-fan"),
        ("sys/class/thermal/cooling_device0/cur_state", "3"),
        ("sys/class/thermal/cooling_device1/type", "gpu-balanced"),
        ("sys/class/thermal/cooling_device1/cur_state", "0"),
        ("sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/name", "ina3221x"),
        ("sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_0", "POM_5V_IN"),
        ("sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input", "3280"),
        ("sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_1", "POM_5V_GPU"),
        ("sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power1_input", "812"),
        ("sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_2", "POM_5V_CPU"),
        ("sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power2_input", "640"),
    ]);
    tree.link("sys/class/devfreq/57000000.gpu", "../../devices/57000000.gpu/devfreq/57000000.gpu");
    tree.link("sys/devices/57000000.gpu/devfreq/57000000.gpu/device", "../..");
    tree
}

const NANO_CONF: &str = "\
# NAME and ID are mandatory; < POWER_MODEL ID=9 NAME=COMMENT > is none
< PARAM TYPE=FILE NAME=CPU_ONLINE >
CORE_0 /sys/devices/system/cpu/cpu0/online

< POWER_MODEL ID=0 NAME=MAXN >
CPU_ONLINE CORE_3 1
GPU MAX_FREQ -1

< POWER_MODEL ID=1 NAME=5W >
CPU_ONLINE CORE_3 0
GPU MAX_FREQ 640000000

< PM_CONFIG DEFAULT=0 >";

/// Jetson AGX Xavier, JetPack 5.1, not as root: no memory bus, power in hwmon, two monitors.
pub fn xavier() -> Tree {
    let tree = Tree::of(&[
        ("proc/device-tree/model", "Jetson-AGX\0"),
        ("proc/device-tree/compatible", "nvidia,p2972-0000\0nvidia,tegra194\0"),
        ("etc/nvpmodel.conf", XAVIER_CONF),
        ("var/lib/nvpmodel/status", "pmode:0002"),
        ("sys/devices/platform/17000000.gv11b/load", "0"),
        ("sys/devices/platform/17000000.gv11b/of_node/compatible", "nvidia,gv11b\0"),
        ("sys/devices/platform/17000000.gv11b/devfreq/17000000.gv11b/cur_freq", "114750000"),
        ("sys/devices/platform/17000000.gv11b/devfreq/17000000.gv11b/max_freq", "675750000"),
        ("sys/class/devfreq/15340000.vic/cur_freq", "115200000"),
        ("sys/kernel/actmon_avg_activity/mc_all", "54321"),
        ("sys/class/thermal/thermal_zone0/type", "CPU-therm"),
        ("sys/class/thermal/thermal_zone0/temp", "42000"),
        ("sys/class/thermal/thermal_zone1/type", "GPU-therm"),
        ("sys/class/thermal/thermal_zone1/temp", "-256000"),
        ("sys/class/thermal/thermal_zone2/type", "Tboard_tegra"),
        ("sys/class/thermal/thermal_zone2/temp", "38000"),
        ("sys/class/thermal/cooling_device0/type", "thermal-cpufreq-0"),
        ("sys/class/thermal/cooling_device0/cur_state", "0"),
        ("sys/class/thermal/cooling_device1/type", "gpu-throttle-alert"),
        ("sys/class/thermal/cooling_device1/cur_state", "0"),
        ("sys/class/thermal/cooling_device2/type", "hot-surface-alert"),
        ("sys/class/thermal/cooling_device2/cur_state", "1"),
        ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon4/in1_label", "GPU"),
        ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon4/in1_input", "19000"),
        ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon4/curr1_input", "100"),
        ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon4/in2_label", "CPU"),
        ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon4/in2_input", "19008"),
        ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon4/curr2_input", "250"),
        ("sys/bus/i2c/drivers/ina3221/1-0041/hwmon/hwmon5/in1_label", "SYS5V"),
        ("sys/bus/i2c/drivers/ina3221/1-0041/hwmon/hwmon5/in1_input", "19008"),
        ("sys/bus/i2c/drivers/ina3221/1-0041/hwmon/hwmon5/in7_label", "sum of shunt voltages"),
        ("sys/bus/i2c/drivers/ina3221/1-0041/hwmon/hwmon5/in7_input", "1"),
    ]);
    let device = "../../devices/platform/17000000.gv11b/devfreq/17000000.gv11b";
    tree.link("sys/class/devfreq/17000000.gv11b", device);
    tree.link("sys/devices/platform/17000000.gv11b/devfreq/17000000.gv11b/device", "../..");
    tree
}

const XAVIER_CONF: &str = "\
< POWER_MODEL ID=0 NAME=MAXN >
< POWER_MODEL ID=1 NAME=MODE_10W >
< POWER_MODEL ID=2 NAME=MODE_15W >
< PM_CONFIG DEFAULT=2 >
< FAN_CONFIG DEFAULT=quiet >";

/// Jetson Orin Nano, JetPack 6, as root, freshly installed: no power mode was ever set.
pub fn orin() -> Tree {
    let tree = Tree::of(&[
        ("proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0"),
        ("proc/device-tree/compatible", "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0"),
        ("etc/nvpmodel.conf", ORIN_CONF),
        ("sys/devices/platform/bus@0/17000000.gpu/load", "840"),
        ("sys/devices/platform/bus@0/17000000.gpu/of_node/compatible", "nvidia,ga10b\0"),
        ("sys/devices/platform/bus@0/17000000.gpu/devfreq/17000000.gpu/cur_freq", "624750000"),
        ("sys/devices/platform/bus@0/17000000.gpu/devfreq/17000000.gpu/max_freq", "624750000"),
        ("sys/kernel/debug/bpmp/debug/clk/emc/rate", "2133000000"),
        ("sys/kernel/debug/cactmon/mc_all", "383940"),
        ("sys/class/thermal/thermal_zone0/type", "cpu-thermal"),
        ("sys/class/thermal/thermal_zone0/temp", "48031"),
        ("sys/class/thermal/thermal_zone1/type", "gpu-thermal"),
        ("sys/class/thermal/thermal_zone1/temp", "47500"),
        ("sys/class/thermal/thermal_zone2/type", "cv0-thermal"),
        ("sys/class/thermal/thermal_zone10/type", "tj-thermal"),
        ("sys/class/thermal/thermal_zone10/temp", "48031"),
        ("sys/class/thermal/cooling_device0/type", "cpufreq-cpu0"),
        ("sys/class/thermal/cooling_device0/cur_state", "0"),
        ("sys/class/thermal/cooling_device1/type", "devfreq-17000000.gpu"),
        ("sys/class/thermal/cooling_device1/cur_state", "0"),
        ("sys/class/hwmon/hwmon0/name", "pwmfan"),
        ("sys/class/hwmon/hwmon3/name", "soctherm_oc"),
        ("sys/class/hwmon/hwmon3/oc1_event_cnt", "0"),
        ("sys/class/hwmon/hwmon3/oc2_event_cnt", "15"),
        ("sys/class/hwmon/hwmon3/oc3_event_cnt", "37"),
        ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/in1_label", "VDD_IN"),
        ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/in1_input", "4944"),
        ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/curr1_input", "1600"),
        ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/in2_label", "VDD_CPU_GPU_CV"),
        ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/in2_input", "4944"),
        ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/curr2_input", "600"),
        ("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/in3_label", "NC"),
    ]);
    let device = "../../devices/platform/bus@0/17000000.gpu/devfreq/17000000.gpu";
    tree.link("sys/class/devfreq/17000000.gpu", device);
    tree.link("sys/devices/platform/bus@0/17000000.gpu/devfreq/17000000.gpu/device", "../..");
    tree
}

const ORIN_CONF: &str = "\
< POWER_MODEL ID=0 NAME=15W >
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< PM_CONFIG DEFAULT=1 >";

/// Jetson Thor, JetPack 7: the clock is in sysfs, the load is for the driver to tell.
pub fn thor() -> Tree {
    Tree::of(&[
        ("proc/device-tree/model", "NVIDIA Jetson AGX Thor Developer Kit\0"),
        ("proc/device-tree/compatible", "nvidia,p3971-0089+p3834-0008\0nvidia,tegra264\0"),
        ("sys/class/devfreq/gpu-gpc-0/cur_freq", "1575000000"),
        ("sys/class/devfreq/gpu-gpc-0/max_freq", "1692000000"),
        ("sys/class/devfreq/bwmgr/cur_freq", "4266000000"),
        ("sys/class/thermal/thermal_zone0/type", "gpu-thermal"),
        ("sys/class/thermal/thermal_zone0/temp", "44000"),
    ])
}
