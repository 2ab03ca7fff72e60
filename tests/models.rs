//! The reference networks, judged by the tools other people trust: ONNX's own checker and ONNX
//! Runtime.

mod support;

use bcedge::engine::onnx_check;
use bcedge::models::{self, InputKind, REFERENCE, Reference};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rten::{DataType, Dimension, Model, NodeId, ValueOrView, ValueType};
use rten_tensor::{AsView, Layout, Tensor};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

/// A folder with the six networks and `double`, written once by this test binary.
static MODELS: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("models");
    for reference in &REFERENCE {
        models::write(reference, &dir, &mut |_| {}).unwrap();
    }
    fs::create_dir_all(dir.join("double")).unwrap();
    fs::write(dir.join("double/model.onnx"), models::double()).unwrap();
    dir
});

fn succeeds(mut command: Command, limit: Duration) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let both = log.reopen().unwrap();
    command.stdout(both.try_clone().unwrap()).stderr(both);
    let shown = format!("{command:?}");
    let status = support::run_with_deadline(command, limit).unwrap();
    let said = fs::read_to_string(log.path()).unwrap_or_default();
    assert!(status.success(), "{shown}\n{said}");
}

#[test]
fn the_python_environment_has_what_the_tests_need() {
    // In two processes: both clients register the same protocol's messages, which Python's
    // protobuf refuses to do twice.
    for modules in ["httpx, kserve, numpy, onnx, onnxruntime", "tritonclient.grpc.aio"] {
        let mut import = Command::new(support::python_env());
        import.args(["-c", &format!("import {modules}")]);
        succeeds(import, Duration::from_secs(120));
    }
}

#[test]
fn onnx_accepts_the_networks_and_counts_the_published_parameters() {
    let mut command = support::python_script("check_models.py");
    command.arg(&*MODELS);
    for reference in &REFERENCE {
        let kind = if reference.name == "yolov5s" { "fused" } else { "trained" };
        command.arg(format!("{}={}:{kind}", reference.name, reference.parameters));
    }
    succeeds(command, Duration::from_secs(300));
}

/// Multiply-adds of one item, as published: 16.5 GFLOPs of two each for YOLOv5s at 640 (its
/// repository's table), 56 M and 0.39 G in the papers of MobileNetV3 and EfficientNet, 1.81 G and 5.71 G
/// in torchvision's tables, 1.2 GFLOPs in TinyBERT's paper, which leaves out what is small.
#[test]
fn the_estimated_work_is_the_published_one() {
    let published = [8.25e9, 56e6, 1.81e9, 0.39e9, 5.71e9, 0.6e9];
    for (reference, published) in REFERENCE.iter().zip(published) {
        let model = onnx_check::check(&reference.path(&MODELS)).unwrap();
        let ratio = model.cost.multiply_adds as f64 / published;
        assert!((0.97..1.05).contains(&ratio), "{}: {ratio} × {published:e}", reference.title);
        // Every weight and every activation is at least written or read once.
        assert!(model.weight_bytes >= 4 * reference.parameters * 99 / 100, "{}", reference.title);
        let cost = model.cost;
        assert!(
            (20..400).contains(&cost.kernels) && cost.kernels <= model.nodes as u64,
            "{cost:?}"
        );
        assert!(cost.activation_bytes > 10 << 20, "{}: {cost:?}", reference.title);
    }
}

