//! Tensors in system shared memory.

use crate::grpc::{input, parameter};
use crate::support::{Appliance, BIG_ELEMENTS, floats};
use bcedge::server::proto::grpc_inference_service_client::GrpcInferenceServiceClient;
use bcedge::server::proto::infer_parameter::ParameterChoice;
use bcedge::server::proto::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use bcedge::server::proto::*;
use serde_json::json;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use tonic::transport::Channel;
use tonic::{Code, Status};

const BYTES: u64 = 4 * BIG_ELEMENTS as u64;

/// A shared memory object of this test, removed at its end.
struct Object {
    name: String,
    file: File,
}

impl Object {
    fn new(test: &str, size: u64) -> Object {
        let name = format!("bcedge-test-{}-{test}", std::process::id());
        let path = format!("/dev/shm/{name}");
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).open(path).expect("create");
        file.set_len(size).expect("resize");
        Object { name, file }
    }

    fn key(&self) -> String {
        format!("/{}", self.name)
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(format!("/dev/shm/{}", self.name));
    }
}

type Client = GrpcInferenceServiceClient<Channel>;

async fn register(
    client: &mut Client,
    name: &str,
    key: &str,
    offset: u64,
    byte_size: u64,
) -> Result<(), Status> {
    let (name, key) = (name.to_owned(), key.to_owned());
    let request = SystemSharedMemoryRegisterRequest { name, key, offset, byte_size };
    client.system_shared_memory_register(request).await.map(drop)
}

fn place(region: &str, offset: i64, byte_size: u64) -> HashMap<String, InferParameter> {
    HashMap::from([
        (
            "shared_memory_region".to_owned(),
            parameter(ParameterChoice::StringParam(region.to_owned())),
        ),
        ("shared_memory_offset".to_owned(), parameter(ParameterChoice::Int64Param(offset))),
        (
            "shared_memory_byte_size".to_owned(),
            parameter(ParameterChoice::Int64Param(byte_size as i64)),
        ),
    ])
}

fn request(input_offset: i64, output_offset: i64) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "big".to_owned(),
        inputs: vec![InferInputTensor {
            parameters: place("both", input_offset, BYTES),
            ..input("x", "FP32", &[1, BIG_ELEMENTS as i64])
        }],
        outputs: vec![InferRequestedOutputTensor {
            name: "y".to_owned(),
            parameters: place("both", output_offset, BYTES),
        }],
        ..ModelInferRequest::default()
    }
}

#[tokio::test]
async fn tensors_go_through_shared_memory_both_ways() {
    let appliance = Appliance::start();
    let mut client = appliance.grpc().await;
    let object = Object::new("both-ways", 4096 + 2 * BYTES);
    let values: Vec<f32> = (0..BIG_ELEMENTS).map(|i| i as f32).collect();
    object.file.write_all_at(&floats(&values), 4096).unwrap();
    register(&mut client, "both", &object.key(), 4096, 2 * BYTES).await.unwrap();

    let reply = client.model_infer(request(0, BYTES as i64)).await.unwrap().into_inner();
    // One entry for each output, although this one is empty.
    assert_eq!(reply.raw_output_contents, [bytes::Bytes::new()]);
    assert_eq!(reply.outputs[0].parameters, place("both", BYTES as i64, BYTES));
    let mut written = vec![0; BYTES as usize];
    object.file.read_exact_at(&mut written, 4096 + BYTES).unwrap();
    let doubled: Vec<f32> = values.iter().map(|v| 2.0 * v).collect();
    assert!(floats(&doubled) == written);

    let outside = client.model_infer(request(1, BYTES as i64 + 1)).await.unwrap_err();
    assert_eq!(outside.code(), Code::InvalidArgument);
    assert!(outside.message().contains("tensor 'y'"), "{}", outside.message());
    assert!(outside.message().contains("outside the shared memory region 'both'"));
}

#[tokio::test]
async fn a_region_truncated_after_registration_fails_its_request_alone() {
    let appliance = Appliance::start();
    let mut client = appliance.grpc().await;
    let object = Object::new("truncated", 2 * BYTES);
    register(&mut client, "both", &object.key(), 0, 2 * BYTES).await.unwrap();
    client.model_infer(request(0, BYTES as i64)).await.unwrap();
    for size in [BYTES, 100] {
        object.file.set_len(size).unwrap();
        let refused = client.model_infer(request(0, BYTES as i64)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Internal);
        assert!(refused.message().contains("has become shorter"), "{}", refused.message());
        // And nothing was written past the end to make it longer again.
        assert_eq!(object.file.metadata().unwrap().len(), size);
    }
    object.file.set_len(2 * BYTES).unwrap();
    client.model_infer(request(0, BYTES as i64)).await.unwrap();
}

