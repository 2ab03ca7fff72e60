//! `run.sh`, the check for a machine with a GPU, rehearsed over the mock libraries: whatever it calls
//! is called, in its order, and outputs are really compared with ONNX Runtime's.

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::{Count, Mock, Version, python_env, run_with_deadline};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const LIMIT: Duration = Duration::from_secs(300);

/// A folder with the two programs.
fn programs(folder: &Path) -> PathBuf {
    let bcedge = Path::new(env!("CARGO_BIN_EXE_bcedge"));
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(ROOT).args(["build", "--quiet", "--locked", "--example", "plan_loop"]);
    let beside = bcedge.parent().expect("it is in a folder");
    if beside.ends_with("release") {
        build.arg("--release");
    }
    let status = run_with_deadline(build, Duration::from_secs(900)).expect("cargo runs");
    assert!(status.success(), "plan_loop is not built");
    let bin = folder.join("bin");
    fs::create_dir(&bin).expect("a folder");
    symlink(bcedge, bin.join("bcedge")).expect("a link");
    symlink(beside.join("examples/plan_loop"), bin.join("plan_loop")).expect("a link");
    bin
}

/// Runs the check of one network, and gives its exit status, what it said and its results.
fn rehearse(
    mock: &Mock,
    network: &Path,
    more: &[&str],
) -> (Option<i32>, String, serde_json::Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let (said, out) = (folder.path().join("said"), folder.path().join("out"));
    let file = fs::File::create(&said).expect("a file");
    let mut command = Command::new("bash");
    command.current_dir(folder.path()).arg(format!("{ROOT}/tests/gpu/run.sh"));
    command.arg("--programs").arg(programs(folder.path()));
    command.arg("--tensorrt").arg(mock.libraries());
    command.arg("--networks").arg(format!("double={}", network.display()));
    command.args(["--compare", "double", "--quick", "--rehearsal"]).args(more);
    command.stdout(file.try_clone().expect("a second handle")).stderr(file);
    mock.set_environment(&mut command);
    let python = python_env().parent().expect("it is in a folder").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{python}:{path}")).env("OUT", &out);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let status = run_with_deadline(command, LIMIT);
    let said = String::from_utf8_lossy(&fs::read(&said).expect("our own file")).into_owned();
    let status = status.unwrap_or_else(|reason| panic!("{reason}\n{said}"));
    let results = fs::read(out.join("results.json")).unwrap_or_else(|e| panic!("{e}\n{said}"));
    (status.code(), said, serde_json::from_slice(&results).expect("JSON"))
}

#[test]
fn the_whole_check_runs_over_the_mocks() {
    // The version that it has on the machine with the GPU.
    let mock = Mock::new(Version::V8).with("MOCK_INPUTS_STAY", 1);
    // Slow enough that a simulated second of it has few requests.
    mock.set_run_us(3000);
    let network = Path::new(ROOT).join("tests/data/double.onnx");
    let (status, said, results) = rehearse(&mock, &network, &[]);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(results["failures"], serde_json::json!([]), "{said}");
    let rows = results["rows"].as_array().expect("rows");
    let has = |what: &str| rows.iter().any(|row| row["what"].as_str().unwrap().contains(what));
    for what in [
        "build double fp32",
        "build double fp16",
        "outputs of double fp32",
        "outputs of double fp16",
        "double_fp32 batch 8: served / bare loop",
        "double_fp16 batch 32: served / bare loop",
        "4 streams / 1",
        "graphs on / off",
        "profile: points",
        "evaluate: cells of the measured device",
        "live at 0.9 of capacity: in time, sac",
        "live at 0.9 of capacity: in time, the best rule",
    ] {
        assert!(has(what), "{what:?} is not among the rows: {said}");
        assert!(said.rsplit("\n\n").next().unwrap().contains(what), "{what:?} is not in the table");
    }
    assert!(mock.count(Count::GraphLaunches) > 0 && mock.count(Count::CopiesBesideARun) > 0);
    mock.wait_until_empty();
}

#[test]
fn wrong_outputs_fail_the_check() {
    let folder = tempfile::tempdir().unwrap();
    // The mocks double whatever the file says; ONNX Runtime reads it.
    let mut network = fs::read(Path::new(ROOT).join("tests/data/double.onnx")).unwrap();
    let two = network.len() - 4;
    assert_eq!(network[two..], 2f32.to_le_bytes(), "the constant comes last");
    network[two..].copy_from_slice(&3f32.to_le_bytes());
    let triple = folder.path().join("triple.onnx");
    fs::write(&triple, network).unwrap();
    let mock = Mock::new(Version::V8);
    let (status, said, results) = rehearse(&mock, &triple, &["--only", "compare_outputs"]);
    assert_eq!(status, Some(1), "{said}");
    let rows = results["rows"].as_array().expect("rows");
    let wrong = rows.iter().filter(|row| row["met"] == false).count();
    assert_eq!(wrong, 2, "{said}");
}
