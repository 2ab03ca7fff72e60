//! REST through hyper's client.

use crate::support::{Appliance, BIG_ELEMENTS, Behaviour, DOUBLE, Seen, floats};
use bcedge::pipeline::Outcome;
use bcedge::telemetry::{Command, Snapshot};
use bcedge::units::Nanos;
use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};

const INFER: &str = "/v2/models/double/infer";

fn one() -> Value {
    json!({
        "id": "my id",
        "inputs": [{ "name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4] }],
    })
}

#[tokio::test]
async fn infer_in_json() {
    let appliance = Appliance::start();
    let mut client = appliance.rest().await;
    for data in [json!([1, 2.0, 3e0, 4]), json!([[1, 2, 3, 4]]), json!([[[1], [2]], [[3], [4]]])] {
        let mut request = one();
        request["inputs"][0]["data"] = data;
        let reply = client.post(INFER, request.to_string()).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.headers["content-type"], "application/json");
        assert_eq!(
            reply.json(),
            json!({
                "model_name": "double",
                "model_version": "1",
                "id": "my id",
                "parameters": {
                    "queue_us": 11, "compute_us": 22, "batch": 1, "instance": 1, "slo_met": true,
                },
                "outputs": [
                    { "name": "y", "datatype": "FP32", "shape": [1, 4], "data": [2.0, 4.0, 6.0, 8.0] },
                ],
            })
        );
    }
}

#[tokio::test]
async fn every_type_in_json() {
    let appliance = Appliance::start();
    let mut client = appliance.rest().await;
    let cases = [
        ("FP32", json!([1.5, -3.25])),
        ("FP16", json!([0.5, -2.0])),
        ("INT64", json!([i64::MIN, i64::MAX])),
        ("INT32", json!([i32::MIN, i32::MAX])),
        ("INT8", json!([-128, 127])),
        ("UINT8", json!([0, 255])),
        ("BOOL", json!([true, false])),
    ];
    let input = |(name, data): &(&str, Value)| json!({ "name": format!("in_{name}"), "shape": [2, 1], "datatype": name, "data": data });
    let inputs: Vec<_> = cases.iter().map(input).collect();
    let reply = client.post("/v2/models/echo/infer", json!({ "inputs": inputs }).to_string()).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    let outputs = reply.json()["outputs"].clone();
    for (index, (name, data)) in cases.iter().enumerate() {
        assert_eq!(outputs[index]["datatype"], *name);
        assert_eq!(outputs[index]["data"], *data, "{name}");
    }
}

#[tokio::test]
async fn parameters_and_version_in_the_path() {
    let appliance = Appliance::start();
    let mut client = appliance.rest().await;
    let mut request = one();
    request["parameters"] = json!({
        "slo_us": 25_000, "timeout": 4_000, "priority": 3, "other": null, "more": [1],
    });
    let reply = client.post("/v2/models/double/versions/1/infer", request.to_string()).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    let expected = Seen::Request {
        model: DOUBLE,
        items: 1,
        slo: Some(Nanos::from_micros(25_000)),
        timeout: Some(Nanos::from_micros(4_000)),
        priority: 3,
    };
    assert_eq!(appliance.next_seen(), expected);
    let reply = client.post("/v2/models/double/versions/7/infer", one().to_string()).await;
    assert_eq!(reply.status, 404);
}

fn binary(json: &Value, tensors: &[u8]) -> http::Request<Full<Bytes>> {
    let json = json.to_string();
    http::Request::post("/v2/models/big/infer")
        .header("Inference-Header-Content-Length", json.len())
        .body(Full::new([json.as_bytes(), tensors].concat().into()))
        .unwrap()
}

#[tokio::test]
async fn tensors_in_binary() {
    let appliance = Appliance::start();
    let mut client = appliance.rest().await;
    let values: Vec<f32> = (0..BIG_ELEMENTS).map(|i| i as f32).collect();
    let tensor = floats(&values);
    let doubled = floats(&values.iter().map(|v| 2.0 * v).collect::<Vec<_>>());
    let by_default = json!({
        "parameters": { "binary_data_output": true },
        "inputs": [{
            "name": "x", "shape": [1, BIG_ELEMENTS], "datatype": "FP32",
            "parameters": { "binary_data_size": tensor.len() },
        }],
    });
    let mut by_output = by_default.clone();
    by_output["parameters"]["binary_data_output"] = json!(false);
    by_output["outputs"] = json!([{ "name": "y", "parameters": { "binary_data": true } }]);
    for request in [by_default, by_output] {
        let reply = client.send(binary(&request, &tensor)).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        assert_eq!(reply.headers["content-type"], "application/octet-stream");
        let json_len: usize =
            reply.headers["inference-header-content-length"].to_str().unwrap().parse().unwrap();
        let json: Value = serde_json::from_slice(&reply.body[..json_len]).unwrap();
        assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], doubled.len());
        assert_eq!(json["outputs"][0].get("data"), None);
        assert!(reply.body[json_len..] == doubled);
    }
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    let appliance = Appliance::start();
    let mut client = appliance.rest().await;
    let with = |change: fn(&mut Value)| {
        let mut request = one();
        change(&mut request);
        request.to_string()
    };
    let cases = [
        ("{".to_owned(), "the JSON body: EOF"),
        ("{}".to_owned(), "missing field `inputs`"),
        (with(|r| r["inputs"][0]["data"] = json!([1, 2, 3])), "expected 16 bytes for shape [1, 4]"),
        (with(|r| r["inputs"][0]["data"] = json!([1, "a"])), "input 'x': its data: invalid type"),
        (with(|r| r["inputs"][0]["data"] = json!({})), "expected FP32 or a list of them"),
        (with(|r| r["inputs"][0]["shape"] = json!([2, 4])), "expected 32 bytes for shape [2, 4]"),
        (
            with(|r| r["inputs"][0]["datatype"] = json!("INT8")),
            "expected data type FP32, came INT8",
        ),
        (with(|r| r["inputs"][0]["name"] = json!("w")), "input 'w': unknown; expected 'x'"),
        (
            with(|r| r["inputs"][0]["parameters"] = json!({ "binary_data_size": 1 })),
            "binary_data_size is larger than what is left of the body, 0 bytes",
        ),
        (
            with(|r| r["parameters"] = json!({ "slo_us": -1 })),
            "parameter 'slo_us': expected a whole",
        ),
    ];
    for (body, expected) in cases {
        let reply = client.post(INFER, body).await;
        assert_eq!(reply.status, 400);
        assert!(reply.error().contains(expected), "{} | {expected}", reply.error());
    }
    let reply = client.send(binary(&one(), b"left over")).await;
    assert!(reply.error().contains("9 bytes more than"), "{}", reply.error());
    let range =
        json!([{ "name": "in_UINT8", "shape": [2, 1], "datatype": "UINT8", "data": [1, 256] }]);
    let reply = client.post("/v2/models/echo/infer", json!({ "inputs": range }).to_string()).await;
    assert!(reply.error().contains("invalid value: integer `256`, expected UINT8"));

    let reply = client.post("/v2/models/nope/infer", one().to_string()).await;
    assert_eq!((reply.status, reply.error().contains("unknown model 'nope'")), (404, true));
    let reply = client.post("/v2/models/broken/infer", one().to_string()).await;
    assert_eq!((reply.status, reply.error().contains("broken.onnx is missing")), (503, true));
    let reply = client.get("/v3").await;
    assert_eq!((reply.status, reply.error().contains("nothing is at '/v3'")), (404, true));
    let reply = client.get(INFER).await;
    assert_eq!((reply.status, reply.error().contains("does not take GET")), (405, true));
}

