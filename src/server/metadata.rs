//! What the appliance says about itself and its models. REST sends the same messages as JSON.

use crate::engine::{DataType, ModelSpec, TensorSpec};
use crate::server::gateway::{Catalog, CatalogEntry, Gateway};
use crate::server::proto;
use crate::server::proto::model_metadata_response::TensorMetadata;
use crate::server::proto::repository_index_response::ModelIndex;
use crate::server::status::Refusal;
use crate::server::validate::{VERSION, find_model, ready_spec};
use crate::telemetry::snapshot::{ApplianceState, BatchTotal, ModelSnapshot, ModelState, Snapshot};

/// The protocol's name for what is spoken here beyond its core.
const EXTENSIONS: [&str; 7] = [
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "schedule_policy",
    "statistics",
    "system_shared_memory",
    "logging",
];

pub fn server_metadata() -> proto::ServerMetadataResponse {
    proto::ServerMetadataResponse {
        name: "bcedge".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: EXTENSIONS.map(str::to_owned).to_vec(),
    }
}

/// Up, and not on the way down. A model that failed does not keep the others from serving.
pub fn server_ready(gateway: &Gateway) -> bool {
    gateway.snapshot().state == ApplianceState::Serving
}

/// # Errors
/// NOT_FOUND.
pub fn model_ready(catalog: &Catalog, name: &str, version: &str) -> Result<bool, Refusal> {
    let (_, entry) = find_model(catalog, name, version)?;
    Ok(ready_spec(entry).is_ok())
}

/// # Errors
/// NOT_FOUND, or UNAVAILABLE while the model is not ready.
pub fn model_metadata(
    catalog: &Catalog,
    name: &str,
    version: &str,
) -> Result<proto::ModelMetadataResponse, Refusal> {
    let (_, entry) = find_model(catalog, name, version)?;
    let spec = ready_spec(entry)?;
    let tensors = |tensors: &[TensorSpec]| {
        let describe = |tensor: &TensorSpec| TensorMetadata {
            name: tensor.name.clone(),
            datatype: tensor.data_type.name().to_owned(),
            shape: spec.batched.then_some(-1).into_iter().chain(tensor.shape.clone()).collect(),
        };
        tensors.iter().map(describe).collect()
    };
    Ok(proto::ModelMetadataResponse {
        name: entry.name.clone(),
        versions: vec![VERSION.to_owned()],
        platform: entry.platform.to_owned(),
        inputs: tensors(&spec.inputs),
        outputs: tensors(&spec.outputs),
    })
}

/// # Errors
/// NOT_FOUND, or UNAVAILABLE while the model is not ready.
pub fn model_config(
    catalog: &Catalog,
    name: &str,
    version: &str,
) -> Result<proto::ModelConfig, Refusal> {
    let (_, entry) = find_model(catalog, name, version)?;
    let spec = ready_spec(entry)?;
    Ok(proto::ModelConfig {
        name: entry.name.clone(),
        platform: entry.platform.to_owned(),
        // `rten_onnx` is what the backend `rten` makes of an ONNX file.
        backend: entry.platform.split('_').next().unwrap_or_default().to_owned(),
        version_policy: Some(proto::ModelVersionPolicy {
            policy_choice: Some(proto::model_version_policy::PolicyChoice::Latest(
                proto::model_version_policy::Latest { num_versions: 1 },
            )),
        }),
        max_batch_size: if spec.batched { to_i32(spec.max_batch.0) } else { 0 },
        input: spec.inputs.iter().map(config_input).collect(),
        output: spec.outputs.iter().map(config_output).collect(),
        instance_group: vec![proto::ModelInstanceGroup {
            name: format!("{}_0", entry.name),
            count: to_i32(entry.max_instances),
            kind: instance_kind(entry.platform).into(),
        }],
        scheduling_choice: batching(entry, spec),
        parameters: [("slo_us".to_owned(), entry.slo.as_micros().to_string())]
            .map(|(key, string_value)| (key, proto::ModelParameter { string_value }))
            .into(),
        model_transaction_policy: Some(proto::ModelTransactionPolicy { decoupled: false }),
    })
}

fn batching(
    entry: &CatalogEntry,
    spec: &ModelSpec,
) -> Option<proto::model_config::SchedulingChoice> {
    let queue = proto::ModelQueuePolicy {
        timeout_action: proto::model_queue_policy::TimeoutAction::Reject.into(),
        default_timeout_microseconds: 0,
        allow_timeout_override: true,
        max_queue_size: entry.queue_bound,
    };
    let batching = proto::ModelDynamicBatching {
        preferred_batch_size: entry.preferred_batch_sizes.iter().map(|&b| to_i32(b)).collect(),
        max_queue_delay_microseconds: entry.max_queue_delay.as_micros(),
        default_queue_policy: Some(queue),
    };
    spec.batched.then_some(proto::model_config::SchedulingChoice::DynamicBatching(batching))
}

