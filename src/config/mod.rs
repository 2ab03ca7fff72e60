//! config.ron: the schema, with what every value may be. Unknown fields are refused; all problems
//! are reported at once, each with its line and column (see [`report`]).

pub(crate) mod bounds;
mod cross;
mod device;
mod explain;
mod outline;
mod reader;
pub mod report;
mod slo;

pub use bounds::{MAX_MODELS, MAX_NAME_BYTES, MAX_SOCKET_PATH_BYTES};
pub use cross::group_id;
pub use device::{Device, GpuConfig};
pub use reader::{check, check_text, load_strictly, parse_strictly};
pub use report::ConfigErrors;
pub use slo::auto_slo_us;

use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The whole of config.ron.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    pub socket: SocketConfig,
    #[serde(default)]
    pub device: Device,
    /// CPU threads of one instance. 0: one.
    #[serde(default, deserialize_with = "bounds::within::<0, 256, _, _>")]
    pub threads_per_instance: u32,
    /// Where libonnxruntime.so is; searched for when absent.
    #[serde(default)]
    pub onnxruntime: Option<PathBuf>,
    /// Where libnvinfer.so is, file or folder; searched for when absent.
    #[serde(default)]
    pub tensorrt: Option<PathBuf>,
    #[serde(default)]
    pub gpu: GpuConfig,
    /// The policy of every model that does not name its own.
    #[serde(default)]
    pub policy: PolicyConfig,
    #[serde(default)]
    pub scheduler: SchedulerConfig,
    /// At least one, at most [`MAX_MODELS`]; every name once.
    #[serde(deserialize_with = "bounds::models")]
    pub models: Vec<ModelConfig>,
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// Everything that is wrong with the file, as one text for the operator.
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        let (config, report) = check(path);
        config.ok_or(ConfigErrors(report))
    }

    /// The configuration this program was built with: the six reference networks.
    ///
    /// # Errors
    /// Never in a released program; a test loads it.
    pub fn built_in() -> Result<Config, ConfigErrors> {
        let (config, report) = check_text("config.ron", include_str!("../../config.ron").into());
        config.ok_or(ConfigErrors(report))
    }

    /// Batches that the device runs side by side without slowing each other: its cores over the
    /// threads of an instance.
    pub fn lanes(&self) -> u32 {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        (cores / self.threads_per_instance.max(1)).max(1)
    }
}

/// The Unix socket and what one client may take of it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SocketConfig {
    /// Relative to the working directory; at most [`MAX_SOCKET_PATH_BYTES`] bytes.
    #[serde(deserialize_with = "bounds::socket_path")]
    pub path: PathBuf,
    /// Permission bits of the socket file, as `0o660`; the owner can always read and write.
    #[serde(deserialize_with = "bounds::mode")]
    pub mode: u32,
    /// Group that owns the socket file; the process's own when absent.
    pub group: Option<String>,
    /// Largest request or response message: 64 KiB to 2 GiB.
    #[serde(deserialize_with = "bounds::within::<65_536, 2_147_483_648, _, _>")]
    pub max_message_bytes: u64,
    #[serde(deserialize_with = "bounds::within::<1, 65_536, _, _>")]
    pub max_connections: u32,
    /// Requests one connection may have unanswered.
    #[serde(deserialize_with = "bounds::within::<1, 65_536, _, _>")]
    pub max_in_flight_per_connection: u32,
    /// A connection without a request for this long is closed, at most a day. 0: never.
    #[serde(deserialize_with = "bounds::within::<0, 86_400_000, _, _>")]
    pub idle_timeout_ms: u64,
    /// A client has this long to finish its request's headers, and between parts of its body.
    #[serde(deserialize_with = "bounds::within::<10, 600_000, _, _>")]
    pub header_timeout_ms: u64,
    /// Most bytes of shared memory one client may have registered, up to 1 TiB. 0: none.
    #[serde(deserialize_with = "bounds::within::<0, 1_099_511_627_776, _, _>")]
    pub max_shared_memory_bytes: u64,
    /// On SIGTERM, accepted requests have this long to finish.
    #[serde(deserialize_with = "bounds::within::<0, 600_000, _, _>")]
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

