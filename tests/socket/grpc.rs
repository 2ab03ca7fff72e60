//! gRPC through tonic's client: every call, every kind of refusal.

use crate::support::{Appliance, BIG_ELEMENTS, Behaviour, DOUBLE, PATIENCE, Seen, floats};
use bcedge::pipeline::Outcome;
use bcedge::server::proto::infer_parameter::ParameterChoice;
use bcedge::server::proto::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use bcedge::server::proto::*;
use bcedge::telemetry::Command;
use bcedge::units::Nanos;
use bytes::Bytes;
use std::collections::HashMap;
use tonic::Code;

pub fn parameter(choice: ParameterChoice) -> InferParameter {
    InferParameter { parameter_choice: Some(choice) }
}

pub fn input(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        ..InferInputTensor::default()
    }
}

/// One item of `double`.
pub fn double(values: &[f32]) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "double".to_owned(),
        id: "my id".to_owned(),
        inputs: vec![input("x", "FP32", &[values.len() as i64 / 4, 4])],
        raw_input_contents: vec![floats(values)],
        ..ModelInferRequest::default()
    }
}

fn one() -> ModelInferRequest {
    double(&[1.0, 2.0, 3.0, 4.0])
}

#[tokio::test]
async fn infer_gives_the_outputs_and_how_it_went() {
    let appliance = Appliance::start();
    let mut client = appliance.grpc().await;
    let reply = client.model_infer(one()).await.unwrap().into_inner();
    assert_eq!(reply.model_name, "double");
    assert_eq!(reply.model_version, "1");
    assert_eq!(reply.id, "my id");
    assert_eq!(reply.outputs.len(), 1);
    assert_eq!(reply.outputs[0].name, "y");
    assert_eq!(reply.outputs[0].datatype, "FP32");
    assert_eq!(reply.outputs[0].shape, [1, 4]);
    assert_eq!(reply.raw_output_contents, [floats(&[2.0, 4.0, 6.0, 8.0])]);
    let expected = HashMap::from([
        ("queue_us".to_owned(), parameter(ParameterChoice::Int64Param(11))),
        ("compute_us".to_owned(), parameter(ParameterChoice::Int64Param(22))),
        ("batch".to_owned(), parameter(ParameterChoice::Int64Param(1))),
        ("instance".to_owned(), parameter(ParameterChoice::Int64Param(1))),
        ("slo_met".to_owned(), parameter(ParameterChoice::BoolParam(true))),
    ]);
    assert_eq!(reply.parameters, expected);
}

#[tokio::test]
async fn parameters_and_items_reach_the_reactor() {
    let appliance = Appliance::start();
    let mut client = appliance.grpc().await;
    let mut request = double(&[0.5; 12]);
    request.parameters = HashMap::from([
        ("slo_us".to_owned(), parameter(ParameterChoice::Int64Param(25_000))),
        ("timeout".to_owned(), parameter(ParameterChoice::Int64Param(4_000))),
        ("priority".to_owned(), parameter(ParameterChoice::Uint64Param(u64::MAX))),
        (
            "triton_enable_empty_final_response".to_owned(),
            parameter(ParameterChoice::BoolParam(true)),
        ),
        ("anything".to_owned(), parameter(ParameterChoice::StringParam("else".to_owned()))),
    ]);
    let reply = client.model_infer(request).await.unwrap().into_inner();
    assert_eq!(reply.outputs[0].shape, [3, 4]);
    assert_eq!(
        appliance.next_seen(),
        Seen::Request {
            model: DOUBLE,
            items: 3,
            slo: Some(Nanos::from_micros(25_000)),
            timeout: Some(Nanos::from_micros(4_000)),
            priority: u64::MAX,
        }
    );
}

#[tokio::test]
async fn large_tensors_come_back_whole() {
    let appliance = Appliance::start();
    let mut client = appliance.grpc().await.max_decoding_message_size(64 << 20);
    for items in [1, 8] {
        let values: Vec<f32> = (0..items * BIG_ELEMENTS).map(|i| i as f32).collect();
        let request = ModelInferRequest {
            model_name: "big".to_owned(),
            inputs: vec![input("x", "FP32", &[items as i64, BIG_ELEMENTS as i64])],
            raw_input_contents: vec![floats(&values)],
            ..ModelInferRequest::default()
        };
        let reply = client.model_infer(request).await.unwrap().into_inner();
        let doubled: Vec<f32> = values.iter().map(|v| 2.0 * v).collect();
        assert!(reply.raw_output_contents == [floats(&doubled)], "{items} items");
    }
}

