//! `bcedge demo` as a newcomer runs it: builds what is missing, serves it, sends it load, ends.

use bcedge::profiler::Profile;
use std::fs;
use std::process::{Command, Output};

fn demo(folder: &std::path::Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bcedge"))
        .arg("demo")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the binary starts")
}

#[test]
fn builds_profiles_serves_and_ends_with_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"(
        device: Rten,
        models: [
            (name: "mobilenet_v3_small", engine: Onnx("engines/mobilenet_v3_small/model.onnx"), slo: Ms(2000)),
            (name: "pretended", engine: Synthetic((latency_us: [(1, 4000), (8, 8000)])), slo: Ms(500)),
        ],
    )"#;
    fs::write(folder.path().join("config.ron"), config).unwrap();
    let output = demo(folder.path(), &["--headless", "--seconds", "4", "--json", "result.json"]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");

    let lines = stdout.lines().filter(|line| line.contains("SLO hit")).count();
    assert!((2..=6).contains(&lines), "one summary line a second: {stdout}");
    let model = folder.path().join("engines/mobilenet_v3_small/model.onnx");
    assert!(model.exists(), "the reference network was built");
    let profile = Profile::read(&model.with_file_name("profile.ron")).expect("and profiled");
    let instances = |n| profile.points.iter().any(|point| point.instances.0 == n);
    assert!(instances(1) && instances(2), "{:?}", profile.points);
    assert_eq!(profile.point_ms, 0, "at a glance");
    assert!(!folder.path().join("bcedge.sock").exists(), "the socket file is gone");

    let json = fs::read_to_string(folder.path().join("result.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let models = json["models"].as_array().unwrap();
    assert_eq!(models.len(), 2);
    for model in models {
        let name = model["name"].as_str().unwrap();
        assert!(stdout.contains(name), "{name} is in the table: {stdout}");
        let count = |key: &str| model[key].as_u64().unwrap_or(0);
        assert!(count("ok") > 0, "{name} was served: {json}");
        assert_eq!(count("failed"), 0, "{json}");
        let ends = count("ok") + count("rejected") + count("expired") + count("failed");
        assert_eq!(ends, count("sent"), "{name}: every request ended once: {json}");
    }

    // What a demo did not make is not its to replace.
    let path = model.with_file_name("profile.ron");
    let others = Profile { point_ms: 6_000, threads_per_instance: 3, ..profile };
    others.save(&model).unwrap();
    let before = fs::read(&path).unwrap();
    let output = demo(folder.path(), &["--headless", "--seconds", "1"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("threads") && stderr.contains("it is kept"), "{stderr}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn says_why_when_no_model_comes_up() {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"(models: [(name: "mine", engine: Onnx("nowhere/mine.onnx"))])"#;
    fs::write(folder.path().join("config.ron"), config).unwrap();
    let output = demo(folder.path(), &["--headless", "--seconds", "1"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("mine") && stderr.contains("nowhere/mine.onnx"), "{stderr}");
    assert!(!folder.path().join("bcedge.sock").exists());
}
