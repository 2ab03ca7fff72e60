//! Measures how long batches take on this device: alone, beside other instances of their model, and
//! beside other models.
//!
//! [`Campaign`] is thorough and meant for `bcedge profile`; [`glance`] takes seconds and gives a
//! first start something to plan with. Both give a [`Profile`], which is saved next to the model
//! file ([`store`]). [`samples`] makes a data set of profiles.

mod campaign;
mod design;
mod device;
mod fields;
mod file;
mod knowledge;
mod measure;
mod memory;
mod picture;
mod point;
mod quick;
mod samples;
mod store;

pub use campaign::{Campaign, End, News, Request, Subject};
pub use design::{Kind, Member, combinations, load};
pub use device::device_name;
pub use knowledge::{interference, interference_samples, predictor};
pub use measure::{Effort, Failure, Part, together};
pub use memory::{Reading, evaluate as evaluate_memory, read_memory};
pub use picture::picture;
pub use point::{
    Beside, DRIFT_TOLERANCE, Neighbour, Point, batch_ladder, instance_ladder, latency_table,
};
pub use quick::{glance, quick};
pub use samples::{RepeatError, Sample, SampleNeighbour, repeat_error, samples};
pub use store::{Anchor, Features, Limit, Memory, Profile, ProfileError, profile_path};

use crate::config::{Config, EngineConfig, ModelConfig};
use crate::engine::{Engine, EngineError, synthetic_latency};
use crate::units::BatchSize;
use std::time::Duration;

/// What a model's batches are planned with.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// The saved profile.
    Profile(Box<Profile>),
    /// Without one: of a pretended engine its table, else [`quick`] measurements.
    Points(Vec<Point>),
}

impl Known {
    pub fn points(&self) -> &[Point] {
        match self {
            Known::Profile(profile) => &profile.points,
            Known::Points(points) => points,
        }
    }

    pub fn into_profile(self) -> Option<Profile> {
        match self {
            Known::Profile(profile) => Some(*profile),
            Known::Points(_) => None,
        }
    }

    pub fn features(&self) -> Option<&Features> {
        match self {
            Known::Profile(profile) => profile.features.as_ref(),
            Known::Points(_) => None,
        }
    }
}

/// What is known of a model; one without a profile is measured within about `budget`.
///
/// # Errors
/// The engine's, while it is measured.
pub fn known(
    model: &ModelConfig,
    config: &Config,
    engine: &dyn Engine,
    budget: Duration,
) -> Result<Known, EngineError> {
    match &model.engine {
        // Running it would use up its scripted faults.
        EngineConfig::Synthetic(table) => {
            Ok(Known::Points(configured(&table.latency_us, engine.spec().max_batch)))
        }
        EngineConfig::Onnx(path) | EngineConfig::Plan(path) => {
            match Profile::load(engine.file().unwrap_or(path), engine, config) {
                Ok(profile) => Ok(Known::Profile(Box::new(profile))),
                Err(reason) => {
                    if !matches!(reason, ProfileError::Missing(_)) {
                        tracing::warn!(model = model.name, "{reason}");
                    }
                    quick(engine, budget).map(Known::Points)
                }
            }
        }
    }
}

fn configured(table: &[(u32, u64)], max_batch: BatchSize) -> Vec<Point> {
    let latency_us = |batch| synthetic_latency(table, batch).as_secs_f64() * 1e6;
    let ladder = batch_ladder(max_batch).into_iter();
    ladder.map(|batch| Point::configured(batch, latency_us(batch))).collect()
}

#[cfg(test)]
mod tests;
