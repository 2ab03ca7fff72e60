//! What policies know of a simulated device: a profile that was measured on it, with all the noise
//! of measuring, and nothing else. The surfaces themselves are the truth, which no policy sees.

use super::surface::{ModelSurface, Surfaces};
use crate::scheduler::interference::{Sample, demand};
use crate::scheduler::{Interference, Predictor};
use crate::units::{BatchSize, Nanos};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Executions that a measured point is the median of.
const RUNS: usize = 21;
/// Numbers of instances that are measured side by side, as far as the model has so many.
const SIDE_BY_SIDE: [u16; 4] = [2, 3, 4, 6];
/// Combinations with other models that are measured for each model …
const COMBINATIONS: usize = 8;
/// … with up to so many others, each with up to so many instances.
const MOST_OTHERS: usize = 3;
const MOST_INSTANCES: u16 = 3;

/// What policies know of a device.
#[derive(Clone, Debug)]
pub struct Knowledge {
    /// One for each model.
    pub predictors: Vec<Predictor>,
    pub interference: Interference,
}

/// Profiles every model of the device as `bcedge profile` would: alone, with several instances side
/// by side, and beside other models; and makes of it what policies predict with.
pub fn learn(surfaces: &Surfaces, seed: u64) -> Knowledge {
    let mut stopwatch = Stopwatch { surfaces, rng: Xoshiro256PlusPlus::seed_from_u64(seed) };
    let mut samples = Vec::new();
    let profile = |model| stopwatch.profile(model, &mut samples);
    let predictors: Vec<Predictor> = surfaces.models.iter().map(profile).collect();
    for about in 0..predictors.len() {
        for _ in 0..COMBINATIONS {
            samples.extend(stopwatch.combination(about, &predictors));
        }
    }
    Knowledge { interference: Interference::fit(&samples, seed), predictors }
}

struct Stopwatch<'a> {
    surfaces: &'a Surfaces,
    rng: Xoshiro256PlusPlus,
}

impl Stopwatch<'_> {
    fn profile(&mut self, model: &ModelSurface, samples: &mut Vec<Sample>) -> Predictor {
        let mut alone = Vec::with_capacity(model.alone_ns.len());
        let mut demands = Vec::with_capacity(model.alone_ns.len());
        let mut side_by_side = Vec::new();
        for &(batch, _) in &model.alone_ns {
            let time = self.measure(model, batch, 0.0);
            let counts = SIDE_BY_SIDE.iter().filter(|&&count| count <= model.max_instances);
            let others = |count: u16| model.occupancy(batch) * f64::from(count - 1);
            let slower: Vec<(u16, f64)> = counts
                .map(|&count| (count, self.measure(model, batch, others(count)) / time))
                .collect();
            alone.push((BatchSize(batch), Nanos(time as u64)));
            demands.push((BatchSize(batch), demand(&slower)));
            side_by_side.extend(slower.into_iter().map(|(count, times)| (batch, count, times)));
        }
        let predictor = Predictor::new(&alone).with_demands(&demands);
        samples.extend(side_by_side.into_iter().filter_map(|(batch, count, multiplier)| {
            let own = predictor.footprint(BatchSize(batch));
            Sample::new(&own, [(u32::from(count) - 1, own)], multiplier)
        }));
        predictor
    }

    /// One model beside others that are drawn at random; `None` where there is nobody else.
    fn combination(&mut self, about: usize, predictors: &[Predictor]) -> Option<Sample> {
        let models = &self.surfaces.models;
        let mut names: Vec<usize> = (0..models.len()).filter(|&other| other != about).collect();
        names.shuffle(&mut self.rng);
        names.truncate(self.rng.random_range(1..=MOST_OTHERS));
        let (mut others, mut occupancy) = (Vec::new(), 0.0);
        let batch = self.draw_batch(about);
        for other in names {
            let most = models[other].max_instances.min(MOST_INSTANCES);
            let count = u32::from(self.rng.random_range(1..=most));
            let items = self.draw_batch(other);
            others.push((count, predictors[other].footprint(BatchSize(items))));
            occupancy += models[other].occupancy(items) * f64::from(count);
        }
        let alone = predictors[about].alone(BatchSize(batch))?.0 as f64;
        let own = predictors[about].footprint(BatchSize(batch));
        let multiplier = self.measure(&models[about], batch, occupancy) / alone;
        Sample::new(&own, others, multiplier)
    }

    fn draw_batch(&mut self, model: usize) -> u32 {
        let sizes = &self.surfaces.models[model].alone_ns;
        sizes.choose(&mut self.rng).map_or(1, |&(batch, _)| batch)
    }

    /// Median execution time in ns beside others that fill so much of the device without a pause.
    fn measure(&mut self, model: &ModelSurface, batch: u32, others: f64) -> f64 {
        let own = model.occupancy(batch);
        let usual = model.alone(batch) * self.surfaces.multiplier(own, others);
        let mut runs: Vec<f64> = (0..RUNS)
            .map(|_| {
                let spread: f64 = StandardNormal.sample(&mut self.rng);
                usual * (self.surfaces.noise * spread).exp()
            })
            .collect();
        runs.sort_unstable_by(f64::total_cmp);
        runs[RUNS / 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surfaces(noise: f64) -> Surfaces {
        let model = ModelSurface {
            name: "m".into(),
            slo: Nanos::from_millis(100),
            max_batch: BatchSize(8),
            max_instances: 6,
            alone_ns: vec![(1, 10e6), (8, 40e6)],
            occupancy: vec![0.4, 1.0],
            weight_bytes: 0,
            context_bytes: 0,
            scratch_bytes: 0,
        };
        Surfaces { models: vec![model], contention: 0.0, noise, memory_bytes: 1 << 30 }
    }

    #[test]
    fn without_noise_the_profile_is_the_truth() {
        let predictor = &learn(&surfaces(0.0), 1).predictors[0];
        for (batch, time_ms, demand) in [(1, 10, 0.4), (8, 40, 1.0)] {
            let batch = BatchSize(batch);
            assert_eq!(predictor.alone(batch), Some(Nanos::from_millis(time_ms)));
            assert!((predictor.demand(batch) - demand).abs() < 0.011, "{batch:?}");
        }
    }

    #[test]
    fn with_noise_it_is_near_the_truth_and_never_the_truth_itself() {
        let surfaces = surfaces(0.06);
        for seed in 0..50 {
            let predictor = &learn(&surfaces, seed).predictors[0];
            let time = predictor.alone(BatchSize(1)).unwrap().as_millis_f64();
            assert!((time / 10.0 - 1.0).abs() < 0.08 && time != 10.0, "{time} ms");
            assert!((predictor.demand(BatchSize(1)) - 0.4).abs() < 0.06);
        }
        let two = [learn(&surfaces, 1), learn(&surfaces, 1)];
        assert_eq!(format!("{:?}", two[0]), format!("{:?}", two[1]));
    }
}
