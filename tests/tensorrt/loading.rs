//! What an operator is told when a plan can't be run: every step on the way to a GPU, and every kind
//! of file that is no servable plan. Never a crash, and nothing is left behind.

use crate::serving::{model, serve};
use crate::support::{Caller, Count, Mock, MockPlan, Version, program};
use bcedge::telemetry::snapshot::ModelState;
use std::fs;
use std::path::Path;
use std::process::Output;

/// `bcedge profile` of the plan `p/model.plan` in `folder`; what it says. It must fail.
fn refusal(mock: &Mock, folder: &Path, fields: &str) -> String {
    let config = format!("({fields} models: [(name: \"p\", engine: Plan(\"p/model.plan\"))])");
    fs::write(folder.join("config.ron"), config).unwrap();
    let (status, said) = mock.run(folder, &["profile", "--point-ms", "1"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(!said.contains("panicked") && !said.contains("MOCK MISUSED"), "{said}");
    assert!(mock.all_live().iter().all(|&live| live == 0), "{:?}\n{said}", mock.all_live());
    said
}

fn folder_with_plan(version: Version) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    MockPlan::double(version, 4, 2).write(folder.path(), "p");
    folder
}

#[test]
fn each_missing_step_to_a_gpu_is_named() {
    let folder = folder_with_plan(Version::V10);
    let machine = || Mock::new(Version::V10);
    let libraries = Version::V10.libraries();
    let driver_only = tempfile::tempdir().unwrap();
    fs::copy(libraries.join("libcuda.so.1"), driver_only.path().join("libcuda.so.1")).unwrap();
    let nothing = tempfile::tempdir().unwrap();
    let cases: [(Mock, &str, &[&str]); 12] = [
        (
            machine().with_libraries(nothing.path()),
            "",
            &["libcuda.so.1 is not there", "LD_LIBRARY_PATH", "install NVIDIA's driver"],
        ),
        (
            machine().with_libraries(&libraries.join("old")),
            "",
            &["has no function cuDeviceGet", "older than CUDA 11.4"],
        ),
        (machine().with("MOCK_DRIVER", 11030), "", &["CUDA 11.3", "11.4 is the oldest"]),
        (machine().with("MOCK_DEVICES", 0), "", &["CUDA_ERROR_NO_DEVICE", "nvidia-smi"]),
        (machine().with("MOCK_FAIL", "cuInit=803"), "", &["cuInit", "803", "nvidia-smi"]),
        (machine(), "gpu: (ordinal: 3),", &["GPU 3", "counts 1", "ordinal"]),
        (
            machine().with_libraries(driver_only.path()),
            "",
            &["libnvinfer.so.10", "libnvinfer.so.8", "install TensorRT", "`tensorrt`"],
        ),
        (machine().with("MOCK_VERSION", 7203), "", &["TensorRT 7.2.3", "8.5, 8.6, 10 and 11"]),
        (machine().with("MOCK_VERSION", 120100), "", &["TensorRT 12.1.0", "8.5, 8.6, 10 and 11"]),
        // Without a GPU real ones return null, or a number that is no address.
        (machine().with("MOCK_FAIL", "createInferRuntime"), "", &["made no runtime", "10.3.0"]),
        (
            machine().with("MOCK_FAIL", "createInferRuntime=6"),
            "",
            &["made no runtime (it returned"],
        ),
        (machine(), "tensorrt: \"/no/libnvinfer.so\",", &["/no/libnvinfer.so", "not there"]),
    ];
    for (mock, fields, expected) in &cases {
        let said = refusal(mock, folder.path(), fields);
        for part in *expected {
            assert!(said.contains(part), "{part:?} is not in: {said}");
        }
    }
}

#[test]
fn a_library_can_be_named_by_its_file_or_folder() {
    for version in Version::ALL {
        let folder = folder_with_plan(version);
        let driver_only = tempfile::tempdir().unwrap();
        let libraries = version.libraries();
        fs::copy(libraries.join("libcuda.so.1"), driver_only.path().join("libcuda.so.1")).unwrap();
        let file = libraries.join(format!("libnvinfer.so.{}", version.major()));
        for named in [libraries, file] {
            let mock = Mock::new(version).with_libraries(driver_only.path());
            let config = format!(
                "(tensorrt: {named:?}, models: [(name: \"p\", engine: Plan(\"p/model.plan\"))])"
            );
            fs::write(folder.path().join("config.ron"), config).unwrap();
            let (status, said) = mock.run(folder.path(), &["profile", "--point-ms", "1"]);
            assert_eq!(status, Some(0), "{said}");
            assert!(said.contains("p (tensorrt_plan)"), "{said}");
        }
    }
}

#[test]
fn a_file_that_is_no_plan_for_this_machine_is_refused_in_tensorrts_words() {
    for version in Version::ALL {
        let folder = folder_with_plan(version);
        let plan = folder.path().join("p/model.plan");
        let other = if version == Version::V8 { Version::V10 } else { Version::V8 };
        let mock = Mock::new(version);
        let cases: [(Vec<u8>, &str); 3] = [
            (vec![0xff; 4096], "magicTag mismatch"),
            (format!("mockplan {}\n", other.major()).into_bytes(), "the plan is of version"),
            (Vec::new(), "magicTag mismatch"),
        ];
        for (content, reason) in cases {
            fs::write(&plan, content).unwrap();
            let said = refusal(&mock, folder.path(), "");
            for part in ["p/model.plan", reason, version.shown(), "bcedge build"] {
                assert!(said.contains(part), "{part:?} is not in: {said}");
            }
        }
        fs::remove_file(&plan).unwrap();
        let said = refusal(&mock, folder.path(), "");
        assert!(said.contains("there is no such file") && said.contains("bcedge build"), "{said}");
        let mock = Mock::new(version).with("MOCK_FAIL", "deserializeCudaEngine*2");
        MockPlan::double(version, 4, 1).write(folder.path(), "p");
        let said = refusal(&mock, folder.path(), "");
        assert!(said.contains("fails as asked for") && !said.contains("a warning"), "{said}");
    }
}

#[test]
fn a_plan_that_can_not_be_served_is_refused_with_the_reason() {
    for version in Version::ALL {
        let folder = tempfile::tempdir().unwrap();
        let double = || MockPlan::double(version, 4, 1);
        let two = |first: &[i64], second: &[i64]| {
            let plan = MockPlan::new(version).input("x", 0, first).input("y", 0, second);
            plan.output("z", 0, &[-1, 4]).line("profile 1 4 4")
        };
        let cases = [
            (double().line("option shape"), "shape tensor"),
            (double().line("option host"), "shape tensor"),
            (double().line("option format"), "memory format 2"),
            (double().line("option late"), "only known after a run"),
            (two(&[-1, 4], &[3]), "'y' with shape [3] does not"),
            (
                MockPlan::new(version).input("x", 7, &[4]).output("y", 0, &[4]),
                "element type BF16 (7)",
            ),
        ];
        for (plan, reason) in cases {
            plan.write(folder.path(), "p");
            let said = refusal(&Mock::new(version), folder.path(), "");
            assert!(said.contains(reason), "{reason:?} is not in: {said}");
            assert!(said.contains("p/model.plan"), "{said}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    MockPlan::double(Version::V8, 4, 1).line("option implicit").write(folder.path(), "p");
    let said = refusal(&Mock::new(Version::V8), folder.path(), "");
    assert!(said.contains("implicit batch"), "{said}");
}

#[tokio::test]
async fn plugins_are_loaded_when_a_plan_needs_them() {
    for version in Version::ALL {
        let mock = Mock::new(version);
        let folder = tempfile::tempdir().unwrap();
        let plain = MockPlan::double(version, 4, 1).write(folder.path(), "plain");
        let plugged =
            MockPlan::double(version, 4, 1).line("option plugin").write(folder.path(), "plugged");
        let appliance = serve(&mock, "", &model("plain", &plain, ""));
        assert_eq!(mock.count(Count::PluginInits), 0);
        drop(appliance);
        let appliance = serve(&mock, "", &model("plugged", &plugged, ""));
        let caller = Caller::new(&appliance).await;
        caller.infer("plugged", 3.0).await.expect("served");
        assert_eq!(mock.count(Count::PluginInits), 1);
    }
}

/// An environment without any Python or libraries but what `set` adds.
fn bare(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = program();
    command.env_clear().args(arguments).current_dir(folder);
    command.output().unwrap()
}

#[test]
fn without_nvidia_libraries_a_forced_device_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let double = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/double.onnx");
    fs::copy(double, folder.path().join("model.onnx")).unwrap();
    let write = |device: &str, engine: &str| {
        let config = format!("(device: {device}, models: [(name: \"p\", engine: {engine})])");
        fs::write(folder.path().join("config.ron"), config).unwrap();
    };
    write("Tensorrt", "Onnx(\"model.onnx\")");
    let said = bare(folder.path(), &["profile", "--point-ms", "1"]);
    let text = String::from_utf8_lossy(&said.stderr);
    for part in ["model.plan, which is not there", "bcedge build model.onnx", "libcuda.so.1"] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    assert_eq!(said.status.code(), Some(1));
    fs::write(folder.path().join("model.plan"), "a plan").unwrap();
    for (device, engine) in [("Tensorrt", "Onnx(\"model.onnx\")"), ("Auto", "Plan(\"model.plan\")")]
    {
        write(device, engine);
        let said = bare(folder.path(), &["profile", "--point-ms", "1"]);
        let text = String::from_utf8_lossy(&said.stderr);
        assert!(text.contains("libcuda.so.1 is not there"), "{text}");
        assert!(text.contains("install NVIDIA's driver"), "{text}");
        assert_eq!(said.status.code(), Some(1));
    }
    // A plan beside the model does not keep it from the CPU.
    write("Auto", "Onnx(\"model.onnx\")");
    let said = bare(folder.path(), &["profile", "--point-ms", "1"]);
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success() && text.contains("p (rten_onnx)"), "{text}");
}

/// Two ONNX models, one of them with a plan beside it.
fn onnx_models(folder: &Path, version: Version) -> String {
    let double = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/double.onnx");
    let models = ["with_plan", "without"].map(|name| {
        fs::create_dir_all(folder.join(name)).unwrap();
        let file = folder.join(name).join("model.onnx");
        fs::copy(double, &file).unwrap();
        format!("(name: \"{name}\", slo: Ms(60000), engine: Onnx({file:?})),")
    });
    MockPlan::double(version, 4, 2).write(folder, "with_plan");
    models.concat()
}

#[tokio::test]
async fn auto_takes_the_plan_beside_a_model_where_there_is_a_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let models = onnx_models(folder.path(), Version::V10);
    let mock = Mock::new(Version::V10);
    let appliance = serve(&mock, "", &models);
    let caller = Caller::new(&appliance).await;
    let platform = async |name: &str| caller.model(name).await.platform;
    assert_eq!(platform("with_plan").await, "tensorrt_plan");
    assert_ne!(platform("without").await, "tensorrt_plan");
    for name in ["with_plan", "without"] {
        caller.infer(name, 3.0).await.expect("served");
    }
    let log = appliance.log();
    assert!(log.contains("with_plan/model.plan is used instead of"), "{log}");
    assert!(log.contains("without/model.onnx runs on the CPU: there is a GPU, but no"), "{log}");
}

#[tokio::test]
async fn auto_falls_back_to_the_cpu_with_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let models = onnx_models(folder.path(), Version::V10);
    for mock in [
        Mock::new(Version::V10).with_libraries(folder.path()),
        Mock::new(Version::V10).with("MOCK_DEVICES", 0),
    ] {
        let appliance = serve(&mock, "", &models);
        let caller = Caller::new(&appliance).await;
        for name in ["with_plan", "without"] {
            let shown = caller.model(name).await;
            assert_eq!(shown.state, ModelState::Ready);
            assert_ne!(shown.platform, "tensorrt_plan");
            caller.infer(name, 3.0).await.expect("served");
        }
        let log = appliance.log();
        assert_eq!(log.matches("no GPU is used").count(), 1, "{log}");
    }
}

#[tokio::test]
async fn auto_runs_a_model_on_the_cpu_when_its_plan_is_not_usable() {
    let folder = tempfile::tempdir().unwrap();
    let models = onnx_models(folder.path(), Version::V8);
    let mock = Mock::new(Version::V11);
    let appliance = serve(&mock, "", &models);
    let caller = Caller::new(&appliance).await;
    assert_ne!(caller.model("with_plan").await.platform, "tensorrt_plan");
    caller.infer("with_plan", 3.0).await.expect("served");
    let log = appliance.log();
    assert!(log.contains("runs on the CPU") && log.contains("the plan is of version 8"), "{log}");
    // Forced, it is an error.
    drop(appliance);
    let appliance = serve(&mock, "device: Tensorrt,", &models);
    let caller = Caller::new(&appliance).await;
    for (name, reason) in
        [("with_plan", "the plan is of version 8"), ("without", "model.plan, which is not there")]
    {
        let ModelState::Failed(text) = caller.model(name).await.state else { panic!("{name}") };
        assert!(text.contains(reason), "{text}");
    }
}
