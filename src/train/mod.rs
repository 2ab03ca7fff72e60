//! Training of the learnt policies in the simulator.
//!
//! ```text
//! seed ─► World (device, models, SLOs, load) ─► Simulation ─► experiences ─► replay ─► Learner
//!            ▲ domain randomisation                ▲ the actor decides                   │
//!            └───────────── next round ────────────┴────────────── weights ──────────────┘
//! ```
//!
//! First the actor imitates the planner. Then it goes on from there by soft actor-critic, its rewards
//! counted against the planner's under the same arrivals, and the planner's own choice imitated where
//! the critics see no clear gain.

mod rollout;
mod trainer;
mod world;

pub use trainer::{Options, Round, Subject, Trainer, UPDATES_PER_ROUND};
pub use world::{Materials, World};
