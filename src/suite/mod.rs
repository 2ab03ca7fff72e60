//! The suite: every policy on every platform, SLO set and load, under the same arrivals.

pub mod ablation;
pub mod bench;
pub mod capacity;
pub mod cell;
pub mod choice;
pub mod counts;
pub mod grid;
pub mod report;
pub mod results;
pub mod roster;
pub mod scenario;
pub mod search;
pub mod stats;
pub mod summary;
pub mod table;
pub mod triton;
pub mod tune;
