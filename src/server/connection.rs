//! One client's connection: who it is, what it may have under way, and its life from the first byte
//! to the last.

use crate::config::SocketConfig;
use crate::server::activity::{Activity, Overdue};
use crate::server::dispatch::{self, Session};
use crate::server::gateway::{ConnectionGuard, Gateway};
use crate::server::regions::{Peer, Regions};
use crate::server::settings::LogSettings;
use crate::server::status::{Code, Refusal};
use crate::server::stream::{ClientStream, Version};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// A stream's tensors flow without waiting for the reader up to this many bytes …
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// … and all streams of a connection together up to this many.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// A 602 KB image comes in one frame, so that it needs no putting together.
const MAX_FRAME_BYTES: u32 = 1 << 20;
/// All unfinished requests of a connection together may have as many bytes as this many of the
/// largest messages …
const UNFINISHED_MESSAGES: u64 = 4;
/// … and a little for what is around them.
const FRAMING_BYTES: u64 = 64 << 10;
const MAX_HEADER_BYTES: u32 = 16 << 10;
const SHORTEST_WATCH: Duration = Duration::from_millis(10);
const LONGEST_WATCH: Duration = Duration::from_secs(1);
/// A client that is told that its connection ends has this long to have sent a request before.
const GOODBYE: Duration = Duration::from_millis(50);

/// What all connections share.
pub struct Server {
    pub gateway: Arc<Gateway>,
    pub config: SocketConfig,
    pub regions: Regions,
    pub log: LogSettings,
    pub rest: axum::Router,
}

/// One connection, as its requests see it.
pub struct Connection {
    pub server: Arc<Server>,
    pub peer: Peer,
    pub activity: Arc<Activity>,
    in_flight: AtomicU32,
    /// Bytes of requests that are not complete yet.
    receiving_bytes: AtomicU64,
}

/// The place of one unanswered request among those its connection may have.
pub struct InFlight(Arc<Connection>);

impl Connection {
    /// Takes a place for one more unanswered request.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED.
    pub fn admit(self: &Arc<Self>) -> Result<InFlight, Refusal> {
        let limit = self.server.config.max_in_flight_per_connection;
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= limit {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::new(
                Code::ResourceExhausted,
                format!(
                    "this connection has {limit} unanswered requests, the most \
                     max_in_flight_per_connection allows; wait for replies"
                ),
            ));
        }
        Ok(InFlight(self.clone()))
    }
}

/// What one unfinished request takes of the bytes its connection may have received.
pub struct Receiving {
    connection: Arc<Connection>,
    bytes: u64,
}

impl Receiving {
    pub fn new(connection: Arc<Connection>) -> Receiving {
        Receiving { connection, bytes: 0 }
    }

