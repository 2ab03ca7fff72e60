//! The learner thread: trains the serving policy further on what the device really does.
//!
//! It has the lowest priority and a small share of a core. Nothing waits for it: experiences that
//! find its inbox full are dropped, and when it dies, serving goes on with the last weights.

use super::unix_ms;
use crate::policy_file;
use crate::scheduler::actions::ACTIONS;
use crate::scheduler::learned::Experience;
use crate::scheduler::observation::FEATURES;
use crate::scheduler::sac::{
    Actor, Learner, Replay, SacConfig, Schedule, UpdateError, UpdateStats,
};
use crate::telemetry::snapshot::LearningSnapshot;
use crate::train;
use arc_swap::ArcSwap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Experiences that wait for the learner.
const INBOX: usize = 1_024;
/// Experiences it remembers.
const REPLAY: usize = 50_000;
/// Before it learns from them, it remembers this many: about ten minutes of six models.
const LEAST_REPLAY: usize = 2_000;
/// The learner's share of one core.
const DUTY: f64 = 0.01;
/// Updates between two exchanges of the serving weights, and between two savings.
const UPDATES_PER_EXCHANGE: u64 = 20;
const UPDATES_PER_SAVING: u64 = 500;
/// How long it waits for an experience before it looks whether it is to stop.
const PATIENCE: Duration = Duration::from_millis(200);

/// What the learner and the rest of the appliance share.
pub(super) struct LearnerLink {
    /// For [`crate::scheduler::trained::Trained::experiences`].
    pub(super) experiences: SyncSender<Experience>,
    /// Off: experiences are taken in, and nothing is learnt from them.
    pub(super) enabled: Arc<AtomicBool>,
    pub(super) shown: Arc<ArcSwap<LearningSnapshot>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Something the operator should hear.
pub(super) type Notice = (crate::telemetry::snapshot::Level, String);

/// Starts the thread, from the weights that serve.
///
/// # Errors
/// When the system gives no more threads.
pub(super) fn start(
    actor: Arc<ArcSwap<Actor>>,
    file: PathBuf,
    enabled: bool,
    notices: mpsc::Sender<Notice>,
) -> std::io::Result<LearnerLink> {
    let (experiences, inbox) = sync_channel(INBOX);
    let enabled = Arc::new(AtomicBool::new(enabled));
    let stop = Arc::new(AtomicBool::new(false));
    let shown = Arc::new(ArcSwap::from_pointee(LearningSnapshot::default()));
    let side = Side {
        actor,
        file,
        inbox,
        enabled: enabled.clone(),
        stop: stop.clone(),
        shown: shown.clone(),
        notices,
        saved_updates: 0,
    };
    let thread = thread::Builder::new().name("learner".into()).spawn(move || side.run())?;
    Ok(LearnerLink { experiences, enabled, shown, stop, thread })
}

impl LearnerLink {
    /// Lets the thread save what it has learnt and end.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        // One that panicked has said so in the log; serving went on without it.
        let _ = self.thread.join();
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }
}

/// The settings it goes on learning with: slower than in training, since there is no second run of
/// the same arrivals to compare with.
fn config() -> SacConfig {
    let mut config = SacConfig::new(FEATURES, ACTIONS);
    config.batch = 128;
    config.actor_rate = 1e-5;
    config.critic_rate = 1e-4;
    config.temperature_rate = 0.0;
    config.initial_alpha = 1e-3;
    config.target_entropy = Schedule::constant(0.04);
    config
}

struct Side {
    actor: Arc<ArcSwap<Actor>>,
    file: PathBuf,
    inbox: Receiver<Experience>,
    enabled: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    shown: Arc<ArcSwap<LearningSnapshot>>,
    notices: mpsc::Sender<Notice>,
    saved_updates: u64,
}

