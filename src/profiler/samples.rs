//! Profiles as a data set: what the latency of a batch becomes beside what else runs.

use super::point::quantile;
use super::{Beside, Profile};
use crate::units::{BatchSize, InstanceCount};

/// Instances of another model that ran at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleNeighbour {
    /// Its place in the list of profiles.
    pub model: usize,
    pub batch: BatchSize,
    pub instances: InstanceCount,
}

/// A machine whose speed differs more than this between two measurements is another one: how much
/// slower it was is only known from one point.
const MOST_DRIFT: f64 = 0.3;

/// The latency of one model in one situation, on a machine at its usual speed.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its place in the list of profiles.
    pub model: usize,
    pub batch: BatchSize,
    /// Of this model, each running that batch size.
    pub instances: InstanceCount,
    /// Mean latency of one instance with that batch size when nothing else runs.
    pub alone_us: f64,
    /// Empty: other instances of the model were the only company.
    pub neighbours: Vec<SampleNeighbour>,
    /// Mean latency in this situation.
    pub latency_us: f64,
    pub latency_us_p95: f64,
    /// `latency_us` over `alone_us`.
    pub multiplier: f64,
}

/// All situations in `profiles` in which something else ran beside an instance: several instances
/// of the model, neighbours, or both. What the machine's speed was then is taken out of the
/// latencies. Left out are those measured on a machine much faster or slower than the latency alone,
/// those of which that is not known, and those with a neighbour that is not among `profiles` or is
/// there with another model file.
pub fn samples(profiles: &[Profile]) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (model, profile) in profiles.iter().enumerate() {
        let points = profile.points.iter().filter(|point| point.instances > InstanceCount::ONE);
        let with_itself = points.map(|point| (point, Vec::new()));
        let with_others = profile
            .beside
            .iter()
            .filter_map(|beside| Some((&beside.point, neighbours(beside, profile, profiles)?)));
        for (point, neighbours) in with_itself.chain(with_others) {
            let Some(alone) = profile.alone(point.batch, InstanceCount::ONE) else { continue };
            if alone.latency_us_mean <= 0.0 || (point.drift / alone.drift - 1.0).abs() > MOST_DRIFT
            {
                continue;
            }
            let alone_us = alone.latency_us_mean / alone.drift;
            let latency_us = point.latency_us_mean / point.drift;
            samples.push(Sample {
                model,
                batch: point.batch,
                instances: point.instances,
                alone_us,
                neighbours,
                latency_us,
                latency_us_p95: point.latency_us_p95 / point.drift,
                multiplier: latency_us / alone_us,
            });
        }
    }
    samples
}

/// `None` when one of them is not among the profiles.
fn neighbours(beside: &Beside, of: &Profile, profiles: &[Profile]) -> Option<Vec<SampleNeighbour>> {
    let find = |name: &str| {
        let stamp = of.neighbour_stamps.get(name)?;
        profiles.iter().position(|p| p.model == name && p.model_stamp == *stamp)
    };
    let each = beside.neighbours.iter().map(|neighbour| {
        Some(SampleNeighbour {
            model: find(&neighbour.model)?,
            batch: neighbour.batch,
            instances: neighbour.instances,
        })
    });
    each.collect()
}

/// How far the means of two measurements of the same combination lie apart,
/// |a − b| / ((a + b) / 2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RepeatError {
    pub pairs: usize,
    pub median: f64,
    pub p90: f64,
}

