//! The load generator and `bcedge infer` against a server that does as the test wants.

#[path = "load/fake_server.rs"]
mod fake_server;

use bcedge::client::{Client, ClientError};
use bcedge::load::{self, Load, LoadPlan, LoadReport, ModelRate};
use bcedge::telemetry::snapshot::ModelSnapshot;
use bcedge::telemetry::{self, Snapshot};
use bcedge::workload::{Process, Trace};
use fake_server::{FakeServer, Fate};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tonic::Code;

/// Requests at equal distances, so that their number is known.
fn uniform(server: &FakeServer, rate: f64, seconds: f64) -> LoadPlan {
    let models = vec![ModelRate { model: "double".into(), rate }];
    let load = Load::Open { models, process: Process::Uniform };
    LoadPlan { seconds, ..LoadPlan::new(&server.socket, load) }
}

fn run(plan: &LoadPlan) -> LoadReport {
    let report = load::run(plan, &AtomicBool::new(false), |_| {}).unwrap();
    assert_accounted(&report);
    report
}

/// Every request has exactly one end, and the total is the sum of the models.
fn assert_accounted(report: &LoadReport) {
    let figures = report.models.iter().map(|model| &model.figures);
    for f in figures.clone().chain([&report.total]) {
        assert_eq!(f.sent, f.ok + f.rejected + f.expired + f.failed, "{f:?}");
        assert_eq!(f.latency_us.count, f.ok);
        assert!(f.slo_met.unwrap_or(0) <= f.ok);
    }
    assert_eq!(report.total.sent, figures.map(|f| f.sent).sum::<u64>());
}

fn bcedge(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bcedge")).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into()
}

#[test]
fn every_outcome_is_counted_as_what_it_is() {
    let server = FakeServer::start(
        1_000,
        Box::new(|nth| {
            let fate = match nth % 10 {
                0 => Fate::Error(Code::ResourceExhausted, "queue full at 16"),
                1 => Fate::Error(Code::Unavailable, "shutting down"),
                2 => Fate::Error(Code::DeadlineExceeded, "too late by 5 us"),
                3 => Fate::Error(Code::Internal, "engine failed"),
                4 | 5 => Fate::Doubled { batch: 2 },
                _ => Fate::Doubled { batch: 4 },
            };
            (fate, Duration::ZERO)
        }),
    );
    let mut plan = uniform(&server, 200.0, 1.0);
    plan.slo_us = Some(3_600_000_000);
    let report = run(&plan);
    let total = &report.total;
    let seen = server.seen.lock().unwrap();
    assert_eq!(total.sent, 200);
    assert_eq!((total.rejected, total.expired, total.failed), (40, 20, 20));
    assert_eq!((total.ok, total.ok + 80), (seen.ok, seen.requests as u64));
    // Every answer is in time for an SLO of an hour; the others are not.
    assert_eq!(total.slo_met, Some(120));
    assert_eq!(total.goodput_per_s, Some(120.0));
    // 40 requests in batches of 2 and 80 in batches of 4 are 40 executions.
    assert_eq!(total.mean_batch, Some(3.0));
    // X = (120 × 0.25 + 80 × 4) / 200 = 1.75.
    let utility = (1.0f64 + 120.0 / 1.75).ln();
    assert!((total.utility.unwrap() - utility).abs() < 1e-9, "{:?}", total.utility);
    assert_eq!(report.ended.as_deref(), Some("finished"));
    assert!(seen.slos_us.iter().all(|slo| *slo == Some(3_600_000_000)));
    let errors: Vec<(&str, u64)> =
        report.errors.iter().map(|e| (e.text.as_str(), e.count)).collect();
    assert!(errors.contains(&("queue full at 16 (RESOURCE_EXHAUSTED)", 20)), "{errors:?}");
}

