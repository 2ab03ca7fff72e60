//! Domain randomisation: devices, models, SLOs and loads made up from a seed, wide enough that what
//! is learnt over them holds on a user's own.

use crate::scheduler::Policy;
use crate::sim::network::{Kind, Network};
use crate::sim::platform::Platform;
use crate::sim::{Load, LoadPlan, ModelSurface, RunResult, SloMix, Surfaces, device_time_ns};
use crate::suite::bench::{self, Bench};
use crate::units::{BatchSize, Nanos};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// What worlds are made from.
#[derive(Clone, Debug)]
pub struct Materials {
    /// Devices to vary; beside them, others are made up.
    pub platforms: Vec<Platform>,
    /// Networks to serve on some of them; beside them, others are made up.
    pub networks: Vec<Network>,
}

/// A device with models under a load.
#[derive(Debug)]
pub struct World {
    pub bench: Bench,
    pub load: LoadPlan,
    pub seconds: u64,
    pub seed: u64,
}

/// Requests per second of all models that a world has at most: more of them teach no more.
const MOST_REQUESTS_PER_S: f64 = 1_200.0;
/// Requests per second of a model that it has at least, so that something happens.
const LEAST_REQUESTS_PER_S: f64 = 0.3;

impl World {
    /// Makes one up, to be run for `seconds`.
    ///
    /// # Errors
    /// Never but for a mistake in this module; a test makes thousands.
    pub fn random(materials: &Materials, seconds: u64, seed: u64) -> Result<World, String> {
        let mut dice = Dice(Xoshiro256PlusPlus::seed_from_u64(seed));
        let surfaces = surfaces(materials, &mut dice)?;
        let slo = match dice.below(3) {
            0 => SloMix::Same(1.0),
            1 => SloMix::Same(dice.between(0.5, 1.0)),
            _ => SloMix::Mixed(vec![0.6, 1.0, 1.6]),
        };
        let load = load(&surfaces, seconds, &mut dice);
        Ok(World { bench: Bench::new(surfaces, slo, seed), load, seconds, seed })
    }

    /// Runs policies, one for each model; the same arrivals and noise for the same `run`.
    ///
    /// # Errors
    /// As [`Bench::run`].
    pub fn run(&self, policies: Vec<Box<dyn Policy>>, run: u64) -> Result<RunResult, String> {
        self.bench.run(&self.load, policies, self.seconds, self.seed ^ run)
    }

    pub fn models(&self) -> usize {
        self.bench.surfaces.models.len()
    }
}

fn surfaces(materials: &Materials, dice: &mut Dice) -> Result<Surfaces, String> {
    let platform = match materials.platforms.len() {
        shipped if shipped > 0 && dice.chance(0.5) => {
            varied(&materials.platforms[dice.below(shipped)], dice)
        }
        _ => made_up_platform(dice),
    };
    let of_reference = !materials.networks.is_empty() && dice.chance(0.5);
    let networks: Vec<Network> = if of_reference {
        materials.networks.clone()
    } else {
        (0..dice.range(2, 8)).map(|_| made_up_network(dice)).collect()
    };
    let max_batch = [8, 16, 32, 32][dice.below(4)];
    let max_instances = [2, 4, 8, 8][dice.below(4)];
    let mut surfaces = platform.surfaces(&networks, max_batch, max_instances)?;
    if dice.chance(0.2) {
        as_on_cores(&mut surfaces, dice);
    }
    for model in &mut surfaces.models {
        if !of_reference {
            let times = dice.spread(4.0, 50.0);
            model.slo = Nanos((model.alone(1) * times) as u64).max(Nanos::from_millis(8));
        } else {
            model.slo = model.slo.scale(dice.spread(0.6, 1.7));
        }
    }
    Ok(surfaces)
}

/// A device like a shipped one, with every figure a little off.
fn varied(platform: &Platform, dice: &mut Dice) -> Platform {
    let mut varied = platform.clone();
    for figure in [
        &mut varied.peak_gflops,
        &mut varied.bandwidth_gb_per_s,
        &mut varied.launch_us,
        &mut varied.threads,
        &mut varied.dense_efficiency,
        &mut varied.depthwise_efficiency,
        &mut varied.attention_efficiency,
        &mut varied.contention,
        &mut varied.noise,
    ] {
        *figure *= dice.spread(0.75, 1.33);
    }
    varied
}

fn made_up_platform(dice: &mut Dice) -> Platform {
    let peak_gflops = dice.spread(250.0, 20_000.0);
    Platform {
        name: "made up".into(),
        source: String::new(),
        peak_gflops,
        bandwidth_gb_per_s: dice.spread(20.0, 130.0),
        memory_mib: 16_384,
        launch_us: dice.spread(3.0, 20.0),
        threads: peak_gflops * dice.spread(0.8, 5.0),
        dense_efficiency: dice.between(0.2, 0.65),
        depthwise_efficiency: dice.between(0.05, 0.25),
        attention_efficiency: dice.between(0.2, 0.5),
        contention: dice.between(0.0, 0.15),
        noise: dice.between(0.02, 0.08),
        reserved_mib: 1_024,
    }
}

fn made_up_network(dice: &mut Dice) -> Network {
    let elements = dice.spread(0.5e6, 30e6);
    Network {
        name: "made up".into(),
        kind: [Kind::Dense, Kind::Depthwise, Kind::Attention][dice.below(3)],
        macs: dice.spread(3e7, 1e10),
        parameters: dice.spread(1e6, 4e7),
        activation_elements: elements,
        peak_activation_elements: 0.2 * elements,
        kernels: dice.spread(15.0, 150.0),
        slo_ms: 0.0,
    }
}

