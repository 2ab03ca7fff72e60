//! The scheduling state machine: no threads, no sockets, no clock.

mod request;

pub use request::{Completion, Outcome, Request};
