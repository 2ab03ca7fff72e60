//! A whole socket server in front of a pretended reactor, and clients for it.

use crate::reactor::{Reactor, catalog, snapshot};
use bcedge::config::SocketConfig;
use bcedge::pipeline::Outcome;
use bcedge::server::gateway;
use bcedge::server::proto::grpc_inference_service_client::GrpcInferenceServiceClient;
use bcedge::telemetry::Command;
use bcedge::units::{ModelId, Nanos};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tonic::transport::{Channel, Endpoint};

/// Long enough for a loaded machine; nothing waits this long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the pretended reactor does with requests.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// `double` and `big` double their input, `echo` gives each input back.
    Compute,
    /// Answers each with this.
    Answer(Outcome, Option<String>),
    /// Keeps them until the behaviour changes.
    Hold,
}

/// What the pretended reactor has seen.
#[derive(Debug, PartialEq)]
pub enum Seen {
    Request {
        model: ModelId,
        items: u32,
        slo: Option<Nanos>,
        timeout: Option<Nanos>,
        priority: u64,
    },
    Cancelled,
    Command(Command),
}

pub struct Appliance {
    pub path: PathBuf,
    pub seen: Receiver<Seen>,
    behaviour: Arc<Mutex<Behaviour>>,
    stop: Arc<AtomicBool>,
    shutdown: Option<oneshot::Sender<()>>,
    ingress: Option<JoinHandle<io::Result<()>>>,
    reactor: Option<JoinHandle<()>>,
    /// Goes away with everything in it.
    _directory: tempfile::TempDir,
}

impl Appliance {
    pub fn start() -> Appliance {
        Appliance::with(|_| {})
    }

    /// With a changed configuration; its path is set already.
    pub fn with(change: impl FnOnce(&mut SocketConfig)) -> Appliance {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let mut config = SocketConfig { path: path.clone(), ..SocketConfig::default() };
        change(&mut config);
        let (gateway, port) = gateway::pair(64).unwrap();
        port.catalog.store(Arc::new(catalog()));
        port.snapshot.store(Arc::new(snapshot()));
        let behaviour = Arc::new(Mutex::new(Behaviour::Compute));
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, seen) = mpsc::channel();
        let reactor = std::thread::spawn({
            let (behaviour, stop) = (behaviour.clone(), stop.clone());
            move || Reactor { port, behaviour, tell, held: Vec::new() }.run(&stop)
        });
        let (shutdown, down) = oneshot::channel::<()>();
        let (listening, is_listening) = mpsc::channel();
        let ingress = std::thread::spawn(move || {
            let runtime = gateway.runtime()?;
            runtime.block_on(async {
                let listener = bcedge::server::Listener::bind(config)?;
                let _ = listening.send(());
                tokio::spawn(gateway.clone().run());
                listener.serve(gateway, async { drop(down.await) }).await
            })
        });
        is_listening.recv_timeout(PATIENCE).expect("the server listens");
        let (shutdown, ingress, reactor) = (Some(shutdown), Some(ingress), Some(reactor));
        Appliance { path, seen, behaviour, stop, shutdown, ingress, reactor, _directory: directory }
    }

    pub fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// The next thing the reactor saw.
    pub fn next_seen(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("the reactor sees something")
    }

    /// The same, while this thread's client goes on working.
    pub async fn next_seen_async(&self) -> Seen {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Ok(seen) = self.seen.try_recv() {
                return seen;
            }
            assert!(tokio::time::Instant::now() < deadline, "the reactor sees nothing");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Asks the server to stop, does not wait.
    pub fn begin_shutdown(&mut self) {
        drop(self.shutdown.take());
    }

    /// Waits until the server has stopped by itself.
    pub fn wait(&mut self) -> io::Result<()> {
        self.begin_shutdown();
        self.ingress.take().expect("waited for once").join().expect("no panic")
    }

    pub async fn grpc(&self) -> GrpcInferenceServiceClient<Channel> {
        let path = self.path.clone();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(connector)
            .await
            .expect("connect");
        GrpcInferenceServiceClient::new(channel)
    }

    pub async fn rest(&self) -> Rest {
        let socket = UnixStream::connect(&self.path).await.expect("connect");
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.expect("handshake");
        tokio::spawn(connection);
        Rest { sender }
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        self.begin_shutdown();
        self.stop.store(true, Ordering::Relaxed);
        if let Some(ingress) = self.ingress.take() {
            let _ = ingress.join();
        }
        if let Some(reactor) = self.reactor.take() {
            let _ = reactor.join();
        }
    }
}

/// A client of the REST interface.
pub struct Rest {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

pub struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The text of an error.
    pub fn error(&self) -> String {
        self.json()["error"].as_str().expect("an error").to_owned()
    }
}

impl Rest {
    pub async fn get(&mut self, path: &str) -> Reply {
        self.send(http::Request::get(path).body(Full::default()).unwrap()).await
    }

    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Reply {
        self.send(http::Request::post(path).body(Full::new(body.into())).unwrap()).await
    }

    pub async fn send(&mut self, mut request: http::Request<Full<Bytes>>) -> Reply {
        request.headers_mut().insert("host", http::HeaderValue::from_static("localhost"));
        let response = self.sender.send_request(request).await.expect("a response");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Reply { status: parts.status.as_u16(), headers: parts.headers, body }
    }
}

pub fn floats(values: &[f32]) -> Bytes {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Elements of one item of `big`: 602,112 bytes.
pub const BIG_ELEMENTS: usize = 150_528;
pub const DOUBLE: ModelId = ModelId(0);