fn typed() -> ModelInferRequest {
    let contents = |name: &str| {
        let mut contents = InferTensorContents::default();
        match name {
            "FP32" => contents.fp32_contents = vec![1.5, -2.5],
            "INT64" => contents.int64_contents = vec![i64::MIN, i64::MAX],
            "INT32" => contents.int_contents = vec![i32::MIN, i32::MAX],
            "INT8" => contents.int_contents = vec![-128, 127],
            "UINT8" => contents.uint_contents = vec![0, 255],
            "BOOL" => contents.bool_contents = vec![true, false],
            other => panic!("{other}"),
        }
        contents
    };
    let typed = |name: &str| InferInputTensor {
        contents: Some(contents(name)),
        ..input(&format!("in_{name}"), name, &[2, 1])
    };
    ModelInferRequest {
        model_name: "echo".to_owned(),
        inputs: ["FP32", "INT64", "INT32", "INT8", "UINT8", "BOOL"].map(typed).to_vec(),
        ..ModelInferRequest::default()
    }
}

#[tokio::test]
async fn typed_contents_are_refused_for_fp16_only() {
    let appliance = Appliance::start();
    let mut client = appliance.grpc().await;
    let mut request = typed();
    request.inputs.push(InferInputTensor {
        contents: Some(InferTensorContents {
            fp32_contents: vec![1.0, 2.0],
            ..InferTensorContents::default()
        }),
        ..input("in_FP16", "FP16", &[2, 1])
    });
    let refused = client.model_infer(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(
        refused.message(),
        "input 'in_FP16': FP16 has no typed contents; send raw_input_contents"
    );
}

#[tokio::test]
async fn raw_contents_of_every_type_come_back() {
    let appliance = Appliance::start();
    let mut client = appliance.grpc().await;
    let sizes = [("FP32", 4), ("FP16", 2), ("INT64", 8), ("INT32", 4), ("INT8", 1), ("UINT8", 1)];
    let all: Vec<_> = sizes.into_iter().chain([("BOOL", 1)]).collect();
    let raw: Vec<Bytes> = all
        .iter()
        .enumerate()
        .map(|(i, (_, size))| (0..2 * size).map(|n| (10 * i + n) as u8).collect())
        .collect();
    let wanted = |&(name, _): &(&str, usize)| InferRequestedOutputTensor {
        name: format!("out_{name}"),
        ..InferRequestedOutputTensor::default()
    };
    let request = ModelInferRequest {
        model_name: "echo".to_owned(),
        inputs: all.iter().map(|(t, _)| input(&format!("in_{t}"), t, &[2, 1])).collect(),
        // In the opposite order, and that is the order of the reply.
        outputs: all.iter().rev().map(wanted).collect(),
        raw_input_contents: raw.clone(),
        ..ModelInferRequest::default()
    };
    let reply = client.model_infer(request).await.unwrap().into_inner();
    let names: Vec<_> = reply.outputs.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names[0], "out_BOOL");
    assert_eq!(names[6], "out_FP32");
    assert_eq!(reply.raw_output_contents, raw.into_iter().rev().collect::<Vec<_>>());
}

