//! The socket from outside: real connections to a real server with a pretended reactor behind it.

mod files;
mod grpc;
mod limits;
mod raw;
mod reactor;
mod rest;
mod shared_memory;
mod support;
