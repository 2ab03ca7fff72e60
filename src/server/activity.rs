//! What one connection is doing, as its watchdog needs to know it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Written by the connection's stream and its requests, read by its watchdog. All of them run on
/// the ingress thread; the atomics are there because tasks must be `Send`.
#[derive(Debug)]
pub struct Activity {
    start: Instant,
    last_read_ms: AtomicU64,
    last_request_ms: AtomicU64,
    /// When the unfinished headers began; 0 when there are none.
    headers_since_ms: AtomicU64,
    /// The bytes so far end inside an HTTP/2 frame.
    inside_frame: AtomicBool,
    /// When the socket became too full to be written to; 0 when it is not.
    blocked_since_ms: AtomicU64,
    /// Requests being served, of whatever kind.
    requests: AtomicU32,
}

/// Why a connection has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// Headers or a frame were begun and not finished in time.
    Unfinished,
    /// The client does not read its replies.
    Deaf,
    /// No request for the idle time.
    Idle,
}

impl Activity {
    pub fn new() -> Activity {
        Activity {
            start: Instant::now(),
            last_read_ms: AtomicU64::new(0),
            last_request_ms: AtomicU64::new(0),
            headers_since_ms: AtomicU64::new(0),
            inside_frame: AtomicBool::new(false),
            blocked_since_ms: AtomicU64::new(0),
            requests: AtomicU32::new(0),
        }
    }

    /// Milliseconds of the connection's life, from 1, so that 0 can mean "never".
    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64 + 1
    }

    /// HTTP/2: bytes came, and this is where they end.
    pub fn read_frames(&self, inside_headers: bool, inside_frame: bool) {
        let now_ms = self.now_ms();
        self.last_read_ms.store(now_ms, Ordering::Relaxed);
        self.inside_frame.store(inside_frame, Ordering::Relaxed);
        if !inside_headers {
            self.headers_since_ms.store(0, Ordering::Relaxed);
        } else if self.headers_since_ms.load(Ordering::Relaxed) == 0 {
            self.headers_since_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    /// HTTP/1: bytes came. Between requests they are the next one's headers.
    pub fn read_bytes(&self) {
        let now_ms = self.now_ms();
        self.last_read_ms.store(now_ms, Ordering::Relaxed);
        if self.is_between_requests() && self.headers_since_ms.load(Ordering::Relaxed) == 0 {
            self.headers_since_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    /// A request's headers are complete. HTTP/2 streams are independent: another one's headers
    /// may be unfinished meanwhile, which is why this is told by the version.
    pub fn request_begins(&self, is_http1: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if is_http1 {
            self.headers_since_ms.store(0, Ordering::Relaxed);
        }
    }

    pub fn request_ends(&self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
        self.last_request_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// What the last attempt to write to the socket came to.
    pub fn wrote(&self, blocked: bool) {
        let was_blocked = self.blocked_since_ms.load(Ordering::Relaxed) != 0;
        if blocked != was_blocked {
            let since_ms = if blocked { self.now_ms() } else { 0 };
            self.blocked_since_ms.store(since_ms, Ordering::Relaxed);
        }
    }

    pub fn is_between_requests(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
    }

    /// `idle_timeout` zero: never idle.
    pub fn overdue(&self, header_timeout: Duration, idle_timeout: Duration) -> Option<Overdue> {
        let now_ms = self.now_ms();
        let passed = |since_ms: u64, limit: Duration| {
            Duration::from_millis(now_ms.saturating_sub(since_ms)) > limit
        };
        let headers_since_ms = self.headers_since_ms.load(Ordering::Relaxed);
        if headers_since_ms != 0 && passed(headers_since_ms, header_timeout) {
            return Some(Overdue::Unfinished);
        }
        if self.inside_frame.load(Ordering::Relaxed)
            && passed(self.last_read_ms.load(Ordering::Relaxed), header_timeout)
        {
            return Some(Overdue::Unfinished);
        }
        let blocked_since_ms = self.blocked_since_ms.load(Ordering::Relaxed);
        if blocked_since_ms != 0 && passed(blocked_since_ms, header_timeout) {
            return Some(Overdue::Deaf);
        }
        let idle = !idle_timeout.is_zero()
            && self.is_between_requests()
            && passed(self.last_request_ms.load(Ordering::Relaxed), idle_timeout);
        idle.then_some(Overdue::Idle)
    }
}
