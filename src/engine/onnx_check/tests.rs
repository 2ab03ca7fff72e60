use super::*;
use crate::models::graph::GraphBuilder;
use crate::models::layers::{Activation::*, Conv, Pool};
use crate::models::onnx::tensor_proto::DataLocation;
use crate::models::onnx::{
    AttributeProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
};
use crate::models::{self, REFERENCE, file};
use prost::Message;
use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::fs;
use tempfile::TempDir;

/// The check's word on these bytes.
fn check_bytes(bytes: &[u8]) -> Result<OnnxModel, String> {
    let dir = TempDir::new().unwrap();
    check_in(&dir, bytes)
}

/// An abort of the engine leaves the folder, and so the file that caused it.
fn check_in(dir: &TempDir, bytes: &[u8]) -> Result<OnnxModel, String> {
    let path = dir.path().join("model.onnx");
    fs::write(&path, bytes).unwrap();
    check(&path).map_err(|error| error.to_string())
}

fn tensor(name: &str, dims: &[i64], ints: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(tensor_proto::DataType::Int64 as i32),
        int64_data: ints.to_vec(),
        ..TensorProto::default()
    }
}

fn node(op_type: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: Some(format!("the {op_type}")),
        op_type: Some(op_type.into()),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

fn with_ints(mut node: NodeProto, name: &str, ints: &[i64]) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some(name.into()),
        ints: ints.to_vec(),
        ..AttributeProto::default()
    });
    node
}

/// `double` with these nodes and constants on top; its input is INPUT0 [batch, 16].
fn doubled(nodes: Vec<NodeProto>, constants: Vec<TensorProto>) -> ModelProto {
    let mut model = ModelProto::decode(&models::double()[..]).unwrap();
    let graph = model.graph.as_mut().unwrap();
    graph.node.extend(nodes);
    graph.initializer.extend(constants);
    model
}

/// Asserts that the model is refused and that the refusal says all of `words`.
#[track_caller]
fn refused(model: &ModelProto, words: &[&str]) {
    let refusal = check_bytes(&model.encode_to_vec()).unwrap_err();
    for word in words {
        assert!(refusal.contains(word), "'{word}' is not in: {refusal}");
    }
}

#[test]
fn reference_networks_are_admitted_with_what_they_declare() {
    let dir = TempDir::new().unwrap();
    for reference in &REFERENCE {
        models::write(reference, dir.path(), &mut |_| {}).unwrap();
        let model = check(&reference.path(dir.path())).unwrap();
        assert_eq!(model.opset, 17);
        assert_eq!(model.outputs.len(), 1);
        for value in model.inputs.iter().chain(&model.outputs) {
            assert_eq!(value.dims[0], Dim::Symbolic("batch".into()), "{}", value.name);
        }
        let share = model.weight_bytes as f64 / (reference.parameters * 4) as f64;
        assert!((0.99..1.02).contains(&share), "{}: {share}", reference.name);
    }
    let tinybert = check(&models::Reference::named("tinybert").unwrap().path(dir.path())).unwrap();
    let names: Vec<&str> = tinybert.inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(names, ["input_ids", "attention_mask", "token_type_ids"]);
    assert!(tinybert.inputs.iter().all(|input| input.data_type == DataType::I64));
    assert_eq!(tinybert.inputs[0].dims[1], Dim::Fixed(128));
}

/// The whole of what is known about sizes must agree with what the builder says.
#[test]
fn sizes_are_followed_through_a_reference_network() {
    for reference in &REFERENCE {
        let dir = TempDir::new().unwrap();
        models::write(reference, dir.path(), &mut |_| {}).unwrap();
        let model = reader::read(&reference.path(dir.path())).unwrap();
        let graph = model.graph.as_ref().unwrap();
        let mut sizes = Sizes::default();
        for input in runtime_inputs(graph).unwrap() {
            sizes.declare(&input.name, &input.dims).unwrap();
        }
        for tensor in &graph.initializer {
            sizes.constant(tensor).unwrap();
        }
        for node in &graph.node {
            sizes.apply(node).unwrap();
        }
        for output in &graph.output {
            let declared = declared(output).unwrap();
            let elements = declared.dims.iter().fold(1, |n, dim| match dim {
                Dim::Fixed(size) => n * u64::from(*size),
                Dim::Symbolic(_) => n,
            });
            assert_eq!(sizes.get(&declared.name).unwrap().elements, elements, "{}", reference.name);
        }
    }
}