fn instance_kind(platform: &str) -> proto::model_instance_group::Kind {
    if platform.starts_with("tensorrt") {
        proto::model_instance_group::Kind::Gpu
    } else {
        proto::model_instance_group::Kind::Cpu
    }
}

fn config_input(tensor: &TensorSpec) -> proto::ModelInput {
    proto::ModelInput {
        name: tensor.name.clone(),
        data_type: config_data_type(tensor.data_type).into(),
        dims: tensor.shape.clone(),
    }
}

fn config_output(tensor: &TensorSpec) -> proto::ModelOutput {
    proto::ModelOutput {
        name: tensor.name.clone(),
        data_type: config_data_type(tensor.data_type).into(),
        dims: tensor.shape.clone(),
    }
}

fn config_data_type(data_type: DataType) -> proto::DataType {
    match data_type {
        DataType::F32 => proto::DataType::TypeFp32,
        DataType::F16 => proto::DataType::TypeFp16,
        DataType::I64 => proto::DataType::TypeInt64,
        DataType::I32 => proto::DataType::TypeInt32,
        DataType::I8 => proto::DataType::TypeInt8,
        DataType::U8 => proto::DataType::TypeUint8,
        DataType::Bool => proto::DataType::TypeBool,
    }
}

fn to_i32(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// One model's counts and durations since the start, or every ready model's when `name` is empty.
///
/// # Errors
/// NOT_FOUND.
pub fn statistics(
    catalog: &Catalog,
    snapshot: &Snapshot,
    name: &str,
    version: &str,
) -> Result<proto::ModelStatisticsResponse, Refusal> {
    if !name.is_empty() {
        find_model(catalog, name, version)?;
    }
    let wanted = |entry: &&CatalogEntry| {
        if name.is_empty() { entry.state == ModelState::Ready } else { entry.name == name }
    };
    // A model that was not yet there when the snapshot was made.
    let unknown = ModelSnapshot::default();
    let model_stats = catalog.models.iter().filter(wanted).map(|entry| {
        let model = snapshot.models.iter().find(|m| m.name == entry.name);
        model_statistics(&entry.name, model.unwrap_or(&unknown))
    });
    Ok(proto::ModelStatisticsResponse { model_stats: model_stats.collect() })
}

fn model_statistics(name: &str, model: &ModelSnapshot) -> proto::ModelStatistics {
    let counters = &model.counters;
    let queue_us = counters.queue_us_total;
    let compute_us = counters.compute_us_total;
    proto::ModelStatistics {
        name: name.to_owned(),
        version: VERSION.to_owned(),
        last_inference: model.last_inference_unix_ms,
        inference_count: counters.items,
        execution_count: counters.executions,
        inference_stats: Some(proto::InferStatistics {
            success: duration(counters.ok, queue_us.saturating_add(compute_us)),
            fail: duration(counters.unserved(), counters.unserved_us_total),
            queue: duration(counters.ok, queue_us),
            compute_input: duration(counters.ok, COPY_US),
            compute_infer: duration(counters.ok, compute_us),
            compute_output: duration(counters.ok, COPY_US),
            cache_hit: duration(0, 0),
            cache_miss: duration(0, 0),
        }),
        batch_stats: model.batch_totals.iter().map(batch_statistics).collect(),
    }
}

fn batch_statistics(total: &BatchTotal) -> proto::InferBatchStatistics {
    proto::InferBatchStatistics {
        batch_size: total.items.into(),
        compute_input: duration(total.executions, COPY_US),
        compute_infer: duration(total.executions, total.compute_us),
        compute_output: duration(total.executions, COPY_US),
    }
}

/// Copying in and out is part of an execution here; it is not timed on its own.
const COPY_US: u64 = 0;

fn duration(count: u64, us: u64) -> Option<proto::StatisticDuration> {
    Some(proto::StatisticDuration { count, ns: us.saturating_mul(1_000) })
}

/// The models in config.ron, all of them or only the ready ones.
pub fn repository_index(catalog: &Catalog, only_ready: bool) -> proto::RepositoryIndexResponse {
    let models = catalog.models.iter().map(|entry| {
        let (state, reason) = match &entry.state {
            ModelState::Loading => ("LOADING", String::new()),
            ModelState::Ready => ("READY", String::new()),
            ModelState::Failed(why) => ("UNAVAILABLE", why.clone()),
            ModelState::Unloaded => ("UNAVAILABLE", "unloaded".to_owned()),
        };
        let (name, version) = (entry.name.clone(), VERSION.to_owned());
        ModelIndex { name, version, state: state.to_owned(), reason }
    });
    let models = models.filter(|m| !only_ready || m.state == "READY").collect();
    proto::RepositoryIndexResponse { models }
}
