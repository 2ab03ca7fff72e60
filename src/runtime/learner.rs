//! The learner thread: trains the serving policy further on what the device really does.
//!
//! It has the lowest priority and a small share of a core. Nothing waits for it: experiences that
//! find its inbox full are dropped, and when it dies, serving goes on with the last weights.

use super::unix_ms;
use crate::policy_file::{self, PolicyFileError};
use crate::scheduler::actions::ACTIONS;
use crate::scheduler::learned::{Experience, IMITATION};
use crate::scheduler::observation::FEATURES;
use crate::scheduler::sac::{
    Actor, Learner, Replay, SacConfig, Schedule, UpdateError, UpdateStats,
};
use crate::scheduler::trained::{Online, sac_layout};
use crate::telemetry::snapshot::LearningSnapshot;
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
/// How much it works, and how often that is seen.
const PACE: Pace = Pace { duty: 0.01, updates_per_exchange: 20 };
/// Updates between two savings.
const UPDATES_PER_SAVING: u64 = 500;
/// Weight of the newest reward in the mean that is shown: six models decide about twenty times a
/// second.
const REWARD_GAIN: f32 = 1.0 / 1_000.0;
/// Before the actor moves, the critics get used to rewards without a second run to compare with:
/// some minutes.
const CRITICS_FIRST: u64 = 1_000;
/// How long it waits for an experience before it looks whether it is to stop.
const PATIENCE: Duration = Duration::from_millis(200);

/// How fast learning goes.
#[derive(Clone, Copy)]
struct Pace {
    /// The learner's share of one core.
    duty: f64,
    /// Between two exchanges of the serving weights.
    updates_per_exchange: u64,
}

/// What the learner and the rest of the appliance share.
pub(super) struct LearnerLink {
    experiences: SyncSender<Experience>,
    /// Off: experiences are taken in, and nothing is learnt from them. Off for good when the thread
    /// has ended.
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
    start_with(actor, file, enabled, notices, config(), PACE)
}

fn start_with(
    actor: Arc<ArcSwap<Actor>>,
    file: PathBuf,
    enabled: bool,
    notices: mpsc::Sender<Notice>,
    settings: SacConfig,
    pace: Pace,
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
        pace,
        saved_updates: 0,
        tried_updates: 0,
        rewards: Rewards::default(),
    };
    let thread = thread::Builder::new().name("learner".into()).spawn(move || side.run(settings))?;
    Ok(LearnerLink { experiences, enabled, shown, stop, thread })
}

impl LearnerLink {
    /// For [`crate::scheduler::trained::Trained::online`].
    pub(super) fn online(&self) -> Online {
        let (experiences, enabled) = (self.experiences.clone(), self.enabled.clone());
        Online { experiences, enabled }
    }

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
    config.critics_first = CRITICS_FIRST;
    config.imitation = IMITATION;
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
    pace: Pace,
    /// Updates of the weights in the file.
    saved_updates: u64,
    /// Updates when it was last tried to save them.
    tried_updates: u64,
    rewards: Rewards,
}

/// Also when the thread panics: nobody learns any more, so nothing is to be explored.
impl Drop for Side {
    fn drop(&mut self) {
        self.enabled.store(false, Ordering::Relaxed);
    }
}

/// Mean reward of the decisions of about the last minute.
#[derive(Debug, Default)]
struct Rewards {
    count: u64,
    mean: f32,
}

impl Rewards {
    fn add(&mut self, reward: f32) {
        if !reward.is_finite() {
            return;
        }
        self.count += 1;
        // The plain mean, until there are enough of them.
        let gain = REWARD_GAIN.max(1.0 / self.count as f32);
        self.mean += gain * (reward - self.mean);
    }

    fn mean(&self) -> Option<f32> {
        (self.count > 0).then_some(self.mean)
    }
}

