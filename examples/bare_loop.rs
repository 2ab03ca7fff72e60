//! One engine in a loop with nothing around it: what `benches/whole.py` compares serving with.
//!
//! `bare_loop MODEL.onnx BATCH THREADS SECONDS` runs the embedded engine, for a model of FP32
//! inputs, and prints `{"items_per_s": …}`. The input is staged once, before the loop.

use bcedge::config::Config;
use bcedge::engine::{self, EngineError, ExecutionContext, ModelSpec};
use bcedge::units::BatchSize;
use std::env;
use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Not counted: the first runs fill caches and buffers.
const WARM_UP: u32 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [path, batch, threads, seconds] = arguments.as_slice() else {
        return Err("usage: bare_loop MODEL.onnx BATCH THREADS SECONDS".into());
    };
    let (batch, threads): (u32, u32) = (batch.parse()?, threads.parse()?);
    let limit = Duration::try_from_secs_f64(seconds.parse()?)?;
    let config: Config = ron::from_str(&format!(
        "(device: Rten, threads_per_instance: {threads},
          models: [(name: \"bare\", engine: Onnx({path:?}), max_batch: {batch})])"
    ))?;

    let engine = engine::open(&config.models[0], &config)?;
    let mut rate = Ok(0.0);
    engine.create_context()?.enter(Box::new(|context| {
        rate = measure(context, engine.spec(), BatchSize(batch), limit);
    }));
    println!("{{\"items_per_s\": {:.3}}}", rate?);
    Ok(())
}

/// Items per second.
fn measure(
    context: &mut dyn ExecutionContext,
    spec: &ModelSpec,
    batch: BatchSize,
    limit: Duration,
) -> Result<f64, EngineError> {
    for input in 0..spec.inputs.len() {
        // Values between 0 and 1: arithmetic on zeros or denormals may take another time.
        for (i, value) in context.stage(input, batch).chunks_exact_mut(4).enumerate() {
            value.copy_from_slice(&((i % 251) as f32 / 251.0).to_le_bytes());
        }
    }
    let mut run = || {
        context.execute(batch)?;
        for output in 0..spec.outputs.len() {
            black_box(context.take_output(output));
        }
        Ok(())
    };
    for _ in 0..WARM_UP {
        run()?;
    }
    let (start, mut runs) = (Instant::now(), 0u32);
    while start.elapsed() < limit {
        run()?;
        runs += 1;
    }
    Ok(f64::from(runs) * f64::from(batch.0) / start.elapsed().as_secs_f64())
}
