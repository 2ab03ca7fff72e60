//! The learnt policy's core: stable discrete soft actor-critic (SAC) with action masks.
//!
//! [`learner`] is the whole algorithm. Around it stand what it learns from ([`Replay`]), how it sees
//! ([`Normaliser`]), what decides with it ([`Actor`]), how it starts from a teacher ([`pretrain`])
//! and how it is kept ([`weights`]). Nothing here reads files or clocks or starts threads, and all
//! randomness comes from a seed: the same seed and the same calls give the same weights, bit for bit
//! on the same machine.

mod actor;
mod config;
mod learner;
mod networks;
mod normaliser;
mod outcome;
mod pretrain;
mod replay;
#[cfg(test)]
mod tests;
mod weights;

pub use actor::{Actor, Scratch, entropy, greedy, sample};
pub use config::{InvalidConfig, SacConfig, Schedule};
pub use learner::Learner;
pub use normaliser::Normaliser;
pub use outcome::{UpdateError, UpdateStats};
pub use replay::{Batch, Refused, Replay, Transition};
pub use weights::{Layout, WeightsError};
