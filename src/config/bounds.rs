//! Deserialisers that know what a value may be, so that `ron` reports a value outside its bounds
//! at the value itself.

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use std::fmt;
use std::path::PathBuf;

/// Longest path a Unix socket address can hold: `sun_path` less the closing zero.
pub const MAX_SOCKET_PATH_BYTES: usize = 107;
/// Longest model name.
pub const MAX_NAME_BYTES: usize = 128;
/// Most models in one appliance.
pub const MAX_MODELS: usize = 256;
/// Most entries in a latency table, a list of faults or of preferred batch sizes.
pub const MAX_LIST: usize = 1024;

/// An integer from `MIN` to `MAX`, both included.
pub fn within<'de, const MIN: u64, const MAX: u64, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: TryFrom<u64>,
    D: Deserializer<'de>,
{
    let value = deserializer.deserialize_any(Integer { min: MIN, max: MAX, words: "" })?;
    T::try_from(value).map_err(|_| D::Error::custom(format_args!("{value} is too large")))
}

/// [`within`] for every item of a list.
pub fn list_within<'de, const MIN: u64, const MAX: u64, D>(
    deserializer: D,
) -> Result<Vec<u32>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(serde::Deserialize)]
    #[serde(transparent)]
    struct Item<const MIN: u64, const MAX: u64>(
        #[serde(deserialize_with = "within::<MIN, MAX, _, _>")] u32,
    );
    let items = Vec::<Item<MIN, MAX>>::deserialize(deserializer)?;
    not_more_than(MAX_LIST, "sizes", items.len())?;
    Ok(items.into_iter().map(|item| item.0).collect())
}

struct Integer {
    min: u64,
    max: u64,
    /// Said instead of the bounds, unless empty.
    words: &'static str,
}

impl Visitor<'_> for Integer {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.words {
            "" => write!(f, "an integer from {} to {}", self.min, self.max),
            words => f.write_str(words),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
        if (self.min..=self.max).contains(&value) {
            Ok(value)
        } else {
            Err(E::invalid_value(Unexpected::Unsigned(value), &self))
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<u64, E> {
        match u64::try_from(value) {
            Ok(value) => self.visit_u64(value),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(value), &self)),
        }
    }
}

/// A finite number from `MIN` to `MAX`.
pub fn number<'de, const MIN: u64, const MAX: u64, D>(deserializer: D) -> Result<f64, D::Error>
where
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(Number { min: MIN, max: MAX })
}

struct Number {
    min: u64,
    max: u64,
}

impl Visitor<'_> for Number {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number from {} to {}", self.min, self.max)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
        // Not-a-number is in no range.
        if (self.min as f64..=self.max as f64).contains(&value) {
            Ok(value)
        } else {
            Err(E::invalid_value(Unexpected::Float(value), &self))
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<f64, E> {
        self.visit_f64(value as f64)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
        self.visit_f64(value as f64)
    }
}

/// A number above 0 and at most 1.
pub fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = number::<0, 1, _>(deserializer)?;
    if value > 0.0 {
        return Ok(value);
    }
    Err(D::Error::custom(format_args!("{value} is no share; expected a number above 0, up to 1")))
}

/// Permission bits that let the appliance itself use its socket.
pub fn mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let words = "permission bits up to 0o777, such as 0o660 (mind the `0o`)";
    let bits = deserializer.deserialize_any(Integer { min: 0, max: 0o777, words })? as u32;
    if bits & 0o600 != 0o600 {
        return Err(D::Error::custom(format_args!(
            "mode {bits:#o} shuts the appliance's own user out; allowed are permission bits with \
             0o600 in them, such as 0o660 (user and group) or 0o666 (everybody)"
        )));
    }
    Ok(bits)
}

/// A path that a Unix socket can be bound to.
pub fn socket_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let path = path(deserializer)?;
    let bytes = path.as_os_str().len();
    if bytes > MAX_SOCKET_PATH_BYTES {
        return Err(D::Error::custom(format_args!(
            "the path has {bytes} bytes, a Unix socket's may have {MAX_SOCKET_PATH_BYTES}; choose \
             a shorter one, or one relative to the working directory"
        )));
    }
    Ok(path)
}

/// A path that can exist.
pub fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() || text.contains('\0') {
        return Err(D::Error::custom("expected a path that is not empty and has no zero byte"));
    }
    Ok(PathBuf::from(text))
}

/// A model's name: it stands in URLs, metric labels and file names as it is.
pub fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if let Some(bad) = name.chars().find(|&c| !allowed(c)) {
        return Err(D::Error::custom(format_args!(
            "a model's name can't contain {bad:?}, because it stands in URLs; allowed are letters \
             a-z and A-Z, digits, `_`, `-` and `.`"
        )));
    }
    if name.is_empty() || name.starts_with('.') || name.len() > MAX_NAME_BYTES {
        return Err(D::Error::custom(format_args!(
            "a model's name has 1 to {MAX_NAME_BYTES} characters and doesn't begin with `.`"
        )));
    }
    Ok(name)
}

/// A list of models: at least one, and not so many that their threads alone are too much.
pub fn models<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let models = Vec::deserialize(deserializer)?;
    not_more_than(MAX_MODELS, "models", models.len())?;
    Ok(models)
}

/// Execution times by batch size.
pub fn latency_table<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(u32, u64)>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(expecting = "a pair of batch size and microseconds")]
    struct Row(
        #[serde(deserialize_with = "within::<1, 1024, _, _>")] u32,
        // A minute.
        #[serde(deserialize_with = "within::<0, 60_000_000, _, _>")] u64,
    );
    let rows: Vec<(u32, u64)> =
        Vec::<Row>::deserialize(deserializer)?.into_iter().map(|row| (row.0, row.1)).collect();
    not_more_than(MAX_LIST, "rows", rows.len())?;
    if rows.is_empty() {
        return Err(D::Error::custom(
            "the latency table is empty; expected at least one (batch size, microseconds)",
        ));
    }
    if let Some(pair) = rows.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
        return Err(D::Error::custom(format_args!(
            "the latency table is not ascending: batch size {} stands after {}",
            pair[1].0, pair[0].0
        )));
    }
    Ok(rows)
}

/// Misbehaviours of a pretended engine by the number of the run, counted from 1.
pub fn faults<'de, T, D>(deserializer: D) -> Result<Vec<(u64, T)>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    #[derive(serde::Deserialize)]
    #[serde(expecting = "a pair of run number and fault")]
    struct Row<T>(#[serde(deserialize_with = "within::<1, { u64::MAX }, _, _>")] u64, T);
    let rows = Vec::<Row<T>>::deserialize(deserializer)?;
    not_more_than(MAX_LIST, "faults", rows.len())?;
    Ok(rows.into_iter().map(|row| (row.0, row.1)).collect())
}

fn not_more_than<E: Error>(most: usize, what: &str, found: usize) -> Result<(), E> {
    if found > most {
        return Err(E::custom(format_args!("{found} {what} are too many; at most {most} can be")));
    }
    Ok(())
}