/// Each line: a request that is wrong in one way, and what the client is told.
#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    let appliance = Appliance::start();
    let mut client = appliance.grpc().await;
    let with = |change: fn(&mut ModelInferRequest)| {
        let mut request = one();
        change(&mut request);
        request
    };
    let cases = [
        (
            with(|r| r.model_name = "nope".to_owned()),
            Code::NotFound,
            "unknown model 'nope'; the models are: double, echo, big, broken, idle",
        ),
        (
            with(|r| r.model_version = "2".to_owned()),
            Code::NotFound,
            "model 'double' has no version '2'; the only one is '1'",
        ),
        (
            with(|r| r.model_name = "broken".to_owned()),
            Code::Unavailable,
            "model 'broken' failed: broken.onnx is missing",
        ),
        (
            with(|r| r.model_name = "idle".to_owned()),
            Code::Unavailable,
            "model 'idle' is not loaded",
        ),
        (
            with(|r| r.inputs[0].name = "z".to_owned()),
            Code::InvalidArgument,
            "model 'double', input 'z': unknown; expected 'x'",
        ),
        (
            with(|r| r.inputs[0].datatype = "INT64".to_owned()),
            Code::InvalidArgument,
            "model 'double', input 'x': expected data type FP32, came INT64",
        ),
        (
            with(|r| r.inputs[0].datatype = "BYTES".to_owned()),
            Code::InvalidArgument,
            "model 'double', input 'x': expected data type FP32, came BYTES; BYTES tensors are not \
             supported",
        ),
        (
            with(|r| r.inputs[0].shape = vec![4]),
            Code::InvalidArgument,
            "model 'double', input 'x': expected shape [1 to 8, 4], the first dimension is the \
             batch; came [4]",
        ),
        (
            with(|r| r.inputs[0].shape = vec![9, 4]),
            Code::InvalidArgument,
            "model 'double', input 'x': expected shape [1 to 8, 4], the first dimension is the \
             batch; came [9, 4]",
        ),
        (
            with(|r| r.inputs[0].shape = vec![-1, 4]),
            Code::InvalidArgument,
            "model 'double', input 'x': expected shape [1 to 8, 4], the first dimension is the \
             batch; came [-1, 4]",
        ),
        (
            with(|r| r.raw_input_contents[0] = floats(&[1.0])),
            Code::InvalidArgument,
            "model 'double', input 'x': expected 16 bytes for shape [1, 4] of FP32, came 4",
        ),
        (
            with(|r| r.inputs.clear()),
            Code::InvalidArgument,
            "raw_input_contents has 1 entries, expected 0: one for each input that is not in shared \
             memory",
        ),
        (
            with(|r| {
                r.inputs.clear();
                r.raw_input_contents.clear();
            }),
            Code::InvalidArgument,
            "model 'double', input 'x': it is missing",
        ),
        (
            with(|r| {
                r.inputs.push(r.inputs[0].clone());
                r.raw_input_contents.push(r.raw_input_contents[0].clone());
            }),
            Code::InvalidArgument,
            "model 'double', input 'x': it came twice",
        ),
        (
            with(|r| r.raw_input_contents.clear()),
            Code::InvalidArgument,
            "input 'x': it has no data; expected raw_input_contents, contents or shared memory",
        ),
        (
            with(|r| {
                r.raw_input_contents.clear();
                let int64_contents = vec![1, 2, 3, 4];
                let typed =
                    InferTensorContents { int64_contents, ..InferTensorContents::default() };
                r.inputs[0].contents = Some(typed);
            }),
            Code::InvalidArgument,
            "input 'x': FP32 belongs in contents.fp32_contents, came in int64_contents",
        ),
        (
            with(|r| {
                r.outputs = vec![InferRequestedOutputTensor {
                    name: "w".to_owned(),
                    ..InferRequestedOutputTensor::default()
                }]
            }),
            Code::InvalidArgument,
            "model 'double', output 'w': unknown; expected 'y'",
        ),
        (
            with(|r| {
                let zero = parameter(ParameterChoice::Int64Param(0));
                r.parameters.insert("slo_us".to_owned(), zero);
            }),
            Code::InvalidArgument,
            "parameter 'slo_us': expected at least 1, came 0",
        ),
        (
            with(|r| {
                let text = parameter(ParameterChoice::StringParam("soon".to_owned()));
                r.parameters.insert("slo_us".to_owned(), text);
            }),
            Code::InvalidArgument,
            "parameter 'slo_us': expected a whole number that is not negative, came the text 'soon'",
        ),
    ];
    for (request, code, message) in cases {
        let refused = client.model_infer(request).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (code, message));
    }
    // The connection is as good as before.
    client.model_infer(one()).await.unwrap();
}

#[tokio::test]
async fn every_outcome_has_its_code() {
    let appliance = Appliance::start();
    let mut client = appliance.grpc().await;
    let millis = Nanos::from_millis;
    let cases = [
        (
            Outcome::QueueFull { bound: 16 },
            Code::ResourceExhausted,
            "its queue is full (16 requests)",
        ),
        (
            Outcome::Infeasible { needed: millis(30), left: millis(20) },
            Code::DeadlineExceeded,
            "an answer would take about 30.0 ms, the deadline is in 20.0 ms",
        ),
        (Outcome::DeadlinePassed, Code::DeadlineExceeded, "the deadline passed"),
        (Outcome::TimedOut, Code::DeadlineExceeded, "timeout passed"),
        (Outcome::EngineFailed, Code::Internal, "the engine failed: no memory"),
        (Outcome::BadInput, Code::InvalidArgument, "can't compute with its input"),
        (Outcome::InstanceLost, Code::Internal, "was lost"),
        (Outcome::ModelNotReady, Code::Unavailable, "it is not ready"),
        (Outcome::ShuttingDown, Code::Unavailable, "shutting down"),
    ];
    for (outcome, code, text) in cases {
        let detail = (outcome == Outcome::EngineFailed).then(|| "no memory".to_owned());
        appliance.behave(Behaviour::Answer(outcome, detail));
        let refused = client.model_infer(one()).await.unwrap_err();
        assert_eq!(refused.code(), code, "{outcome:?}");
        assert!(refused.message().starts_with("model 'double': "), "{}", refused.message());
        assert!(refused.message().contains(text), "{}", refused.message());
    }
}

