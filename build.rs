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
    rest_renderings(&mut config);
    tonic_prost_build::configure()
        .build_transport(false)
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}

/// The REST interface answers with the same messages as JSON, in Triton's spelling.
fn rest_renderings(config: &mut prost_build::Config) {
    for message in [
        "ServerMetadataResponse",
        "ModelMetadataResponse",
        "StatisticDuration",
        "InferStatistics",
        "InferBatchStatistics",
        "ModelStatistics",
        "ModelStatisticsResponse",
        "RepositoryIndexResponse",
        "SystemSharedMemoryStatusResponse",
        "CudaSharedMemoryStatusResponse",
        "ModelInput",
        "ModelOutput",
        "ModelInstanceGroup",
        "ModelVersionPolicy",
        "ModelQueuePolicy",
        "ModelDynamicBatching",
        "ModelParameter",
        "ModelTransactionPolicy",
        "ModelConfig",
    ] {
        config.type_attribute(format!(".inference.{message}"), "#[derive(serde::Serialize)]");
    }
    for (message, oneof) in
        [("ModelConfig", "scheduling_choice"), ("ModelVersionPolicy", "policy_choice")]
    {
        // Without the leading dot a path means the field alone, not what is below it as well.
        let path = format!("{message}.{oneof}");
        config.type_attribute(&path, "#[serde(rename_all = \"snake_case\")]");
        config.field_attribute(&path, "#[serde(flatten)]");
    }
    for (field, enumeration) in [
        ("ModelInput.data_type", "data_type"),
        ("ModelOutput.data_type", "data_type"),
        ("ModelInstanceGroup.kind", "instance_kind"),
        ("ModelQueuePolicy.timeout_action", "timeout_action"),
    ] {
        config.field_attribute(
            format!(".inference.{field}"),
            format!(
                "#[serde(serialize_with = \"crate::server::rest::enum_names::{enumeration}\")]"
            ),
        );
    }
}
