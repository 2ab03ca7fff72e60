//! `bcedge build`: plans from ONNX files, through the builder and the parser of each version.

use crate::serving::{burst, model, serve, stop};
use crate::support::{Caller, Mock, Version};
use bcedge::telemetry::snapshot::ModelState;
use std::fs;
use std::path::Path;

const DOUBLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/double.onnx");

/// `bcedge build` of a model into `built/`: exit status and what it said.
fn build(mock: &Mock, folder: &Path, more: &[&str]) -> (Option<i32>, String) {
    let mut arguments = vec!["build", DOUBLE, "--out", "built"];
    arguments.extend(more);
    let (status, said) = mock.run(folder, &arguments);
    assert!(!said.contains("panicked") && !said.contains("MOCK MISUSED"), "{said}");
    assert!(mock.all_live().iter().all(|&live| live == 0), "{:?}\n{said}", mock.all_live());
    (status, said)
}

/// The names of the files in `built/`.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder.join("built")).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_built_is_served() {
    for version in Version::ALL {
        let mock = Mock::new(version);
        let folder = tempfile::tempdir().unwrap();
        let (status, said) = build(&mock, folder.path(), &["--max-batch", "6", "--instances", "2"]);
        assert_eq!(status, Some(0), "{said}");
        assert_eq!(files(folder.path()), ["model.plan", "timing.cache"]);
        for part in [
            "built/model.plan: ",
            "batches up to 6",
            version.shown(),
            "Mock GPU 0",
            "engine: Plan(",
        ] {
            assert!(said.contains(part), "{part:?} is not in: {said}");
        }
        let file = folder.path().join("built/model.plan");
        let plan = fs::read_to_string(&file).unwrap();
        // With TensorRT 8 one for each instance and two for its graphs.
        let profiles = if version == Version::V8 { 6 } else { 1 };
        assert_eq!(plan.matches("profile 1 6 6\n").count(), profiles, "{plan}");
        assert!(!plan.contains("flag "), "{plan}");

        let appliance = serve(&mock, "", &model("double", &file, "max_instances: 2"));
        let caller = Caller::new(&appliance).await;
        let shown = caller.model("double").await;
        assert_eq!((shown.state, shown.max_batch), (ModelState::Ready, 6));
        burst(&caller, "double", 100).await;
        stop(&mock, appliance).await;
    }
}

#[test]
fn options_reach_tensorrt() {
    // Flags by number: FP16, TF32 (cleared), VERSION_COMPATIBLE.
    for (version, compatible) in [(Version::V8, 15), (Version::V10, 13), (Version::V11, 12)] {
        let mock = Mock::new(version);
        let folder = tempfile::tempdir().unwrap();
        let plan = || fs::read_to_string(folder.path().join("built/model.plan")).unwrap();
        let options = ["--workspace", "64", "--version-compatible", "--no-tf32"];
        let (status, said) = build(&mock, folder.path(), &options);
        assert_eq!(status, Some(0), "{said}");
        assert!(plan().contains(&format!("flag {compatible}\nworkspace 67108864")), "{}", plan());
        let (status, said) = build(&mock, folder.path(), &["--fp16"]);
        if version == Version::V11 {
            assert_eq!(status, Some(1), "{said}");
            assert!(said.contains("no FP16 switch") && said.contains("modelopt"), "{said}");
        } else {
            assert_eq!(status, Some(0), "{said}");
            assert!(plan().contains("flag 0\n") && !plan().contains("flag 1"), "{}", plan());
        }
    }
}

#[test]
fn a_timing_cache_is_kept_from_build_to_build() {
    for version in Version::ALL {
        let mock = Mock::new(version);
        let folder = tempfile::tempdir().unwrap();
        let cache = || fs::read_to_string(folder.path().join("built/timing.cache")).unwrap();
        build(&mock, folder.path(), &[]);
        assert_eq!(cache(), "mockcache 1");
        build(&mock, folder.path(), &[]);
        assert_eq!(cache(), "mockcache 1+1");
        // That of another machine is told and written anew.
        fs::write(folder.path().join("built/timing.cache"), "something else").unwrap();
        let (status, said) = build(&mock, folder.path(), &[]);
        assert_eq!(status, Some(0), "{said}");
        assert!(said.contains("timing.cache is of another GPU or TensorRT"), "{said}");
        assert_eq!(cache(), "mockcache 1");
        let named = ["--timing-cache", "shared.cache"];
        build(&mock, folder.path(), &named);
        assert!(folder.path().join("shared.cache").is_file());
    }
}

