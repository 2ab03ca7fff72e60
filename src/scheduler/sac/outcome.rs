//! What an update says about itself.

/// How an update went; means over the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UpdateStats {
    /// Of both critics, the mean.
    pub critic_loss: f32,
    pub actor_loss: f32,
    /// In nats, and what it is steered to.
    pub entropy: f32,
    pub target_entropy: f32,
    /// The temperature.
    pub alpha: f32,
    /// The policy's value, by both critics.
    pub q_mean: f32,
    /// The part of the critics' estimates that Q-clip held back.
    pub clipped: f32,
    /// Length of the longer critic gradient and of the actor's, before they were clipped.
    pub critic_gradient: f32,
    pub actor_gradient: f32,
}

/// Why an update did not happen.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum UpdateError {
    #[error("there is no transition to learn from yet")]
    Empty,
    #[error(
        "update {update}: what was to be learnt from holds a number that is not finite; nothing was changed"
    )]
    BadData { update: u64 },
    #[error(
        "update {update}: {what} became {value}; the networks are again those of update {restored}"
    )]
    Diverged { update: u64, what: &'static str, value: f32, restored: u64 },
}
