//! How batch size and concurrency are chosen.

/// The policies an operator can switch between, by name.
pub const POLICIES: [&str; 3] = ["fixed", "triton", "deadline"];
