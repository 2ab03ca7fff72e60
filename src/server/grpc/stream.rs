//! `ModelStreamInfer`: many requests and replies on one call.
//!
//! Requests run as they come, side by side; replies are sent in the order of the requests, as
//! Triton does for models with one reply to a request. A request that fails is answered with its
//! `error_message`, the stream goes on.

use crate::server::call::Call;
use crate::server::connection::Connection;
use crate::server::grpc::infer::{begin, boolean, response};
use crate::server::proto::{ModelInferRequest, ModelInferResponse, ModelStreamInferResponse};
use crate::server::status::Refusal;
use futures_core::Stream;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::{Status, Streaming};

/// The replies of one stream. Dropping it cancels what has not been answered.
pub struct Replies {
    connection: Arc<Connection>,
    requests: Streaming<ModelInferRequest>,
    /// Oldest first. Not longer than a connection may have in flight: then the client has to wait.
    pending: VecDeque<Pending>,
    requests_ended: bool,
}

enum Pending {
    Running(Call),
    Refused { id: String, refusal: Refusal },
}

impl Replies {
    pub fn new(connection: Arc<Connection>, requests: Streaming<ModelInferRequest>) -> Replies {
        Replies { connection, requests, pending: VecDeque::new(), requests_ended: false }
    }

    fn accept(&mut self, request: ModelInferRequest) {
        let id = request.id.clone();
        let call = self
            .connection
            .admit()
            .and_then(|in_flight| begin(&self.connection, in_flight, request));
        self.pending.push_back(match call {
            Ok(call) => Pending::Running(call),
            Err(refusal) => Pending::Refused { id, refusal },
        });
    }

    /// Takes in what has come.
    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        let most = self.connection.server.config.max_in_flight_per_connection.max(1) as usize;
        while !self.requests_ended && self.pending.len() < most {
            match Pin::new(&mut self.requests).poll_next(cx) {
                Poll::Ready(Some(request)) => self.accept(request?),
                Poll::Ready(None) => self.requests_ended = true,
                Poll::Pending => break,
            }
        }
        Ok(())
    }
}

impl Stream for Replies {
    type Item = Result<ModelStreamInferResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Err(status) = this.poll_requests(cx) {
            this.requests_ended = true;
            this.pending.clear();
            return Poll::Ready(Some(Err(status)));
        }
        let Some(mut oldest) = this.pending.pop_front() else {
            return if this.requests_ended { Poll::Ready(None) } else { Poll::Pending };
        };
        if let Pending::Running(call) = &mut oldest {
            let Poll::Ready(answer) = call.poll_answer(cx) else {
                this.pending.push_front(oldest);
                return Poll::Pending;
            };
            let Pending::Running(call) = oldest else { return Poll::Pending };
            let id = call.id().to_owned();
            return Poll::Ready(Some(Ok(match call.into_reply(answer) {
                Ok(reply) => succeeded(response(reply).0),
                Err(refusal) => failed(id, refusal),
            })));
        }
        let Pending::Refused { id, refusal } = oldest else { return Poll::Pending };
        Poll::Ready(Some(Ok(failed(id, refusal))))
    }
}

fn succeeded(mut response: ModelInferResponse) -> ModelStreamInferResponse {
    response.parameters.insert("triton_final_response".to_owned(), boolean(true));
    ModelStreamInferResponse { error_message: String::new(), infer_response: Some(response) }
}

fn failed(id: String, refusal: Refusal) -> ModelStreamInferResponse {
    let parameters = [("triton_final_response".to_owned(), boolean(true))].into();
    let response = ModelInferResponse { id, parameters, ..ModelInferResponse::default() };
    ModelStreamInferResponse { error_message: refusal.message, infer_response: Some(response) }
}
