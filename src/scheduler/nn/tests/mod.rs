use super::product::{Left, Product};
use super::vector::transpose;
use super::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

mod gradients;

fn random(seed: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed)
}

fn uniform(count: usize, random: &mut Xoshiro256PlusPlus) -> Vec<f32> {
    (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
}

/// Every way through the kernel: odd blocks of rows, whole and partial vectors of columns of any
/// width there is, both layouts, with and without bias and ReLU.
#[test]
fn products_are_what_three_loops_compute() {
    let mut random = random(1);
    for rows in (1..=13).chain([128]) {
        for columns in [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 48, 64, 70, 100] {
            for inner in [1, 2, 5, 48] {
                let left = uniform(rows * inner, &mut random);
                let right = uniform(inner * columns, &mut random);
                let bias = uniform(columns, &mut random);
                let mut flipped = vec![0.0; left.len()];
                transpose(&left, inner, &mut flipped);
                for case in 0..8 {
                    let bias = (case & 1 == 1).then_some(bias.as_slice());
                    let relu = case & 2 == 2;
                    let columns_first = case & 4 == 4;
                    let mut out = vec![f32::NAN; rows * columns];
                    let left_matrix =
                        if columns_first { Left::Columns(&flipped) } else { Left::Rows(&left) };
                    Product {
                        left: left_matrix,
                        right: &right,
                        bias,
                        relu,
                        out: &mut out,
                        inner,
                        columns,
                    }
                    .compute();
                    for (i, &got) in out.iter().enumerate() {
                        let (row, column) = (i / columns, i % columns);
                        let sum: f64 = (0..inner)
                            .map(|k| {
                                let (a, b) = (left[row * inner + k], right[k * columns + column]);
                                f64::from(a) * f64::from(b)
                            })
                            .sum();
                        let sum = sum + bias.map_or(0.0, |bias| f64::from(bias[column]));
                        let expected = if relu { sum.max(0.0) } else { sum } as f32;
                        assert!(
                            (got - expected).abs() < 1e-5,
                            "{rows}×{inner}×{columns}, case {case}: {got} for {expected}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "the right matrix")]
fn a_product_of_matrices_that_do_not_fit_is_refused() {
    let (left, right) = ([0.0; 6], [0.0; 5]);
    let mut out = [0.0; 4];
    Product {
        left: Left::Rows(&left),
        right: &right,
        bias: None,
        relu: false,
        out: &mut out,
        inner: 3,
        columns: 2,
    }
    .compute();
}

/// The weights PyTorch 2 prints after these 100 steps, as published in the tests of candle-nn
/// (`tests/optim.rs`, `adamw_linear_regression`, where the PyTorch program stands beside them).
/// AdamW's decay of 0.01 is a factor on the parameters before the step.
#[test]
fn adam_steps_as_pytorch_does() {
    let inputs = [[2.0, 1.0], [7.0, 4.0], [-4.0, 12.0], [5.0, 8.0]];
    let (rate, decay) = (0.1, 0.01);
    let mut parameters = [0.0_f32; 3];
    let mut adam = Adam::new(3);
    for _ in 0..100 {
        let mut gradient = [0.0; 3];
        for [a, b] in inputs {
            let goal = 3.0 * a + b - 2.0;
            let error = parameters[0] * a + parameters[1] * b + parameters[2] - goal;
            gradient[0] += 2.0 * error * a;
            gradient[1] += 2.0 * error * b;
            gradient[2] += 2.0 * error;
        }
        parameters.iter_mut().for_each(|p| *p *= 1.0 - rate * decay);
        adam.step(&mut parameters, &gradient, rate);
    }
    for (got, published) in parameters.into_iter().zip([2.7257, 0.7097, 0.7873]) {
        assert!((got - published).abs() < 6e-5, "{got} for {published}");
    }
}

/// Algorithm 1 of the paper with numbers that can be followed by hand: with a constant gradient both
/// corrected moments are exact, so each step is the rate, whatever the gradient's size.
#[test]
fn adam_moves_by_its_rate_against_a_constant_gradient() {
    let mut adam = Adam::new(2);
    let mut parameters = [1.0, -1.0];
    for step in 1..=5 {
        adam.step(&mut parameters, &[1e-3, -250.0], 0.01);
        for (got, start) in parameters.into_iter().zip([1.0, -1.0_f32]) {
            let expected = start - start.signum() * 0.01 * step as f32;
            assert!((got - expected).abs() < 1e-5, "step {step}: {got} for {expected}");
        }
    }
}

#[test]
fn long_gradients_are_shortened_and_others_left_alone() {
    let mut gradient = [3.0, 4.0];
    assert_eq!(clip_norm(&mut gradient, 5.0), 5.0);
    assert_eq!(gradient, [3.0, 4.0]);
    assert_eq!(clip_norm(&mut gradient, 0.5), 5.0);
    assert!((gradient[0] - 0.3).abs() < 1e-6 && (gradient[1] - 0.4).abs() < 1e-6);
    let mut bad = [1.0, f32::NAN];
    assert!(clip_norm(&mut bad, 0.5).is_nan());
    assert_eq!(bad[0], 1.0);
}

#[test]
fn numbers_that_are_none_are_found_wherever_they_stand() {
    for length in [1, 15, 16, 17, 100] {
        let mut values = vec![1e30; length];
        assert!(all_finite(&values));
        for at in 0..length {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                values[at] = bad;
                assert!(!all_finite(&values), "{bad} at {at} of {length}");
            }
            values[at] = 1e30;
        }
    }
}

#[test]
fn weights_start_orthogonal_and_from_the_seed() {
    for (inputs, outputs) in [(48, 64), (64, 48), (5, 5)] {
        let mlp = Mlp::new(&[inputs, outputs, 3], 0.01, &mut random(7));
        assert_eq!(mlp, Mlp::new(&[inputs, outputs, 3], 0.01, &mut random(7)));
        assert_ne!(mlp, Mlp::new(&[inputs, outputs, 3], 0.01, &mut random(8)));
        let weights = &mlp.parameters()[mlp.weights(0)];
        let at = |i: usize, j: usize| match inputs <= outputs {
            true => weights[i * outputs + j],
            false => weights[j * outputs + i],
        };
        for a in 0..inputs.min(outputs) {
            for b in 0..=a {
                let dot: f32 = (0..inputs.max(outputs)).map(|j| at(a, j) * at(b, j)).sum();
                let expected = if a == b { 2.0 } else { 0.0 };
                assert!((dot - expected).abs() < 1e-5, "{inputs}×{outputs}: {a}·{b} = {dot}");
            }
        }
        let last: f32 = mlp.parameters()[mlp.weights(1)].iter().map(|w| w * w).sum();
        assert!((last - 3.0 * 0.01 * 0.01).abs() < 1e-7, "three columns of length 0.01: {last}");
        assert!(mlp.parameters()[mlp.biases(0)].iter().all(|&bias| bias == 0.0));
    }
}

/// A row's result does not depend on its neighbours, so that a batch may be split as one likes.
#[test]
fn rows_are_independent() {
    let mut random = random(3);
    let mlp = Mlp::new(&[20, 33, 17, 9], 1.0, &mut random);
    let inputs = uniform(20 * 23, &mut random);
    let (mut all, mut one) = (Tape::default(), Tape::default());
    let together = mlp.forward(&inputs, &mut all).to_vec();
    for (row, expected) in inputs.chunks(20).zip(together.chunks(9)) {
        assert_eq!(mlp.forward(row, &mut one), expected);
    }
}

/// ReLU must not turn a fault into a zero.
#[test]
fn a_weight_that_is_none_is_seen_in_the_outputs() {
    let mut random = random(4);
    for width in [1, 3, 8, 16, 40] {
        for layer in 0..3 {
            let mut mlp = Mlp::new(&[5, width, width, 2], 1.0, &mut random);
            let place = mlp.weights(layer).start;
            mlp.parameters_mut()[place] = f32::NAN;
            let mut tape = Tape::default();
            assert!(!all_finite(mlp.forward(&[0.5; 5], &mut tape)), "{width}, layer {layer}");
        }
    }
}

#[test]
fn softmax_gives_masked_actions_nothing_and_the_others_one() {
    let mut random = random(5);
    for n in [1, 2, 3, 4, 7, 8, 16, 17, 33, 64] {
        for scale in [0.0, 1.0, 30.0, 1e4] {
            let logits: Vec<f32> = uniform(n, &mut random).iter().map(|x| x * scale).collect();
            let mut mask: Vec<f32> =
                (0..n).map(|_| f32::from(u8::from(random.random_bool(0.6)))).collect();
            mask[random.random_range(0..n)] = 1.0;
            let (mut p, mut log_p) = (vec![f32::NAN; n], vec![f32::NAN; n]);
            let entropy = masked_softmax(&logits, &mask, &mut p, &mut log_p);

            let allowed = |i: &usize| mask[*i] == 1.0;
            let highest = (0..n).filter(allowed).map(|i| logits[i]).fold(f32::MIN, f32::max);
            let weight = |i: usize| f64::from(logits[i] - highest).exp();
            let sum: f64 = (0..n).filter(allowed).map(weight).sum();
            let mut expected_entropy = 0.0;
            for i in 0..n {
                if mask[i] == 0.0 {
                    assert_eq!((p[i], log_p[i]), (0.0, 0.0));
                    continue;
                }
                let (expected, log) = (weight(i) / sum, f64::from(logits[i] - highest) - sum.ln());
                expected_entropy -= expected * log;
                assert!((f64::from(p[i]) - expected).abs() < 1e-6, "{} for {expected}", p[i]);
                assert!((f64::from(log_p[i]) - log).abs() < 1e-3 + 1e-6 * log.abs());
            }
            assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            assert!((f64::from(entropy) - expected_entropy).abs() < 1e-4, "{entropy}");
        }
    }
}

#[test]
fn softmax_of_nothing_allowed_is_nothing_and_of_no_numbers_is_seen() {
    let (mut p, mut log_p) = ([1.0; 3], [1.0; 3]);
    let entropy = masked_softmax(&[1.0, 2.0, 3.0], &[0.0; 3], &mut p, &mut log_p);
    assert_eq!((entropy, p, log_p), (0.0, [0.0; 3], [0.0; 3]));
    for bad in [[f32::NAN; 3], [f32::NEG_INFINITY; 3], [0.0, f32::NAN, 0.0]] {
        let entropy = masked_softmax(&bad, &[1.0; 3], &mut p, &mut log_p);
        assert!(entropy.is_nan(), "{bad:?} gives {entropy}, {p:?}");
    }
}