#[test]
fn a_stall_is_charged_to_every_request_that_was_due_meanwhile() {
    // One request at a time, and request 200 of 600 takes a second: a generator that measured from
    // the actual sending would see one slow request.
    let server = FakeServer::start(
        1,
        Box::new(|nth| {
            let stall = if nth == 200 { Duration::from_secs(1) } else { Duration::ZERO };
            (Fate::Doubled { batch: 1 }, stall)
        }),
    );
    let mut plan = uniform(&server, 200.0, 3.0);
    plan.slo_us = Some(400_000);
    let report = run(&plan);
    let total = &report.total;
    assert_eq!((total.sent, total.ok), (600, 600));
    // The 200 requests due in that second waited evenly between 0 and 1 s.
    assert!(total.latency_us.p90 > 600_000, "{:?}", total.latency_us);
    assert!(total.latency_us.p99 > 900_000, "{:?}", total.latency_us);
    assert!(total.slo_met.unwrap() < 490, "{:?}", total.slo_met);
}

#[test]
fn without_an_slo_or_reply_parameters_nothing_is_invented() {
    let server = FakeServer::start(100, Box::new(|_| (Fate::Doubled { batch: 0 }, Duration::ZERO)));
    let report = run(&uniform(&server, 100.0, 0.5));
    let total = &report.total;
    assert_eq!(total.ok, 50);
    assert_eq!((total.slo_met, total.mean_batch, total.utility), (None, None, None));
    assert!(server.seen.lock().unwrap().slos_us.iter().all(Option::is_none));
}

#[test]
fn a_model_is_judged_by_its_own_slo_where_the_server_tells_it() {
    let server = FakeServer::well_behaved();
    let model = ModelSnapshot { name: "double".into(), slo_us: 77_000_000, ..Default::default() };
    let snapshot = Snapshot { models: vec![model], ..Snapshot::default() };
    server.seen.lock().unwrap().snapshot = Some(snapshot);
    let report = run(&uniform(&server, 100.0, 0.3));
    assert_eq!(report.models[0].slo_us, Some(77_000_000));
    assert_eq!(report.total.slo_met, Some(30));
    // It is the server's own, so it is not sent.
    assert!(server.seen.lock().unwrap().slos_us.iter().all(Option::is_none));
}

#[test]
fn snapshots_and_commands_share_the_connection() {
    let server = FakeServer::well_behaved();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::connect(&server.socket).await.unwrap();
        let snapshot = Snapshot { sequence: 7, ..Snapshot::default() };
        server.seen.lock().unwrap().snapshot = Some(snapshot.clone());
        assert_eq!(client.snapshot().await.unwrap(), snapshot);
        let error = client.get_json::<Snapshot>("/v2/other").await.unwrap_err().to_string();
        assert_eq!(error, "HTTP status 404 Not Found: no REST");
        let command = telemetry::Command::Unload { model: "m".into() };
        client.command(&command).await.unwrap();
        assert_eq!(server.seen.lock().unwrap().commands, [r#"{"unload":{"model":"m"}}"#]);
        let error = client.command(&command).await.unwrap_err().to_string();
        assert!(error.ends_with("one is enough"), "{error}");
        client.close();
        assert!(matches!(client.snapshot().await, Err(ClientError::Closed(_))));
    });
}

#[test]
fn a_closed_loop_keeps_its_requests_outstanding() {
    // Nobody is answered: exactly the outstanding requests are ever sent.
    let server = FakeServer::start(1_000, Box::new(|_| (Fate::Silence, Duration::ZERO)));
    let load = Load::Closed { models: vec!["double".into()], concurrency: 7 };
    let plan = LoadPlan { seconds: 60.0, connections: 3, ..LoadPlan::new(&server.socket, load) };
    let stop = AtomicBool::new(false);
    let begun = Instant::now();
    let report = load::run(&plan, &stop, |report| {
        if report.total.sent == 7 {
            stop.store(true, Ordering::Relaxed);
        }
    })
    .unwrap();
    assert_accounted(&report);
    assert_eq!((report.total.sent, report.total.failed), (7, 7));
    assert_eq!(report.errors[0].text, "no answer when the run was over");
    assert_eq!(report.ended.as_deref(), Some("stopped"));
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_closed_loop_without_models_takes_all_that_are_ready() {
    let server = FakeServer::well_behaved();
    let load = Load::Closed { models: vec![], concurrency: 2 };
    let plan = LoadPlan { seconds: 0.3, ..LoadPlan::new(&server.socket, load) };
    let report = run(&plan);
    let names: Vec<&str> = report.models.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["double", "tokens"]);
    assert!(report.models.iter().all(|m| m.figures.ok > 2), "{report:?}");
    assert_eq!(report.total.failed, 0);
}