#[test]
fn absurd_windows_are_refused_by_node_and_attribute() {
    let cases = [
        ("kernel_shape", vec![1 << 40, 3]),
        ("kernel_shape", vec![0, 3]),
        ("strides", vec![0, 1]),
        ("dilations", vec![1, -1]),
        ("pads", vec![0, 0, 1 << 33, 0]),
        ("pads", vec![-1, 0, 0, 0]),
        ("output_padding", vec![1 << 20]),
    ];
    for (name, ints) in cases {
        let conv = with_ints(node("AveragePool", &["OUTPUT0"], "y"), name, &ints);
        let worst = ints.iter().find(|&&int| !(1..=4096).contains(&int) && int != 0);
        let worst = worst.unwrap_or(&0).to_string();
        refused(&doubled(vec![conv], vec![]), &["the AveragePool", name, &worst, "allowed"]);
    }
    let mut conv = node("Conv", &["OUTPUT0", "OUTPUT0"], "y");
    conv.attribute.push(AttributeProto {
        name: Some("group".into()),
        i: Some(1 << 50),
        ..AttributeProto::default()
    });
    refused(&doubled(vec![conv], vec![]), &["the Conv", "group", "1125899906842624"]);
}

#[test]
fn absurd_results_of_constants_are_refused() {
    let huge = || tensor("huge", &[3], &[1 << 20, 1 << 20, 4]);
    let large = || tensor("large", &[1], &[1 << 30]);
    let number = |name: &str, value: i64| tensor(name, &[], &[value]);
    let cases: Vec<(NodeProto, Vec<TensorProto>)> = vec![
        (node("ConstantOfShape", &["huge"], "y"), vec![huge()]),
        (node("Expand", &["OUTPUT0", "huge"], "y"), vec![huge()]),
        (node("Tile", &["OUTPUT0", "huge"], "y"), vec![huge()]),
        (
            node("Range", &["start", "end", "step"], "y"),
            vec![number("start", 0), number("end", 1 << 40), number("step", 1)],
        ),
        (node("Pad", &["OUTPUT0", "pads"], "y"), vec![tensor("pads", &[4], &[0, 0, 0, 1 << 40])]),
        (node("OneHot", &["OUTPUT0", "large", "large"], "y"), vec![large()]),
        (node("Resize", &["OUTPUT0", "", "", "huge"], "y"), vec![huge()]),
    ];
    for (node, constants) in cases {
        let name = format!("the {}", node.op_type());
        refused(&doubled(vec![node], constants), &[&name]);
    }
}

#[test]
fn results_that_grow_from_node_to_node_are_refused() {
    // A column added to a row.
    let column = tensor("column", &[1 << 15, 1], &vec![0; 1 << 15]);
    let row = tensor("row", &[1, 1 << 15], &vec![0; 1 << 15]);
    let add = node("Add", &["column", "row"], "y");
    refused(&doubled(vec![add], vec![column, row]), &["the Add", "4294967296 bytes"]);

    // Doubled forty times over.
    let mut name = "OUTPUT0".to_owned();
    let mut nodes = Vec::new();
    for index in 0..40 {
        let next = format!("twice{index}");
        nodes.push(node("Concat", &[&name, &name], &next));
        name = next;
    }
    refused(&doubled(nodes, vec![]), &["the Concat", "at most 1073741824"]);

    // A shape computed by arithmetic.
    let numbers = vec![tensor("a", &[1], &[1 << 20])];
    let nodes = vec![node("Mul", &["a", "a"], "b"), node("ConstantOfShape", &["b"], "y")];
    refused(&doubled(nodes, numbers), &["the ConstantOfShape"]);
}

