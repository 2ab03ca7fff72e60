//! A start that is better than nothing: the actor imitates a teacher, the critics learn from returns
//! that were seen.

use super::actor::Actor;
use super::config::{InvalidConfig, SacConfig};
use super::learner::Learner;
use super::networks::Networks;
use super::outcome::UpdateError;
use crate::scheduler::nn::{all_finite, clip_norm};

impl Learner {
    /// A learner that goes on from a trained policy, such as the one that ships: its networks and
    /// normaliser, with optimisers and temperature at their start.
    ///
    /// # Errors
    /// A setting that is out of its range, or sizes other than the policy's.
    pub fn from_actor(
        config: SacConfig,
        actor: &Actor,
        seed: u64,
    ) -> Result<Learner, InvalidConfig> {
        config.check()?;
        let policy = &*actor.networks;
        let names = ["observation", "hidden", "hidden", "actions"];
        for ((setting, value), &size) in
            names.into_iter().zip(config.sizes()).zip(policy.actor.sizes())
        {
            if value != size {
                let expected = "the size that the trained policy has";
                return Err(InvalidConfig { setting, value: value as f32, expected });
            }
        }
        let (actor, critics) = (policy.actor.clone(), policy.critics.clone());
        let networks = Networks::new(actor, critics, config.initial_alpha);
        Ok(Learner::with(config, seed, policy.normaliser.clone(), networks, 0))
    }

    /// One step of the actor towards a teacher's probabilities, by cross-entropy. `masks` and
    /// `teacher` have a row of actions for each observation. What the teacher gives to actions that
    /// are not allowed is shared out among the others; a row that gives nothing to any allowed one
    /// teaches nothing. Returns the loss, in nats.
    ///
    /// # Errors
    /// As [`Learner::update`].
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn imitate(
        &mut self,
        observations: &[f32],
        masks: &[bool],
        teacher: &[f32],
    ) -> Result<f32, UpdateError> {
        assert_eq!(masks.len(), teacher.len(), "a mask for each action");
        if masks.is_empty() {
            return Err(UpdateError::Empty);
        }
        if !all_finite(observations) || !all_finite(teacher) {
            return Err(UpdateError::BadData { update: self.updates });
        }
        let masks: Vec<f32> = masks.iter().map(|&allowed| f32::from(u8::from(allowed))).collect();

        let Learner { config, networks, work, normaliser, .. } = self;
        let actions = config.actions;
        normaliser.apply_to(observations, &mut work.observations);
        let (rows, tape) = (&work.observations, &mut work.actor_tape);
        work.policy.evaluate(&networks.actor, rows, &masks, tape);
        let scale = actions as f32 / masks.len() as f32;
        let mut loss = 0.0;
        work.by_outputs.resize(masks.len(), 0.0);
        let goals = teacher.chunks_exact(actions).zip(masks.chunks_exact(actions));
        let outs = work.by_outputs.chunks_exact_mut(actions);
        for ((row, (teacher, mask)), by_logits) in work.policy.rows(actions).zip(goals).zip(outs) {
            let total: f32 = teacher.iter().zip(mask).map(|(t, allowed)| t * allowed).sum();
            let share = if total > 0.0 { scale / total } else { 0.0 };
            let weight = if total > 0.0 { scale } else { 0.0 };
            for action in 0..actions {
                let goal = share * teacher[action] * mask[action];
                loss -= goal * row.log_probabilities[action];
                by_logits[action] = weight * row.probabilities[action] - goal;
            }
        }
        let gradient = &mut work.actor_gradient;
        networks.actor.backward(rows, tape, &work.by_outputs, gradient);
        let norm = clip_norm(gradient, config.max_gradient_norm);
        self.expect_finite(&[("the imitation loss", loss), ("the actor's gradient", norm)])?;
        let Learner { config, networks, work, .. } = self;
        networks.step_actor(&work.actor_gradient, config.actor_rate);
        self.finish()?;
        Ok(loss)
    }

    /// One step of both critics towards the discounted `returns` that were seen after `actions`, by
    /// squared error. Their target networks follow at once. Returns the mean of their losses.
    ///
    /// # Errors
    /// As [`Learner::update`].
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn fit_critics(
        &mut self,
        observations: &[f32],
        actions: &[u32],
        returns: &[f32],
    ) -> Result<f32, UpdateError> {
        assert_eq!(actions.len(), returns.len(), "a return for each action");
        if actions.is_empty() {
            return Err(UpdateError::Empty);
        }
        if !all_finite(observations) || !all_finite(returns) {
            return Err(UpdateError::BadData { update: self.updates });
        }
        let Learner { config, networks, work, normaliser, .. } = self;
        normaliser.apply_to(observations, &mut work.observations);
        let scale = 1.0 / actions.len() as f32;
        let mut loss = 0.0;
        for critic in 0..2 {
            let (network, tape) = (&networks.critics[critic], &mut work.critic_tapes[critic]);
            let q = network.forward(&work.observations, tape);
            work.by_outputs.clear();
            work.by_outputs.resize(q.len(), 0.0);
            for (row, (&action, &goal)) in actions.iter().zip(returns).enumerate() {
                let at = row * config.actions + action as usize;
                let error = q[at] - goal;
                loss += 0.25 * scale * error * error;
                work.by_outputs[at] = scale * error;
            }
            let gradient = &mut work.critic_gradients[critic];
            network.backward(&work.observations, tape, &work.by_outputs, gradient);
        }
        let norm = work.clip_critics(config.max_gradient_norm);
        self.expect_finite(&[("the critics' loss", loss), ("the critics' gradient", norm)])?;
        let Learner { config, networks, work, .. } = self;
        networks.step_critics(&work.critic_gradients, config.critic_rate);
        for (target, critic) in networks.targets.iter_mut().zip(&networks.critics) {
            target.parameters_mut().copy_from_slice(critic.parameters());
        }
        self.finish()?;
        Ok(loss)
    }
}
