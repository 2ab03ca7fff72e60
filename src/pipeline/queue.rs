//! One model's waiting requests: bounded, ordered by priority, then deadline, then arrival.
//! Without [`Order::Deadline`] just by priority and arrival, for showing what the order is worth.

use super::Request;
use crate::units::{Nanos, RequestId};
use std::collections::VecDeque;

/// Which of the waiting requests runs first, at equal priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The one with the earliest deadline.
    #[default]
    Deadline,
    /// The one that came first.
    Arrival,
}

#[derive(Debug)]
pub(super) struct Queue {
    order: Order,
    requests: VecDeque<Request>,
    bound: usize,
    /// Items over all requests.
    items: u32,
    /// Requests with a queue timeout.
    timeouts: usize,
}

impl Order {
    /// Lower runs first. Ties go to the earlier arrival, because insertion is after equals.
    fn rank(self, request: &Request) -> (u32, Nanos) {
        match self {
            Order::Deadline => (request.priority, request.deadline),
            Order::Arrival => (request.priority, request.arrival),
        }
    }
}

impl Queue {
    pub(super) fn new(bound: u32) -> Queue {
        let bound = bound as usize;
        let requests = VecDeque::with_capacity(bound);
        Queue { order: Order::default(), requests, bound, items: 0, timeouts: 0 }
    }

    pub(super) fn set_order(&mut self, order: Order) {
        self.order = order;
        self.requests.make_contiguous().sort_by_key(|request| order.rank(request));
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.requests.len() >= self.bound
    }

    pub(super) fn bound(&self) -> u32 {
        self.bound as u32
    }

    pub(super) fn items(&self) -> u32 {
        self.items
    }

    /// In the order in which they run.
    pub(super) fn requests(&self) -> &VecDeque<Request> {
        &self.requests
    }

    /// Items that would run before `request`.
    pub(super) fn items_ahead(&self, request: &Request) -> u32 {
        let at = self.place(request);
        if at == self.requests.len() {
            return self.items;
        }
        self.requests.iter().take(at).map(|r| r.items.0).sum()
    }

    /// Adds a request; the caller has checked [`Queue::is_full`].
    pub(super) fn push(&mut self, request: Request) {
        debug_assert!(!self.is_full());
        self.requests.insert(self.place(&request), request);
        self.items += request.items.0;
        self.timeouts += usize::from(request.queue_until != Nanos::MAX);
    }

    /// Takes the first request if it has at most `room` items, or if `any` is set.
    pub(super) fn pop_fitting(&mut self, room: u32, any: bool) -> Option<Request> {
        let head = self.requests.front()?;
        if !any && head.items.0 > room {
            return None;
        }
        self.remove(0)
    }

    /// Takes the request with this id out.
    pub(super) fn cancel(&mut self, id: RequestId) -> Option<Request> {
        let at = self.requests.iter().position(|r| r.id == id)?;
        self.remove(at)
    }

    /// Takes a request out whose timeout has passed at `now`, or whose deadline is before
    /// `earliest_answer`.
    pub(super) fn pop_expired(&mut self, now: Nanos, earliest_answer: Nanos) -> Option<Request> {
        if self.next_timeout() > now && self.earliest_deadline() >= earliest_answer {
            return None;
        }
        let late = |r: &Request| r.queue_until <= now || r.deadline < earliest_answer;
        let at = self.requests.iter().position(late)?;
        self.remove(at)
    }

    /// Takes out any request; for shutting down.
    pub(super) fn pop(&mut self) -> Option<Request> {
        self.remove(0)
    }

    pub(super) fn earliest_deadline(&self) -> Nanos {
        match (self.requests.front(), self.requests.back()) {
            (Some(first), Some(last))
                if first.priority == last.priority && self.order == Order::Deadline =>
            {
                first.deadline
            }
            _ => self.requests.iter().map(|r| r.deadline).min().unwrap_or(Nanos::MAX),
        }
    }

    /// Of several queues the one with the least goes first.
    pub(super) fn urgency(&self) -> Nanos {
        match self.order {
            Order::Deadline => self.earliest_deadline(),
            Order::Arrival => self.oldest_arrival().unwrap_or(Nanos::MAX),
        }
    }

    pub(super) fn next_timeout(&self) -> Nanos {
        if self.timeouts == 0 {
            return Nanos::MAX;
        }
        self.requests.iter().map(|r| r.queue_until).min().unwrap_or(Nanos::MAX)
    }

    pub(super) fn oldest_arrival(&self) -> Option<Nanos> {
        self.requests.iter().map(|r| r.arrival).min()
    }

    fn place(&self, request: &Request) -> usize {
        let rank = self.order.rank(request);
        self.requests.partition_point(|other| self.order.rank(other) <= rank)
    }

    fn remove(&mut self, at: usize) -> Option<Request> {
        let request = self.requests.remove(at)?;
        self.items -= request.items.0;
        self.timeouts -= usize::from(request.queue_until != Nanos::MAX);
        Some(request)
    }
}
