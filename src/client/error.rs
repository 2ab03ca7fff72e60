//! What can go wrong between a client and a server.

use http::{HeaderMap, StatusCode};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tonic::Code;

/// Why a call gave no reply.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket can't be connected to.
    #[error("{}", connect_text(path, source))]
    Connect { path: PathBuf, source: Arc<io::Error> },
    /// The connection is gone.
    #[error("connection lost: {0}")]
    Closed(String),
    /// The server answered with a gRPC error.
    #[error("{0}")]
    Status(Status),
    /// The server answered with an HTTP error.
    #[error("HTTP status {status}: {message}")]
    Http { status: StatusCode, message: String },
    /// What came is not this protocol.
    #[error("{0}")]
    Protocol(String),
}

impl ClientError {
    pub(super) fn from_h2(error: h2::Error) -> ClientError {
        if error.is_io() || error.is_go_away() {
            return ClientError::Closed(error.to_string());
        }
        match error.reason() {
            Some(reason) if error.is_reset() => ClientError::Protocol(format!(
                "the server reset the request: {}",
                reason.description()
            )),
            // What h2 calls a user error is a use of a connection that has ended.
            _ => ClientError::Closed(error.to_string()),
        }
    }
}

fn connect_text(path: &std::path::Path, source: &io::Error) -> String {
    let path = path.display();
    match source.kind() {
        io::ErrorKind::NotFound => format!(
            "no server at {path}: there is no such socket; start one with `bcedge serve`, or say \
             where it is with --socket PATH"
        ),
        io::ErrorKind::ConnectionRefused => format!(
            "no server at {path}: nobody listens there (a server that was killed leaves its \
             socket file behind); start one with `bcedge serve`"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "not allowed to connect to {path}: {source}; the socket's mode and group are set in \
             config.ron"
        ),
        _ => format!("can't connect to {path}: {source}"),
    }
}

/// The end of a gRPC call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} ({})", message, code_name(*code))]
pub struct Status {
    pub code: Code,
    pub message: String,
}

impl Status {
    /// `None` where there is no status in these headers. Bytes that can't be read become code
    /// `Unknown` and replacement characters, never an error: the server wrote them.
    pub(super) fn from_headers(headers: &HeaderMap) -> Option<Status> {
        let code = Code::from_bytes(headers.get("grpc-status")?.as_bytes());
        let message = headers.get("grpc-message").map_or(String::new(), |value| {
            percent_encoding::percent_decode(value.as_bytes()).decode_utf8_lossy().into_owned()
        });
        Some(Status { code, message })
    }

    pub(super) fn into_result(self) -> Result<(), ClientError> {
        if self.code == Code::Ok { Ok(()) } else { Err(ClientError::Status(self)) }
    }
}

/// The protocol's own name of a code, such as `NOT_FOUND`.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_with_its_percent_encoded_message() {
        let mut headers = HeaderMap::new();
        assert_eq!(Status::from_headers(&headers), None);
        headers.insert("grpc-status", "5".parse().unwrap());
        headers.insert("grpc-message", "no model %27x%27: 5%".parse().unwrap());
        let status = Status::from_headers(&headers).unwrap();
        assert_eq!(status.code, Code::NotFound);
        assert_eq!(status.to_string(), "no model 'x': 5% (NOT_FOUND)");
    }

    #[test]
    fn an_unreadable_status_is_unknown() {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", "seven".parse().unwrap());
        assert_eq!(Status::from_headers(&headers).unwrap().code, Code::Unknown);
    }
}