/// Makes a device of cores of it: batching wins little, each instance takes a core of its own.
fn as_on_cores(surfaces: &mut Surfaces, dice: &mut Dice) {
    let cores = [2.0, 2.0, 4.0, 6.0, 8.0][dice.below(5)];
    for model in &mut surfaces.models {
        let one = dice.spread(2e6, 200e6);
        let fixed = dice.between(0.0, 0.3);
        for ((batch, time), share) in model.alone_ns.iter_mut().zip(&mut model.occupancy) {
            *time = one * (fixed + (1.0 - fixed) * f64::from(*batch));
            *share = 1.0 / cores;
        }
        model.max_batch = BatchSize(model.max_batch.0.min(8));
        let limit = model.max_batch.0;
        let keep = model.alone_ns.iter().take_while(|&&(batch, _)| batch <= limit).count();
        model.alone_ns.truncate(keep);
        model.occupancy.truncate(keep);
    }
}

fn load(surfaces: &Surfaces, seconds: u64, dice: &mut Dice) -> LoadPlan {
    let work_s = |model: &ModelSurface| device_time_ns(model) / 1e9;
    let all_s: f64 = surfaces.models.iter().map(work_s).sum();
    // What the device could do were there no deadlines; a capacity that keeps them is lower.
    let capacity_per_s = dice.between(0.6, 1.0) / all_s;
    // Now and then far more is asked for than there is: what starves then is learnt there only.
    let level = if dice.chance(0.12) { dice.spread(1.3, 5.0) } else { dice.between(0.25, 1.3) };
    let shape = match dice.below(10) {
        0..=3 => Load::Steady { level },
        4..=6 => Load::Bursty {
            level: level.min(1.0),
            share: dice.between(0.08, 0.25),
            factor: dice.between(2.0, 3.9),
            mean_s: dice.spread(0.2, 2.0),
        },
        7 => Load::Day { level: level.min(1.0), low: 0.3, high: 1.7 },
        8 => Load::Shift { level: level.min(1.1), cold: dice.between(0.2, 0.7) },
        _ => Load::SlowDown { level: level.min(1.0), speed: dice.between(0.4, 0.9) },
    };
    let mut plan = shape.plan(surfaces, capacity_per_s, Nanos::ZERO, bench::end(seconds));
    if dice.chance(0.5) {
        let uneven: Vec<f64> = surfaces.models.iter().map(|_| dice.spread(0.2, 5.0)).collect();
        let work = surfaces.models.iter().map(work_s).zip(&uneven);
        let same = all_s / work.map(|(work_s, factor)| work_s * factor).sum::<f64>();
        for (rate, factor) in plan.rates_per_s.iter_mut().zip(&uneven) {
            *rate *= factor * same;
        }
    }
    let total: f64 = plan.rates_per_s.iter().sum();
    for rate in &mut plan.rates_per_s {
        *rate = (*rate * (MOST_REQUESTS_PER_S / total).min(1.0)).max(LEAST_REQUESTS_PER_S);
    }
    plan
}

/// Random choices, in the words they are made in here.
struct Dice(Xoshiro256PlusPlus);

impl Dice {
    fn chance(&mut self, probability: f64) -> bool {
        self.0.random::<f64>() < probability
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0.random_range(0..limit)
    }

    fn range(&mut self, low: usize, high: usize) -> usize {
        self.0.random_range(low..=high)
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.0.random::<f64>()
    }

    /// Even in the logarithm.
    fn spread(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.0.random::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::network;

    fn materials() -> Materials {
        let platforms = Platform::names().map(|name| Platform::built_in(name).unwrap());
        Materials { platforms: platforms.collect(), networks: network::reference() }
    }

    #[test]
    fn every_seed_makes_a_world_and_always_the_same() {
        let materials = materials();
        let (mut reference, mut cores, mut uneven) = (0, 0, 0);
        for seed in 0..500 {
            let world = World::random(&materials, 5, seed).unwrap();
            let again = World::random(&materials, 5, seed).unwrap();
            assert_eq!(world.bench.surfaces, again.bench.surfaces, "seed {seed}");
            assert_eq!(world.load, again.load, "seed {seed}");
            let surfaces = &world.bench.surfaces;
            assert!((2..=8).contains(&world.models()), "seed {seed}");
            assert!(
                world.load.rates_per_s.iter().all(|&r| r >= LEAST_REQUESTS_PER_S && r.is_finite())
            );
            let all: f64 = world.load.rates_per_s.iter().sum();
            assert!(all <= MOST_REQUESTS_PER_S + 8.0 * LEAST_REQUESTS_PER_S, "seed {seed}: {all}");
            reference += usize::from(surfaces.models[0].name == "yolov5s");
            cores += usize::from(surfaces.models[0].occupancy.windows(2).all(|w| w[0] == w[1]));
            uneven += usize::from(world.load.rates_per_s.windows(2).any(|w| w[0] != w[1]));
        }
        for (what, count) in [("reference", reference), ("cores", cores), ("uneven", uneven)] {
            assert!((50..450).contains(&count), "{count} worlds of 500 with {what}");
        }
    }

    #[test]
    fn what_is_left_out_is_not_there() {
        let mut materials = materials();
        materials.networks.retain(|network| network.name != "yolov5s");
        for seed in 0..100 {
            let world = World::random(&materials, 5, seed).unwrap();
            assert!(world.bench.surfaces.models.iter().all(|model| model.name != "yolov5s"));
        }
    }
}
