//! A suite of one's own, from a file: platforms, networks, SLOs and loads.
//!
//! The format is documented by `assets/scenarios/everything.ron`, which uses all of it.

use super::cell::NamedLoad;
use super::grid::{self, Platform, SloSet};
use super::roster;
use crate::config::{self, ConfigErrors, bounds};
use crate::sim::network::{self, Network};
use crate::sim::platform::Platform as Modelled;
use crate::sim::{Load, ModelSurface, SloMix, Surfaces};
use crate::units::{BatchSize, Nanos};
use serde::Deserialize;
use std::path::Path;

/// Most models on a device.
const MAX_NETWORKS: usize = 64;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub platforms: Vec<PlatformSource>,
    /// For the modelled platforms; the six reference networks when absent.
    #[serde(default)]
    pub networks: Option<Vec<NetworkSource>>,
    /// Largest batch of the modelled platforms, up to 128.
    #[serde(default = "default_batch", deserialize_with = "bounds::within::<1, 128, _, _>")]
    pub largest_batch: u32,
    /// Most instances of a model.
    #[serde(default = "default_instances", deserialize_with = "bounds::within::<1, 64, _, _>")]
    pub most_instances: u16,
    /// The suite's three when absent.
    #[serde(default)]
    pub slo_sets: Option<Vec<SloSource>>,
    /// The suite's nine when absent.
    #[serde(default)]
    pub loads: Option<Vec<LoadSource>>,
    /// All when absent.
    #[serde(default)]
    pub policies: Option<Vec<String>>,
}

fn default_batch() -> u32 {
    DEFAULT_BATCH
}
fn default_instances() -> u16 {
    DEFAULT_INSTANCES
}

/// Largest batch of the suite's models.
pub const DEFAULT_BATCH: u32 = 32;
/// Most instances of the suite's models, where memory allows them.
pub const DEFAULT_INSTANCES: u16 = 8;

/// A device.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum PlatformSource {
    /// One that bcedge comes with, by name.
    Named(String),
    /// By the figures of its data sheet.
    Modelled(Box<Modelled>),
    /// By the execution times of its models.
    Timed(Timed),
}

/// A device whose execution times are known.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timed {
    pub name: String,
    #[serde(default, deserialize_with = "bounds::number::<0, 10, _>")]
    pub contention: f64,
    #[serde(default, deserialize_with = "bounds::number::<0, 1, _>")]
    pub noise: f64,
    #[serde(deserialize_with = "bounds::within::<1, 16_777_216, _, _>")]
    pub memory_mib: u64,
    pub timings: Vec<Timing>,
}

/// One model on such a device.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    #[serde(deserialize_with = "bounds::name")]
    pub name: String,
    #[serde(deserialize_with = "bounds::number::<1, 600_000, _>")]
    pub slo_ms: f64,
    /// (items, ms alone, share of the device), ascending by items, from 1.
    pub executions: Vec<(u32, f64, f64)>,
    #[serde(default, deserialize_with = "bounds::within::<0, 16_777_216, _, _>")]
    pub weights_mib: u64,
    #[serde(default, deserialize_with = "bounds::within::<0, 16_777_216, _, _>")]
    pub context_mib: u64,
    #[serde(default, deserialize_with = "bounds::within::<0, 16_777_216, _, _>")]
    pub scratch_mib_per_item: u64,
}

