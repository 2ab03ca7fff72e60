//! How good predictions of unseen combinations are: cross-validation.

use super::Sample;
use super::fit::{Table, fit};
use super::network::Network;
use super::regression::Linear;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;

/// Mean absolute errors of predicted multipliers, as a share of the measured ones. Every sample was
/// predicted by fits that had not seen its combination.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    pub samples: usize,
    pub combinations: usize,
    pub folds: usize,
    pub network: f64,
    /// Linear regression for the same target on the same features and split.
    pub linear: f64,
    /// Processor sharing, which needs no fit.
    pub sharing: f64,
}

/// Cross-validation in so many folds. `combinations` says for each sample which measurement it is
/// from: those of one are all in the same fold. `None` with fewer combinations than folds.
pub fn cross_validate(
    samples: &[Sample],
    combinations: &[usize],
    folds: usize,
    seed: u64,
) -> Option<Judgement> {
    let mut distinct = combinations.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < folds.max(2) || samples.len() != combinations.len() {
        return None;
    }
    let count = distinct.len();
    distinct.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
    let fold_of = |at: usize| {
        let place = distinct.iter().position(|&other| other == combinations[at]);
        place.unwrap_or(0) * folds / count
    };
    let (mut network, mut linear, mut sharing) = (0.0, 0.0, 0.0);
    for fold in 0..folds {
        let (held_out, seen): (Vec<usize>, Vec<usize>) =
            (0..samples.len()).partition(|&at| fold_of(at) == fold);
        let seen: Vec<Sample> = seen.into_iter().map(|at| samples[at]).collect();
        let fitted = fit(&seen, seed);
        let table = Table::new(&seen);
        let line = Linear::fit(&table.rows, &table.targets);
        for sample in held_out.into_iter().map(|at| &samples[at]) {
            let error = |correction: f64| {
                let predicted = (sample.sharing * correction.exp()).max(1.0);
                (predicted / sample.multiplier - 1.0).abs()
            };
            let known = |network: &Network| f64::from(network.evaluate(&sample.features));
            network += error(fitted.as_ref().map_or(0.0, known));
            linear += error(line.evaluate(&table.row(sample)));
            sharing += error(0.0);
        }
    }
    let n = samples.len() as f64;
    Some(Judgement {
        samples: samples.len(),
        combinations: count,
        folds,
        network: network / n,
        linear: linear / n,
        sharing: sharing / n,
    })
}
