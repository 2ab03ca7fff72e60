//! bcedge: an SLO-aware DNN inference appliance for edge devices.
//!
//! One process loads engines, takes requests over a Unix socket, and chooses batch size and
//! concurrent instances for every model so that utility is highest while SLOs hold.
//!
//! ```text
//! socket ─ server ─► admission ─► queue ─► scheduler decision ─► batch ─► instance ─► reply
//!                                    └────────── telemetry ─► snapshot ─► TUI, metrics
//! ```
//!
//! The pipeline is a state machine without threads, sockets or clock (`pipeline::Pipeline::step`);
//! the live runtime drives it from real sockets and engines, tests drive it with virtual time.

pub mod chart;
pub mod cli;
pub mod client;
pub mod config;
pub mod doorbell;
pub mod engine;
pub mod files;
pub mod load;
pub mod models;
pub mod pipeline;
pub mod policy_file;
pub mod profiler;
pub mod runtime;
pub mod scheduler;
pub mod server;
pub mod sim;
pub mod suite;
pub mod telemetry;
pub mod train;
pub mod tui;
pub mod units;
pub mod workload;
