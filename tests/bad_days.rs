//! Bad days of the real program, seen from its socket: engines that fail, files that are broken,
//! memory that goes away, operators who turn every knob under load, and the end.

mod support;

use bcedge::client::infer::{InferRequest, InputData, SharedPlace};
use bcedge::client::{Client, ClientError};
use bcedge::server::proto::{
    RepositoryIndexRequest, RepositoryIndexResponse, SystemSharedMemoryRegisterRequest,
    SystemSharedMemoryRegisterResponse,
};
use bcedge::telemetry::Command;
use bcedge::telemetry::snapshot::ModelState;
use rustix::fs::{Mode, ftruncate};
use rustix::shm;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{Appliance, Caller, ELEMENTS, output_at, request, row};
use tonic::Code;

const DOUBLE_ONNX: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/double.onnx");
const ITEM_BYTES: u64 = 4 * ELEMENTS as u64;

/// An entry of config.ron's `models`: one instance that takes `latency_us` for one item at a time.
fn synthetic(name: &str, latency_us: u64, faults: &str, fields: &str) -> String {
    format!(
        "(name: \"{name}\", slo: Ms(60000), max_batch: 1, max_instances: 1,
          engine: Synthetic((latency_us: [(1, {latency_us})], faults: [{faults}])), {fields})"
    )
}

fn double() -> String {
    format!("(name: \"double\", slo: Ms(60000), engine: Onnx({DOUBLE_ONNX:?}))")
}

/// SIGTERM, and a clean end: whatever the day was like, a thread that hangs included.
async fn stop(appliance: Appliance) {
    // The connections of this runtime must go on meanwhile.
    let end = tokio::task::spawn_blocking(|| appliance.stop()).await.expect("no panic");
    assert_eq!(end.code(), Some(0));
}

#[tokio::test]
async fn sigterm_drains_within_the_bound_and_refuses_the_rest() {
    let model = synthetic("slow", 100_000, "", "queue_bound: 64");
    let appliance = Appliance::start_with("drain_timeout_ms: 2000", &format!("models: [{model}]"));
    let (caller, watcher) = (Caller::new(&appliance).await, Caller::new(&appliance).await);
    // Four seconds of work, and two to drain.
    let requests: Vec<_> = (0..40).map(|i| caller.send("slow", i as f32)).collect();
    watcher.model_when("slow", |m| m.queue_depth + m.instances_running == 40).await;
    let terminated = Instant::now();
    appliance.terminate();
    while UnixStream::connect(appliance.socket()).is_ok() {
        assert!(terminated.elapsed() < Duration::from_secs(1), "it still accepts");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let (mut done, mut refused) = (0, 0);
    for request in requests {
        match request.answer().await {
            Ok(_) => done += 1,
            Err(status) => {
                assert_eq!(status.code, Code::Unavailable, "{status}");
                assert!(status.message.contains("shutting down"), "{status}");
                refused += 1;
            }
        }
    }
    let socket = appliance.socket();
    stop(appliance).await;
    assert!(done >= 2 && refused >= 2, "{done} done, {refused} refused");
    let took = terminated.elapsed();
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(5), "{took:?}");
    assert!(!socket.exists(), "the socket file is left behind");
}

#[tokio::test]
async fn sigterm_waits_for_what_can_be_done_in_time_and_no_longer() {
    let model = synthetic("slow", 50_000, "", "");
    let appliance = Appliance::start_with("drain_timeout_ms: 30000", &format!("models: [{model}]"));
    // The second connection has nothing under way: it must not hold up the end.
    let (caller, watcher) = (Caller::new(&appliance).await, Caller::new(&appliance).await);
    let requests: Vec<_> = (0..6).map(|i| caller.send("slow", i as f32)).collect();
    watcher.model_when("slow", |m| m.counters.received == 6).await;
    let terminated = Instant::now();
    appliance.terminate();
    for request in requests {
        request.answer().await.expect("accepted, so answered");
    }
    stop(appliance).await;
    assert!(terminated.elapsed() < Duration::from_secs(10), "{:?}", terminated.elapsed());
}

