//! Where a request goes: `ModelInfer` straight to its handler, other calls through tonic, the rest
//! through axum.

use crate::server::body::{RequestBody, RequestGuard, ResponseBody};
use crate::server::connection::Connection;
use crate::server::grpc;
use crate::server::grpc::Calls;
use crate::server::proto::grpc_inference_service_server::GrpcInferenceServiceServer;
use crate::server::rest;
use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, Response, Version};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;

const MODEL_INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const MODEL_STREAM_INFER: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

/// What the requests of one connection are served with.
pub struct Session {
    connection: Arc<Connection>,
    calls: GrpcInferenceServiceServer<Calls>,
    stall_timeout: Duration,
}

impl Session {
    pub fn new(connection: Arc<Connection>) -> Session {
        let config = &connection.server.config;
        let limit = usize::try_from(config.max_message_bytes).unwrap_or(usize::MAX);
        let stall_timeout = Duration::from_millis(config.header_timeout_ms);
        let calls = GrpcInferenceServiceServer::new(Calls::new(connection.clone()))
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit);
        Session { connection, calls, stall_timeout }
    }

    fn body(&self, incoming: Incoming) -> RequestBody {
        RequestBody::new(incoming, &self.connection, self.stall_timeout)
    }
}

/// Answers one request. Errors of every kind are responses too.
pub async fn respond(
    session: Arc<Session>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let is_http1 = request.version() < Version::HTTP_2;
    let guard = RequestGuard::new(&session.connection.activity, is_http1);
    if request.uri().path() == MODEL_INFER && is_grpc(request.headers()) {
        let body = session.body(request.into_body());
        return Ok(match grpc::infer(&session.connection, body).await {
            Ok((pieces, in_flight)) => grpc::reply(pieces, guard, in_flight),
            Err(refusal) => grpc::refuse(refusal, guard),
        });
    }
    // Everything else is rare: in a box of its own it does not make the future above larger.
    Ok(Box::pin(respond_rarely(session, request, guard)).await)
}

async fn respond_rarely(
    session: Arc<Session>,
    request: Request<Incoming>,
    guard: RequestGuard,
) -> Response<ResponseBody> {
    let (parts, body) = request.into_parts();
    let body = session.body(body);
    if is_grpc(&parts.headers) {
        let is_stream = parts.uri.path() == MODEL_STREAM_INFER;
        let body = if is_stream { body.of_messages() } else { body };
        let call = session.calls.clone().oneshot(Request::from_parts(parts, body));
        let Ok(response) = call.await;
        return response.map(|body| ResponseBody::grpc(body, guard));
    }
    let limit = session.connection.server.config.max_message_bytes;
    let is_read = parts.method == Method::GET || parts.method == Method::HEAD;
    let response = match body.read_all(if is_read { 0 } else { limit }).await {
        Ok(body) => {
            let mut request = Request::from_parts(parts, axum::body::Body::from(body));
            request.extensions_mut().insert(session.connection.clone());
            let Ok(response) = session.connection.server.rest.clone().oneshot(request).await;
            response
        }
        Err(refusal) => rest::Error::from(refusal).into_response(),
    };
    response.map(|body| ResponseBody::rest(body, guard))
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
