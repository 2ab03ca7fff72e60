//! `sac`: the planner's dispatch under limits that a trained actor chooses each slot, for every
//! model the largest batch and the number of instances.
//!
//! The actor's choice is shielded ([`super::actions`]): what is predicted to break the SLO, or does
//! not fit, is masked. So the worst it can do is to keep the planner from using what it has.
//!
//! What it learns from is the utility that is lost ([`super::planner`]'s weights): the reward of a
//! slot is minus what the requests answered in it lost, counted for all models together, since they
//! share the device. To it the change of a potential is added, minus what the waiting requests are
//! expected to lose (Ng, Harada and Russell 1999): it changes no policy's rank, and tells at once
//! what would show only when the queue is served. A decision stays for several slots, so that it has
//! an effect that can be told from chance. In the simulator the reward is counted against that of
//! the planner by itself under the same arrivals ([`Baseline`]), which takes most of the chance out
//! of it; a baseline that no action changes leaves what is best as it is.

use super::actions::{ACTIONS, BATCHES, Shield, action_for, limits};
use super::deadline::slo_caps;
use super::observation::{FEATURES, Summary};
use super::planner::{Planner, Weights};
use super::sac::{Actor, Scratch, entropy, greedy, sample};
use super::{Caps, DeviceView, Dispatch, Insight, Policy, Reason, Tally};
use crate::units::{BatchSize, ModelId, Nanos};
use arc_swap::ArcSwap;
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::sync::{Arc, Mutex, PoisonError};

pub(super) const NAME: &str = "sac";

/// Rewards this far ahead count a third, in seconds: queues under overload take about that long to
/// show what a decision was worth.
const HORIZON_S: f64 = 1.0;
/// No decision earns or costs more: a handful of requests lost by chance must not drown the rest.
const MOST_REWARD: f64 = 5.0;
/// Slots that a decision stays.
const HOLD_SLOTS: usize = 6;
/// Brings the values that critics learn to about one.
const REWARD_SCALE: f64 = 10.0;

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

/// The planner's own run under the same arrivals: slot by slot what it earned, and what a request
/// of each model counted.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    slots: Vec<(f64, Vec<Weights>)>,
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
    /// Not by the actor: what the planner allows itself, or, for the models that have an entry,
    /// this action, or the nearest smaller one that is allowed.
    Rule(Vec<Option<usize>>),
}

impl Choice {
    /// By probability, from a seed.
    pub fn sampled(seed: u64) -> Choice {
        Choice::Sampled(Xoshiro256PlusPlus::seed_from_u64(seed))
    }
}

/// What a policy that learns does besides deciding.
#[derive(Default)]
pub struct Learning {
    /// Where experiences go.
    pub sink: Option<Sink>,
    /// What rewards are counted against.
    pub baseline: Option<Arc<Baseline>>,
    /// Where the run is written down for others to be counted against.
    pub record: Option<Arc<Mutex<Baseline>>>,
}

impl Learning {
    fn is_on(&self) -> bool {
        self.sink.is_some() || self.record.is_some()
    }
}

/// The policy. Its actor can be exchanged while it decides.
pub struct Sac {
    planner: Planner,
    actor: Arc<ArcSwap<Actor>>,
    choice: Choice,
    learning: Learning,
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
    /// Slots so far.
    slot: usize,
    previous: Option<Slot>,
}

/// The end of the last slot.
struct Slot {
    at: Nanos,
    /// By model.
    tallies: Vec<Tally>,
    weights: Vec<Weights>,
    /// What the waiting requests were expected to lose.
    expected: f64,
}

/// The decision in force for one model, and what has come of it.
#[derive(Clone, Debug)]
struct Decision {
    observation: [f32; FEATURES],
    allowed: [bool; ACTIONS],
    action: usize,
    entropy: f32,
    reward: f64,
    discount: f64,
}

impl std::fmt::Debug for Sac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sac").field("models", &self.models).finish_non_exhaustive()
    }
}