/// How batch size and instances are chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum PolicyConfig {
    /// Up to `batch` items whenever an instance is free; never waits for more.
    Fixed {
        #[serde(deserialize_with = "bounds::within::<1, 1024, _, _>")]
        batch: u32,
        #[serde(deserialize_with = "bounds::within::<1, 64, _, _>")]
        instances: u32,
    },
    /// Triton's dynamic batcher.
    Triton {
        /// A queue that can form one of these goes at once; empty: the model's largest.
        #[serde(default, deserialize_with = "bounds::list_within::<1, 1024, _>")]
        preferred_batch_sizes: Vec<u32>,
        /// Otherwise the oldest request waits at most this long for company; up to a minute.
        #[serde(default, deserialize_with = "bounds::within::<0, 60_000_000, _, _>")]
        max_queue_delay_us: u64,
        #[serde(deserialize_with = "bounds::within::<1, 64, _, _>")]
        instances: u32,
    },
    /// The planner's dispatch under limits that a trained actor chooses (soft actor-critic).
    #[default]
    Sac,
    /// A trained actor chooses batch sizes only, for so many instances of every model.
    Tac {
        #[serde(default = "default_one", deserialize_with = "bounds::within::<1, 64, _, _>")]
        instances: u32,
    },
    /// Waits for a fuller batch only while the oldest request's slack allows.
    Deadline,
    /// Chooses between the models: plays every sensible next batch through to the end of all
    /// queues, and starts the one that loses the least utility.
    Planner,
    /// Clipper's adaptive batching: the largest batch grows while executions stay within a target.
    Aimd {
        /// Share of the SLO that an execution may take.
        #[serde(
            default = "default_latency_percent",
            deserialize_with = "bounds::within::<1, 100, _, _>"
        )]
        latency_percent: u32,
        /// Items that the largest batch grows by after a full one within the target.
        #[serde(default = "default_step", deserialize_with = "bounds::within::<1, 64, _, _>")]
        step: u32,
        /// The oldest request waits at most this long for a full batch; up to a minute.
        #[serde(default, deserialize_with = "bounds::within::<0, 60_000_000, _, _>")]
        max_queue_delay_us: u64,
        #[serde(default = "default_replicas", deserialize_with = "bounds::within::<1, 64, _, _>")]
        instances: u32,
    },
    /// DeepRT: what arrives in a window is one job; jobs of all models run one at a time, the
    /// earliest deadline first.
    DeepRt {
        /// Length of a window as a share of the shortest deadline; the paper's is 50.
        #[serde(
            default = "default_window_percent",
            deserialize_with = "bounds::within::<1, 100, _, _>"
        )]
        window_percent: u32,
        /// Whether a window ends early when the device would idle; not in the paper.
        #[serde(default = "default_true")]
        work_conserving: bool,
    },
    /// EdgeServing without early exits: models take turns, next is the one whose batch leaves all
    /// queues the least urgent.
    Lookahead {
        /// How much more a request counts when it has waited for its SLO than at its arrival, as
        /// the logarithm of the factor; the paper's is 1.
        #[serde(default = "default_steepness", deserialize_with = "bounds::within::<1, 20, _, _>")]
        steepness: u32,
    },
}

// Tuned on a steady load of 0.6 of the capacity of the modelled platforms.
fn default_latency_percent() -> u32 {
    10
}
fn default_step() -> u32 {
    2
}
fn default_replicas() -> u32 {
    1
}
fn default_window_percent() -> u32 {
    3
}
fn default_steepness() -> u32 {
    6
}

impl PolicyConfig {
    /// `Aimd` with the values that config.ron may leave out.
    pub fn aimd() -> PolicyConfig {
        PolicyConfig::Aimd {
            latency_percent: default_latency_percent(),
            step: default_step(),
            max_queue_delay_us: 0,
            instances: default_replicas(),
        }
    }

