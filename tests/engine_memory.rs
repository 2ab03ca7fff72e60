//! Weights are in memory once however many instances a model has. Alone in its process, because
//! it looks at the memory of all of it.

mod support;

#[path = "engines/graphs.rs"]
mod graphs;

use bcedge::config::{Config, Device};
use bcedge::engine::open;
use bcedge::units::BatchSize;

const INSTANCES: usize = 4;

#[test]
fn instances_share_the_weights() {
    let (inputs, outputs) = (4096, 2048);
    let weights_kib = (inputs * outputs * 4 / 1024) as u64;
    let folder = tempfile::tempdir().unwrap();
    let file = graphs::dense(inputs, outputs).write(folder.path(), "model").display().to_string();
    let text = format!("(models: [(name: \"m\", engine: Onnx({file:?}), max_batch: 1)])");
    let mut config: Config = ron::from_str(&text).unwrap();
    for device in [Device::Rten, Device::OnnxRuntime] {
        config.device = device;
        config.onnxruntime = (device == Device::OnnxRuntime).then(support::onnxruntime_folder);
        let engine = open(&config.models[0], &config).unwrap();
        assert!(engine.weight_bytes() / 1024 >= weights_kib, "{device:?}");
        let mut contexts = Vec::new();
        let mut seen_kib = Vec::new();
        for _ in 0..INSTANCES {
            let mut context = engine.create_context().unwrap();
            context.stage(0, BatchSize::ONE).fill(0);
            context.execute(BatchSize::ONE).unwrap();
            contexts.push(context);
            seen_kib.push(resident_kib());
        }
        let grown_kib = seen_kib[INSTANCES - 1].saturating_sub(seen_kib[0]);
        // Three further copies would be 96 MiB.
        assert!(grown_kib < weights_kib / 2, "{device:?}: {seen_kib:?} KiB");
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
