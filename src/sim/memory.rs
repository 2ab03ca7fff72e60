//! How much memory models take on a device that everything shares.
//!
//! *Pooled* is how bcedge holds them: weights once, a context for each instance, and one pool of
//! scratch memory for the tensors of the batches that run at the same time. *Copies* is the usual
//! way: every instance has its own weights and its own scratch for the largest batch.

use super::surface::{ModelSurface, Surfaces};
use crate::units::ModelId;

impl ModelSurface {
    /// Scratch of one batch of this size.
    pub fn scratch(&self, items: u32) -> u64 {
        self.scratch_bytes * u64::from(items)
    }

    /// One more instance, with scratch of its own for the largest batch.
    fn instance(&self) -> u64 {
        self.context_bytes + self.scratch(self.max_batch.0)
    }
}

impl Surfaces {
    /// Lowers the limits of models until all of their instances fit at the same time, each with its
    /// largest batch: first the largest batches, when not even one instance of each fits, then the
    /// numbers of instances, which grow in turns.
    ///
    /// # Errors
    /// When not even single items fit.
    pub fn limit_to_memory(&mut self) -> Result<(), String> {
        let room = self.memory_bytes;
        let weights: u64 = self.models.iter().map(|m| m.weight_bytes).sum();
        let needed =
            |models: &[ModelSurface]| weights + models.iter().map(|m| m.instance()).sum::<u64>();
        while needed(&self.models) > room {
            let largest = self.models.iter_mut().filter(|m| m.max_batch.0 > 1);
            let Some(model) = largest.max_by_key(|m| m.scratch(m.max_batch.0)) else {
                return Err(format!(
                    "one instance of each model takes {} MiB, and the device has {} MiB for them",
                    needed(&self.models) >> 20,
                    room >> 20
                ));
            };
            model.max_batch.0 /= 2;
            let max = model.max_batch.0;
            let kept = model.alone_ns.iter().filter(|&&(batch, _)| batch <= max).count().max(1);
            model.alone_ns.truncate(kept);
            model.occupancy.truncate(kept);
        }
        let mut used = needed(&self.models);
        let wanted: Vec<u16> = self.models.iter().map(|m| m.max_instances).collect();
        self.models.iter_mut().for_each(|model| model.max_instances = 1);
        loop {
            let mut grown = false;
            for (model, &wanted) in self.models.iter_mut().zip(&wanted) {
                if model.max_instances < wanted && used + model.instance() <= room {
                    model.max_instances += 1;
                    used += model.instance();
                    grown = true;
                }
            }
            if !grown {
                return Ok(());
            }
        }
    }
}

/// What a run has taken at most.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// By model.
    instances: Vec<u64>,
    scratch: u64,
    scratch_peak: u64,
}

impl Memory {
    pub(super) fn new(models: usize) -> Memory {
        Memory { instances: vec![0; models], ..Memory::default() }
    }

    pub(super) fn add_instance(&mut self, model: ModelId) {
        self.instances[model.index()] += 1;
    }

    pub(super) fn take(&mut self, scratch: u64) {
        self.scratch += scratch;
        self.scratch_peak = self.scratch_peak.max(self.scratch);
    }

    pub(super) fn give_back(&mut self, scratch: u64) {
        self.scratch -= scratch;
    }

    /// With weights once, and scratch for the most that ran at the same time.
    pub fn pooled_bytes(&self, surfaces: &Surfaces) -> u64 {
        let each = surfaces.models.iter().zip(&self.instances);
        each.map(|(m, n)| m.weight_bytes + n * m.context_bytes).sum::<u64>() + self.scratch_peak
    }

    /// With weights and scratch for the largest batch in every instance.
    pub fn copies_bytes(&self, surfaces: &Surfaces) -> u64 {
        let each = surfaces.models.iter().zip(&self.instances);
        each.map(|(m, n)| n * (m.weight_bytes + m.instance())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{BatchSize, Nanos};

    fn surfaces(memory_bytes: u64) -> Surfaces {
        let model = |scratch_bytes| ModelSurface {
            name: "m".into(),
            slo: Nanos::from_millis(100),
            max_batch: BatchSize(8),
            max_instances: 3,
            alone_ns: vec![(1, 1e6), (2, 1.5e6), (4, 2.5e6), (8, 4.5e6)],
            occupancy: vec![0.5, 0.6, 0.7, 0.8],
            weight_bytes: 100,
            context_bytes: 10,
            scratch_bytes,
        };
        Surfaces { models: vec![model(1), model(5)], contention: 0.0, noise: 0.0, memory_bytes }
    }

    #[test]
    fn all_that_may_run_fits() {
        let limits = |memory| {
            let mut surfaces = surfaces(memory);
            surfaces.limit_to_memory().map(|()| {
                let limits = |m: &ModelSurface| (m.max_batch.0, m.max_instances);
                surfaces.models.iter().map(limits).collect::<Vec<_>>()
            })
        };
        // Instances take 18 and 50.
        assert_eq!(limits(200 + 3 * 68).unwrap(), [(8, 3), (8, 3)]);
        assert_eq!(limits(200 + 2 * 68 - 1).unwrap(), [(8, 3), (8, 1)]);
        assert_eq!(limits(200 + 68).unwrap(), [(8, 1), (8, 1)]);
        assert_eq!(limits(200 + 67).unwrap(), [(8, 2), (4, 1)]);
        assert_eq!(limits(200 + 26).unwrap(), [(1, 1), (1, 1)]);
        assert!(limits(200 + 25).unwrap_err().contains("one instance of each model"));
    }

    #[test]
    fn a_pool_takes_what_runs_at_the_same_time() {
        let surfaces = surfaces(1000);
        let mut memory = Memory::new(2);
        for model in [0, 0, 1] {
            memory.add_instance(ModelId(model));
        }
        memory.take(8);
        memory.give_back(8);
        memory.take(5);
        memory.take(1);
        assert_eq!(memory.pooled_bytes(&surfaces), 200 + 30 + 8);
        assert_eq!(memory.copies_bytes(&surfaces), 2 * 118 + 150);
    }
}
