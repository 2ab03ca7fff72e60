//! What a client is told when there is no result: one code for gRPC and HTTP, and a text that says
//! what was wrong.

use crate::pipeline::Outcome;
use crate::telemetry::CommandError;
use http::StatusCode;

/// Why a request has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    pub message: String,
}

/// The codes in use, with their gRPC and HTTP numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    DeadlineExceeded,
    Unavailable,
    Internal,
    Unsupported,
    Cancelled,
    /// The body is larger than a message may be; gRPC has no code of its own for it.
    TooLarge,
    /// The client stopped sending in the middle of its request.
    Stalled,
}

impl Code {
    pub fn grpc(self) -> tonic::Code {
        match self {
            Code::InvalidArgument => tonic::Code::InvalidArgument,
            Code::NotFound => tonic::Code::NotFound,
            Code::ResourceExhausted | Code::TooLarge => tonic::Code::ResourceExhausted,
            Code::DeadlineExceeded | Code::Stalled => tonic::Code::DeadlineExceeded,
            Code::Unavailable => tonic::Code::Unavailable,
            Code::Internal => tonic::Code::Internal,
            Code::Unsupported => tonic::Code::Unimplemented,
            Code::Cancelled => tonic::Code::Cancelled,
        }
    }

    pub fn http(self) -> StatusCode {
        match self {
            Code::InvalidArgument => StatusCode::BAD_REQUEST,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Code::Unavailable | Code::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Code::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::Stalled => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

impl Refusal {
    pub fn new(code: Code, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> Refusal {
        Refusal::new(Code::InvalidArgument, message)
    }

    pub fn unsupported(message: impl Into<String>) -> Refusal {
        Refusal::new(Code::Unsupported, message)
    }

    /// For an outcome that is not [`Outcome::Completed`]. `detail` is what the engine said.
    pub fn from_outcome(model: &str, outcome: Outcome, detail: Option<&str>) -> Refusal {
        let (code, reason) = match outcome {
            Outcome::QueueFull { bound } => (
                Code::ResourceExhausted,
                format!("its queue is full ({bound} requests); send slower or try again later"),
            ),
            Outcome::Infeasible { needed, left } => (
                Code::DeadlineExceeded,
                format!(
                    "the deadline can't be met: an answer would take about {needed}, the deadline \
                     is in {left}"
                ),
            ),
            Outcome::DeadlinePassed => (
                Code::DeadlineExceeded,
                "the deadline passed before the request could run".to_owned(),
            ),
            Outcome::TimedOut => (
                Code::DeadlineExceeded,
                "the request's timeout passed while it was queued".to_owned(),
            ),
            Outcome::EngineFailed => (Code::Internal, "the engine failed".to_owned()),
            Outcome::BadInput => {
                (Code::InvalidArgument, "the engine can't compute with its input".to_owned())
            }
            Outcome::InstanceLost => (
                Code::Internal,
                "the instance that ran the request was lost and is being replaced; try again"
                    .to_owned(),
            ),
            Outcome::PayloadLost => {
                (Code::InvalidArgument, "its tensors in shared memory are gone".to_owned())
            }
            Outcome::ModelNotReady => (Code::Unavailable, "it is not ready".to_owned()),
            Outcome::Cancelled => (Code::Cancelled, "the request was cancelled".to_owned()),
            Outcome::ShuttingDown => {
                (Code::Unavailable, "the appliance is shutting down".to_owned())
            }
            Outcome::Completed(_) => (Code::Internal, "the result is missing".to_owned()),
        };
        let detail = detail.map(|d| format!(": {d}")).unwrap_or_default();
        Refusal::new(code, format!("model '{model}': {reason}{detail}"))
    }
}

impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Refusal {
        let code = match &error {
            CommandError::UnknownModel { .. } => Code::NotFound,
            CommandError::Invalid(_) => Code::InvalidArgument,
            CommandError::Failed(_) => Code::Internal,
            CommandError::ShuttingDown => Code::Unavailable,
        };
        Refusal::new(code, error.to_string())
    }
}

impl From<Refusal> for tonic::Status {
    fn from(refusal: Refusal) -> tonic::Status {
        tonic::Status::new(refusal.code.grpc(), refusal.message)
    }
}