impl Sac {
    /// # Panics
    /// When `actor` was made for other observations or actions; loading weights checks that.
    pub fn new(actor: Arc<ArcSwap<Actor>>, choice: Choice, learning: Learning) -> Sac {
        {
            let actor = actor.load();
            assert_eq!((actor.observation(), actor.actions()), (FEATURES, ACTIONS));
        }
        Sac {
            planner: Planner::default(),
            actor,
            choice,
            learning,
            summary: Summary::default(),
            models: Vec::new(),
            observations: Vec::new(),
            allowed: Vec::new(),
            probabilities: Vec::new(),
            shield: Shield::default(),
            scratch: Scratch::default(),
            last: Vec::new(),
            slot: 0,
            previous: None,
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

    /// What the slot that ends now earned, and what the next one counts: added to every decision in
    /// force.
    fn earn(&mut self, device: &DeviceView<'_>) {
        if !self.learning.is_on() {
            return;
        }
        let weights: Vec<Weights> = device.all().map(|(id, _)| self.planner.weights(id)).collect();
        let tallies: Vec<Tally> = device.all().map(|(_, model)| *model.tally).collect();
        let expected = self.planner.expected_loss(device);
        let now = Slot { at: device.now, tallies, weights, expected };
        let baseline = self.learning.baseline.as_ref().and_then(|b| b.slots.get(self.slot));
        let mut earned = 0.0;
        if let Some(then) = &self.previous {
            // Both runs are judged by the same weights.
            let weights = baseline.map_or(&then.weights, |(_, weights)| weights);
            let discount = (-(now.at - then.at).as_secs_f64() / HORIZON_S).exp();
            let answered = then.tallies.iter().zip(&now.tallies).zip(weights);
            let lost: f64 = answered.map(|((then, now), weights)| loss(then, now, weights)).sum();
            let count = device.models.max(1) as f64;
            earned = (then.expected - lost - discount * expected) / count;
            let reward = (earned - baseline.map_or(0.0, |(earned, _)| *earned)) * REWARD_SCALE;
            for decision in &mut self.last {
                decision.reward += decision.discount * reward;
                decision.discount *= discount;
            }
        }
        if let Some(record) = &self.learning.record {
            let weights = self.previous.as_ref().map_or(&now.weights, |then| &then.weights).clone();
            let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
            record.slots.push((earned, weights));
        }
        self.previous = Some(now);
        self.slot += 1;
    }

    /// Tells the sink what came of a decision that is to be made anew.
    fn tell(&mut self, row: usize) {
        let (Some(sink), Some(last)) = (&mut self.learning.sink, self.last.get(row)) else {
            return;
        };
        let mut experience = Experience {
            observation: last.observation,
            allowed: last.allowed,
            action: last.action,
            reward: last.reward.clamp(-MOST_REWARD, MOST_REWARD) as f32,
            discount: last.discount as f32,
            next_observation: [0.0; FEATURES],
            next_allowed: [false; ACTIONS],
            entropy: Some(last.entropy),
        };
        experience
            .next_observation
            .copy_from_slice(&self.observations[row * FEATURES..][..FEATURES]);
        experience.next_allowed.copy_from_slice(&self.allowed[row * ACTIONS..][..ACTIONS]);
        sink(&experience);
    }

    /// Whether a decision is due: each lasts some slots, and the models take turns.
    fn is_due(&self, row: usize) -> bool {
        let Some(last) = self.last.get(row) else { return true };
        (self.slot + row) % HOLD_SLOTS == 0 || !self.allowed[row * ACTIONS + last.action]
    }

    fn make_decision(&mut self, device: &DeviceView<'_>, id: ModelId, row: usize) -> Decision {
        let mut decision = Decision {
            observation: [0.0; FEATURES],
            allowed: [false; ACTIONS],
            action: self.pick(device, id, row),
            entropy: entropy(&self.probabilities[row * ACTIONS..][..ACTIONS]),
            reward: 0.0,
            discount: 1.0,
        };
        decision.observation.copy_from_slice(&self.observations[row * FEATURES..][..FEATURES]);
        decision.allowed.copy_from_slice(&self.allowed[row * ACTIONS..][..ACTIONS]);
        decision
    }

    fn pick(&mut self, device: &DeviceView<'_>, id: ModelId, row: usize) -> usize {
        let probabilities = &self.probabilities[row * ACTIONS..][..ACTIONS];
        let picked = match &mut self.choice {
            Choice::Greedy => greedy(probabilities),
            Choice::Sampled(random) => sample(probabilities, random),
            Choice::Rule(fixed) => {
                let wanted = fixed.get(id.index()).copied().flatten();
                let wanted = wanted.unwrap_or_else(|| {
                    let caps = slo_caps(&device.of(id));
                    action_for(caps.batch, caps.instances)
                });
                let allowed = &self.allowed[row * ACTIONS..][..ACTIONS];
                return nearest_allowed(wanted, allowed);
            }
        };
        // The shield leaves at least one action.
        picked.unwrap_or(0)
    }
}

/// What a model's requests lost that were answered between two moments.
fn loss(then: &Tally, now: &Tally, weights: &Weights) -> f64 {
    let answered = (now.answered - then.answered) as f64;
    weights.lost(now.cost - then.cost, answered - (now.slo_met - then.slo_met) as f64)
}

/// The action itself where it is allowed, else with smaller batches, else with fewer instances.
fn nearest_allowed(wanted: usize, allowed: &[bool]) -> usize {
    let (sizes, instances) = (BATCHES.len(), wanted / BATCHES.len());
    let rows = (0..=instances).rev();
    let mut all =
        rows.flat_map(|row| (0..=wanted % sizes).rev().map(move |size| row * sizes + size));
    // One item on one instance is always allowed.
    all.find(|&action| allowed[action]).unwrap_or(0)
}

impl Policy for Sac {
    fn name(&self) -> &'static str {
        NAME
    }

    fn decide(&mut self, device: &DeviceView<'_>, models: &[ModelId], caps: &mut [Caps]) {
        self.planner.prepare(device);
        self.consider(device, models);
        if self.models != models {
            self.models.clear();
            self.models.extend_from_slice(models);
            self.last.clear();
        }
        self.earn(device);
        for (row, (&id, caps)) in models.iter().zip(caps).enumerate() {
            if self.is_due(row) {
                self.tell(row);
                let decision = self.make_decision(device, id, row);
                match self.last.get_mut(row) {
                    Some(last) => *last = decision,
                    None => self.last.push(decision),
                }
            }
            let (batch, instances) = limits(self.last[row].action);
            *caps = Caps { batch, instances, reason: Reason::Learned };
            let model = device.of(id);
            if model.predictor.alone(BatchSize::ONE).is_none() {
                // Nothing to decide by: everything is allowed until something is measured.
                let (batch, instances) = (model.max_batch, model.max_instances);
                *caps = Caps { batch, instances, reason: Reason::NothingMeasured };
            }
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
