//! The suite: every policy on every platform, SLO set and load, under the same arrivals.

pub mod bench;
pub mod capacity;
pub mod cell;
pub mod choice;
pub mod grid;
pub mod results;
pub mod roster;
pub mod search;
pub mod stats;
pub mod summary;
pub mod table;
pub mod triton;
pub mod tune;
