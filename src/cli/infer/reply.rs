//! The reply to one inference request, for people.

use crate::client::infer::parameter_text;
use crate::engine::DataType;
use crate::server::proto::ModelInferResponse;
use half::f16;
use std::fmt::Write;

/// Values shown of an output that is no vector.
const FIRST_VALUES: usize = 8;

/// Outputs with shape, type and values, then the reply's parameters in order of their names. Of an
/// output that is a vector the `top` largest values are shown.
///
/// # Errors
/// When the reply contradicts itself.
pub(super) fn text(reply: &ModelInferResponse, top: usize) -> Result<String, String> {
    let mut text = String::new();
    for (index, output) in reply.outputs.iter().enumerate() {
        let data: &[u8] = reply.raw_output_contents.get(index).map_or(&[], |data| data);
        let shape: Vec<String> = output.shape.iter().map(i64::to_string).collect();
        let _ = writeln!(text, "{}: {} [{}]", output.name, output.datatype, shape.join(", "));
        let Some(data_type) = DataType::from_name(&output.datatype) else {
            let _ = writeln!(text, "  {} bytes", data.len());
            continue;
        };
        let elements =
            output.shape.iter().try_fold(1i64, |n, &d| n.checked_mul(d.max(0))).unwrap_or(i64::MAX);
        if i64::try_from(data.len() / data_type.size()) != Ok(elements) {
            return Err(format!(
                "the reply's output '{}' has {} bytes, which is not its shape [{}] of {}",
                output.name,
                data.len(),
                shape.join(", "),
                output.datatype
            ));
        }
        text.push_str(&values_text(data_type, data, &output.shape, top));
    }
    let mut parameters: Vec<String> = reply
        .parameters
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}: {}", parameter_text(value)?)))
        .collect();
    parameters.sort();
    for parameter in parameters {
        let _ = writeln!(text, "{parameter}");
    }
    Ok(text)
}

fn values_text(data_type: DataType, data: &[u8], shape: &[i64], top: usize) -> String {
    let is_vector = matches!(shape, [n] | [1, n] if *n > 1);
    if !is_vector || top == 0 {
        let shown = data.chunks_exact(data_type.size()).take(FIRST_VALUES);
        let shown: Vec<String> = shown.map(|element| value(data_type, element).1).collect();
        let more = data.len() / data_type.size() > FIRST_VALUES;
        return format!("  {}{}\n", shown.join(" "), if more { " …" } else { "" });
    }
    let mut values: Vec<(usize, (f64, String))> = data
        .chunks_exact(data_type.size())
        .map(|element| value(data_type, element))
        .enumerate()
        .collect();
    // Equal values keep the order of their indices.
    values.sort_by(|(_, (a, _)), (_, (b, _))| b.total_cmp(a));
    let lines = values.iter().take(top).map(|(index, (_, text))| format!("  {index:>6}  {text}\n"));
    lines.collect()
}

/// An element as a number for comparing and as text.
fn value(data_type: DataType, element: &[u8]) -> (f64, String) {
    let mut bytes = [0; 8];
    bytes[..element.len()].copy_from_slice(element);
    let [b0, b1, b2, b3, ..] = bytes;
    let float = |value: f32| (f64::from(value), value.to_string());
    let integer = |value: i64| (value as f64, value.to_string());
    match data_type {
        DataType::F32 => float(f32::from_le_bytes([b0, b1, b2, b3])),
        DataType::F16 => float(f16::from_le_bytes([b0, b1]).to_f32()),
        DataType::I64 => integer(i64::from_le_bytes(bytes)),
        DataType::I32 => integer(i32::from_le_bytes([b0, b1, b2, b3]).into()),
        DataType::I8 => integer(i8::from_le_bytes([b0]).into()),
        DataType::U8 => integer(b0.into()),
        DataType::Bool => (f64::from(b0), (b0 != 0).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::proto::InferParameter;
    use crate::server::proto::infer_parameter::ParameterChoice;
    use crate::server::proto::model_infer_response::InferOutputTensor;

    fn reply(datatype: &str, shape: &[i64], data: Vec<u8>) -> ModelInferResponse {
        let output = InferOutputTensor {
            name: "y".into(),
            datatype: datatype.into(),
            shape: shape.into(),
            ..Default::default()
        };
        let batch = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(4)) };
        ModelInferResponse {
            outputs: vec![output],
            raw_output_contents: vec![data.into()],
            parameters: [("batch".into(), batch)].into(),
            ..Default::default()
        }
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    #[test]
    fn a_vector_shows_its_largest_values() {
        let data = floats(&[0.5, f32::NEG_INFINITY, 3.0, -1.0]);
        let text = text(&reply("FP32", &[1, 4], data), 2).unwrap();
        assert_eq!(text, "y: FP32 [1, 4]\n       2  3\n       0  0.5\nbatch: 4\n");
    }

    #[test]
    fn other_outputs_show_their_first_values() {
        let data: Vec<u8> = (0..20i64).flat_map(|v| v.to_le_bytes()).collect();
        let text = text(&reply("INT64", &[2, 10], data), 5).unwrap();
        assert_eq!(text.lines().nth(1), Some("  0 1 2 3 4 5 6 7 …"));
    }

    #[test]
    fn a_reply_that_contradicts_itself_is_an_error() {
        for shape in [&[1, 5][..], &[i64::MAX, i64::MAX], &[-1, 4]] {
            let text = text(&reply("FP32", shape, floats(&[1.0; 4])), 5).unwrap_err();
            assert!(text.contains("'y' has 16 bytes"), "{text}");
        }
    }
}
