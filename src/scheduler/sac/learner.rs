//! The algorithm: stable discrete soft actor-critic with action masks, in one file.
//!
//! A policy π(a|s) and two estimates Q₁, Q₂ of the value of each action are learnt from remembered
//! transitions (s, a, r, d, s'), where d is the discount of what follows. In every update:
//!
//! - **Critics.** Both regress on y = r + d · Σₐ π(a|s') (½ (Q̄₁ + Q̄₂)(s', a) − ζ α ln π(a|s')): the
//!   expectation is summed exactly over the actions (Christodoulou, arXiv 1910.07207), the target
//!   networks Q̄ are averaged, where SAC takes their minimum, which underestimates with discrete
//!   actions (Zhou et al., arXiv 2209.10081), and the entropy's share ζ is separate from the actor's
//!   (arXiv 2509.09838), 0 by default. The loss is ½ max((Q − y)², (Q̄ + clip(Q − Q̄, ±c) − y)²), so
//!   that an estimate does not run away from its target network (Zhou et al.'s Q-clip).
//! - **Actor.** It minimises Σₐ π(a|s) (α ln π(a|s) − ½ (Q₁ + Q₂)(s, a)) + ½ β (H₀ − H)², where H is
//!   its entropy and H₀ the one it had when it acted (Zhou et al.'s entropy penalty). With an
//!   imitation weight λ, −λ ln π(r|s) is added, r the rule's action (arXiv 2106.06860).
//! - **Temperature.** ln α follows Haarnoja et al. (arXiv 1812.05905): it falls while the entropy is
//!   above its target, a scheduled fraction of ln(number of allowed actions), and else rises.
//! - **Target networks** move the share τ of the way to their critics (Polyak averaging).
//!
//! A forbidden action has probability exactly 0, in every sum and in every gradient. Losses are
//! means over the batch of sums over the actions.

use super::actor::{Actor, Inference};
use super::config::{InvalidConfig, SacConfig};
use super::networks::{Networks, Policy, Row, pairs};
use super::normaliser::Normaliser;
use super::outcome::{UpdateError, UpdateStats};
use super::replay::{Batch, NO_TEACHER, Replay};
use crate::scheduler::nn::{Mlp, Tape, all_finite, approach, clip_norm};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::sync::Arc;

/// Initial outputs of both kinds of networks are near zero: all actions alike.
const OUTPUT_GAIN: f32 = 0.01;
/// After so many steps without a fault a copy of the networks is taken, to go back to.
const COPY_EVERY: u64 = 100;
/// An odd number with its bits well mixed: keeps the random numbers of updates and seeds apart.
const STREAM: u64 = 0x9e37_79b9_7f4a_7c15;

/// Trains a policy. Everything that is needed to go on later is in [`super::weights`]'s file of it.
#[derive(Clone, Debug)]
pub struct Learner {
    pub(super) config: SacConfig,
    pub(super) seed: u64,
    pub(super) normaliser: Normaliser,
    pub(super) networks: Networks,
    /// How the networks were when all was well.
    good: Checkpoint,
    /// Updates tried, those that failed too; without what came from a teacher.
    pub(super) updates: u64,
    /// What the rates of actor and critics are multiplied by.
    pace: f32,
    batch: Batch,
    pub(super) work: Work,
}

#[derive(Clone, Debug)]
struct Checkpoint {
    networks: Networks,
    /// Updates before it was taken.
    updates: u64,
    /// Steps of any kind since then.
    age: u64,
}

/// Memory for the steps of an update.
#[derive(Clone, Debug, Default)]
pub(super) struct Work {
    /// Normalised.
    pub observations: Vec<f32>,
    next_observations: Vec<f32>,
    pub actor_tape: Tape,
    pub critic_tapes: [Tape; 2],
    target_tapes: [Tape; 2],
    pub policy: Policy,
    goals: Vec<f32>,
    /// The loss's derivative by a network's outputs.
    pub by_outputs: Vec<f32>,
    pub actor_gradient: Vec<f32>,
    pub critic_gradients: [Vec<f32>; 2],
}

impl Learner {
    /// Networks with weights drawn from `seed`.
    ///
    /// # Errors
    /// A setting that is out of its range.
    pub fn new(config: SacConfig, seed: u64) -> Result<Learner, InvalidConfig> {
        config.check()?;
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut network = || Mlp::new(&config.sizes(), OUTPUT_GAIN, &mut random);
        let networks = Networks::new(network(), [network(), network()], config.initial_alpha);
        let normaliser = Normaliser::new(config.observation);
        Ok(Learner::with(config, seed, normaliser, networks, 0))
    }

