//! The network as it predicts: footprints in, the logarithm of a correction out.

use super::Footprint;

/// What the network sees, in order: of the batch itself, then sums over its neighbours.
pub const FEATURE_NAMES: [&str; FEATURES] = [
    "own_share",
    "own_time",
    "own_bytes",
    "own_multiply_adds",
    "own_kernels",
    "others_count",
    "others_share",
    "others_share_squares",
    "others_time",
    "others_bytes",
    "others_multiply_adds",
    "others_kernels",
];

/// Numbers the network sees.
pub const FEATURES: usize = OWN + BESIDE;
const OWN: usize = 5;
const BESIDE: usize = 7;
/// Units of its hidden layer.
pub(super) const HIDDEN: usize = 16;

/// What a batch shows of itself.
pub(super) fn own_features(batch: &Footprint) -> [f64; OWN] {
    [batch.share, batch.ln_time, batch.bytes, batch.multiply_adds, batch.kernels]
}

/// What a batch adds to its neighbours' sums. The sum of the squares tells one that takes all of
/// the device from several that together do.
pub(super) fn beside_features(batch: &Footprint) -> [f64; BESIDE] {
    let Footprint { share, ln_time, bytes, multiply_adds, kernels } = *batch;
    [1.0, share, share * share, ln_time, bytes, multiply_adds, kernels]
}

/// As many units at once as every processor can add; [`HIDDEN`] is a multiple of it.
const LANES: usize = 4;

type Hidden = [f32; HIDDEN];

/// Two layers with ReLU between them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Network {
    /// For each feature its weight in each hidden unit: first the batch's own, then its
    /// neighbours'.
    pub(super) weights: [Hidden; FEATURES],
    pub(super) biases: Hidden,
    pub(super) out: Hidden,
    pub(super) out_bias: f32,
    /// The result keeps within this: what was seen in the samples. Beyond it a fit says nothing.
    pub(super) range: [f32; 2],
}

/// A batch's part of the hidden layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Imprint {
    /// Of the device.
    pub(super) share: f64,
    /// On its own multiplier, with the biases …
    own: Hidden,
    /// … and on those of its neighbours.
    beside: Hidden,
}

/// Imprints summed up: of all batches under way, or of all but one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Neighbours {
    count: u32,
    share: f64,
    hidden: Hidden,
}

impl Network {
    pub(super) fn imprint(&self, batch: &Footprint) -> Imprint {
        let (own_weights, beside_weights) = self.weights.split_at(OWN);
        let mut imprint = Imprint { share: batch.share, own: self.biases, beside: [0.0; HIDDEN] };
        add_products(&mut imprint.own, own_weights, &own_features(batch));
        add_products(&mut imprint.beside, beside_weights, &beside_features(batch));
        imprint
    }

    /// The same for features as a sample has them.
    pub(super) fn evaluate(&self, features: &[f64; FEATURES]) -> f32 {
        let mut own = Imprint { share: 0.0, own: self.biases, beside: [0.0; HIDDEN] };
        add_products(&mut own.own, &self.weights, features);
        self.correction(&own, &Neighbours::default())
    }

    /// The natural logarithm of what processor sharing's multiplier is to be multiplied by.
    pub(super) fn correction(&self, own: &Imprint, others: &Neighbours) -> f32 {
        // Several sums, so that they do not wait for each other.
        let mut sums = [0.0f32; LANES];
        for at in (0..HIDDEN).step_by(LANES) {
            for (lane, sum) in sums.iter_mut().enumerate() {
                let unit = own.own[at + lane] + others.hidden[at + lane];
                *sum += unit.max(0.0) * self.out[at + lane];
            }
        }
        let sum = self.out_bias + (sums[0] + sums[1]) + (sums[2] + sums[3]);
        sum.max(self.range[0]).min(self.range[1])
    }
}

fn add_products(hidden: &mut Hidden, weights: &[Hidden], features: &[f64]) {
    for (row, &feature) in weights.iter().zip(features) {
        let feature = feature as f32;
        for (unit, weight) in hidden.iter_mut().zip(row) {
            *unit += feature * weight;
        }
    }
}

impl Imprint {
    /// Where nothing but the share counts.
    pub(super) fn of_share(share: f64) -> Imprint {
        Imprint { share, own: [0.0; HIDDEN], beside: [0.0; HIDDEN] }
    }

    /// Share of the device that the batch takes.
    pub fn share(&self) -> f64 {
        self.share
    }
}

impl Neighbours {
    /// So many batches that are alike.
    pub fn alike(count: u32, each: &Imprint) -> Neighbours {
        let times = count as f32;
        Neighbours {
            count,
            share: f64::from(count) * each.share,
            hidden: each.beside.map(|part| times * part),
        }
    }

    /// Adds one.
    pub fn add(&mut self, one: &Imprint) {
        self.count += 1;
        self.share += one.share;
        self.hidden.iter_mut().zip(&one.beside).for_each(|(sum, part)| *sum += part);
    }

    /// With one more.
    #[must_use]
    pub fn with(mut self, one: &Imprint) -> Neighbours {
        self.add(one);
        self
    }

    /// All but `one` of them.
    #[must_use]
    pub fn without(mut self, one: &Imprint) -> Neighbours {
        if self.count <= 1 {
            return Neighbours::default();
        }
        self.count -= 1;
        self.share -= one.share;
        self.hidden.iter_mut().zip(&one.beside).for_each(|(sum, part)| *sum -= part);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Sum of the shares: from 1 on the device is full.
    pub fn share(&self) -> f64 {
        self.share
    }
}
