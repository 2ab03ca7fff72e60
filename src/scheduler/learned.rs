//! `sac`: the planner's dispatch under limits that a trained actor chooses each slot, for every
//! model the largest batch and the number of instances.
//!
//! The actor's choice is shielded ([`super::actions`]): what is predicted to break the SLO, or does
//! not fit, is masked. So the worst it can do is to keep the planner from using what it has.
//!
//! What it learns from is the utility that was lost ([`super::planner`]'s weights): the reward of a
//! slot is minus what the requests answered in it lost, counted for all models together, since they
//! share the device, and against what as many requests lost of late, so that how many happen to
//! arrive is nobody's merit. To it the change of a potential is added, minus what the waiting requests are
//! expected to lose (Ng, Harada and Russell 1999): it changes no policy's rank, and tells at once
//! what would show only when the queue is served.

use super::actions::{ACTIONS, Shield, action_for, limits};
use super::observation::{FEATURES, Summary};
use super::planner::Planner;
use super::sac::{Actor, Scratch, entropy, greedy, sample};
use super::{Caps, DeviceView, Dispatch, Insight, Policy, Reason, Tally};
use crate::units::{ModelId, Nanos};
use arc_swap::ArcSwap;
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::sync::Arc;

pub(super) const NAME: &str = "sac";

/// Rewards this far ahead count a third, in seconds: queues under overload take about that long to
/// show what a decision was worth.
const HORIZON_S: f64 = 1.0;
/// Brings the values that critics learn to about one.
const REWARD_SCALE: f64 = 2.0;

/// One decision for one model and what came of it until the next.
#[derive(Clone, Debug)]
pub struct Experience {
    pub observation: [f32; FEATURES],
    pub allowed: [bool; ACTIONS],
    pub action: usize,
    /// Of the whole device.
    pub reward: f32,
    /// What the next decision's value counts.
    pub discount: f32,
    pub next_observation: [f32; FEATURES],
    pub next_allowed: [bool; ACTIONS],
    /// Of the actor's choice, in nats; `None` when another made it.
    pub entropy: Option<f32>,
}

/// Takes what there is to learn from. Called on the thread that decides: it must not wait.
pub type Sink = Box<dyn FnMut(&Experience) + Send>;

/// How an action is picked from its probabilities.
#[derive(Debug)]
pub enum Choice {
    /// The most probable.
    Greedy,
    /// By its probability: to explore.
    Sampled(Xoshiro256PlusPlus),
}

impl Choice {
    /// By probability, from a seed.
    pub fn sampled(seed: u64) -> Choice {
        Choice::Sampled(Xoshiro256PlusPlus::seed_from_u64(seed))
    }
}

/// The policy. Its actor can be exchanged while it decides.
pub struct Sac {
    planner: Planner,
    actor: Arc<ArcSwap<Actor>>,
    choice: Choice,
    sink: Option<Sink>,
    summary: Summary,
    /// Rows of the models it governs, in their order.
    models: Vec<ModelId>,
    observations: Vec<f32>,
    allowed: Vec<bool>,
    probabilities: Vec<f32>,
    shield: Shield,
    scratch: Scratch,
    /// By row.
    last: Vec<Decision>,
    /// By model.
    tallies: Vec<Tally>,
    /// When the last slot was, and what its waiting requests were expected to lose.
    last_slot: Option<(Nanos, f64)>,
}

/// The last slot's, for one model.
#[derive(Clone, Debug)]
struct Decision {
    observation: [f32; FEATURES],
    allowed: [bool; ACTIONS],
    action: usize,
    entropy: f32,
}

impl std::fmt::Debug for Sac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sac").field("models", &self.models).finish_non_exhaustive()
    }
}

impl Sac {
    /// # Panics
    /// When `actor` was made for other observations or actions; loading weights checks that.
    pub fn new(actor: Arc<ArcSwap<Actor>>, choice: Choice, sink: Option<Sink>) -> Sac {
        {
            let actor = actor.load();
            assert_eq!((actor.observation(), actor.actions()), (FEATURES, ACTIONS));
        }
        Sac {
            planner: Planner::default(),
            actor,
            choice,
            sink,
            summary: Summary::default(),
            models: Vec::new(),
            observations: Vec::new(),
            allowed: Vec::new(),
            probabilities: Vec::new(),
            shield: Shield::default(),
            scratch: Scratch::default(),
            last: Vec::new(),
            tallies: Vec::new(),
            last_slot: None,
        }
    }

