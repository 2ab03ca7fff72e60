//! The training run: imitation of the planner, then rounds of play and learning.

use super::rollout::{self, Played};
use super::world::{Materials, World};
use crate::scheduler::actions::ACTIONS;
use crate::scheduler::learned::{Choice, Experience, IMITATION, Steering};
use crate::scheduler::observation::FEATURES;
use crate::scheduler::sac::{
    Actor, Learner, Replay, SacConfig, Schedule, UpdateError, UpdateStats,
};
use crate::units::InstanceCount;
use arc_swap::ArcSwap;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::sync::Arc;

/// How a policy is trained.
#[derive(Clone, Debug)]
pub struct Options {
    pub subject: Subject,
    pub materials: Materials,
    pub seed: u64,
    /// Updates of the networks in all.
    pub updates: u64,
    pub sac: SacConfig,
}

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The policy `sac`: batch size and instances, as limits for the planner.
    Sac,
    /// The policy `tac`: batch size only.
    Tac,
}

impl Subject {
    /// In one world; `tac` is told its instances, and meets all that are tuned.
    fn steering(self, seed: u64) -> Steering {
        match self {
            Subject::Sac => Steering::Planner,
            Subject::Tac => Steering::BatchOnly(InstanceCount(1 + (seed % MOST_TUNED) as u16)),
        }
    }
}

/// Instances that `tac` is trained with: up to this.
const MOST_TUNED: u64 = 4;
/// Worlds played in a round on each of so many threads, and updates meanwhile.
const WORLDS_PER_THREAD: u64 = 2;
const THREADS: u64 = 2;
const WORLDS_PER_ROUND: u64 = WORLDS_PER_THREAD * THREADS;
pub const UPDATES_PER_ROUND: u64 = 100;
/// Seconds that a world is played for: of so many one is long, so that what builds up slowly under
/// overload is seen, too.
const LONG_ONE_OF: u64 = 8;
const SHORT_SECONDS: u64 = 8;
const LONG_SECONDS: u64 = 40;
/// From this share of the run on the learning rates fall evenly, to [`LAST_RATE`] of theirs: what is
/// left at the end is near the mean of many policies that chance has pulled here and there.
const FALL_FROM: f32 = 0.4;
const LAST_RATE: f32 = 0.02;
/// Experiences the replay holds, and must hold before anything is learnt from it.
const REPLAY: usize = 400_000;
const LEAST_REPLAY: usize = 20_000;
/// Worlds that the planner is imitated on, and the steps and rows that takes.
const DEMONSTRATIONS: u64 = 60;
const IMITATIONS: usize = 4_000;
const IMITATION_BATCH: usize = 256;
/// Worlds of play and of demonstrations must not meet.
const PLAY_SEEDS: u64 = 1 << 32;

impl Options {
    /// The settings that the shipped policy is trained with.
    pub fn new(subject: Subject, materials: Materials, seed: u64) -> Options {
        let updates = 200_000;
        let mut sac = SacConfig::new(FEATURES, ACTIONS);
        sac.batch = 256;
        sac.actor_rate = 1e-4;
        sac.critic_rate = 1e-3;
        sac.initial_alpha = 0.01;
        sac.imitation = IMITATION;
        sac.target_entropy = Schedule { start: 0.3, end: 0.05, updates: 40_000 };
        Options { subject, materials, seed, updates, sac }
    }
}

/// How a round went.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// Mean utility of the worlds that were played: an explorer's, below what the policy is worth.
    pub utility: f64,
    /// That, less what the planner by itself reached in them.
    pub gain: f64,
    /// Of the last update.
    pub stats: UpdateStats,
    /// Updates after which the learner went back to its last good weights.
    pub setbacks: u64,
    /// Why, the last time.
    pub reason: Option<UpdateError>,
}

/// A training run.
pub struct Trainer {
    options: Options,
    learner: Learner,
    replay: Replay,
    round: u64,
}

impl Trainer {
    /// Begins one: the actor imitates the planner.
    ///
    /// # Errors
    /// A setting out of its range, or a world that can't be run.
    pub fn new(options: Options) -> Result<Trainer, String> {
        let learner = Learner::new(options.sac.clone(), options.seed).map_err(|e| e.to_string())?;
        let mut trainer = Trainer::resume(options, learner);
        trainer.imitate()?;
        Ok(trainer)
    }

    /// Goes on with a learner that was saved. What it remembered is played anew.
    pub fn resume(options: Options, learner: Learner) -> Trainer {
        let round = learner.updates() / UPDATES_PER_ROUND;
        Trainer { learner, replay: Replay::new(REPLAY, FEATURES, ACTIONS), round, options }
    }

    pub fn learner(&self) -> &Learner {
        &self.learner
    }

    pub fn actor(&self) -> Actor {
        self.learner.actor()
    }

    pub fn is_done(&self) -> bool {
        self.learner.updates() >= self.options.updates
    }

