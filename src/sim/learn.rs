//! What policies know of a simulated device: a profile that was measured on it, with all the noise
//! of measuring, and nothing else. The surfaces themselves are the truth, which no policy sees.

use super::surface::{ModelSurface, Surfaces};
use crate::scheduler::Predictor;
use crate::units::{BatchSize, Nanos};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Executions that a measured point is the median of.
const RUNS: usize = 21;
/// Numbers of instances that are measured side by side, as far as the model has so many.
const SIDE_BY_SIDE: [u16; 4] = [2, 3, 4, 6];
/// Demands that are tried out: hundredths.
const DEMAND_STEPS: u32 = 100;

/// Profiles every model of the device as `bcedge profile` would, alone and with several instances
/// side by side, and makes each model's predictor of it.
pub fn learn(surfaces: &Surfaces, seed: u64) -> Vec<Predictor> {
    let mut stopwatch = Stopwatch { surfaces, rng: Xoshiro256PlusPlus::seed_from_u64(seed) };
    surfaces.models.iter().map(|model| stopwatch.profile(model)).collect()
}

struct Stopwatch<'a> {
    surfaces: &'a Surfaces,
    rng: Xoshiro256PlusPlus,
}

impl Stopwatch<'_> {
    fn profile(&mut self, model: &ModelSurface) -> Predictor {
        let mut alone = Vec::with_capacity(model.alone_ns.len());
        let mut demands = Vec::with_capacity(model.alone_ns.len());
        for &(batch, _) in &model.alone_ns {
            let time = self.measure(model, batch, 1);
            let counts = SIDE_BY_SIDE.iter().filter(|&&count| count <= model.max_instances);
            let slower: Vec<(u16, f64)> =
                counts.map(|&count| (count, self.measure(model, batch, count) / time)).collect();
            alone.push((BatchSize(batch), Nanos(time as u64)));
            demands.push((BatchSize(batch), demand(&slower)));
        }
        Predictor::new(&alone).with_demands(&demands)
    }

    /// Median execution time in ns while `instances` of them run without a pause.
    fn measure(&mut self, model: &ModelSurface, batch: u32, instances: u16) -> f64 {
        let own = model.occupancy(batch);
        let usual =
            model.alone(batch) * self.surfaces.multiplier(own, own * f64::from(instances - 1));
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

/// The share of the device that explains best how much slower so many instances were than one:
/// `max(1, instances × share)` times. All of it when nothing was measured.
fn demand(slower: &[(u16, f64)]) -> f64 {
    let error = |share: f64| {
        let squares = slower.iter().map(|&(instances, times)| {
            ((f64::from(instances) * share).max(1.0) / times.max(1.0)).ln().powi(2)
        });
        squares.sum::<f64>()
    };
    let mut best = (1.0, error(1.0));
    for hundredths in (1..DEMAND_STEPS).rev() {
        let share = f64::from(hundredths) / f64::from(DEMAND_STEPS);
        let candidate = (share, error(share));
        if candidate.1 < best.1 - 1e-12 {
            best = candidate;
        }
    }
    best.0
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
        let predictor = &learn(&surfaces(0.0), 1)[0];
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
            let predictor = &learn(&surfaces, seed)[0];
            let time = predictor.alone(BatchSize(1)).unwrap().as_millis_f64();
            assert!((time / 10.0 - 1.0).abs() < 0.08 && time != 10.0, "{time} ms");
            assert!((predictor.demand(BatchSize(1)) - 0.4).abs() < 0.06);
        }
        let two = [learn(&surfaces, 1), learn(&surfaces, 1)];
        assert_eq!(format!("{:?}", two[0]), format!("{:?}", two[1]));
    }
}
