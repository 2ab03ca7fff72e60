//! Plans are served: values, batches, types, several instances, and nothing is left behind.

use crate::support::{Appliance, Caller, Count, Kind, Mock, MockPlan, Version};
use bcedge::client::Pending;
use bcedge::client::infer::{InferRequest, Input, InputData};
use bcedge::server::proto::ModelInferResponse;
use bcedge::telemetry::Command;
use bcedge::telemetry::snapshot::ModelState;
use bytes::Bytes;
use half::f16;
use std::path::Path;

/// Serves `models` on the pretended machine, with more fields of config.ron. Where a model has no
/// policy of its own, batches grow with the queue.
pub fn serve(mock: &Mock, fields: &str, models: &str) -> Appliance {
    let fields = format!("policy: Deadline, {fields} models: [{models}]");
    Appliance::start_in("", &fields, |command| mock.set_environment(command))
}

/// An entry of config.ron's `models` for a plan.
pub fn model(name: &str, plan: &Path, fields: &str) -> String {
    format!("(name: \"{name}\", slo: Ms(60000), engine: Plan({plan:?}), {fields}),")
}

/// Sends `count` requests at once, each with its own values; all must be answered with theirs. The
/// largest batch that one of them was in.
pub async fn burst(caller: &Caller, model: &str, count: u32) -> u64 {
    let many: Vec<_> = (0..count).map(|value| caller.send(model, value as f32)).collect();
    let mut largest = 0;
    for called in many {
        largest = largest.max(called.answer().await.expect("served").batch);
    }
    largest
}

/// Stops it and looks that nothing of the device is left.
pub async fn stop(mock: &Mock, appliance: Appliance) {
    // The connections of this runtime must go on meanwhile.
    let log = appliance.log();
    let end = tokio::task::spawn_blocking(|| appliance.stop()).await.expect("no panic");
    assert_eq!(end.code(), Some(0), "{log}");
    mock.wait_until_empty();
}

#[tokio::test]
async fn a_plan_is_served_by_every_version() {
    for version in Version::ALL {
        let mock = Mock::new(version);
        let folder = tempfile::tempdir().unwrap();
        let plan = MockPlan::double(version, 8, 2).write(folder.path(), "double");
        let appliance = serve(&mock, "", &model("double", &plan, ""));
        let caller = Caller::new(&appliance).await;
        let shown = caller.model("double").await;
        assert_eq!(shown.state, ModelState::Ready, "{version:?}\n{}", appliance.log());
        assert_eq!((shown.platform.as_str(), shown.max_batch), ("tensorrt_plan", 8));
        for value in 0..20 {
            caller.infer("double", value as f32).await.expect("served");
        }
        assert!(burst(&caller, "double", 200).await > 1, "{version:?}: no batches");
        assert_eq!(mock.live(Kind::Engine), 1, "the weights are there once");
        assert!(mock.live(Kind::Context) >= 1 && mock.count(Count::Runs) > 20);
        assert!(mock.count(Count::WriteCombined) > 0 && mock.count(Count::Wakes) > 0);
        stop(&mock, appliance).await;
    }
}

/// Sends one request with raw tensors.
fn send(caller: &Caller, model: &str, inputs: Vec<Input>) -> Pending {
    let request = InferRequest { model: model.into(), slo_us: None, inputs, outputs: Vec::new() };
    caller.client.send(&request.call()).expect("the connection is up")
}

/// The raw outputs of a request.
async fn outputs(pending: Pending) -> Vec<Bytes> {
    let reply: ModelInferResponse = pending.reply().await.expect("served");
    reply.raw_output_contents.into_iter().collect()
}

async fn infer(caller: &Caller, model: &str, inputs: Vec<Input>) -> Vec<Bytes> {
    outputs(send(caller, model, inputs)).await
}

fn input(name: &str, datatype: &str, shape: &[i64], data: &[u8]) -> Input {
    Input {
        name: name.into(),
        datatype: datatype.into(),
        shape: shape.into(),
        data: InputData::Inline(Bytes::copy_from_slice(data)),
    }
}

fn bytes<T: bytemuck::NoUninit>(values: &[T]) -> Vec<u8> {
    bytemuck::cast_slice(values).to_vec()
}

