//! TinyBERT (Jiao et al. 2019), the general model with 4 layers of 312, and its pooler.

use super::graph::{Attribute, GraphBuilder, Network, Value};
use super::layers::Activation::*;
use super::onnx::tensor_proto::DataType;

const VOCABULARY: usize = 30_522;
const POSITIONS: usize = 512;
const TOKEN_TYPES: usize = 2;
const HIDDEN: usize = 312;
const HEADS: usize = 12;
const INTERMEDIATE: usize = 1_200;
const LAYERS: usize = 4;
/// Tokens in one item.
const SEQUENCE: usize = 128;

/// `input_ids`, `attention_mask`, `token_type_ids` INT64 [128] to `pooler_output` FP32 [312].
pub fn build(seed: u64) -> Network {
    let mut g = GraphBuilder::new("tinybert", seed);
    let input_ids = g.input("input_ids", DataType::Int64, &[SEQUENCE]);
    let attention_mask = g.input("attention_mask", DataType::Int64, &[SEQUENCE]);
    let token_type_ids = g.input("token_type_ids", DataType::Int64, &[SEQUENCE]);
    let mask = g.scoped("mask", |g| additive_mask(g, &attention_mask));
    let mut x = g.scoped("embeddings", |g| embeddings(g, &input_ids, &token_type_ids));
    for layer in 0..LAYERS {
        x = g.scoped(&format!("encoder.layer.{layer}"), |g| encoder_layer(g, &x, &mask));
    }
    let pooled = g.scoped("pooler", |g| {
        let first = g.integers("first", &[0]);
        let axis = [("axis", Attribute::Int(1))];
        let x = g.node("Gather", &[x.name(), &first], &axis, &[1, HIDDEN]);
        let x = g.flatten(&x);
        let x = g.linear("dense", &x, HIDDEN, Identity);
        g.unary("Tanh", &x)
    });
    g.output("pooler_output", &pooled);
    g.finish()
}

/// 0 where a token counts, −10000 where it does not; `[1, 1, 128]`, added to attention scores.
fn additive_mask(g: &mut GraphBuilder, mask: &Value) -> Value {
    let axes = g.integers("axes", &[1, 2]);
    let one = g.constant("one", &[], &[1.0]);
    let penalty = g.constant("penalty", &[], &[-10_000.0]);
    let shape = [1, 1, SEQUENCE];
    let to_float = [("to", Attribute::Int(DataType::Float as i64))];
    let mask = g.node("Unsqueeze", &[mask.name(), &axes], &[], &shape);
    let mask = g.node("Cast", &[mask.name()], &to_float, &shape);
    let absent = g.node("Sub", &[&one, mask.name()], &[], &shape);
    g.node("Mul", &[absent.name(), &penalty], &[], &shape)
}

fn embeddings(g: &mut GraphBuilder, input_ids: &Value, token_type_ids: &Value) -> Value {
    let shape = [SEQUENCE, HIDDEN];
    let words = g.weight("word.weight", &[VOCABULARY, HIDDEN], 1.0);
    let positions = g.weight("position.weight", &[POSITIONS, HIDDEN], 1.0);
    let types = g.weight("token_type.weight", &[TOKEN_TYPES, HIDDEN], 1.0);
    let ids: Vec<i64> = (0..SEQUENCE as i64).collect();
    let ids = g.integers("position_ids", &ids);
    let words = g.node("Gather", &[&words, input_ids.name()], &[], &shape);
    let types = g.node("Gather", &[&types, token_type_ids.name()], &[], &shape);
    let positions = g.node("Gather", &[&positions, &ids], &[], &shape);
    let sum = g.binary("Add", &words, &types);
    let sum = g.binary("Add", &sum, &positions);
    layer_norm(g, "norm", &sum)
}

fn encoder_layer(g: &mut GraphBuilder, x: &Value, mask: &Value) -> Value {
    let attended = g.scoped("attention", |g| attention(g, x, mask));
    let sum = g.binary("Add", &attended, x);
    let x = layer_norm(g, "attention.norm", &sum);
    let inner = g.linear("intermediate", &x, INTERMEDIATE, Gelu);
    let outer = g.linear("output", &inner, HIDDEN, Identity);
    let sum = g.binary("Add", &outer, &x);
    layer_norm(g, "output.norm", &sum)
}

fn attention(g: &mut GraphBuilder, x: &Value, mask: &Value) -> Value {
    const HEAD: usize = HIDDEN / HEADS;
    let split = g.integers("split", &[-1, SEQUENCE as i64, HEADS as i64, HEAD as i64]);
    let join = g.integers("join", &[-1, SEQUENCE as i64, HIDDEN as i64]);
    let scale = g.constant("scale", &[], &[(HEAD as f32).sqrt()]);
    // Keys come transposed, ready for the product.
    let heads = [("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])];
    let [query, key, value] = heads.map(|(name, order)| {
        let y = g.linear(name, x, HIDDEN, Identity);
        let y = g.node("Reshape", &[y.name(), &split], &[], &[SEQUENCE, HEADS, HEAD]);
        let full = [usize::MAX, SEQUENCE, HEADS, HEAD];
        let shape = [full[order[1]], full[order[2]], full[order[3]]];
        g.node("Transpose", &[y.name()], &[("perm", Attribute::sizes(&order))], &shape)
    });
    let scores = [HEADS, SEQUENCE, SEQUENCE];
    let y = g.node("MatMul", &[query.name(), key.name()], &[], &scores);
    let y = g.node("Div", &[y.name(), &scale], &[], &scores);
    let y = g.binary("Add", &y, mask);
    let y = g.node("Softmax", &[y.name()], &[("axis", Attribute::Int(-1))], &scores);
    let y = g.node("MatMul", &[y.name(), value.name()], &[], &[HEADS, SEQUENCE, HEAD]);
    let order = [("perm", Attribute::sizes(&[0, 2, 1, 3]))];
    let y = g.node("Transpose", &[y.name()], &order, &[SEQUENCE, HEADS, HEAD]);
    let y = g.node("Reshape", &[y.name(), &join], &[], &[SEQUENCE, HIDDEN]);
    g.linear("output", &y, HIDDEN, Identity)
}

/// Over the last dimension. The scale is random around zero, which normalises as well as any.
fn layer_norm(g: &mut GraphBuilder, name: &str, x: &Value) -> Value {
    let scale = g.weight(&format!("{name}.weight"), &[HIDDEN], 1.7);
    let bias = g.weight(&format!("{name}.bias"), &[HIDDEN], 0.1);
    let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(1e-12))];
    g.node("LayerNormalization", &[x.name(), &scale, &bias], &attributes, x.shape())
}
