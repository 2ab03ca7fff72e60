//! Handles whose dropping means something: a request under way, and a connection that is counted.

use super::gateway::{Answer, Gateway};
use crate::units::RequestId;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

/// A request under way. Await it for the answer; drop it to cancel.
pub struct Ticket {
    id: RequestId,
    gateway: Arc<Gateway>,
    done: bool,
}

impl Ticket {
    pub(super) fn new(id: RequestId, gateway: Arc<Gateway>) -> Ticket {
        Ticket { id, gateway, done: false }
    }
}

impl Future for Ticket {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let answer = self.gateway.poll_answer(self.id, cx);
        self.done = answer.is_ready();
        answer
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.done {
            self.gateway.abandon(self.id);
        }
    }
}

/// Counts a connection as open while it lives.
pub struct ConnectionGuard(Arc<Gateway>);

impl ConnectionGuard {
    pub fn new(gateway: &Arc<Gateway>) -> ConnectionGuard {
        gateway.connections().fetch_add(1, Ordering::Relaxed);
        ConnectionGuard(gateway.clone())
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.connections().fetch_sub(1, Ordering::Relaxed);
    }
}
