//! The messages of the ONNX file format, generated from `onnx.proto`.

// Generated code answers to its generator.
#![allow(clippy::all, missing_docs)]

include!(concat!(env!("OUT_DIR"), "/onnx.rs"));
