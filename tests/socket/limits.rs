//! Every bound of the socket's configuration, and the end.

use crate::grpc::{double, parameter};
use crate::raw::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, SETTINGS, WINDOW_UPDATE, connect,
    frame, grpc_headers, next_frame, wait_for_end,
};
use crate::support::{Appliance, BIG_ELEMENTS, Behaviour, PATIENCE, Seen};
use bcedge::server::proto::infer_parameter::ParameterChoice;
use bcedge::server::proto::{ModelInferRequest, ServerLiveRequest};
use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::Write;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tonic::Code;

fn one() -> ModelInferRequest {
    double(&[1.0; 4])
}

#[tokio::test]
async fn an_oversized_message_is_refused() {
    let appliance = Appliance::with(|config| config.max_message_bytes = 1000);
    let mut client = appliance.grpc().await;
    let mut request = one();
    let text = "x".repeat(2000);
    request.parameters.insert("a".to_owned(), parameter(ParameterChoice::StringParam(text)));
    let refused = client.model_infer(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("max_message_bytes allows 1000"), "{}", refused.message());
    client.model_infer(one()).await.unwrap();

    let mut rest = appliance.rest().await;
    let reply = rest.post("/v2/models/double/infer", Bytes::from(vec![b' '; 1001])).await;
    assert_eq!(reply.status, 413);
    assert!(reply.error().contains("has 1001 bytes, max_message_bytes allows 1000"));
}

#[tokio::test]
async fn one_connection_has_only_so_many_requests_in_flight() {
    let appliance = Appliance::with(|config| config.max_in_flight_per_connection = 2);
    let client = appliance.grpc().await;
    appliance.behave(Behaviour::Hold);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = client.clone();
        held.push(tokio::spawn(async move { client.model_infer(one()).await }));
        assert!(matches!(appliance.next_seen_async().await, Seen::Request { .. }));
    }
    let refused = client.clone().model_infer(one()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("max_in_flight_per_connection"), "{}", refused.message());
    // Other calls, and other connections, are not concerned.
    client.clone().server_live(ServerLiveRequest {}).await.unwrap();
    let mut other = appliance.grpc().await;
    let other = tokio::spawn(async move { other.model_infer(one()).await });
    assert!(matches!(appliance.next_seen_async().await, Seen::Request { .. }));

    appliance.behave(Behaviour::Compute);
    for call in held {
        call.await.unwrap().unwrap();
    }
    other.await.unwrap().unwrap();
    client.clone().model_infer(one()).await.unwrap();
}

