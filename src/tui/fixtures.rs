//! Snapshots as a real appliance would show them, for the tests.

use crate::telemetry::snapshot::*;
use crate::tui::history::History;
use std::sync::Arc;

pub const SCENES: [&str; 5] = ["healthy", "overload", "failed", "starting", "twelve"];

/// Uptime of the last snapshot of every scene but `starting`.
const END_US: u64 = 3_723_400_000;
const UNIX_MS: u64 = 1_767_240_000_000;
/// Snapshots are this far apart.
const STEP_US: u64 = 200_000;

/// A scene's last snapshot, and the history of the minute before it.
pub fn settled(scene: &str) -> (Snapshot, History) {
    let mut history = History::default();
    let all = timeline(scene);
    for snapshot in &all {
        history.observe(snapshot);
    }
    (all.last().unwrap().clone(), history)
}

/// A scene's snapshots of 90 s.
pub fn timeline(scene: &str) -> Vec<Snapshot> {
    let (steps, end_us) = if scene == "starting" { (5, 1_200_000) } else { (450, END_US) };
    (0..=steps)
        .map(|step| {
            let left_us = (steps - step) * STEP_US;
            let snapshot = at(scene, left_us as f64 / 1e6, end_us - left_us);
            Snapshot { sequence: step + 1, ..snapshot }
        })
        .collect()
}

/// The scene `left_s` before its end.
fn at(scene: &str, left_s: f64, uptime_us: u64) -> Snapshot {
    let mut models = models(scene, left_s, uptime_us);
    match scene {
        "overload" => overload(&mut models[0], left_s, uptime_us),
        "failed" => fail(&mut models, uptime_us),
        "starting" => start(&mut models),
        _ => {}
    }
    models.iter_mut().for_each(|model| look_back(model, left_s));
    let mut snapshot = Snapshot {
        version: "0.1.0".into(),
        uptime_us,
        state: if scene == "starting" { ApplianceState::Starting } else { ApplianceState::Serving },
        connections: if scene == "starting" { 0 } else { 12 },
        totals: totals(&models),
        models,
        device: device(scene, left_s),
        learning: learning(scene, left_s),
        ..Snapshot::default()
    };
    let events = events(scene);
    snapshot.log = Arc::new(log(&events));
    snapshot.events = Arc::new(events);
    snapshot
}

/// A slow wave with a ripple, deterministic, around 1.
fn wave(left_s: f64, phase: f64) -> f64 {
    1.0 + 0.25 * (left_s / 9.0 + phase).sin() + 0.1 * (left_s * 1.7 + phase * 3.0).sin()
}

const REFERENCE: [(&str, u64, f64, u64); 6] = [
    // name, SLO ms, arrivals/s, compute of one item µs
    ("yolov5s", 138, 6.0, 41_000),
    ("mobilenetv3-small", 86, 142.0, 2_140),
    ("resnet18", 58, 31.0, 9_400),
    ("efficientnet-b0", 93, 27.0, 11_900),
    ("inception-v3", 66, 9.0, 21_400),
    ("tinybert", 114, 88.0, 4_700),
];

fn models(scene: &str, left_s: f64, uptime_us: u64) -> Vec<ModelSnapshot> {
    let count = if scene == "twelve" { 12 } else { 6 };
    (0..count)
        .map(|i| {
            let (name, slo_ms, arrivals, compute_us) = REFERENCE[i % 6];
            let mut model = ready(i, name, slo_ms * 1_000, arrivals * wave(left_s, i as f64));
            latencies(&mut model, compute_us, wave(left_s, i as f64));
            model.counters = counters(arrivals, uptime_us);
            model.decisions = decisions(&model, uptime_us);
            model.policy = policy(scene, i, left_s).into();
            model.decisions.iter_mut().for_each(|line| line.policy.clone_from(&model.policy));
            if scene == "twelve" {
                model.name =
                    format!("customer-{i:02}/{name}-quantised-640x640-日本-with-a-long-name");
                model.overridden = i == 0;
            }
            model
        })
        .collect()
}

fn ready(i: usize, name: &str, slo_us: u64, arrivals_per_s: f64) -> ModelSnapshot {
    ModelSnapshot {
        name: name.into(),
        state: ModelState::Ready,
        platform: "rten_onnx".into(),
        slo_us,
        batch: [1, 8, 4, 4, 1, 8][i % 6],
        max_batch: 16,
        instances: [1, 2, 1, 1, 1, 2][i % 6],
        max_instances: 2,
        instances_alive: 2,
        instances_running: 1,
        queue_depth: (arrivals_per_s / 12.0) as u32,
        queue_bound: 256,
        queue_oldest_us: slo_us / 9,
        arrivals_per_s,
        goodput_per_s: arrivals_per_s * 0.996,
        slo_hit_rate: Some([1.0, 0.9982, 0.994, 1.0, 0.992, 0.9965][i % 6]),
        utility: Some((1.0 + arrivals_per_s * 3.4).ln()),
        ..ModelSnapshot::default()
    }
}

