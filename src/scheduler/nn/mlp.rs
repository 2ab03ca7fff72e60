//! The network: dense layers with ReLU between them.

use super::product::{Left, Product};
use super::vector::{sum_rows, transpose};
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::ops::Range;

/// Dense layers, each but the last followed by ReLU. A batch is rows of inputs one after another.
///
/// All parameters stand in one vector, which optimisers, averages and files work on: for each layer
/// its weights (inputs × outputs, row by row), then its biases.
#[derive(Clone, Debug, PartialEq)]
pub struct Mlp {
    /// Inputs, hidden units of each layer, outputs.
    sizes: Vec<usize>,
    parameters: Vec<f32>,
}

/// What a forward pass leaves for the backward pass, and scratch memory for both. It grows with the
/// largest batch and network it is used for, and then no call allocates.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    /// Each layer's outputs, after ReLU.
    outputs: Vec<Vec<f32>>,
    /// The loss's derivative by the outputs of the layer at hand, and of the one below it.
    deltas: [Vec<f32>; 2],
    transposed: Vec<f32>,
}

impl Mlp {
    /// Orthogonal weights (Saxe et al., arXiv 1312.6120) scaled by √2 for ReLU, the last layer's
    /// by `output_gain`, and biases of zero. A small gain makes all outputs start near zero.
    ///
    /// # Panics
    /// With fewer than two `sizes` (inputs, then the units of each layer), or one that is 0.
    pub fn new(sizes: &[usize], output_gain: f32, random: &mut Xoshiro256PlusPlus) -> Mlp {
        let mut mlp = Mlp::zeros(sizes);
        for layer in 0..mlp.layers() {
            let last = layer + 1 == mlp.layers();
            let gain = if last { output_gain } else { std::f32::consts::SQRT_2 };
            let (inputs, outputs) = (mlp.sizes[layer], mlp.sizes[layer + 1]);
            let weights = mlp.weights(layer);
            orthogonal(&mut mlp.parameters[weights], inputs, outputs, gain, random);
        }
        mlp
    }

    /// All parameters zero, to be overwritten.
    ///
    /// # Panics
    /// With fewer than two `sizes`, or one that is 0.
    pub fn zeros(sizes: &[usize]) -> Mlp {
        assert!(sizes.len() >= 2 && !sizes.contains(&0), "inputs and outputs: {sizes:?}");
        let parameters = sizes.windows(2).map(|pair| (pair[0] + 1) * pair[1]).sum();
        Mlp { sizes: sizes.to_vec(), parameters: vec![0.0; parameters] }
    }

