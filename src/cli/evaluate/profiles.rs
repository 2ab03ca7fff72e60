//! Devices on which `bcedge profile` measured: their profiles as surfaces.

use crate::config::auto_slo_us;
use crate::profiler::{self, Profile, latency_table};
use crate::sim::{MeasuredBeside, MeasuredModel, MeasuredPoint, Surfaces};
use crate::suite::grid::Platform;
use crate::units::Nanos;
use std::path::{Path, PathBuf};

/// What was measured fits, so memory limits nothing more.
pub(super) const AMPLE_MEMORY: u64 = u64::MAX / 4;

/// Platforms from the profiles in the folders of `folder`: one for each device and engine, and a
/// warning for each that is not of this machine.
///
/// # Errors
/// A text for the operator: no profile, or a damaged one.
pub fn platforms(folder: &Path) -> Result<(Vec<Platform>, Vec<String>), String> {
    let mut profiles: Vec<Profile> = Vec::new();
    for path in paths(folder)? {
        profiles.push(Profile::read(&path).map_err(|error| error.to_string())?);
    }
    if profiles.is_empty() {
        return Err(format!(
            "there is no MODEL/profile.ron in {}; `bcedge profile` measures them",
            folder.display()
        ));
    }
    let mut warnings = Vec::new();
    let mut platforms: Vec<Platform> = Vec::new();
    let here = profiler::device_name();
    while let Some(first) = profiles.first() {
        let (device, engine) = (first.device.clone(), first.platform.clone());
        let is_alike = |p: &Profile| p.device == device && p.platform == engine;
        let (alike, others) = profiles.into_iter().partition(is_alike);
        profiles = others;
        let name = format!("{device}, {engine}");
        // That of a GPU is named with the machine it is in.
        if device != here && !device.ends_with(&format!(" in {here}")) {
            warnings.push(format!("measured on {device}, not on this machine, {here}"));
        }
        let surfaces = surfaces(&alike).map_err(|what| format!("{name}: {what}"))?;
        platforms.push(Platform { name, modelled: false, surfaces });
    }
    Ok((platforms, warnings))
}

