//! Bodies: a request's, read within bounds of size and time, and a response's, in the three forms
//! that occur.

use crate::server::activity::Activity;
use crate::server::connection::{Connection, InFlight, Receiving};
use crate::server::status::{Code, Refusal};
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// Compression flag and length, before each gRPC message.
pub const GRPC_PREFIX_LEN: usize = 5;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request body that fails when its client stops in the middle.
pub struct RequestBody {
    incoming: Incoming,
    /// Counts what is here and not complete.
    receiving: Receiving,
    received_bytes: u64,
    stall_timeout: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    /// For a stream of messages: silence between two of them is no stall.
    messages: Option<Messages>,
}

#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the client stopped in the middle of its request: nothing came for {0:?}")]
    Stalled(Duration),
    #[error("this connection's unfinished requests have more than {0} bytes; finish some first")]
    TooMuch(u64),
    #[error("the request could not be read: {0}")]
    Broken(#[from] hyper::Error),
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Refusal {
        let code = match error {
            BodyError::Stalled(_) => Code::Stalled,
            BodyError::TooMuch(_) => Code::ResourceExhausted,
            BodyError::Broken(_) => Code::InvalidArgument,
        };
        Refusal::new(code, error.to_string())
    }
}

impl RequestBody {
    pub fn new(
        incoming: Incoming,
        connection: &Arc<Connection>,
        stall_timeout: Duration,
    ) -> RequestBody {
        let receiving = Receiving::new(connection.clone());
        let (received_bytes, stalled, messages) = (0, None, None);
        RequestBody { incoming, receiving, received_bytes, stall_timeout, stalled, messages }
    }

    /// For a gRPC stream.
    pub fn of_messages(self) -> RequestBody {
        RequestBody { messages: Some(Messages::default()), ..self }
    }

    /// Counts more bytes, forgets those of messages that are complete.
    fn count(&mut self, data: &[u8]) -> Result<(), BodyError> {
        self.received_bytes += data.len() as u64;
        if let Some(messages) = &mut self.messages {
            messages.follow(data);
            self.received_bytes = messages.incomplete_bytes();
        }
        self.receiving.set(self.received_bytes).map_err(BodyError::TooMuch)
    }

    async fn next_data(&mut self) -> Result<Option<Bytes>, BodyError> {
        while let Some(frame) = self.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The whole body.
    ///
    /// # Errors
    /// More than `max_bytes`, or a [`BodyError`].
    pub async fn read_all(mut self, max_bytes: u64) -> Result<Bytes, Refusal> {
        if self.incoming.size_hint().lower() > max_bytes {
            return Err(too_large(self.incoming.size_hint().lower(), max_bytes));
        }
        let Some(first) = self.next_data().await? else { return Ok(Bytes::new()) };
        if self.incoming.is_end_stream() {
            return Ok(first);
        }
        let expected = self.incoming.size_hint().lower() as usize;
        let mut all = BytesMut::with_capacity(first.len() + expected);
        all.extend_from_slice(&first);
        while let Some(more) = self.next_data().await? {
            let len = (all.len() + more.len()) as u64;
            if len > max_bytes {
                return Err(too_large(len, max_bytes));
            }
            all.extend_from_slice(&more);
        }
        Ok(all.freeze())
    }

    /// The one message of a unary gRPC call. It is a slice of the frame it came in, when it came
    /// in one.
    ///
    /// # Errors
    /// More than `max_bytes`, a compressed or incomplete message, or a [`BodyError`].
    pub async fn read_message(mut self, max_bytes: u64) -> Result<Bytes, Refusal> {
        let mut data = self.next_data().await?.unwrap_or_default();
        while data.len() < GRPC_PREFIX_LEN {
            let Some(more) = self.next_data().await? else {
                return Err(Refusal::invalid("the call has no message"));
            };
            data = [data, more].concat().into();
        }
        let is_compressed = data.get_u8() != 0;
        let len = data.get_u32() as usize;
        if len as u64 > max_bytes {
            return Err(too_large(len as u64, max_bytes));
        }
        if is_compressed {
            return Err(Refusal::unsupported("compressed messages are not supported"));
        }
        if data.len() < len {
            let mut whole = BytesMut::with_capacity(len);
            whole.extend_from_slice(&data);
            while whole.len() < len {
                let Some(more) = self.next_data().await? else {
                    return Err(Refusal::invalid(format!(
                        "the message ends after {} of {len} bytes",
                        whole.len()
                    )));
                };
                whole.extend_from_slice(&more);
            }
            data = whole.freeze();
        }
        if data.len() > len {
            return Err(Refusal::invalid("more than one message in a unary call"));
        }
        Ok(data)
    }
}

fn too_large(came: u64, max_bytes: u64) -> Refusal {
    let message = format!("the message has {came} bytes, max_message_bytes allows {max_bytes}");
    Refusal::new(Code::TooLarge, message)
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) {
            this.stalled = None;
            if let Some(Ok(frame)) = &frame
                && let Some(data) = frame.data_ref()
                && let Err(too_much) = this.count(data)
            {
                return Poll::Ready(Some(Err(too_much)));
            }
            return Poll::Ready(frame.map(|result| result.map_err(BodyError::from)));
        }
        if this.messages.as_ref().is_some_and(Messages::is_between) {
            return Poll::Pending;
        }
        let timeout = this.stall_timeout;
        let stalled = this.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        stalled.as_mut().poll(cx).map(|()| Some(Err(BodyError::Stalled(timeout))))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }
}

