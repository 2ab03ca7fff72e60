//! The one picture of the appliance that everything outside the reactor sees: the terminal UI, the
//! metrics page, `bcedge top` and the summary lines all render a [`Snapshot`].

mod device;

pub use device::{DeviceSnapshot, GpuSnapshot, JetsonSnapshot, Rail, Zone};

use hdrhistogram::{Counter, Histogram};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Immutable state of the appliance at one moment. Rates and percentiles cover the last
/// [`crate::telemetry::WINDOW`]; counters count from the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Counts up by one; a reader that sees the same number again has seen this snapshot.
    pub sequence: u64,
    pub version: String,
    pub uptime_us: u64,
    pub state: ApplianceState,
    /// Open client connections.
    pub connections: u32,
    pub totals: Totals,
    pub models: Vec<ModelSnapshot>,
    pub learning: LearningSnapshot,
    pub device: DeviceSnapshot,
    /// Newest last, at most [`crate::telemetry::MAX_EVENTS`].
    pub events: Arc<Vec<Event>>,
    /// Log lines, newest last, at most [`crate::telemetry::MAX_LOG_LINES`].
    pub log: Arc<Vec<Event>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApplianceState {
    #[default]
    Starting,
    Serving,
    /// Shutting down: no new requests, the accepted ones are being finished.
    Draining,
}

/// Over all models.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    pub arrivals_per_s: f64,
    /// Requests per second that met their SLO.
    pub goodput_per_s: f64,
    /// Of the requests that arrived in the window and are answered: the share within their SLO.
    pub slo_hit_rate: Option<f64>,
    /// Mean of the models' utilities; see [`crate::scheduler::utility`].
    pub utility: Option<f64>,
    pub counters: Counters,
}

/// Since the start. `received = ok + rejected + expired + failed + cancelled + in the appliance`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub received: u64,
    /// Answered with outputs, in time or late.
    pub ok: u64,
    /// Of `ok`: answered within their SLO.
    pub slo_met: u64,
    /// Refused at the door: full queue, model not ready, shutdown.
    pub rejected: u64,
    /// Answered without running, because the deadline could no longer be met or the timeout passed.
    pub expired: u64,
    /// The engine failed, or could not compute with what the request brought.
    pub failed: u64,
    /// Withdrawn by the client.
    pub cancelled: u64,
    /// Sums over `ok`, from arrival to the start of the batch and from there to its end.
    pub queue_us_total: u64,
    pub compute_us_total: u64,
    /// Sum over `rejected`, `expired`, `failed` and `cancelled`, from arrival to answer.
    pub unserved_us_total: u64,
    /// Batches run.
    pub executions: u64,
    /// Items in those batches.
    pub items: u64,
    /// Instances replaced after an error, a panic or a hang.
    pub replaced: u64,
}

impl Counters {
    /// Requests that were answered without outputs, for whatever reason.
    pub fn unserved(&self) -> u64 {
        self.rejected + self.expired + self.failed + self.cancelled
    }

