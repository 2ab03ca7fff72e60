//! Fitting the network to samples.

use super::super::nn::{Adam, Mlp, Tape};
use super::network::{FEATURES, HIDDEN, Network, beside_features, own_features};
use super::{Footprint, processor_sharing};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// How much slower a batch was beside others than alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub(super) features: [f64; FEATURES],
    pub(super) sharing: f64,
    pub(super) multiplier: f64,
}

/// Fewer samples than this say too little.
const FEWEST_SAMPLES: usize = 12;
/// Networks that are fitted by themselves and averaged, which together make the hidden layer.
const MEMBERS: usize = 2;
const MEMBER_HIDDEN: usize = HIDDEN / MEMBERS;
/// Of all samples at once.
const STEPS: usize = 300;
const RATE: f32 = 0.02;
/// Errors beyond this, in the logarithm, pull no harder: measurements have outliers.
const HUBER: f32 = 0.1;
/// Share of a weight that a step takes off it, over the rate. From 0.2 to 2 held-out combinations
/// are predicted about equally well; with a tenth of that, worse.
const DECAY: f32 = 1.0;
/// A correction may be this much beyond those measured.
const BEYOND: f32 = 0.05;
/// A feature that varies less than this share of its size is none.
const LEAST_SPREAD: f64 = 1e-6;

impl Sample {
    /// A batch that took `multiplier` times as long beside others as alone; of each kind of others
    /// so many ran. `None` without others, and for a multiplier that no measurement gives.
    pub fn new(
        own: &Footprint,
        others: impl IntoIterator<Item = (u32, Footprint)>,
        multiplier: f64,
    ) -> Option<Sample> {
        let mut features = [0.0; FEATURES];
        let own_features = own_features(own);
        features[..own_features.len()].copy_from_slice(&own_features);
        let (mut share, mut any) = (0.0, false);
        for (count, other) in others {
            let count = f64::from(count);
            let sums = features[own_features.len()..].iter_mut().zip(beside_features(&other));
            sums.for_each(|(sum, part)| *sum += count * part);
            share += count * other.share;
            any |= count > 0.0;
        }
        let is_sound = any && multiplier.is_finite() && multiplier > 0.0;
        let sharing = processor_sharing(own.share, share);
        is_sound.then_some(Sample { features, sharing, multiplier })
    }

    /// What is to be predicted.
    fn target(&self) -> f32 {
        (self.multiplier / self.sharing).ln() as f32
    }
}

/// The features of the samples, brought to mean 0 and spread 1, and what is to be predicted.
pub(super) struct Table {
    mean: [f64; FEATURES],
    /// 1 over the spread; 0 for a feature that does not vary.
    scale: [f64; FEATURES],
    pub(super) rows: Vec<[f32; FEATURES]>,
    pub(super) targets: Vec<f32>,
}

impl Table {
    pub(super) fn new(samples: &[Sample]) -> Table {
        let n = samples.len().max(1) as f64;
        let column = |i: usize| samples.iter().map(move |sample| sample.features[i]);
        let mean: [f64; FEATURES] = std::array::from_fn(|i| column(i).sum::<f64>() / n);
        let scale = std::array::from_fn(|i| {
            let spread = (column(i).map(|x| (x - mean[i]).powi(2)).sum::<f64>() / n).sqrt();
            let least = LEAST_SPREAD * mean[i].abs().max(f64::MIN_POSITIVE);
            if spread > least { 1.0 / spread } else { 0.0 }
        });
        let targets = samples.iter().map(Sample::target).collect();
        let mut table = Table { mean, scale, rows: Vec::new(), targets };
        table.rows = samples.iter().map(|sample| table.row(sample)).collect();
        table
    }

    /// A sample's features in the same measure.
    pub(super) fn row(&self, sample: &Sample) -> [f32; FEATURES] {
        let feature = |i: usize| (sample.features[i] - self.mean[i]) * self.scale[i];
        std::array::from_fn(|i| feature(i) as f32)
    }
}

/// `None` when there are too few samples.
pub(super) fn fit(samples: &[Sample], seed: u64) -> Option<Network> {
    if samples.len() < FEWEST_SAMPLES {
        return None;
    }
    let table = Table::new(samples);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let members: Vec<Mlp> = (0..MEMBERS).map(|_| member(&table, &mut random)).collect();
    Some(merge(&table, &members))
}

/// One of the networks.
fn member(table: &Table, random: &mut Xoshiro256PlusPlus) -> Mlp {
    let mut mlp = Mlp::new(&[FEATURES, MEMBER_HIDDEN, 1], 0.1, random);
    let n = table.rows.len() as f32;
    let inputs = table.rows.as_flattened();
    let mut adam = Adam::new(mlp.parameters().len());
    let mut tape = Tape::default();
    let mut gradient = vec![0.0; mlp.parameters().len()];
    let weights = [mlp.weights(0), mlp.weights(1)];
    for step in 0..STEPS {
        let outputs = mlp.forward(inputs, &mut tape);
        let errors = outputs.iter().zip(&table.targets).map(|(out, y)| out - y);
        let by_outputs: Vec<f32> = errors.map(|e| e.clamp(-HUBER, HUBER) / n).collect();
        mlp.backward(inputs, &mut tape, &by_outputs, &mut gradient);
        let rate = RATE * 0.5 * (1.0 + (std::f32::consts::PI * step as f32 / STEPS as f32).cos());
        for range in &weights {
            mlp.parameters_mut()[range.clone()].iter_mut().for_each(|w| *w *= 1.0 - rate * DECAY);
        }
        adam.step(mlp.parameters_mut(), &gradient, rate);
    }
    mlp
}

/// All members as one network of features as they are.
fn merge(table: &Table, members: &[Mlp]) -> Network {
    let mut network = Network {
        weights: [[0.0; HIDDEN]; FEATURES],
        biases: [0.0; HIDDEN],
        out: [0.0; HIDDEN],
        out_bias: 0.0,
        range: [
            table.targets.iter().copied().fold(f32::INFINITY, f32::min) - BEYOND,
            table.targets.iter().copied().fold(f32::NEG_INFINITY, f32::max) + BEYOND,
        ],
    };
    let share = 1.0 / members.len() as f32;
    for (at, mlp) in members.iter().enumerate() {
        let parameters = mlp.parameters();
        let (first, biases) = (&parameters[mlp.weights(0)], &parameters[mlp.biases(0)]);
        let (out, out_bias) = (&parameters[mlp.weights(1)], &parameters[mlp.biases(1)]);
        for unit in 0..MEMBER_HIDDEN {
            let to = at * MEMBER_HIDDEN + unit;
            let mut bias = f64::from(biases[unit]);
            for feature in 0..FEATURES {
                let weight =
                    f64::from(first[feature * MEMBER_HIDDEN + unit]) * table.scale[feature];
                network.weights[feature][to] = weight as f32;
                bias -= weight * table.mean[feature];
            }
            network.biases[to] = bias as f32;
            network.out[to] = out[unit] * share;
        }
        network.out_bias += out_bias[0] * share;
    }
    network
}