#[tokio::test]
async fn every_outcome_has_its_code() {
    let appliance = Appliance::start();
    let mut client = appliance.rest().await;
    let millis = Nanos::from_millis;
    let cases = [
        (Outcome::QueueFull { bound: 16 }, 429),
        (Outcome::Infeasible { needed: millis(30), left: millis(20) }, 504),
        (Outcome::DeadlinePassed, 504),
        (Outcome::TimedOut, 504),
        (Outcome::EngineFailed, 500),
        (Outcome::BadInput, 400),
        (Outcome::InstanceLost, 500),
        (Outcome::ModelNotReady, 503),
        (Outcome::ShuttingDown, 503),
    ];
    for (outcome, status) in cases {
        appliance.behave(Behaviour::Answer(outcome, None));
        let reply = client.post(INFER, one().to_string()).await;
        assert_eq!(reply.status, status, "{outcome:?}");
        assert!(reply.error().starts_with("model 'double': "), "{}", reply.error());
    }
}

#[tokio::test]
async fn server_and_model_paths_answer() {
    let appliance = Appliance::start();
    let mut client = appliance.rest().await;
    let mut get = async |path: &str| {
        let reply = client.get(path).await;
        (reply.status, reply.json())
    };
    assert_eq!(get("/v2/health/live").await, (200, json!({ "live": true })));
    assert_eq!(get("/v2/health/ready").await, (200, json!({ "ready": true })));
    let (status, server) = get("/v2").await;
    assert_eq!((status, &server["name"]), (200, &json!("bcedge")));

    let model = json!({
        "name": "double",
        "versions": ["1"],
        "platform": "synthetic_table",
        "inputs": [{ "name": "x", "datatype": "FP32", "shape": [-1, 4] }],
        "outputs": [{ "name": "y", "datatype": "FP32", "shape": [-1, 4] }],
    });
    assert_eq!(get("/v2/models/double").await, (200, model.clone()));
    assert_eq!(get("/v2/models/double/versions/1").await, (200, model));
    let ready = |name: &str, ready: bool| json!({ "name": name, "ready": ready });
    assert_eq!(get("/v2/models/double/ready").await, (200, ready("double", true)));
    assert_eq!(get("/v2/models/idle/versions/1/ready").await, (503, ready("idle", false)));

    let (status, config) = get("/v2/models/double/config").await;
    assert_eq!(status, 200);
    assert_eq!(config["max_batch_size"], 8);
    assert_eq!(config["input"][0], json!({ "name": "x", "data_type": "TYPE_FP32", "dims": [4] }));
    assert_eq!(config["instance_group"][0]["kind"], "KIND_CPU");
    assert_eq!(config["dynamic_batching"]["preferred_batch_size"], json!([4, 8]));
    assert_eq!(config["version_policy"], json!({ "latest": { "num_versions": 1 } }));
    assert_eq!(config["parameters"]["slo_us"]["string_value"], "100000");

    let (_, one) = get("/v2/models/double/stats").await;
    assert_eq!(
        one["model_stats"][0]["inference_stats"]["queue"],
        json!({ "count": 5, "ns": 40_000 })
    );
    assert_eq!(one["model_stats"][0]["last_inference"], 1_700_000_000_123_u64);
    let none = json!({ "count": 1, "ns": 0 });
    let batches_of_four = json!({
        "batch_size": 4,
        "compute_input": none,
        "compute_infer": { "count": 1, "ns": 20_000 },
        "compute_output": none,
    });
    assert_eq!(one["model_stats"][0]["batch_stats"][1], batches_of_four);
    let (_, all) = get("/v2/models/stats").await;
    assert_eq!(all["model_stats"].as_array().unwrap().len(), 3);
    assert_eq!(get("/v2/models/nope/stats").await.0, 404);
    let (status, trace) = get("/v2/trace/setting").await;
    assert_eq!((status, trace["error"].as_str().unwrap().contains("not supported")), (501, true));
    assert_eq!(get("/v2/logging").await.1["log_info"], true);
}

