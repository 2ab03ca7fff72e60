//! `profile.ron` next to the model file: what was measured, and on what.

use super::device::device_of;
use super::{Beside, Neighbour, Point};
use super::{fields, file};
use crate::config::Config;
use crate::engine::{Engine, FileStamp, onnx_check};
use crate::files;
use crate::units::{BatchSize, InstanceCount};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Of this file's form. Another one is measured anew.
const FORMAT: u32 = 2;

/// Measured latencies of one model, and all that they depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub format: u32,
    /// Its name in config.ron.
    pub model: String,
    pub device: String,
    /// [`Engine::platform`].
    pub platform: String,
    /// [`Engine::library_version`].
    pub library_version: String,
    pub crate_version: String,
    pub threads_per_instance: u32,
    /// Seconds since 1970 when the last point was measured.
    pub measured_unix_s: u64,
    /// Name of the model file in the profile's folder.
    pub model_file: String,
    pub model_stamp: FileStamp,
    /// How thoroughly: milliseconds each point was measured for. 0: a glance of the demo.
    pub point_ms: u64,
    pub features: Option<Features>,
    pub memory: Option<Memory>,
    /// What the machine's speed was told by.
    pub anchor: Option<Anchor>,
    /// What did not fit.
    pub limits: Vec<Limit>,
    /// Alone: nothing else ran.
    pub points: Vec<Point>,
    /// The model files of the neighbours below.
    pub neighbour_stamps: BTreeMap<String, FileStamp>,
    pub beside: Vec<Beside>,
}

/// What is known of a model without running it, per item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// Multiply-adds of convolutions and matrix products.
    pub multiply_adds: u64,
    /// All constants, read once a run whatever the batch size.
    pub weight_bytes: u64,
    /// Inputs and outputs of all operators.
    pub activation_bytes: u64,
    /// Operators that compute something.
    pub kernels: u64,
}

/// Growth of a process's resident memory, measured in a process of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// By loading the model, and the engine's library if it has one.
    pub loaded_bytes: u64,
    /// By one instance that has run this many items at once.
    pub instance_bytes: Vec<(BatchSize, u64)>,
    /// By each further instance with the largest batch; `None` when there is only one.
    pub further_instance_bytes: Option<u64>,
}

/// One point that is measured again and again: when it changes, the machine has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    pub model: String,
    #[serde(deserialize_with = "fields::instances")]
    pub instances: InstanceCount,
    /// Of batch size 1, when the profile was begun.
    #[serde(deserialize_with = "fields::factor")]
    pub latency_us_p50: f64,
}

/// This many instances with batches of this size do not fit, so no more of both do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    #[serde(deserialize_with = "fields::batch")]
    pub batch: BatchSize,
    #[serde(deserialize_with = "fields::instances")]
    pub instances: InstanceCount,
    pub reason: String,
}

