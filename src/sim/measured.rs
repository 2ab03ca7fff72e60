//! Surfaces of a device on which models were measured: as far as measurements go they are the
//! truth, and what lies between them follows the same law as on the modelled devices.

use super::surface::{ModelSurface, Surfaces};
use crate::units::{BatchSize, Nanos};

/// What was measured of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeasuredModel {
    pub name: String,
    pub slo: Nanos,
    pub max_instances: u16,
    /// Median execution times; those of one instance alone for at least one batch size.
    pub points: Vec<MeasuredPoint>,
    pub weight_bytes: u64,
    pub context_bytes: u64,
    /// Of a running batch, by item.
    pub scratch_bytes: u64,
}

/// Execution time while so many instances of the model run batches of this size without a pause.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MeasuredPoint {
    pub batch: u32,
    pub instances: u16,
    pub median_ns: f64,
    /// Median absolute deviation from the median.
    pub deviation_ns: f64,
}

/// Contentions that are tried out, in hundredths.
const CONTENTIONS: std::ops::RangeInclusive<u32> = 0..=60;
/// Shares of the device that are tried out, in hundredths.
const SHARES: std::ops::RangeInclusive<u32> = 2..=100;
/// Standard deviation of a normal distribution over its median absolute deviation.
const SIGMA_PER_DEVIATION: f64 = 1.4826;

impl Surfaces {
    /// From measurements of all models of a device. What share of it a batch fills, and how much
    /// neighbours cost beyond that, is what explains best how much slower several instances are
    /// than one.
    ///
    /// # Errors
    /// When a model was not measured alone.
    pub fn measured(models: &[MeasuredModel], memory_bytes: u64) -> Result<Surfaces, String> {
        for model in models {
            if model.alone().is_empty() {
                return Err(format!("{} was not measured with one instance alone", model.name));
            }
        }
        let mut best = (f64::INFINITY, 0.0);
        for hundredths in CONTENTIONS {
            let contention = f64::from(hundredths) / 100.0;
            let error = models.iter().map(|model| model.fit(contention).1).sum();
            if error < best.0 {
                best = (error, contention);
            }
        }
        let contention = best.1;
        let surface = |model: &MeasuredModel| {
            let alone = model.alone();
            ModelSurface {
                name: model.name.clone(),
                slo: model.slo,
                max_batch: BatchSize(alone.last().map_or(1, |point| point.0)),
                max_instances: model.max_instances,
                alone_ns: alone,
                occupancy: model.fit(contention).0,
                weight_bytes: model.weight_bytes,
                context_bytes: model.context_bytes,
                scratch_bytes: model.scratch_bytes,
            }
        };
        let mut surfaces = Surfaces {
            models: models.iter().map(surface).collect(),
            contention,
            noise: noise(models),
            memory_bytes,
        };
        surfaces.limit_to_memory()?;
        Ok(surfaces)
    }
}

impl MeasuredModel {
    /// (items, ns) of one instance, ascending.
    fn alone(&self) -> Vec<(u32, f64)> {
        let alone = self.points.iter().filter(|point| point.instances == 1);
        let mut alone: Vec<(u32, f64)> = alone.map(|p| (p.batch, p.median_ns)).collect();
        alone.sort_by_key(|&(batch, _)| batch);
        alone.dedup_by_key(|&mut (batch, _)| batch);
        alone
    }

    /// The share of the device that explains the measurements best for each batch size that was
    /// measured alone, and how far it is off them all: squares of the logarithms.
    fn fit(&self, contention: f64) -> (Vec<f64>, f64) {
        let mut shares = Vec::new();
        let mut sum = 0.0;
        for (batch, alone) in self.alone() {
            let slower: Vec<(f64, f64)> = self
                .points
                .iter()
                .filter(|point| point.batch == batch && point.instances > 1)
                .map(|point| (f64::from(point.instances), point.median_ns / alone))
                .collect();
            let error = |share: f64| {
                let squares = slower.iter().map(|&(instances, times)| {
                    let modelled = multiplier(contention, share, share * (instances - 1.0));
                    (modelled / times.max(1.0)).ln().powi(2)
                });
                squares.sum::<f64>()
            };
            let tried = SHARES.map(|hundredths| f64::from(hundredths) / 100.0);
            let tried = tried.map(|share| (share, error(share)));
            // Nothing measured: as if it filled the device, which is safe.
            let last = (1.0, error(1.0));
            let (share, off) = tried.fold(last, |a, b| if b.1 < a.1 { b } else { a });
            shares.push(share);
            sum += off;
        }
        (shares, sum)
    }
}

/// See [`Surfaces::multiplier`].
fn multiplier(contention: f64, own: f64, others: f64) -> f64 {
    (own + others).max(1.0) * (1.0 + contention * others.min(1.0))
}

/// Typical spread of execution times, as the standard deviation of their logarithm.
fn noise(models: &[MeasuredModel]) -> f64 {
    let points = models.iter().flat_map(|model| &model.points).filter(|p| p.median_ns > 0.0);
    let mut spreads: Vec<f64> = points.map(|p| p.deviation_ns / p.median_ns).collect();
    spreads.sort_unstable_by(f64::total_cmp);
    SIGMA_PER_DEVIATION * spreads.get(spreads.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_law_that_made_the_measurements_is_found_again() {
        let (contention, noise) = (0.12, 0.05);
        let share = |batch: u32| if batch == 1 { 0.4 } else { 0.9 };
        let mut points = Vec::new();
        for batch in [1u32, 8] {
            for instances in 1..=4u16 {
                let alone = 1e6 * f64::from(batch + 3);
                let others = share(batch) * f64::from(instances - 1);
                let median_ns = alone * multiplier(contention, share(batch), others);
                let deviation_ns = median_ns * noise / SIGMA_PER_DEVIATION;
                points.push(MeasuredPoint { batch, instances, median_ns, deviation_ns });
            }
        }
        let model = MeasuredModel {
            name: "m".into(),
            slo: Nanos::from_millis(100),
            max_instances: 4,
            points,
            ..MeasuredModel::default()
        };
        let surfaces = Surfaces::measured(std::slice::from_ref(&model), 1 << 30).unwrap();
        assert_eq!(surfaces.contention, contention);
        assert_eq!(surfaces.models[0].occupancy, [0.4, 0.9]);
        assert_eq!(surfaces.models[0].alone_ns, [(1, 4e6), (8, 11e6)]);
        assert_eq!(surfaces.models[0].max_batch, BatchSize(8));
        assert!((surfaces.noise - noise).abs() < 1e-9);
        let mut never_alone = model;
        never_alone.points.retain(|point| point.instances > 1);
        let error = Surfaces::measured(&[never_alone], 1 << 30).unwrap_err();
        assert!(error.contains("m was not measured"), "{error}");
    }
}
