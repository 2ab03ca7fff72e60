//! All cells: platforms × SLO sets × loads, run on several threads with the same outcome as on one.

use super::bench::Bench;
use super::cell::{self, Meter, NamedLoad, Place, Plan};
use super::results::Cell;
use super::tune::{Tuned, tune};
use crate::pipeline::Order;
use crate::sim::{Load, SloMix, Surfaces};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A device with its models.
#[derive(Clone, Debug)]
pub struct Platform {
    /// Name of its file; short.
    pub name: String,
    pub modelled: bool,
    pub surfaces: Surfaces,
}

/// How long answers may take.
#[derive(Clone, Debug, PartialEq)]
pub struct SloSet {
    pub name: String,
    /// Multiple of every model's SLO.
    pub scale: f64,
    /// What requests bring on top of that.
    pub mix: SloMix,
}

/// The SLO sets of the suite.
pub fn slo_sets() -> Vec<SloSet> {
    let set = |name: &str, scale, mix| SloSet { name: name.into(), scale, mix };
    vec![
        set("default", 1.0, SloMix::Same(1.0)),
        set("tight", 0.6, SloMix::Same(1.0)),
        set("mixed", 1.0, SloMix::Mixed(vec![0.6, 1.0, 1.6])),
    ]
}

/// The loads of the suite.
pub fn loads() -> Vec<NamedLoad> {
    let load = |name: &str, load| NamedLoad { name: name.into(), load };
    vec![
        load("steady 0.3", Load::Steady { level: 0.3 }),
        load("steady 0.6", Load::Steady { level: 0.6 }),
        load("steady 0.9", Load::Steady { level: 0.9 }),
        load("steady 1.2", Load::Steady { level: 1.2 }),
        load("bursty", Load::Bursty { level: 0.6, share: 0.1, factor: 5.0, mean_s: 0.5 }),
        load("day", Load::Day { level: 0.7, low: 0.3, high: 1.7 }),
        load("mix shift", Load::Shift { level: 0.8, cold: 0.4 }),
        load("slow-down", Load::SlowDown { level: 0.6, speed: 0.5 }),
        load("even", Load::Even { per_s: 30.0 }),
    ]
}

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Grid {
    pub platforms: Vec<Platform>,
    pub slo_sets: Vec<SloSet>,
    pub loads: Vec<NamedLoad>,
    pub plan: Plan,
    pub rules: Rules,
}

/// The house rules, which are the same for all policies. All of them hold, unless somebody wants to
/// know what they are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Refuse at once what can't be in time; without it only a full queue refuses.
    pub admission: bool,
    pub order: Order,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { admission: true, order: Order::Deadline }
    }
}

impl Grid {
    /// Steps that `progress` is told of.
    pub fn steps(&self) -> usize {
        self.platforms.len() * self.slo_sets.len() * (self.loads.len() + 1)
    }

    /// Runs everything on so many threads. `progress` is told after each step what it was.
    ///
    /// # Errors
    /// The first one in the order of the cells.
    pub fn run(
        &self,
        threads: usize,
        meter: &dyn Meter,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<Vec<Cell>, String> {
        let pairs: Vec<(&Platform, &SloSet)> = self
            .platforms
            .iter()
            .flat_map(|platform| self.slo_sets.iter().map(move |set| (platform, set)))
            .collect();
        let prepared = in_parallel(threads, &pairs, |(platform, set)| {
            let prepared = self.prepare(platform, set);
            progress(&format!("{} · {}", platform.name, set.name));
            prepared
        })?;
        let jobs: Vec<_> =
            prepared.iter().flat_map(|p| self.loads.iter().map(move |load| (p, load))).collect();
        in_parallel(threads, &jobs, |((place, bench, tuned), load)| {
            let cell = cell::run(*place, bench, tuned, load, &self.plan, meter);
            progress(&format!("{} · {} · {}", place.platform, place.slo, load.name));
            cell.map_err(|why| format!("{} · {} · {}: {why}", place.platform, place.slo, load.name))
        })
    }

    fn prepare<'a>(
        &self,
        platform: &'a Platform,
        set: &'a SloSet,
    ) -> Result<(Place<'a>, Bench, Tuned), String> {
        let name = format!("{}/{}", platform.name, set.name);
        let seed = |number| cell::seed(self.plan.seed, &name, number);
        let mut surfaces = platform.surfaces.clone();
        for model in &mut surfaces.models {
            model.slo = model.slo.scale(set.scale);
        }
        let mut bench = Bench::new(surfaces, set.mix.clone(), seed(0));
        let tuned = tune(&bench, &self.plan.trained, self.plan.effort, seed(1))
            .map_err(|why| format!("{} with {} SLOs: {why}", platform.name, set.name))?;
        bench.pipeline.feasible_only = self.rules.admission;
        bench.order = self.rules.order;
        let place = Place { platform: &platform.name, modelled: platform.modelled, slo: &set.name };
        Ok((place, bench, tuned))
    }
}

/// Does a job for each item, on several threads; results in the order of the items.
fn in_parallel<T: Sync, R: Send>(
    threads: usize,
    items: &[T],
    job: impl Fn(&T) -> Result<R, String> + Sync,
) -> Result<Vec<R>, String> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Result<R, String>>>> =
        items.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { return };
                    let result = job(item);
                    let failed = result.is_err();
                    if let Ok(mut place) = results[index].lock() {
                        *place = Some(result);
                    }
                    if failed {
                        // Nobody needs the rest.
                        next.store(items.len(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let results = results.into_iter().filter_map(|place| place.into_inner().ok().flatten());
    results.collect()
}
