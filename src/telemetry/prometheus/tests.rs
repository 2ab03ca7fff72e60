use super::*;
use crate::telemetry::snapshot::{
    DeviceSnapshot, GpuSnapshot, JetsonSnapshot, Percentiles, Rail, Totals, Zone,
};
use std::collections::{HashMap, HashSet};

/// (name, labels as written in order) → value.
type Samples = HashMap<(String, Vec<(String, String)>), f64>;

/// Reads a page by the letter of the format, and panics at the first thing that is against it.
fn parse(page: &str) -> Samples {
    assert!(page.ends_with('\n'), "the last line must end");
    let mut samples = Samples::new();
    let mut families = HashSet::new();
    let mut family = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("HELP needs a text");
            assert!(is_name(name) && !help.trim().is_empty(), "{line}");
            assert!(families.insert(name.to_string()), "a family stands in one place: {line}");
            let kind = lines.next().and_then(|l| l.strip_prefix(&format!("# TYPE {name} ")));
            let kind = kind.unwrap_or_else(|| panic!("no TYPE after {line}"));
            assert!(["counter", "gauge"].contains(&kind), "{kind}");
            if name.starts_with("bcedge_") {
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            }
            family = name.to_string();
            continue;
        }
        let (name, labels, value) = parse_sample(line);
        assert_eq!(name, family, "a sample stands under its family");
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
        assert!(samples.insert((name, labels), value).is_none(), "given twice: {line}");
    }
    samples
}

fn parse_sample(line: &str) -> (String, Vec<(String, String)>, &str) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("not a sample: {line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(label) && !label.contains(':'), "{line}");
            let (value, after) = parse_quoted(after);
            labels.push((label.to_string(), value));
            match after.strip_prefix(',') {
                Some(more) => rest = more,
                None => {
                    rest = after.strip_prefix('}').unwrap_or_else(|| panic!("{line}"));
                    break;
                }
            }
        }
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    assert!(!value.contains(' '), "{line}");
    (name.to_string(), labels, value)
}

/// A label's value up to its closing quote, and what follows.
fn parse_quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return (value, &text[i + 1..]),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('\\' | '"'))) => c,
                other => panic!("not an escape: {other:?}"),
            }),
            c => value.push(c),
        }
    }
    panic!("a label's value has no end: {text}")
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

fn model(name: &str) -> ModelSnapshot {
    ModelSnapshot {
        name: name.into(),
        state: ModelState::Ready,
        policy: "deadline".into(),
        slo_us: 50_000,
        batch: 4,
        queue_depth: 3,
        slo_hit_rate: Some(0.75),
        latency_us: Percentiles { count: 4, p50: 10, p90: 20, p99: 30, p999: 40, max: 50 },
        latency_histogram: vec![(16, 1), (32, 2), (64, 1)],
        counters: Counters {
            received: 20,
            ok: 10,
            slo_met: 8,
            rejected: 1,
            expired: 2,
            failed: 3,
            cancelled: 4,
            executions: 5,
            items: 12,
            replaced: 6,
            queue_us_total: 1_000,
            compute_us_total: 2_000,
            unserved_us_total: 3_000,
        },
        decisions_total: 7,
        ..ModelSnapshot::default()
    }
}

fn zone(name: &str, celsius: Option<f64>) -> Zone {
    Zone { name: name.into(), celsius }
}

/// What sysfs tells of a Jetson's GPU.
fn orin() -> GpuSnapshot {
    GpuSnapshot {
        name: "Ampere (ga10b)".into(),
        integrated: true,
        load_percent: Some(71.0),
        frequency_limit_mhz: Some(918.0),
        ..GpuSnapshot::default()
    }
}

/// What the driver tells of a card.
fn card() -> GpuSnapshot {
    GpuSnapshot {
        name: "NVIDIA A2".into(),
        uuid: Some("GPU-1".into()),
        memory_used_bytes: Some(4 << 30),
        memory_total_bytes: Some(16 << 30),
        power_w: Some(41.5),
        power_limit_w: Some(60.0),
        energy_j: Some(1234.5),
        throttled_by: Some(Vec::new()),
        ..GpuSnapshot::default()
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        version: "0.1.0".into(),
        uptime_us: 1_500_000,
        state: ApplianceState::Serving,
        totals: Totals { utility: Some(3.5), ..Totals::default() },
        models: vec![model("a"), model("b")],
        device: DeviceSnapshot {
            name: "a \"quoted\\name\"\nand more".into(),
            temperature_c: Some(-1.5),
            zones: vec![zone("gpu-thermal", Some(61.5)), zone("cv0-thermal", None)],
            throttled_by: Some(vec!["gpu-throttle-alert".into()]),
            jetson: Some(JetsonSnapshot {
                power_mode: Some("15W".into()),
                memory_load_percent: Some(18.0),
                rails: vec![Rail { name: "VDD_IN".into(), watts: Some(7.9) }],
                ..JetsonSnapshot::default()
            }),
            gpus: vec![orin(), card()],
            ..DeviceSnapshot::default()
        },
        ..Snapshot::default()
    }
}