    /// The request has so many bytes by now.
    ///
    /// # Errors
    /// The connection's bound, when all its unfinished requests together are above it.
    pub fn set(&mut self, bytes: u64) -> Result<(), u64> {
        let all = &self.connection.receiving_bytes;
        all.fetch_add(bytes, Ordering::Relaxed);
        let before = all.fetch_sub(self.bytes, Ordering::Relaxed);
        let now = before - self.bytes;
        self.bytes = bytes;
        let bound = self
            .connection
            .server
            .config
            .max_message_bytes
            .saturating_mul(UNFINISHED_MESSAGES)
            .saturating_add(FRAMING_BYTES);
        if now > bound { Err(bound) } else { Ok(()) }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.connection.receiving_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves one client until it goes, is idle or stalls for too long, or the appliance shuts down and
/// its requests are answered.
pub async fn serve(server: Arc<Server>, mut socket: UnixStream, shutdown: watch::Receiver<bool>) {
    let _counted = ConnectionGuard::new(&server.gateway);
    let peer = match socket.peer_cred() {
        Ok(credentials) => Peer { uid: credentials.uid(), gid: credentials.gid() },
        Err(error) => {
            tracing::warn!(%error, "connection without credentials refused");
            return;
        }
    };
    let header_timeout = Duration::from_millis(server.config.header_timeout_ms);
    let mut draining = shutdown.clone();
    let first_bytes = tokio::select! {
        bytes = timeout(header_timeout, read_first_bytes(&mut socket)) => bytes,
        _ = draining.wait_for(|&draining| draining) => return,
    };
    let Ok(Some((version, first_bytes))) = first_bytes else { return };
    let activity = Arc::new(Activity::new());
    let stream = ClientStream::new(socket, version, first_bytes, activity.clone());
    let connection = Arc::new(Connection {
        server,
        peer,
        activity,
        in_flight: AtomicU32::new(0),
        receiving_bytes: AtomicU64::new(0),
    });
    let session = Arc::new(Session::new(connection.clone()));
    let service = service_fn(move |request| dispatch::respond(session.clone(), request));
    let io = TokioIo::new(stream);
    match version {
        Version::Http1 => {
            let http = http1().serve_connection(io, service);
            watch_over(http, |http| http.graceful_shutdown(), connection, shutdown).await;
        }
        Version::Http2 => {
            let http = http2(&connection.server.config).serve_connection(io, service);
            watch_over(http, |http| http.graceful_shutdown(), connection, shutdown).await;
        }
    }
}

fn http1() -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    // Its header timeout counts idle time as well; `Activity` tells the two apart.
    builder.timer(TokioTimer::new()).header_read_timeout(None).auto_date_header(false);
    builder
}

fn http2(config: &SocketConfig) -> hyper::server::conn::http2::Builder<TokioExecutor> {
    // More than may be in flight, so that one request too many gets an answer that says so
    // instead of waiting silently in its client.
    let streams = config.max_in_flight_per_connection.saturating_mul(2).saturating_add(64);
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .max_send_buf_size(MAX_FRAME_BYTES as usize)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_concurrent_streams(streams);
    builder
}

/// As many bytes as it takes to tell the protocol; `None` when the client went before that.
async fn read_first_bytes(socket: &mut UnixStream) -> Option<(Version, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(64);
    loop {
        let read = socket.read_buf(&mut bytes).await.ok()?;
        if let Some(version) = Version::detect(&bytes) {
            return Some((version, bytes));
        }
        if read == 0 {
            return None;
        }
    }
}

/// Drives the HTTP library and ends the connection when it is overdue, or, once, gracefully.
async fn watch_over<H, E>(
    http: H,
    shut_down: impl Fn(Pin<&mut H>),
    connection: Arc<Connection>,
    mut shutdown: watch::Receiver<bool>,
) where
    H: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let config = &connection.server.config;
    let header_timeout = Duration::from_millis(config.header_timeout_ms);
    let idle_timeout = Duration::from_millis(config.idle_timeout_ms);
    let shortest =
        if idle_timeout.is_zero() { header_timeout } else { header_timeout.min(idle_timeout) };
    let mut watch = interval((shortest / 4).clamp(SHORTEST_WATCH, LONGEST_WATCH));
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut http = pin!(http);
    // When the client was told that the connection ends, once it was.
    let mut closing: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            result = poll_fn(|cx| {
                // Where clients keep the thread so busy that it never comes to rest.
                connection.server.gateway.deliver();
                http.as_mut().poll(cx)
            }) => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            _ = watch.tick() => {
                // A client without requests need not confirm the end.
                let told = closing.is_some_and(|since| since.elapsed() > GOODBYE);
                if told && connection.activity.is_between_requests() {
                    return;
                }
                match connection.activity.overdue(header_timeout, idle_timeout) {
                    Some(why @ (Overdue::Unfinished | Overdue::Deaf)) => {
                        tracing::debug!(?why, "connection closed");
                        return;
                    }
                    Some(Overdue::Idle) if closing.is_none() => shut_down(http.as_mut()),
                    Some(Overdue::Idle) | None => continue,
                }
            },
            _ = shutdown.wait_for(|&draining| draining), if closing.is_none() => {
                shut_down(http.as_mut());
            }
        }
        if closing.is_none() {
            closing = Some(Instant::now());
            watch = interval(SHORTEST_WATCH);
        }
    }
}