/// Where in a sequence of length-prefixed messages the bytes so far end.
#[derive(Debug, Default)]
struct Messages {
    prefix: [u8; GRPC_PREFIX_LEN],
    prefix_len: usize,
    /// Bytes of the message so far, and those it has still to bring.
    present: usize,
    missing: usize,
}

impl Messages {
    fn is_between(&self) -> bool {
        self.prefix_len == 0 && self.missing == 0
    }

    /// Of the message that is not complete.
    fn incomplete_bytes(&self) -> u64 {
        if self.missing > 0 { self.present as u64 } else { 0 }
    }

    fn follow(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let body = self.missing.min(data.len());
            self.missing -= body;
            self.present += body;
            data = &data[body..];
            if data.is_empty() {
                return;
            }
            let wanted = (GRPC_PREFIX_LEN - self.prefix_len).min(data.len());
            self.prefix[self.prefix_len..][..wanted].copy_from_slice(&data[..wanted]);
            self.prefix_len += wanted;
            data = &data[wanted..];
            if self.prefix_len == GRPC_PREFIX_LEN {
                let [_, len @ ..] = self.prefix;
                self.missing = u32::from_be_bytes(len) as usize;
                self.present = 0;
                self.prefix_len = 0;
            }
        }
    }
}

/// Counts one request of a connection from its headers to the end of its response.
pub struct RequestGuard(Arc<Activity>);

impl RequestGuard {
    pub fn new(activity: &Arc<Activity>, is_http1: bool) -> RequestGuard {
        activity.request_begins(is_http1);
        RequestGuard(activity.clone())
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.request_ends();
    }
}

/// A response's body.
pub struct ResponseBody {
    form: Form,
    _request: RequestGuard,
    /// A reply that the client has not taken is still unanswered.
    _in_flight: Option<InFlight>,
}

enum Form {
    /// A unary gRPC reply: its bytes in pieces, then the trailers.
    Reply {
        pieces: std::vec::IntoIter<Bytes>,
        trailers_sent: bool,
    },
    Grpc(tonic::body::Body),
    Rest(axum::body::Body),
}

impl ResponseBody {
    pub fn reply(pieces: Vec<Bytes>, request: RequestGuard, in_flight: InFlight) -> ResponseBody {
        let form = Form::Reply { pieces: pieces.into_iter(), trailers_sent: false };
        ResponseBody { form, _request: request, _in_flight: Some(in_flight) }
    }

    pub fn grpc(body: tonic::body::Body, request: RequestGuard) -> ResponseBody {
        ResponseBody { form: Form::Grpc(body), _request: request, _in_flight: None }
    }

    pub fn rest(body: axum::body::Body, request: RequestGuard) -> ResponseBody {
        ResponseBody { form: Form::Rest(body), _request: request, _in_flight: None }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.form {
            Form::Reply { pieces, trailers_sent } => {
                let frame = match pieces.next() {
                    Some(piece) => Frame::data(piece),
                    None if *trailers_sent => return Poll::Ready(None),
                    None => {
                        *trailers_sent = true;
                        let mut trailers = HeaderMap::with_capacity(1);
                        trailers.insert("grpc-status", HeaderValue::from_static("0"));
                        Frame::trailers(trailers)
                    }
                };
                Poll::Ready(Some(Ok(frame)))
            }
            Form::Grpc(body) => Pin::new(body).poll_frame(cx).map_err(BoxError::from),
            Form::Rest(body) => Pin::new(body).poll_frame(cx).map_err(BoxError::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.form {
            Form::Reply { trailers_sent, .. } => *trailers_sent,
            Form::Grpc(body) => body.is_end_stream(),
            Form::Rest(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.form {
            Form::Reply { .. } => SizeHint::default(),
            Form::Grpc(body) => body.size_hint(),
            Form::Rest(body) => body.size_hint(),
        }
    }
}
