//! The socket: everything between a client's bytes and the pipeline's requests.

pub mod gateway;
pub mod shared_memory;

/// The messages of the Open Inference Protocol, compiled from `open_inference.proto`.
pub mod proto {
    tonic::include_proto!("inference");
}
