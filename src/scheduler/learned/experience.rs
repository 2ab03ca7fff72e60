//! What trained policies learn from: decisions and what came of them.

use super::super::actions::ACTIONS;
use super::super::observation::FEATURES;
use super::super::planner::{Planner, Weights};
use super::super::sac::Transition;
use super::super::{DeviceView, Tally};
use crate::units::Nanos;
use std::sync::{Arc, Mutex, PoisonError};

/// Rewards this far ahead count a third, in seconds: queues under overload take about that long to
/// show what a decision was worth.
pub(super) const HORIZON_S: f64 = 1.0;
/// No decision earns or costs more: a handful of requests lost by chance must not drown the rest.
const MOST_REWARD: f64 = 5.0;
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
    /// What the planner would have allowed itself.
    pub rule: usize,
}

impl Experience {
    /// What the learner takes of it.
    pub fn transition(&self) -> Transition<'_> {
        Transition {
            observation: &self.observation,
            mask: &self.allowed,
            action: self.action,
            reward: self.reward,
            discount: self.discount,
            next_observation: &self.next_observation,
            next_mask: &self.next_allowed,
            entropy: self.entropy,
            teacher: Some(self.rule),
        }
    }
}

/// The planner's own run under the same arrivals: slot by slot what it earned, and what a request
/// of each model counted.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    slots: Vec<(f64, Vec<Weights>)>,
}

/// Takes what there is to learn from. Called on the thread that decides: it must not wait.
pub type Sink = Box<dyn FnMut(&Experience) + Send>;

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
pub(super) struct Decision {
    pub(super) observation: [f32; FEATURES],
    pub(super) allowed: [bool; ACTIONS],
    pub(super) action: usize,
    pub(super) entropy: f32,
    rule: usize,
    reward: f64,
    discount: f64,
}

impl Decision {
    pub(super) fn new(
        observation: &[f32],
        allowed: &[bool],
        action: usize,
        rule: usize,
        entropy: f32,
    ) -> Decision {
        let mut decision = Decision {
            observation: [0.0; FEATURES],
            allowed: [false; ACTIONS],
            action,
            rule,
            entropy,
            reward: 0.0,
            discount: 1.0,
        };
        decision.observation.copy_from_slice(observation);
        decision.allowed.copy_from_slice(allowed);
        decision
    }
}

/// Keeps count of what decisions earn, and tells who learns.
#[derive(Default)]
pub(super) struct Ledger {
    learning: Learning,
    previous: Option<Slot>,
}

impl Ledger {
    pub(super) fn new(learning: Learning) -> Ledger {
        Ledger { learning, previous: None }
    }

    /// What the slot that ends now earned, and what the next one counts: added to every decision in
    /// force.
    pub(super) fn earn(
        &mut self,
        device: &DeviceView<'_>,
        planner: &mut Planner,
        slot: usize,
        decisions: &mut [Decision],
    ) {
        if !self.learning.is_on() {
            return;
        }
        let weights: Vec<Weights> = device.all().map(|(id, _)| planner.weights(id)).collect();
        let tallies: Vec<Tally> = device.all().map(|(_, model)| *model.tally).collect();
        let expected = planner.expected_loss(device);
        let now = Slot { at: device.now, tallies, weights, expected };
        let baseline = self.learning.baseline.as_ref().and_then(|b| b.slots.get(slot));
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
            for decision in decisions {
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
    }

    /// Tells the sink what came of a decision that is to be made anew, now that the model looks like
    /// this and these actions are allowed.
    pub(super) fn tell(&mut self, last: &Decision, observation: &[f32], allowed: &[bool]) {
        let Some(sink) = &mut self.learning.sink else { return };
        let mut experience = Experience {
            observation: last.observation,
            allowed: last.allowed,
            action: last.action,
            reward: last.reward.clamp(-MOST_REWARD, MOST_REWARD) as f32,
            discount: last.discount as f32,
            next_observation: [0.0; FEATURES],
            next_allowed: [false; ACTIONS],
            entropy: Some(last.entropy),
            rule: last.rule,
        };
        experience.next_observation.copy_from_slice(observation);
        experience.next_allowed.copy_from_slice(allowed);
        sink(&experience);
    }
}

/// What a model's requests lost that were answered between two moments.
fn loss(then: &Tally, now: &Tally, weights: &Weights) -> f64 {
    let answered = (now.answered - then.answered) as f64;
    weights.lost(now.cost - then.cost, answered - (now.slo_met - then.slo_met) as f64)
}
