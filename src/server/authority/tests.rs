use super::*;
use crate::server::hpack::tests::text;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&len[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// Feeds `bytes` in pieces that end at `cuts`; what comes out at the other end.
fn pass(bytes: &[u8], cuts: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let mut rewriter = Rewriter::default();
    let (mut out, mut held, mut start) = (Vec::new(), Vec::new(), 0);
    for end in cuts.into_iter().chain([bytes.len()]) {
        held.extend_from_slice(&bytes[start..end]);
        start = end;
        let passed = rewriter.scan(&mut held);
        out.extend(held.drain(..passed));
    }
    out.extend(held);
    out
}

fn block(value: &str, huffman: bool) -> Vec<u8> {
    // :method POST, :scheme http, :authority, content-type
    [
        vec![0x83, 0x86, 0x41],
        text(value, huffman),
        vec![0x0f, 31 - 15],
        text("application/grpc", true),
    ]
    .concat()
}

fn headers(block: &[u8], padding: Option<u8>, priority: bool) -> Vec<u8> {
    let mut flags = END_HEADERS;
    let mut payload = Vec::new();
    if let Some(padding) = padding {
        flags |= PADDED;
        payload.push(padding);
    }
    if priority {
        flags |= PRIORITY;
        payload.extend([0, 0, 0, 0, 16]);
    }
    payload.extend(block);
    payload.extend(vec![0; padding.unwrap_or(0).into()]);
    frame(HEADERS, flags, &payload)
}

/// A connection's first bytes: settings, one request, its data, a second request that refers to the
/// first one's headers.
fn conversation(value: &str, huffman: bool, padding: Option<u8>, priority: bool) -> Vec<u8> {
    [
        PREFACE.to_vec(),
        frame(4, 0, &[]),
        headers(&block(value, huffman), padding, priority),
        frame(0, 0, b"data with % and : in it"),
        headers(&[0x83, 0x86, 0x80 | 62], None, false),
        frame(0, 1, b"%"),
    ]
    .concat()
}

#[test]
fn the_value_is_rewritten_wherever_the_bytes_are_split() {
    for (huffman, padding, priority) in
        [(false, None, false), (true, None, false), (true, Some(7), true), (false, Some(0), true)]
    {
        let before = conversation("tmp%2Fx%2Fa.sock", huffman, padding, priority);
        let after = conversation("tmp-2Fx-2Fa.sock", huffman, padding, priority);
        for cut in 0..=before.len() {
            assert_eq!(pass(&before, [cut]), after, "cut at {cut}");
        }
        assert_eq!(pass(&before, 1..before.len()), after, "byte by byte");
    }
}

#[test]
fn a_block_may_go_on_in_continuation_frames() {
    for huffman in [false, true] {
        let whole = |value: &str| block(value, huffman);
        let split = |value: &str, cut: usize, second_cut: usize| {
            let block = whole(value);
            [
                PREFACE.to_vec(),
                frame(HEADERS, 0, &block[..cut]),
                frame(CONTINUATION, 0, &block[cut..second_cut]),
                frame(CONTINUATION, END_HEADERS, &block[second_cut..]),
                frame(0, 1, b"%"),
            ]
            .concat()
        };
        let len = whole("a%2Fb").len();
        for cut in 0..=len {
            for second_cut in cut..=len {
                let before = split("a%2Fb", cut, second_cut);
                let after = split("a-2Fb", cut, second_cut);
                assert_eq!(pass(&before, []), after);
                assert_eq!(pass(&before, 1..before.len()), after);
            }
        }
    }
}

#[test]
fn an_acceptable_authority_passes_untouched() {
    let before = conversation("localhost", true, Some(3), true);
    assert_eq!(pass(&before, []), before);
}

#[test]
fn what_is_not_http2_passes_untouched() {
    let nonsense = [
        [PREFACE, &frame(HEADERS, END_HEADERS | PADDED, &[200, 1, 2])].concat(),
        [PREFACE, &frame(HEADERS, END_HEADERS | PRIORITY, &[1, 2])].concat(),
        [PREFACE, &frame(HEADERS, END_HEADERS, &[0x41, 0x7f])].concat(),
        [PREFACE, &frame(HEADERS, 0, &[0x82]), &frame(0, 0, b"no continuation")].concat(),
    ];
    for bytes in nonsense {
        // After it nothing is rewritten any more, as the headers can't be understood.
        let bytes = [bytes, headers(&block("a%b", false), None, false)].concat();
        assert_eq!(pass(&bytes, 1..bytes.len()), bytes);
    }
}

#[test]
fn an_endless_header_block_is_let_go() {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(HEADERS, 0, &[0x82]));
    while bytes.len() < 2 * MAX_HELD {
        bytes.extend(frame(CONTINUATION, 0, &[0x82; 1000]));
    }
    let mut rewriter = Rewriter::default();
    let mut held = bytes.clone();
    assert_eq!(rewriter.scan(&mut held), bytes.len());
    assert_eq!(held, bytes);
}

/// Random connections in random pieces: the length stays, and so does every byte that does not
/// belong to an authority. The expected bytes are made with the rewritten value from the start.
#[test]
fn random_connections_change_in_the_value_alone() {
    let replace = |value: &str| {
        let replaced = value.bytes().map(|b| match b {
            b'%' | b'/' => '-',
            b':' => 'B',
            b'@' | b'[' | b']' => '~',
            b'?' => '!',
            other => char::from(other),
        });
        replaced.collect::<String>()
    };
    for seed in 0..500 {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (mut before, mut after) = (PREFACE.to_vec(), PREFACE.to_vec());
        for _ in 0..random.random_range(1..20) {
            let len = random.random_range(0..60);
            let value: String =
                (0..len).map(|_| char::from(random.random_range(b'!'..=b'~'))).collect();
            let is_authority = random.random_bool(0.5);
            let huffman = random.random_bool(0.5);
            let indexing: u8 = if random.random_bool(0.5) { 0x40 } else { 0x00 };
            let literal_name = random.random_bool(0.5);
            // 0x04 is `:path`, whose value is nobody's business here.
            let name = match (literal_name, is_authority) {
                (false, true) => vec![indexing | 1],
                (false, false) => vec![indexing | 4],
                (true, true) => [vec![indexing], text(":authority", huffman)].concat(),
                (true, false) => [vec![indexing], text("x-header", !huffman)].concat(),
            };
            let make = |value: &str| [name.clone(), text(value, huffman)].concat();
            let changed = if is_authority { replace(&value) } else { value.clone() };
            let padding = random.random_bool(0.3).then(|| random.random_range(0..20));
            let priority = random.random_bool(0.3);
            let data = frame(0, 0, value.as_bytes());
            for (bytes, value) in [(&mut before, &value), (&mut after, &changed)] {
                bytes.extend(headers(&make(value), padding, priority));
                bytes.extend(&data);
            }
        }
        let mut cuts: Vec<usize> =
            (0..random.random_range(0..40)).map(|_| random.random_range(0..before.len())).collect();
        cuts.sort_unstable();
        assert_eq!(pass(&before, cuts), after, "seed {seed}");
    }
}
