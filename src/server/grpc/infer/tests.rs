use super::*;

/// The reply is written by hand so that tensors need no copy; it must be what prost would write.
#[test]
fn encoding_by_hand_is_prosts_encoding() {
    let lens = [
        vec![],
        vec![0],
        vec![16],
        vec![LARGEST_COPIED_BYTES],
        vec![LARGEST_COPIED_BYTES + 1],
        vec![0, 602_112, 3, LARGEST_COPIED_BYTES + 1, 0],
    ];
    for lens in lens {
        let tensor = |len: &usize| Bytes::from((0..*len).map(|i| i as u8).collect::<Vec<_>>());
        let response = ModelInferResponse {
            model_name: "m".to_owned(),
            model_version: "1".to_owned(),
            id: "an id".to_owned(),
            parameters: [("batch".to_owned(), int(3))].into(),
            outputs: vec![InferOutputTensor { name: "y".to_owned(), ..Default::default() }],
            raw_output_contents: lens.iter().map(tensor).collect(),
        };
        let expected = response.encode_to_vec();
        let pieces = encode(response, u64::MAX).unwrap();
        let large = lens.iter().filter(|&&len| len > LARGEST_COPIED_BYTES).count();
        assert!(pieces.len() <= 1 + 2 * large, "{} pieces", pieces.len());
        let bytes = pieces.concat();
        assert_eq!(bytes[0], 0);
        assert_eq!(bytes[1..5], (expected.len() as u32).to_be_bytes());
        assert!(bytes[5..] == expected, "{lens:?}");
    }
}

#[test]
fn a_response_larger_than_a_message_is_refused() {
    let response = ModelInferResponse {
        raw_output_contents: vec![Bytes::from(vec![0; 100])],
        ..ModelInferResponse::default()
    };
    let refusal = encode(response, 101).unwrap_err();
    assert_eq!(refusal.code, Code::TooLarge);
    assert!(refusal.message.contains("has 102 bytes, max_message_bytes allows 101"));
}
