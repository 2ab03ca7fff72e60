//! The training run: imitation, then rounds of play and learning.

use super::rollout::experiences;
use super::teacher::{self, Lesson};
use super::world::{Materials, World};
use crate::scheduler::actions::ACTIONS;
use crate::scheduler::learned::{Choice, Experience};
use crate::scheduler::observation::FEATURES;
use crate::scheduler::sac::{Actor, Learner, Replay, SacConfig, Schedule, Transition, UpdateStats};
use arc_swap::ArcSwap;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

/// How a policy is trained.
#[derive(Clone, Debug)]
pub struct Options {
    pub materials: Materials,
    pub seed: u64,
    /// Worlds that the teacher is searched on.
    pub lessons: u64,
    /// Steps of imitation.
    pub imitations: u64,
    /// Rounds of play and learning.
    pub rounds: u64,
    /// Threads for searching and playing beside the one that learns.
    pub threads: usize,
    pub sac: SacConfig,
}

/// Worlds played in a round, and updates meanwhile.
const WORLDS_PER_ROUND: u64 = 4;
const UPDATES_PER_ROUND: u64 = 100;
/// Seconds that a world is played for.
const SECONDS: u64 = 12;
/// Every so manieth experience is kept: neighbours in time are alike.
const KEEP_EVERY: u64 = 1;
/// Experiences the replay holds.
const REPLAY: usize = 400_000;
/// Before learning from it, it must hold this many.
const LEAST_REPLAY: usize = 20_000;
/// Rows of an imitation step.
const IMITATION_BATCH: usize = 256;
/// Worlds of the lessons, of play and of validation must not meet.
const PLAY_SEEDS: u64 = 1 << 32;

impl Options {
    /// The settings that the shipped policy is trained with.
    pub fn new(materials: Materials, seed: u64) -> Options {
        let mut sac = SacConfig::new(FEATURES, ACTIONS);
        sac.batch = 256;
        sac.actor_rate = 1e-4;
        sac.critic_rate = 1e-3;
        sac.initial_alpha = 0.003;
        sac.target_entropy = Schedule { start: 0.15, end: 0.04, updates: 60_000 };
        Options { materials, seed, lessons: 300, imitations: 6_000, rounds: 1_500, threads: 2, sac }
    }
}

/// Where a training run is.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// Lessons searched, and the mean gain of their limits over the planner, in utility.
    Lessons { done: u64, gain: f64 },
    /// Steps of imitation, and their loss in nats.
    Imitation { done: u64, loss: f32 },
    /// Rounds played, the mean utility of the last one's worlds, and how learning goes.
    Round { done: u64, utility: f64, stats: UpdateStats },
}

/// A training run.
pub struct Trainer {
    options: Options,
    learner: Learner,
    replay: Replay,
    round: u64,
}

impl Trainer {
    /// # Errors
    /// A setting that is out of its range.
    pub fn new(options: Options) -> Result<Trainer, String> {
        let learner =
            Learner::new(options.sac.clone(), options.seed).map_err(|e| e.to_string())?;
        Ok(Trainer { learner, replay: Replay::new(REPLAY, FEATURES, ACTIONS), round: 0, options })
    }

    pub fn actor(&self) -> Actor {
        self.learner.actor()
    }

