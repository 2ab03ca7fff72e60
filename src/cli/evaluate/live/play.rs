//! One policy under one trace: on the real engines, through the socket, and in the simulator.

use super::rig::Rig;
use crate::load::{self, Load, LoadPlan as Replay, LoadReport};
use crate::runtime::Appliance;
use crate::scheduler::trained::Trained;
use crate::sim::{Arrivals, LoadPlan, RunResult, SloMix};
use crate::suite::bench::{WARM_UP, end};
use crate::suite::roster;
use crate::telemetry::log::LogBuffer;
use crate::telemetry::snapshot::{ModelState, Snapshot};
use crate::workload::{Arrival, Trace};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What is replayed.
pub struct Piece {
    pub load: LoadPlan,
    /// Of the arrivals.
    pub seed: u64,
    /// Time that arrivals count for, after the warm-up.
    pub seconds: u64,
    trace: Arc<Trace>,
}

impl Piece {
    /// # Errors
    /// When the load's rates or shape contradict themselves.
    pub fn new(rig: &Rig, load: LoadPlan, seconds: u64, seed: u64) -> Result<Piece, String> {
        let mut arrivals = Vec::new();
        for arrival in arrivals_of(&load, seed)? {
            arrivals.push(Arrival { at: arrival.at, stream: arrival.model.index() });
            // One more than counts: a trace ends with its last arrival, and the run must not.
            if arrival.at >= end(seconds) {
                break;
            }
        }
        let trace = Arc::new(Trace { models: rig.names(), arrivals });
        Ok(Piece { load, seed, seconds, trace })
    }

    /// Requests that count.
    pub fn requests(&self) -> usize {
        let counts = |arrival: &&Arrival| arrival.at >= WARM_UP && arrival.at < end(self.seconds);
        self.trace.arrivals.iter().filter(counts).count()
    }

    /// Serves in this process, with the weights of that file if there is one, and replays the trace
    /// against the socket. `folder` is for the socket.
    ///
    /// # Errors
    /// A text for the operator: a model that does not come up, or a run that does not end as it
    /// should.
    pub fn live(
        &self,
        rig: &Rig,
        policy: &str,
        weights: Option<&Path>,
        folder: &Path,
        stop: &AtomicBool,
    ) -> Result<LoadReport, String> {
        let socket = folder.join("live.sock");
        let appliance =
            Appliance::start(rig.config(policy, &socket, weights), LogBuffer::default())?;
        appliance.wait_until_settled();
        let replay = Replay {
            warmup_seconds: WARM_UP.as_secs_f64(),
            seconds: self.seconds as f64,
            shared_memory: true,
            seed: self.seed,
            ..Replay::new(&socket, Load::Trace(Arc::clone(&self.trace)))
        };
        let played = all_ready(&appliance.gateway().snapshot())
            .and_then(|()| load::run(&replay, stop, |_| {}));
        appliance.shut_down()?;
        let report = played?;
        match report.ended.as_deref() {
            Some("finished") => Ok(report),
            ended => Err(format!("the replay under {policy} did not end: {ended:?}")),
        }
    }

    /// The same arrivals in the simulator, with execution times of `noise_seed`.
    ///
    /// # Errors
    /// When the load's rates or shape contradict themselves.
    pub fn simulated(
        &self,
        rig: &Rig,
        policy: &'static str,
        trained: &Trained,
        noise_seed: u64,
    ) -> Result<RunResult, String> {
        let (policies, _) = roster::set_up(policy, &rig.bench, &rig.tuned, &self.load, trained);
        let arrivals = arrivals_of(&self.load, self.seed)?;
        Ok(rig.bench.replay(&self.load, arrivals, policies, self.seconds, noise_seed))
    }
}

fn arrivals_of(load: &LoadPlan, seed: u64) -> Result<Arrivals, String> {
    Arrivals::new(&load.shape, &load.rates_per_s, SloMix::Same(1.0), seed)
}

fn all_ready(snapshot: &Snapshot) -> Result<(), String> {
    let reason = |model: &crate::telemetry::snapshot::ModelSnapshot| match &model.state {
        ModelState::Ready => None,
        ModelState::Failed(reason) => Some(format!("{}: {reason}", model.name)),
        state => Some(format!("{}: it is not ready but {state:?}", model.name)),
    };
    let reasons: Vec<String> = snapshot.models.iter().filter_map(reason).collect();
    if reasons.is_empty() { Ok(()) } else { Err(reasons.join("\n")) }
}
