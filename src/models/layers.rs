//! The layers that the reference networks are made of.
//!
//! A convolution's batch normalisation is folded into its weight and bias, as every inference
//! export does. Publications count γ and β of the normalisation; after folding, β is the bias and γ
//! is part of the weight, so γ is counted apart. Folded biases are named `….bn.bias`, so that the
//! published count can be read from the file as well.

use super::graph::{Attribute, GraphBuilder, Value};

/// What follows a layer's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    Identity,
    Relu,
    HardSwish,
    HardSigmoid,
    Sigmoid,
    /// `x · sigmoid(x)`.
    Silu,
    /// `x · Φ(x)`, written with the error function.
    Gelu,
}

impl Activation {
    /// What the weights' variance × fan-in must be for the signal to keep about its power; for the
    /// smooth activations found by trial, in networks that end neither tiny nor huge.
    fn gain(self) -> f32 {
        match self {
            Activation::Relu | Activation::Gelu => 2.0,
            Activation::HardSwish | Activation::Silu => 2.4,
            Activation::Identity | Activation::HardSigmoid | Activation::Sigmoid => 1.0,
        }
    }
}

/// A two-dimensional convolution.
#[derive(Clone, Debug)]
pub struct Conv {
    out_channels: usize,
    kernel: [usize; 2],
    stride: usize,
    pad: [usize; 2],
    groups: usize,
    batch_norm: bool,
    activation: Activation,
    gain: f32,
}

impl Conv {
    /// Square kernel, stride 1, padded so that the size stays, batch normalisation, `activation`.
    pub fn new(out_channels: usize, kernel: usize, activation: Activation) -> Conv {
        Conv::with_kernel(out_channels, [kernel, kernel], activation)
    }

    /// As [`Conv::new`] with a kernel of `[height, width]`.
    pub fn with_kernel(out_channels: usize, kernel: [usize; 2], activation: Activation) -> Conv {
        Conv {
            out_channels,
            kernel,
            stride: 1,
            pad: kernel.map(|k| k / 2),
            groups: 1,
            batch_norm: true,
            activation,
            gain: activation.gain(),
        }
    }

    pub fn stride(self, stride: usize) -> Conv {
        Conv { stride, ..self }
    }

    /// Padding on all sides.
    pub fn pad(self, pad: usize) -> Conv {
        Conv { pad: [pad, pad], ..self }
    }

    pub fn groups(self, groups: usize) -> Conv {
        Conv { groups, ..self }
    }

    /// A bias of its own in place of the batch normalisation.
    pub fn without_batch_norm(self) -> Conv {
        Conv { batch_norm: false, ..self }
    }

    /// Makes up for what weakened the signal before: multiplies the weights' variance.
    pub fn amplified(self, factor: f32) -> Conv {
        Conv { gain: self.gain * factor, ..self }
    }
}

/// Kind of a pooling layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    Max,
    /// Padding counts as zeros, as PyTorch does.
    Average,
}

impl GraphBuilder {
    /// `[C, H, W]` to `[out_channels, H', W']`.
    pub fn conv(&mut self, name: &str, x: &Value, conv: Conv) -> Value {
        let fan_in = x.channels() / conv.groups * conv.kernel[0] * conv.kernel[1];
        let bound = (3.0 * conv.gain / fan_in as f32).sqrt();
        let [kh, kw] = conv.kernel;
        let dims = [conv.out_channels, x.channels() / conv.groups, kh, kw];
        let weight = self.weight(&format!("{name}.weight"), &dims, bound);
        let bias = if conv.batch_norm {
            self.count_merged_parameters(conv.out_channels);
            format!("{name}.bn.bias")
        } else {
            format!("{name}.bias")
        };
        let bias = self.weight(&bias, &[conv.out_channels], BIAS_BOUND);
        let out =
            |size, axis: usize| (size + 2 * conv.pad[axis] - conv.kernel[axis]) / conv.stride + 1;
        let shape = [conv.out_channels, out(x.shape()[1], 0), out(x.shape()[2], 1)];
        let [ph, pw] = conv.pad;
        let attributes = [
            ("kernel_shape", Attribute::sizes(&conv.kernel)),
            ("strides", Attribute::sizes(&[conv.stride, conv.stride])),
            ("pads", Attribute::sizes(&[ph, pw, ph, pw])),
            ("dilations", Attribute::sizes(&[1, 1])),
            ("group", Attribute::Int(conv.groups as i64)),
        ];
        let y = self.node("Conv", &[x.name(), &weight, &bias], &attributes, &shape);
        self.activate(&y, conv.activation)
    }

