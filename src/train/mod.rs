//! Training of the learnt policies in the simulator.
//!
//! ```text
//! seed ─► World (device, models, SLOs, load) ─► Simulation ─► experiences ─► replay ─► Learner
//!            ▲ domain randomisation                ▲ the actor decides                   │
//!            └───────────── next round ────────────┴────────────── weights ──────────────┘
//! ```
//!
//! First the actor imitates a teacher: on many worlds, the limits that a search found best for each
//! of them. Then it goes on from there by soft actor-critic.

mod rollout;
mod teacher;
mod trainer;
mod world;

pub use trainer::{Options, Progress, Trainer};
pub use world::{Materials, World};
