//! Sums and steps over whole vectors of weights.

/// Partial sums kept apart, so that they do not wait for each other.
const LANES: usize = 16;

/// Sum of the squares.
pub(super) fn squared_norm(values: &[f32]) -> f32 {
    sum(values, |x| x * x)
}

/// Whether there is neither NaN nor infinity among them.
pub fn all_finite(values: &[f32]) -> bool {
    // Zero times anything finite is zero; times anything else it is NaN.
    sum(values, |x| x * 0.0) == 0.0
}

fn sum(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, &x) in sums.iter_mut().zip(chunk) {
            *sum += term(x);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|&x| term(x)).sum::<f32>()
}

/// Moves `values` the share `step` of the way to `goal` (Polyak averaging).
pub fn approach(values: &mut [f32], goal: &[f32], step: f32) {
    for (value, &goal) in values.iter_mut().zip(goal) {
        *value += step * (goal - *value);
    }
}

/// Adds up the rows of `matrix` into `out`, which is one row long.
pub(super) fn sum_rows(matrix: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    for row in matrix.chunks_exact(out.len()) {
        for (sum, &x) in out.iter_mut().zip(row) {
            *sum += x;
        }
    }
}

/// Writes `matrix`, which has rows of `columns`, with rows and columns exchanged.
pub(super) fn transpose(matrix: &[f32], columns: usize, out: &mut [f32]) {
    let rows = matrix.len() / columns;
    for (row, values) in matrix.chunks_exact(columns).enumerate() {
        for (column, &x) in values.iter().enumerate() {
            out[column * rows + row] = x;
        }
    }
}
