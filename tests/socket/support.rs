//! A whole socket server in front of a pretended reactor, and clients for it.

use bcedge::config::SocketConfig;
use bcedge::engine::{DataType, ModelSpec, TensorSpec};
use bcedge::pipeline::{Completion, Outcome};
use bcedge::server::gateway::{
    self, Answer, AnswerOutput, Catalog, CatalogEntry, InputData, ReactorPort, Submission,
    ToIngress, ToReactor,
};
use bcedge::server::proto::grpc_inference_service_client::GrpcInferenceServiceClient;
use bcedge::telemetry::snapshot::{ApplianceState, Counters, ModelSnapshot, ModelState, Snapshot};
use bcedge::telemetry::{Command, CommandError};
use bcedge::units::{BatchSize, ModelId, Nanos, RequestId};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use ringbuf::traits::{Consumer, Producer};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
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
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
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

fn tensor(name: &str, data_type: DataType, shape: &[i64]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), data_type, shape: shape.to_vec() }
}

fn catalog() -> Catalog {
    let doubling = |elements: i64| ModelSpec {
        inputs: vec![tensor("x", DataType::F32, &[elements])],
        outputs: vec![tensor("y", DataType::F32, &[elements])],
        batched: true,
        max_batch: BatchSize(8),
    };
    let all_types = |prefix: &str| {
        let named = |t: DataType| tensor(&format!("{prefix}_{}", t.name()), t, &[2, 1]);
        DataType::ALL.into_iter().map(named).collect()
    };
    let echo = ModelSpec {
        inputs: all_types("in"),
        outputs: all_types("out"),
        batched: false,
        max_batch: BatchSize(1),
    };
    let entry = |name: &str, state: ModelState, spec: Option<ModelSpec>| CatalogEntry {
        name: name.to_owned(),
        state,
        spec: spec.map(Arc::new),
        platform: "synthetic_table",
        slo: Nanos::from_millis(100),
        max_instances: 2,
        queue_bound: 16,
        preferred_batch_sizes: vec![4, 8],
        max_queue_delay: Nanos::from_micros(500),
    };
    Catalog {
        models: vec![
            entry("double", ModelState::Ready, Some(doubling(4))),
            entry("echo", ModelState::Ready, Some(echo)),
            entry("big", ModelState::Ready, Some(doubling(BIG_ELEMENTS as i64))),
            entry("broken", ModelState::Failed("broken.onnx is missing".to_owned()), None),
            entry("idle", ModelState::Unloaded, None),
        ],
    }
}

fn snapshot() -> Snapshot {
    let counters = Counters {
        received: 7,
        ok: 5,
        rejected: 2,
        executions: 3,
        items: 6,
        queue_us_total: 40,
        compute_us_total: 50,
        ..Counters::default()
    };
    let double = ModelSnapshot { name: "double".to_owned(), counters, ..ModelSnapshot::default() };
    Snapshot { state: ApplianceState::Serving, models: vec![double], ..Snapshot::default() }
}

struct Reactor {
    port: ReactorPort,
    behaviour: Arc<Mutex<Behaviour>>,
    tell: Sender<Seen>,
    held: Vec<(RequestId, Submission)>,
}

impl Reactor {
    fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.turn();
            self.port.reactor_bell.announce_sleep();
            // A changed behaviour does not ring the bell, so this looks by itself now and then.
            self.port.reactor_bell.wait(Nanos::from_millis(2));
            self.port.reactor_bell.awake();
        }
    }

    fn turn(&mut self) {
        while let Ok(call) = self.port.commands.try_recv() {
            let result = match &call.command {
                Command::Load { model } if model == "broken" => {
                    Err(CommandError::Failed("broken.onnx is missing".to_owned()))
                }
                Command::Load { model } | Command::Unload { model } if model == "nothing" => {
                    let name = model.clone();
                    Err(CommandError::UnknownModel { name, known: "double".to_owned() })
                }
                _ => Ok(()),
            };
            let _ = self.tell.send(Seen::Command(call.command));
            let _ = call.reply.send(result);
        }
        while let Some(message) = self.port.submissions.try_pop() {
            match message {
                ToReactor::Submit { id, submission, .. } => {
                    let _ = self.tell.send(Seen::Request {
                        model: submission.model,
                        items: submission.items.0,
                        slo: submission.slo,
                        timeout: submission.timeout,
                        priority: submission.priority,
                    });
                    self.held.push((id, submission));
                }
                ToReactor::Cancel(id) => {
                    if let Some(at) = self.held.iter().position(|(held, _)| *held == id) {
                        let _ = self.tell.send(Seen::Cancelled);
                        let (id, _) = self.held.remove(at);
                        self.answer(id, failed(Outcome::Cancelled, None));
                    }
                }
            }
        }
        let behaviour = self.behaviour.lock().unwrap().clone();
        if matches!(behaviour, Behaviour::Hold) {
            return;
        }
        for (id, submission) in std::mem::take(&mut self.held) {
            let answer = match &behaviour {
                Behaviour::Answer(outcome, detail) => failed(*outcome, detail.clone()),
                _ => compute(&self.port.catalog.load(), submission),
            };
            self.answer(id, answer);
        }
    }

    fn answer(&mut self, id: RequestId, answer: Answer) {
        self.port.answers.try_push(ToIngress { id, answer }).expect("room for every answer");
        self.port.ingress_bell.notify_one();
    }
}

fn failed(outcome: Outcome, detail: Option<String>) -> Answer {
    Answer { outcome, detail, outputs: Vec::new() }
}

fn compute(catalog: &Catalog, submission: Submission) -> Answer {
    let entry = &catalog.models[submission.model.index()];
    let spec = entry.spec.as_ref().expect("only ready models get requests");
    let mut inputs = Vec::new();
    for input in &submission.payload.inputs {
        inputs.push(match input {
            InputData::Inline(data) => data.to_vec(),
            InputData::Shared(slice) => {
                let mut data = vec![0; slice.len() as usize];
                if let Err(text) = slice.read_into(&mut data) {
                    return failed(Outcome::EngineFailed, Some(text));
                }
                data
            }
        });
    }
    let mut outputs = Vec::new();
    for wanted in &submission.payload.outputs {
        let mut data = inputs[wanted.index].clone();
        if entry.name != "echo" {
            for value in data.chunks_exact_mut(4) {
                let doubled = 2.0 * f32::from_le_bytes(value.try_into().unwrap());
                value.copy_from_slice(&doubled.to_le_bytes());
            }
        }
        let mut shape = spec.outputs[wanted.index].shape.clone();
        if spec.batched {
            shape.insert(0, submission.items.0.into());
        }
        let shared_bytes = match &wanted.place {
            Some(place) => {
                if let Err(text) = place.write(&data) {
                    return failed(Outcome::EngineFailed, Some(text));
                }
                Some(std::mem::take(&mut data).len() as u64)
            }
            None => None,
        };
        outputs.push(AnswerOutput { index: wanted.index, shape, data: data.into(), shared_bytes });
    }
    let completion = Completion {
        queue: Nanos::from_micros(11),
        compute: Nanos::from_micros(22),
        batch: submission.items,
        instance: 1,
        slo_met: true,
    };
    Answer { outcome: Outcome::Completed(completion), detail: None, outputs }
}