/// The second batch of `faulty` meets `fault`; what it and the others get.
async fn second_batch_meets(fault: &str, reason: &str) {
    let models = [
        synthetic("faulty", 1_000, &format!("(2, {fault})"), ""),
        synthetic("sound", 1_000, "", ""),
    ];
    // A panic may take a while to print where it came from, and is no hang.
    let hang_floor_ms = if fault == "Hang" { 300 } else { 10_000 };
    let models = models.join(",");
    let fields = format!("scheduler: (hang_floor_ms: {hang_floor_ms}), models: [{models}]");
    let appliance = Appliance::start_with("", &fields);
    let caller = Caller::new(&appliance).await;
    caller.infer("faulty", 1.0).await.expect("the first batch is sound");
    let struck = caller.send("faulty", 2.0);
    caller.infer("sound", 3.0).await.expect("another model's trouble");
    let status = struck.answer().await.expect_err("the second batch fails");
    assert_eq!(status.code, Code::Internal, "{status}");
    assert!(status.message.contains("'faulty'"), "{status}");
    assert!(status.message.contains(reason), "{status}");

    for value in 4..8 {
        caller.infer("faulty", value as f32).await.expect("it serves again");
    }
    let model = caller.model_when("faulty", |m| m.counters.ok == 5).await;
    assert_eq!(model.state, ModelState::Ready);
    assert_eq!((model.counters.failed, model.counters.replaced), (1, 1));
    assert_eq!(model.instances_alive, 1);
    assert_eq!(caller.counts("faulty").await, (5, 1));
    stop(appliance).await;
}

#[tokio::test]
async fn an_engine_that_errs_fails_its_batch_only_and_is_replaced() {
    second_batch_meets("Fail", "run 2 fails as configured").await;
}

#[tokio::test]
async fn an_engine_that_panics_fails_its_batch_only_and_is_replaced() {
    second_batch_meets("Panic", "run 2 panics as configured").await;
}

#[tokio::test]
async fn an_engine_that_hangs_fails_its_batch_only_and_is_replaced() {
    second_batch_meets("Hang", "the instance").await;
}

#[tokio::test]
async fn models_with_missing_or_corrupt_files_say_why_and_the_others_serve() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let good = std::fs::read(DOUBLE_ONNX).expect(DOUBLE_ONNX);
    std::fs::write(path("garbage.onnx"), [0xff; 4096]).expect("a file");
    std::fs::write(path("cut.onnx"), &good[..good.len() / 2]).expect("a file");
    let broken = ["missing", "garbage", "cut"];
    let models: Vec<String> = broken
        .iter()
        .map(|name| {
            let file = path(&format!("{name}.onnx"));
            format!("(name: \"{name}\", engine: Onnx({file:?}), slo: Ms(60000))")
        })
        .chain([double()])
        .collect();
    let appliance = Appliance::start(&format!("[{}]", models.join(",")));
    let caller = Caller::new(&appliance).await;
    caller.infer("double", 1.0).await.expect("the sound one serves");

    let index: RepositoryIndexResponse = caller
        .client
        .unary("RepositoryIndex", &RepositoryIndexRequest::default())
        .await
        .expect("an index");
    for name in broken {
        let entry = index.models.iter().find(|m| m.name == name).expect("every model is listed");
        assert_eq!(entry.state, "UNAVAILABLE");
        assert!(entry.reason.contains(&format!("{name}.onnx")), "{}", entry.reason);
        let ready = format!("/v2/models/{name}/ready");
        let ready = caller.client.get_json::<serde_json::Value>(&ready).await;
        let error = ready.expect_err("not ready");
        assert!(matches!(error, ClientError::Http { status, .. } if status == 503), "{error}");
        let status = caller.infer(name, 1.0).await.expect_err("nothing can run it");
        assert_eq!(status.code, Code::Unavailable, "{status}");
        assert!(status.message.contains(&format!("{name}.onnx")), "{status}");
    }

    // Repaired and loaded again, it serves; loading one that is still broken says why.
    std::fs::write(path("cut.onnx"), &good).expect("a file");
    let load = |model: &str| Command::Load { model: model.into() };
    caller.client.command(&load("cut")).await.expect("the file is whole now");
    caller.infer("cut", 2.0).await.expect("it serves");
    let error = caller.client.command(&load("garbage")).await.expect_err("still garbage");
    assert!(error.to_string().contains("garbage.onnx"), "{error}");
    stop(appliance).await;
}

#[tokio::test]
async fn a_full_queue_refuses_with_its_bound_and_keeps_what_it_has() {
    let model = synthetic("slow", 300_000, "", "queue_bound: 3");
    let appliance = Appliance::start(&format!("[{model}]"));
    let caller = Caller::new(&appliance).await;
    // A model is ready a moment before its first instance is up.
    caller.infer("slow", 0.0).await.expect("idle");
    let kept: Vec<_> = (0..4).map(|i| caller.send("slow", i as f32)).collect();
    let status = caller.infer("slow", 9.0).await.expect_err("one runs, three wait");
    assert_eq!(status.code, Code::ResourceExhausted, "{status}");
    assert!(status.message.contains("(3 requests)"), "{status}");
    for request in kept {
        request.answer().await.expect("accepted, so answered");
    }
    caller.infer("slow", 5.0).await.expect("there is room again");
    caller.model_when("slow", |m| (m.counters.ok, m.counters.rejected) == (6, 1)).await;
    stop(appliance).await;
}

