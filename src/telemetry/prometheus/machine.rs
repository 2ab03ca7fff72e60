//! The part of the page about the machine: processor, memory, heat, power, GPUs.

use super::{Kind, Page};
use crate::telemetry::snapshot::{DeviceSnapshot, GpuSnapshot, JetsonSnapshot};

pub(super) fn render(page: &mut Page, device: &DeviceSnapshot) {
    host(page, device);
    heat(page, device);
    if let Some(jetson) = &device.jetson {
        render_jetson(page, jetson);
    }
    if !device.gpus.is_empty() {
        triton_gpus(page, &device.gpus);
        gpus(page, &device.gpus);
    }
}

fn host(page: &mut Page, device: &DeviceSnapshot) {
    page.family("bcedge_device_info", Kind::Gauge, "The machine; the value is 1");
    page.sample(&[("name", &device.name)], 1);
    page.family("bcedge_device_cores", Kind::Gauge, "Processor cores");
    page.sample(&[], device.cores);
    page.family("bcedge_weight_bytes", Kind::Gauge, "Weights of all loaded models");
    page.sample(&[], device.weight_bytes);
    if device.scratch_separate_bytes > 0 {
        let shared = "Scratch memory that the GPU's execution contexts share";
        page.family("bcedge_gpu_scratch_bytes", Kind::Gauge, shared);
        page.sample(&[], device.scratch_bytes);
        let separate = "What it would be if each context had its own";
        page.family("bcedge_gpu_scratch_separate_bytes", Kind::Gauge, separate);
        page.sample(&[], device.scratch_separate_bytes);
    }
    let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
    let used = bytes(device.memory_used_bytes);
    let total = bytes(device.memory_total_bytes);
    for (name, help, value) in [
        (
            "nv_cpu_utilization",
            "CPU utilization rate [0.0 - 1.0]",
            device.cpu_percent.map(|percent| percent / 100.0),
        ),
        ("nv_cpu_memory_total_bytes", "CPU total memory (RAM), in bytes", total),
        ("nv_cpu_memory_used_bytes", "CPU used memory (RAM), in bytes", used),
        ("bcedge_device_cpu_percent", "Load of all cores, 0 to 100", device.cpu_percent),
        (
            "bcedge_process_cpu_percent",
            "Load by this process, 100 for each core",
            device.process_cpu_percent,
        ),
        ("bcedge_process_resident_bytes", "Memory of this process", bytes(device.resident_bytes)),
        ("bcedge_device_memory_used_bytes", "Memory in use", used),
        ("bcedge_device_memory_total_bytes", "Memory there is", total),
        ("bcedge_device_temperature_celsius", "Hottest processor sensor", device.temperature_c),
        ("bcedge_device_frequency_mhz", "Clock of the fastest core", device.frequency_mhz),
    ] {
        page.family(name, Kind::Gauge, help);
        page.optional(&[], value);
    }
}

fn heat(page: &mut Page, device: &DeviceSnapshot) {
    page.family("bcedge_zone_temperature_celsius", Kind::Gauge, "Temperature by thermal zone");
    for zone in &device.zones {
        page.optional(&[("zone", &zone.name)], zone.celsius);
    }
    let name = "bcedge_device_throttled";
    page.family(name, Kind::Gauge, "1 while heat or too much current slows the machine down");
    page.optional(&[], throttled(device.throttled_by.as_deref()));
}

fn throttled(by: Option<&[String]>) -> Option<f64> {
    by.map(|reasons| if reasons.is_empty() { 0.0 } else { 1.0 })
}

fn render_jetson(page: &mut Page, jetson: &JetsonSnapshot) {
    page.family("bcedge_power_mode", Kind::Gauge, "The power mode of nvpmodel; the value is 1");
    if let Some(mode) = &jetson.power_mode {
        page.sample(&[("mode", mode)], 1);
    }
    let name = "bcedge_memory_load_percent";
    page.family(name, Kind::Gauge, "Load of the memory bus at its present clock, 0 to 100");
    page.optional(&[], jetson.memory_load_percent);
    page.family("bcedge_memory_frequency_mhz", Kind::Gauge, "Clock of the memory");
    page.optional(&[], jetson.memory_clock_mhz);
    let name = "bcedge_rail_power_watts";
    page.family(name, Kind::Gauge, "Power by rail; a rail may feed others, so they don't add up");
    for rail in &jetson.rails {
        page.optional(&[("rail", &rail.name)], rail.watts);
    }
}

/// Under Triton's names and labels; memory only where the GPU has its own.
fn triton_gpus(page: &mut Page, gpus: &[GpuSnapshot]) {
    let mut family = |name, kind, help, value: fn(&GpuSnapshot) -> Option<f64>| {
        page.family(name, kind, help);
        for (index, gpu) in gpus.iter().enumerate() {
            let unnamed = format!("gpu-{index}");
            page.optional(&[("gpu_uuid", gpu.uuid.as_ref().unwrap_or(&unnamed))], value(gpu));
        }
    };
    family("nv_gpu_utilization", Kind::Gauge, "GPU utilization rate [0.0 - 1.0)", |gpu| {
        gpu.load_percent.map(|percent| percent / 100.0)
    });
    family("nv_gpu_memory_total_bytes", Kind::Gauge, "GPU total memory, in bytes", |gpu| {
        gpu.memory_total_bytes.map(|bytes| bytes as f64)
    });
    family("nv_gpu_memory_used_bytes", Kind::Gauge, "GPU used memory, in bytes", |gpu| {
        gpu.memory_used_bytes.map(|bytes| bytes as f64)
    });
    family("nv_gpu_power_usage", Kind::Gauge, "GPU power usage in watts", |gpu| gpu.power_w);
    family("nv_gpu_power_limit", Kind::Gauge, "GPU power management limit in watts", |gpu| {
        gpu.power_limit_w
    });
    let help = "GPU energy consumption in joules since the server started";
    family("nv_energy_consumption", Kind::Counter, help, |gpu| gpu.energy_j);
}

fn gpus(page: &mut Page, gpus: &[GpuSnapshot]) {
    let mut gauge = |name, help, value: fn(&GpuSnapshot) -> Option<f64>| {
        page.family(name, Kind::Gauge, help);
        for (index, gpu) in gpus.iter().enumerate() {
            page.optional(&[("gpu", &index.to_string()), ("name", &gpu.name)], value(gpu));
        }
    };
    gauge("bcedge_gpu_temperature_celsius", "Temperature of the GPU", |gpu| gpu.temperature_c);
    gauge("bcedge_gpu_frequency_mhz", "Clock of the GPU", |gpu| gpu.frequency_mhz);
    gauge("bcedge_gpu_frequency_limit_mhz", "Highest clock the GPU may have", |gpu| {
        gpu.frequency_limit_mhz
    });
    let help = "1 while heat or a power limit slows the GPU down";
    gauge("bcedge_gpu_throttled", help, |gpu| throttled(gpu.throttled_by.as_deref()));
}
