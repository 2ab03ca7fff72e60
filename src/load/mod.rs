//! The load generator: plays a schedule against a socket and accounts for every request.
//!
//! ```text
//! schedule ─► pacer ─► connection ─► reply ─► recorder ─► report
//! ```
//!
//! Latency counts from the **intended** start of a request, so a server that stalls is charged for
//! every request that was due meanwhile (no coordinated omission). One thread, with a tokio runtime
//! of its own, does all sending and receiving; the caller's thread turns what it records into
//! reports, so that a terminal never delays a request.

mod engine;
mod pacer;
mod prepare;
mod recorder;
mod report;
mod shared_memory;

pub use report::{ErrorCount, Figures, LoadReport, ModelReport, SCHEMA};

use crate::units::Nanos;
use crate::workload::{Process, Trace};
use engine::{Engine, Source};
use pacer::Clock;
use prepare::Prepared;
use recorder::Recorder;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Between two calls of `progress`.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Most requests unanswered at once. Arrivals beyond it wait, and their latency counts on.
pub const MAX_OUTSTANDING: usize = 32_768;
/// Connections a run may have.
pub const MAX_CONNECTIONS: usize = 256;
/// Longest run, in seconds: 30 days.
pub const MAX_SECONDS: f64 = 30.0 * 86_400.0;

/// One run of the load generator.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    pub socket: PathBuf,
    pub load: Load,
    /// Sent with every request as `slo_us`. Without it the model's own SLO counts, where the server
    /// tells it.
    pub slo_us: Option<u64>,
    /// Measured time. A trace that ends earlier ends the run.
    pub seconds: f64,
    /// Load before the measured time that is not counted. Of a trace: its beginning.
    pub warmup_seconds: f64,
    pub connections: usize,
    /// Tensors travel in system shared memory instead of in the messages.
    pub shared_memory: bool,
    /// Decides arrival times and input data.
    pub seed: u64,
}

/// What is sent when.
#[derive(Clone, Debug)]
pub enum Load {
    /// Arrivals come by themselves, whether the server keeps up or not.
    Open { models: Vec<ModelRate>, process: Process },
    /// Recorded arrivals.
    Trace(Arc<Trace>),
    /// `concurrency` requests are outstanding for each model; a reply brings the next. No models:
    /// all that are ready.
    Closed { models: Vec<String>, concurrency: usize },
}

#[derive(Clone, Debug, PartialEq)]
pub struct ModelRate {
    pub model: String,
    /// Requests per second.
    pub rate: f64,
}

impl LoadPlan {
    /// A plan with the defaults of `bcedge load`.
    pub fn new(socket: impl Into<PathBuf>, load: Load) -> LoadPlan {
        LoadPlan {
            socket: socket.into(),
            load,
            slo_us: None,
            seconds: 10.0,
            warmup_seconds: 0.0,
            connections: 1,
            shared_memory: false,
            seed: 1,
        }
    }

    fn check(&self) -> Result<(), String> {
        if !(self.seconds > 0.0 && self.seconds <= MAX_SECONDS) {
            return Err(format!("a run of {} s; above 0 and at most {MAX_SECONDS}", self.seconds));
        }
        if !(0.0..=MAX_SECONDS).contains(&self.warmup_seconds) {
            return Err(format!("a warm-up of {} s; 0 to {MAX_SECONDS}", self.warmup_seconds));
        }
        if !(1..=MAX_CONNECTIONS).contains(&self.connections) {
            return Err(format!("{} connections; 1 to {MAX_CONNECTIONS}", self.connections));
        }
        if self.slo_us == Some(0) {
            return Err("an SLO of 0 µs can't be met; above 0".into());
        }
        match &self.load {
            Load::Open { models, .. } if models.is_empty() => {
                Err("no model is given; say --model MODEL=RATE".into())
            }
            Load::Trace(trace) if trace.last() < Nanos::from_secs_f64(self.warmup_seconds) => {
                Err(format!(
                    "the trace ends after {:.1} s, within the warm-up of {} s; nothing would count",
                    trace.last().as_secs_f64(),
                    self.warmup_seconds
                ))
            }
            Load::Closed { concurrency, .. } if !(1..=MAX_OUTSTANDING).contains(concurrency) => {
                Err(format!("a concurrency of {concurrency}; 1 to {MAX_OUTSTANDING}"))
            }
            _ => Ok(()),
        }
    }

    /// Measured time; a trace is not waited for after its last arrival.
    fn measured(&self) -> Nanos {
        let seconds = Nanos::from_secs_f64(self.seconds);
        match &self.load {
            // An arrival at the very end still belongs to the run.
            Load::Trace(trace) => {
                let end = trace.last() + Nanos(1);
                seconds.min(end - Nanos::from_secs_f64(self.warmup_seconds))
            }
            _ => seconds,
        }
    }
}

/// Runs the plan to its end and gives the final report. Blocks; needs no terminal. `progress` is
/// called about ten times a second on this thread. Setting `stop` ends the run early, with what was
/// counted until then.
///
/// # Errors
/// When the run can't begin: an impossible plan, no server, an unknown model, inputs that can't be
/// made up. A server that goes away later is in the report ([`LoadReport::ended`]).
pub fn run(
    plan: &LoadPlan,
    stop: &AtomicBool,
    mut progress: impl FnMut(&LoadReport),
) -> Result<LoadReport, String> {
    plan.check()?;
    let source = Source::of(plan)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("can't start the load generator: {e}"))?;
    let Some(prepared) = runtime.block_on(prepare_unless_stopped(plan, stop))? else {
        return Err("stopped before the first request".into());
    };
    let Prepared { clients, targets, regions } = prepared;
    let recorder = Arc::new(Recorder::new(plan, &targets));
    let clock = Clock::start();
    let engine = Engine::new(clock, clients.clone(), targets, Arc::clone(&recorder));
    let ended = thread::scope(|scope| {
        // Dropped when the engine ends, however it ends: that wakes this thread.
        let (running, ended) = mpsc::channel::<()>();
        let runtime = &runtime;
        let engine = scope.spawn(move || {
            let _running = running;
            runtime.block_on(async {
                let ended = engine.run(source, stop).await;
                prepare::unregister(&clients, &regions).await;
                ended
            })
        });
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(PROGRESS_INTERVAL) {
            progress(&recorder.report(clock.now(), None));
        }
        engine.join()
    });
    match ended {
        Ok(ended) => Ok(recorder.report(ended.at, Some(ended.how))),
        Err(_) => Err("the load generator failed; its message stands above".into()),
    }
}

async fn prepare_unless_stopped(
    plan: &LoadPlan,
    stop: &AtomicBool,
) -> Result<Option<Prepared>, String> {
    tokio::select! {
        prepared = prepare::prepare(plan) => prepared.map(Some),
        () = stopped(stop) => Ok(None),
    }
}

/// Waits until somebody wants the run to end.
async fn stopped(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
