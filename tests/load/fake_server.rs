//! A server of the protocol that answers as the test wants: late, never, or with an error.

use bcedge::server::proto;
use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use prost::Message;
use proto::infer_parameter::ParameterChoice;
use proto::model_infer_response::InferOutputTensor;
use proto::model_metadata_response::TensorMetadata;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tonic::Code;

/// What becomes of one inference request.
#[derive(Clone, Debug)]
pub enum Fate {
    /// Doubled, as the reply to a batch of this size (0: without reply parameters).
    Doubled {
        batch: i64,
    },
    Error(Code, &'static str),
    /// Never answered.
    Silence,
    /// The whole server ends.
    Death,
}

/// Tells the fate of the nth request (from 0), and how long the server does nothing at all before
/// it answers this one.
pub type Script = Box<dyn Fn(usize) -> (Fate, Duration) + Send>;

/// What the server has seen.
#[derive(Debug, Default)]
pub struct Seen {
    pub requests: usize,
    pub ok: u64,
    pub errors: u64,
    /// Of each request: its `slo_us`.
    pub slos_us: Vec<Option<i64>>,
    /// Registered regions: key, and the first bytes of the file.
    pub regions: Vec<(String, Vec<u8>)>,
    pub unregistered: usize,
}

#[derive(Debug)]
pub struct FakeServer {
    pub socket: PathBuf,
    pub seen: Arc<Mutex<Seen>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl FakeServer {
    /// Serves the models `double` (FP32 `x` of 4 values to `y`) and `tokens` (two INT64 inputs).
    /// `streams` is the most requests it takes at once from a connection.
    pub fn start(streams: u32, script: Script) -> FakeServer {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("fake.sock");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let inside = runtime.enter();
        let listener = UnixListener::bind(&socket).unwrap();
        drop(inside);
        let context = Arc::new(Context {
            seen: Arc::clone(&seen),
            script: Mutex::new(script),
            death: tokio::sync::Notify::new(),
        });
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, streams, Arc::clone(&context)) => {}
                    () = context.death.notified() => {}
                    _ = ended => {}
                }
            });
        });
        FakeServer { socket, seen, end: Some(end), thread: Some(thread), _folder: folder }
    }

    /// Answers everything at once, as a batch of 1.
    pub fn well_behaved() -> FakeServer {
        FakeServer::start(1_000, Box::new(|_| (Fate::Doubled { batch: 1 }, Duration::ZERO)))
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

struct Context {
    seen: Arc<Mutex<Seen>>,
    script: Mutex<Script>,
    death: tokio::sync::Notify,
}

async fn accept(listener: UnixListener, streams: u32, context: Arc<Context>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(serve(stream, streams, Arc::clone(&context)));
    }
}

async fn serve(stream: UnixStream, streams: u32, context: Arc<Context>) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(streams).initial_window_size(1 << 24);
    builder.initial_connection_window_size(1 << 24);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let context = Arc::clone(&context);
        tokio::spawn(async move {
            // An error here is a client that went away.
            let _ = answer(request, respond, &context).await;
        });
    }
}