#[tokio::test]
async fn server_and_model_calls_answer() {
    let appliance = Appliance::start();
    let mut client = appliance.grpc().await;
    assert!(client.server_live(ServerLiveRequest {}).await.unwrap().into_inner().live);
    assert!(client.server_ready(ServerReadyRequest {}).await.unwrap().into_inner().ready);
    let named = |name: &str| ModelReadyRequest { name: name.to_owned(), version: String::new() };
    assert!(client.model_ready(named("double")).await.unwrap().into_inner().ready);
    assert!(!client.model_ready(named("broken")).await.unwrap().into_inner().ready);
    assert!(!client.model_ready(named("nope")).await.unwrap().into_inner().ready, "as Triton says");

    let server = client.server_metadata(ServerMetadataRequest {}).await.unwrap().into_inner();
    assert_eq!(server.name, "bcedge");
    assert!(server.extensions.iter().any(|e| e == "system_shared_memory"));

    let (name, version) = ("double".to_owned(), "1".to_owned());
    let request = ModelMetadataRequest { name: name.clone(), version: version.clone() };
    let model = client.model_metadata(request).await.unwrap().into_inner();
    assert_eq!((model.versions[0].as_str(), model.platform.as_str()), ("1", "synthetic_table"));
    assert_eq!(model.inputs[0].shape, [-1, 4]);

    let request = ModelConfigRequest { name: name.clone(), version: version.clone() };
    let config = client.model_config(request).await.unwrap().into_inner().config.unwrap();
    assert_eq!(config.max_batch_size, 8);
    assert_eq!(config.input[0].dims, [4]);
    let request = ModelConfigRequest { name: "echo".to_owned(), version };
    let config = client.model_config(request).await.unwrap().into_inner().config.unwrap();
    assert_eq!((config.max_batch_size, config.scheduling_choice), (0, None));

    let request = ModelStatisticsRequest { name, version: String::new() };
    let found = client.model_statistics(request).await.unwrap().into_inner().model_stats;
    assert_eq!((found.len(), found[0].inference_count, found[0].execution_count), (1, 6, 3));
    let durations = found[0].inference_stats.unwrap();
    assert_eq!(durations.queue, Some(StatisticDuration { count: 5, ns: 40_000 }));
    assert_eq!(durations.compute_infer, Some(StatisticDuration { count: 5, ns: 50_000 }));
    assert_eq!(durations.success, Some(StatisticDuration { count: 5, ns: 90_000 }));
    assert_eq!(durations.fail, Some(StatisticDuration { count: 2, ns: 60_000 }));
    assert_eq!(found[0].last_inference, 1_700_000_000_123);
    let sizes: Vec<_> =
        found[0].batch_stats.iter().map(|b| (b.batch_size, b.compute_infer.unwrap())).collect();
    let duration = |count, ns| StatisticDuration { count, ns };
    assert_eq!(sizes, [(1, duration(2, 30_000)), (4, duration(1, 20_000))]);
    let all = client.model_statistics(ModelStatisticsRequest::default()).await.unwrap();
    assert_eq!(all.into_inner().model_stats.len(), 3);
}

