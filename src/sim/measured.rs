//! Surfaces of a device on which models were measured: as far as measurements go they are the
//! truth, and what lies between them follows the same law as on the modelled devices.

use super::surface::{ModelSurface, Surfaces};
use crate::scheduler::interference::is_lane;
use crate::units::{BatchSize, Nanos};

/// What was measured of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeasuredModel {
    pub name: String,
    pub slo: Nanos,
    pub max_instances: u16,
    /// Those of one instance alone for at least one batch size.
    pub points: Vec<MeasuredPoint>,
    pub beside: Vec<MeasuredBeside>,
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
    pub mean_ns: f64,
    /// Median absolute deviation from the median.
    pub deviation_ns: f64,
}

/// How many times longer than alone the model's batches took while other models ran, too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeasuredBeside {
    pub batch: u32,
    pub instances: u16,
    /// Place of the model in the list, batch size and instances of each.
    pub neighbours: Vec<(usize, u32, u16)>,
    pub times: f64,
}

/// Contentions that are tried out, in hundredths.
const CONTENTIONS: std::ops::RangeInclusive<u32> = 0..=60;
/// Shares of the device that are tried out, in hundredths.
const SHARES: std::ops::RangeInclusive<u32> = 2..=100;
/// What explains better has to by more than this: two instances that don't slow each other may
/// each take half of the device or hardly any of it. The largest share is the one to count on.
const SAME_ERROR: f64 = 1e-9;
/// Standard deviation of a normal distribution over its median absolute deviation.
const SIGMA_PER_DEVIATION: f64 = 1.4826;

impl Surfaces {
    /// From measurements of all models of a device. What share of it a batch fills, and how much
    /// neighbours cost beyond that, is what explains best how much slower batches are beside others
    /// than alone. On a device known to run `lanes` batches at once without slowing them, a batch
    /// fills one, as far as [`is_lane`] allows.
    ///
    /// # Errors
    /// When a model was not measured alone.
    pub fn measured(
        models: &[MeasuredModel],
        lanes: Option<u32>,
        memory_bytes: u64,
    ) -> Result<Surfaces, String> {
        for model in models {
            if model.alone().is_empty() {
                return Err(format!("{} was not measured with one instance alone", model.name));
            }
        }
        let lane = lanes.map(|lanes| 1.0 / f64::from(lanes.max(1)));
        let mut best: Option<(f64, f64, Vec<ModelSurface>)> = None;
        for hundredths in CONTENTIONS {
            let contention = f64::from(hundredths) / 100.0;
            let (surfaces, errors): (Vec<_>, Vec<_>) =
                models.iter().map(|model| model.surface(contention, lane)).unzip();
            let error = errors.iter().sum::<f64>() + beside_error(models, &surfaces, contention);
            if best.as_ref().is_none_or(|best| error < best.0) {
                best = Some((error, contention, surfaces));
            }
        }
        let (_, contention, surfaces) = best.unwrap_or_default();
        let noise = noise(models);
        let mut surfaces = Surfaces { models: surfaces, contention, noise, memory_bytes };
        surfaces.limit_to_memory()?;
        Ok(surfaces)
    }
}

impl MeasuredModel {
    /// (items, ns) of one instance, ascending.
    fn alone(&self) -> Vec<(u32, f64)> {
        let alone = self.points.iter().filter(|point| point.instances == 1);
        let mut alone: Vec<(u32, f64)> = alone.map(|p| (p.batch, p.mean_ns)).collect();
        alone.sort_by_key(|&(batch, _)| batch);
        alone.dedup_by_key(|&mut (batch, _)| batch);
        alone
    }

    /// As it is with that contention, and how far off that is from several instances' times:
    /// squares of the logarithms.
    fn surface(&self, contention: f64, lane: Option<f64>) -> (ModelSurface, f64) {
        let alone_ns = self.alone();
        let slower: Vec<Vec<(f64, f64)>> = alone_ns.iter().map(|&one| self.slower(one)).collect();
        let lane = lane.filter(|&lane| {
            slower.iter().flatten().all(|&(instances, times)| is_lane(lane, instances, times))
        });
        let fitted = slower.iter().map(|slower| {
            let error = |share: f64| {
                let squares = slower.iter().map(|&(instances, times)| {
                    let modelled = multiplier(contention, share, share * (instances - 1.0));
                    (modelled / times.max(1.0)).ln().powi(2)
                });
                squares.sum::<f64>()
            };
            match lane {
                Some(lane) => (lane, error(lane)),
                None => best_share(error),
            }
        });
        let (occupancy, errors): (Vec<f64>, Vec<f64>) = fitted.unzip();
        let surface = ModelSurface {
            name: self.name.clone(),
            slo: self.slo,
            max_batch: BatchSize(alone_ns.last().map_or(1, |point| point.0)),
            max_instances: self.max_instances,
            alone_ns,
            occupancy,
            weight_bytes: self.weight_bytes,
            context_bytes: self.context_bytes,
            scratch_bytes: self.scratch_bytes,
        };
        (surface, errors.iter().sum())
    }

    /// (instances, how many times longer they took than one) for a batch size.
    fn slower(&self, (batch, alone_ns): (u32, f64)) -> Vec<(f64, f64)> {
        let several = self.points.iter().filter(|p| p.batch == batch && p.instances > 1);
        several.map(|p| (f64::from(p.instances), p.mean_ns / alone_ns)).collect()
    }
}

