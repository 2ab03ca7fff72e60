//! The optimiser.

use super::vector::squared_norm;

/// Adam (Kingma and Ba, arXiv 1412.6980), algorithm 1, over one flat vector of parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    /// Running mean of the gradients, not corrected for its start at zero.
    pub mean: Vec<f32>,
    /// Running mean of their squares, likewise.
    pub square: Vec<f32>,
    /// Steps made.
    pub steps: u64,
}

impl Adam {
    /// The paper's defaults, as in PyTorch.
    pub const BETA_1: f32 = 0.9;
    pub const BETA_2: f32 = 0.999;
    pub const EPSILON: f32 = 1e-8;

    /// For this many parameters.
    pub fn new(parameters: usize) -> Adam {
        Adam { mean: vec![0.0; parameters], square: vec![0.0; parameters], steps: 0 }
    }

    /// One step of at most about `rate` per parameter against `gradient`.
    ///
    /// # Panics
    /// If the lengths differ from the one it was made for.
    pub fn step(&mut self, parameters: &mut [f32], gradient: &[f32], rate: f32) {
        let n = self.mean.len();
        assert_eq!([parameters.len(), gradient.len()], [n; 2], "one gradient for each parameter");
        self.steps += 1;
        // In f64: 0.999 to a high power, and one less a number close to one.
        let steps = self.steps as f64;
        let correct_1 = 1.0 - f64::from(Self::BETA_1).powf(steps);
        let correct_2 = 1.0 - f64::from(Self::BETA_2).powf(steps);
        let rate = (f64::from(rate) / correct_1) as f32;
        let scale = (1.0 / correct_2.sqrt()) as f32;
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for ((parameter, &g), (mean, square)) in parameters.iter_mut().zip(gradient).zip(moments) {
            *mean += (1.0 - Self::BETA_1) * (g - *mean);
            *square += (1.0 - Self::BETA_2) * (g * g - *square);
            *parameter -= rate * *mean / (square.sqrt() * scale + Self::EPSILON);
        }
    }
}

/// Shortens `gradient` to a Euclidean norm of `limit` if it is longer, and returns the norm it had.
/// A norm that is not finite leaves it as it is: the caller must not use such a gradient.
pub fn clip_norm(gradient: &mut [f32], limit: f32) -> f32 {
    let norm = squared_norm(gradient).sqrt();
    if norm > limit && norm.is_finite() {
        let factor = limit / norm;
        gradient.iter_mut().for_each(|g| *g *= factor);
    }
    norm
}
