//! Linear least squares, for comparison: what the network has to beat.

use super::FEATURES;

/// A linear function of the features.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Linear {
    weights: [f64; FEATURES],
    constant: f64,
}

/// Added to the squares of each standardised feature, as a share of theirs: features that depend on
/// each other would have no unique weights.
const RIDGE: f64 = 1e-6;

impl Linear {
    /// The least squares fit to standardised features.
    pub(super) fn fit(rows: &[[f32; FEATURES]], targets: &[f32]) -> Linear {
        let n = rows.len().max(1) as f64;
        let mean = targets.iter().map(|&y| f64::from(y)).sum::<f64>() / n;
        let mut squares = [[0.0; FEATURES]; FEATURES];
        let mut products = [0.0; FEATURES];
        for (row, &y) in rows.iter().zip(targets) {
            let row = row.map(f64::from);
            for i in 0..FEATURES {
                products[i] += row[i] * (f64::from(y) - mean);
                for j in 0..=i {
                    squares[i][j] += row[i] * row[j];
                }
            }
        }
        (0..FEATURES).for_each(|i| squares[i][i] += RIDGE * n);
        Linear { weights: solve(squares, products), constant: mean }
    }

    pub(super) fn evaluate(&self, row: &[f32; FEATURES]) -> f64 {
        let terms = self.weights.iter().zip(row).map(|(w, &x)| w * f64::from(x));
        self.constant + terms.sum::<f64>()
    }
}

/// Solves `a x = b` for a symmetric positive definite `a`, of which the lower half is read, by
/// Cholesky's decomposition.
fn solve(mut a: [[f64; FEATURES]; FEATURES], mut b: [f64; FEATURES]) -> [f64; FEATURES] {
    for i in 0..FEATURES {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| a[i][k] * a[j][k]).sum();
            let rest = a[i][j] - known;
            a[i][j] = if i == j { rest.max(f64::MIN_POSITIVE).sqrt() } else { rest / a[j][j] };
        }
    }
    for i in 0..FEATURES {
        let known: f64 = (0..i).map(|k| a[i][k] * b[k]).sum();
        b[i] = (b[i] - known) / a[i][i];
    }
    for i in (0..FEATURES).rev() {
        let known: f64 = (i + 1..FEATURES).map(|k| a[k][i] * b[k]).sum();
        b[i] = (b[i] - known) / a[i][i];
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_line_that_is_there() {
        // Row `i` has a pattern of its own in every feature; the last one is never anything but 0.
        let value = |i: usize, j: usize| ((i * (2 * j + 3) + j * j) % 7) as f32 - 3.0;
        let rows: Vec<[f32; FEATURES]> = (0..200)
            .map(|i| std::array::from_fn(|j| if j + 1 < FEATURES { value(i, j) } else { 0.0 }))
            .collect();
        let means: [f32; FEATURES] =
            std::array::from_fn(|j| rows.iter().map(|row| row[j]).sum::<f32>() / 200.0);
        let rows: Vec<[f32; FEATURES]> =
            rows.iter().map(|row| std::array::from_fn(|j| row[j] - means[j])).collect();
        let targets: Vec<f32> = rows.iter().map(|row| 2.0 + 0.5 * row[0] - 1.5 * row[3]).collect();
        let linear = Linear::fit(&rows, &targets);
        for (row, &target) in rows.iter().zip(&targets) {
            assert!((linear.evaluate(row) - f64::from(target)).abs() < 1e-3);
        }
    }
}
