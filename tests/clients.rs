//! Other people's clients, unmodified, against the real program: what they do with Triton they do
//! here, and every value they get back is checked.

mod support;

use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::{Appliance, PerfReport, perf_analyzer, python_env};

const SCRIPT_LIMIT: Duration = Duration::from_secs(180);
const PERF_LIMIT: Duration = Duration::from_secs(120);
const CURL_LIMIT: Duration = Duration::from_secs(30);

/// `double` runs on the CPU, the others pretend. All of them give twice their input.
fn start() -> Appliance {
    let double = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/double.onnx");
    Appliance::start(&format!(
        "[
            (name: \"double\", engine: Onnx({double:?}), slo: Ms(30000), max_batch: 8),
            (name: \"slow\", engine: Synthetic((latency_us: [(1, 300000)])), slo: Ms(30000),
             max_batch: 1, max_instances: 1, queue_bound: 4),
            (name: \"wide\", engine: Synthetic((latency_us: [(1, 0)], elements: 150528)),
             slo: Ms(30000), max_batch: 4),
            (name: \"spare\", engine: Synthetic((latency_us: [(1, 0)])), slo: Ms(30000),
             load: false),
        ]"
    ))
}

/// Runs `tests/clients/<script>`, which prints a line for each of its checks.
fn run_script(appliance: &Appliance, script: &str, arguments: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let mut python = Command::new(python_env());
    python.arg(folder.join(script)).args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
    println!("{}", appliance.expect_client(python, SCRIPT_LIMIT));
}

#[test]
fn tritonclient_blocking_calls_work() {
    let appliance = start();
    let address = appliance.grpc_address();
    let plain = format!("unix:{}", appliance.socket().display());
    run_script(&appliance, "tritonclient_sync.py", &[&address, &plain, "unix:a.sock"]);
    assert!(appliance.stop().success(), "a clean exit on SIGTERM");
}

#[test]
fn tritonclient_asyncio_and_streams_work() {
    let appliance = start();
    run_script(&appliance, "tritonclient_aio.py", &[&appliance.grpc_address()]);
}

#[test]
fn tritonclient_shared_memory_works() {
    let appliance = start();
    run_script(&appliance, "shared_memory.py", &[&appliance.grpc_address()]);
}

#[test]
fn kserve_grpc_and_rest_clients_work() {
    let appliance = start();
    let socket = appliance.socket().display().to_string();
    run_script(&appliance, "kserve_clients.py", &[&appliance.grpc_address(), &socket]);
}

/// Runs perf_analyzer on `double` with short windows and returns its report, one row a load.
///
/// It ends with an error when a request fails; unless shared memory is used, where it can't, it
/// also compares every answer with the one expected.
fn perf(appliance: &Appliance, arguments: &[&str]) -> Vec<PerfReport> {
    let mut command = perf_analyzer();
    command.args(["-i", "grpc", "-m", "double", "-f", "report.csv"]);
    command.args(["-u", &appliance.grpc_address()]);
    // It reports nothing before it has seen three windows, stable within 999 %.
    command.args(["-p", "300", "-s", "999", "-r", "3"]).args(arguments);
    if !arguments.contains(&"--shared-memory") {
        std::fs::write(appliance.folder().join("data.json"), perf_data().to_string())
            .expect("the folder takes a file");
        command.args(["--input-data", "data.json"]);
    }
    println!("{}", appliance.expect_client(command, PERF_LIMIT));
    let report = PerfReport::read(&appliance.folder().join("report.csv"));
    for row in &report {
        assert!(row.inferences_per_s > 0.0 && row.latency_us_p50 > 0.0, "{row:?}");
    }
    report
}

fn perf_data() -> Value {
    let row = |scale: f32| (0..16).map(|i| scale * i as f32).collect::<Vec<_>>();
    json!({
        "data": [{"INPUT0": row(0.5)}, {"INPUT0": row(-3.0)}],
        "validation_data": [{"OUTPUT0": row(1.0)}, {"OUTPUT0": row(-6.0)}],
    })
}

#[test]
fn perf_analyzer_sweeps_poisson_request_rates() {
    let appliance = start();
    let arguments = ["--request-rate-range", "50:150:50", "--request-distribution", "poisson"];
    let report = perf(&appliance, &arguments);
    assert_eq!(report.iter().map(|row| row.load).collect::<Vec<_>>(), [50.0, 100.0, 150.0]);
    // The windows are short and the arrivals random: within a factor of two, and in order.
    for row in &report {
        assert!(row.inferences_per_s > row.load / 2.0, "{row:?}");
        assert!(row.inferences_per_s < row.load * 2.0, "{row:?}");
    }
}

#[test]
fn perf_analyzer_sweeps_concurrency_and_sends_an_slo() {
    let appliance = start();
    let slo = ["--request-parameter", "slo_us:25000000:int"];
    let report = perf(&appliance, &[&["--concurrency-range", "1:9:8"], &slo[..]].concat());
    assert_eq!(report.iter().map(|row| row.load).collect::<Vec<_>>(), [1.0, 9.0]);
    // Its figures for the server come from ModelStatistics, which therefore must have grown.
    assert!(report.iter().all(|row| row.server_queue_us + row.server_compute_us > 0.0));
}

#[test]
fn perf_analyzer_uses_system_shared_memory() {
    let appliance = start();
    let shared = ["--shared-memory", "system", "--output-shared-memory-size", "64"];
    perf(&appliance, &[&["--concurrency-range", "4"], &shared[..]].concat());
    let slo = ["--request-parameter", "slo_us:25000000:int"];
    perf(&appliance, &[&["--concurrency-range", "4"], &shared[..], &slo[..]].concat());
}

