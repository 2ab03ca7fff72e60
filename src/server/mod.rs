//! The socket: everything between a client's bytes and the pipeline's requests.

pub mod gateway;
pub mod shared_memory;