#[tokio::test]
async fn registration_checks_name_size_and_bound() {
    let appliance = Appliance::with(|config| config.max_shared_memory_bytes = 1000);
    let mut client = appliance.grpc().await;
    let object = Object::new("checks", 2000);
    let link = format!("/dev/shm/{}-link", object.name);
    std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
    let link_key = format!("/{}-link", object.name);
    let key = object.key();
    let cases = [
        ("", key.as_str(), 0, 10, Code::InvalidArgument, "needs a name"),
        ("a", "../etc/passwd", 0, 10, Code::InvalidArgument, "not a plain name"),
        ("a", "/a/b", 0, 10, Code::InvalidArgument, "not a plain name"),
        ("a", "..", 0, 10, Code::InvalidArgument, "not a plain name"),
        ("a", "", 0, 10, Code::InvalidArgument, "not a plain name"),
        ("a", "/bcedge-test-absent", 0, 10, Code::InvalidArgument, "No such file"),
        ("a", &link_key, 0, 10, Code::InvalidArgument, "cannot open"),
        ("a", &key, 0, 0, Code::InvalidArgument, "expected at least 1"),
        ("a", &key, 0, 2001, Code::InvalidArgument, "has 2000"),
        ("a", &key, 1995, 10, Code::InvalidArgument, "has 2000"),
        ("a", &key, u64::MAX, 10, Code::InvalidArgument, "has 2000"),
        ("a", &key, 0, 1001, Code::ResourceExhausted, "max_shared_memory_bytes allows (1000)"),
    ];
    for (name, key, offset, size, code, text) in cases {
        let refused = register(&mut client, name, key, offset, size).await.unwrap_err();
        assert_eq!(refused.code(), code, "{key} {offset} {size}: {}", refused.message());
        assert!(refused.message().contains(text), "{} | {text}", refused.message());
    }
    std::fs::remove_file(link).unwrap();

    register(&mut client, "a", &key, 0, 600).await.unwrap();
    let twice = register(&mut client, "a", &key, 0, 10).await.unwrap_err();
    assert!(twice.message().contains("registered already"));
    let too_much = register(&mut client, "b", &key, 0, 401).await.unwrap_err();
    assert_eq!(too_much.code(), Code::ResourceExhausted);
    register(&mut client, "b", &key, 600, 400).await.unwrap();

    let status = |name: &str| SystemSharedMemoryStatusRequest { name: name.to_owned() };
    let all = client.system_shared_memory_status(status("")).await.unwrap().into_inner().regions;
    assert_eq!(all.len(), 2);
    assert_eq!((all["b"].offset, all["b"].byte_size, &all["b"].key), (600, 400, &key));
    assert_eq!(
        client.system_shared_memory_status(status("c")).await.unwrap_err().code(),
        Code::NotFound
    );

    let unregister = |name: &str| SystemSharedMemoryUnregisterRequest { name: name.to_owned() };
    client.system_shared_memory_unregister(unregister("a")).await.unwrap();
    client.system_shared_memory_unregister(unregister("never there")).await.unwrap();
    register(&mut client, "a", &key, 0, 600).await.unwrap();
    client.system_shared_memory_unregister(unregister("")).await.unwrap();
    let all = client.system_shared_memory_status(status("")).await.unwrap().into_inner().regions;
    assert!(all.is_empty());
    let refused = client.model_infer(request(0, 0)).await.unwrap_err();
    assert_eq!(refused.message(), "no shared memory region 'both' is registered");
}

#[tokio::test]
async fn the_same_over_rest() {
    let appliance = Appliance::start();
    let mut client = appliance.rest().await;
    let object = Object::new("rest", 64);
    object.file.write_all_at(&floats(&[1.0, 2.0, 3.0, 4.0]), 0).unwrap();
    let region = "/v2/systemsharedmemory/region/r";
    let body = json!({ "key": object.key(), "offset": 0, "byte_size": 32 }).to_string();
    assert_eq!(client.post(&format!("{region}/register"), body).await.status, 200);
    let known = json!([{ "name": "r", "key": object.key(), "offset": 0, "byte_size": 32 }]);
    assert_eq!(client.get(&format!("{region}/status")).await.json(), known);
    assert_eq!(client.get("/v2/systemsharedmemory/status").await.json(), known);

    let at = |offset: u64| {
        json!({ "shared_memory_region": "r", "shared_memory_offset": offset,
                "shared_memory_byte_size": 16 })
    };
    let request = json!({
        "inputs": [{ "name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": at(0) }],
        "outputs": [{ "name": "y", "parameters": at(16) }],
    });
    let reply = client.post("/v2/models/double/infer", request.to_string()).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert_eq!(reply.json()["outputs"][0]["parameters"], at(16));
    let mut written = [0; 16];
    object.file.read_exact_at(&mut written, 16).unwrap();
    assert_eq!(floats(&[2.0, 4.0, 6.0, 8.0]), written[..]);

    assert_eq!(client.post(&format!("{region}/unregister"), "").await.status, 200);
    assert_eq!(client.get(&format!("{region}/status")).await.status, 404);
    assert_eq!(client.post("/v2/systemsharedmemory/unregister", "").await.status, 200);
    assert_eq!(client.post("/v2/cudasharedmemory/unregister", "").await.status, 200);
    assert_eq!(client.post("/v2/cudasharedmemory/region/r/register", "{}").await.status, 501);
}