impl Side {
    fn run(mut self, settings: SacConfig) {
        // Where the system does not allow it, the small duty alone keeps it out of the way.
        let _ = rustix::process::nice(19);
        let mut learner = match Learner::from_actor(settings, &self.actor.load(), unix_ms()) {
            Ok(learner) => learner,
            Err(error) => return self.notice(true, format!("nothing can be learnt: {error}")),
        };
        learner.normaliser_mut().freeze(true);
        let mut replay = Replay::new(REPLAY, FEATURES, ACTIONS);
        let mut may_work_at = Instant::now();
        while !self.stop.load(Ordering::Acquire) {
            match self.inbox.recv_timeout(PATIENCE) {
                Ok(experience) => {
                    self.rewards.add(experience.reward);
                    // What is not finite is refused, and counts for nothing.
                    let _ = replay.push(&experience.transition());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let enabled = self.enabled.load(Ordering::Relaxed);
            let begun = Instant::now();
            let mut stats = None;
            if enabled && replay.len() >= LEAST_REPLAY && begun >= may_work_at {
                stats = self.update(&mut learner, &replay);
                may_work_at = Instant::now() + begun.elapsed().div_f64(self.pace.duty);
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
        if learner.updates().is_multiple_of(self.pace.updates_per_exchange) {
            self.actor.store(Arc::new(learner.actor()));
        }
        if learner.updates() >= self.tried_updates + UPDATES_PER_SAVING {
            self.save(learner);
        }
        stats
    }

    fn save(&mut self, learner: &Learner) {
        let made_by = format!("learnt while serving, {} updates", learner.updates());
        self.tried_updates = learner.updates();
        match policy_file::save(&self.file, &learner.actor(), &sac_layout(), &made_by) {
            Ok(()) => self.saved_updates = learner.updates(),
            Err(error) => self.notice(true, format!("what was learnt is not saved: {error}")),
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
            experiences_needed: LEAST_REPLAY as u64,
            updates: learner.updates(),
            saved_updates: self.saved_updates,
            entropy: if fresh { stats.entropy } else { before.entropy },
            temperature: learner.alpha(),
            critic_loss: if fresh { stats.critic_loss } else { before.critic_loss },
            value: if fresh { stats.q_mean } else { before.value },
            reward: self.rewards.mean(),
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
/// operator should hear of it. A file that is refused is put aside, since what is learnt from now on
/// is to be saved in its place.
pub(super) fn weights(file: &Path, shipped: &(Actor, String)) -> (Actor, String, Option<Notice>) {
    use crate::telemetry::snapshot::Level;
    if !file.exists() {
        return (shipped.0.clone(), "shipped".into(), None);
    }
    match policy_file::load(file, &sac_layout()) {
        Ok((actor, made_by)) => {
            let text = format!("the policy of {} is used: {made_by}", file.display());
            (actor, file.display().to_string(), Some((Level::Info, text)))
        }
        Err(error) => {
            let mut text = format!("{error}; the shipped policy is used");
            if let PolicyFileError::Refused { .. } = error {
                let mut aside = file.as_os_str().to_owned();
                aside.push(".refused");
                let moved = std::fs::rename(file, &aside);
                text += &match moved {
                    Ok(()) => format!(", and the file is kept as {}", Path::new(&aside).display()),
                    Err(error) => format!(", and the file can't be put aside: {error}"),
                };
            }
            (shipped.0.clone(), "shipped".into(), Some((Level::Warn, text)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PolicyConfig;
    use crate::runtime::brain::Brain;
    use crate::scheduler::make_with;
    use crate::scheduler::trained::{Trained, shipped_sac};
    use crate::sim::platform::Platform;
    use crate::sim::{Load, SloMix, network};
    use crate::suite::bench::{Bench, WARM_UP, end};
    use crate::telemetry::snapshot::Level;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;
    use tempfile::TempDir;

    fn experience(random: &mut Xoshiro256PlusPlus) -> Experience {
        let mut observation = || std::array::from_fn(|_| random.random_range(0.0..1.0));
        let (observation, next_observation) = (observation(), observation());
        Experience {
            observation,
            allowed: [true; ACTIONS],
            action: random.random_range(0..ACTIONS),
            reward: random.random_range(-1.0..1.0),
            discount: 0.7,
            next_observation,
            next_allowed: [true; ACTIONS],
            entropy: Some(0.1),
            rule: 0,
        }
    }

    /// A learner that has taken in `experiences`, its actor, and the other end of its notices.
    struct Running {
        link: LearnerLink,
        actor: Arc<ArcSwap<Actor>>,
        notices: mpsc::Receiver<Notice>,
    }

    fn running(file: &Path, settings: SacConfig, experiences: usize) -> Running {
        running_at(file, settings, Pace { duty: 0.5, updates_per_exchange: 5 }, experiences)
    }

    fn running_at(file: &Path, settings: SacConfig, pace: Pace, experiences: usize) -> Running {
        let actor = Arc::new(ArcSwap::from_pointee(shipped_sac().0.clone()));
        let (sender, notices) = mpsc::channel();
        let link = start_with(actor.clone(), file.into(), true, sender, settings, pace).unwrap();
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        for _ in 0..experiences {
            // Waits while the inbox is full, unlike the reactor.
            link.experiences.send(experience(&mut random)).unwrap();
        }
        Running { link, actor, notices }
    }

    fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !holds() {
            assert!(Instant::now() < end, "waited for {what} in vain");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn what_is_learnt_serves_at_once_and_after_a_restart() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("policy.safetensors");
        let settings = SacConfig { critics_first: 10, ..config() };
        let learner = running(&file, settings, LEAST_REPLAY);
        let shipped = &shipped_sac().0;
        wait_until("an exchange of weights", || **learner.actor.load() != *shipped);
        learner.link.stop();
        assert!(learner.notices.try_iter().next().is_none(), "nothing to complain of");
        let (after, origin, notice) = weights(&file, shipped_sac());
        assert!(after != *shipped);
        assert_eq!(origin, file.display().to_string());
        assert!(notice.unwrap().1.contains("learnt while serving"));
    }

    #[test]
    fn the_settings_of_online_learning_are_valid() {
        config().check().unwrap();
    }

    #[test]
    fn a_file_of_something_else_gives_way_to_the_shipped_policy() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("policy.safetensors");
        std::fs::write(&file, "these are no weights").unwrap();
        let (actor, origin, notice) = weights(&file, shipped_sac());
        assert!(actor == shipped_sac().0);
        assert_eq!(origin, "shipped");
        let text = notice.unwrap().1;
        assert!(text.contains("policy.safetensors") && text.contains("shipped policy"), "{text}");
        // What is saved later must not take its place.
        assert!(!file.exists());
        let aside = dir.path().join("policy.safetensors.refused");
        assert_eq!(std::fs::read(&aside).unwrap(), b"these are no weights");
        assert!(text.contains(&aside.display().to_string()), "{text}");
    }

    #[test]
    fn what_could_not_be_saved_is_not_shown_as_saved() {
        let dir = TempDir::new().unwrap();
        // A file where a folder has to be.
        std::fs::write(dir.path().join("no_folder"), "").unwrap();
        let file = dir.path().join("no_folder/policy.safetensors");
        let learner = running(&file, config(), LEAST_REPLAY);
        wait_until("some updates", || learner.link.shown.load().updates > 0);
        let shown = learner.link.shown.clone();
        learner.link.stop();
        assert_eq!(shown.load().saved_updates, 0);
        let (_, text) = learner.notices.recv().unwrap();
        assert!(text.contains("not saved") && text.contains("policy.safetensors"), "{text}");
    }

    /// Of a minute of the simulator under `sac`.
    fn utility_with(trained: &Trained) -> f64 {
        let networks = &network::reference()[1..3];
        let surfaces = Platform::built_in("nano").unwrap().surfaces(networks, 4, 2).unwrap();
        let bench = Bench::new(surfaces, SloMix::Same(1.0), 1);
        let plan = Load::Even { per_s: 20.0 }.plan(&bench.surfaces, 20.0, WARM_UP, end(60));
        let models = bench.surfaces.models.iter();
        let policies = models.map(|_| make_with(&PolicyConfig::Sac, trained)).collect();
        let run = bench.run(&plan, policies, 60, 1).unwrap();
        assert!(run.slo_hit_rate > 0.9, "{run:?}");
        run.utility
    }

    #[test]
    fn when_the_learner_panics_the_policy_serves_on_and_explores_no_more() {
        let dir = TempDir::new().unwrap();
        // Nothing can work that little: the thread panics after its first update.
        let pace = Pace { duty: 0.0, updates_per_exchange: 5 };
        let learner = running_at(&dir.path().join("p.safetensors"), config(), pace, 0);
        let Online { experiences, enabled } = learner.link.online();
        assert!(enabled.load(Ordering::Relaxed));
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        // Until nobody takes them any more.
        while experiences.send(experience(&mut random)).is_ok() {}
        wait_until("its end", || !learner.link.is_alive());
        assert!(!enabled.load(Ordering::Relaxed), "nothing is explored any more");
        assert!(**learner.actor.load() == shipped_sac().0);
        // It decides as one that never learnt, and tells experiences that nobody takes.
        let mut trained = Trained::shipped();
        trained.online = Some(learner.link.online());
        assert_eq!(utility_with(&trained), utility_with(&Trained::shipped()));
        let mut brain = Brain {
            trained,
            link: Some(learner.link),
            shown: Arc::default(),
            origin: String::new(),
            notices: learner.notices,
        };
        let (level, text) = brain.next_notice().unwrap();
        assert_eq!(level, Level::Error);
        assert!(text.contains("the learner has died"), "{text}");
        assert_eq!(brain.next_notice(), None, "once is enough");
    }

    #[test]
    fn a_learner_that_cannot_go_on_says_why_and_leaves_the_weights_that_serve() {
        let dir = TempDir::new().unwrap();
        let settings = SacConfig { tau: f32::NAN, ..config() };
        let learner = running(&dir.path().join("p.safetensors"), settings, 0);
        wait_until("its end", || !learner.link.is_alive());
        let (_, text) = learner.notices.recv().unwrap();
        assert!(text.contains("tau"), "{text}");
        assert!(**learner.actor.load() == shipped_sac().0);
    }
}
