//! What the values in a profile may be: numbers that no measurement gives would turn up as nonsense
//! in the scheduler.

use crate::units::{BatchSize, InstanceCount};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

fn checked<'de, D, T>(
    from: D,
    expected: &str,
    is_allowed: impl Fn(&T) -> bool,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + std::fmt::Debug,
{
    let value = T::deserialize(from)?;
    if is_allowed(&value) {
        return Ok(value);
    }
    Err(D::Error::custom(format!("expected {expected}, found {value:?}")))
}

const TIME: &str = "microseconds, a finite number of at least 0";

fn is_time(us: &f64) -> bool {
    us.is_finite() && *us >= 0.0
}

pub(super) fn time_us<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    checked(from, TIME, is_time)
}

pub(super) fn optional_time_us<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<f64>, D::Error> {
    checked(from, TIME, |us: &Option<f64>| us.as_ref().is_none_or(is_time))
}

/// Of one latency to another.
pub(super) fn factor<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    checked(from, "a finite number above 0", |factor: &f64| factor.is_finite() && *factor > 0.0)
}

pub(super) fn batch<'de, D: Deserializer<'de>>(from: D) -> Result<BatchSize, D::Error> {
    checked(from, "a batch size of at least 1", |batch: &BatchSize| batch.0 >= 1)
}

pub(super) fn instances<'de, D: Deserializer<'de>>(from: D) -> Result<InstanceCount, D::Error> {
    checked(from, "at least 1 instance", |instances: &InstanceCount| instances.0 >= 1)
}