#[tokio::test]
async fn the_whole_appliance_has_only_so_many_requests_outstanding() {
    // The gateway of these tests is made for 64.
    let appliance = Appliance::start();
    let client = appliance.grpc().await;
    appliance.behave(Behaviour::Hold);
    let mut held = Vec::new();
    for _ in 0..64 {
        let mut client = client.clone();
        held.push(tokio::spawn(async move { client.model_infer(one()).await }));
        appliance.next_seen_async().await;
    }
    let refused = client.clone().model_infer(one()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    appliance.behave(Behaviour::Compute);
    for call in held {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_a_place() {
    let appliance = Appliance::with(|config| config.max_connections = 1);
    let mut first = appliance.rest().await;
    assert_eq!(first.get("/v2/health/live").await.status, 200);
    let mut second = appliance.rest().await;
    let mut waiting = std::pin::pin!(second.get("/v2/health/live"));
    assert!(timeout(Duration::from_millis(200), &mut waiting).await.is_err(), "served too early");
    drop(first);
    assert_eq!(timeout(PATIENCE, waiting).await.expect("served now").status, 200);
}

fn with_short_header_timeout() -> Appliance {
    Appliance::with(|config| config.header_timeout_ms = 150)
}

#[test]
fn half_a_request_and_silence_is_not_waited_for() {
    let appliance = with_short_header_timeout();
    let settings = frame(SETTINGS, 0, 0, &[]);
    let headers = frame(HEADERS, END_HEADERS, 1, &grpc_headers("ModelInfer", "localhost"));
    let starts: [Vec<u8>; 7] = [
        vec![],
        b"PR".to_vec(),
        b"POST /v2/models/double/inf".to_vec(),
        PREFACE[..10].to_vec(),
        [PREFACE, &settings[..5]].concat(),
        [PREFACE, &settings, &headers[..20]].concat(),
        [PREFACE, &settings, &frame(HEADERS, 0, 1, &grpc_headers("ModelInfer", "a"))].concat(),
    ];
    for start in starts {
        let mut socket = connect(&appliance);
        socket.write_all(&start).unwrap();
        let before = Instant::now();
        wait_for_end(&mut socket);
        assert!(before.elapsed() < PATIENCE, "{start:?}");
    }
}

#[test]
fn half_a_body_and_silence_is_answered() {
    let appliance = with_short_header_timeout();
    let mut socket = connect(&appliance);
    let start = "POST /v2/models/double/infer HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{";
    socket.write_all(start.as_bytes()).unwrap();
    let reply = String::from_utf8(wait_for_end(&mut socket)).unwrap();
    assert!(reply.starts_with("HTTP/1.1 408"), "{reply}");
    assert!(reply.contains("stopped in the middle of its request"), "{reply}");

    for method in ["ModelInfer", "ModelStreamInfer", "ServerLive"] {
        let mut socket = connect(&appliance);
        let start = [
            PREFACE.to_vec(),
            frame(SETTINGS, 0, 0, &[]),
            frame(HEADERS, END_HEADERS, 1, &grpc_headers(method, "localhost")),
            // 5 of 100 bytes.
            frame(DATA, 0, 1, &[0, 0, 0, 0, 100, 1, 2, 3, 4, 5]),
        ];
        socket.write_all(&start.concat()).unwrap();
        loop {
            let (kind, _, stream, _) = next_frame(&mut socket).expect("an answer");
            assert_ne!(kind, GOAWAY);
            if stream == 1 {
                break;
            }
        }
    }
}

#[test]
fn unfinished_requests_of_a_connection_are_bounded_together() {
    // Four messages' worth and 64 KiB: 465,536 bytes.
    let appliance = Appliance::with(|config| config.max_message_bytes = 100_000);
    let mut socket = connect(&appliance);
    socket.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).unwrap();
    // The windows are large enough only when the server has said so.
    while next_frame(&mut socket).expect("the server's settings").0 != WINDOW_UPDATE {}
    let mut bytes = frame(SETTINGS, ACK, 0, &[]);
    let part = [&[0, 0, 1, 0x86, 0xa0][..], &[0; 89_995]].concat();
    for stream in [1, 3, 5, 7, 9, 11] {
        let headers = grpc_headers("ModelInfer", "localhost");
        bytes.extend(frame(HEADERS, END_HEADERS, stream, &headers));
        bytes.extend(frame(DATA, 0, stream, &part));
    }
    socket.write_all(&bytes).unwrap();
    loop {
        let (kind, flags, stream, _) = next_frame(&mut socket).expect("an answer");
        assert_ne!(kind, GOAWAY);
        if kind == HEADERS {
            assert_eq!((stream, flags & END_STREAM), (11, END_STREAM));
            break;
        }
    }
}

#[test]
fn a_client_that_does_not_read_is_not_waited_for() {
    let appliance = with_short_header_timeout();
    let mut socket = connect(&appliance);
    let json = format!(
        r#"{{"parameters":{{"binary_data_output":true}},"inputs":[{{"name":"x","datatype":"FP32",
        "shape":[1,{BIG_ELEMENTS}],"parameters":{{"binary_data_size":{}}}}}]}}"#,
        4 * BIG_ELEMENTS
    );
    let request = format!(
        "POST /v2/models/big/infer HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\
         inference-header-content-length: {}\r\n\r\n{json}",
        json.len() + 4 * BIG_ELEMENTS,
        json.len()
    );
    socket.write_all(request.as_bytes()).unwrap();
    socket.write_all(&vec![0; 4 * BIG_ELEMENTS]).unwrap();
    // The reply is larger than the kernel's buffer. Nothing is read; only the end is waited for.
    let mut hangup = [PollFd::new(&socket, PollFlags::empty())];
    let patience = rustix::fs::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    assert_eq!(poll(&mut hangup, Some(&patience)), Ok(1), "the connection stays open");
    assert!(wait_for_end(&mut socket).len() < 4 * BIG_ELEMENTS);
}