fn latencies(model: &mut ModelSnapshot, compute_us: u64, load: f64) {
    let (queue, compute) = (compute_us as f64 * 0.35 * load, compute_us as f64 * 1.2);
    let p50 = (queue + compute) as u64;
    let scaled = |factor: f64| (p50 as f64 * factor) as u64;
    model.queue_us_mean = queue;
    model.compute_us_mean = compute;
    let count = (model.arrivals_per_s * 5.0) as u64;
    model.latency_us = Percentiles {
        count,
        p50,
        p90: scaled(1.4),
        p99: scaled(1.9),
        p999: scaled(2.2),
        max: scaled(2.4),
    };
    // A skewed bell over buckets that grow by an eighth.
    let (mut bound, mut left) = (scaled(0.5).max(1), count);
    while left > 0 && bound < scaled(2.6) {
        let distance = (bound as f64 / p50 as f64).ln() / 0.28;
        let n = ((count as f64) * 0.17 * (-distance * distance).exp()).ceil() as u64;
        model.latency_histogram.push((bound, n.min(left)));
        left -= n.min(left);
        bound += bound / 8 + 1;
    }
    let sizes = [1, 2, 3, 4, 5, 6, 7, 8].into_iter().take_while(|b| *b <= model.batch);
    model.batch_distribution =
        sizes.map(|b| (b, (40.0 * load) as u64 / u64::from(b) + u64::from(b) * 3)).collect();
    model.predicted_us = [1, 2, 4, 8, 16]
        .map(|b: u32| (b, (compute_us as f64 * (0.4 + 0.6 * f64::from(b))) as u64))
        .into();
}

fn counters(arrivals: f64, uptime_us: u64) -> Counters {
    let received = (arrivals * uptime_us as f64 / 1e6) as u64;
    Counters {
        received,
        ok: received - received / 5_000,
        slo_met: received - received / 250,
        rejected: 0,
        expired: received / 8_000,
        failed: 0,
        cancelled: received / 5_000 - received / 8_000,
        executions: received / 2,
        items: received,
        queue_us_total: received * 4_000,
        compute_us_total: received * 12_000,
        unserved_us_total: 0,
        replaced: 0,
    }
}

fn decisions(model: &ModelSnapshot, uptime_us: u64) -> Vec<DecisionLine> {
    let reasons = ["arrivals rose to 142/s", "slo allows 8", "queue empty, one at a time"];
    (0..8u64)
        .map(|i| DecisionLine {
            // At fixed times, so that they do not move from snapshot to snapshot.
            uptime_us: (uptime_us / 10_000_000 + i).saturating_sub(8) * 10_000_000 + i * 370_000,
            policy: model.policy.clone(),
            batch: if i == 7 { model.batch } else { 1 << (i % 4) },
            instances: if i == 7 { model.instances } else { 1 + (i % 2) as u32 },
            reason: reasons[i as usize % 3].into(),
        })
        .collect()
}

/// The operator has gone through some policies, and come back to the trained one.
fn policy(scene: &str, i: usize, left_s: f64) -> &'static str {
    match scene {
        "healthy" | "overload" if (45.0..70.0).contains(&left_s) => "planner",
        "healthy" | "overload" if (30.0..45.0).contains(&left_s) => "deadline",
        "twelve" => ["tac", "triton", "sac"][i % 3],
        "failed" => "deadline",
        _ => "sac",
    }
}

/// What is known only after the scene has been played: how long batches took, and what a trained
/// policy makes of it.
fn look_back(model: &mut ModelSnapshot, left_s: f64) {
    let Some(&(_, one_us)) = model.predicted_us.first() else { return };
    let busy = model.arrivals_per_s > 0.0;
    (model.drift, model.crowding) = (1.0 + 0.03 * (left_s / 7.0).sin(), 1.31);
    if busy && model.slo_hit_rate.is_some_and(|hit| hit < 0.9) {
        model.drift = 1.72;
    }
    let run = |&(items, batches): &(u32, u64)| {
        let predicted_us = (one_us as f64 * (0.4 + 0.6 * f64::from(items))) as u64;
        let measured_us = (predicted_us as f64 * (0.94 + 0.05 * f64::from(items % 4))) as u64;
        let known = !matches!(items, 5 | 7);
        RunTime { items, batches, measured_us, predicted_us: known.then_some(predicted_us) }
    };
    model.run_times = model.batch_distribution.iter().map(run).collect();
    if matches!(model.policy.as_str(), "sac" | "tac") && model.state == ModelState::Ready {
        model.insight = Some(insight(model, one_us, left_s));
    }
}

