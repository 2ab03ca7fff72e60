//! The client side of the socket, used by `load`, `infer`, `top` and the tests.
//!
//! It stands directly on `h2`: the load generator shares the machine with the server it measures,
//! so a request must cost it a few microseconds. A call is prepared once ([`Call`]) and its bytes
//! are sent again and again; of a reply only what is asked for is decoded. gRPC and REST share the
//! connection. Everything runs on the tokio runtime the connection was made in.

mod body;
mod error;
pub mod infer;
pub mod tensor_file;

pub use body::Body;
pub use error::{ClientError, Status};

use crate::server::proto;
use crate::telemetry::{Command, Snapshot};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use rustix::net::sockopt::set_socket_send_buffer_size;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Largest reply that is taken in.
const MAX_REPLY_BYTES: usize = 1 << 30;
/// Flow-control windows large enough that replies of real networks never wait for an update.
const STREAM_WINDOW: u32 = 16 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;
/// Large replies come in few frames.
const MAX_FRAME_BYTES: u32 = 256 << 10;
/// So that an image of 602 KB goes out at once instead of in pieces, between which both sides sleep.
/// The system may give less (`net.core.wmem_max`).
const SEND_BUFFER_BYTES: usize = 4 << 20;
/// Bytes before a gRPC message: compression flag and length.
const GRPC_PREFIX_BYTES: usize = 5;

/// A connection to a server of the protocol. Clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    sender: SendRequest<Bytes>,
    /// `Some` once the connection is gone, with the reason.
    closed: watch::Receiver<Option<String>>,
    driver: AbortHandle,
}

/// A request ready to be sent any number of times.
#[derive(Clone, Debug)]
pub struct Call {
    head: Request<()>,
    body: Bytes,
}

impl Call {
    /// A unary gRPC call of `method`, such as `ModelInfer`.
    pub fn grpc(method: &str, message: &impl prost::Message) -> Call {
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = uri(&format!("/inference.GRPCInferenceService/{method}"));
        let headers = head.headers_mut();
        headers.insert("te", http::HeaderValue::from_static("trailers"));
        headers.insert("content-type", http::HeaderValue::from_static("application/grpc"));
        let length = message.encoded_len();
        let mut body = BytesMut::with_capacity(GRPC_PREFIX_BYTES + length);
        body.put_u8(0);
        // A message of 4 GiB or more can't be told in the prefix; the server refuses what comes
        // through, long before that size.
        body.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        body.put_slice(&message.encode_to_vec());
        Call { head, body: body.freeze() }
    }

    fn rest(method: Method, path: &str, body: Bytes) -> Call {
        let mut head = Request::new(());
        *head.method_mut() = method;
        *head.uri_mut() = uri(path);
        if !body.is_empty() {
            let json = http::HeaderValue::from_static("application/json");
            head.headers_mut().insert("content-type", json);
        }
        Call { head, body }
    }

    /// Bytes of the message, for judging what a request costs.
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }
}

/// Paths here are our own, made of plain characters; a wrong one only makes the server answer 404.
fn uri(path: &str) -> http::Uri {
    let parts = http::Uri::builder().scheme("http").authority("localhost").path_and_query(path);
    parts.build().unwrap_or_default()
}

