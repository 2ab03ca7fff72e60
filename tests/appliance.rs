//! The real program over its socket: what shows only when all of its parts work together.

#[path = "engines/graphs.rs"]
mod graphs;
mod support;

use bcedge::client::{Client, ClientError};
use bcedge::server::proto;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::Appliance;
use tonic::Code;

/// Snapshots come ten times a second.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(20);

fn raw(values: &[i64]) -> bytes::Bytes {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A request to [`graphs::embedding`] with these ids.
fn grpc_request(ids: &[i64; 4]) -> proto::ModelInferRequest {
    let input =
        |name: &str, datatype: &str, shape: &[i64]| proto::model_infer_request::InferInputTensor {
            name: name.into(),
            datatype: datatype.into(),
            shape: shape.into(),
            ..Default::default()
        };
    proto::ModelInferRequest {
        model_name: "embedding".into(),
        inputs: vec![input("ids", "INT64", &[1, 4]), input("image", "FP32", &[1, 2, 2])],
        raw_input_contents: vec![raw(ids), bytes::Bytes::from_static(&[0; 16])],
        ..Default::default()
    }
}

fn rest_request(ids: &[i64; 4]) -> Value {
    json!({ "inputs": [
        { "name": "ids", "datatype": "INT64", "shape": [1, 4], "data": ids },
        { "name": "image", "datatype": "FP32", "shape": [1, 2, 2], "data": [0, 0, 0, 0] },
    ] })
}

#[tokio::test]
async fn what_the_engine_cannot_compute_with_is_the_clients_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let file = graphs::embedding().write(folder.path(), "embedding");
    let appliance = Appliance::start(&format!(
        "[(name: \"embedding\", engine: Onnx({file:?}), slo: Ms(30000))]"
    ));
    let client = Client::connect(&appliance.socket()).await.unwrap();
    let path = "/v2/models/embedding/infer";
    // Outside the table, and outside what the embedded engine can represent.
    for bad in [10, -11, 1 << 40] {
        let ids = [0, bad, 3, 9];
        let grpc: Result<proto::ModelInferResponse, _> =
            client.unary("ModelInfer", &grpc_request(&ids)).await;
        let Err(ClientError::Status(refused)) = grpc else { panic!("{bad}: {grpc:?}") };
        assert_eq!(refused.code, Code::InvalidArgument, "{refused}");
        assert!(refused.message.starts_with("model 'embedding': "), "{refused}");
        assert!(refused.message.contains(&bad.to_string()), "{refused}");
        let rest = client.post_json::<Value>(path, &rest_request(&ids)).await;
        let Err(ClientError::Http { status, message }) = rest else { panic!("{bad}: {rest:?}") };
        assert_eq!(status, 400, "{message}");
    }
    let good: Value = client.post_json(path, &rest_request(&[0, 1, 3, 9])).await.unwrap();
    assert_eq!(good["outputs"][0]["data"], json!([0, 0, 1, 1, 3, 3, 9, 9].map(f64::from)));

    let model = statistics_with(&client, 1, 6).await;
    assert_eq!((&model["execution_count"], &model["inference_count"]), (&json!(1), &json!(1)));
    assert!(model["last_inference"].as_u64().unwrap() > 1_700_000_000_000, "{model}");
    let batches = model["batch_stats"].as_array().unwrap();
    assert_eq!((batches.len(), &batches[0]["batch_size"]), (1, &json!(1)));
    assert_eq!(batches[0]["compute_infer"]["count"], 1);
    assert!(batches[0]["compute_infer"]["ns"].as_u64().unwrap() > 0, "{model}");
    assert!(appliance.stop().success());
}

/// The model's statistics once they tell of so many requests.
async fn statistics_with(client: &Client, succeeded: u64, failed: u64) -> Value {
    let start = Instant::now();
    loop {
        let all: Value = client.get_json("/v2/models/embedding/stats").await.unwrap();
        let model = &all["model_stats"][0];
        let count = |what: &str| model["inference_stats"][what]["count"].as_u64().unwrap();
        if (count("success"), count("fail")) == (succeeded, failed) {
            return model.clone();
        }
        assert!(start.elapsed() < SNAPSHOT_LIMIT, "{model}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_client_can_change_what_is_logged() {
    let appliance = Appliance::start("[(name: \"a\", engine: Synthetic(()))]");
    let client = Client::connect(&appliance.socket()).await.unwrap();
    let settings: Value = client.get_json("/v2/logging").await.unwrap();
    assert_eq!((&settings["log_info"], &settings["log_verbose_level"]), (&json!(true), &json!(0)));
    assert!(!appliance.log().contains("DEBUG"), "{}", appliance.log());

    let wanted = json!({ "log_verbose_level": 1 });
    let settings: Value = client.post_json("/v2/logging", &wanted).await.unwrap();
    assert_eq!(settings["log_verbose_level"], 1);
    // The transport itself logs each frame at this level.
    let _: Value = client.get_json("/v2/logging").await.unwrap();
    assert!(appliance.log().contains("DEBUG"), "{}", appliance.log());

    let wanted = json!({ "log_verbose_level": 0, "log_info": false, "log_warning": false });
    let _: Value = client.post_json("/v2/logging", &wanted).await.unwrap();
    let before = appliance.log();
    let _: Value = client.get_json("/v2/logging").await.unwrap();
    assert_eq!(appliance.log(), before);
    assert!(appliance.stop().success());
}