/// Around the batch limit and instances in force.
fn insight(model: &ModelSnapshot, one_us: u64, left_s: f64) -> InsightSnapshot {
    let batches = vec![1, 2, 4, 8, 16, 32, 64, 128];
    let alone = |b: &u32| (one_us as f64 * (0.4 + 0.6 * f64::from(*b)) / model.crowding) as u64;
    let alone_us: Vec<u64> = batches.iter().map(alone).collect();
    let (mut masked, mut weights) = (Vec::new(), Vec::new());
    let mut action = 0;
    for i in 0..64 {
        let (column, instances) = (i % 8, i as u32 / 8 + 1);
        let (batch, kept) = (batches[column], model.policy == "tac");
        masked.push(if batch > model.max_batch {
            Some(Mask::BatchLimit)
        } else if instances > model.max_instances {
            Some(Mask::InstanceLimit)
        } else if alone_us[column] > model.slo_us && i > 0 {
            Some(Mask::Slo)
        } else if kept && instances != model.instances {
            Some(Mask::Policy)
        } else {
            None
        });
        let distance = (f64::from(batch).log2() - f64::from(model.batch).log2()).abs()
            + 1.5 * f64::from(instances.abs_diff(model.instances));
        let weight = (-distance * (1.6 + 0.4 * (left_s / 11.0).sin())).exp();
        weights.push(if masked[i].is_none() { weight } else { 0.0 });
        if weights[i] > weights[action] {
            action = i;
        }
    }
    let sum: f64 = weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let probabilities: Vec<f32> = weights.iter().map(|w| (w / sum) as f32).collect();
    let entropy = probabilities.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
    InsightSnapshot { batches, alone_us, probabilities, masked, action, entropy }
}

fn learning(scene: &str, left_s: f64) -> LearningSnapshot {
    if scene == "starting" {
        return LearningSnapshot {
            enabled: true,
            alive: true,
            weights: "shipped".into(),
            file: "learnt/sac.safetensors".into(),
            experiences: 0,
            experiences_needed: 1_000,
            temperature: 0.001,
            ..LearningSnapshot::default()
        };
    }
    LearningSnapshot {
        enabled: scene != "twelve",
        alive: scene != "failed",
        weights: if scene == "overload" { "shipped" } else { "learnt/sac.safetensors" }.into(),
        file: "/var/lib/bcedge/edge-box-17/learnt/sac.safetensors".into(),
        experiences: 48_211,
        experiences_needed: 1_000,
        updates: 12_345,
        saved_updates: 12_000,
        entropy: 0.31,
        temperature: (0.001 * wave(left_s, 0.3)) as f32,
        critic_loss: 0.0123,
        value: -1.84,
        reward: Some((-0.08 * wave(left_s, 1.0)) as f32),
    }
}

/// Since 40 s before the end more arrives than can be served.
fn overload(model: &mut ModelSnapshot, left_s: f64, uptime_us: u64) {
    if left_s >= 39.9 {
        return;
    }
    model.arrivals_per_s = 14.0;
    model.goodput_per_s = 5.5;
    model.slo_hit_rate = Some(0.61);
    model.utility = Some(1.12);
    model.queue_depth = (47.0 - left_s * 4.0).max(6.0) as u32;
    model.queue_oldest_us = 4_100_000;
    model.latency_us = Percentiles {
        count: 45,
        p50: 171_000,
        p90: 280_000,
        p99: 312_000,
        p999: 330_000,
        max: 341_000,
    };
    model.latency_histogram = vec![
        (60_000, 1),
        (80_000, 3),
        (100_000, 6),
        (120_000, 7),
        (138_000, 8),
        (160_000, 6),
        (200_000, 5),
        (250_000, 4),
        (300_000, 3),
        (350_000, 2),
    ];
    model.queue_us_mean = 118_000.0;
    model.compute_us_mean = 53_000.0;
    model.batch = 4;
    model.batch_distribution = vec![(1, 2), (2, 3), (3, 3), (4, 7)];
    let since_us = ((39.9 - left_s) * 1e6) as u64;
    let before = counters(6.0, uptime_us - since_us);
    let of = |per_s: u64| since_us * per_s / 1_000_000;
    model.counters = Counters {
        received: before.received + of(14),
        ok: before.ok + of(9),
        slo_met: before.slo_met + of(5),
        rejected: before.rejected + of(2),
        expired: before.expired + of(3),
        ..before
    };
}

