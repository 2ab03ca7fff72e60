//! Builds an ONNX graph node by node. A [`Value`] carries its shape, so that a layer can size its
//! weights from what it is applied to; weights are drawn only when the file is written.

use super::onnx::{
    AttributeProto, GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType, tensor_shape_proto,
    type_proto,
};
use bytes::Bytes;

/// The name of the dynamic dimension that comes first in every input and output.
const BATCH: &str = "batch";

/// A tensor in the graph: its name and the shape of one item, without the batch dimension.
#[derive(Clone, Debug)]
pub struct Value {
    name: String,
    shape: Vec<usize>,
}

impl Value {
    /// Dimensions of one item.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The first dimension of one item: the channels of a feature map.
    pub fn channels(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Names the tensor where it is an input of a node.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A constant tensor of the graph.
#[derive(Clone, Debug)]
pub struct Initializer {
    /// Everything but the data.
    pub header: TensorProto,
    pub data: Data,
}

/// Where a constant's bytes come from.
#[derive(Clone, Debug)]
pub enum Data {
    /// Little-endian, row-major.
    Given(Bytes),
    /// `elements` FP32 values, uniform in ±`bound`, from a generator of their own.
    Random { elements: usize, bound: f32, seed: u64 },
}

impl Initializer {
    /// Bytes of the data.
    pub fn data_bytes(&self) -> usize {
        match &self.data {
            Data::Given(bytes) => bytes.len(),
            Data::Random { elements, .. } => elements * 4,
        }
    }
}

/// A graph that is being built.
#[derive(Debug)]
pub struct GraphBuilder {
    seed: u64,
    graph: GraphProto,
    initializers: Vec<Initializer>,
    /// Trainable values, as publications count them.
    parameters: u64,
    /// Prefix of the names of what is added next.
    scope: String,
}

/// A finished graph: the nodes, and apart from them the constants.
#[derive(Debug)]
pub struct Network {
    pub graph: GraphProto,
    pub initializers: Vec<Initializer>,
    pub parameters: u64,
    pub seed: u64,
}

impl GraphBuilder {
    /// Same name, same seed, same calls: same file.
    pub fn new(name: &str, seed: u64) -> GraphBuilder {
        GraphBuilder {
            seed,
            graph: GraphProto { name: Some(name.into()), ..GraphProto::default() },
            initializers: Vec::new(),
            parameters: 0,
            scope: String::new(),
        }
    }

    /// Names everything that `body` adds `scope/…`.
    pub fn scoped<T>(&mut self, scope: &str, body: impl FnOnce(&mut GraphBuilder) -> T) -> T {
        let outer = self.scope.len();
        self.scope.push_str(scope);
        self.scope.push('/');
        let result = body(self);
        self.scope.truncate(outer);
        result
    }

    /// Adds an input of the graph: `[batch, …shape]`.
    pub fn input(&mut self, name: &str, data_type: DataType, shape: &[usize]) -> Value {
        self.graph.input.push(value_info(name, data_type, shape));
        Value { name: name.into(), shape: shape.to_vec() }
    }

    /// Makes `value` the output `name` of the graph. It must be what the last node gave.
    pub fn output(&mut self, name: &str, value: &Value) {
        self.graph.output.push(value_info(name, DataType::Float, &value.shape));
        if let Some(output) = self.graph.node.last_mut().and_then(|node| node.output.first_mut()) {
            debug_assert_eq!(output, &value.name, "the output is the last node's");
            *output = name.into();
        }
    }

    /// Adds a node with one output of that item shape.
    pub fn node(
        &mut self,
        op_type: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
        shape: &[usize],
    ) -> Value {
        let [value] = self.node_n(op_type, inputs, attributes, [shape]);
        value
    }

    /// Adds a node with an output for each of these item shapes.
    pub fn node_n<const N: usize>(
        &mut self,
        op_type: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
        shapes: [&[usize]; N],
    ) -> [Value; N] {
        let name = format!("{}{op_type}_{}", self.scope, self.graph.node.len());
        let mut index = 0;
        let values = shapes.map(|shape| {
            index += 1;
            let suffix = if N == 1 { String::new() } else { format!("_{index}") };
            Value { name: format!("{name}{suffix}_out"), shape: shape.to_vec() }
        });
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&input| input.into()).collect(),
            output: values.iter().map(|value| value.name.clone()).collect(),
            name: Some(name),
            op_type: Some(op_type.into()),
            attribute: attributes.iter().map(|(name, value)| value.to_proto(name)).collect(),
            ..NodeProto::default()
        });
        values
    }

    /// A trainable tensor with random content, uniform in ±`bound`; gives its name.
    pub fn weight(&mut self, name: &str, dims: &[usize], bound: f32) -> String {
        let elements = dims.iter().product();
        self.parameters += elements as u64;
        // Every tensor has a generator of its own, so that changing one layer leaves the rest.
        let seed = self.seed.wrapping_mul(1 << 20).wrapping_add(self.initializers.len() as u64);
        self.initializer(name, DataType::Float, dims, Data::Random { elements, bound, seed })
    }

    /// Counts parameters that are trained apart but have been merged into others in the file.
    pub fn count_merged_parameters(&mut self, count: usize) {
        self.parameters += count as u64;
    }

    /// A fixed FP32 tensor that is no parameter; gives its name.
    pub fn constant(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(name, DataType::Float, dims, Data::Given(bytes.into()))
    }

    /// A fixed INT64 tensor with one dimension; gives its name.
    pub fn integers(&mut self, name: &str, values: &[i64]) -> String {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(name, DataType::Int64, &[values.len()], Data::Given(bytes.into()))
    }

    fn initializer(&mut self, name: &str, kind: DataType, dims: &[usize], data: Data) -> String {
        let name = format!("{}{name}", self.scope);
        debug_assert!(self.initializers.iter().all(|other| other.header.name() != name), "{name}");
        let header = TensorProto {
            dims: dims.iter().map(|&dim| dim as i64).collect(),
            data_type: Some(kind as i32),
            name: Some(name.clone()),
            ..TensorProto::default()
        };
        self.initializers.push(Initializer { header, data });
        name
    }

    pub fn finish(self) -> Network {
        Network {
            graph: self.graph,
            initializers: self.initializers,
            parameters: self.parameters,
            seed: self.seed,
        }
    }
}

