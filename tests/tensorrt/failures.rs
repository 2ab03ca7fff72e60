//! Every call of CUDA's and TensorRT's fails once, while plans are loaded and while they are served.

use crate::serving::{burst, model, serve};
use crate::support::{Caller, Count, Mock, MockPlan, Version, request, row};
use bcedge::client::ClientError;
use bcedge::client::infer::InputData;
use bcedge::server::proto::ModelInferResponse;
use bcedge::telemetry::snapshot::ModelState;
use std::fs;
use tonic::Code;

/// Calls that loading a plan and making contexts consists of.
const LOADING: [&str; 21] = [
    "cuInit",
    "cuDriverGetVersion",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxRetain",
    "cuCtxSetCurrent",
    "cuMemGetInfo_v2",
    "cuMemAlloc_v2",
    "cuMemHostAlloc",
    "cuMemHostGetDevicePointer_v2",
    "cuStreamCreate",
    "cuStreamSynchronize",
    "cuEventCreate",
    "createInferRuntime",
    "deserializeCudaEngine",
    "createExecutionContext",
    "setInputShape",
    "enqueueV3",
    "cuEventSynchronize",
];

#[test]
fn whatever_fails_while_a_plan_is_loaded_is_an_error_and_leaves_nothing() {
    for (round, version) in Version::ALL.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        MockPlan::double(version, 4, 3).write(folder.path(), "p");
        let config = "(models: [(name: \"p\", engine: Plan(\"p/model.plan\"), max_instances: 2)])";
        fs::write(folder.path().join("config.ron"), config).unwrap();
        let (mut failed, mut survived) = (0, 0);
        for name in LOADING {
            for after in [0, 1, 2, 3, 5, 8] {
                let failure = format!("{name}@{after}");
                let mock = Mock::new(version)
                    .with("MOCK_FAIL", &failure)
                    .with("MOCK_INTEGRATED", usize::from(round == 1));
                let arguments = ["profile", "--quick", "--unguarded", "--point-ms", "1"];
                let (status, said) = mock.run(folder.path(), &arguments);
                let what = format!("{version:?} {failure}: {status:?}\n{said}");
                assert!(!said.contains("panicked") && !said.contains("MOCK MISUSED"), "{what}");
                match status {
                    Some(0) => survived += 1,
                    Some(1) => failed += 1,
                    _ => panic!("{what}"),
                }
                // It was heard of, unless it never came to that call or something gets by without.
                let injected = mock.count(Count::FailedCalls);
                assert!(injected > 0 || status == Some(0), "{what}");
                assert!(
                    mock.all_live().iter().all(|&live| live == 0),
                    "{what}{:?}",
                    mock.all_live()
                );
            }
        }
        // A measurement that fails is told and left out, so that many a run gets to its end.
        assert!(failed > 15 && survived > 10, "{version:?}: {failed} failed, {survived} survived");
    }
}

/// Calls that serving consists of.
const SERVING: [&str; 17] = [
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuEventRecord",
    "cuStreamWaitEvent",
    "cuLaunchHostFunc",
    "cuEventQuery",
    "cuEventSynchronize",
    "cuCtxSetCurrent",
    "setInputShape",
    "enqueueV3",
    "cuGraphLaunch",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuGraphInstantiateWithFlags",
    "cuMemAlloc_v2",
    "cuMemHostAlloc",
    "createExecutionContext",
];