/// The engine in the binary must compute what the reference runtime computes.
#[test]
fn outputs_agree_with_onnx_runtime() {
    let work = tempfile::tempdir().unwrap();
    let cases: Vec<(&Reference, usize, PathBuf)> = REFERENCE
        .iter()
        .flat_map(|reference| {
            let folder = |batch| work.path().join(format!("{}.{batch}", reference.name));
            [(reference, 1, folder(1)), (reference, 3, folder(3))]
        })
        .collect();
    let mut onnxruntime = support::python_script("run_onnxruntime.py");
    for (reference, batch, folder) in &cases {
        fs::create_dir_all(folder).unwrap();
        write_inputs(reference, *batch, folder);
        onnxruntime.arg(reference.path(&MODELS)).arg(folder).arg(batch.to_string());
    }
    succeeds(onnxruntime, Duration::from_secs(300));

    for (reference, batch, folder) in &cases {
        let model = Model::load_file(reference.path(&MODELS)).unwrap();
        let output = model.output_ids()[0];
        let name = model.node_info(output).unwrap().name().unwrap().to_owned();
        let inputs = read_inputs(&model, *batch, folder);
        let [value] = model.run_n(inputs, [output], None).unwrap();
        let tensor: Tensor<f32> = value.try_into().unwrap();
        assert_eq!(tensor.shape()[0], *batch);
        let ours = tensor.to_vec();
        let theirs = floats(&folder.join(format!("{name}.ort.raw")));
        assert_eq!(ours.len(), theirs.len(), "{}", reference.title);
        let largest = theirs.iter().fold(0f32, |max, value| max.max(value.abs()));
        let apart = ours.iter().zip(&theirs).fold(0f32, |max, (a, b)| max.max((a - b).abs()));
        println!("{} × {batch}: {:.1e}", reference.title, apart / largest);
        assert!(largest.is_normal(), "{}: outputs are {largest}", reference.title);
        assert!(apart <= 1e-3 * largest, "{} × {batch}: {apart} of {largest}", reference.title);
        if *batch > 1 {
            assert_items_differ(reference, &ours, *batch, apart);
        }
    }
}

/// A network whose output hardly depends on its input would agree with anything: two inputs must
/// give outputs that are much further apart than the two engines are.
fn assert_items_differ(reference: &Reference, outputs: &[f32], batch: usize, engines_apart: f32) {
    let (first, rest) = outputs.split_at(outputs.len() / batch);
    let apart = first.iter().zip(rest).fold(0f32, |max, (a, b)| max.max((a - b).abs()));
    assert!(apart > 300.0 * engines_apart, "{}: {apart}, {engines_apart}", reference.title);
}

/// Seeded inputs as raw files; the items of a batch differ.
fn write_inputs(reference: &Reference, batch: usize, folder: &Path) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(reference.seed + batch as u64);
    let mut write = |name: &str, elements: usize, next: &dyn Fn(u64) -> Vec<u8>| {
        let bytes: Vec<u8> = (0..elements).flat_map(|_| next(rng.next_u64())).collect();
        fs::write(folder.join(format!("{name}.raw")), bytes).unwrap();
    };
    match reference.input {
        InputKind::Image { side } => {
            let name = if reference.name == "yolov5s" { "images" } else { "input" };
            let pixel = |bits: u64| ((bits >> 40) as f32 / (1 << 24) as f32).to_le_bytes().to_vec();
            write(name, batch * 3 * side * side, &pixel);
        }
        InputKind::Tokens { sequence, vocabulary } => {
            let below = |bound: u64| {
                move |bits: u64| ((bits >> 8) % bound).cast_signed().to_le_bytes().to_vec()
            };
            write("input_ids", batch * sequence, &below(vocabulary as u64));
            write("attention_mask", batch * sequence, &below(2));
            write("token_type_ids", batch * sequence, &below(2));
        }
    }
}

fn read_inputs(model: &Model, batch: usize, folder: &Path) -> Vec<(NodeId, ValueOrView<'static>)> {
    let input = |&id: &NodeId| {
        let info = model.node_info(id).unwrap();
        let path = folder.join(format!("{}.raw", info.name().unwrap()));
        let mut shape = vec![batch];
        shape.extend(info.shape().unwrap()[1..].iter().map(|dim| match dim {
            Dimension::Fixed(size) => *size,
            Dimension::Symbolic(name) => panic!("{name} in {path:?}"),
        }));
        let value = match info.dtype().unwrap() {
            ValueType::Tensor(DataType::Float) => {
                Tensor::from_data(&shape[..], floats(&path)).into()
            }
            _ => Tensor::from_data(&shape[..], integers(&path)).into(),
        };
        (id, value)
    };
    model.input_ids().iter().map(input).collect()
}

fn floats(path: &Path) -> Vec<f32> {
    fs::read(path).unwrap().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// INT64 in the file, narrowed as the engine wants it.
fn integers(path: &Path) -> Vec<i32> {
    let bytes = fs::read(path).unwrap();
    bytes.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as i32).collect()
}