#[test]
fn a_trace_is_played_to_its_last_line() {
    let server = FakeServer::well_behaved();
    let trace = Trace::parse("0 double\n0.05 tokens\n0.05 double\n0.2 double\n").unwrap();
    let plan =
        LoadPlan { seconds: 60.0, ..LoadPlan::new(&server.socket, Load::Trace(Arc::new(trace))) };
    let report = run(&plan);
    let sent: Vec<u64> = report.models.iter().map(|m| m.figures.sent).collect();
    assert_eq!((sent, report.total.ok), (vec![3, 1], 4));
    assert!((report.seconds - 0.2).abs() < 1e-6);
}

#[test]
fn the_warm_up_is_not_counted() {
    let server = FakeServer::well_behaved();
    let plan = LoadPlan { warmup_seconds: 0.5, ..uniform(&server, 100.0, 0.5) };
    let report = run(&plan);
    assert_eq!(report.total.sent, 50);
    assert_eq!(server.seen.lock().unwrap().requests, 100);
}

#[test]
fn of_a_trace_the_warm_up_is_its_beginning() {
    let server = FakeServer::well_behaved();
    let trace = Trace::parse("0 double\n0.05 double\n0.1 double\n0.2 double\n").unwrap();
    let plan = LoadPlan {
        warmup_seconds: 0.08,
        ..LoadPlan::new(&server.socket, Load::Trace(Arc::new(trace)))
    };
    let report = run(&plan);
    assert_eq!(report.total.sent, 2);
    assert_eq!(server.seen.lock().unwrap().requests, 4);
    assert!((report.seconds - 0.12).abs() < 1e-6, "{}", report.seconds);
    let too_long = LoadPlan { warmup_seconds: 0.3, ..plan };
    let error = load::run(&too_long, &AtomicBool::new(false), |_| {}).unwrap_err();
    assert!(error.contains("the trace ends after 0.2 s, within the warm-up of 0.3 s"), "{error}");
}

