//! Small multi-layer perceptrons in `f32`: forward, backward, Adam. Enough for networks of a few
//! ten thousand weights on one core, and nothing else.
//!
//! Matrix products and the softmax are written on `rten-simd`, which the CPU engine brings along
//! and which picks AVX-512, AVX2 or Neon at run time. A library's product was measured against it
//! (`ndarray` over `matrixmultiply`): half as fast on a batch of 128, a third on six rows, and it
//! allocates in every call, which the reactor's thread must not.
//!
//! Nothing here is random but the initial weights: the same machine, weights and inputs give the
//! same bits. Another instruction set may round differently.

mod adam;
mod mlp;
mod product;
mod softmax;
#[cfg(test)]
mod tests;
mod vector;

pub use adam::{Adam, clip_norm};
pub use mlp::{Mlp, Tape};
pub use softmax::masked_softmax;
pub use vector::{all_finite, approach};
