//! The shipping pipeline and policies under a virtual clock.
//!
//! ```text
//! arrivals ──► Pipeline::step ──► Run ──► device (processor sharing, noise, slow-downs)
//!                   ▲   │                    │
//!                   │   └──► answers ► tally └─► BatchDone
//!                   └────────────────────────────┘
//! ```
//!
//! Nothing of the scheduling is written twice: what is judged here is the code that serves. Only
//! the engines are replaced, by how long their batches take ([`Surface`]), and the clock.

mod arrivals;
mod device;
mod learn;
mod load;
mod measured;
mod memory;
pub mod network;
pub mod platform;
pub mod published;
mod run;
mod surface;
mod tally;

pub use arrivals::{Arrivals, LoadShape, SloMix};
pub use device::Device;
pub use learn::{Knowledge, learn};
pub use load::{Load, LoadPlan, device_time_ns};
pub use measured::{MeasuredBeside, MeasuredModel, MeasuredPoint};
pub use memory::Memory;
pub use run::{Simulation, SimulationSettings};
pub use surface::{ModelSurface, Surfaces};
pub use tally::{ModelResult, RunResult};