/// Why there is no usable profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("there is no profile at {}", .0.display())]
    Missing(PathBuf),
    #[error("{}{reason}; measure again with `bcedge profile`", path.display())]
    Corrupt {
        path: PathBuf,
        /// Begins with `:line:column: ` where there is a place.
        reason: String,
    },
    #[error(
        "{}: the profile is of another {what}: measured with {found}, this is {expected}; measure \
         again with `bcedge profile`",
        path.display()
    )]
    Foreign { path: PathBuf, what: &'static str, found: String, expected: String },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

/// Where the profile of a model file is.
pub fn profile_path(model_file: &Path) -> PathBuf {
    model_file.with_file_name("profile.ron")
}

impl Features {
    /// From the model file, or the ONNX file beside a plan of the same name, which it was built
    /// from; `None` where there is no ONNX model.
    pub fn of(model_file: &Path) -> Option<Features> {
        let source = model_file.with_extension("onnx");
        let check = |file: &Path| onnx_check::check(file).ok();
        let model = check(model_file).or_else(|| check(&source))?;
        Some(Features {
            multiply_adds: model.cost.multiply_adds,
            weight_bytes: model.weight_bytes,
            activation_bytes: model.cost.activation_bytes,
            kernels: model.cost.kernels,
        })
    }
}

impl Profile {
    /// Puts measured points together with what they depend on here and now.
    ///
    /// # Errors
    /// [`ProfileError::Io`] when the model file is gone.
    pub fn new(
        name: &str,
        model_file: &Path,
        engine: &dyn Engine,
        config: &Config,
        points: Vec<Point>,
    ) -> Result<Profile, ProfileError> {
        let stamp = FileStamp::of(model_file)
            .map_err(|source| ProfileError::Io { path: model_file.to_owned(), source })?;
        Ok(Profile {
            format: FORMAT,
            model: name.into(),
            device: device_of(engine),
            platform: engine.platform().into(),
            library_version: engine.library_version(),
            crate_version: env!("CARGO_PKG_VERSION").into(),
            threads_per_instance: config.threads_per_instance.max(1),
            measured_unix_s: unix_s(),
            model_file: file_name(model_file),
            model_stamp: stamp,
            point_ms: 0,
            features: Features::of(model_file),
            memory: None,
            anchor: None,
            limits: Vec::new(),
            points,
            neighbour_stamps: BTreeMap::new(),
            beside: Vec::new(),
        })
    }

    /// Reads a profile, wherever it was measured.
    ///
    /// # Errors
    /// That it is missing, damaged, or of another format.
    pub fn read(path: &Path) -> Result<Profile, ProfileError> {
        let text = file::read(path)?;
        let corrupt = |reason| ProfileError::Corrupt { path: path.to_owned(), reason };
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let format = ron::from_str::<Head>(&text).map(|head| head.format);
        let profile: Profile = ron::from_str(&text).map_err(|error| match format {
            Ok(FORMAT) | Err(_) => corrupt(file::explain(&text, &error)),
            Ok(other) => other_format(path, other),
        })?;
        if profile.format != FORMAT {
            return Err(other_format(path, profile.format));
        }
        profile.check_points().map_err(|reason| corrupt(format!(": {reason}")))?;
        Ok(profile)
    }

    /// Reads the profile of `model_file`, if it holds for this device, engine and file.
    ///
    /// # Errors
    /// Which of these it does not hold for, or that it is missing or damaged.
    pub fn load(
        model_file: &Path,
        engine: &dyn Engine,
        config: &Config,
    ) -> Result<Profile, ProfileError> {
        let path = profile_path(model_file);
        let profile = Profile::read(&path)?;
        let stamp = FileStamp::of(model_file)
            .map_err(|source| ProfileError::Io { path: model_file.to_owned(), source })?;
        let threads = |threads: u32| threads.to_string();
        let file = |name: &str, stamp: &FileStamp| {
            format!("{name} of {} bytes, changed at {} µs", stamp.bytes, stamp.modified_unix_us)
        };
        let differences = [
            ("device", profile.device.clone(), device_of(engine)),
            ("engine", profile.platform.clone(), engine.platform().into()),
            ("engine version", profile.library_version.clone(), engine.library_version()),
            ("bcedge version", profile.crate_version.clone(), env!("CARGO_PKG_VERSION").into()),
            (
                "number of threads",
                threads(profile.threads_per_instance),
                threads(config.threads_per_instance.max(1)),
            ),
            (
                "model file",
                file(&profile.model_file, &profile.model_stamp),
                file(&file_name(model_file), &stamp),
            ),
        ];
        for (what, found, expected) in differences {
            if found != expected {
                return Err(ProfileError::Foreign { path, what, found, expected });
            }
        }
        Ok(profile)
    }

    /// Writes the profile next to `model_file`: whole or not at all.
    ///
    /// # Errors
    /// [`ProfileError::Io`] with the path.
    pub fn save(&self, model_file: &Path) -> Result<PathBuf, ProfileError> {
        let path = profile_path(model_file);
        ron::ser::to_string_pretty(self, ron::ser::PrettyConfig::default())
            .map_err(std::io::Error::other)
            .and_then(|text| files::replace(&path, text.as_bytes()))
            .map_err(|source| ProfileError::Io { path: path.clone(), source })?;
        Ok(path)
    }

    /// The point measured alone, if it was.
    pub fn alone(&self, batch: BatchSize, instances: InstanceCount) -> Option<&Point> {
        self.points.iter().find(|point| point.batch == batch && point.instances == instances)
    }

    /// Whether what did not fit says that this does not either.
    pub fn is_beyond_limits(&self, batch: BatchSize, instances: InstanceCount) -> bool {
        self.limits.iter().any(|limit| batch >= limit.batch && instances >= limit.instances)
    }

    /// Adds a point measured alone, in the place of one that is there.
    pub(super) fn set_alone(&mut self, point: Point) {
        let (batch, instances) = (point.batch, point.instances);
        match self.points.iter_mut().find(|p| p.batch == batch && p.instances == instances) {
            Some(there) => *there = point,
            None => self.points.push(point),
        }
        let Some(alone) = self.alone(batch, InstanceCount::ONE).cloned() else { return };
        for beside in self.beside.iter_mut().filter(|beside| beside.point.batch == batch) {
            beside.multiplier = multiplier(&beside.point, &alone);
        }
    }

    /// Adds what was measured beside neighbours, in the place of what is there of them. Nothing
    /// comes of it when the batch size is not known alone.
    pub(super) fn add_beside(&mut self, point: Point, neighbours: Vec<Neighbour>) {
        let Some(alone) = self.alone(point.batch, InstanceCount::ONE) else { return };
        let multiplier = multiplier(&point, alone);
        let beside = Beside { multiplier, point, neighbours, again_us_mean: None };
        match self.beside.iter_mut().find(|old| old.key() == beside.key()) {
            Some(there) => *there = beside,
            None => self.beside.push(beside),
        }
    }

    /// The machine's usual speed is another one than it was taken for.
    pub(super) fn scale_drift(&mut self, factor: f64) {
        let beside = self.beside.iter_mut().map(|beside| &mut beside.point);
        for point in self.points.iter_mut().chain(beside) {
            point.drift = (point.drift * factor * 1e4).round().max(1.0) / 1e4;
        }
    }

    /// Now is when the last point was measured.
    pub(super) fn touch(&mut self) {
        self.measured_unix_s = unix_s();
    }

    /// What must hold between the points.
    fn check_points(&self) -> Result<(), String> {
        let mut seen = HashSet::new();
        for Point { batch, instances, .. } in &self.points {
            if !seen.insert((batch, instances)) {
                return Err(format!("batch {batch} with {instances} instances appears twice"));
            }
        }
        if !seen.contains(&(&BatchSize::ONE, &InstanceCount::ONE)) {
            return Err("the point of batch 1 with 1 instance is missing".into());
        }
        let mut keys = HashSet::new();
        match self.beside.iter().find(|beside| !keys.insert(beside.key())) {
            None => Ok(()),
            Some(twice) => Err(format!("the combination {:?} appears twice", twice.key())),
        }
    }
}

/// Four digits, and never 0.
fn multiplier(point: &Point, alone: &Point) -> f64 {
    let factor = point.latency_us_mean.max(1e-3) / alone.latency_us_mean.max(1e-3);
    (factor * 1e4).round().max(1.0) / 1e4
}

fn other_format(path: &Path, found: u32) -> ProfileError {
    ProfileError::Foreign {
        path: path.to_owned(),
        what: "format",
        found: found.to_string(),
        expected: FORMAT.to_string(),
    }
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