#[tokio::test]
async fn repository_calls_reach_the_reactor() {
    let appliance = Appliance::start();
    let mut client = appliance.grpc().await;
    let all = client.repository_index(RepositoryIndexRequest::default()).await.unwrap();
    let states: Vec<_> = all.into_inner().models.into_iter().map(|m| (m.state, m.reason)).collect();
    assert_eq!(states[0], ("READY".to_owned(), String::new()));
    assert_eq!(states[3], ("UNAVAILABLE".to_owned(), "broken.onnx is missing".to_owned()));
    let only_ready = RepositoryIndexRequest { ready: true, ..RepositoryIndexRequest::default() };
    let ready = client.repository_index(only_ready).await.unwrap().into_inner().models;
    assert_eq!(ready.len(), 3);

    let model = "idle".to_owned();
    let load = RepositoryModelLoadRequest { model_name: model.clone(), ..Default::default() };
    client.repository_model_load(load).await.unwrap();
    assert_eq!(appliance.next_seen(), Seen::Command(Command::Load { model: model.clone() }));
    let unload = RepositoryModelUnloadRequest { model_name: model.clone(), ..Default::default() };
    client.repository_model_unload(unload).await.unwrap();
    assert_eq!(appliance.next_seen(), Seen::Command(Command::Unload { model }));

    let load = |name: &str| RepositoryModelLoadRequest {
        model_name: name.to_owned(),
        ..RepositoryModelLoadRequest::default()
    };
    let failed = client.repository_model_load(load("broken")).await.unwrap_err();
    assert_eq!((failed.code(), failed.message()), (Code::Internal, "broken.onnx is missing"));
    let unknown = client.repository_model_load(load("nothing")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let mut other_config = load("double");
    let config = ModelRepositoryParameter {
        parameter_choice: Some(model_repository_parameter::ParameterChoice::StringParam(
            "{}".to_owned(),
        )),
    };
    other_config.parameters.insert("config".to_owned(), config);
    let refused = client.repository_model_load(other_config).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
}

#[tokio::test]
async fn what_is_not_there_is_refused_in_words() {
    let appliance = Appliance::start();
    let mut client = appliance.grpc().await;
    let refused = client.trace_setting(TraceSettingRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("not supported"));
    let cuda = client.cuda_shared_memory_register(CudaSharedMemoryRegisterRequest::default());
    assert_eq!(cuda.await.unwrap_err().code(), Code::Unimplemented);
    let cuda = client.cuda_shared_memory_unregister(CudaSharedMemoryUnregisterRequest::default());
    cuda.await.unwrap();
    let cuda = client.cuda_shared_memory_status(CudaSharedMemoryStatusRequest::default());
    assert!(cuda.await.unwrap().into_inner().regions.is_empty());

    let settings = client.log_settings(LogSettingsRequest::default()).await.unwrap();
    assert_eq!(settings.into_inner().settings.len(), 6);
    let value = log_settings_request::SettingValue {
        parameter_choice: Some(log_settings_request::setting_value::ParameterChoice::Uint32Param(
            1,
        )),
    };
    let request = LogSettingsRequest { settings: [("log_verbose_level".to_owned(), value)].into() };
    // This server was made without a way to change its log.
    assert_eq!(client.log_settings(request).await.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_stream_answers_in_the_order_of_its_requests() {
    let appliance = Appliance::start();
    let mut client = appliance.grpc().await;
    let mut requests: Vec<ModelInferRequest> = (0..20)
        .map(|n| ModelInferRequest { id: n.to_string(), ..double(&[n as f32; 4]) })
        .collect();
    requests[7].model_name = "nope".to_owned();
    let sent = requests.len();
    let mut replies =
        client.model_stream_infer(Iter(requests.into_iter())).await.unwrap().into_inner();
    for n in 0..sent {
        let reply = replies.message().await.unwrap().expect("one reply for each request");
        let response = reply.infer_response.unwrap();
        assert_eq!(response.id, n.to_string());
        assert_eq!(
            response.parameters["triton_final_response"],
            parameter(ParameterChoice::BoolParam(true))
        );
        if n == 7 {
            assert!(reply.error_message.starts_with("unknown model 'nope'"));
        } else {
            assert_eq!(reply.error_message, "");
            assert_eq!(response.raw_output_contents, [floats(&[2.0 * n as f32; 4])]);
        }
    }
    assert!(replies.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_cancelled_call_leaves_the_queue() {
    let appliance = Appliance::start();
    let mut client = appliance.grpc().await;
    appliance.behave(Behaviour::Hold);
    let call = tokio::spawn(async move { client.model_infer(one()).await });
    assert!(matches!(appliance.next_seen_async().await, Seen::Request { .. }));
    call.abort();
    assert_eq!(appliance.next_seen_async().await, Seen::Cancelled);
}

#[tokio::test]
async fn a_dropped_stream_leaves_the_queue() {
    let appliance = Appliance::start();
    let mut client = appliance.grpc().await;
    appliance.behave(Behaviour::Hold);
    let replies = tokio::time::timeout(
        PATIENCE,
        client.model_stream_infer(Iter(vec![one(), one()].into_iter())),
    )
    .await
    .expect("the stream opens before the first reply")
    .unwrap();
    for _ in 0..2 {
        assert!(matches!(appliance.next_seen_async().await, Seen::Request { .. }));
    }
    drop(replies);
    drop(client);
    for _ in 0..2 {
        assert_eq!(appliance.next_seen_async().await, Seen::Cancelled);
    }
}

/// An iterator as a stream of requests.
struct Iter<I>(I);

impl<I: Iterator + Unpin> futures_core::Stream for Iter<I> {
    type Item = I::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<I::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}