impl Client {
    /// Connects to the socket at `path`. HTTP/2 needs no answer to begin, so a listener that is no
    /// server of the protocol shows with the first call only.
    ///
    /// # Errors
    /// [`ClientError::Connect`], saying what is wrong with the socket.
    pub async fn connect(path: &Path) -> Result<Client, ClientError> {
        let refused =
            |source| ClientError::Connect { path: PathBuf::from(path), source: Arc::new(source) };
        let stream = UnixStream::connect(path).await.map_err(refused)?;
        // With the size there is it works, too.
        let _ = set_socket_send_buffer_size(&stream, SEND_BUFFER_BYTES);
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME_BYTES)
            .enable_push(false)
            .handshake(stream)
            .await
            .map_err(ClientError::from_h2)?;
        let (closing, closed) = watch::channel(None);
        let driver = tokio::spawn(async move {
            let reason = match connection.await {
                Ok(()) => "the server closed the connection".to_string(),
                Err(e) => ClientError::from_h2(e).to_string(),
            };
            let _ = closing.send(Some(reason));
        });
        Ok(Client { sender, closed, driver: driver.abort_handle() })
    }

    /// Hands a request to the connection; it goes out when the runtime next runs. The reply is
    /// awaited with [`Pending::reply`]; dropping that cancels the request.
    ///
    /// # Errors
    /// [`ClientError::Closed`] when the connection is gone.
    pub fn send(&self, call: &Call) -> Result<Pending, ClientError> {
        // A fresh clone has no request of its own waiting for a stream, so it never has to wait;
        // what is beyond the server's limit of streams waits inside h2.
        let mut sender = self.sender.clone();
        let empty = call.body.is_empty();
        let (response, mut stream) =
            sender.send_request(call.head.clone(), empty).map_err(ClientError::from_h2)?;
        if !empty {
            stream.send_data(call.body.clone(), true).map_err(ClientError::from_h2)?;
        }
        Ok(Pending { response })
    }

    /// One unary gRPC call.
    ///
    /// # Errors
    /// [`ClientError::Status`] with what the server answered, or why there was no answer.
    pub async fn unary<Reply>(
        &self,
        method: &str,
        message: &impl prost::Message,
    ) -> Result<Reply, ClientError>
    where
        Reply: prost::Message + Default,
    {
        self.send(&Call::grpc(method, message))?.reply().await
    }

    /// Names, types and shapes of a model's inputs and outputs.
    ///
    /// # Errors
    /// As [`Client::unary`].
    pub async fn model_metadata(
        &self,
        model: &str,
    ) -> Result<proto::ModelMetadataResponse, ClientError> {
        let request = proto::ModelMetadataRequest {
            name: model.into(),
            ..proto::ModelMetadataRequest::default()
        };
        self.unary("ModelMetadata", &request).await
    }

    /// The names of the models that are ready, in the server's order.
    ///
    /// # Errors
    /// As [`Client::unary`].
    pub async fn ready_models(&self) -> Result<Vec<String>, ClientError> {
        let request = proto::RepositoryIndexRequest {
            ready: true,
            ..proto::RepositoryIndexRequest::default()
        };
        let index: proto::RepositoryIndexResponse = self.unary("RepositoryIndex", &request).await?;
        // Versions of one model are rows of their own.
        let mut names: Vec<String> = Vec::new();
        for model in index.models {
            let ready = model.state.is_empty() || model.state == "READY";
            if ready && !names.contains(&model.name) {
                names.push(model.name);
            }
        }
        Ok(names)
    }

    /// The appliance's present state; only bcedge answers this.
    ///
    /// # Errors
    /// As [`Client::get_json`].
    pub async fn snapshot(&self) -> Result<Snapshot, ClientError> {
        self.get_json("/v2/bcedge/snapshot").await
    }

    /// Has the appliance carry out an operator's command; only bcedge answers this.
    ///
    /// # Errors
    /// As [`Client::get_json`]; the server's text says why a command was refused.
    pub async fn command(&self, command: &Command) -> Result<(), ClientError> {
        let body = serde_json::to_vec(command).map_err(|e| ClientError::Protocol(e.to_string()))?;
        self.rest(Method::POST, "/v2/bcedge/command", body.into()).await.map(|_| ())
    }

    /// GET of a JSON document.
    ///
    /// # Errors
    /// [`ClientError::Http`] when the server answers with an error, [`ClientError::Protocol`] when
    /// the answer is not the document expected.
    pub async fn get_json<Reply: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Reply, ClientError> {
        parse_json(&self.rest(Method::GET, path, Bytes::new()).await?, path)
    }

    /// POST of a JSON document that is answered with one.
    ///
    /// # Errors
    /// As [`Client::get_json`].
    pub async fn post_json<Reply: DeserializeOwned>(
        &self,
        path: &str,
        document: &impl Serialize,
    ) -> Result<Reply, ClientError> {
        let body =
            serde_json::to_vec(document).map_err(|e| ClientError::Protocol(e.to_string()))?;
        parse_json(&self.rest(Method::POST, path, body.into()).await?, path)
    }

    async fn rest(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let pending = self.send(&Call::rest(method, path, body))?;
        let response = pending.response.await.map_err(ClientError::from_h2)?;
        let status = response.status();
        let (body, _) = Body::read(response.into_body(), MAX_REPLY_BYTES).await?;
        let body = body.into_bytes();
        if status == StatusCode::OK {
            return Ok(body);
        }
        Err(ClientError::Http { status, message: rest_error(&body) })
    }

    /// Waits until the connection is gone; gives the reason.
    pub async fn closed(&self) -> String {
        let mut closed = self.closed.clone();
        // An error means the driver was ended by `close`, without a reason of its own.
        match closed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "closed by this side".into(),
        }
    }

    /// Gives up the connection: every pending reply fails with [`ClientError::Closed`].
    pub fn close(&self) {
        self.driver.abort();
    }
}

fn parse_json<Reply: DeserializeOwned>(body: &[u8], path: &str) -> Result<Reply, ClientError> {
    serde_json::from_slice(body)
        .map_err(|e| ClientError::Protocol(format!("{path} was not answered as expected: {e}")))
}

/// The text of a REST error, `{"error": "…"}`, or the body itself.
fn rest_error(body: &[u8]) -> String {
    let document: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    match document.as_ref().and_then(|d| d.get("error")?.as_str()) {
        Some(text) => text.into(),
        None => String::from_utf8_lossy(&body[..body.len().min(200)]).trim().into(),
    }
}

/// A request on its way.
#[derive(Debug)]
pub struct Pending {
    response: ResponseFuture,
}

impl Pending {
    /// Waits for the end of a unary gRPC call and decodes the message. `Reply` may name only the
    /// fields that are needed; the others are passed over without being copied.
    ///
    /// # Errors
    /// [`ClientError::Status`] with what the server answered, or why there was no answer.
    pub async fn reply<Reply>(self) -> Result<Reply, ClientError>
    where
        Reply: prost::Message + Default,
    {
        let response = self.response.await.map_err(ClientError::from_h2)?;
        // A call that fails at once has its status in the only header block.
        if let Some(status) = Status::from_headers(response.headers()) {
            status.into_result()?;
        }
        check_is_grpc(&response)?;
        let (mut body, trailers) = Body::read(response.into_body(), MAX_REPLY_BYTES).await?;
        match trailers.as_ref().and_then(Status::from_headers) {
            Some(status) => status.into_result()?,
            None => return Err(ClientError::Protocol("the reply ended without a status".into())),
        }
        body.strip_grpc_prefix()?;
        Reply::decode(body)
            .map_err(|e| ClientError::Protocol(format!("the reply can't be decoded: {e}")))
    }
}

fn check_is_grpc<T>(response: &Response<T>) -> Result<(), ClientError> {
    let headers: &HeaderMap = response.headers();
    let content_type = headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("");
    if response.status() == StatusCode::OK && content_type.starts_with("application/grpc") {
        return Ok(());
    }
    let text = format!(
        "the server does not answer gRPC here: HTTP status {}, content type '{content_type}'",
        response.status()
    );
    Err(ClientError::Protocol(text))
}
