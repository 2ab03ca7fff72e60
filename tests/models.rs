//! The reference networks, judged by the tools other people trust.

mod support;

#[test]
fn the_python_environment_has_what_the_tests_need() {
    // In two processes: both clients register the same protocol's messages, which Python's
    // protobuf refuses to do twice.
    for modules in ["httpx, kserve, numpy, onnx, onnxruntime", "tritonclient.grpc.aio"] {
        let output = std::process::Command::new(support::python_env())
            .args(["-c", &format!("import {modules}")])
            .output()
            .expect("the interpreter starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