    /// Imitates the teacher.
    ///
    /// # Errors
    /// A world that can't be run, or numbers that were not finite.
    pub fn imitate(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<(), String> {
        let rows = self.lessons(progress)?;
        for row in &rows {
            self.learner.normaliser_mut().observe(&row.observation);
        }
        self.learner.normaliser_mut().freeze(true);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(self.options.seed);
        let (mut observations, mut masks) = (Vec::new(), Vec::new());
        for done in 1..=self.options.imitations {
            observations.clear();
            masks.clear();
            let mut goals = vec![0.0; IMITATION_BATCH * ACTIONS];
            for goal in goals.chunks_exact_mut(ACTIONS) {
                let row = &rows[random.random_range(0..rows.len())];
                observations.extend_from_slice(&row.observation);
                masks.extend_from_slice(&row.allowed);
                goal[row.action] = 1.0;
            }
            let loss = self.learner.imitate(&observations, &masks, &goals);
            progress(Progress::Imitation { done, loss: loss.map_err(|e| e.to_string())? });
        }
        Ok(())
    }

    /// Searches the lessons on all threads; the same rows however many there are.
    fn lessons(&self, progress: &mut dyn FnMut(Progress)) -> Result<Vec<Experience>, String> {
        let actor = Arc::new(ArcSwap::from_pointee(self.learner.actor()));
        let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let lessons = self.options.lessons as usize;
        let options = &self.options;
        let work = |report: &mut dyn FnMut(usize, f64)| -> Result<(), String> {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= lessons {
                    return Ok(());
                }
                let seed = options.seed + index as u64;
                let world = World::random(&options.materials, SECONDS, seed)?;
                let lesson: Lesson = teacher::search(&world, &actor)?;
                let rows = teacher::demonstrate(&world, &lesson, &actor, KEEP_EVERY)?;
                // A poisoned list is one of a thread that panicked, which the scope passes on.
                let mut found = found.lock().unwrap_or_else(|e| e.into_inner());
                found.push((index, lesson.gain, rows));
                let gain = found.iter().map(|(_, gain, _)| gain).sum::<f64>();
                let count = found.len();
                drop(found);
                report(count, gain / count as f64);
            }
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..options.threads.max(1))
                .map(|_| scope.spawn(|| work(&mut |_, _| {})))
                .collect();
            let mut result = work(&mut |done, gain| {
                progress(Progress::Lessons { done: done as u64, gain });
            });
            for other in others {
                result = result.and(other.join().unwrap_or(Err("a thread panicked".into())));
            }
            result
        })?;
        let mut found = found.into_inner().unwrap_or_else(|e| e.into_inner());
        found.sort_by_key(|&(index, _, _)| index);
        let rows: Vec<Experience> = found.into_iter().flat_map(|(_, _, rows)| rows).collect();
        if rows.is_empty() { Err("the lessons gave nothing to imitate".into()) } else { Ok(rows) }
    }

    /// One round: the actor plays new worlds while the learner learns from what was played before.
    /// The same seed gives the same rounds.
    ///
    /// # Errors
    /// A world that can't be run. Numbers that were not finite are no error: the learner goes back
    /// to its last good weights, and the round says how often.
    pub fn round(&mut self) -> Result<(f64, UpdateStats, u64), String> {
        let actor = Arc::new(ArcSwap::from_pointee(self.learner.actor()));
        let first = PLAY_SEEDS + self.options.seed + self.round * WORLDS_PER_ROUND;
        let materials = &self.options.materials;
        let play = || -> Result<(f64, Vec<Experience>), String> {
            let (mut utility, mut kept) = (0.0, Vec::new());
            for seed in first..first + WORLDS_PER_ROUND {
                let world = World::random(materials, SECONDS, seed)?;
                let choose = || Choice::sampled(seed);
                let (result, rows) = experiences(&world, &actor, choose, KEEP_EVERY, seed)?;
                utility += result.utility / WORLDS_PER_ROUND as f64;
                kept.extend(rows);
            }
            Ok((utility, kept))
        };
        let (learner, replay) = (&mut self.learner, &self.replay);
        let (played, stats, setbacks) = std::thread::scope(|scope| {
            let player = scope.spawn(play);
            let mut stats = UpdateStats::default();
            let mut setbacks = 0;
            if replay.len() >= LEAST_REPLAY {
                for _ in 0..UPDATES_PER_ROUND {
                    match learner.update(replay) {
                        Ok(update) => stats = update,
                        Err(_) => setbacks += 1,
                    }
                }
            }
            (player.join().unwrap_or(Err("the player panicked".into())), stats, setbacks)
        });
        let (utility, rows) = played?;
        for row in &rows {
            // What is not finite is refused, and counts for nothing.
            let _ = self.replay.push(&transition(row));
        }
        self.round += 1;
        Ok((utility, stats, setbacks))
    }
}

/// What the learner takes of an experience.
pub(crate) fn transition(experience: &Experience) -> Transition<'_> {
    Transition {
        observation: &experience.observation,
        mask: &experience.allowed,
        action: experience.action,
        reward: experience.reward,
        discount: experience.discount,
        next_observation: &experience.next_observation,
        next_mask: &experience.next_allowed,
        entropy: experience.entropy,
    }
}
