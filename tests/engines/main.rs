//! Both CPU engines on the same tiny graphs: types, batches, concurrency, bad input, bad files.

#[path = "../support/mod.rs"]
mod support;

mod graphs;

use bcedge::config::{Config, Device};
use bcedge::engine::{DataType, Engine, EngineError, ExecutionContext, OutputTensor, open};
use bcedge::models::{self, Reference};
use bcedge::units::BatchSize;
use graphs::{FLOAT, Graph, N, element_type, node, tensor};
use half::f16;
use std::path::Path;
use std::sync::{Arc, Barrier};

const DEVICES: [Device; 2] = [Device::Rten, Device::OnnxRuntime];

fn config(file: &Path, device: Device, max_batch: u32) -> Config {
    let text = format!(
        "(models: [(name: \"m\", engine: Onnx({:?}), max_batch: {max_batch})], \
         threads_per_instance: 1)",
        file.to_str().unwrap()
    );
    let mut config: Config = ron::from_str(&text).unwrap();
    config.device = device;
    if device == Device::OnnxRuntime {
        config.onnxruntime = Some(support::onnxruntime_folder());
    }
    config
}

fn try_load(file: &Path, device: Device, max_batch: u32) -> Result<Arc<dyn Engine>, EngineError> {
    let config = config(file, device, max_batch);
    open(&config.models[0], &config)
}

/// Loads from a file that is gone when this returns: an engine needs it only once.
fn load(graph: Graph, device: Device, max_batch: u32) -> Arc<dyn Engine> {
    let folder = tempfile::tempdir().unwrap();
    let file = graph.write(folder.path(), "model");
    try_load(&file, device, max_batch).unwrap()
}

/// Stages one value per input, runs, takes all outputs.
fn run(
    context: &mut dyn ExecutionContext,
    outputs: usize,
    inputs: &[&[u8]],
    batch: u32,
) -> Result<Vec<OutputTensor>, EngineError> {
    for (index, bytes) in inputs.iter().enumerate() {
        context.stage(index, BatchSize(batch)).copy_from_slice(bytes);
    }
    context.execute(BatchSize(batch))?;
    Ok((0..outputs).map(|output| context.take_output(output)).collect())
}

fn bytes<T: bytemuck::NoUninit>(values: &[T]) -> &[u8] {
    bytemuck::cast_slice(values)
}

fn floats(tensor: &OutputTensor) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(&tensor.data)
}

/// Deterministic values that differ from item to item.
fn ramp(n: usize) -> Vec<f32> {
    (0..n).map(|k| ((k * 7919 % 997) as f32) / 500.0 - 1.0).collect()
}

#[test]
fn every_type_goes_through_unchanged() {
    let halves = [0.5f32, -2.0, 65504.0, 6e-8, 0.0, 3.25, 1.0, 2.0, 3.0, 4.0, 5.0, -0.0];
    let floats = [1.5f32, -2.0, 3e30, 4.0, f32::MIN_POSITIVE, 6.0, 7.0, 8.0, 9.0, 1.0, 1.1, 1.2];
    let ints = [1i32, -2, i32::MAX, i32::MIN, 5, 6, 7, 8, 9, 10, 11, 12];
    let cases: [(DataType, Vec<u8>); 7] = [
        (DataType::F32, bytes(&floats).to_vec()),
        (DataType::F16, bytes(&halves.map(f16::from_f32)).to_vec()),
        (DataType::I64, bytes(&ints.map(i64::from)).to_vec()),
        (DataType::I32, bytes(&ints).to_vec()),
        (DataType::I8, bytes(&[1i8, -2, 127, -128, 5, 6, 7, 8, 9, 10, 11, 12]).to_vec()),
        (DataType::U8, vec![1, 2, 255, 0, 5, 6, 7, 8, 9, 10, 11, 12]),
        (DataType::Bool, vec![1, 0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 1]),
    ];
    for device in DEVICES {
        for (data_type, input) in &cases {
            let engine = load(graphs::transposed(*data_type), device, 4);
            let spec = engine.spec();
            assert_eq!(spec.inputs[0].data_type, *data_type);
            assert_eq!((spec.inputs[0].shape.as_slice(), spec.batched), ([3, 2].as_slice(), true));
            let mut context = engine.create_context().unwrap();
            let output = run(&mut *context, 1, &[input], 2)
                .unwrap_or_else(|error| panic!("{device:?} {data_type:?}: {error}"));
            assert_eq!(output[0].shape, [2, 2, 3], "{device:?} {data_type:?}");
            let size = data_type.size();
            let element = |k: usize| &input[k * size..(k + 1) * size];
            let order = [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11];
            let expected = order.map(element).concat();
            assert_eq!(output[0].data, expected, "{device:?} {data_type:?}");
        }
    }
}