#[tokio::test]
async fn a_deadline_that_is_past_or_can_not_be_met_is_answered_at_once() {
    let model = synthetic("slow", 300_000, "", "");
    let appliance = Appliance::start(&format!("[{model}]"));
    let caller = Caller::new(&appliance).await;
    let within = |slo_us| InferRequest {
        slo_us: Some(slo_us),
        ..request("slow", InputData::Inline(row(1.0)))
    };
    // A prediction may refuse requests while it has been confirmed within the last second.
    caller.infer("slow", 1.0).await.expect("no hurry");
    let running = caller.send("slow", 1.0);
    for slo_us in [1, 100_000, 400_000] {
        let status = caller.send_request(&within(slo_us), 1.0).answer().await;
        let status = status.expect_err("300 ms of its own, and those of the one that runs");
        assert_eq!(status.code, Code::DeadlineExceeded, "{status}");
        assert!(status.message.contains("deadline"), "{status}");
    }
    // While the other still runs: they were not kept until it was too late.
    caller.model_when("slow", |m| m.counters.expired == 3 && m.counters.ok == 1).await;
    running.answer().await.expect("the one that runs is not touched");
    caller.send_request(&within(10_000_000), 1.0).answer().await.expect("time enough");
    stop(appliance).await;
}

/// Shared memory of one item, registered under its name; the name is gone from the system.
async fn region(client: &Client, name: &str) -> OwnedFd {
    let key = format!("/bcedge-test-{name}-{}", std::process::id());
    let flags = shm::OFlags::CREATE | shm::OFlags::EXCL | shm::OFlags::RDWR;
    let file = shm::open(key.as_str(), flags, Mode::RUSR | Mode::WUSR).expect("shared memory");
    ftruncate(&file, ITEM_BYTES).expect("shared memory");
    let request = SystemSharedMemoryRegisterRequest {
        name: name.into(),
        key: key.clone(),
        offset: 0,
        byte_size: ITEM_BYTES,
    };
    let registered =
        client.unary::<SystemSharedMemoryRegisterResponse>("SystemSharedMemoryRegister", &request);
    let registered = registered.await;
    shm::unlink(key.as_str()).expect("our own");
    registered.expect("registered");
    file
}

#[tokio::test]
async fn a_region_truncated_after_registration_fails_its_own_request_in_the_batch() {
    let appliance = Appliance::start(
        "[(name: \"slow\", engine: Synthetic((latency_us: [(1, 200000)])), slo: Ms(60000),
           max_batch: 4, max_instances: 1, policy: Some(Fixed(batch: 4, instances: 1)))]",
    );
    let caller = Caller::new(&appliance).await;
    let source = region(&caller.client, "source").await;
    let target = region(&caller.client, "target").await;
    let place = |name: &str| SharedPlace { region: name.into(), offset: 0, bytes: ITEM_BYTES };
    let from_source = request("slow", InputData::Shared(place("source")));
    let to_target = InferRequest {
        outputs: vec![output_at(place("target"))],
        ..request("slow", InputData::Inline(row(2.0)))
    };

    // Four that come while the instance is busy are one batch.
    let first = caller.send("slow", 1.0);
    caller.model_when("slow", |m| m.instances_running == 1).await;
    let sound = [caller.send("slow", 3.0), caller.send("slow", 4.0)];
    let shared = [caller.send_request(&from_source, 0.0), caller.send_request(&to_target, 2.0)];
    for file in [&source, &target] {
        ftruncate(file, 8).expect("our own");
    }
    first.answer().await.expect("alone in its batch");
    for request in sound {
        assert_eq!(request.answer().await.expect("its neighbours' trouble").batch, 4);
    }
    for (request, name) in shared.into_iter().zip(["source", "target"]) {
        let status = request.answer().await.expect_err("its memory is gone");
        assert_eq!(status.code, Code::InvalidArgument, "{status}");
        assert!(status.message.contains(&format!("'{name}'")), "{status}");
    }

    for file in [&source, &target] {
        ftruncate(file, ITEM_BYTES).expect("our own");
    }
    rustix::io::pwrite(&source, &row(5.0), 0).expect("our own");
    caller.send_request(&from_source, 5.0).answer().await.expect("whole again");
    caller.send_request(&to_target, 2.0).answer().await.expect("whole again");
    let mut written = [0; ITEM_BYTES as usize];
    rustix::io::pread(&target, &mut written, 0).expect("our own");
    assert_eq!(written[..], row(4.0)[..]);
    stop(appliance).await;
}

/// What became of the requests of one or several workers.
#[derive(Default)]
struct Tally {
    ok: u64,
    refused: Vec<bcedge::client::Status>,
}

