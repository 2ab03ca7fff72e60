//! Backward passes against finite differences.
//!
//! Differences of `f32` losses are too coarse, so the loss is computed a second time here, in `f64`
//! and by plain loops: that checks the forward pass, too.

use super::*;

/// The network's outputs, in `f64`.
fn forward(sizes: &[usize], parameters: &[f64], inputs: &[f32]) -> Vec<f64> {
    let rows = inputs.len() / sizes[0];
    let mut values: Vec<f64> = inputs.iter().map(|&x| f64::from(x)).collect();
    let mut start = 0;
    for (layer, pair) in sizes.windows(2).enumerate() {
        let (inner, columns) = (pair[0], pair[1]);
        let (weights, biases) = parameters[start..].split_at(inner * columns);
        let mut out = Vec::new();
        for row in 0..rows {
            for column in 0..columns {
                let sum: f64 = (0..inner)
                    .map(|k| values[row * inner + k] * weights[k * columns + column])
                    .sum();
                let sum = sum + biases[column];
                out.push(if layer + 2 < sizes.len() { sum.max(0.0) } else { sum });
            }
        }
        values = out;
        start += (inner + 1) * columns;
    }
    values
}

/// One layer (no ReLU), two and three, for a loss with a different derivative in each output.
#[test]
fn gradients_are_finite_differences() {
    for (seed, sizes) in
        [vec![7, 5], vec![6, 19, 3], vec![5, 16, 33, 4], vec![1, 1, 1]].into_iter().enumerate()
    {
        let mut random = random(seed as u64);
        let rows = 7;
        let mut mlp = Mlp::new(&sizes, 1.0, &mut random);
        // Biases of zero would hide mistakes in them.
        for layer in 0..sizes.len() - 1 {
            let biases = mlp.biases(layer);
            let values = uniform(biases.len(), &mut random);
            mlp.parameters_mut()[biases].copy_from_slice(&values);
        }
        let inputs = uniform(rows * sizes[0], &mut random);
        let weights = uniform(rows * sizes[sizes.len() - 1], &mut random);

        // The loss is Σ w · y²/2, so its derivative by y is w · y.
        let mut tape = Tape::default();
        let outputs = mlp.forward(&inputs, &mut tape).to_vec();
        let by_outputs: Vec<f32> = outputs.iter().zip(&weights).map(|(y, w)| y * w).collect();
        let mut gradient = vec![f32::NAN; mlp.parameters().len()];
        mlp.backward(&inputs, &mut tape, &by_outputs, &mut gradient);

        let mut parameters: Vec<f64> = mlp.parameters().iter().map(|&p| f64::from(p)).collect();
        let loss = |parameters: &[f64]| -> f64 {
            let outputs = forward(&sizes, parameters, &inputs);
            outputs.iter().zip(&weights).map(|(y, &w)| f64::from(w) * y * y / 2.0).sum()
        };
        for (got, expected) in outputs.iter().zip(forward(&sizes, &parameters, &inputs)) {
            assert!((f64::from(*got) - expected).abs() < 1e-5, "{got} for {expected}");
        }
        for i in 0..parameters.len() {
            let step = 1e-6;
            let here = parameters[i];
            parameters[i] = here + step;
            let above = loss(&parameters);
            parameters[i] = here - step;
            let below = loss(&parameters);
            parameters[i] = here;
            let expected = (above - below) / (2.0 * step);
            let got = f64::from(gradient[i]);
            assert!(
                (got - expected).abs() < 1e-4,
                "{sizes:?}, parameter {i}: {got} for {expected}"
            );
        }
    }
}