#[test]
fn a_model_of_fixed_sizes_gets_no_profile() {
    for version in Version::ALL {
        let network = "tensor in INPUT0 0 2 4 16\ntensor out OUTPUT0 0 2 4 16\n";
        let mock = Mock::new(version).with("MOCK_NETWORK", network);
        let folder = tempfile::tempdir().unwrap();
        let (status, said) = build(&mock, folder.path(), &[]);
        assert_eq!(status, Some(0), "{said}");
        assert!(said.contains("batches up to 4") && said.contains("sizes of the model are fixed"));
        let plan = fs::read_to_string(folder.path().join("built/model.plan")).unwrap();
        assert!(!plan.contains("profile"), "{plan}");
    }
}

#[test]
fn what_can_not_be_built_says_why_and_leaves_the_old_plan() {
    let open = "tensor in x 0 3 -1 3 -1\ntensor out y 0 2 -1 4\n";
    let late = "tensor in x 0 2 -1 3\ntensor out y 0 2 7 4\n";
    for version in Version::ALL {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("built")).unwrap();
        fs::write(folder.path().join("built/model.plan"), "the old one").unwrap();
        let machine = || Mock::new(version);
        let cases = [
            (
                machine().with("MOCK_FAIL", "parseFromFile"),
                "node 17: No importer registered for op: Frobnicate",
            ),
            (machine().with("MOCK_FAIL", "buildSerializedNetwork"), "Error Code 2"),
            (machine().with("MOCK_FAIL", "createInferBuilder"), "made no builder"),
            (machine().with("MOCK_FAIL", "createNetworkV2"), "made no network"),
            (machine().with("MOCK_FAIL", "createBuilderConfig"), "made no builder configuration"),
            (machine().with("MOCK_FAIL", "createNvOnnxParser"), "made no ONNX parser"),
            (machine().with("MOCK_FAIL", "createOptimizationProfile"), "no optimisation profile"),
            (machine().with("MOCK_FAIL", "deserializeCudaEngine*2"), "was built, but can't be"),
            (machine().with("MOCK_DEVICES", 0), "CUDA_ERROR_NO_DEVICE"),
            (machine().with("MOCK_NETWORK", open), "dimension 2 of input \"x\" is open"),
            (machine().with("MOCK_NETWORK", late), "'y'"),
        ];
        for (mock, reason) in &cases {
            let (status, said) = build(mock, folder.path(), &[]);
            assert_eq!(status, Some(1), "{said}");
            assert!(said.contains(reason), "{version:?}: {reason:?} is not in: {said}");
            let old = fs::read_to_string(folder.path().join("built/model.plan")).unwrap();
            assert_eq!(old, "the old one");
            assert!(files(folder.path()).iter().all(|name| !name.starts_with('.')));
        }
    }
}

#[test]
fn a_runtime_without_a_builder_or_a_parser_is_named() {
    for version in Version::ALL {
        let folder = tempfile::tempdir().unwrap();
        let lean = version.libraries().join(format!("libnvinfer_lean.so.{}", version.major()));
        let mock = Mock::new(version);
        let (status, said) = build(&mock, folder.path(), &["--tensorrt", lean.to_str().unwrap()]);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains("lean runtime") && said.contains("install the full"), "{said}");

        let without = tempfile::tempdir().unwrap();
        for name in ["libcuda.so.1".to_owned(), format!("libnvinfer.so.{}", version.major())] {
            fs::copy(version.libraries().join(&name), without.path().join(&name)).unwrap();
        }
        let mock = Mock::new(version).with_libraries(without.path());
        let (status, said) = build(&mock, folder.path(), &[]);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains("no ONNX parser here") && said.contains("libnvonnxparser"), "{said}");
    }
}

#[test]
fn files_that_are_no_models_are_refused_before_anything_else() {
    let folder = tempfile::tempdir().unwrap();
    let mock = Mock::new(Version::V10);
    fs::write(folder.path().join("garbage.onnx"), [0xff; 100]).unwrap();
    for (file, reason) in [("garbage.onnx", "garbage.onnx"), ("gone.onnx", "gone.onnx")] {
        let (status, said) = mock.run(folder.path(), &["build", file, "--out", "built"]);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains(reason), "{said}");
        assert!(!folder.path().join("built").exists());
    }
    let (status, said) = mock.run(folder.path(), &["build", DOUBLE, "--out", "garbage.onnx/x"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("garbage.onnx/x"), "{said}");
    let (status, said) = mock.run(folder.path(), &["build", DOUBLE]);
    assert!(status == Some(2) && said.contains("--out"), "{said}");
}