    /// Inputs, units of each hidden layer, outputs.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    pub fn inputs(&self) -> usize {
        self.sizes[0]
    }

    pub fn outputs(&self) -> usize {
        self.sizes[self.layers()]
    }

    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    pub fn parameters_mut(&mut self) -> &mut [f32] {
        &mut self.parameters
    }

    fn layers(&self) -> usize {
        self.sizes.len() - 1
    }

    /// Where the weights of a layer stand among the parameters.
    pub fn weights(&self, layer: usize) -> Range<usize> {
        let start = self.sizes.windows(2).take(layer).map(|pair| (pair[0] + 1) * pair[1]).sum();
        start..start + self.sizes[layer] * self.sizes[layer + 1]
    }

    /// Where the biases of a layer stand among the parameters.
    pub fn biases(&self, layer: usize) -> Range<usize> {
        let start = self.weights(layer).end;
        start..start + self.sizes[layer + 1]
    }

    /// The outputs for `inputs`, any number of rows.
    ///
    /// # Panics
    /// If `inputs` is not whole rows.
    pub fn forward<'t>(&self, inputs: &[f32], tape: &'t mut Tape) -> &'t [f32] {
        let rows = inputs.len() / self.inputs();
        tape.outputs.resize_with(self.layers(), Vec::new);
        for layer in 0..self.layers() {
            let (below, here) = tape.outputs.split_at_mut(layer);
            here[0].resize(rows * self.sizes[layer + 1], 0.0);
            Product {
                left: Left::Rows(below.last().map_or(inputs, Vec::as_slice)),
                right: &self.parameters[self.weights(layer)],
                bias: Some(&self.parameters[self.biases(layer)]),
                relu: layer + 1 < self.layers(),
                out: &mut here[0],
                inner: self.sizes[layer],
                columns: self.sizes[layer + 1],
            }
            .compute();
        }
        tape.outputs()
    }

    /// Writes the loss's derivative by each parameter to `gradient`, from its derivative by each
    /// output, after a forward pass of the same `inputs` and with its `tape`. Derivatives of a mean
    /// over the batch are wanted as such: nothing is divided here.
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn backward(
        &self,
        inputs: &[f32],
        tape: &mut Tape,
        by_outputs: &[f32],
        gradient: &mut [f32],
    ) {
        assert_eq!(gradient.len(), self.parameters.len(), "one gradient for each parameter");
        assert_eq!(by_outputs.len(), tape.outputs().len(), "one derivative for each output");
        let [delta, below_delta] = &mut tape.deltas;
        delta.clear();
        delta.extend_from_slice(by_outputs);
        for layer in (0..self.layers()).rev() {
            let (inner, columns) = (self.sizes[layer], self.sizes[layer + 1]);
            let below = if layer == 0 { inputs } else { &tape.outputs[layer - 1] };
            sum_rows(delta, &mut gradient[self.biases(layer)]);
            Product {
                left: Left::Columns(below),
                right: delta,
                bias: None,
                relu: false,
                out: &mut gradient[self.weights(layer)],
                inner: delta.len() / columns,
                columns,
            }
            .compute();
            if layer == 0 {
                break;
            }
            let weights = &self.parameters[self.weights(layer)];
            tape.transposed.resize(weights.len(), 0.0);
            transpose(weights, columns, &mut tape.transposed);
            below_delta.resize(below.len(), 0.0);
            Product {
                left: Left::Rows(delta),
                right: &tape.transposed,
                bias: None,
                relu: false,
                out: below_delta,
                inner: columns,
                columns: inner,
            }
            .compute();
            // Where ReLU gave zero it passes nothing back.
            for (delta, &output) in below_delta.iter_mut().zip(below) {
                *delta = if output > 0.0 { *delta } else { 0.0 };
            }
            std::mem::swap(delta, below_delta);
        }
    }
}

impl Tape {
    /// What the last forward pass returned.
    pub fn outputs(&self) -> &[f32] {
        self.outputs.last().map_or(&[], Vec::as_slice)
    }
}

/// Fills `weights` (inputs × outputs) with orthogonal rows or columns, whichever are fewer, of
/// length `gain`: normal numbers, made orthogonal by Gram and Schmidt's method, twice for accuracy.
fn orthogonal(
    weights: &mut [f32],
    inputs: usize,
    outputs: usize,
    gain: f32,
    random: &mut Xoshiro256PlusPlus,
) {
    let (count, length) = (inputs.min(outputs), inputs.max(outputs));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    while basis.len() < count {
        let mut vector: Vec<f64> = StandardNormal.sample_iter(&mut *random).take(length).collect();
        for _ in 0..2 {
            for other in &basis {
                let along = dot(&vector, other);
                vector.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
            }
        }
        let norm = dot(&vector, &vector).sqrt();
        // Next to impossible, but dividing by it would spoil everything: draw again.
        if norm > 1e-6 {
            vector.iter_mut().for_each(|x| *x /= norm);
            basis.push(vector);
        }
    }
    for (i, weight) in weights.iter_mut().enumerate() {
        let (input, output) = (i / outputs, i % outputs);
        let value = if inputs <= outputs { basis[input][output] } else { basis[output][input] };
        *weight = gain * value as f32;
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}