    /// `[…, in]` to `[…, out]`, with bias. Two-dimensional (batch included) inputs become a Gemm.
    pub fn linear(&mut self, name: &str, x: &Value, out: usize, activation: Activation) -> Value {
        let features = x.shape().last().copied().unwrap_or(1);
        let bound = (3.0 * activation.gain() / features as f32).sqrt();
        let mut shape = x.shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = out;
        }
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let y = if x.shape().len() == 1 {
            let weight = self.weight(&weight, &[out, features], bound);
            let bias = self.weight(&bias, &[out], BIAS_BOUND);
            let attributes = [("transB", Attribute::Int(1))];
            self.node("Gemm", &[x.name(), &weight, &bias], &attributes, &shape)
        } else {
            let weight = self.weight(&weight, &[features, out], bound);
            let bias = self.weight(&bias, &[out], BIAS_BOUND);
            let product = self.node("MatMul", &[x.name(), &weight], &[], &shape);
            self.node("Add", &[product.name(), &bias], &[], &shape)
        };
        self.activate(&y, activation)
    }

    pub fn activate(&mut self, x: &Value, activation: Activation) -> Value {
        match activation {
            Activation::Identity => x.clone(),
            Activation::Relu => self.unary("Relu", x),
            Activation::HardSwish => self.unary("HardSwish", x),
            Activation::Sigmoid => self.unary("Sigmoid", x),
            Activation::HardSigmoid => {
                let alpha = [("alpha", Attribute::Float(1.0 / 6.0))];
                self.node("HardSigmoid", &[x.name()], &alpha, x.shape())
            }
            Activation::Silu => {
                let gate = self.unary("Sigmoid", x);
                self.binary("Mul", x, &gate)
            }
            Activation::Gelu => self.gelu(x),
        }
    }

    /// In the form that runtimes recognise and fuse.
    fn gelu(&mut self, x: &Value) -> Value {
        let id = x.name().to_owned();
        let root = self.constant(&format!("{id}.sqrt_2"), &[], &[std::f32::consts::SQRT_2]);
        let one = self.constant(&format!("{id}.one"), &[], &[1.0]);
        let half = self.constant(&format!("{id}.half"), &[], &[0.5]);
        let scaled = self.node("Div", &[x.name(), &root], &[], x.shape());
        let erf = self.unary("Erf", &scaled);
        let shifted = self.node("Add", &[erf.name(), &one], &[], x.shape());
        let product = self.binary("Mul", x, &shifted);
        self.node("Mul", &[product.name(), &half], &[], x.shape())
    }

    /// Applies an operator without attributes that keeps the shape.
    pub fn unary(&mut self, op_type: &str, x: &Value) -> Value {
        self.node(op_type, &[x.name()], &[], x.shape())
    }

    /// Applies an operator of two tensors that keeps the shape of the first.
    pub fn binary(&mut self, op_type: &str, a: &Value, b: &Value) -> Value {
        self.node(op_type, &[a.name(), b.name()], &[], a.shape())
    }

    /// Joins along the first dimension of an item (channels, or boxes).
    pub fn concat(&mut self, parts: &[&Value]) -> Value {
        let names: Vec<&str> = parts.iter().map(|part| part.name()).collect();
        let mut shape = parts.first().map_or_else(Vec::new, |part| part.shape().to_vec());
        if let Some(first) = shape.first_mut() {
            *first = parts.iter().map(|part| part.channels()).sum();
        }
        self.node("Concat", &names, &[("axis", Attribute::Int(1))], &shape)
    }

    pub fn pool(
        &mut self,
        x: &Value,
        kind: Pool,
        kernel: usize,
        stride: usize,
        pad: usize,
    ) -> Value {
        let out = |size| (size + 2 * pad - kernel) / stride + 1;
        let shape = [x.channels(), out(x.shape()[1]), out(x.shape()[2])];
        let mut attributes = vec![
            ("kernel_shape", Attribute::sizes(&[kernel; 2])),
            ("strides", Attribute::sizes(&[stride; 2])),
            ("pads", Attribute::sizes(&[pad; 4])),
        ];
        let op_type = match kind {
            Pool::Max => "MaxPool",
            Pool::Average => {
                attributes.push(("count_include_pad", Attribute::Int(1)));
                "AveragePool"
            }
        };
        self.node(op_type, &[x.name()], &attributes, &shape)
    }

    /// `[C, H, W]` to `[C, 1, 1]`.
    pub fn global_average(&mut self, x: &Value) -> Value {
        self.node("GlobalAveragePool", &[x.name()], &[], &[x.channels(), 1, 1])
    }

    /// `[…]` to one dimension.
    pub fn flatten(&mut self, x: &Value) -> Value {
        let elements = x.shape().iter().product();
        self.node("Flatten", &[x.name()], &[("axis", Attribute::Int(1))], &[elements])
    }

    /// Scales every channel by a gate computed from its mean (squeeze and excitation).
    pub fn squeeze_excite(
        &mut self,
        x: &Value,
        squeezed: usize,
        inner: Activation,
        gate: Activation,
    ) -> Value {
        self.scoped("se", |g| {
            let mean = g.global_average(x);
            let fc1 = Conv::new(squeezed, 1, inner).without_batch_norm();
            let fc2 = Conv::new(x.channels(), 1, gate).without_batch_norm();
            let hidden = g.conv("fc1", &mean, fc1);
            let gate = g.conv("fc2", &hidden, fc2);
            g.binary("Mul", x, &gate)
        })
    }
}

/// Biases are small beside the signal, but not zero: a bias that a runtime loses must show.
const BIAS_BOUND: f32 = 0.1;

/// The part of its power that the signal loses in [`GraphBuilder::squeeze_excite`].
pub const AFTER_GATE: f32 = 2.5;
