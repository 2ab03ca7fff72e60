use super::*;

/// (code, bits) of the printable ASCII characters from space on (RFC 7541, appendix B).
const CODES: [(u32, u32); 95] = [
    (0x14, 6),
    (0x3f8, 10),
    (0x3f9, 10),
    (0xffa, 12),
    (0x1ff9, 13),
    (0x15, 6),
    (0xf8, 8),
    (0x7fa, 11),
    (0x3fa, 10),
    (0x3fb, 10),
    (0xf9, 8),
    (0x7fb, 11),
    (0xfa, 8),
    (0x16, 6),
    (0x17, 6),
    (0x18, 6),
    (0x0, 5),
    (0x1, 5),
    (0x2, 5),
    (0x19, 6),
    (0x1a, 6),
    (0x1b, 6),
    (0x1c, 6),
    (0x1d, 6),
    (0x1e, 6),
    (0x1f, 6),
    (0x5c, 7),
    (0xfb, 8),
    (0x7ffc, 15),
    (0x20, 6),
    (0xffb, 12),
    (0x3fc, 10),
    (0x1ffa, 13),
    (0x21, 6),
    (0x5d, 7),
    (0x5e, 7),
    (0x5f, 7),
    (0x60, 7),
    (0x61, 7),
    (0x62, 7),
    (0x63, 7),
    (0x64, 7),
    (0x65, 7),
    (0x66, 7),
    (0x67, 7),
    (0x68, 7),
    (0x69, 7),
    (0x6a, 7),
    (0x6b, 7),
    (0x6c, 7),
    (0x6d, 7),
    (0x6e, 7),
    (0x6f, 7),
    (0x70, 7),
    (0x71, 7),
    (0x72, 7),
    (0xfc, 8),
    (0x73, 7),
    (0xfd, 8),
    (0x1ffb, 13),
    (0x7fff0, 19),
    (0x1ffc, 13),
    (0x3ffc, 14),
    (0x22, 6),
    (0x7ffd, 15),
    (0x3, 5),
    (0x23, 6),
    (0x4, 5),
    (0x24, 6),
    (0x5, 5),
    (0x25, 6),
    (0x26, 6),
    (0x27, 6),
    (0x6, 5),
    (0x74, 7),
    (0x75, 7),
    (0x28, 6),
    (0x29, 6),
    (0x2a, 6),
    (0x7, 5),
    (0x2b, 6),
    (0x76, 7),
    (0x2c, 6),
    (0x8, 5),
    (0x9, 5),
    (0x2d, 6),
    (0x77, 7),
    (0x78, 7),
    (0x79, 7),
    (0x7a, 7),
    (0x7b, 7),
    (0x7ffe, 15),
    (0x7fc, 11),
    (0x3ffd, 14),
    (0x1ffd, 13),
];

