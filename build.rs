//! Compiles the two protocol definitions without a system `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let protos = ["src/server/open_inference.proto", "src/models/onnx.proto"];
    for proto in protos {
        println!("cargo:rerun-if-changed={proto}");
    }
    let descriptors = protox::compile(protos, ["src/server", "src/models"])?;
    let mut config = prost_build::Config::new();
    // Tensors stay slices of the message they came in, they are never copied into vectors.
    config.bytes(["."]);
    tonic_prost_build::configure()
        .build_transport(false)
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
