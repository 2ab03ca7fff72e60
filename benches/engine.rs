//! What an engine costs beside the computation. `cargo bench --bench engine`
//!
//! A layer so small that the cost of the call shows: `rten` with and without the instance's loop
//! inside its pool, ONNX Runtime where it is found, and the pretended engine that costs nothing.

use bcedge::config::{Config, Device};
use bcedge::engine::{ExecutionContext, open};
use bcedge::units::BatchSize;
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

#[path = "../tests/engines/graphs.rs"]
mod graphs;

fn context(engine: &str, device: Device) -> Option<Box<dyn ExecutionContext>> {
    let text = format!("(models: [(name: \"m\", engine: {engine})], threads_per_instance: 1)");
    let mut config: Config = ron::from_str(&text).expect("a valid configuration");
    config.device = device;
    match open(&config.models[0], &config).and_then(|engine| engine.create_context()) {
        Ok(context) => Some(context),
        Err(reason) => {
            eprintln!("left out: {reason}");
            None
        }
    }
}

/// Stage, run, take: what an instance does for each batch.
fn round(context: &mut dyn ExecutionContext) {
    context.stage(0, BatchSize::ONE).fill(0);
    context.execute(BatchSize::ONE).expect("the layer runs");
    black_box(context.take_output(0));
}

fn calls(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = graphs::dense(16, 16).write(folder.path(), "dense");
    let onnx = format!("Onnx({:?})", file.display().to_string());
    let mut group = criterion.benchmark_group("call");
    if let Some(mut context) = context(&onnx, Device::Rten) {
        group.bench_function("rten, outside its pool", |b| b.iter(|| round(&mut *context)));
        // The bencher cannot move to the pool's thread, so the time is taken there.
        group.bench_function("rten, inside its pool", |b| {
            b.iter_custom(|rounds| {
                let mut elapsed = std::time::Duration::ZERO;
                context.enter(Box::new(|context| {
                    let start = std::time::Instant::now();
                    (0..rounds).for_each(|_| round(context));
                    elapsed = start.elapsed();
                }));
                elapsed
            });
        });
    }
    if let Some(mut context) = context(&onnx, Device::OnnxRuntime) {
        group.bench_function("onnxruntime", |b| b.iter(|| round(&mut *context)));
    }
    if let Some(mut context) = context("Synthetic((latency_us: [(1, 0)]))", Device::Rten) {
        group.bench_function("synthetic", |b| b.iter(|| round(&mut *context)));
    }
    group.finish();
}

criterion_group!(benches, calls);
criterion_main!(benches);
