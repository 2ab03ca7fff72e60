//! Decisions from trained networks.

use super::normaliser::Normaliser;
use crate::scheduler::nn::{Mlp, Tape, masked_softmax};
use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::sync::Arc;

/// A trained policy, ready to decide: it never changes. Copies share the weights, so one can be
/// handed to another thread, or put in the place of an older one, at the cost of a counter.
#[derive(Clone, Debug, PartialEq)]
pub struct Actor {
    pub(super) networks: Arc<Inference>,
}

#[derive(Debug, PartialEq)]
pub(super) struct Inference {
    pub normaliser: Normaliser,
    pub actor: Mlp,
    pub critics: [Mlp; 2],
}

/// Working memory for decisions, one for each thread. It grows with the largest batch, and then no
/// call allocates.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    rows: Vec<f32>,
    mask: Vec<f32>,
    log_probabilities: Vec<f32>,
    tape: Tape,
}

impl Actor {
    /// Numbers in an observation.
    pub fn observation(&self) -> usize {
        self.networks.actor.inputs()
    }

    pub fn actions(&self) -> usize {
        self.networks.actor.outputs()
    }

    /// The probability of every action, for one or more rows at once: `observations` as the pipeline
    /// gives them, `masks` true where an action is allowed, and `out` a row of actions for each.
    /// Actions that are not allowed get exactly 0; where none is, the whole row is 0.
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn probabilities(
        &self,
        observations: &[f32],
        masks: &[bool],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        assert_eq!(masks.len(), out.len(), "a mask for each action");
        let Inference { normaliser, actor, .. } = &*self.networks;
        normaliser.apply_to(observations, &mut scratch.rows);
        let logits = actor.forward(&scratch.rows, &mut scratch.tape);
        assert_eq!(logits.len(), out.len(), "a row of actions for each observation");
        let actions = actor.outputs();
        scratch.log_probabilities.resize(actions, 0.0);
        let rows = logits.chunks_exact(actions).zip(masks.chunks_exact(actions));
        for ((logits, mask), out) in rows.zip(out.chunks_exact_mut(actions)) {
            scratch.mask.clear();
            scratch.mask.extend(mask.iter().map(|&allowed| f32::from(u8::from(allowed))));
            masked_softmax(logits, &scratch.mask, out, &mut scratch.log_probabilities);
        }
    }

    /// The value of every action, the mean of both critics, for one or more rows at once: the
    /// discounted sum of rewards expected after taking it here and following the policy then.
    /// Actions that are not allowed get a number, too, but it means nothing.
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn values(&self, observations: &[f32], scratch: &mut Scratch, out: &mut [f32]) {
        let Inference { normaliser, critics: [first, second], .. } = &*self.networks;
        normaliser.apply_to(observations, &mut scratch.rows);
        out.copy_from_slice(first.forward(&scratch.rows, &mut scratch.tape));
        for (value, &other) in out.iter_mut().zip(second.forward(&scratch.rows, &mut scratch.tape))
        {
            *value = 0.5 * (*value + other);
        }
    }
}

/// The likeliest action of one row of probabilities; the first of equals. `None` when none is
/// allowed.
pub fn greedy(probabilities: &[f32]) -> Option<usize> {
    let mut best = None;
    for (action, &p) in probabilities.iter().enumerate() {
        if p > best.map_or(0.0, |best: usize| probabilities[best]) {
            best = Some(action);
        }
    }
    best
}

/// An action drawn with one row of probabilities. `None` when none is allowed.
pub fn sample(probabilities: &[f32], random: &mut Xoshiro256PlusPlus) -> Option<usize> {
    let mut left = random.random_range(0.0..1.0) * probabilities.iter().sum::<f32>();
    let mut last = None;
    for (action, &p) in probabilities.iter().enumerate() {
        if p > 0.0 {
            last = Some(action);
            left -= p;
            if left < 0.0 {
                break;
            }
        }
    }
    last
}

/// Entropy of one row of probabilities, in nats.
pub fn entropy(probabilities: &[f32]) -> f32 {
    -probabilities.iter().filter(|&&p| p > 0.0).map(|&p| p * p.ln()).sum::<f32>()
}