    pub(super) fn with(
        config: SacConfig,
        seed: u64,
        normaliser: Normaliser,
        networks: Networks,
        updates: u64,
    ) -> Learner {
        let good = Checkpoint { networks: networks.clone(), updates, age: 0 };
        let (batch, mut work) = (Batch::default(), Work::default());
        work.actor_gradient.resize(networks.actor.parameters().len(), 0.0);
        for gradient in &mut work.critic_gradients {
            gradient.resize(networks.critics[0].parameters().len(), 0.0);
        }
        Learner { config, seed, normaliser, networks, good, updates, pace: 1.0, batch, work }
    }

    pub fn config(&self) -> &SacConfig {
        &self.config
    }

    /// Updates tried so far.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The temperature.
    pub fn alpha(&self) -> f32 {
        self.networks.ln_alpha.exp()
    }

    /// From now on actor and critics learn at this share of the rates that are set.
    pub fn slow_down(&mut self, share: f32) {
        self.pace = share;
    }

    /// To show it observations: it does not learn from what is replayed.
    pub fn normaliser_mut(&mut self) -> &mut Normaliser {
        &mut self.normaliser
    }

    /// A copy of the present policy, to decide with.
    pub fn actor(&self) -> Actor {
        let Networks { actor, critics, .. } = &self.networks;
        let (actor, critics) = (actor.clone(), critics.clone());
        Actor {
            networks: Arc::new(Inference { normaliser: self.normaliser.clone(), actor, critics }),
        }
    }

    /// One update from transitions drawn from `replay`, with a random number generator of its own.
    ///
    /// # Errors
    /// When there is nothing to learn from, or numbers were not finite; see [`UpdateError`] for what
    /// became of the networks.
    pub fn update(&mut self, replay: &Replay) -> Result<UpdateStats, UpdateError> {
        let stream = self.updates.wrapping_mul(STREAM);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(self.seed ^ stream);
        let mut batch = std::mem::take(&mut self.batch);
        replay.sample(self.config.batch, &mut random, &mut batch);
        let result = self.update_on(&batch);
        self.batch = batch;
        result
    }

    /// One update from these transitions, whose observations are not normalised yet.
    ///
    /// # Errors
    /// As [`Learner::update`].
    ///
    /// # Panics
    /// If the batch's columns do not fit together.
    pub fn update_on(&mut self, batch: &Batch) -> Result<UpdateStats, UpdateError> {
        if batch.is_empty() {
            return Err(UpdateError::Empty);
        }
        let fraction = self.config.target_entropy.at(self.updates);
        self.updates += 1;
        if !batch.is_finite() {
            return Err(UpdateError::BadData { update: self.updates });
        }
        let Learner { config, networks, work, normaliser, .. } = self;
        let mut stats = UpdateStats { alpha: networks.ln_alpha.exp(), ..UpdateStats::default() };
        normaliser.apply_to(&batch.observations, &mut work.observations);
        normaliser.apply_to(&batch.next_observations, &mut work.next_observations);

        work.compute_goals(config, networks, batch);
        work.judge(config, networks, 0, batch, &mut stats);
        work.judge(config, networks, 1, batch, &mut stats);
        work.improve(config, networks, batch, fraction, &mut stats);
        stats.critic_gradient = work.clip_critics(config.max_gradient_norm);
        stats.actor_gradient = clip_norm(&mut work.actor_gradient, config.max_gradient_norm);
        self.expect_finite(&[
            ("the critics' loss", stats.critic_loss),
            ("the critics' gradient", stats.critic_gradient),
            ("the actor's loss", stats.actor_loss),
            ("the actor's gradient", stats.actor_gradient),
        ])?;

        let Learner { config, networks, work, pace, .. } = self;
        networks.step_critics(&work.critic_gradients, *pace * config.critic_rate);
        if self.updates > config.critics_first {
            networks.step_actor(&work.actor_gradient, *pace * config.actor_rate);
            networks.step_alpha(stats.entropy - stats.target_entropy, config.temperature_rate);
        }
        for (target, critic) in networks.targets.iter_mut().zip(&networks.critics) {
            approach(target.parameters_mut(), critic.parameters(), config.tau);
        }
        self.finish()?;
        Ok(stats)
    }

