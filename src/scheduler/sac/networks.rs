//! What an update works on: the networks with their optimisers, and the policy's view of a batch.

use crate::scheduler::nn::{Adam, Mlp, Tape, masked_softmax};

/// The temperature stays within these.
const ALPHA: std::ops::RangeInclusive<f32> = 1e-6..=1e3;

/// What learning changes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Networks {
    pub actor: Mlp,
    pub critics: [Mlp; 2],
    pub targets: [Mlp; 2],
    pub actor_adam: Adam,
    pub critic_adams: [Adam; 2],
    pub ln_alpha: f32,
    pub alpha_adam: Adam,
}

impl Networks {
    /// Optimisers at their start, and target networks that equal the critics.
    pub(super) fn new(actor: Mlp, critics: [Mlp; 2], alpha: f32) -> Networks {
        let adam = |mlp: &Mlp| Adam::new(mlp.parameters().len());
        Networks {
            actor_adam: adam(&actor),
            critic_adams: critics.each_ref().map(adam),
            alpha_adam: Adam::new(1),
            ln_alpha: alpha.ln(),
            targets: critics.clone(),
            actor,
            critics,
        }
    }

    pub(super) fn step_critics(&mut self, gradients: &[Vec<f32>; 2], rate: f32) {
        let adams = self.critic_adams.iter_mut().zip(gradients);
        for (critic, (adam, gradient)) in self.critics.iter_mut().zip(adams) {
            adam.step(critic.parameters_mut(), gradient, rate);
        }
    }

    pub(super) fn step_actor(&mut self, gradient: &[f32], rate: f32) {
        self.actor_adam.step(self.actor.parameters_mut(), gradient, rate);
    }

    pub(super) fn step_alpha(&mut self, excess: f32, rate: f32) {
        self.alpha_adam.step(std::slice::from_mut(&mut self.ln_alpha), &[excess], rate);
        self.ln_alpha = self.ln_alpha.clamp(ALPHA.start().ln(), ALPHA.end().ln());
    }
}

/// The actor's choice for each row of a batch.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    pub probabilities: Vec<f32>,
    pub log_probabilities: Vec<f32>,
    pub entropies: Vec<f32>,
}

/// One row of a [`Policy`].
pub(super) struct Row<'a> {
    pub probabilities: &'a [f32],
    pub log_probabilities: &'a [f32],
    pub entropy: f32,
}

impl Policy {
    pub(super) fn evaluate(&mut self, actor: &Mlp, rows: &[f32], masks: &[f32], tape: &mut Tape) {
        let actions = actor.outputs();
        let logits = actor.forward(rows, tape);
        assert_eq!(logits.len(), masks.len(), "a mask for each row");
        self.probabilities.resize(logits.len(), 0.0);
        self.log_probabilities.resize(logits.len(), 0.0);
        self.entropies.clear();
        let policy = self.probabilities.chunks_exact_mut(actions);
        let policy = policy.zip(self.log_probabilities.chunks_exact_mut(actions));
        let rows = logits.chunks_exact(actions).zip(masks.chunks_exact(actions));
        self.entropies.extend(
            policy
                .zip(rows)
                .map(|((p, log_p), (logits, mask))| masked_softmax(logits, mask, p, log_p)),
        );
    }

    pub(super) fn rows(&self, actions: usize) -> impl Iterator<Item = Row<'_>> {
        let both = pairs(&self.probabilities, &self.log_probabilities, actions);
        both.zip(&self.entropies).map(|((probabilities, log_probabilities), &entropy)| Row {
            probabilities,
            log_probabilities,
            entropy,
        })
    }
}

/// Both by rows of `actions`.
pub(super) fn pairs<'a>(
    q1: &'a [f32],
    q2: &'a [f32],
    actions: usize,
) -> impl Iterator<Item = (&'a [f32], &'a [f32])> {
    q1.chunks_exact(actions).zip(q2.chunks_exact(actions))
}
