//! What the test binaries share. Each includes the whole of it and uses a part.
#![allow(dead_code, unused_imports)]

mod appliance;
mod caller;
mod mocks;
mod perf_analyzer;
mod python;

pub use appliance::{Appliance, program};
pub use caller::{Called, Caller, ELEMENTS, Reply, output_at, request, row};
pub use mocks::{Count, Kind, Mock, MockPlan, Version};
pub use perf_analyzer::{PerfReport, perf_analyzer};
pub use python::{build_once, onnxruntime_folder, python_env, python_script, run_with_deadline};