    /// Goes back to the last good networks when one of these numbers is none.
    pub(super) fn expect_finite(
        &mut self,
        numbers: &[(&'static str, f32)],
    ) -> Result<(), UpdateError> {
        let Some(&(what, value)) = numbers.iter().find(|(_, x)| !x.is_finite()) else {
            return Ok(());
        };
        self.networks.clone_from(&self.good.networks);
        let (update, restored) = (self.updates, self.good.updates);
        Err(UpdateError::Diverged { update, what, value, restored })
    }

    /// Looks at the weights after a step, and now and then takes a copy of them.
    pub(super) fn finish(&mut self) -> Result<(), UpdateError> {
        let check = |networks: &[&Mlp]| {
            let is_fine = networks.iter().all(|mlp| all_finite(mlp.parameters()));
            if is_fine { 0.0 } else { f32::NAN }
        };
        let Networks { actor, critics: [c1, c2], targets: [t1, t2], ln_alpha, .. } = &self.networks;
        let (actor, critics) = (check(&[actor]), check(&[c1, c2, t1, t2]));
        let ln_alpha = *ln_alpha;
        self.expect_finite(&[
            ("a weight of the critics", critics),
            ("a weight of the actor", actor),
            ("the temperature", ln_alpha),
        ])?;
        self.good.age += 1;
        if self.good.age >= COPY_EVERY {
            self.good.networks.clone_from(&self.networks);
            (self.good.updates, self.good.age) = (self.updates, 0);
        }
        Ok(())
    }
}

impl Work {
    /// y = r + d · Σₐ π(a|s') (½ (Q̄₁ + Q̄₂)(s', a) − ζ α ln π(a|s')).
    fn compute_goals(&mut self, config: &SacConfig, networks: &Networks, batch: &Batch) {
        let next = &self.next_observations;
        self.policy.evaluate(&networks.actor, next, &batch.next_masks, &mut self.actor_tape);
        let [first, second] = &networks.targets;
        let [first_tape, second_tape] = &mut self.target_tapes;
        let (q1, q2) = (first.forward(next, first_tape), second.forward(next, second_tape));
        let bonus = config.critic_entropy * networks.ln_alpha.exp();
        let rows = self.policy.rows(config.actions).zip(pairs(q1, q2, config.actions));
        let known = batch.rewards.iter().zip(&batch.discounts);
        self.goals.clear();
        self.goals.extend(rows.zip(known).map(|((row, (q1, q2)), (&reward, &discount))| {
            let value = mean_value(row.probabilities, q1, q2) + bonus * row.entropy;
            // Where nothing follows, the value of what would has no say, whatever it is.
            if discount == 0.0 { reward } else { reward + discount * value }
        }));
    }

    /// Loss and gradient of one critic.
    fn judge(
        &mut self,
        config: &SacConfig,
        networks: &Networks,
        critic: usize,
        batch: &Batch,
        stats: &mut UpdateStats,
    ) {
        let (network, tape) = (&networks.critics[critic], &mut self.critic_tapes[critic]);
        let q = network.forward(&self.observations, tape);
        let anchors = config.q_clip.is_finite().then(|| {
            networks.targets[critic].forward(&self.observations, &mut self.target_tapes[critic])
        });
        let scale = 1.0 / batch.len() as f32;
        self.by_outputs.clear();
        self.by_outputs.resize(q.len(), 0.0);
        for (row, (&action, &goal)) in batch.actions.iter().zip(&self.goals).enumerate() {
            let at = row * config.actions + action as usize;
            let (loss, by_q) = critic_loss(q[at], anchors.map(|q| q[at]), goal, config.q_clip);
            stats.critic_loss += 0.5 * scale * loss;
            stats.clipped += if by_q == 0.0 && loss > 0.0 { 0.5 * scale } else { 0.0 };
            self.by_outputs[at] = scale * by_q;
        }
        let gradient = &mut self.critic_gradients[critic];
        network.backward(&self.observations, tape, &self.by_outputs, gradient);
    }

    /// Loss and gradient of the actor, by the critics as they judged this batch before their step.
    fn improve(
        &mut self,
        config: &SacConfig,
        networks: &Networks,
        batch: &Batch,
        fraction: f32,
        stats: &mut UpdateStats,
    ) {
        let Work { observations, policy, actor_tape, by_outputs, .. } = self;
        let [first, second] = &self.critic_tapes;
        policy.evaluate(&networks.actor, observations, &batch.masks, actor_tape);
        let scale = 1.0 / batch.len() as f32;
        by_outputs.resize(policy.probabilities.len(), 0.0);
        let rows = policy.rows(config.actions);
        let values = pairs(first.outputs(), second.outputs(), config.actions);
        let outs = by_outputs.chunks_exact_mut(config.actions);
        let masks = batch.masks.chunks_exact(config.actions);
        let known = batch.entropies.iter().zip(&batch.teachers);
        for ((((row, (q1, q2)), by_logits), mask), (&before, &teacher)) in
            rows.zip(values).zip(outs).zip(masks).zip(known)
        {
            let value = mean_value(row.probabilities, q1, q2);
            // NaN where the entropy of back then is not known: no penalty.
            let change = if before.is_nan() { 0.0 } else { before - row.entropy };
            let penalty = config.entropy_penalty * change;
            stats.actor_loss +=
                scale * (-stats.alpha * row.entropy - value + 0.5 * penalty * change);
            stats.q_mean += scale * value;
            stats.entropy += scale * row.entropy;
            stats.target_entropy += scale * fraction * mask.iter().sum::<f32>().max(1.0).ln();
            by_actor(&row, q1, q2, value, stats.alpha + penalty, scale, by_logits);
            if teacher != NO_TEACHER && config.imitation > 0.0 {
                let weight = scale * config.imitation;
                stats.actor_loss -= weight * row.log_probabilities[teacher as usize];
                by_imitation(&row, teacher as usize, weight, by_logits);
            }
        }
        let gradient = &mut self.actor_gradient;
        networks.actor.backward(observations, actor_tape, by_outputs, gradient);
    }

    /// Shortens both critics' gradients, and returns the greater norm.
    pub(super) fn clip_critics(&mut self, limit: f32) -> f32 {
        let [first, second] = self.critic_gradients.each_mut().map(|g| clip_norm(g, limit));
        // Not f32::max: it would pass over a NaN.
        if first > second || first.is_nan() { first } else { second }
    }
}

/// Twice the loss of an estimate `q` of `goal`, max((q − y)², (q̄ + clip(q − q̄, ±c) − y)²), and half
/// its derivative by `q`. `anchor` is q̄.
pub(super) fn critic_loss(q: f32, anchor: Option<f32>, goal: f32, clip: f32) -> (f32, f32) {
    let error = q - goal;
    // Within the clip both losses are one, but for rounding.
    if let Some(anchor) = anchor.filter(|anchor| (q - anchor).abs() > clip) {
        let clipped = anchor + clip.copysign(q - anchor) - goal;
        if clipped * clipped > error * error {
            return (clipped * clipped, 0.0);
        }
    }
    (error * error, error)
}

/// The derivative by the logits of `scale` · (Σₐ π (α ln π − Q) + ½ β (H₀ − H)²). With
/// dH/dz = −π (ln π + H), the penalty is a correction β (H₀ − H) to the temperature: `alpha` contains
/// it.
pub(super) fn by_actor(
    row: &Row<'_>,
    q1: &[f32],
    q2: &[f32],
    value: f32,
    alpha: f32,
    scale: f32,
    by_logits: &mut [f32],
) {
    let policy = row.probabilities.iter().zip(row.log_probabilities);
    for (((by_logit, (&p, &log_p)), &q1), &q2) in by_logits.iter_mut().zip(policy).zip(q1).zip(q2) {
        let advantage = 0.5 * (q1 + q2) - value;
        *by_logit = scale * p * (alpha * (log_p + row.entropy) - advantage);
    }
}

/// Adds the derivative by the logits of −`weight` · ln π(`teacher`).
pub(super) fn by_imitation(row: &Row<'_>, teacher: usize, weight: f32, by_logits: &mut [f32]) {
    for (by_logit, &p) in by_logits.iter_mut().zip(row.probabilities) {
        *by_logit += weight * p;
    }
    by_logits[teacher] -= weight;
}

/// Σₐ π(a) ½ (Q₁ + Q₂)(a).
fn mean_value(probabilities: &[f32], q1: &[f32], q2: &[f32]) -> f32 {
    let both = q1.iter().zip(q2);
    0.5 * probabilities.iter().zip(both).map(|(p, (q1, q2))| p * (q1 + q2)).sum::<f32>()
}