#[test]
fn a_server_that_goes_away_ends_the_run() {
    let server = FakeServer::start(
        1_000,
        Box::new(|nth| match nth {
            40 => (Fate::Death, Duration::ZERO),
            // Outstanding when it dies.
            35.. => (Fate::Silence, Duration::ZERO),
            _ => (Fate::Doubled { batch: 1 }, Duration::ZERO),
        }),
    );
    let begun = Instant::now();
    let report = run(&uniform(&server, 100.0, 60.0));
    let ended = report.ended.clone().unwrap();
    assert!(ended.starts_with("the server went away"), "{ended}");
    assert_eq!(report.total.ok, 35);
    assert!(report.total.failed >= 6, "{report:?}");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn shared_memory_is_registered_filled_and_leaves_no_name_behind() {
    let server = FakeServer::well_behaved();
    let plan = LoadPlan { shared_memory: true, ..uniform(&server, 100.0, 0.3) };
    let report = run(&plan);
    assert_eq!(report.total.ok, 30);
    let seen = server.seen.lock().unwrap();
    assert!(!seen.regions.is_empty());
    assert_eq!(seen.unregistered, seen.regions.len());
    for (key, data) in &seen.regions {
        assert!(!std::path::Path::new(&format!("/dev/shm{key}")).exists(), "{key} is left");
        let values = data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
        assert!(values.clone().all(|v| (0.0..1.0).contains(&v)) && values.sum::<f32>() > 0.0);
    }
    // Messages with places instead of data.
    assert!(report.models[0].request_bytes > 0);
}

#[test]
fn a_run_that_cannot_begin_says_why() {
    let server = FakeServer::well_behaved();
    let missing = server.socket.with_file_name("none.sock");
    let file = server.socket.with_file_name("file");
    std::fs::write(&file, "").unwrap();
    let socket = server.socket.to_str().unwrap();
    for (arguments, expected) in [
        (["--socket", missing.to_str().unwrap(), "--model", "double=5"], "there is no such socket"),
        (["--socket", file.to_str().unwrap(), "--model", "double=5"], "nobody listens there"),
        (["--socket", socket, "--model", "nobody=5"], "no model 'nobody'"),
        (["--socket", socket, "--model", "double=0"], "'0' is not a rate"),
    ] {
        let output = bcedge(&[&["load"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(1));
        let text = stderr(&output);
        assert!(text.contains(expected), "{text}");
    }
    let text = stderr(&bcedge(&["load", "--socket", socket, "--model", "nobody=5"]));
    assert!(text.contains("ready are: double, tokens"), "{text}");
}

#[test]
fn a_listener_that_is_no_server_is_recognised() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("garbage.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let thread = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let models = vec![ModelRate { model: "m".into(), rate: 1.0 }];
    let plan = LoadPlan::new(&socket, Load::Open { models, process: Process::Poisson });
    let error = load::run(&plan, &AtomicBool::new(false), |_| {}).unwrap_err();
    assert!(error.contains("connection lost"), "{error}");
    thread.join().unwrap();
}

#[test]
fn the_command_writes_its_result_as_json() {
    let server = FakeServer::well_behaved();
    let json = server.socket.with_file_name("result.json");
    let output = bcedge(&[
        "load",
        "--socket",
        server.socket.to_str().unwrap(),
        "--model",
        "double=50",
        "tokens=20",
        "--arrivals",
        "uniform",
        "--seconds",
        "1",
        "--slo-us",
        "5000000",
        "--json",
        json.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(report["schema"], 1);
    assert_eq!(report["total"]["ok"], 70);
    assert_eq!(report["models"][1]["name"], "tokens");
    assert_eq!(report["models"][1]["sent"], 20);
    assert!(report["models"][0]["latency_us"]["p99"].as_u64().unwrap() > 0);
    let table = String::from_utf8(output.stdout).unwrap();
    for part in ["slo met", "double", "total"] {
        assert!(table.contains(part), "{table}");
    }
}

#[test]
fn an_interrupt_ends_the_run_early_with_its_table() {
    let server = FakeServer::well_behaved();
    let mut child = Command::new(env!("CARGO_BIN_EXE_bcedge"))
        .args(["load", "--model", "double=100", "--seconds", "600", "--shm", "--socket"])
        .arg(&server.socket)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The first progress line: it is running.
    let mut progress = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    progress.read_line(&mut line).unwrap();
    assert!(line.contains(" sent, "), "{line}");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("double"), "{table}");
    for (key, _) in &server.seen.lock().unwrap().regions {
        assert!(!std::path::Path::new(&format!("/dev/shm{key}")).exists(), "{key} is left");
    }
}

#[test]
fn infer_sends_a_file_and_prints_the_reply() {
    let server = FakeServer::start(10, Box::new(|_| (Fate::Doubled { batch: 3 }, Duration::ZERO)));
    let socket = server.socket.to_str().unwrap();
    let file = server.socket.with_file_name("x.bin");
    let values = [1.0f32, -2.0, 8.0, 0.25].map(f32::to_le_bytes).concat();
    std::fs::write(&file, values).unwrap();
    let file = file.to_str().unwrap();
    let output = bcedge(&["infer", "double", file, "--socket", socket, "--top", "2"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "y: FP32 [1, 4]\n       2  16\n       0  2\nbatch: 3\n");

    for (arguments, expected) in [
        (["infer", "double", "/no/file", "--socket", socket], "can't read /no/file"),
        (["infer", "nobody", file, "--socket", socket], "unknown model (NOT_FOUND)"),
        (["infer", "tokens", file, "--socket", socket], "inputs are input_ids, attention_mask"),
    ] {
        let output = bcedge(&arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
}
