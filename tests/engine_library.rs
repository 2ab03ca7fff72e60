//! How ONNX Runtime's library is found. A process loads it once, so each case has its own.

mod support;

#[path = "engines/graphs.rs"]
mod graphs;

use bcedge::config::{Config, Device};
use bcedge::engine::{EngineError, open};
use std::path::Path;
use std::process::{Command, Output};

fn config_text(folder: &Path, device: &str) -> String {
    let model = graphs::dense(8, 8).write(folder, "dense");
    let model = model.display().to_string();
    format!("(device: {device}, models: [(name: \"dense\", engine: Onnx({model:?}))])")
}

/// `bcedge profile` of a tiny model in an environment without any Python but what `set` adds.
fn profile(device: &str, set: &[(&str, &Path)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.ron");
    std::fs::write(&file, config_text(folder.path(), device)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bcedge"));
    command.env_clear().envs(set.iter().copied());
    command.args(["profile", "--point-ms", "1", "--config"]).arg(&file);
    command.output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_active_virtual_environment_is_enough() {
    let python = support::python_env();
    let venv = python.ancestors().nth(2).unwrap();
    for device in ["OnnxRuntime", "Auto"] {
        let shown = stdout(&profile(device, &[("VIRTUAL_ENV", venv)]));
        assert!(shown.contains("dense (onnxruntime_onnx)"), "{shown}");
    }
}

#[test]
fn a_python_on_the_path_is_enough() {
    let python = support::python_env();
    let shown = stdout(&profile("OnnxRuntime", &[("PATH", python.parent().unwrap())]));
    assert!(shown.contains("dense (onnxruntime_onnx)"), "{shown}");
}

#[test]
fn the_variable_of_the_library_is_enough() {
    let folder = support::onnxruntime_folder();
    let shown = stdout(&profile("OnnxRuntime", &[("ORT_DYLIB_PATH", &folder)]));
    assert!(shown.contains("dense (onnxruntime_onnx)"), "{shown}");
}

#[test]
fn the_embedded_engine_needs_none() {
    let shown = stdout(&profile("Rten", &[]));
    assert!(shown.contains("dense (rten_onnx)"), "{shown}");
}

#[test]
fn auto_does_without_a_library_that_is_not_usable() {
    let nowhere = Path::new("/nowhere/libonnxruntime.so");
    let shown = stdout(&profile("Auto", &[("ORT_DYLIB_PATH", nowhere)]));
    assert!(shown.contains("dense (rten_onnx)"), "{shown}");
    let output = profile("OnnxRuntime", &[("ORT_DYLIB_PATH", nowhere)]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("ORT_DYLIB_PATH") && said.contains("pip install"), "{said}");
}

/// The only test here that loads in its own process: first in vain, then for good.
#[test]
fn a_library_named_in_the_configuration_is_the_one_or_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut config: Config = ron::from_str(&config_text(folder.path(), "Auto")).unwrap();
    config.onnxruntime = Some(folder.path().join("libonnxruntime.so"));
    for device in [Device::Auto, Device::OnnxRuntime] {
        config.device = device;
        match open(&config.models[0], &config).err() {
            Some(EngineError::Unavailable(text)) => {
                assert!(text.contains("`onnxruntime` in config.ron"), "{text}");
            }
            other => panic!("{device:?}: {other:?}"),
        }
    }
    config.onnxruntime = Some(support::onnxruntime_folder());
    let engine = open(&config.models[0], &config).unwrap();
    assert_eq!(engine.platform(), "onnxruntime_onnx");
}