#[tokio::test]
async fn repository_and_commands_reach_the_reactor() {
    let appliance = Appliance::start();
    let mut client = appliance.rest().await;
    let index = client.post("/v2/repository/index", "").await.json();
    assert_eq!(index.as_array().unwrap().len(), 5);
    assert_eq!(
        index[3],
        json!({ "name": "broken", "version": "1", "state": "UNAVAILABLE",
                "reason": "broken.onnx is missing" })
    );
    let index = client.post("/v2/repository/index", r#"{"ready": true}"#).await.json();
    assert_eq!(index.as_array().unwrap().len(), 3);

    let model = "idle".to_owned();
    assert_eq!(client.post("/v2/repository/models/idle/load", "").await.status, 200);
    assert_eq!(appliance.next_seen(), Seen::Command(Command::Load { model: model.clone() }));
    assert_eq!(client.post("/v2/repository/models/idle/unload", "{}").await.status, 200);
    assert_eq!(appliance.next_seen(), Seen::Command(Command::Unload { model: model.clone() }));
    assert_eq!(client.post("/v2/repository/models/nothing/load", "").await.status, 404);
    appliance.next_seen();

    let command = Command::Override { model, batch: Some(4), instances: None };
    let body = serde_json::to_string(&command).unwrap();
    assert_eq!(client.post("/v2/bcedge/command", body).await.status, 200);
    assert_eq!(appliance.next_seen(), Seen::Command(command));
    let reply = client.post("/v2/bcedge/command", r#"{"dance": {}}"#).await;
    assert_eq!((reply.status, reply.error().contains("dance")), (400, true));

    let reply = client.get("/v2/bcedge/snapshot").await;
    let snapshot: Snapshot = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(snapshot.models[0].counters.ok, 5);
    let metrics = client.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
}

#[tokio::test]
async fn a_client_that_goes_leaves_the_queue() {
    let appliance = Appliance::start();
    let mut client = appliance.rest().await;
    appliance.behave(Behaviour::Hold);
    let call = tokio::spawn(async move { client.post(INFER, one().to_string()).await.status });
    assert!(matches!(appliance.next_seen_async().await, Seen::Request { .. }));
    call.abort();
    assert_eq!(appliance.next_seen_async().await, Seen::Cancelled);
}