fn fail(models: &mut [ModelSnapshot], uptime_us: u64) {
    let failed = ModelState::Failed(
        "engines/resnet18/model.onnx: 4,113 of 46,827,520 bytes read, then the file ends.\n\
         Expected a complete ONNX model; build it again with 'bcedge models'."
            .into(),
    );
    models[2] = ModelSnapshot {
        name: "resnet18".into(),
        state: failed,
        policy: "deadline".into(),
        slo_us: 58_000,
        max_batch: 16,
        max_instances: 2,
        queue_bound: 256,
        counters: Counters { received: 91, rejected: 91, ..Counters::default() },
        ..ModelSnapshot::default()
    };
    models[4].state = ModelState::Unloaded;
    models[4].arrivals_per_s = 0.0;
    models[4].queue_depth = 0;
    models[5].slo_hit_rate = Some(0.97);
    models[5].counters.failed = uptime_us / 400_000;
    models[5].counters.replaced = 3;
    models[5].instances_alive = 1;
    models[1].overridden = true;
}

fn start(models: &mut [ModelSnapshot]) {
    for model in models.iter_mut().skip(1) {
        *model = ModelSnapshot {
            name: std::mem::take(&mut model.name),
            slo_us: model.slo_us,
            ..ModelSnapshot::default()
        };
    }
    let first = &mut models[0];
    *first = ModelSnapshot {
        queue_depth: 0,
        arrivals_per_s: 0.0,
        goodput_per_s: 0.0,
        slo_hit_rate: None,
        utility: None,
        latency_us: Percentiles::default(),
        queue_us_mean: 0.0,
        compute_us_mean: 0.0,
        latency_histogram: Vec::new(),
        batch_distribution: Vec::new(),
        decisions: Vec::new(),
        predicted_us: Vec::new(),
        counters: Counters::default(),
        instances_running: 0,
        ..first.clone()
    };
}

fn totals(models: &[ModelSnapshot]) -> Totals {
    let sum = |f: fn(&ModelSnapshot) -> f64| models.iter().map(f).sum::<f64>();
    let arrivals_per_s = sum(|m| m.arrivals_per_s);
    let asked: Vec<f64> = models.iter().filter_map(|m| m.utility).collect();
    let hits = sum(|m| m.slo_hit_rate.unwrap_or(0.0) * m.arrivals_per_s);
    Totals {
        arrivals_per_s,
        goodput_per_s: sum(|m| m.goodput_per_s),
        slo_hit_rate: (arrivals_per_s > 0.0).then(|| hits / arrivals_per_s),
        utility: (!asked.is_empty()).then(|| asked.iter().sum::<f64>() / asked.len() as f64),
        counters: models.iter().fold(Counters::default(), |mut sum, model| {
            sum.add(&model.counters);
            sum
        }),
    }
}

fn device(scene: &str, left_s: f64) -> DeviceSnapshot {
    let host = DeviceSnapshot {
        name: "AMD EPYC 7B13".into(),
        cores: 2,
        cpu_percent: Some((62.0 * wave(left_s, 2.0)).clamp(0.0, 100.0)),
        process_cpu_percent: Some(118.0),
        resident_bytes: Some(412 << 20),
        weight_bytes: 310 << 20,
        scratch_bytes: 96 << 20,
        scratch_separate_bytes: 210 << 20,
        memory_used_bytes: Some(1_900 << 20),
        memory_total_bytes: Some(7_800 << 20),
        frequency_mhz: Some(2_450.0),
        ..DeviceSnapshot::default()
    };
    if scene == "twelve" { jetson(host) } else { host }
}

