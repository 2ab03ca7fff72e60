//! Tiny ONNX graphs, one per thing an engine must get right.

use bcedge::engine::DataType;
use bcedge::models::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, attribute_proto::AttributeType,
    tensor_shape_proto::Dimension, tensor_shape_proto::dimension::Value, type_proto,
};
use prost::Message;
use std::path::{Path, PathBuf};

/// The dimension a test leaves open.
pub const N: i64 = -1;

pub const FLOAT: i32 = 1;
pub const DOUBLE: i32 = 11;

/// ONNX's number of an element type.
pub fn element_type(data_type: DataType) -> i32 {
    match data_type {
        DataType::F32 => 1,
        DataType::U8 => 2,
        DataType::I8 => 3,
        DataType::I32 => 6,
        DataType::I64 => 7,
        DataType::Bool => 9,
        DataType::F16 => 10,
    }
}

pub fn tensor(name: &str, element_type: i32, dims: &[i64]) -> ValueInfoProto {
    let dim = |&size: &i64| {
        let value = if size == N { Value::DimParam("N".into()) } else { Value::DimValue(size) };
        Dimension { value: Some(value) }
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor_type = type_proto::Tensor { elem_type: Some(element_type), shape: Some(shape) };
    let r#type = TypeProto { tensor_type: Some(tensor_type), ..Default::default() };
    ValueInfoProto { name: Some(name.into()), r#type: Some(r#type), ..Default::default() }
}

pub fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(op.into()),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        name: Some(format!("{op}_{output}")),
        ..Default::default()
    }
}

pub fn with_int(mut node: NodeProto, name: &str, value: i64) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..Default::default()
    });
    node
}

pub fn with_ints(mut node: NodeProto, name: &str, values: &[i64]) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Ints as i32),
        ints: values.to_vec(),
        ..Default::default()
    });
    node
}

pub fn weights(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(FLOAT),
        raw_data: Some(bytemuck::cast_slice::<f32, u8>(values).to_vec().into()),
        ..Default::default()
    }
}

#[derive(Default)]
pub struct Graph {
    pub inputs: Vec<ValueInfoProto>,
    pub outputs: Vec<ValueInfoProto>,
    pub nodes: Vec<NodeProto>,
    pub weights: Vec<TensorProto>,
}

impl Graph {
    pub fn write(self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(format!("{name}.onnx"));
        std::fs::write(&path, self.encode()).unwrap();
        path
    }

    pub fn encode(self) -> Vec<u8> {
        let graph = GraphProto {
            name: Some("test".into()),
            node: self.nodes,
            input: self.inputs,
            output: self.outputs,
            initializer: self.weights,
            ..Default::default()
        };
        let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(17) };
        let model = ModelProto {
            ir_version: Some(8),
            opset_import: vec![opset],
            graph: Some(graph),
            ..Default::default()
        };
        model.encode_to_vec()
    }
}

/// y = x with its last two dimensions exchanged: works for every type, and moves every element.
pub fn transposed(data_type: DataType) -> Graph {
    let t = element_type(data_type);
    Graph {
        inputs: vec![tensor("x", t, &[N, 3, 2])],
        outputs: vec![tensor("y", t, &[N, 2, 3])],
        nodes: vec![with_ints(node("Transpose", &["x"], "y"), "perm", &[0, 2, 1])],
        ..Default::default()
    }
}

/// y = relu(x · w + b): a dense layer, dynamic batch.
pub fn dense(inputs: usize, outputs: usize) -> Graph {
    let (i, o) = (inputs as i64, outputs as i64);
    let wave = |n: usize, scale: f32| -> Vec<f32> {
        (0..n).map(|k| scale * ((k * 37 % 101) as f32 / 50.0 - 1.0)).collect()
    };
    Graph {
        inputs: vec![tensor("x", FLOAT, &[N, i])],
        outputs: vec![tensor("y", FLOAT, &[N, o])],
        nodes: vec![
            node("MatMul", &["x", "w"], "product"),
            node("Add", &["product", "b"], "sum"),
            node("Relu", &["sum"], "y"),
        ],
        weights: vec![
            weights("w", &[i, o], &wave(inputs * outputs, 0.5)),
            weights("b", &[o], &wave(outputs, 0.1)),
        ],
    }
}

/// Two inputs and two outputs of different types and ranks: an embedding of `ids` in a table of
/// ten rows (value = row), and the sign-flipped `image`.
pub fn embedding() -> Graph {
    let table: Vec<f32> = (0..20).map(|k| (k / 2) as f32).collect();
    Graph {
        inputs: vec![
            tensor("ids", element_type(DataType::I64), &[N, 4]),
            tensor("image", FLOAT, &[N, 2, 2]),
        ],
        outputs: vec![tensor("rows", FLOAT, &[N, 4, 2]), tensor("negative", FLOAT, &[N, 2, 2])],
        nodes: vec![
            with_int(node("Gather", &["table", "ids"], "rows"), "axis", 0),
            node("Neg", &["image"], "negative"),
        ],
        weights: vec![weights("table", &[10, 2], &table)],
    }
}
