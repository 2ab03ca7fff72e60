//! Means with 95 % intervals, from a few runs with seeds of their own.

use serde::Serialize;

/// Two-sided 95 % quantiles of Student's t, by degrees of freedom from 1 on.
const T_95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];
/// With more degrees of freedom: the normal distribution's.
const Z_95: f64 = 1.96;

/// A figure and the interval that holds its true value in 95 of 100 cases.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Estimate {
    /// Of the mean of independent samples, by Student's t. Without bounds for less than two.
    pub fn of_mean(samples: &[f64]) -> Estimate {
        let value = mean(samples);
        let n = samples.len() as f64;
        let half = match samples.len() {
            0 | 1 => f64::INFINITY,
            count => {
                let squares: f64 = samples.iter().map(|x| (x - value).powi(2)).sum();
                let t = T_95.get(count - 2).copied().unwrap_or(Z_95);
                t * (squares / (n - 1.0) / n).sqrt()
            }
        };
        Estimate { value, low: value - half, high: value + half }
    }

    /// Of a ratio, from samples of its logarithm.
    pub fn of_ratio(logarithms: &[f64]) -> Estimate {
        let Estimate { value, low, high } = Estimate::of_mean(logarithms);
        Estimate { value: value.exp(), low: low.exp(), high: high.exp() }
    }

    /// A figure that is known.
    pub fn exact(value: f64) -> Estimate {
        Estimate { value, low: value, high: value }
    }
}

/// 0 for none.
pub fn mean(samples: &[f64]) -> f64 {
    samples.iter().sum::<f64>() / samples.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_students() {
        // Mean 3, variance 2.5, t(4) = 2.776.
        let of = Estimate::of_mean(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!((of.value - 3.0).abs() < 1e-12);
        assert!((of.high - 3.0 - 2.776 * 0.5f64.sqrt()).abs() < 1e-9);
        assert!((of.value - of.low - (of.high - of.value)).abs() < 1e-12);
        assert_eq!(Estimate::of_mean(&[7.0]).low, f64::NEG_INFINITY);
        let ratio = Estimate::of_ratio(&[0.1, 0.3]);
        assert!((ratio.value - 0.2f64.exp()).abs() < 1e-12 && ratio.low < ratio.value);
    }
}