#[tokio::test]
async fn whatever_fails_while_a_plan_is_served_fails_its_batch_only() {
    // A request that fails alone takes its context with it, one of several is tried once more.
    let cases = Version::ALL.into_iter().flat_map(|version| [(version, 1), (version, 4)]);
    for (version, batch) in cases {
        let folder = tempfile::tempdir().unwrap();
        let mock = Mock::new(version);
        let plan = MockPlan::double(version, 4, 3).write(folder.path(), "double");
        let fields = format!("max_instances: 1, policy: Fixed(batch: {batch}, instances: 1)");
        let appliance = serve(&mock, "", &model("double", &plan, &fields));
        let caller = Caller::new(&appliance).await;
        burst(&caller, "double", 100).await;
        let mut errors = 0;
        for name in SERVING {
            for after in [0, 1, 4] {
                let before = mock.count(Count::FailedCalls);
                mock.fail(name, after, 1, 1);
                // Some of them come only now and then: a new context, a graph.
                let mut rounds = 0;
                while mock.count(Count::FailedCalls) == before && rounds < 40 {
                    rounds += 1;
                    let many: Vec<_> = (0..13).map(|k| caller.send("double", k as f32)).collect();
                    for called in many {
                        // Every value is checked; a failure names what failed.
                        if let Err(status) = called.answer().await {
                            assert_eq!(status.code, Code::Internal, "{version:?} {name}: {status}");
                            errors += 1;
                        }
                    }
                }
                mock.fail(name, 0, 1, 0);
                // At once again, or after the pause before a new instance.
                let start = std::time::Instant::now();
                while caller.infer("double", 3.0).await.is_err() {
                    assert!(start.elapsed().as_secs() < 30, "{version:?} {name}: it stays down");
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            }
        }
        assert!(errors > 5, "{version:?}: {errors} errors");
        let shown = caller.model("double").await;
        assert_eq!(shown.state, ModelState::Ready);
        let log = appliance.log();
        assert!(!log.contains("panicked") && !log.contains("MOCK MISUSED"), "{log}");
        crate::serving::stop(&mock, appliance).await;
    }
}

#[tokio::test]
async fn a_failed_enqueue_fails_its_batch_only() {
    for version in Version::ALL {
        let folder = tempfile::tempdir().unwrap();
        let mock = Mock::new(version);
        let plan = MockPlan::double(version, 1, 3).write(folder.path(), "double");
        let appliance =
            serve(&mock, "gpu: (graphs: false),", &model("double", &plan, "max_batch: 1"));
        let caller = Caller::new(&appliance).await;
        caller.infer("double", 1.0).await.expect("served");
        mock.fail("enqueueV3", 0, 1, 1);
        let status = caller.infer("double", 2.0).await.expect_err("it fails");
        assert_eq!(status.code, Code::Internal, "{status}");
        assert!(status.message.contains("fails as asked for"), "TensorRT's own words: {status}");
        for value in 3..20 {
            caller.infer("double", value as f32).await.expect("served");
        }
        let shown = caller.model_when("double", |m| m.counters.replaced == 1).await;
        assert_eq!((shown.counters.failed, shown.state), (1, ModelState::Ready));
        crate::serving::stop(&mock, appliance).await;
    }
}

/// 700: an illegal address; 719: a kernel that failed. Whatever the process does then fails.
#[tokio::test]
async fn an_error_that_only_a_new_process_recovers_from_ends_the_process() {
    let data = row(1.0);
    let calls =
        ["a run on the device", "cuMemcpyHtoDAsync_v2", "cuEventSynchronize", "cuMemAlloc_v2"];
    for (round, name) in calls.into_iter().enumerate() {
        let version = Version::ALL[round % 3];
        let folder = tempfile::tempdir().unwrap();
        let mock = Mock::new(version);
        let plan = MockPlan::double(version, 4, 3).write(folder.path(), "double");
        let other = MockPlan::double(version, 4, 3).write(folder.path(), "other");
        let models = model("double", &plan, "") + &model("other", &other, "");
        let mut appliance = serve(&mock, "", &models);
        let caller = Caller::new(&appliance).await;
        burst(&caller, "double", 20).await;
        let code = if round % 2 == 0 { 700 } else { 719 };
        mock.fail(name, 0, code, 1);
        let mut sent = 0;
        // Until one is refused, or the connection is gone.
        while let Ok(pending) =
            caller.client.send(&request("double", InputData::Inline(data.clone())).call())
        {
            match pending.reply::<ModelInferResponse>().await {
                Ok(_) => {}
                Err(ClientError::Status(status)) => {
                    assert!(matches!(status.code, Code::Unavailable | Code::Internal), "{status}");
                    break;
                }
                Err(_) => break,
            }
            sent += 1;
            if sent == 50 {
                // An allocation happens only when something is loaded.
                let load = bcedge::telemetry::Command::Load { model: "other".into() };
                let _ = caller.client.command(&load).await;
            }
            assert!(sent < 1_000, "{name}: nothing fails");
        }
        let socket = appliance.socket();
        // The connections of this runtime must go on meanwhile.
        let wait = move || {
            let status = appliance.wait();
            (appliance, status)
        };
        let (appliance, status) = tokio::task::spawn_blocking(wait).await.expect("no panic");
        let log = appliance.log();
        assert_eq!(status.code(), Some(75), "{name}\n{log}");
        let last = log.lines().last().unwrap();
        for part in ["bcedge: the GPU can't be used any more", "CUDA_ERROR_", "start it again"] {
            assert!(last.contains(part), "{part:?} is not in: {last}");
        }
        assert!(last.contains(&code.to_string()), "{last}");
        assert!(!log.contains("panicked") && !socket.exists(), "{log}");
    }
}

#[test]
fn a_device_that_is_lost_while_loading_is_told_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let plan = MockPlan::double(Version::V10, 4, 1).write(folder.path(), "p");
    let config =
        format!("(socket: (path: \"a.sock\"), models: [(name: \"p\", engine: Plan({plan:?}))])");
    fs::write(folder.path().join("config.ron"), config).unwrap();
    let mock = Mock::new(Version::V10).with("MOCK_FAIL", "a run on the device=700");
    let (status, said) = mock.run(folder.path(), &["serve", "--headless"]);
    assert_eq!(status, Some(75), "{said}");
    assert!(said.contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{said}");
}