#[tokio::test]
async fn every_element_type_goes_there_and_back() {
    let halves = |values: [f32; 4]| bytes(&values.map(f16::from_f32));
    let cases = [
        ("FP32", 0, bytes(&[1.5f32, -2.0, 0.0, 3e30]), bytes(&[3.0f32, -4.0, 0.0, 6e30])),
        ("FP16", 1, halves([1.5, -2.0, 0.0, 100.0]), halves([3.0, -4.0, 0.0, 200.0])),
        ("INT8", 2, bytes(&[1i8, -2, 63, -64]), bytes(&[2i8, -4, 126, -128])),
        ("INT32", 3, bytes(&[1i32, -2, 1 << 29, 0]), bytes(&[2i32, -4, 1 << 30, 0])),
        ("BOOL", 4, vec![1, 0, 1, 1], vec![1, 0, 1, 1]),
        ("UINT8", 5, vec![1, 2, 100, 127], vec![2, 4, 200, 254]),
        ("INT64", 8, bytes(&[1i64, -2, 1 << 40, 0]), bytes(&[2i64, -4, 1 << 41, 0])),
    ];
    for version in Version::ALL {
        let mock = Mock::new(version);
        let folder = tempfile::tempdir().unwrap();
        // TensorRT 8 has no INT64.
        let cases = || cases.iter().filter(|case| version != Version::V8 || case.1 != 8);
        let models = cases().map(|(name, number, ..)| {
            let plan = MockPlan::new(version).line("profile 1 4 4").line("profile 1 4 4");
            let plan = plan.input("x", *number, &[-1, 4]).output("y", *number, &[-1, 4]);
            model(name, &plan.write(folder.path(), name), "max_batch: 4, max_instances: 1")
        });
        let appliance = serve(&mock, "", &models.collect::<String>());
        let caller = Caller::new(&appliance).await;
        for (name, _, data, expected) in cases() {
            let output = infer(&caller, name, vec![input("x", name, &[1, 4], data)]).await;
            assert_eq!(output, [&expected[..]], "{version:?} {name}");
        }
        stop(&mock, appliance).await;
    }
}

#[tokio::test]
async fn several_inputs_and_outputs_keep_their_order_and_their_rows() {
    for version in Version::ALL {
        let mock = Mock::new(version);
        let folder = tempfile::tempdir().unwrap();
        let plan = MockPlan::new(version)
            .input("ids", 3, &[-1, 2])
            .output("first", 3, &[-1, 2])
            .input("image", 0, &[-1, 2, 2])
            .output("second", 0, &[-1, 4])
            .output("third", 0, &[-1, 6])
            .line("profile 1 8 8")
            .line("scratch 4096");
        let plan = plan.write(folder.path(), "many");
        let appliance = serve(&mock, "", &model("many", &plan, "max_instances: 1"));
        let caller = Caller::new(&appliance).await;
        let requests = (0..24).map(|k| {
            let ids = bytes(&[k, k + 100, -k, 7]);
            let image: Vec<f32> = (0..8).map(|i| (k * 8 + i) as f32).collect();
            let inputs = vec![
                input("ids", "INT32", &[2, 2], &ids),
                input("image", "FP32", &[2, 2, 2], &bytes(&image)),
            ];
            (k, send(&caller, "many", inputs))
        });
        for (k, pending) in requests.collect::<Vec<_>>() {
            let outputs = outputs(pending).await;
            assert_eq!(outputs[0], bytes(&[2 * k, 2 * (k + 100), -2 * k, 14]), "{version:?}");
            let twice: Vec<f32> = (0..8).map(|i| 2.0 * (k * 8 + i) as f32).collect();
            assert_eq!(outputs[1], bytes(&twice), "{version:?}");
            // Sources are taken in turn: the third output is made of the ids.
            let third: [i32; 12] = [
                2 * k,
                2 * k + 200,
                2 * k,
                2 * k + 200,
                2 * k,
                2 * k + 200,
                -2 * k,
                14,
                -2 * k,
                14,
                -2 * k,
                14,
            ];
            assert_eq!(outputs[2], bytes(&third.map(|value| value as f32)), "{version:?}");
        }
        stop(&mock, appliance).await;
    }
}

#[tokio::test]
async fn a_plan_that_takes_one_batch_size_is_filled_up() {
    for version in Version::ALL {
        let mock = Mock::new(version);
        let folder = tempfile::tempdir().unwrap();
        let elements = crate::support::ELEMENTS as i64;
        let fixed = MockPlan::new(version)
            .input("INPUT0", 0, &[4, elements])
            .output("OUTPUT0", 0, &[4, elements])
            .line("scratch 256")
            .write(folder.path(), "fixed");
        let high = MockPlan::new(version)
            .input("INPUT0", 0, &[-1, elements])
            .output("OUTPUT0", 0, &[-1, elements])
            .line("profile 4 4 16")
            .line("profile 4 4 16")
            .write(folder.path(), "high");
        let models = model("fixed", &fixed, "max_batch: 8") + &model("high", &high, "max_batch: 8");
        let appliance = serve(&mock, "", &models);
        let caller = Caller::new(&appliance).await;
        for (name, most) in [("fixed", 4), ("high", 8)] {
            let shown = caller.model(name).await;
            assert_eq!((shown.state, shown.max_batch), (ModelState::Ready, most), "{version:?}");
            for value in 0..5 {
                let reply = caller.infer(name, value as f32).await.expect("served");
                assert_eq!(reply.batch, 1, "filling up is not counted");
            }
            assert!(burst(&caller, name, 60).await <= u64::from(most));
        }
        stop(&mock, appliance).await;
    }
}

