//! The socket: everything between a client's bytes and the pipeline's requests.
//!
//! ```text
//! listener ─► connection ─► dispatch ─┬─► grpc ─┬─► validate ─► call ─► gateway ─► reactor
//!             (stream, authority)     └─► rest ─┘
//! ```
//!
//! All of it runs on one thread. gRPC and REST are told apart by the request's content type, on the
//! same socket; what they share (checks, error codes, metadata, regions) is beside them.

mod activity;
mod authority;
mod body;
mod call;
mod catalog;
mod connection;
mod dispatch;
pub mod gateway;
mod grpc;
mod hpack;
mod ingress_bell;
mod listener;
mod metadata;
mod parameters;
mod regions;
pub mod rest;
mod settings;
pub mod shared_memory;
mod socket_file;
mod status;
mod stream;
mod ticket;
mod validate;

pub use listener::Listener;
pub use settings::OnLevel;

use crate::config::SocketConfig;
use gateway::Gateway;
use std::io;
use std::sync::Arc;

/// The protocol's messages, server and client, generated from open_inference.proto.
#[allow(missing_docs)]
pub mod proto {
    tonic::include_proto!("inference");
}

/// Binds the socket and serves it until `shutdown`; see [`Listener`].
///
/// # Errors
/// As [`Listener::bind`] and [`Listener::serve`].
pub async fn serve(
    config: SocketConfig,
    gateway: Arc<Gateway>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    Listener::bind(config)?.serve(gateway, shutdown).await
}