pub(crate) fn huffman_encode(text: &str) -> Vec<u8> {
    let (mut bits, mut count, mut bytes) = (0u64, 0, Vec::new());
    for character in text.bytes() {
        let (code, length) = CODES[usize::from(character - b' ')];
        bits = bits << length | u64::from(code);
        count += length;
        while count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    if count > 0 {
        bytes.push((bits << (8 - count)) as u8 | (0xff >> count));
    }
    bytes
}

/// A string literal.
pub(crate) fn text(value: &str, huffman: bool) -> Vec<u8> {
    let (flag, bytes) =
        if huffman { (0x80, huffman_encode(value)) } else { (0, value.as_bytes().to_vec()) };
    assert!(bytes.len() < 127 + 128, "the test's strings are short");
    let mut literal = if bytes.len() < 127 {
        vec![flag | bytes.len() as u8]
    } else {
        vec![flag | 127, (bytes.len() - 127) as u8]
    };
    literal.extend(bytes);
    literal
}

fn rewritten(block: &[u8]) -> Vec<u8> {
    let mut copy = block.to_vec();
    HeaderBlocks::default().rewrite(&mut copy).expect("well-formed");
    copy
}

/// A literal with the static name `:authority` (index 1).
fn authority(first_byte: u8, value: &str, huffman: bool) -> Vec<u8> {
    [vec![first_byte], text(value, huffman)].concat()
}

#[test]
fn python_clients_authority_becomes_acceptable_in_every_form() {
    for huffman in [false, true] {
        for first_byte in [0x41, 0x01, 0x11] {
            assert_eq!(
                rewritten(&authority(first_byte, "tmp%2Fx%2Fa.sock", huffman)),
                authority(first_byte, "tmp-2Fx-2Fa.sock", huffman),
            );
        }
    }
}

#[test]
fn all_refused_characters_are_replaced_and_the_result_is_accepted() {
    for huffman in [false, true] {
        let (before, after) = ("[a]:b@c?/%", "~a~Bb~c!--");
        assert_eq!(rewritten(&authority(0x41, before, huffman)), authority(0x41, after, huffman));
        assert!(http::uri::Authority::try_from(before).is_err());
        assert!(http::uri::Authority::try_from(after).is_ok());
    }
}

/// The reason for this module. When this fails, `http` has learnt to accept what gRPC's C core
/// sends, and the rewriting can go.
#[test]
fn the_http_crate_still_refuses_a_percent_encoded_path() {
    assert!(http::uri::Authority::try_from("tmp%2Fx%2Fa.sock").is_err());
}

#[test]
fn literal_names_are_recognised_plain_and_huffman_coded() {
    for huffman in [false, true] {
        let block = |value| [vec![0x40], text(":authority", huffman), text(value, false)].concat();
        assert_eq!(rewritten(&block("a%b")), block("a-b"));
    }
}

#[test]
fn other_headers_keep_their_values() {
    let block = [vec![0x40], text("x-path", true), text("a%2Fb:c@d", true), vec![0x82]].concat();
    assert_eq!(rewritten(&block), block);
}

#[test]
fn names_are_found_in_the_dynamic_table_until_they_are_evicted() {
    let mut blocks = HeaderBlocks::default();
    let mut first = [vec![0x40], text(":authority", false), text("a%", false)].concat();
    blocks.rewrite(&mut first).unwrap();
    // Index 62 is the newest entry of the dynamic table; without indexing its prefix is 4 bits.
    let by_name = |value| [vec![0x0f, 62 - 15], text(value, true)].concat();
    let mut second = by_name("b%2F");
    blocks.rewrite(&mut second).unwrap();
    assert_eq!(second, by_name("b-2F"));

    // A table of size 0 is empty: the index means nothing any more.
    blocks.rewrite(&mut [0x20]).unwrap();
    assert_eq!(blocks.rewrite(&mut by_name("c%")), Err(Malformed));
}

#[test]
fn the_table_evicts_by_decoded_size() {
    // Each entry takes 32 + 4 + 60 = 96 bytes, so 42 of them fit into 4096.
    let mut blocks = HeaderBlocks::default();
    for _ in 0..100 {
        let mut block = [vec![0x40], text("name", true), text(&"v".repeat(60), true)].concat();
        blocks.rewrite(&mut block).unwrap();
    }
    assert_eq!(blocks.entries.len(), 42);
    assert_eq!(blocks.size, 42 * 96);
}

#[test]
fn broken_blocks_are_refused_without_a_panic() {
    let broken: [&[u8]; 8] = [
        &[0x41],                               // no value
        &[0x41, 0x05, b'a'],                   // a value that is cut off
        &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff], // an endless index
        &[0x7e, 0x00],                         // an index outside the table
        &[0x41, 0x84, 0xff, 0xff, 0xff, 0xff], // "end of string" inside a string
        &[0x41, 0x82, 0x00, 0x00],             // padding that is not ones
        &[0x3f, 0xff, 0x7f],                   // a table larger than allowed
        &[0x40, 0xff],                         // a length that is cut off
    ];
    for block in broken {
        let result = HeaderBlocks::default().rewrite(&mut block.to_vec());
        assert_eq!(result, Err(Malformed), "{block:x?}");
    }
}
