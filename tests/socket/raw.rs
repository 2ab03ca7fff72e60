//! Clients that speak bytes, as a broken or hostile one does.

use crate::support::{Appliance, PATIENCE};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const ACK: u8 = 1;

pub fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&len[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// A header block without compression: POST to `method`, with that `:authority`.
pub fn grpc_headers(method: &str, authority: &str) -> Vec<u8> {
    let literal = |name: &str, value: &str| {
        let (name_len, value_len) = (name.len() as u8, value.len() as u8);
        [&[0x40, name_len], name.as_bytes(), &[value_len], value.as_bytes()].concat()
    };
    [
        vec![0x83, 0x86],
        literal(":path", &format!("/inference.GRPCInferenceService/{method}")),
        literal(":authority", authority),
        literal("content-type", "application/grpc"),
        literal("te", "trailers"),
    ]
    .concat()
}

pub fn connect(appliance: &Appliance) -> UnixStream {
    let socket = UnixStream::connect(&appliance.path).expect("connect");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

/// The next frame: kind, flags, stream, payload. `None` at the end of the connection.
pub fn next_frame(socket: &mut UnixStream) -> Option<(u8, u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    match socket.read_exact(&mut head) {
        Ok(()) => {}
        Err(e) if matches!(e.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
            return None;
        }
        Err(e) => panic!("no frame: {e}"),
    }
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    socket.read_exact(&mut payload).expect("a whole frame");
    Some((head[3], head[4], head[8], payload))
}

/// Reads until the server ends the connection.
pub fn wait_for_end(socket: &mut UnixStream) -> Vec<u8> {
    let mut rest = Vec::new();
    match socket.read_to_end(&mut rest) {
        Ok(_) => rest,
        Err(e) if e.kind() == ErrorKind::ConnectionReset => rest,
        Err(e) => panic!("the connection stays open: {e}"),
    }
}

/// What Python's gRPC sends for an absolute path, written to the socket in two pieces, with the cut
/// at every byte in turn.
#[test]
fn a_percent_encoded_authority_is_served_however_it_is_split() {
    let appliance = Appliance::start();
    let start = [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(SETTINGS, ACK, 0, &[]),
        frame(HEADERS, END_HEADERS, 1, &grpc_headers("ServerLive", "tmp%2Fx%2Fa.sock")),
        frame(DATA, END_STREAM, 1, &[0; 5]),
    ]
    .concat();
    for cut in 0..start.len() {
        let mut socket = connect(&appliance);
        socket.write_all(&start[..cut]).unwrap();
        // Lets the server run now and then, so that it sees the pieces apart.
        std::thread::sleep(std::time::Duration::from_micros(200));
        socket.write_all(&start[cut..]).unwrap();
        let data = loop {
            let (kind, _, _, payload) = next_frame(&mut socket).expect("an answer");
            assert!(kind != RST_STREAM && kind != GOAWAY, "refused, cut at {cut}");
            if kind == DATA {
                break payload;
            }
        };
        // A message of two bytes: field 1 is true.
        assert_eq!(data, [0, 0, 0, 0, 2, 8, 1]);
    }
}

#[test]
fn garbage_ends_its_connection_and_no_other() {
    let appliance = Appliance::start();
    let garbage: [Vec<u8>; 5] = [
        b"\x00\x01\x02\x03 nonsense\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        [PREFACE, &[0xff; 100]].concat(),
        [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, END_HEADERS, 1, &[0x41, 0x7f])]
            .concat(),
        [PREFACE, &frame(SETTINGS, 0, 0, &[1, 2, 3])].concat(),
    ];
    for bytes in garbage {
        let mut socket = connect(&appliance);
        socket.write_all(&bytes).unwrap();
        wait_for_end(&mut socket);
    }
    let mut socket = connect(&appliance);
    socket
        .write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .unwrap();
    let reply = String::from_utf8(wait_for_end(&mut socket)).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 OK"), "{reply}");
}

#[test]
fn garbage_in_a_call_is_answered() {
    let appliance = Appliance::start();
    for message in [&[0, 0, 0, 0, 3, 0xff, 0xff, 0xff][..], &[1, 0, 0, 0, 0], &[0, 0, 0, 0, 9, 1]] {
        let mut socket = connect(&appliance);
        let call = [
            PREFACE.to_vec(),
            frame(SETTINGS, 0, 0, &[]),
            frame(HEADERS, END_HEADERS, 1, &grpc_headers("ModelInfer", "localhost")),
            frame(DATA, END_STREAM, 1, message),
        ];
        socket.write_all(&call.concat()).unwrap();
        loop {
            let (kind, flags, stream, _) = next_frame(&mut socket).expect("an answer");
            assert!(kind != RST_STREAM && kind != GOAWAY);
            if (kind, stream) == (HEADERS, 1) {
                // Headers and trailers in one: a status without a message.
                assert_ne!(flags & END_STREAM, 0);
                break;
            }
        }
    }
}
