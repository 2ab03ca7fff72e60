//! A TensorRT plan in a loop with nothing around it: what `tests/gpu/run.sh` compares serving with.
//!
//! `plan_loop PLAN BATCH SECONDS [TENSORRT]` enqueues runs of one context on one stream, with inputs
//! that are on the GPU before, and prints `{"items_per_s": …}`. `TENSORRT` is where libnvinfer.so
//! is, file or folder.

use bcedge::config::Config;
use bcedge::engine::{DataType, PlanLoop};
use bcedge::units::BatchSize;
use std::env;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

/// Not counted: the GPU's clock rises, and TensorRT loads what it needs at first.
const WARM_UP: Duration = Duration::from_millis(500);
/// The loop waits for the GPU this often.
const BETWEEN_WAITS: Duration = Duration::from_millis(100);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (path, batch, seconds, tensorrt) = match arguments.as_slice() {
        [path, batch, seconds] => (path, batch, seconds, None),
        [path, batch, seconds, tensorrt] => (path, batch, seconds, Some(tensorrt)),
        _ => return Err("usage: plan_loop PLAN BATCH SECONDS [TENSORRT]".into()),
    };
    let batch: u32 = batch.parse()?;
    let limit = Duration::try_from_secs_f64(seconds.parse()?)?;
    let config: Config = ron::from_str(&format!(
        "(tensorrt: {tensorrt:?},
          models: [(name: \"bare\", engine: Plan({path:?}), max_batch: {batch}, max_instances: 1)])"
    ))?;
    let mut plan = PlanLoop::open(Path::new(path), &config.models[0], &config, BatchSize(batch))?;
    for input in 0..plan.spec().inputs.len() {
        let data_type = plan.spec().inputs[input].data_type;
        fill(plan.stage(input), data_type);
    }
    plan.upload()?;
    // So many runs at a time that the loop hardly waits.
    let (start, mut runs) = (Instant::now(), 0);
    while start.elapsed() < WARM_UP {
        plan.run(1)?;
        runs += 1;
    }
    let of_one = start.elapsed() / runs;
    let at_once = (BETWEEN_WAITS.as_nanos() / of_one.as_nanos().max(1)).clamp(1, 10_000) as u32;
    let (start, mut runs) = (Instant::now(), 0u64);
    while start.elapsed() < limit {
        plan.run(at_once)?;
        runs += u64::from(at_once);
    }
    let rate = runs as f64 * f64::from(batch) / start.elapsed().as_secs_f64();
    println!("{{\"items_per_s\": {rate:.3}}}");
    Ok(())
}

/// Values between 0 and 1, which are also good token numbers and masks.
fn fill(memory: &mut [u8], data_type: DataType) {
    let fraction = |i: usize| (i % 251) as f32 / 251.0;
    match data_type {
        DataType::F32 => {
            for (i, value) in memory.chunks_exact_mut(4).enumerate() {
                value.copy_from_slice(&fraction(i).to_le_bytes());
            }
        }
        DataType::F16 => {
            for (i, value) in memory.chunks_exact_mut(2).enumerate() {
                value.copy_from_slice(&half::f16::from_f32(fraction(i)).to_le_bytes());
            }
        }
        // Little-endian: the first byte is the whole of a small number.
        other => {
            for (i, value) in memory.chunks_exact_mut(other.size()).enumerate() {
                value.fill(0);
                value[0] = (i % 2) as u8;
            }
        }
    }
}
