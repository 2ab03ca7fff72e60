//! TensorRT plans without a GPU: the real program over mock libraries (tests/mocks) of TensorRT 8.6,
//! 10.3 and 11 and of the CUDA driver. The mocks have TensorRT's functions at their places, move the
//! data, and end the process with a message when they are used as real ones may not be.

#[path = "../support/mod.rs"]
mod support;

mod building;
mod failures;
mod graphs;
mod lean;
mod loading;
mod memory;
mod serving;