#[test]
fn perf_analyzer_streams() {
    let appliance = start();
    let report = perf(&appliance, &["--streaming", "--async", "--concurrency-range", "4"]);
    assert_eq!(report.len(), 1);
}

#[test]
fn perf_analyzer_tells_when_requests_are_refused() {
    // The tests above would prove nothing if it looked away.
    let appliance = start();
    let mut command = perf_analyzer();
    command.args(["-i", "grpc", "-m", "double", "-u", &appliance.grpc_address()]);
    command.args(["-p", "300", "-s", "999", "-r", "3", "--request-parameter", "slo_us:1:int"]);
    let (status, said) = appliance.run_client(command, PERF_LIMIT);
    assert!(!status.success(), "every request is late with an SLO of 1 µs\n{said}");
    assert!(said.contains("had error"), "{said}");
}

/// Runs `curl` and returns the HTTP status and the body.
fn curl(appliance: &Appliance, path: &str, arguments: &[&str]) -> (u16, String) {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}"]);
    command.arg("--unix-socket").arg(appliance.socket()).args(arguments);
    command.arg(format!("http://localhost{path}"));
    let said = appliance.expect_client(command, CURL_LIMIT);
    let (body, status) = said.rsplit_once('\n').expect("the status is on a line of its own");
    (status.parse().expect(status), body.to_owned())
}

fn curl_json(appliance: &Appliance, path: &str, arguments: &[&str]) -> (u16, Value) {
    let (status, body) = curl(appliance, path, arguments);
    let value = serde_json::from_str(&body);
    (status, value.unwrap_or_else(|error| panic!("{path}: {error} in {body:?}")))
}

fn infer_body(parameters: Value) -> String {
    let data: Vec<f32> = (0..16).map(|i| i as f32).collect();
    let input = json!({"name": "INPUT0", "datatype": "FP32", "shape": [1, 16], "data": data});
    json!({"id": "7", "inputs": [input], "parameters": parameters}).to_string()
}

#[test]
fn curl_reads_health_and_metadata() {
    let appliance = start();
    assert_eq!(curl_json(&appliance, "/v2/health/live", &[]), (200, json!({"live": true})));
    assert_eq!(curl_json(&appliance, "/v2/health/ready", &[]), (200, json!({"ready": true})));
    assert_eq!(curl(&appliance, "/v2/models/double/ready", &[]).0, 200);
    assert_ne!(curl(&appliance, "/v2/models/spare/ready", &[]).0, 200);

    let (status, server) = curl_json(&appliance, "/v2", &[]);
    assert_eq!(status, 200);
    assert_eq!(server["name"], "bcedge");
    let (status, model) = curl_json(&appliance, "/v2/models/double", &[]);
    assert_eq!(status, 200);
    let tensor = |name| json!([{"name": name, "datatype": "FP32", "shape": [-1, 16]}]);
    assert_eq!(model["name"], "double");
    assert_eq!(model["inputs"], tensor("INPUT0"));
    assert_eq!(model["outputs"], tensor("OUTPUT0"));
    let (status, config) = curl_json(&appliance, "/v2/models/double/config", &[]);
    assert_eq!((status, &config["max_batch_size"]), (200, &json!(8)));
}

#[test]
fn curl_infers_and_the_metrics_count_it() {
    let appliance = start();
    let body = infer_body(json!({"slo_us": 25_000_000}));
    let (status, answer) = curl_json(&appliance, "/v2/models/double/infer", &["--data", &body]);
    assert_eq!(status, 200, "{answer}");
    let output = &answer["outputs"][0];
    assert_eq!(answer["id"], "7");
    assert_eq!((&output["name"], &output["shape"]), (&json!("OUTPUT0"), &json!([1, 16])));
    let values: Vec<f64> = serde_json::from_value(output["data"].clone()).expect("numbers");
    assert_eq!(values, (0..16).map(|i| 2.0 * f64::from(i)).collect::<Vec<_>>());
    let parameters = &answer["parameters"];
    assert_eq!((&parameters["batch"], &parameters["slo_met"]), (&json!(1), &json!(true)));
    assert!(parameters["queue_us"].is_u64() && parameters["compute_us"].is_u64(), "{answer}");

    let (status, metrics) = curl(&appliance, "/metrics", &[]);
    assert_eq!(status, 200);
    let line = metrics
        .lines()
        .find(|line| {
            line.starts_with("nv_inference_request_success{") && line.contains("\"double\"")
        })
        .unwrap_or_else(|| panic!("no counter of double's requests in {metrics}"));
    assert_eq!(line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()), Some(1.0), "{line}");
}

#[test]
fn curl_gets_errors_with_their_status_and_reason() {
    let appliance = start();
    let good = infer_body(json!({}));
    let late = infer_body(json!({"slo_us": 1}));
    let cases: [(&str, &str, u16, &str); 5] = [
        ("/v2/models/nobody/infer", &good, 404, "nobody"),
        ("/v2/models/slow/infer", &late, 504, ""),
        ("/v2/models/double/infer", "{\"inputs\": [", 400, ""),
        ("/v2/models/double/infer", "{\"inputs\": []}", 400, "INPUT0"),
        ("/v2/models/wide/infer", &good, 400, "150528"),
    ];
    for (path, body, wanted, reason) in cases {
        let (status, answer) = curl_json(&appliance, path, &["--data", body]);
        assert_eq!(status, wanted, "{path}: {answer}");
        let text = answer["error"].as_str().unwrap_or_else(|| panic!("no error in {answer}"));
        assert!(!text.is_empty() && text.contains(reason), "{path}: {text}");
    }
}