    /// Fills the rows and what the actor makes of them.
    fn consider(&mut self, device: &DeviceView<'_>, models: &[ModelId]) {
        self.summary.update(device);
        self.observations.resize(models.len() * FEATURES, 0.0);
        self.allowed.resize(models.len() * ACTIONS, false);
        self.probabilities.resize(models.len() * ACTIONS, 0.0);
        let observations = self.observations.chunks_exact_mut(FEATURES);
        let allowed = self.allowed.chunks_exact_mut(ACTIONS);
        for ((&id, observation), allowed) in models.iter().zip(observations).zip(allowed) {
            self.summary.observe(device, id, self.planner.extra_weight(id), observation);
            self.shield.update(device, &device.of(id));
            allowed.copy_from_slice(&self.shield.allowed);
        }
        self.actor.load().probabilities(
            &self.observations,
            &self.allowed,
            &mut self.scratch,
            &mut self.probabilities,
        );
    }

    /// Tells the sink what came of the last slot's decisions.
    fn learn(&mut self, device: &DeviceView<'_>, models: &[ModelId]) {
        let Some(sink) = &mut self.sink else { return };
        let expected = self.planner.expected_excess_loss(device);
        if let Some((then, expected_then)) = self.last_slot
            && self.models == models
            && self.tallies.len() == device.models
        {
            let elapsed_s = (device.now - then).as_secs_f64();
            let lost: f64 = device
                .all()
                .zip(&self.tallies)
                .map(|((id, model), before)| self.planner.excess_loss(id, before, model.tally))
                .sum();
            let discount = (-elapsed_s / HORIZON_S).exp();
            let count = device.models.max(1) as f64;
            let reward = (expected_then - lost - discount * expected) / count;
            let rows = self.observations.chunks_exact(FEATURES);
            let rows = rows.zip(self.allowed.chunks_exact(ACTIONS)).zip(&self.last);
            for ((observation, allowed), last) in rows {
                let mut experience = Experience {
                    observation: last.observation,
                    allowed: last.allowed,
                    action: last.action,
                    reward: (reward * REWARD_SCALE) as f32,
                    discount: discount as f32,
                    next_observation: [0.0; FEATURES],
                    next_allowed: [false; ACTIONS],
                    entropy: Some(last.entropy),
                };
                experience.next_observation.copy_from_slice(observation);
                experience.next_allowed.copy_from_slice(allowed);
                sink(&experience);
            }
        }
        self.tallies.clear();
        self.tallies.extend(device.all().map(|(_, model)| *model.tally));
        self.last_slot = Some((device.now, expected));
    }

    fn pick(&mut self, row: usize) -> usize {
        let probabilities = &self.probabilities[row * ACTIONS..][..ACTIONS];
        let picked = match &mut self.choice {
            Choice::Greedy => greedy(probabilities),
            Choice::Sampled(random) => sample(probabilities, random),
        };
        // The shield leaves at least one action.
        picked.unwrap_or(0)
    }
}

impl Policy for Sac {
    fn name(&self) -> &'static str {
        NAME
    }

    fn decide(&mut self, device: &DeviceView<'_>, models: &[ModelId], caps: &mut [Caps]) {
        self.planner.prepare(device);
        self.consider(device, models);
        self.learn(device, models);
        self.models.clear();
        self.models.extend_from_slice(models);
        self.last.clear();
        for (row, (&id, caps)) in models.iter().zip(caps).enumerate() {
            let known = device.of(id).predictor.alone(crate::units::BatchSize::ONE).is_some();
            let action = if known {
                self.pick(row)
            } else {
                let model = device.of(id);
                action_for(model.max_batch, model.max_instances)
            };
            let (batch, instances) = limits(action);
            let reason = if known { Reason::Learned } else { Reason::NothingMeasured };
            *caps = Caps { batch, instances, reason };
            let mut decision = Decision {
                observation: [0.0; FEATURES],
                allowed: [false; ACTIONS],
                action,
                entropy: entropy(&self.probabilities[row * ACTIONS..][..ACTIONS]),
            };
            decision.observation.copy_from_slice(&self.observations[row * FEATURES..][..FEATURES]);
            decision.allowed.copy_from_slice(&self.allowed[row * ACTIONS..][..ACTIONS]);
            self.last.push(decision);
        }
    }

    fn dispatch(&mut self, device: &DeviceView<'_>, ready: &[ModelId]) -> Dispatch {
        self.planner.dispatch(device, ready)
    }

    fn insight(&self, model: ModelId) -> Option<Insight<'_>> {
        let row = self.models.iter().position(|&id| id == model)?;
        Some(Insight {
            probabilities: self.probabilities.get(row * ACTIONS..)?.get(..ACTIONS)?,
            allowed: self.allowed.get(row * ACTIONS..)?.get(..ACTIONS)?,
            action: self.last.get(row)?.action,
            entropy: self.last.get(row)?.entropy,
        })
    }
}
