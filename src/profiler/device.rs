//! The name a profile gives to the device it was measured on.

use crate::engine::Engine;
use std::fs;

/// This machine, and the GPU where the engine runs on one.
pub(super) fn device_of(engine: &dyn Engine) -> String {
    match engine.device() {
        Some(gpu) => format!("{gpu} in {}", device_name()),
        None => device_name(),
    }
}

/// Board or processor and its cores, such as `Intel(R) Xeon(R) Platinum 8481C, 2 cores`.
pub fn device_name() -> String {
    let board = fs::read_to_string("/proc/device-tree/model").ok();
    let processor = || {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").ok()?;
        let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.to_owned())
    };
    let name = board.or_else(processor).unwrap_or_else(|| std::env::consts::ARCH.into());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Device-tree strings end with a zero byte.
    format!("{}, {cores} cores", name.trim_matches(['\0', ' ', '\n']))
}