/// Eight connections with four requests outstanding on each, until `stop`; each request's values
/// are its own.
async fn under_load<T>(
    appliance: &Appliance,
    model: &'static str,
    meanwhile: impl Future<Output = T>,
) -> (Tally, T) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = tokio::task::JoinSet::new();
    for connection in 0..8 {
        let caller = Arc::new(Caller::new(appliance).await);
        for lane in 0..4 {
            let (caller, stop) = (caller.clone(), stop.clone());
            workers.spawn(async move {
                let mut tally = Tally::default();
                let mut value = (connection * 4 + lane) as f32 * 4096.0;
                while !stop.load(Ordering::Relaxed) {
                    match caller.infer(model, value).await {
                        Ok(_) => tally.ok += 1,
                        Err(status) => tally.refused.push(status),
                    }
                    value += 1.0;
                }
                tally
            });
        }
    }
    let result = meanwhile.await;
    stop.store(true, Ordering::Relaxed);
    let mut total = Tally::default();
    for tally in workers.join_all().await {
        total.ok += tally.ok;
        total.refused.extend(tally.refused);
    }
    (total, result)
}

fn busy_model() -> &'static str {
    "[(name: \"busy\", engine: Synthetic((latency_us: [(1, 1000), (8, 2000)])), slo: Ms(60000),
       max_batch: 8, max_instances: 4)]"
}

#[tokio::test]
async fn turning_every_knob_under_load_loses_nothing() {
    let appliance = Appliance::start(busy_model());
    let operator = Caller::new(&appliance).await;
    let model = || "busy".to_owned();
    let commands = [
        Command::SetPolicy { model: None, policy: "fixed".into() },
        Command::Override { model: model(), batch: Some(1), instances: Some(4) },
        Command::SetPolicy { model: Some(model()), policy: "triton".into() },
        Command::Override { model: model(), batch: Some(8), instances: Some(1) },
        Command::NextPolicy { model: Some(model()) },
        Command::Override { model: model(), batch: None, instances: Some(3) },
        Command::ClearOverride { model: model() },
        Command::NextPolicy { model: None },
    ];
    let turning = async {
        for round in 0..10 {
            for command in &commands {
                operator.client.command(command).await.expect("carried out");
                // Now and then long enough for the change to show in the batches.
                tokio::time::sleep(Duration::from_millis(if round % 3 == 0 { 30 } else { 3 }))
                    .await;
            }
        }
        let wrong = Command::Override { model: model(), batch: Some(9), instances: None };
        operator.client.command(&wrong).await.expect_err("max_batch is 8");
    };
    let (tally, ()) = under_load(&appliance, "busy", turning).await;
    assert!(tally.refused.is_empty(), "{:?}", tally.refused.first());
    assert!(tally.ok > 100, "{} requests are no load", tally.ok);
    // The client counted every answer, the server every request: none twice, none missing.
    assert_eq!(operator.counts("busy").await, (tally.ok, 0));
    let shown = operator.model_when("busy", |m| m.counters.ok == tally.ok).await;
    assert_eq!((shown.counters.received, shown.queue_depth), (tally.ok, 0));
    stop(appliance).await;
}

#[tokio::test]
async fn unloading_and_loading_under_load_answers_every_request() {
    let appliance = Appliance::start(busy_model());
    let operator = Caller::new(&appliance).await;
    let reloading = async {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            operator.client.command(&Command::Unload { model: "busy".into() }).await.expect("done");
            let status = operator.infer("busy", 1.0).await.expect_err("it is unloaded");
            assert_eq!(status.code, Code::Unavailable, "{status}");
            operator.client.command(&Command::Load { model: "busy".into() }).await.expect("done");
            operator.infer("busy", 1.0).await.expect("loaded");
            tokio::time::sleep(Duration::from_millis(50)).await;
            // Loading a model that is ready loads it anew, as with Triton.
            operator.client.command(&Command::Load { model: "busy".into() }).await.expect("done");
            operator.infer("busy", 1.0).await.expect("loaded anew");
        }
    };
    let (tally, ()) = under_load(&appliance, "busy", reloading).await;
    // What was running is finished; only what waited, or came while there was no model, is refused.
    for status in &tally.refused {
        assert_eq!(status.code, Code::Unavailable, "{status}");
    }
    assert!(tally.ok > 100 && !tally.refused.is_empty(), "{} done", tally.ok);
    let shown = operator.model_when("busy", |m| m.counters.ok == tally.ok + 10).await;
    assert_eq!((shown.state, shown.queue_depth), (ModelState::Ready, 0));
    assert_eq!(shown.counters.received, shown.counters.ok + shown.counters.rejected);
    operator.infer("busy", 7.0).await.expect("it serves");
    stop(appliance).await;
}