impl Side {
    fn run(mut self) {
        // Where the system does not allow it, the small duty alone keeps it out of the way.
        let _ = rustix::process::nice(19);
        let mut learner = match Learner::from_actor(config(), &self.actor.load(), unix_ms()) {
            Ok(learner) => learner,
            Err(error) => return self.notice(true, format!("learning is off: {error}")),
        };
        learner.normaliser_mut().freeze(true);
        let mut replay = Replay::new(REPLAY, FEATURES, ACTIONS);
        let mut may_work_at = Instant::now();
        while !self.stop.load(Ordering::Acquire) {
            match self.inbox.recv_timeout(PATIENCE) {
                // What is not finite is refused, and counts for nothing.
                Ok(experience) => drop(replay.push(&train::transition(&experience))),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let enabled = self.enabled.load(Ordering::Relaxed);
            let begun = Instant::now();
            let mut stats = None;
            if enabled && replay.len() >= LEAST_REPLAY && begun >= may_work_at {
                stats = self.update(&mut learner, &replay);
                may_work_at = Instant::now() + begun.elapsed().div_f64(DUTY);
            }
            self.show(&learner, replay.len(), enabled, stats);
        }
        if learner.updates() > self.saved_updates {
            self.save(&learner);
        }
    }

    fn update(&mut self, learner: &mut Learner, replay: &Replay) -> Option<UpdateStats> {
        let stats = match learner.update(replay) {
            Ok(stats) => Some(stats),
            Err(UpdateError::Empty) => None,
            Err(error) => {
                self.notice(true, format!("learning: {error}"));
                None
            }
        };
        if learner.updates().is_multiple_of(UPDATES_PER_EXCHANGE) {
            self.actor.store(Arc::new(learner.actor()));
        }
        if learner.updates() >= self.saved_updates + UPDATES_PER_SAVING {
            self.save(learner);
        }
        stats
    }

    fn save(&mut self, learner: &Learner) {
        let made_by = format!("learnt while serving, {} updates", learner.updates());
        self.saved_updates = learner.updates();
        if let Err(error) = policy_file::save(&self.file, &learner.actor(), &made_by) {
            self.notice(true, format!("what was learnt is not saved: {error}"));
        }
    }

    fn show(
        &self,
        learner: &Learner,
        remembered: usize,
        enabled: bool,
        stats: Option<UpdateStats>,
    ) {
        let before = self.shown.load();
        let stats = stats.unwrap_or_default();
        let fresh = stats != UpdateStats::default();
        self.shown.store(Arc::new(LearningSnapshot {
            enabled,
            alive: true,
            weights: String::new(),
            file: self.file.display().to_string(),
            experiences: remembered as u64,
            updates: learner.updates(),
            entropy: if fresh { stats.entropy } else { before.entropy },
            temperature: learner.alpha(),
            critic_loss: if fresh { stats.critic_loss } else { before.critic_loss },
            value: if fresh { stats.q_mean } else { before.value },
        }));
    }

    fn notice(&self, bad: bool, text: String) {
        use crate::telemetry::snapshot::Level;
        let level = if bad { Level::Warn } else { Level::Info };
        // Without a reactor there is nobody left to hear it.
        let _ = self.notices.send((level, text));
    }
}

/// The weights to serve with: those the last run left in `file`, else the shipped ones; and what the
/// operator should hear of it.
pub(super) fn weights(file: &Path, shipped: &(Actor, String)) -> (Actor, String, Option<Notice>) {
    use crate::telemetry::snapshot::Level;
    if !file.exists() {
        return (shipped.0.clone(), "shipped".into(), None);
    }
    match policy_file::load(file) {
        Ok((actor, made_by)) => {
            let text = format!("the policy of {} is used: {made_by}", file.display());
            (actor, file.display().to_string(), Some((Level::Info, text)))
        }
        Err(error) => {
            let text = format!("{error}; the shipped policy is used");
            (shipped.0.clone(), "shipped".into(), Some((Level::Warn, text)))
        }
    }
}