    /// Before it learns by itself the actor is as good as the planner, and the normaliser has seen
    /// what there is to see.
    fn imitate(&mut self) -> Result<(), String> {
        let actor = Arc::new(ArcSwap::from_pointee(self.learner.actor()));
        let mut rows: Vec<Experience> = Vec::new();
        for index in 0..DEMONSTRATIONS {
            let seed = self.options.seed + index;
            let world = World::random(&self.options.materials, seconds(seed), seed)?;
            let steering = self.options.subject.steering(seed);
            let choose = || Choice::Rule;
            rows.extend(rollout::play(&world, steering, &actor, choose, seed)?.experiences);
        }
        if rows.is_empty() {
            return Err("the planner's runs gave nothing to imitate".into());
        }
        for row in &rows {
            self.learner.normaliser_mut().observe(&row.observation);
        }
        self.learner.normaliser_mut().freeze(true);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(self.options.seed);
        let (mut observations, mut masks) = (Vec::new(), Vec::new());
        let mut goals = vec![0.0; IMITATION_BATCH * ACTIONS];
        for _ in 0..IMITATIONS {
            observations.clear();
            masks.clear();
            goals.fill(0.0);
            for goal in goals.chunks_exact_mut(ACTIONS) {
                let row = &rows[random.random_range(0..rows.len())];
                observations.extend_from_slice(&row.observation);
                masks.extend_from_slice(&row.allowed);
                goal[row.action] = 1.0;
            }
            let loss = self.learner.imitate(&observations, &masks, &goals);
            loss.map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// One round: the actor plays new worlds while the learner learns from what was played before.
    /// The same seed gives the same rounds.
    ///
    /// # Errors
    /// A world that can't be run. Numbers that were not finite are no error: the learner goes back
    /// to its last good weights, and the round says how often.
    pub fn round(&mut self) -> Result<Round, String> {
        let actor = Arc::new(ArcSwap::from_pointee(self.learner.actor()));
        let first = PLAY_SEEDS + self.options.seed * PLAY_SEEDS + self.round * WORLDS_PER_ROUND;
        let (materials, subject) = (&self.options.materials, self.options.subject);
        let play = |first: u64| -> Result<(f64, f64, Vec<Experience>), String> {
            let (mut utility, mut gain, mut kept) = (0.0, 0.0, Vec::new());
            for seed in first..first + WORLDS_PER_THREAD {
                let world = World::random(materials, seconds(seed), seed)?;
                let choose = || Choice::sampled(seed);
                let steering = subject.steering(seed);
                let Played { result, by_rule, experiences } =
                    rollout::play(&world, steering, &actor, choose, seed)?;
                utility += result.utility / WORLDS_PER_ROUND as f64;
                gain += (result.utility - by_rule.utility) / WORLDS_PER_ROUND as f64;
                kept.extend(experiences);
            }
            Ok((utility, gain, kept))
        };
        let share = self.learner.updates() as f32 / self.options.updates.max(1) as f32;
        self.learner.slow_down(rate_at(share));
        let (learner, replay) = (&mut self.learner, &self.replay);
        let mut round = Round::default();
        let played = std::thread::scope(|scope| {
            let players: Vec<_> = (0..THREADS)
                .map(|thread| scope.spawn(move || play(first + thread * WORLDS_PER_THREAD)))
                .collect();
            if replay.len() >= LEAST_REPLAY {
                for _ in 0..UPDATES_PER_ROUND {
                    match learner.update(replay) {
                        Ok(update) => round.stats = update,
                        Err(error) => {
                            round.setbacks += 1;
                            round.reason = Some(error);
                        }
                    }
                }
            }
            let panicked = |_| Err("a simulated run panicked".into());
            let played = players.into_iter().map(|player| player.join().unwrap_or_else(panicked));
            played.collect::<Result<Vec<_>, String>>()
        })?;
        round.utility = played.iter().map(|(utility, ..)| utility).sum();
        round.gain = played.iter().map(|(_, gain, _)| gain).sum();
        for experience in played.iter().flat_map(|(.., experiences)| experiences) {
            // What is not finite is refused, and counts for nothing.
            let _ = self.replay.push(&experience.transition());
        }
        self.round += 1;
        Ok(round)
    }
}

/// Seconds that the world of this seed is played for.
fn seconds(seed: u64) -> u64 {
    if seed.is_multiple_of(LONG_ONE_OF) { LONG_SECONDS } else { SHORT_SECONDS }
}

/// What the learning rates are multiplied by after this share of the run.
fn rate_at(share: f32) -> f32 {
    let fallen = ((share - FALL_FROM) / (1.0 - FALL_FROM)).clamp(0.0, 1.0);
    1.0 - (1.0 - LAST_RATE) * fallen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rates_stay_and_then_fall_evenly_to_the_end() {
        assert_eq!([0.0, FALL_FROM].map(rate_at), [1.0, 1.0]);
        let middle = rate_at((1.0 + FALL_FROM) / 2.0);
        assert!((middle - (1.0 + LAST_RATE) / 2.0).abs() < 1e-6, "{middle}");
        assert!([1.0, 1.5].map(rate_at).iter().all(|rate| (rate - LAST_RATE).abs() < 1e-6));
    }
}
