//! config.ron: the schema. Unknown fields are refused; every error carries line and column.

use serde::Deserialize;
use std::path::PathBuf;

/// The whole of config.ron.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    pub socket: SocketConfig,
    #[serde(default)]
    pub device: Device,
    /// CPU threads of one instance. 0: one.
    #[serde(default)]
    pub threads_per_instance: u32,
    /// Where libonnxruntime.so is; searched for when absent.
    #[serde(default)]
    pub onnxruntime: Option<PathBuf>,
    /// The policy of every model that does not name its own.
    #[serde(default)]
    pub policy: PolicyConfig,
    #[serde(default)]
    pub scheduler: SchedulerConfig,
    pub models: Vec<ModelConfig>,
}

/// The Unix socket and what one client may take of it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SocketConfig {
    /// Relative to the working directory.
    pub path: PathBuf,
    /// Permission bits of the socket file, as `0o660`.
    pub mode: u32,
    /// Group that owns the socket file; the process's own when absent.
    pub group: Option<String>,
    /// Largest request or response message.
    pub max_message_bytes: u64,
    pub max_connections: u32,
    /// Requests one connection may have unanswered.
    pub max_in_flight_per_connection: u32,
    /// A connection without a request for this long is closed. 0: never.
    pub idle_timeout_ms: u64,
    /// A client has this long to finish its request's headers, and between parts of its body.
    pub header_timeout_ms: u64,
    /// Most bytes of shared memory one client may have registered.
    pub max_shared_memory_bytes: u64,
    /// On SIGTERM, accepted requests have this long to finish.
    pub drain_timeout_ms: u64,
}

impl Default for SocketConfig {
    fn default() -> SocketConfig {
        SocketConfig {
            path: PathBuf::from("bcedge.sock"),
            mode: 0o660,
            group: None,
            max_message_bytes: 64 << 20,
            max_connections: 256,
            max_in_flight_per_connection: 1024,
            idle_timeout_ms: 0,
            header_timeout_ms: 10_000,
            max_shared_memory_bytes: 1 << 30,
            drain_timeout_ms: 5_000,
        }
    }
}

/// What runs the models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Device {
    /// The best that is there: ONNX Runtime when its library is found, else the embedded engine.
    #[default]
    Auto,
    /// The embedded CPU engine.
    Rten,
    /// ONNX Runtime; an error when its library is not found.
    OnnxRuntime,
}

/// How batch size and instances are chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum PolicyConfig {
    /// Up to `batch` items whenever an instance is free; never waits for more.
    Fixed { batch: u32, instances: u32 },
    /// Triton's dynamic batcher.
    Triton {
        /// A queue that can form one of these goes at once; empty: the model's largest.
        #[serde(default)]
        preferred_batch_sizes: Vec<u32>,
        /// Otherwise the oldest request waits at most this long for company.
        #[serde(default)]
        max_queue_delay_us: u64,
        instances: u32,
    },
    /// Waits for a fuller batch only while the oldest request's slack allows.
    #[default]
    Deadline,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SchedulerConfig {
    /// Time between a policy's decisions.
    pub slot_ms: u64,
    /// Whether a request that can't meet its deadline is refused at once.
    pub admission: Admission,
    /// A batch that runs longer than this many times its prediction counts as hung …
    pub hang_factor: f64,
    /// … but not before this.
    pub hang_floor_ms: u64,
}

impl Default for SchedulerConfig {
    fn default() -> SchedulerConfig {
        SchedulerConfig {
            slot_ms: 50,
            admission: Admission::Feasible,
            hang_factor: 20.0,
            hang_floor_ms: 10_000,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Admission {
    /// Answer DEADLINE_EXCEEDED as soon as the deadline can't be met.
    #[default]
    Feasible,
    /// Only a full queue refuses; late requests still run.
    QueueOnly,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The name clients use.
    pub name: String,
    pub engine: EngineConfig,
    #[serde(default)]
    pub slo: Slo,
    /// Most items in a batch; the engine's own limit when absent and smaller.
    #[serde(default = "default_max_batch")]
    pub max_batch: u32,
    #[serde(default = "default_max_instances")]
    pub max_instances: u32,
    /// Requests that may wait.
    #[serde(default = "default_queue_bound")]
    pub queue_bound: u32,
    /// This model's own policy.
    #[serde(default)]
    pub policy: Option<PolicyConfig>,
    /// False: loaded only when a client or operator asks.
    #[serde(default = "default_true")]
    pub load: bool,
}

fn default_max_batch() -> u32 {
    8
}
fn default_max_instances() -> u32 {
    2
}
fn default_queue_bound() -> u32 {
    256
}
fn default_true() -> bool {
    true
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum EngineConfig {
    /// An ONNX file, run on the device.
    Onnx(PathBuf),
    /// No computation: sleeps by a table. For trying schedulers and for tests.
    Synthetic(SyntheticConfig),
}

/// A pretended engine: one FP32 input and output of `elements` values an item, output = 2 × input.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyntheticConfig {
    /// Execution time by batch size, ascending; between the entries it is interpolated.
    pub latency_us: Vec<(u32, u64)>,
    pub elements: u32,
    /// The nth run (from 1, counted over all instances) misbehaves like this.
    pub faults: Vec<(u64, Fault)>,
}

impl Default for SyntheticConfig {
    fn default() -> SyntheticConfig {
        SyntheticConfig { latency_us: vec![(1, 1_000)], elements: 16, faults: Vec::new() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub enum Fault {
    /// The run returns an error.
    Fail,
    /// The run panics.
    Panic,
    /// The run does not come back.
    Hang,
    /// This and every later run takes this many times as long.
    Slow(f64),
}

/// A model's service level objective: how long an answer may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Slo {
    /// From the measured profile of this device.
    #[default]
    Auto,
    Ms(u64),
    Us(u64),
}