/// The value of a node's attribute.
#[derive(Clone, Debug)]
pub enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Text(&'static str),
}

impl Attribute {
    /// A list of sizes.
    pub fn sizes(sizes: &[usize]) -> Attribute {
        Attribute::Ints(sizes.iter().map(|&size| size as i64).collect())
    }

    fn to_proto(&self, name: &str) -> AttributeProto {
        let mut proto = AttributeProto { name: Some(name.into()), ..AttributeProto::default() };
        let kind = match self {
            Attribute::Int(value) => {
                proto.i = Some(*value);
                AttributeType::Int
            }
            Attribute::Ints(values) => {
                proto.ints.clone_from(values);
                AttributeType::Ints
            }
            Attribute::Float(value) => {
                proto.f = Some(*value);
                AttributeType::Float
            }
            Attribute::Text(value) => {
                proto.s = Some(Bytes::from_static(value.as_bytes()));
                AttributeType::String
            }
        };
        proto.set_type(kind);
        proto
    }
}

fn value_info(name: &str, data_type: DataType, shape: &[usize]) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value as Dim};
    let batch = Dim::DimParam(BATCH.into());
    let fixed = shape.iter().map(|&dim| Dim::DimValue(dim as i64));
    let dim = std::iter::once(batch).chain(fixed).map(|value| Dimension { value: Some(value) });
    let tensor = type_proto::Tensor {
        elem_type: Some(data_type as i32),
        shape: Some(TensorShapeProto { dim: dim.collect() }),
    };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { tensor_type: Some(tensor), ..TypeProto::default() }),
        doc_string: None,
    }
}