#[test]
fn any_nonzero_byte_is_true() {
    let graph = || Graph {
        inputs: vec![tensor("x", element_type(DataType::Bool), &[N, 4])],
        outputs: vec![tensor("y", element_type(DataType::Bool), &[N, 4])],
        nodes: vec![node("Not", &["x"], "y")],
        ..Default::default()
    };
    for device in DEVICES {
        let mut context = load(graph(), device, 1).create_context().unwrap();
        let output = run(&mut *context, 1, &[&[0, 1, 7, 255]], 1).unwrap();
        assert_eq!(output[0].data.as_ref(), [1, 0, 0, 0], "{device:?}");
    }
}

#[test]
fn a_batch_gives_what_single_runs_give() {
    let (items, width, max_batch) = (24usize, 33, 8);
    let input = ramp(items * width);
    for device in DEVICES {
        let engine = load(graphs::dense(width, 17), device, max_batch);
        let mut context = engine.create_context().unwrap();
        let item = |k: usize| bytes(&input[k * width..(k + 1) * width]);
        let single: Vec<Vec<f32>> =
            (0..items).map(|k| floats(&run(&mut *context, 1, &[item(k)], 1).unwrap()[0])).collect();
        for batch in 1..=max_batch {
            let count = batch as usize;
            let output = run(&mut *context, 1, &[bytes(&input[..count * width])], batch).unwrap();
            assert_eq!(output[0].shape, [i64::from(batch), 17]);
            let expected = single[..count].concat();
            for (got, wanted) in floats(&output[0]).iter().zip(&expected) {
                assert!((got - wanted).abs() <= 1e-5, "{device:?} b={batch}: {got} {wanted}");
            }
        }
    }
}

#[test]
fn the_engines_agree() {
    let input = ramp(8 * 64);
    let [ours, theirs] = DEVICES.map(|device| {
        let engine = load(graphs::dense(64, 32), device, 8);
        floats(&run(&mut *engine.create_context().unwrap(), 1, &[bytes(&input)], 8).unwrap()[0])
    });
    assert_eq!(ours.len(), 8 * 32);
    assert!(ours.iter().any(|&value| value > 0.5), "the comparison needs values");
    for (a, b) in ours.iter().zip(&theirs) {
        assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{a} {b}");
    }
}

/// Real layers: convolutions are what ONNX Runtime reorders weights for, attention what it fuses.
#[test]
fn the_engines_agree_on_real_networks() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["mobilenet_v3_small", "tinybert"] {
        let reference = Reference::named(name).unwrap();
        models::write(reference, folder.path(), &mut |_| {}).unwrap();
        let file = reference.path(folder.path());
        let batch = 3;
        let mut results = Vec::new();
        for device in DEVICES {
            let engine = try_load(&file, device, batch).unwrap();
            // The second context shares what the first was made of.
            for _ in 0..2 {
                let mut context = engine.create_context().unwrap();
                stage_something(&*engine, &mut *context, BatchSize(batch));
                context.execute(BatchSize(batch)).unwrap();
                results.push(floats(&context.take_output(0)));
            }
        }
        let [ours, ours_again, theirs, theirs_again] = &results[..] else { unreachable!() };
        assert_eq!(ours, ours_again, "{name}");
        assert_eq!(theirs, theirs_again, "{name}");
        let largest = theirs.iter().fold(0f32, |most, value| most.max(value.abs()));
        let apart = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(largest > 0.0 && apart <= 1e-4 * largest, "{name}: {apart} of {largest}");
    }
}