    /// `DeepRt` with the values that config.ron may leave out.
    pub fn deeprt() -> PolicyConfig {
        PolicyConfig::DeepRt {
            window_percent: default_window_percent(),
            work_conserving: default_true(),
        }
    }

    /// `Lookahead` with the values that config.ron may leave out.
    pub fn lookahead() -> PolicyConfig {
        PolicyConfig::Lookahead { steepness: default_steepness() }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SchedulerConfig {
    /// Time between a policy's decisions.
    #[serde(deserialize_with = "bounds::within::<1, 10_000, _, _>")]
    pub slot_ms: u64,
    /// Whether a request that can't meet its deadline is refused at once.
    pub admission: Admission,
    /// A batch that runs longer than this many times its prediction counts as hung …
    #[serde(deserialize_with = "bounds::number::<1, 1_000_000, _>")]
    pub hang_factor: f64,
    /// … but not before this.
    #[serde(deserialize_with = "bounds::within::<1, 3_600_000, _, _>")]
    pub hang_floor_ms: u64,
    /// Whether the policy `sac` goes on learning while it serves.
    pub learning: bool,
    /// Where it keeps what it has learnt; a start goes on from there.
    #[serde(deserialize_with = "bounds::path")]
    pub policy_file: PathBuf,
}

impl Default for SchedulerConfig {
    fn default() -> SchedulerConfig {
        SchedulerConfig {
            slot_ms: 50,
            admission: Admission::Feasible,
            hang_factor: 20.0,
            hang_floor_ms: 10_000,
            learning: true,
            policy_file: PathBuf::from("engines/policy.safetensors"),
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
    /// The name clients use: letters, digits, `_`, `-` and `.`, at most [`MAX_NAME_BYTES`].
    #[serde(deserialize_with = "bounds::name")]
    pub name: String,
    pub engine: EngineConfig,
    #[serde(default)]
    pub slo: Slo,
    /// Most items in a batch; the engine's own limit when absent and smaller.
    #[serde(default = "default_max_batch", deserialize_with = "bounds::within::<1, 1024, _, _>")]
    pub max_batch: u32,
    #[serde(default = "default_max_instances", deserialize_with = "bounds::within::<1, 64, _, _>")]
    pub max_instances: u32,
    /// Requests that may wait.
    #[serde(
        default = "default_queue_bound",
        deserialize_with = "bounds::within::<1, 65_536, _, _>"
    )]
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
fn default_one() -> u32 {
    1
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
    Onnx(#[serde(deserialize_with = "bounds::path")] PathBuf),
    /// A TensorRT plan, run on the GPU.
    Plan(#[serde(deserialize_with = "bounds::path")] PathBuf),
    /// No computation: sleeps by a table. For trying schedulers and for tests.
    Synthetic(SyntheticConfig),
}

impl EngineConfig {
    /// The model file, of an engine that has one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            EngineConfig::Onnx(path) | EngineConfig::Plan(path) => Some(path),
            EngineConfig::Synthetic(_) => None,
        }
    }
}

/// A pretended engine: one FP32 input and output of `elements` values an item, output = 2 × input.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyntheticConfig {
    /// (batch size, µs), ascending by batch size; between the entries it is interpolated.
    #[serde(deserialize_with = "bounds::latency_table")]
    pub latency_us: Vec<(u32, u64)>,
    #[serde(deserialize_with = "bounds::within::<1, 16_777_216, _, _>")]
    pub elements: u32,
    /// The nth run (from 1, counted over all instances) misbehaves like this.
    #[serde(deserialize_with = "bounds::faults")]
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
    Slow(#[serde(deserialize_with = "bounds::number::<0, 1_000_000, _>")] f64),
}

/// A model's service level objective: how long an answer may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Slo {
    /// From the measured profile of this device, by [`auto_slo_us`].
    #[default]
    Auto,
    /// 1 ms to 10 minutes.
    Ms(#[serde(deserialize_with = "bounds::within::<1, 600_000, _, _>")] u64),
    /// 100 µs to 10 minutes.
    Us(#[serde(deserialize_with = "bounds::within::<100, 600_000_000, _, _>")] u64),
}