/// Machines of the kinds there are, by name.
pub fn machines() -> [(&'static str, DeviceSnapshot); 5] {
    let host = device("healthy", 0.0);
    let mut hot = jetson(host.clone());
    hot.throttled_by = Some(vec!["gpu-throttle-alert".into(), "devfreq-17000000.gpu".into()]);
    hot.zones.iter_mut().for_each(|zone| zone.celsius = zone.celsius.map(|c| c + 37.0));
    if let Some(jetson) = &mut hot.jetson {
        (jetson.memory_load_percent, jetson.memory_clock_mhz) = (Some(88.0), Some(3_199.0));
    }
    [
        ("nothing_known", DeviceSnapshot::default()),
        ("no_gpu", host.clone()),
        ("card", DeviceSnapshot { gpus: vec![card()], ..host.clone() }),
        ("jetson", jetson(host)),
        ("jetson_hot", hot),
    ]
}

/// A GPU with memory of its own.
fn card() -> GpuSnapshot {
    GpuSnapshot {
        name: "NVIDIA RTX A2000".into(),
        uuid: Some("GPU-6f3c".into()),
        load_percent: Some(38.0),
        memory_used_bytes: Some(2_300 << 20),
        memory_total_bytes: Some(12_282 << 20),
        temperature_c: Some(66.0),
        power_w: Some(51.3),
        power_limit_w: Some(70.0),
        energy_j: Some(190_000.0),
        frequency_mhz: Some(1_485.0),
        frequency_limit_mhz: Some(2_100.0),
        throttled_by: Some(vec!["power limit".into()]),
        ..GpuSnapshot::default()
    }
}

/// One whose memory bus only root may watch.
fn jetson(host: DeviceSnapshot) -> DeviceSnapshot {
    let zone = |name: &str, celsius: Option<f64>| Zone { name: name.into(), celsius };
    let rail = |name: &str, watts: f64| Rail { name: name.into(), watts: Some(watts) };
    let gpu = GpuSnapshot {
        name: "Ampere (ga10b)".into(),
        integrated: true,
        load_percent: Some(71.0),
        temperature_c: Some(61.5),
        frequency_mhz: Some(816.0),
        frequency_limit_mhz: Some(1_300.5),
        ..GpuSnapshot::default()
    };
    DeviceSnapshot {
        name: "NVIDIA Jetson AGX Orin".into(),
        cores: 12,
        memory_used_bytes: Some(14_100 << 20),
        memory_total_bytes: Some(30_600 << 20),
        temperature_c: Some(58.0),
        zones: vec![
            zone("cpu-thermal", Some(58.0)),
            zone("gpu-thermal", Some(61.5)),
            zone("cv0-thermal", None),
            zone("soc0-thermal", Some(57.25)),
            zone("tj-thermal", Some(61.5)),
        ],
        throttled_by: Some(Vec::new()),
        jetson: Some(JetsonSnapshot {
            power_mode: Some("MODE_30W".into()),
            rails: vec![
                rail("VDD_GPU_SOC", 8.7),
                rail("VDD_CPU_CV", 3.1),
                rail("VIN_SYS_5V0", 5.4),
            ],
            ..JetsonSnapshot::default()
        }),
        gpus: vec![gpu],
        ..host
    }
}

fn event(ago_s: u64, level: Level, model: Option<&str>, text: &str) -> Event {
    Event {
        unix_ms: UNIX_MS - ago_s * 1_000,
        level,
        model: model.map(Into::into),
        text: text.into(),
    }
}

fn events(scene: &str) -> Vec<Event> {
    let masked = "batches from 16 items on are masked: 16 take 71.8ms alone, over the SLO of 58ms";
    let mut events = vec![
        event(3_720, Level::Info, None, "serving on bcedge.sock"),
        event(3_719, Level::Info, Some("resnet18"), masked),
        event(3_600, Level::Info, Some("yolov5s"), "policy is now sac"),
    ];
    match scene {
        "starting" => events.truncate(0),
        "overload" => events.extend([
            event(40, Level::Warn, Some("yolov5s"), "SLO missed: p99 183 ms over 138 ms"),
            event(22, Level::Warn, Some("yolov5s"), "expired 14 requests in 5 s"),
        ]),
        "failed" => events.extend([
            event(900, Level::Error, Some("resnet18"), "load failed: file ends too early"),
            event(60, Level::Info, Some("inception-v3"), "unloaded by command"),
            event(3, Level::Error, Some("tinybert"), "batch failed: token id 30,600 of 30,522"),
        ]),
        _ => events.push(event(75, Level::Info, None, "12 connections open")),
    }
    events
}

fn log(events: &[Event]) -> Vec<Event> {
    let mut lines: Vec<Event> = (0..60)
        .map(|i| {
            let level = [Level::Debug, Level::Info, Level::Info, Level::Debug][i as usize % 4];
            let text = format!("connection {i} accepted: peer uid 1000, HTTP/2");
            event(4_000 - i * 4, level, None, &text)
        })
        .collect();
    lines.extend_from_slice(events);
    lines
}