/// Pixels between -1 and 1, or small token ids.
fn stage_something(engine: &dyn Engine, context: &mut dyn ExecutionContext, batch: BatchSize) {
    for (index, input) in engine.spec().inputs.iter().enumerate() {
        let elements = input.item_elements().unwrap() * batch.get();
        let to = context.stage(index, batch);
        match input.data_type {
            DataType::F32 => to.copy_from_slice(bytes(&ramp(elements))),
            DataType::I64 => {
                let ids =
                    (0..elements).map(|k| if index == 0 { (k * 31 % 1000) as i64 } else { 1 });
                to.copy_from_slice(bytes(&ids.collect::<Vec<_>>()));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn several_inputs_and_outputs_keep_their_order() {
    let ids = [0i64, 9, 3, 3, 1, 2, 0, 8];
    let image = ramp(8);
    for device in DEVICES {
        let mut context = load(graphs::embedding(), device, 4).create_context().unwrap();
        let output = run(&mut *context, 2, &[bytes(&ids), bytes(&image)], 2).unwrap();
        assert_eq!(output[0].shape, [2, 4, 2]);
        let rows: Vec<f32> = ids.iter().flat_map(|&id| [id as f32; 2]).collect();
        assert_eq!(floats(&output[0]), rows, "{device:?}");
        assert_eq!(output[1].shape, [2, 2, 2]);
        assert_eq!(floats(&output[1]), image.iter().map(|x| -x).collect::<Vec<_>>());
    }
}

#[test]
fn a_bad_index_is_an_error_and_the_context_lives_on() {
    let image = [0f32; 4];
    for device in DEVICES {
        let mut context = load(graphs::embedding(), device, 4).create_context().unwrap();
        for bad in [10i64, -11, i64::from(i32::MAX)] {
            let ids = [0, bad, 0, 0];
            let result = run(&mut *context, 2, &[bytes(&ids), bytes(&image)], 1);
            assert!(matches!(result, Err(EngineError::Input(_))), "{device:?} {bad}: {result:?}");
        }
        let good = run(&mut *context, 2, &[bytes(&[5i64; 4]), bytes(&image)], 1).unwrap();
        assert_eq!(floats(&good[0]), [5.0; 8]);
    }
}

#[test]
fn a_64_bit_value_out_of_range_is_named() {
    let mut context = load(graphs::embedding(), Device::Rten, 4).create_context().unwrap();
    for value in [1i64 << 33, i64::MIN, i64::from(i32::MAX) + 1] {
        let ids = [0, 0, 0, 0, 0, 0, value, 0];
        let text =
            run(&mut *context, 2, &[bytes(&ids), bytes(&[0f32; 8])], 2).unwrap_err().to_string();
        for part in ["'ids'", "element 2 of item 1", &value.to_string()] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[test]
fn contexts_run_in_parallel_and_agree() {
    const CONTEXTS: usize = 4;
    let input = ramp(4 * 256);
    for device in DEVICES {
        let engine = load(graphs::dense(256, 128), device, 4);
        let reference = floats(
            &run(&mut *engine.create_context().unwrap(), 1, &[bytes(&input)], 4).unwrap()[0],
        );
        let start = Barrier::new(CONTEXTS);
        std::thread::scope(|scope| {
            for _ in 0..CONTEXTS {
                scope.spawn(|| {
                    let mut context = engine.create_context().unwrap();
                    context.enter(Box::new(|context| {
                        start.wait();
                        for _ in 0..20 {
                            let output = run(context, 1, &[bytes(&input)], 4).unwrap();
                            assert_eq!(floats(&output[0]), reference, "{device:?}");
                        }
                    }));
                });
            }
        });
    }
}

/// How often the calling thread has given up its core to wait.
fn waits() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn inside_enter_a_run_does_not_hop_between_threads() {
    const RUNS: u64 = 500;
    let loaded = load(graphs::dense(16, 16), Device::Rten, 1);
    let mut context = loaded.create_context().unwrap();
    let go_on = |context: &mut dyn ExecutionContext| {
        context.execute(BatchSize::ONE).unwrap();
        let before = waits();
        (0..RUNS).for_each(|_| context.execute(BatchSize::ONE).unwrap());
        waits() - before
    };
    let outside = go_on(&mut *context);
    let mut inside = u64::MAX;
    context.enter(Box::new(|context| inside = go_on(context)));
    assert!(inside < RUNS / 10, "{inside} waits in {RUNS} runs inside");
    // The figure means something: without `enter` a run waits for a thread of the pool.
    assert!(outside > RUNS / 4, "{outside} waits in {RUNS} runs outside");
}

#[test]
fn auto_falls_back_when_the_library_does_not_take_the_model() {
    // A file of a newer format than the library knows: the version comes first, as two bytes.
    let mut newer = graphs::dense(4, 4).encode();
    assert_eq!(newer[..2], [8, 8]);
    newer[1] = 99;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("newer.onnx");
    std::fs::write(&file, newer).unwrap();
    let mut config = config(&file, Device::OnnxRuntime, 2);
    let error = open(&config.models[0], &config).err().unwrap().to_string();
    assert!(error.contains("newer.onnx") && error.contains("99"), "{error}");
    config.device = Device::Auto;
    assert_eq!(open(&config.models[0], &config).unwrap().platform(), "rten_onnx");
}

#[test]
fn a_panic_in_the_loop_comes_through_enter() {
    for device in DEVICES {
        let loaded = load(graphs::dense(4, 4), device, 1);
        let mut context = loaded.create_context().unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            context.enter(Box::new(|_| panic!("on purpose")));
        }));
        assert!(panicked.is_err(), "{device:?}");
        run(&mut *context, 1, &[bytes(&[1f32; 4])], 1).unwrap();
    }
}

/// Weights are shared by way of a file that is read back; one that would lose a part is not used.
#[test]
fn a_model_that_cannot_be_taken_apart_is_run_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.onnx");
    std::fs::write(&file, graphs::encode_with_unknown_part(graphs::embedding())).unwrap();
    let engine = try_load(&file, Device::OnnxRuntime, 2).unwrap();
    let mut contexts = [engine.create_context().unwrap(), engine.create_context().unwrap()];
    for context in &mut contexts {
        let output = run(&mut **context, 2, &[bytes(&[7i64; 4]), bytes(&[0f32; 4])], 1).unwrap();
        assert_eq!(floats(&output[0]), [7.0; 8]);
    }
    // Another file in its place would be another model.
    graphs::dense(8, 9).write(folder.path(), "model");
    let error = engine.create_context().err().unwrap().to_string();
    assert!(error.contains("model.onnx is gone or has changed"), "{error}");
}

#[test]
fn results_outlive_later_runs_and_their_context() {
    for device in DEVICES {
        let engine = load(graphs::dense(16, 16), device, 2);
        let mut context = engine.create_context().unwrap();
        let kept = run(&mut *context, 1, &[bytes(&ramp(16))], 1).unwrap();
        let copy = kept[0].data.to_vec();
        for _ in 0..10 {
            run(&mut *context, 1, &[bytes(&[9f32; 32])], 2).unwrap();
        }
        drop(context);
        drop(engine);
        assert_eq!(kept[0].data, copy, "{device:?}");
    }
}

#[test]
fn a_fixed_model_is_served_item_by_item() {
    let graph = || Graph {
        inputs: vec![tensor("x", FLOAT, &[1, 3])],
        outputs: vec![tensor("y", FLOAT, &[1, 3])],
        nodes: vec![node("Neg", &["x"], "y")],
        ..Default::default()
    };
    for device in DEVICES {
        let engine = load(graph(), device, 8);
        assert!(!engine.spec().batched);
        assert_eq!(engine.spec().max_batch, BatchSize::ONE);
        assert_eq!(engine.spec().inputs[0].shape, [1, 3]);
        let mut context = engine.create_context().unwrap();
        let output = run(&mut *context, 1, &[bytes(&[1f32, 2.0, 3.0])], 1).unwrap();
        assert_eq!(output[0].shape, [1, 3]);
        assert_eq!(floats(&output[0]), [-1.0, -2.0, -3.0]);
    }
}

#[test]
fn an_output_without_its_batch_is_an_error() {
    // The file says [N, 3], the operator makes [3, N].
    let graph = || Graph {
        inputs: vec![tensor("x", FLOAT, &[N, 3])],
        outputs: vec![tensor("y", FLOAT, &[N, 3])],
        nodes: vec![node("Transpose", &["x"], "y")],
        ..Default::default()
    };
    for device in DEVICES {
        let mut context = load(graph(), device, 2).create_context().unwrap();
        let error = run(&mut *context, 1, &[bytes(&[0f32; 6])], 2).unwrap_err().to_string();
        assert!(error.contains("'y'"), "{device:?}: {error}");
    }
}

#[test]
fn an_open_dimension_besides_the_batch_is_refused() {
    let graph = || Graph {
        inputs: vec![tensor("x", FLOAT, &[N, 3, N])],
        outputs: vec![tensor("y", FLOAT, &[N, 3, N])],
        nodes: vec![node("Neg", &["x"], "y")],
        ..Default::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let file = graph().write(folder.path(), "open");
    for device in DEVICES {
        let text = try_load(&file, device, 4).err().unwrap().to_string();
        assert!(text.contains("'x'") && text.contains("[N, 3, N]"), "{text}");
    }
}

#[test]
fn a_type_that_is_not_served_is_refused() {
    let graph = Graph {
        inputs: vec![tensor("x", graphs::DOUBLE, &[N, 3])],
        outputs: vec![tensor("y", graphs::DOUBLE, &[N, 3])],
        nodes: vec![node("Neg", &["x"], "y")],
        ..Default::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let file = graph.write(folder.path(), "double");
    let text = try_load(&file, Device::Rten, 4).err().unwrap().to_string();
    assert!(text.contains("'x' has element type 11") && text.contains("double.onnx"), "{text}");
}

#[test]
fn a_missing_file_says_what_to_do() {
    for device in DEVICES {
        let error = try_load(Path::new("no/such/model.onnx"), device, 4).err().unwrap();
        assert!(matches!(error, EngineError::Load(_)));
        let text = error.to_string();
        assert!(text.contains("no/such/model.onnx") && text.contains("bcedge models"), "{text}");
    }
}

#[test]
fn damaged_files_are_errors_never_a_crash() {
    let whole = graphs::dense(32, 16).encode();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("damaged.onnx");
    for device in DEVICES {
        let mut refused = 0;
        for cut in (0..whole.len()).step_by(whole.len() / 40) {
            std::fs::write(&file, &whole[..cut]).unwrap();
            refused += u32::from(try_load(&file, device, 4).is_err());
        }
        assert!(refused >= 38, "{device:?} refused {refused} truncated files");
        for position in (0..whole.len().min(400)).step_by(3) {
            let mut flipped = whole.clone();
            flipped[position] ^= 0x55;
            std::fs::write(&file, &flipped).unwrap();
            // A flipped weight is still a model: what counts is that loading and running return.
            if let Ok(engine) = try_load(&file, device, 4)
                && let Ok(mut context) = engine.create_context()
            {
                let _ = context.execute(BatchSize::ONE);
            }
        }
    }
}
