//! NVIDIA's own lean runtimes of TensorRT 10 and 11, unmodified from PyPI: without a GPU they are
//! refused cleanly, and they speak to our logger in the layout of their version.

use crate::support::{Mock, Version, build_once, python_env, run_with_deadline};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const FETCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/lean_tensorrt.py");
const VERSIONS: [(&str, Version, &str); 2] =
    [("10.16.1.11", Version::V10, "10.16.1"), ("11.4.0.106", Version::V11, "11.4.0")];

/// The library of that version.
fn library(version: &str) -> PathBuf {
    let recipe = fs::read_to_string(FETCH).expect(FETCH) + version;
    let python = python_env();
    let folder = build_once(&format!("tensorrt_lean-{version}"), &recipe, |folder| {
        let mut fetch = Command::new(&python);
        fetch.arg(FETCH).arg(version).arg(folder).env("PYTHONDONTWRITEBYTECODE", "1");
        let status = run_with_deadline(fetch, Duration::from_secs(900))?;
        if status.success() { Ok(()) } else { Err(format!("{FETCH} failed: {status}")) }
    });
    let folder = folder.unwrap_or_else(|reason| panic!("TensorRT {version}: {reason}"));
    let major = version.split('.').next().expect("a version");
    folder.join(format!("libnvinfer_lean.so.{major}"))
}

#[test]
fn the_real_runtimes_are_refused_cleanly_without_a_gpu() {
    // A program of another architecture could not open them.
    if std::env::var("BCEDGE_PROGRAM").is_ok() {
        println!("not for a program of another architecture");
        return;
    }
    for (version, mocked, shown) in VERSIONS {
        let library = library(version);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("model.plan"), "a plan").unwrap();
        for named in [library.clone(), library.parent().unwrap().to_owned()] {
            let config = format!(
                "(tensorrt: {named:?}, models: [(name: \"p\", engine: Plan(\"model.plan\"))])"
            );
            fs::write(folder.path().join("config.ron"), config).unwrap();
            let profile = ["profile", "--point-ms", "1"];

            // Without a driver the library is not even opened.
            let nothing = tempfile::tempdir().unwrap();
            let mock = Mock::new(mocked).with_libraries(nothing.path());
            let (status, said) = mock.run(folder.path(), &profile);
            assert_eq!(status, Some(1), "{said}");
            assert!(said.contains("libcuda.so.1 is not there"), "{said}");

            // Behind a driver that is not a real one it says what it lacks, through our logger, and
            // returns an address that is none.
            let mock = Mock::new(mocked);
            let (status, said) = mock.run(folder.path(), &profile);
            assert_eq!(status, Some(1), "{said}");
            for part in [shown, "made no runtime", "TensorRT says: ", "CUDA initialization failure"]
            {
                assert!(said.contains(part), "{part:?} is not in: {said}");
            }
            assert!(mock.all_live().iter().all(|&live| live == 0), "{:?}", mock.all_live());
        }
    }
}