#[tokio::test]
async fn silence_between_the_messages_of_a_stream_is_no_stall() {
    let appliance = with_short_header_timeout();
    let mut client = appliance.grpc().await;
    struct Slow(u32, Option<std::pin::Pin<Box<tokio::time::Sleep>>>);
    impl futures_core::Stream for Slow {
        type Item = ModelInferRequest;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<ModelInferRequest>> {
            let pause = Duration::from_millis(400);
            let sleep = self.1.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            std::task::ready!(sleep.as_mut().poll(cx));
            self.1 = None;
            self.0 += 1;
            std::task::Poll::Ready((self.0 <= 2).then(one))
        }
    }
    let mut replies = client.model_stream_infer(Slow(0, None)).await.unwrap().into_inner();
    for _ in 0..2 {
        assert_eq!(replies.message().await.unwrap().unwrap().error_message, "");
    }
    assert!(replies.message().await.unwrap().is_none());
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let appliance = Appliance::with(|config| config.idle_timeout_ms = 150);
    let idle = tokio::task::spawn_blocking({
        let mut socket = connect(&appliance);
        move || {
            socket.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            String::from_utf8(wait_for_end(&mut socket)).unwrap()
        }
    });
    appliance.behave(Behaviour::Hold);
    let mut client = appliance.grpc().await;
    let busy = tokio::spawn(async move { client.model_infer(one()).await });
    assert!(idle.await.unwrap().starts_with("HTTP/1.1 200 OK"));
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(!busy.is_finished());
    appliance.behave(Behaviour::Compute);
    busy.await.unwrap().unwrap();
}

#[tokio::test]
async fn shutdown_lets_requests_finish_and_takes_no_more() {
    let mut appliance = Appliance::start();
    let mut client = appliance.grpc().await;
    let mut rest = appliance.rest().await;
    assert_eq!(rest.get("/v2/health/live").await.status, 200);
    appliance.behave(Behaviour::Hold);
    let call = tokio::spawn(async move { client.model_infer(one()).await });
    appliance.next_seen_async().await;
    appliance.begin_shutdown();
    let deadline = Instant::now() + PATIENCE;
    while tokio::net::UnixStream::connect(&appliance.path).await.is_ok() {
        assert!(Instant::now() < deadline, "new clients are still let in");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!appliance.path.exists());
    assert!(!call.is_finished());
    appliance.behave(Behaviour::Compute);
    call.await.unwrap().unwrap();
    appliance.wait().unwrap();
}

#[tokio::test]
async fn shutdown_does_not_wait_for_an_idle_client() {
    let patience_ms = PATIENCE.as_millis() as u64;
    let mut appliance = Appliance::with(|config| config.drain_timeout_ms = 2 * patience_ms);
    let mut client = appliance.grpc().await;
    client.server_live(ServerLiveRequest {}).await.unwrap();
    // This thread is the client's too: while it waits, the client answers nothing.
    let before = Instant::now();
    appliance.wait().unwrap();
    assert!(before.elapsed() < PATIENCE, "waited for an idle client");
}

#[tokio::test]
async fn shutdown_waits_only_so_long() {
    let mut appliance = Appliance::with(|config| config.drain_timeout_ms = 200);
    let mut client = appliance.grpc().await;
    appliance.behave(Behaviour::Hold);
    let call = tokio::spawn(async move { client.model_infer(one()).await });
    appliance.next_seen_async().await;
    appliance.wait().unwrap();
    let refused = timeout(PATIENCE, call).await.expect("not left hanging").unwrap().unwrap_err();
    assert!(matches!(refused.code(), Code::Unavailable | Code::Cancelled | Code::Unknown));
}
