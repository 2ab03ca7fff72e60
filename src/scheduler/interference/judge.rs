//! How good predictions of unseen combinations are: cross-validation.

use super::Sample;
use super::fit::{Table, fit};
use super::network::Network;
use super::regression::Linear;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;

/// Different ways to divide the combinations that a judgement is the mean of: with tens of them,
/// one way says little.
const DIVISIONS: u64 = 5;

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
    let mut sum = [0.0; 3];
    for division in 0..DIVISIONS {
        let seed = seed.wrapping_add(division);
        distinct.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
        for fold in 0..folds {
            let place = |of: usize| distinct.iter().position(|&other| other == of);
            let is_held_out = |at: usize| {
                place(combinations[at]).is_some_and(|at| at * folds / distinct.len() == fold)
            };
            let (held_out, seen): (Vec<usize>, Vec<usize>) =
                (0..samples.len()).partition(|&at| is_held_out(at));
            let pick = |all: Vec<usize>| all.into_iter().map(|at| samples[at]).collect::<Vec<_>>();
            let errors = errors(&pick(seen), &pick(held_out), seed);
            sum.iter_mut().zip(errors).for_each(|(sum, error)| *sum += error);
        }
    }
    let [network, linear, sharing] =
        sum.map(|sum| sum / (DIVISIONS as usize * samples.len()) as f64);
    let combinations = distinct.len();
    Some(Judgement { samples: samples.len(), combinations, folds, network, linear, sharing })
}

/// Sums of the errors on `held_out` of what was fitted to `seen`: of the network, of linear
/// regression, and of processor sharing.
fn errors(seen: &[Sample], held_out: &[Sample], seed: u64) -> [f64; 3] {
    let network = fit(seen, seed);
    let table = Table::new(seen);
    let line = Linear::fit(&table.rows, &table.targets);
    let mut sums = [0.0; 3];
    for sample in held_out {
        let known = |network: &Network| f64::from(network.evaluate(&sample.features));
        let network = network.as_ref().map_or(0.0, known);
        let corrections = [network, line.evaluate(&table.row(sample)), 0.0];
        for (sum, correction) in sums.iter_mut().zip(corrections) {
            let predicted = (sample.sharing * correction.exp()).max(1.0);
            *sum += (predicted / sample.multiplier - 1.0).abs();
        }
    }
    sums
}
