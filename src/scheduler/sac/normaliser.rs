//! How an observation is brought to numbers around zero before a network sees it.

use crate::scheduler::nn::all_finite;

/// A normalised number lies within this distance of zero.
const CLIP: f32 = 5.0;
/// A feature whose variance is below this counts as constant: it is only shifted, since dividing by
/// next to nothing would make noise of it.
const CONSTANT: f64 = 1e-8;

/// Running mean and variance of every feature (Welford's method, in `f64`), so that each becomes
/// (x − mean) / deviation, at most [`CLIP`] from zero. It belongs to the weights that were trained
/// with it, and is kept with them.
#[derive(Clone, Debug, PartialEq)]
pub struct Normaliser {
    pub(super) count: u64,
    pub(super) mean: Vec<f64>,
    /// Sum of the squared distances from the mean.
    pub(super) spread: Vec<f64>,
    pub(super) frozen: bool,
    /// 1 / deviation and −mean / deviation, as `f32`.
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Normaliser {
    /// For observations of this many numbers; it changes nothing until it has seen some.
    pub fn new(observation: usize) -> Normaliser {
        Normaliser::restore(0, vec![0.0; observation], vec![0.0; observation], false)
    }

    pub(super) fn restore(
        count: u64,
        mean: Vec<f64>,
        spread: Vec<f64>,
        frozen: bool,
    ) -> Normaliser {
        let (scale, shift) = (vec![1.0; mean.len()], vec![0.0; mean.len()]);
        let mut normaliser = Normaliser { count, mean, spread, frozen, scale, shift };
        normaliser.refresh();
        normaliser
    }

    /// Numbers in an observation.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// Stops (or, with `false`, resumes) learning from what it sees.
    pub fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    /// Learns from one or more rows, unless it is frozen. A row with a number that is not finite is
    /// passed over.
    pub fn observe(&mut self, rows: &[f32]) {
        if self.frozen {
            return;
        }
        for row in rows.chunks_exact(self.width()) {
            if row.iter().any(|x| !x.is_finite()) {
                continue;
            }
            self.count += 1;
            let weight = 1.0 / self.count as f64;
            for ((mean, spread), &x) in self.mean.iter_mut().zip(&mut self.spread).zip(row) {
                let before = f64::from(x) - *mean;
                *mean += before * weight;
                *spread += before * (f64::from(x) - *mean);
            }
        }
        self.refresh();
    }

    /// Normalises rows in place.
    pub fn apply(&self, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(self.width()) {
            for ((x, &scale), &shift) in row.iter_mut().zip(&self.scale).zip(&self.shift) {
                *x = (*x * scale + shift).clamp(-CLIP, CLIP);
            }
        }
    }

    /// Copies rows to `out`, normalised.
    pub fn apply_to(&self, rows: &[f32], out: &mut Vec<f32>) {
        out.clear();
        out.extend_from_slice(rows);
        self.apply(out);
    }

    /// Whether it gives numbers for numbers.
    pub(super) fn is_finite(&self) -> bool {
        all_finite(&self.scale) && all_finite(&self.shift)
    }

    fn refresh(&mut self) {
        if self.count == 0 {
            return;
        }
        for i in 0..self.mean.len() {
            let variance = self.spread[i] / self.count as f64;
            let scale = if variance < CONSTANT { 1.0 } else { 1.0 / variance.sqrt() };
            self.scale[i] = scale as f32;
            self.shift[i] = (-self.mean[i] * scale) as f32;
        }
    }
}