#[test]
fn every_line_is_well_formed_and_every_value_right() {
    let samples = parse(&render(&snapshot()));
    let value = |name: &str, labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        samples.get(&(name.to_string(), labels)).copied()
    };
    let of_a = |name: &str, label: Option<(&str, &str)>| {
        let mut labels = vec![("model", "a"), ("version", "1")];
        labels.extend(label);
        value(name, &labels)
    };
    for (name, label, expected) in [
        ("nv_inference_request_success", None, 10.0),
        ("nv_inference_request_failure", Some(("reason", "REJECTED")), 3.0),
        ("nv_inference_request_failure", Some(("reason", "BACKEND")), 3.0),
        ("nv_inference_request_failure", Some(("reason", "CANCELED")), 4.0),
        ("nv_inference_request_failure", Some(("reason", "OTHER")), 0.0),
        ("nv_inference_count", None, 12.0),
        ("nv_inference_exec_count", None, 5.0),
        ("nv_inference_request_duration_us", None, 3_000.0),
        ("nv_inference_queue_duration_us", None, 1_000.0),
        ("nv_inference_compute_input_duration_us", None, 0.0),
        ("nv_inference_compute_infer_duration_us", None, 2_000.0),
        ("nv_inference_compute_output_duration_us", None, 0.0),
        ("nv_inference_pending_request_count", None, 3.0),
        ("bcedge_requests_total", Some(("outcome", "late")), 2.0),
        ("bcedge_slo_hits_total", None, 8.0),
        ("bcedge_slo_misses_total", None, 8.0),
        ("bcedge_slo_hit_ratio", None, 0.75),
        ("bcedge_model_state", Some(("state", "ready")), 1.0),
        ("bcedge_model_state", Some(("state", "failed")), 0.0),
        ("bcedge_policy", Some(("policy", "deadline")), 1.0),
        ("bcedge_decisions_total", None, 7.0),
        ("bcedge_latency_us", Some(("quantile", "0.99")), 30.0),
        ("bcedge_latency_requests", Some(("le_us", "64")), 4.0),
    ] {
        assert_eq!(of_a(name, label), Some(expected), "{name} {label:?}");
    }
    assert_eq!(of_a("bcedge_utility", None), None, "undefined, so absent");
    assert_eq!(value("bcedge_total_utility", &[]), Some(3.5));
    assert_eq!(value("bcedge_uptime_seconds", &[]), Some(1.5));
    assert_eq!(value("bcedge_state", &[("state", "serving")]), Some(1.0));
    let name = "a \"quoted\\name\"\nand more";
    assert_eq!(value("bcedge_device_info", &[("name", name)]), Some(1.0));
    assert_eq!(value("bcedge_device_temperature_celsius", &[]), Some(-1.5));
}

#[test]
fn the_machine_is_told_under_tritons_names_where_there_are_any() {
    let page = render(&snapshot());
    let samples = parse(&page);
    let value = |name: &str, labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        samples.get(&(name.to_string(), labels)).copied()
    };
    let of_card = |name: &str| value(name, &[("gpu_uuid", "GPU-1")]);
    let of_orin = |name: &str| value(name, &[("gpu_uuid", "gpu-0")]);
    assert_eq!(of_orin("nv_gpu_utilization"), Some(0.71));
    assert_eq!(of_card("nv_gpu_utilization"), None, "absent, not zero");
    assert_eq!(of_card("nv_gpu_memory_total_bytes"), Some(f64::from(16 << 20) * 1024.0));
    assert_eq!(of_card("nv_gpu_memory_used_bytes"), Some(f64::from(4 << 20) * 1024.0));
    assert_eq!(of_orin("nv_gpu_memory_total_bytes"), None);
    assert_eq!(of_card("nv_gpu_power_usage"), Some(41.5));
    assert_eq!(of_card("nv_gpu_power_limit"), Some(60.0));
    assert_eq!(of_card("nv_energy_consumption"), Some(1234.5));
    assert!(page.contains("# TYPE nv_energy_consumption counter\n"));
    let card = [("gpu", "1"), ("name", "NVIDIA A2")];
    assert_eq!(value("bcedge_gpu_throttled", &card), Some(0.0));
    let orin = [("gpu", "0"), ("name", "Ampere (ga10b)")];
    assert_eq!(value("bcedge_gpu_throttled", &orin), None);
    assert_eq!(value("bcedge_gpu_frequency_limit_mhz", &orin), Some(918.0));
    assert_eq!(value("bcedge_device_throttled", &[]), Some(1.0));
    assert_eq!(value("bcedge_power_mode", &[("mode", "15W")]), Some(1.0));
    assert_eq!(value("bcedge_memory_load_percent", &[]), Some(18.0));
    assert_eq!(value("bcedge_memory_frequency_mhz", &[]), None);
    assert_eq!(value("bcedge_rail_power_watts", &[("rail", "VDD_IN")]), Some(7.9));
    let of_zone = |zone| value("bcedge_zone_temperature_celsius", &[("zone", zone)]);
    assert_eq!((of_zone("gpu-thermal"), of_zone("cv0-thermal")), (Some(61.5), None));
    let none = render(&Snapshot::default());
    assert!(!none.contains("gpu") && !none.contains("rail"), "{none}");
}

#[test]
fn the_outcomes_add_up_to_what_triton_counts() {
    let samples = parse(&render(&snapshot()));
    let sum = |name: &str| {
        let of = samples.iter().filter(|((n, labels), _)| n == name && labels[0].1 == "a");
        of.map(|(_, value)| value).sum::<f64>()
    };
    let triton = sum("nv_inference_request_success") + sum("nv_inference_request_failure");
    assert_eq!(sum("bcedge_requests_total"), triton);
}

#[test]
fn an_empty_and_an_extreme_appliance_have_a_well_formed_page_too() {
    parse(&render(&Snapshot::default()));
    let mut extreme = snapshot();
    let max = u64::MAX;
    extreme.models[0].counters =
        Counters { queue_us_total: max, compute_us_total: max, ..extreme.models[0].counters };
    extreme.models[0].counters.slo_met = max;
    extreme.models[0].counters.rejected = max;
    extreme.models[0].utility = Some(f64::NAN);
    extreme.models[0].arrivals_per_s = f64::INFINITY;
    parse(&render(&extreme));
}