#[test]
fn an_endless_loop_and_deep_nesting_are_refused() {
    let times = || tensor("times", &[], &[i64::MAX]);
    let constant = doubled(vec![node("Loop", &["times", ""], "y")], vec![times()]);
    refused(&constant, &["the Loop", "iterations"]);
    let until = doubled(vec![node("Loop", &["times", "", "OUTPUT0"], "y")], vec![times()]);
    assert!(check_bytes(&until.encode_to_vec()).is_ok());

    let mut graph = GraphProto::default();
    for _ in 0..40 {
        let mut inner = node("If", &["INPUT0"], "y");
        inner.attribute.push(AttributeProto { g: Some(graph), ..AttributeProto::default() });
        graph = GraphProto { node: vec![inner], ..GraphProto::default() };
    }
    let mut nested = node("If", &["INPUT0"], "y");
    nested.attribute.push(AttributeProto { g: Some(graph), ..AttributeProto::default() });
    refused(&doubled(vec![nested], vec![]), &["nested deeper than 8"]);
}

#[test]
fn tensors_must_have_the_bytes_that_they_state() {
    let raw = |dims: &[i64], len: usize| TensorProto {
        name: Some("w".into()),
        dims: dims.to_vec(),
        data_type: Some(tensor_proto::DataType::Float as i32),
        raw_data: Some(vec![0; len].into()),
        ..TensorProto::default()
    };
    refused(&doubled(vec![], vec![raw(&[2, 2], 15)]), &["initializer 'w'", "15 bytes", "16"]);
    // Large data is passed over, but counted.
    refused(&doubled(vec![], vec![raw(&[5000], 19_999)]), &["19999 bytes", "20000"]);
    refused(&doubled(vec![], vec![raw(&[-1], 4)]), &["initializer 'w'", "-1"]);
    refused(&doubled(vec![], vec![raw(&[1 << 31, 1 << 31], 4)]), &["2147483648"]);
    let large = i64::from(i32::MAX);
    refused(&doubled(vec![], vec![raw(&[large, large, large], 4)]), &["more than can be counted"]);
    refused(&doubled(vec![], vec![tensor("t", &[3], &[1, 2])]), &["2 typed values", "3"]);
    refused(&doubled(vec![], vec![raw(&[], 4), raw(&[], 4)]), &["'w' is defined twice"]);
    assert!(check_bytes(&doubled(vec![], vec![raw(&[5000], 20_000)]).encode_to_vec()).is_ok());
}

#[test]
fn external_data_stays_in_the_models_folder() {
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("secret.data"), [0; 64]).unwrap();
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("weights.data"), [0; 64]).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret.data"), dir.path().join("link.data"))
        .unwrap();
    let external = |location: &str, offset: &str, length: &str| {
        let entry = |key: &str, value: &str| StringStringEntryProto {
            key: Some(key.into()),
            value: Some(value.into()),
        };
        let mut weights = tensor("w", &[4], &[]);
        weights.external_data =
            vec![entry("location", location), entry("offset", offset), entry("length", length)];
        weights.set_data_location(DataLocation::External);
        check_in(&dir, &doubled(vec![], vec![weights]).encode_to_vec())
    };
    assert_eq!(external("weights.data", "32", "32").unwrap().weight_bytes, 32 + 4);
    let cases = [
        ("weights.data", "33", "32", "the file has 64"),
        ("weights.data", "18446744073709551615", "32", "the file has 64"),
        ("weights.data", "0", "31", "31 bytes of external data"),
        ("weights.data", "x", "32", "'x'"),
        ("absent.data", "0", "32", "absent.data"),
        ("../weights.data", "0", "32", "outside"),
        ("link.data", "0", "32", "outside"),
        ("/etc/hostname", "0", "32", "outside"),
        (".", "0", "32", "outside"),
    ];
    for (location, offset, length, word) in cases {
        let refusal = external(location, offset, length).unwrap_err();
        assert!(refusal.contains(word), "'{word}' is not in: {refusal}");
    }
}