/// A network for the modelled platforms.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum NetworkSource {
    /// A reference network, by name.
    Reference(String),
    Custom(Box<Network>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SloSource {
    pub name: String,
    /// Multiple of every model's SLO.
    #[serde(default = "one", deserialize_with = "bounds::number::<0, 1_000, _>")]
    pub scale: f64,
    /// What requests bring on top of that: one of these, each as often as the others.
    #[serde(default)]
    pub factors: Vec<f64>,
}

fn one() -> f64 {
    1.0
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadSource {
    pub name: String,
    pub shape: Load,
}

/// A scenario that is valid, ready to run.
#[derive(Clone, Debug)]
pub struct Ready {
    pub platforms: Vec<Platform>,
    pub slo_sets: Vec<SloSet>,
    pub loads: Vec<NamedLoad>,
    pub policies: Option<Vec<&'static str>>,
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// Everything that is wrong with it, each at its line and column.
    pub fn load(path: &Path) -> Result<Ready, ConfigErrors> {
        config::load_strictly(path, Scenario::check).and_then(|scenario| {
            // What `check` has let through can be built; if not, it is told without a place.
            scenario.ready().map_err(|what| {
                let problems = vec![config::report::Problem::of_file(what)];
                let file = path.display().to_string();
                ConfigErrors(config::report::Report { file, source: String::new(), problems })
            })
        })
    }

    /// The same from a text; `file` is only its name in errors.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(file: &str, text: &str) -> Result<Scenario, ConfigErrors> {
        config::parse_strictly(file, text.into(), Scenario::check)
    }

    /// What is wrong although each field is valid, with the place it is about.
    fn check(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        let mut need = |field: &str, ok: bool, what: &str| {
            if !ok {
                wrong.push((field.to_string(), what.to_string()));
            }
        };
        need("platforms", !self.platforms.is_empty(), "the list is empty; at least one platform");
        let networks = self.networks.as_ref().map_or(1, Vec::len);
        need("networks", (1..=MAX_NETWORKS).contains(&networks), "from 1 to 64 networks");
        need("slo_sets", self.slo_sets.as_ref().is_none_or(|sets| !sets.is_empty()), "no SLO sets");
        need("loads", self.loads.as_ref().is_none_or(|loads| !loads.is_empty()), "no loads");
        for (i, set) in self.slo_sets.iter().flatten().enumerate() {
            need(&format!("slo_sets.{i}.scale"), set.scale > 0.0, "a scale has to be above 0");
            let valid = set.factors.iter().all(|&factor| factor > 0.0 && factor <= 1_000.0);
            need(&format!("slo_sets.{i}.factors"), valid, "factors are above 0, up to 1000");
        }
        for (i, platform) in self.platforms.iter().enumerate() {
            let place = |field: &str| format!("platforms.{i}.{field}");
            match platform {
                PlatformSource::Modelled(platform) => wrong.extend(within(place, platform.check())),
                PlatformSource::Timed(timed) => wrong.extend(within(place, timed.check())),
                PlatformSource::Named(name) => {
                    let what = Modelled::built_in(name).err();
                    wrong.extend(what.map(|what| (format!("platforms.{i}"), what)));
                }
            }
        }
        for (i, network) in self.networks.iter().flatten().enumerate() {
            let what = network.network().err();
            wrong.extend(what.map(|what| (format!("networks.{i}"), what)));
        }
        for (i, name) in self.policies.iter().flatten().enumerate() {
            let what = roster::named(name).err();
            wrong.extend(what.map(|what| (format!("policies.{i}"), what)));
        }
        for (i, load) in self.loads.iter().flatten().enumerate() {
            let models = self.platforms.iter().map(|platform| match platform {
                PlatformSource::Timed(timed) => timed.timings.len(),
                _ => self.networks.as_ref().map_or_else(|| network::reference().len(), Vec::len),
            });
            let flaw = models.filter_map(|models| load.shape.check(models)).next();
            wrong.extend(flaw.map(|(field, what)| (format!("loads.{i}.shape.{field}"), what)));
        }
        if wrong.is_empty() {
            wrong.extend(self.ready().err().map(|what| ("platforms".to_string(), what)));
        }
        wrong
    }

    /// Builds the surfaces.
    ///
    /// # Errors
    /// When a platform's memory is too small, or a name is unknown.
    pub fn ready(&self) -> Result<Ready, String> {
        let networks: Vec<Network> = match &self.networks {
            None => network::reference(),
            Some(sources) => {
                sources.iter().map(NetworkSource::network).collect::<Result<_, String>>()?
            }
        };
        let modelled = |name: &str, platform: &Modelled| {
            let surfaces = platform.surfaces(&networks, self.largest_batch, self.most_instances)?;
            Ok::<_, String>(Platform { name: name.into(), modelled: true, surfaces })
        };
        let platforms = self.platforms.iter().map(|source| match source {
            PlatformSource::Named(name) => modelled(name, &Modelled::built_in(name)?),
            PlatformSource::Modelled(platform) => modelled(&platform.name, platform),
            PlatformSource::Timed(timed) => timed.platform(self.most_instances),
        });
        let sets = self.slo_sets.as_ref().map(|sets| {
            let set = |set: &SloSource| SloSet {
                name: set.name.clone(),
                scale: set.scale,
                mix: match set.factors.as_slice() {
                    [] => SloMix::Same(1.0),
                    factors => SloMix::Mixed(factors.to_vec()),
                },
            };
            sets.iter().map(set).collect()
        });
        let loads = self.loads.as_ref().map(|loads| {
            let load =
                |load: &LoadSource| NamedLoad { name: load.name.clone(), load: load.shape.clone() };
            loads.iter().map(load).collect()
        });
        let policies = self.policies.as_ref().map(|names| {
            names.iter().map(|name| roster::named(name)).collect::<Result<Vec<_>, String>>()
        });
        Ok(Ready {
            platforms: platforms.collect::<Result<_, String>>()?,
            slo_sets: sets.unwrap_or_else(grid::slo_sets),
            loads: loads.unwrap_or_else(grid::loads),
            policies: policies.transpose()?,
        })
    }
}

impl NetworkSource {
    fn network(&self) -> Result<Network, String> {
        match self {
            NetworkSource::Custom(network) => Ok((**network).clone()),
            NetworkSource::Reference(name) => {
                let known = network::reference();
                known.iter().find(|network| network.name == *name).cloned().ok_or_else(|| {
                    let names: Vec<_> = known.iter().map(|network| network.name.as_str()).collect();
                    format!(
                        "there is no reference network '{name}'; there are {}",
                        names.join(", ")
                    )
                })
            }
        }
    }
}

/// Flaws of a part as flaws of the whole.
fn within(
    place: impl Fn(&str) -> String,
    flaws: Vec<(String, String)>,
) -> impl Iterator<Item = (String, String)> {
    flaws.into_iter().map(move |(field, what)| (place(&field), what))
}

impl Timed {
    fn check(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        if !(1..=MAX_NETWORKS).contains(&self.timings.len()) {
            wrong.push(("timings".into(), format!("from 1 to {MAX_NETWORKS} models")));
        }
        for (i, timing) in self.timings.iter().enumerate() {
            let rows = &timing.executions;
            let ascending =
                rows.windows(2).all(|rows| rows[0].0 < rows[1].0 && rows[0].1 <= rows[1].1);
            let valid = |&(items, ms, share): &(u32, f64, f64)| {
                (1..=1024).contains(&items)
                    && (1e-3..=6e5).contains(&ms)
                    && share > 0.0
                    && share <= 1.0
            };
            if rows.first().map(|row| row.0) != Some(1) || !ascending || !rows.iter().all(valid) {
                let what = format!(
                    "{}: rows are (items, ms, share of the device), ascending by items and ms, the \
                     first of 1 item, up to 1024; ms from 0.001 to 600000, the share above 0 and up \
                     to 1",
                    timing.name
                );
                wrong.push((format!("timings.{i}.executions"), what));
            }
        }
        wrong
    }

    fn platform(&self, most_instances: u16) -> Result<Platform, String> {
        let models = self.timings.iter().map(|timing| ModelSurface {
            name: timing.name.clone(),
            slo: Nanos::from_secs_f64(timing.slo_ms / 1e3),
            max_batch: BatchSize(timing.executions.last().map_or(1, |row| row.0)),
            max_instances: most_instances,
            alone_ns: timing.executions.iter().map(|row| (row.0, row.1 * 1e6)).collect(),
            occupancy: timing.executions.iter().map(|row| row.2).collect(),
            weight_bytes: timing.weights_mib << 20,
            context_bytes: timing.context_mib << 20,
            scratch_bytes: timing.scratch_mib_per_item << 20,
        });
        let mut surfaces = Surfaces {
            models: models.collect(),
            contention: self.contention,
            noise: self.noise,
            memory_bytes: self.memory_mib << 20,
        };
        surfaces.limit_to_memory().map_err(|what| format!("{}: {what}", self.name))?;
        Ok(Platform { name: self.name.clone(), modelled: true, surfaces })
    }
}