    /// Adds another model's counters.
    pub fn add(&mut self, other: &Counters) {
        self.received += other.received;
        self.ok += other.ok;
        self.slo_met += other.slo_met;
        self.rejected += other.rejected;
        self.expired += other.expired;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.queue_us_total += other.queue_us_total;
        self.compute_us_total += other.compute_us_total;
        self.unserved_us_total += other.unserved_us_total;
        self.executions += other.executions;
        self.items += other.items;
        self.replaced += other.replaced;
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ModelState {
    #[default]
    Loading,
    Ready,
    /// Not serving, and why. A load command tries again.
    Failed(String),
    /// By command.
    Unloaded,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelSnapshot {
    pub name: String,
    pub state: ModelState,
    /// Such as `rten_onnx`.
    pub platform: String,
    /// Name of the policy in force, such as `deadline`.
    pub policy: String,
    /// True while an operator's manual batch or instance setting overrides the policy.
    pub overridden: bool,
    pub slo_us: u64,

    /// Batch limit in force (items), and the most the engine takes.
    pub batch: u32,
    pub max_batch: u32,
    /// Instances that may run at once now, the most configured, alive, and running a batch.
    pub instances: u32,
    pub max_instances: u32,
    pub instances_alive: u32,
    pub instances_running: u32,

    pub queue_depth: u32,
    pub queue_bound: u32,
    /// How long the oldest queued request has waited.
    pub queue_oldest_us: u64,

    pub arrivals_per_s: f64,
    pub goodput_per_s: f64,
    pub slo_hit_rate: Option<f64>,
    pub utility: Option<f64>,
    /// Of the requests answered with outputs in the window.
    pub latency_us: Percentiles,
    /// Means over the same requests.
    pub queue_us_mean: f64,
    pub compute_us_mean: f64,
    /// Requests of the window by latency: (upper bound of the bucket in µs, requests), ascending.
    pub latency_histogram: Vec<(u64, u64)>,
    /// Batches of the window by size: (items, batches), ascending.
    pub batch_distribution: Vec<(u32, u64)>,
    /// Predicted execution time per batch size beside the usual neighbours: (items, µs), ascending;
    /// empty while unknown.
    pub predicted_us: Vec<(u32, u64)>,
    /// How long the batches of the window took, by size, ascending.
    pub run_times: Vec<RunTime>,
    pub counters: Counters,
    /// Batches since the start by size, ascending.
    pub batch_totals: Vec<BatchTotal>,
    /// When the last batch ended, in milliseconds since 1970; 0: none has run.
    pub last_inference_unix_ms: u64,
    /// What a trained policy thought of its last decision; `None` under a rule.
    pub insight: Option<InsightSnapshot>,
    /// Measured over profiled execution time of late, neighbours taken out; 1: as profiled.
    pub drift: f64,
    /// How many times longer executions take beside their usual neighbours than alone.
    pub crowding: f64,
    /// Newest last.
    pub decisions: Vec<DecisionLine>,
    /// Since the start.
    pub decisions_total: u64,
}

/// Batches of one size in the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunTime {
    pub items: u32,
    pub batches: u64,
    /// Their mean execution time.
    pub measured_us: u64,
    /// What one is predicted to take now beside the usual neighbours; `None` while unknown.
    pub predicted_us: Option<u64>,
}

/// What a trained policy thought of its last decision for a model. Actions are counted as
/// [`crate::scheduler::actions`] does: all batch sizes of one instance come first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InsightSnapshot {
    /// The batch sizes to choose from (items): one for each column of the actions. One that the
    /// model's limit lies below stands for that limit.
    pub batches: Vec<u32>,
    /// Predicted execution time of each of them with nothing beside it, which is what the SLO is
    /// held against; empty while unknown.
    pub alone_us: Vec<u64>,
    /// By action, when the decision was taken; 0 where that was not allowed then.
    pub probabilities: Vec<f32>,
    /// Why each action is not allowed now; `None` where it is.
    pub masked: Vec<Option<Mask>>,
    /// The one in force.
    pub action: usize,
    /// Of the choice, in nats.
    pub entropy: f32,
}

impl InsightSnapshot {
    /// Batch size (items) and instances of an action; `None` when there is no such action.
    pub fn limits(&self, action: usize) -> Option<(u32, u32)> {
        let instances = action.checked_div(self.batches.len())? as u32 + 1;
        (action < self.probabilities.len())
            .then(|| (self.batches[action % self.batches.len()], instances))
    }
}

/// Why a trained policy may not choose an action; see [`crate::scheduler::actions::Masked`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mask {
    /// The engine or the configuration has no batches of this size.
    BatchLimit,
    /// The configuration or the memory has no room for so many instances.
    InstanceLimit,
    /// Alone it is predicted to take longer than the SLO.
    Slo,
    /// The policy in force never chooses it: `tac` leaves the instances as they are.
    Policy,
}

/// How learning while serving goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LearningSnapshot {
    /// The switch.
    pub enabled: bool,
    /// Its thread runs. Serving does not need it.
    pub alive: bool,
    /// The weights that serving began with: `shipped`, or a file. Empty where nothing can learn.
    pub weights: String,
    /// Where what is learnt is kept.
    pub file: String,
    /// Decisions remembered with what came of them, and how many it takes to begin.
    pub experiences: u64,
    pub experiences_needed: u64,
    pub updates: u64,
    /// Of `updates`: how many are in the file.
    pub saved_updates: u64,
    /// Of the last update: mean entropy of the policy in nats, the temperature, the critics' loss,
    /// the value they expect.
    pub entropy: f32,
    pub temperature: f32,
    pub critic_loss: f32,
    pub value: f32,
    /// Mean reward of the decisions of about the last minute; `None` before there was one.
    pub reward: Option<f32>,
}

impl LearningSnapshot {
    /// The thread has ended although it should run.
    pub fn is_dead(&self) -> bool {
        !self.alive && !self.weights.is_empty()
    }
}

/// All batches of one size since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchTotal {
    pub items: u32,
    pub executions: u64,
    /// Sum of their execution times.
    pub compute_us: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// 0 requests: the others mean nothing.
    pub count: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl Percentiles {
    /// Of a histogram in microseconds.
    pub fn of<C: Counter>(histogram: &Histogram<C>) -> Percentiles {
        if histogram.is_empty() {
            return Percentiles::default();
        }
        Percentiles {
            count: histogram.len(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}

/// One change of a model's batch limit or instance count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionLine {
    pub uptime_us: u64,
    pub policy: String,
    pub batch: u32,
    pub instances: u32,
    /// In words, such as `manual override` or `slo allows 8`.
    pub reason: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

/// Something an operator should know, or a line of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since 1970, for showing the time of day.
    pub unix_ms: u64,
    pub level: Level,
    /// The model it is about.
    pub model: Option<String>,
    pub text: String,
}