/// The share with the least error, the largest among equals: all of the device where nothing was
/// measured.
fn best_share(error: impl Fn(f64) -> f64) -> (f64, f64) {
    let all = (1.0, error(1.0));
    let tried = SHARES.rev().map(|hundredths| f64::from(hundredths) / 100.0);
    let tried = tried.map(|share| (share, error(share)));
    tried.fold(all, |best, other| if other.1 < best.1 - SAME_ERROR { other } else { best })
}

/// How far off what was measured beside other models: squares of the logarithms.
fn beside_error(models: &[MeasuredModel], surfaces: &[ModelSurface], contention: f64) -> f64 {
    let all = models.iter().zip(surfaces);
    let each = all.flat_map(|(model, own)| model.beside.iter().map(move |beside| (own, beside)));
    let squares = each.map(|(own, beside)| {
        let share = own.occupancy(beside.batch);
        let siblings = share * f64::from(beside.instances.saturating_sub(1));
        let others = beside.neighbours.iter().map(|&(model, batch, instances)| {
            surfaces[model].occupancy(batch) * f64::from(instances)
        });
        let modelled = multiplier(contention, share, siblings + others.sum::<f64>());
        (modelled / beside.times.max(1.0)).ln().powi(2)
    });
    squares.sum()
}

/// See [`Surfaces::multiplier`].
fn multiplier(contention: f64, own: f64, others: f64) -> f64 {
    (own + others).max(1.0) * (1.0 + contention * others.min(1.0))
}

/// Typical spread of execution times, as the standard deviation of their logarithm.
fn noise(models: &[MeasuredModel]) -> f64 {
    let points = models.iter().flat_map(|model| &model.points).filter(|p| p.mean_ns > 0.0);
    let mut spreads: Vec<f64> = points.map(|p| p.deviation_ns / p.mean_ns).collect();
    spreads.sort_unstable_by(f64::total_cmp);
    SIGMA_PER_DEVIATION * spreads.get(spreads.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Execution times with `noise`, as the law has them, of one to four instances.
    fn points(share: fn(u32) -> f64, contention: f64, noise: f64) -> Vec<MeasuredPoint> {
        let mut points = Vec::new();
        for batch in [1u32, 8] {
            for instances in 1..=4u16 {
                let alone = 1e6 * f64::from(batch + 3);
                let others = share(batch) * f64::from(instances - 1);
                let mean_ns = alone * multiplier(contention, share(batch), others);
                let deviation_ns = mean_ns * noise / SIGMA_PER_DEVIATION;
                points.push(MeasuredPoint { batch, instances, mean_ns, deviation_ns });
            }
        }
        points
    }

    fn model(points: Vec<MeasuredPoint>) -> MeasuredModel {
        MeasuredModel {
            name: "m".into(),
            slo: Nanos::from_millis(100),
            max_instances: 4,
            points,
            ..MeasuredModel::default()
        }
    }

    #[test]
    fn the_law_that_made_the_measurements_is_found_again() {
        let (contention, noise) = (0.12, 0.05);
        let share = |batch: u32| if batch == 1 { 0.4 } else { 0.9 };
        let model = model(points(share, contention, noise));
        let surfaces = Surfaces::measured(std::slice::from_ref(&model), None, 1 << 30).unwrap();
        assert_eq!(surfaces.contention, contention);
        assert_eq!(surfaces.models[0].occupancy, [0.4, 0.9]);
        assert_eq!(surfaces.models[0].alone_ns, [(1, 4e6), (8, 11e6)]);
        assert_eq!(surfaces.models[0].max_batch, BatchSize(8));
        assert!((surfaces.noise - noise).abs() < 1e-9);
        let mut never_alone = model;
        never_alone.points.retain(|point| point.instances > 1);
        let error = Surfaces::measured(&[never_alone], None, 1 << 30).unwrap_err();
        assert!(error.contains("m was not measured"), "{error}");
    }

    #[test]
    fn instances_that_do_not_slow_each_other_may_fill_the_device_together() {
        let mut two = model(points(|_| 0.5, 0.0, 0.0));
        two.points.retain(|point| point.instances <= 2);
        let shares = |lanes| {
            let surfaces = Surfaces::measured(std::slice::from_ref(&two), lanes, 1 << 30);
            surfaces.unwrap().models[0].occupancy.clone()
        };
        assert_eq!(shares(None), [0.5, 0.5]);
        // Eight cores are known to have room for eight.
        assert_eq!(shares(Some(8)), [0.125, 0.125]);
        // One would have made two instances twice as slow.
        assert_eq!(shares(Some(1)), [0.5, 0.5]);
    }

    #[test]
    fn contention_is_seen_beside_other_models_too() {
        let mut models = [model(points(|_| 0.5, 0.0, 0.0)), model(points(|_| 0.5, 0.0, 0.0))];
        for model in &mut models {
            model.points.retain(|point| point.instances == 1);
        }
        let fitted = |models: &[MeasuredModel]| {
            Surfaces::measured(models, Some(2), 1 << 30).unwrap().contention
        };
        assert_eq!(fitted(&models), 0.0);
        let neighbours = vec![(1, 8, 3)];
        let times = multiplier(0.2, 0.5, 1.5);
        models[0].beside.push(MeasuredBeside { batch: 1, instances: 1, neighbours, times });
        assert_eq!(fitted(&models), 0.2);
    }
}