#[test]
fn what_is_no_model_says_so() {
    for bytes in [&b""[..], b"not a model", &[0xff; 64], b"\x3a\xff\xff\xff\xff\x0f", b"\x3b"] {
        let refusal = check_bytes(bytes).unwrap_err();
        assert!(refusal.contains("model.onnx"), "{refusal}");
    }
    let error = check(Path::new("/nonexistent/model.onnx")).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/model.onnx"), "{error}");
    assert!(check(Path::new("/")).is_err());
    let mut model = doubled(vec![], vec![]);
    model.opset_import = vec![OperatorSetIdProto { domain: Some("x".into()), version: Some(1) }];
    refused(&model, &["opset_import"]);
    let unsorted = vec![node("Relu", &["later"], "y"), node("Relu", &["INPUT0"], "later")];
    refused(&doubled(unsorted, vec![]), &["input 'later'", "earlier node"]);
}

/// Loads and runs what the check admits. The engine may refuse it; it must not abort.
fn engine_survives(bytes: &[u8], model: &OnnxModel) {
    let Ok(loaded) = rten::Model::load(bytes.to_vec()) else { return };
    let inputs: Option<Vec<_>> = loaded
        .input_ids()
        .iter()
        .zip(&model.inputs)
        .map(|(&id, input)| {
            let shape: Vec<usize> = input
                .dims
                .iter()
                .map(|dim| match dim {
                    Dim::Fixed(size) => *size as usize,
                    Dim::Symbolic(_) => 1,
                })
                .collect();
            let zeros = rten_tensor::Tensor::<f32>::zeros(&shape);
            (input.data_type == DataType::F32).then(|| (id, zeros.into()))
        })
        .collect();
    if let Some(inputs) = inputs {
        let _ = loaded.run(inputs, loaded.output_ids(), None);
    }
}

/// A few kilobytes with one of each kind of layer.
fn small_network() -> Vec<u8> {
    let mut g = GraphBuilder::new("small", 9);
    let x = g.input("x", tensor_proto::DataType::Float, &[3, 12, 12]);
    let x = g.conv("a", &x, Conv::new(4, 3, Relu).stride(2));
    let y = g.conv("b", &x, Conv::new(4, 3, Silu).groups(4));
    let y = g.squeeze_excite(&y, 2, Relu, HardSigmoid);
    let y = g.binary("Add", &x, &y);
    let z = g.pool(&y, Pool::Average, 3, 1, 1);
    let z = g.concat(&[&y, &z]);
    let scales = g.constant("scales", &[4], &[1.0, 1.0, 2.0, 2.0]);
    let z = g.node("Resize", &[z.name(), "", &scales], &[], &[8, 12, 12]);
    let z = g.pool(&z, Pool::Max, 2, 2, 0);
    let shape = g.integers("shape", &[-1, 8, 36]);
    let z = g.node("Reshape", &[z.name(), &shape], &[], &[8, 36]);
    let z = g.linear("c", &z, 5, Gelu);
    let z = g.flatten(&z);
    let z = g.linear("d", &z, 3, Identity);
    g.output("y", &z);
    file::to_bytes(&g.finish())
}

#[test]
fn cut_off_and_flipped_files_are_refused_or_survived() {
    let dir = TempDir::new().unwrap();
    let whole = models::double();
    for len in 0..whole.len() {
        if let Ok(model) = check_in(&dir, &whole[..len]) {
            engine_survives(&whole[..len], &model);
        }
    }
    let mut admitted = 0;
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(model) = check_in(&dir, &flipped) {
            admitted += 1;
            engine_survives(&flipped, &model);
        }
    }
    assert!(admitted > 50, "only {admitted} admitted: the test shows little");
}