#[tokio::test]
async fn a_plan_without_a_batch_takes_one_item_a_run() {
    for version in Version::ALL {
        let mock = Mock::new(version);
        let folder = tempfile::tempdir().unwrap();
        let plan = MockPlan::new(version).input("x", 0, &[1, 3]).output("y", 0, &[1, 5]);
        let plan = plan.write(folder.path(), "single");
        let appliance = serve(&mock, "", &model("single", &plan, ""));
        let caller = Caller::new(&appliance).await;
        assert_eq!(caller.model("single").await.max_batch, 1);
        let data = bytes(&[1f32, 2.0, 3.0]);
        for _ in 0..30 {
            let output = infer(&caller, "single", vec![input("x", "FP32", &[1, 3], &data)]).await;
            assert_eq!(output, [&bytes(&[2f32, 4.0, 6.0, 2.0, 4.0])[..]], "{version:?}");
        }
        stop(&mock, appliance).await;
    }
}

#[tokio::test]
async fn instances_run_side_by_side_and_share_the_weights() {
    for version in Version::ALL {
        let mock = Mock::new(version);
        let folder = tempfile::tempdir().unwrap();
        let plan = MockPlan::double(version, 2, 3).write(folder.path(), "double");
        let policy = "max_batch: 2, max_instances: 3, policy: Fixed(batch: 2, instances: 3)";
        let appliance = serve(&mock, "", &model("double", &plan, policy));
        let caller = Caller::new(&appliance).await;
        caller.model_when("double", |m| m.instances_alive == 3).await;
        mock.set_run_us(3_000);
        burst(&caller, "double", 120).await;
        assert_eq!(mock.count(Count::MostRunsAtOnce), 3, "{version:?}");
        assert_eq!(mock.live(Kind::Engine), 1);
        assert_eq!(mock.live(Kind::Stream), 9, "three for each instance");
        stop(&mock, appliance).await;
    }
}

#[tokio::test]
async fn too_few_profiles_for_tensorrt_8_are_told_and_limit_the_instances() {
    let folder = tempfile::tempdir().unwrap();
    let policy = "max_instances: 4, policy: Fixed(batch: 2, instances: 4)";
    for (version, alive) in [(Version::V8, 2), (Version::V10, 4), (Version::V11, 4)] {
        let mock = Mock::new(version);
        let plan = MockPlan::double(version, 2, 2).write(folder.path(), "double");
        let appliance = serve(&mock, "", &model("double", &plan, policy));
        let caller = Caller::new(&appliance).await;
        let shown = caller.model_when("double", |m| m.instances_alive == alive).await;
        assert_eq!(shown.max_instances, alive);
        burst(&caller, "double", 100).await;
        let log = appliance.log();
        let told = log.contains("2 optimisation profiles for 4 instances");
        assert_eq!(told, version == Version::V8, "{log}");
        if told {
            for part in ["--instances 4", "`max_instances: 2`", "TensorRT 8.6.1", "model.plan"] {
                assert!(log.contains(part), "{part:?} is not in: {log}");
            }
        }
        stop(&mock, appliance).await;
    }
}

#[tokio::test]
async fn an_integrated_gpu_uses_the_hosts_memory_in_place() {
    for version in Version::ALL {
        let mock = Mock::new(version).with("MOCK_INTEGRATED", 1);
        let folder = tempfile::tempdir().unwrap();
        let plan = MockPlan::double(version, 8, 2).write(folder.path(), "double");
        let appliance = serve(&mock, "", &model("double", &plan, ""));
        let caller = Caller::new(&appliance).await;
        // The mock ends the process at a copy.
        for _ in 0..5 {
            burst(&caller, "double", 100).await;
        }
        assert_eq!((mock.count(Count::CopiesIn), mock.count(Count::CopiesOut)), (0, 0));
        assert!(appliance.log().contains("shares the host's memory"));
        stop(&mock, appliance).await;
    }
}

#[tokio::test]
async fn unloading_gives_everything_back_and_loading_takes_it_again() {
    for version in Version::ALL {
        let mock = Mock::new(version);
        let folder = tempfile::tempdir().unwrap();
        let plan = MockPlan::double(version, 8, 2).write(folder.path(), "double");
        let appliance = serve(&mock, "", &model("double", &plan, ""));
        let caller = Caller::new(&appliance).await;
        for _ in 0..3 {
            burst(&caller, "double", 50).await;
            let unload = Command::Unload { model: "double".into() };
            caller.client.command(&unload).await.expect("done");
            // The device too: nobody uses it any more.
            mock.wait_until_empty();
            caller.client.command(&Command::Load { model: "double".into() }).await.expect("done");
        }
        // A plan that was built anew is what is served then.
        MockPlan::double(version, 4, 2).write(folder.path(), "double");
        caller.client.command(&Command::Load { model: "double".into() }).await.expect("done");
        let shown = caller.model_when("double", |m| m.max_batch == 4).await;
        assert_eq!(shown.state, ModelState::Ready);
        stop(&mock, appliance).await;
    }
}