async fn answer(
    request: Request<h2::RecvStream>,
    respond: SendResponse<Bytes>,
    context: &Context,
) -> Result<(), h2::Error> {
    let path = request.uri().path().to_string();
    let mut stream = request.into_body();
    let mut body = BytesMut::new();
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    let Some(method) = path.strip_prefix("/inference.GRPCInferenceService/") else {
        let mut respond = respond;
        let response = Response::builder().status(404).body(()).unwrap();
        respond.send_response(response, false)?.send_data(r#"{"error":"no REST"}"#.into(), true)?;
        return Ok(());
    };
    let message = &body[5..];
    match method {
        "ModelMetadata" => match metadata(message) {
            Some(metadata) => reply(respond, &metadata),
            None => fail(respond, Code::NotFound, "unknown model"),
        },
        "RepositoryIndex" => reply(respond, &index()),
        "SystemSharedMemoryRegister" => {
            register(message, context);
            reply(respond, &proto::SystemSharedMemoryRegisterResponse {})
        }
        "SystemSharedMemoryUnregister" => {
            context.seen.lock().unwrap().unregistered += 1;
            reply(respond, &proto::SystemSharedMemoryUnregisterResponse {})
        }
        "ModelInfer" => infer(message, respond, context).await,
        _ => fail(respond, Code::Unimplemented, "not here"),
    }
}

async fn infer(
    message: &[u8],
    mut respond: SendResponse<Bytes>,
    context: &Context,
) -> Result<(), h2::Error> {
    let request = proto::ModelInferRequest::decode(message).unwrap();
    let nth = {
        let mut seen = context.seen.lock().unwrap();
        let slo = request.parameters.get("slo_us").and_then(|p| p.parameter_choice.as_ref());
        seen.slos_us.push(match slo {
            Some(ParameterChoice::Int64Param(slo_us)) => Some(*slo_us),
            _ => None,
        });
        seen.requests += 1;
        seen.requests - 1
    };
    let (fate, stall) = (context.script.lock().unwrap())(nth);
    if stall > Duration::ZERO {
        // The thread itself sleeps: nobody else is served either.
        std::thread::sleep(stall);
    }
    match fate {
        Fate::Doubled { batch } => {
            context.seen.lock().unwrap().ok += 1;
            reply(respond, &doubled(&request, batch))
        }
        Fate::Error(code, text) => {
            context.seen.lock().unwrap().errors += 1;
            fail(respond, code, text)
        }
        Fate::Silence => std::future::poll_fn(|cx| respond.poll_reset(cx)).await.map(|_| ()),
        Fate::Death => {
            context.death.notify_one();
            Ok(())
        }
    }
}

fn doubled(request: &proto::ModelInferRequest, batch: i64) -> proto::ModelInferResponse {
    let mut response = proto::ModelInferResponse::default();
    let values = request.raw_input_contents.first().map(|data| {
        let values = data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b) * 2.0);
        values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>()
    });
    response.outputs.push(InferOutputTensor {
        name: "y".into(),
        datatype: "FP32".into(),
        shape: vec![1, 4],
        ..Default::default()
    });
    response.raw_output_contents.push(values.unwrap_or_default().into());
    if batch > 0 {
        let value =
            proto::InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(batch)) };
        response.parameters.insert("batch".into(), value);
    }
    response
}

fn metadata(message: &[u8]) -> Option<proto::ModelMetadataResponse> {
    let request = proto::ModelMetadataRequest::decode(message).unwrap();
    let tensor = |name: &str, datatype: &str| TensorMetadata {
        name: name.into(),
        datatype: datatype.into(),
        shape: vec![-1, 4],
    };
    let inputs = match request.name.as_str() {
        "double" => vec![tensor("x", "FP32")],
        "tokens" => vec![tensor("input_ids", "INT64"), tensor("attention_mask", "INT64")],
        _ => return None,
    };
    let outputs = vec![tensor("y", "FP32")];
    Some(proto::ModelMetadataResponse { name: request.name, inputs, outputs, ..Default::default() })
}

fn index() -> proto::RepositoryIndexResponse {
    let model = |name: &str, state: &str| proto::repository_index_response::ModelIndex {
        name: name.into(),
        state: state.into(),
        ..Default::default()
    };
    let models =
        vec![model("double", "READY"), model("broken", "UNAVAILABLE"), model("tokens", "READY")];
    proto::RepositoryIndexResponse { models }
}

fn register(message: &[u8], context: &Context) {
    let request = proto::SystemSharedMemoryRegisterRequest::decode(message).unwrap();
    let file = std::fs::read(format!("/dev/shm{}", request.key)).unwrap();
    assert_eq!(file.len() as u64, request.byte_size);
    context.seen.lock().unwrap().regions.push((request.key, file[..16].to_vec()));
}

fn reply(mut respond: SendResponse<Bytes>, message: &impl Message) -> Result<(), h2::Error> {
    let response = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut stream = respond.send_response(response, false)?;
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(message.encoded_len() as u32);
    body.put_slice(&message.encode_to_vec());
    stream.send_data(body.freeze(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    stream.send_trailers(trailers)
}

fn fail(mut respond: SendResponse<Bytes>, code: Code, text: &str) -> Result<(), h2::Error> {
    let response = Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", code as i32)
        .header("grpc-message", text.replace(' ', "%20"))
        .body(())
        .unwrap();
    respond.send_response(response, true).map(|_| ())
}
