//! How much batches slow each other.

/// Predicts the factor by which a batch takes longer beside others than alone.
///
/// Without measurements of neighbours it is processor sharing: a batch demands a share of the
/// device, and when the demands together exceed it, everybody is slowed in proportion.
#[derive(Clone, Debug, Default)]
pub struct Interference;

impl Interference {
    /// The multiplier, at least 1, of a batch that demands the share `own` of the device beside
    /// others that demand `others` in all.
    pub fn multiplier(&self, own: f64, others: f64) -> f64 {
        (own + others).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_full_slows_nobody() {
        assert_eq!(Interference.multiplier(0.5, 0.5), 1.0);
        assert_eq!(Interference.multiplier(0.5, 1.0), 1.5);
        assert_eq!(Interference.multiplier(1.0, 3.0), 4.0);
    }
}