#[test]
fn mutated_networks_are_refused_or_survived() {
    let dir = TempDir::new().unwrap();
    let whole = small_network();
    assert!(check_in(&dir, &whole).is_ok());
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(20);
    let (mut admitted, mut refused) = (0, 0);
    for round in 0..1_200 {
        let mutant = if round % 2 == 0 {
            mutate_bytes(&whole, &mut rng)
        } else {
            mutate_numbers(&whole, &mut rng)
        };
        match check_in(&dir, &mutant) {
            Ok(model) => {
                admitted += 1;
                engine_survives(&mutant, &model);
            }
            Err(_) => refused += 1,
        }
    }
    assert!(admitted > 100 && refused > 100, "{admitted} admitted, {refused} refused");
}

/// A few bytes changed, or a piece copied elsewhere.
fn mutate_bytes(whole: &[u8], rng: &mut Xoshiro256PlusPlus) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    if rng.random_bool(0.3) {
        let len = rng.random_range(1..64);
        let from = rng.random_range(0..bytes.len() - len);
        let to = rng.random_range(0..bytes.len() - len);
        bytes.copy_within(from..from + len, to);
    } else {
        for _ in 0..rng.random_range(1..5) {
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.next_u32() as u8;
        }
    }
    bytes
}

/// One number of the structure made extreme.
fn mutate_numbers(whole: &[u8], rng: &mut Xoshiro256PlusPlus) -> Vec<u8> {
    const EXTREMES: [i64; 14] = [
        -1,
        0,
        1,
        7,
        4096,
        65_536,
        1 << 24,
        1 << 31,
        1 << 33,
        1 << 40,
        1 << 62,
        -9,
        i64::MIN,
        i64::MAX,
    ];
    let extreme = EXTREMES[rng.random_range(0..EXTREMES.len())];
    let mut model = ModelProto::decode(whole).unwrap();
    let graph = model.graph.as_mut().unwrap();
    match rng.random_range(0..4) {
        0 => {
            let tensor = rng.random_range(0..graph.initializer.len());
            let dims = &mut graph.initializer[tensor].dims;
            if !dims.is_empty() {
                let at = rng.random_range(0..dims.len());
                dims[at] = extreme;
            }
        }
        1 => {
            let integers = graph.initializer.iter_mut().find(|tensor| tensor.name() == "shape");
            let mut raw = integers.as_ref().unwrap().raw_data().to_vec();
            let at = rng.random_range(0..raw.len() / 8) * 8;
            raw[at..at + 8].copy_from_slice(&extreme.to_le_bytes());
            integers.unwrap().raw_data = Some(raw.into());
        }
        _ => {
            let node = rng.random_range(0..graph.node.len());
            for attribute in &mut graph.node[node].attribute {
                if rng.random_bool(0.4) {
                    attribute.i = attribute.i.map(|_| extreme);
                    if !attribute.ints.is_empty() {
                        let at = rng.random_range(0..attribute.ints.len());
                        attribute.ints[at] = extreme;
                    }
                }
            }
        }
    }
    model.encode_to_vec()
}

/// Tiny messages decode to something much larger: their number is bounded before that.
#[test]
fn floods_of_empty_messages_are_refused_before_they_are_decoded() {
    let flood = |field: u8, count: usize| {
        let graph = [field << 3 | 2, 0].repeat(count);
        let mut bytes = vec![7 << 3 | 2];
        prost::encoding::encode_varint(graph.len() as u64, &mut bytes);
        [bytes, graph].concat()
    };
    let nodes = check_bytes(&flood(1, 1_100_000)).unwrap_err();
    assert!(nodes.contains("more than 1000000 nodes"), "{nodes}");
    let names = [[26, 0].repeat(20 << 20)].concat();
    let mut node = vec![10];
    prost::encoding::encode_varint(names.len() as u64, &mut node);
    let mut model = vec![58];
    prost::encoding::encode_varint((node.len() + names.len()) as u64, &mut model);
    let refusal = check_bytes(&[model, node, names].concat()).unwrap_err();
    assert!(refusal.contains("bytes besides tensors' data"), "{refusal}");
}
