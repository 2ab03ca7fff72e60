//! The simulated device: batches share it, so a start or an end changes the speed of all others.

use super::surface::Surfaces;
use crate::units::{BatchSize, ModelId, Nanos};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;

/// A batch under way.
#[derive(Clone, Copy, Debug)]
struct Active {
    model: ModelId,
    instance: u16,
    /// Work left, in ns of execution alone at full speed.
    left: f64,
    occupancy: f64,
    /// Work done per ns at present.
    speed: f64,
}

/// What the engines and the hardware are to the live appliance.
#[derive(Debug)]
pub struct Device<'a> {
    surfaces: &'a Surfaces,
    /// Execution time alone in ns and share of the device, by model and then by items.
    curves: Vec<Vec<(f64, f64)>>,
    active: Vec<Active>,
    /// Speed of the whole device, 1 as profiled; a power mode or heat lowers it.
    speed: f64,
    now: Nanos,
    rng: Xoshiro256PlusPlus,
    /// When the next batch ends, and its place among the active ones.
    next_end: Nanos,
    next: usize,
    /// Time during which the device was busy, weighted by how much of it.
    busy_ns: f64,
}

impl<'a> Device<'a> {
    pub fn new(surfaces: &'a Surfaces, seed: u64) -> Device<'a> {
        let curves = surfaces.models.iter().map(|model| {
            (0..=model.max_batch.0).map(|n| (model.alone(n.max(1)), model.occupancy(n.max(1))))
        });
        Device {
            surfaces,
            curves: curves.map(Iterator::collect).collect(),
            active: Vec::new(),
            speed: 1.0,
            now: Nanos::ZERO,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            next_end: Nanos::MAX,
            next: 0,
            busy_ns: 0.0,
        }
    }

    /// When the next batch ends, unless something changes before.
    pub fn next_end(&self) -> Nanos {
        self.next_end
    }

    /// Share of the time until now that the device was in use.
    pub fn utilisation(&self) -> f64 {
        self.busy_ns / self.now.0.max(1) as f64
    }

    /// Starts a batch.
    pub fn start(&mut self, model: ModelId, instance: u16, items: BatchSize, now: Nanos) {
        self.advance(now);
        // A request with more items than the model's largest batch runs alone.
        let known = self.curves[model.index()].get(items.get()).copied();
        let (alone, occupancy) = known.unwrap_or_else(|| {
            let surface = &self.surfaces.models[model.index()];
            (surface.alone(items.0), surface.occupancy(items.0))
        });
        let spread: f64 = StandardNormal.sample(&mut self.rng);
        let left = alone * (self.surfaces.noise * spread).exp();
        self.active.push(Active { model, instance, left, occupancy, speed: 1.0 });
        self.settle();
    }

    /// The batch that ends now.
    pub fn finish(&mut self, now: Nanos) -> Option<(ModelId, u16)> {
        self.advance(now);
        if self.active.is_empty() {
            return None;
        }
        let ended = self.active.swap_remove(self.next);
        self.settle();
        Some((ended.model, ended.instance))
    }

    /// Changes the speed of the whole device.
    pub fn set_speed(&mut self, speed: f64, now: Nanos) {
        self.advance(now);
        self.speed = speed;
        self.settle();
    }

    fn advance(&mut self, now: Nanos) {
        let elapsed = (now - self.now).0 as f64;
        self.now = now;
        let mut occupied = 0.0;
        for run in &mut self.active {
            run.left -= elapsed * run.speed;
            occupied += run.occupancy;
        }
        self.busy_ns += elapsed * f64::min(occupied, 1.0);
    }

    fn settle(&mut self) {
        let total: f64 = self.active.iter().map(|run| run.occupancy).sum();
        let mut soonest = f64::INFINITY;
        for (index, run) in self.active.iter_mut().enumerate() {
            let multiplier = self.surfaces.multiplier(run.occupancy, total - run.occupancy);
            run.speed = self.speed / multiplier;
            let time = run.left.max(0.0) / run.speed;
            if time < soonest {
                (soonest, self.next) = (time, index);
            }
        }
        self.next_end =
            if self.active.is_empty() { Nanos::MAX } else { self.now + Nanos(soonest as u64 + 1) };
    }
}

#[cfg(test)]
mod tests {
    use super::super::surface::ModelSurface;
    use super::*;

    fn surfaces() -> Surfaces {
        let model = ModelSurface {
            name: "m".into(),
            slo: Nanos::from_millis(100),
            max_batch: BatchSize(8),
            max_instances: 4,
            alone_ns: vec![(1, 10e6), (8, 24e6)],
            occupancy: vec![0.6, 1.0],
            weight_bytes: 0,
            context_bytes: 0,
            scratch_bytes: 0,
        };
        Surfaces { models: vec![model], contention: 0.0, noise: 0.0, memory_bytes: 1 << 30 }
    }

    #[test]
    fn two_batches_share_the_device_and_a_slow_device_slows_both() {
        let surfaces = surfaces();
        let mut device = Device::new(&surfaces, 1);
        let (one, id) = (BatchSize(1), ModelId(0));
        device.start(id, 0, one, Nanos::ZERO);
        assert_eq!(device.next_end().0 / 1000, 10_000);
        device.start(id, 1, one, Nanos::from_millis(4));
        // 6 ms of work left at 1 / 1.2 of the speed.
        assert_eq!(device.next_end().0 / 1000, 4_000 + 7_200);
        device.set_speed(0.5, Nanos::from_millis(4));
        assert_eq!(device.next_end().0 / 1000, 4_000 + 14_400);
        assert_eq!(device.finish(device.next_end()), Some((id, 0)));
        // The other has 4 ms of work left, alone at half speed.
        assert_eq!(device.next_end().0 / 1000, 18_400 + 8_000);
    }
}