/// Over all that was measured twice: what no prediction can be better than. `None` when nothing
/// was.
pub fn repeat_error(profiles: &[Profile]) -> Option<RepeatError> {
    let twice = profiles.iter().flat_map(|profile| &profile.beside).filter_map(|beside| {
        let (first, again) = (beside.point.latency_us_mean, beside.again_us_mean?);
        (first + again > 0.0).then(|| 2.0 * (first - again).abs() / (first + again))
    });
    let mut apart: Vec<f64> = twice.collect();
    apart.sort_by(f64::total_cmp);
    (!apart.is_empty()).then(|| RepeatError {
        pairs: apart.len(),
        median: quantile(&apart, 0.5),
        p90: quantile(&apart, 0.9),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::FileStamp;
    use crate::profiler::{Neighbour, Point};
    use std::collections::BTreeMap;

    fn stamp(bytes: u64) -> FileStamp {
        FileStamp { bytes, modified_unix_us: 5 }
    }

    fn point(batch: u32, instances: u16, latency_us: f64) -> Point {
        Point {
            instances: InstanceCount(instances),
            ..Point::configured(BatchSize(batch), latency_us)
        }
    }

    fn neighbour(model: &str, batch: u32, instances: u16) -> Neighbour {
        Neighbour {
            model: model.into(),
            batch: BatchSize(batch),
            instances: InstanceCount(instances),
        }
    }

    fn profile(model: &str, bytes: u64, points: Vec<Point>) -> Profile {
        Profile {
            format: 2,
            model: model.into(),
            device: "d".into(),
            platform: "p".into(),
            library_version: String::new(),
            crate_version: "1".into(),
            threads_per_instance: 1,
            measured_unix_s: 0,
            model_file: "model.onnx".into(),
            model_stamp: stamp(bytes),
            point_ms: 1,
            features: None,
            memory: None,
            anchor: None,
            limits: vec![],
            points,
            neighbour_stamps: BTreeMap::from([("a".into(), stamp(1)), ("b".into(), stamp(2))]),
            beside: vec![],
        }
    }

    #[test]
    fn samples_are_all_situations_with_company() {
        let mut a = profile("a", 1, vec![point(1, 1, 10.0), point(1, 2, 15.0), point(4, 1, 30.0)]);
        a.add_beside(point(4, 2, 90.0), vec![neighbour("b", 8, 1)]);
        let mut b = profile("b", 2, vec![point(8, 1, 100.0)]);
        b.add_beside(point(8, 1, 170.0), vec![neighbour("a", 4, 2)]);
        let samples = samples(&[a, b]);
        let shown: Vec<_> = samples
            .iter()
            .map(|s| (s.model, s.batch.0, s.instances.0, s.alone_us, s.latency_us, s.multiplier))
            .collect();
        assert_eq!(
            shown,
            [(0, 1, 2, 10.0, 15.0, 1.5), (0, 4, 2, 30.0, 90.0, 3.0), (1, 8, 1, 100.0, 170.0, 1.7)]
        );
        let to_a = SampleNeighbour { model: 0, batch: BatchSize(4), instances: InstanceCount(2) };
        assert_eq!((samples[0].neighbours.len(), &samples[2].neighbours[..]), (0, &[to_a][..]));
    }

    #[test]
    fn what_does_not_hold_together_is_no_sample() {
        let mut a = profile("a", 1, vec![point(1, 1, 10.0)]);
        a.add_beside(point(1, 1, 20.0), vec![neighbour("b", 1, 1)]);
        a.add_beside(Point { drift: 1.4, ..point(1, 2, 20.0) }, vec![neighbour("b", 1, 1)]);
        a.add_beside(point(1, 1, 20.0), vec![neighbour("c", 1, 1)]);
        // Its batch size is not known alone.
        a.add_beside(point(2, 1, 20.0), vec![neighbour("b", 1, 1)]);
        assert_eq!(a.beside.len(), 3);
        let b = |bytes| profile("b", bytes, vec![point(1, 1, 10.0)]);
        assert_eq!(samples(&[a.clone(), b(2)]).len(), 1);
        assert_eq!(samples(&[a.clone(), b(3)]).len(), 0, "another file of b");
        assert_eq!(samples(&[a]).len(), 0, "no b");
        assert_eq!(samples(&[]).len(), 0);
    }

    #[test]
    fn the_speed_of_the_machine_is_taken_out() {
        let mut a = profile("a", 1, vec![Point { drift: 1.1, ..point(1, 1, 11.0) }]);
        a.add_beside(Point { drift: 1.25, ..point(1, 1, 25.0) }, vec![neighbour("b", 1, 1)]);
        let sample = &samples(&[a, profile("b", 2, vec![point(1, 1, 10.0)])])[0];
        let all = [sample.alone_us, sample.latency_us, sample.latency_us_p95, sample.multiplier];
        for (found, expected) in all.into_iter().zip([10.0, 20.0, 20.0, 2.0]) {
            assert!((found - expected).abs() < 1e-9, "{sample:?}");
        }
    }

    #[test]
    fn the_repeat_error_is_that_of_the_pairs() {
        let mut a = profile("a", 1, vec![point(1, 1, 10.0)]);
        assert_eq!(repeat_error(std::slice::from_ref(&a)), None);
        for (batch, again) in [(1u32, Some(110.0)), (2, Some(100.0)), (3, None)] {
            a.add_beside(point(1, 1, 100.0), vec![neighbour("b", batch, 1)]);
            a.beside.last_mut().unwrap().again_us_mean = again;
        }
        let error = repeat_error(&[a]).unwrap();
        assert_eq!((error.pairs, error.median), (2, 0.0));
        assert!((error.p90 - 10.0 / 105.0).abs() < 1e-12, "{error:?}");
    }
}