/// In the order of their names, so that the order of models is always the same.
fn paths(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path().join("profile.ron");
        if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn surfaces(profiles: &[Profile]) -> Result<Surfaces, String> {
    let mut models: Vec<MeasuredModel> =
        profiles.iter().map(|profile| model(profile, profiles.len())).collect();
    let places: Vec<usize> = (0..models.len()).collect();
    add_beside(&mut models, profiles, &places);
    // How many lanes the device has is not in the profiles, but how its instances shared it is.
    Surfaces::measured(&models, None, AMPLE_MEMORY)
}

/// Adds what was measured beside other models; `places` are the profiles' models in the list.
pub(super) fn add_beside(models: &mut [MeasuredModel], profiles: &[Profile], places: &[usize]) {
    for sample in profiler::samples(profiles) {
        // Without neighbours it is among the points.
        if sample.neighbours.is_empty() {
            continue;
        }
        let neighbours = sample.neighbours.iter();
        models[places[sample.model]].beside.push(MeasuredBeside {
            batch: sample.batch.0,
            instances: sample.instances.0,
            neighbours: neighbours.map(|n| (places[n.model], n.batch.0, n.instances.0)).collect(),
            times: sample.multiplier,
        });
    }
}

/// What a profile says of its model, with the SLO that follows from it.
pub(super) fn model(profile: &Profile, models: usize) -> MeasuredModel {
    let points = profile.points.iter().map(|point| MeasuredPoint {
        batch: point.batch.0,
        instances: point.instances.0,
        mean_ns: point.latency_us_mean * 1e3,
        deviation_ns: point.latency_us_mad * 1e3,
    });
    let points: Vec<MeasuredPoint> = points.collect();
    let slo_us = auto_slo_us(&latency_table(&profile.points), models).unwrap_or(0);
    let memory = profile.memory.as_ref();
    let grown = memory.map_or(&[][..], |memory| &memory.instance_bytes);
    // Memory of an instance grows with its largest batch: its slope is what an item needs.
    let scratch_bytes = match (grown.first(), grown.last()) {
        (Some((a, low)), Some((b, high))) if b > a => {
            high.saturating_sub(*low) / u64::from(b.0 - a.0)
        }
        _ => 0,
    };
    let smallest = grown
        .first()
        .map_or(0, |(batch, bytes)| bytes.saturating_sub(scratch_bytes * u64::from(batch.0)));
    MeasuredModel {
        name: profile.model.clone(),
        slo: Nanos::from_micros(slo_us),
        max_instances: points.iter().map(|point| point.instances).max().unwrap_or(1),
        points,
        beside: Vec::new(),
        weight_bytes: memory.map_or(0, |memory| memory.loaded_bytes),
        context_bytes: smallest,
        scratch_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::FileStamp;
    use crate::files;
    use crate::profiler::{Memory, Point};
    use crate::units::{BatchSize, InstanceCount};

    fn profile(device: &str) -> Profile {
        let point = |batch: u32, instances: u16, latency_us: f64| Point {
            instances: InstanceCount(instances),
            latency_us_mad: 0.03 * latency_us,
            ..Point::configured(BatchSize(batch), latency_us)
        };
        Profile {
            format: 2,
            model: "m".into(),
            device: device.into(),
            platform: "rten".into(),
            library_version: "1".into(),
            crate_version: "1".into(),
            threads_per_instance: 1,
            measured_unix_s: 0,
            model_file: "model.onnx".into(),
            model_stamp: FileStamp { bytes: 1, modified_unix_us: 1 },
            point_ms: 100,
            features: None,
            memory: Some(Memory {
                loaded_bytes: 1_000,
                instance_bytes: vec![(BatchSize(1), 150), (BatchSize(4), 300)],
                further_instance_bytes: None,
            }),
            anchor: None,
            limits: Vec::new(),
            // Two instances side by side are not slowed: half of the device each.
            points: vec![
                point(1, 1, 10_000.0),
                point(4, 1, 35_000.0),
                point(1, 2, 10_000.0),
                point(4, 2, 35_000.0),
                point(1, 4, 20_000.0),
                point(4, 4, 70_000.0),
            ],
            neighbour_stamps: Default::default(),
            beside: Vec::new(),
        }
    }

    fn save(folder: &Path, name: &str, profile: &Profile) {
        std::fs::create_dir_all(folder.join(name)).unwrap();
        let text = ron::ser::to_string_pretty(profile, Default::default()).unwrap();
        files::replace(&folder.join(name).join("profile.ron"), text.as_bytes()).unwrap();
    }

    #[test]
    fn profiles_become_platforms_by_device() {
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), "a", &profile(&profiler::device_name()));
        save(folder.path(), "b", &profile("another machine"));
        save(folder.path(), "c", &profile(&format!("a GPU in {}", profiler::device_name())));
        let (platforms, warnings) = platforms(folder.path()).unwrap();
        assert_eq!(platforms.len(), 3);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].starts_with("measured on another machine, not on this machine"));
        let surfaces = &platforms[0].surfaces;
        let model = &surfaces.models[0];
        assert!(!platforms[0].modelled);
        assert_eq!(model.occupancy, [0.5, 0.5]);
        assert_eq!((model.max_instances, model.max_batch), (4, BatchSize(4)));
        assert_eq!(
            (model.weight_bytes, model.context_bytes, model.scratch_bytes),
            (1_000, 100, 50)
        );
        assert!((surfaces.noise - 0.03 * 1.4826).abs() < 1e-9);
    }

    #[test]
    fn a_damaged_profile_or_none_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = platforms(folder.path()).unwrap_err();
        assert!(error.contains("bcedge profile"), "{error}");
        std::fs::create_dir_all(folder.path().join("a")).unwrap();
        std::fs::write(folder.path().join("a/profile.ron"), "(format: 2, model: 5)").unwrap();
        let error = platforms(folder.path()).unwrap_err();
        assert!(error.contains("a/profile.ron:1:"), "{error}");
        assert!(platforms(Path::new("/nowhere")).unwrap_err().contains("/nowhere"));
    }
}
