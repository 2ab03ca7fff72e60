//! `profile.ron` next to the model file: what was measured, and on what.

use super::{Point, device_name};
use crate::config::Config;
use crate::engine::{Engine, FileStamp};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A profile is a few kilobytes; what is longer is something else.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Measured latencies of one model, and all that they depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub device: String,
    /// [`Engine::platform`].
    pub platform: String,
    pub crate_version: String,
    pub threads_per_instance: u32,
    /// Seconds since 1970.
    pub measured_unix_s: u64,
    /// Name of the model file in the profile's folder.
    pub model_file: String,
    pub model_stamp: FileStamp,
    pub points: Vec<Point>,
}

/// Why there is no usable profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("there is no profile at {}", .0.display())]
    Missing(PathBuf),
    #[error("{}: {reason}; measure again with `bcedge profile`", path.display())]
    Corrupt { path: PathBuf, reason: String },
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

impl Profile {
    /// Puts measured points together with what they depend on here and now.
    ///
    /// # Errors
    /// [`ProfileError::Io`] when the model file is gone.
    pub fn new(
        model_file: &Path,
        engine: &dyn Engine,
        config: &Config,
        points: Vec<Point>,
    ) -> Result<Profile, ProfileError> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let stamp = FileStamp::of(model_file)
            .map_err(|source| ProfileError::Io { path: model_file.to_owned(), source })?;
        Ok(Profile {
            device: device_name(),
            platform: engine.platform().into(),
            crate_version: env!("CARGO_PKG_VERSION").into(),
            threads_per_instance: config.threads_per_instance.max(1),
            measured_unix_s: now.as_secs(),
            model_file: file_name(model_file),
            model_stamp: stamp,
            points,
        })
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
        let profile = read(&path)?;
        let here = Profile::new(model_file, engine, config, Vec::new())?;
        let stamp = |p: &Profile| {
            format!(
                "{} of {} bytes, changed at {} µs",
                p.model_file, p.model_stamp.bytes, p.model_stamp.modified_unix_us
            )
        };
        let differences = [
            ("device", profile.device.clone(), here.device.clone()),
            ("engine", profile.platform.clone(), here.platform.clone()),
            ("bcedge version", profile.crate_version.clone(), here.crate_version.clone()),
            (
                "number of threads",
                profile.threads_per_instance.to_string(),
                here.threads_per_instance.to_string(),
            ),
            ("model file", stamp(&profile), stamp(&here)),
        ];
        for (what, found, expected) in differences {
            if found != expected {
                return Err(ProfileError::Foreign { path, what, found, expected });
            }
        }
        profile.check_points().map_err(|reason| ProfileError::Corrupt { path, reason })?;
        Ok(profile)
    }

    /// Writes the profile next to `model_file`: whole or not at all.
    ///
    /// # Errors
    /// [`ProfileError::Io`] with the path.
    pub fn save(&self, model_file: &Path) -> Result<PathBuf, ProfileError> {
        let path = profile_path(model_file);
        write(&path, self).map_err(|source| ProfileError::Io { path: path.clone(), source })?;
        Ok(path)
    }

    /// Numbers that no measurement gives would turn up as nonsense in the scheduler.
    fn check_points(&self) -> Result<(), String> {
        let mut seen = HashSet::new();
        for point in &self.points {
            let Point { batch, instances, latency_us_p50: p50, latency_us_p95: p95, .. } = point;
            let valid = |us: &f64| us.is_finite() && *us >= 0.0;
            if batch.0 == 0 || instances.0 == 0 || !valid(p50) || !valid(p95) {
                return Err(format!("impossible point {point:?}"));
            }
            if !seen.insert((batch, instances)) {
                return Err(format!("batch {batch} with {instances} instances appears twice"));
            }
        }
        if !seen.iter().any(|(batch, instances)| batch.0 == 1 && instances.0 == 1) {
            return Err("the point of batch 1 with 1 instance is missing".into());
        }
        Ok(())
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn read(path: &Path) -> Result<Profile, ProfileError> {
    let io = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => ProfileError::Missing(path.to_owned()),
        _ => ProfileError::Io { path: path.to_owned(), source },
    };
    let corrupt = |reason: String| ProfileError::Corrupt { path: path.to_owned(), reason };
    let mut bytes = Vec::new();
    fs::File::open(path)
        .map_err(io)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(corrupt("is too long to be a profile".into()));
    }
    ron::de::from_bytes(&bytes).map_err(|error| corrupt(error.to_string()))
}

fn write(path: &Path, profile: &Profile) -> std::io::Result<()> {
    let text = ron::ser::to_string_pretty(profile, ron::ser::PrettyConfig::default())
        .map_err(std::io::Error::other)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .prefix(".profile")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
