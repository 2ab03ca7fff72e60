//! Just enough HPACK (RFC 7541) to find the value of `:authority` in a header block and make it
//! acceptable **in place**: no byte is added or removed, and the value keeps its decoded length too,
//! so that both ends' dynamic tables stay the same size and evict the same entries.

use std::collections::VecDeque;

/// The table size every peer starts with; ours never announces another.
const MAX_TABLE_SIZE: usize = 4096;
/// What each entry costs beyond its name and value (RFC 7541, 4.1).
const ENTRY_OVERHEAD: usize = 32;
const AUTHORITY_INDEX: usize = 1;
const AUTHORITY: &[u8] = b":authority";
/// `:authority` in the Huffman code; the padding is fixed, so there is only this form.
const AUTHORITY_HUFFMAN: &[u8] = &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];

/// Lengths of the names in the static table, entries 1 to 61.
const STATIC_NAME_LENGTHS: [u8; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14,
    16, 13, 12, 6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10,
    25, 17, 10, 4, 3, 16,
];

/// The block breaks RFC 7541; what follows on this connection can't be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// What one connection's header blocks have put into the dynamic table, as sizes.
#[derive(Debug)]
pub struct HeaderBlocks {
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    max_size: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Name,
    value_len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Name {
    len: usize,
    is_authority: bool,
}

impl Default for HeaderBlocks {
    fn default() -> HeaderBlocks {
        HeaderBlocks { entries: VecDeque::new(), size: 0, max_size: MAX_TABLE_SIZE }
    }
}

impl HeaderBlocks {
    /// Walks one complete header block and rewrites the values of `:authority` in it.
    ///
    /// # Errors
    /// [`Malformed`]; the block may then be half rewritten, and the HTTP/2 library will refuse it.
    pub fn rewrite(&mut self, block: &mut [u8]) -> Result<(), Malformed> {
        let mut at = 0;
        while at < block.len() {
            let first = block[at];
            if first & 0x80 != 0 {
                integer(block, &mut at, 7)?;
            } else if first & 0xe0 == 0x20 {
                let max_size = integer(block, &mut at, 5)?;
                if max_size > MAX_TABLE_SIZE {
                    return Err(Malformed);
                }
                self.max_size = max_size;
                self.evict();
            } else {
                let indexed = first & 0xc0 == 0x40;
                let entry = self.literal(block, &mut at, if indexed { 6 } else { 4 })?;
                if indexed {
                    self.size += entry.size();
                    self.entries.push_front(entry);
                    self.evict();
                }
            }
        }
        Ok(())
    }

    fn literal(
        &self,
        block: &mut [u8],
        at: &mut usize,
        prefix_bits: u32,
    ) -> Result<Entry, Malformed> {
        let name = match integer(block, at, prefix_bits)? {
            0 => {
                let text = Text::read(block, at)?;
                let bytes = &block[text.start..text.end];
                let is_authority =
                    bytes == if text.huffman { AUTHORITY_HUFFMAN } else { AUTHORITY };
                Name { len: text.decoded_len(block)?, is_authority }
            }
            index => self.name(index)?,
        };
        let text = Text::read(block, at)?;
        if name.is_authority {
            text.make_acceptable(block)?;
        }
        Ok(Entry { name, value_len: text.decoded_len(block)? })
    }

    fn name(&self, index: usize) -> Result<Name, Malformed> {
        if let Some(&len) = STATIC_NAME_LENGTHS.get(index - 1) {
            return Ok(Name { len: len.into(), is_authority: index == AUTHORITY_INDEX });
        }
        let entry = self.entries.get(index - 1 - STATIC_NAME_LENGTHS.len()).ok_or(Malformed)?;
        Ok(entry.name)
    }

    fn evict(&mut self) {
        while self.size > self.max_size {
            let Some(oldest) = self.entries.pop_back() else { break };
            self.size -= oldest.size();
        }
    }
}

impl Entry {
    fn size(&self) -> usize {
        self.name.len + self.value_len + ENTRY_OVERHEAD
    }
}

/// An integer with a prefix of `prefix_bits` (RFC 7541, 5.1).
fn integer(block: &[u8], at: &mut usize, prefix_bits: u32) -> Result<usize, Malformed> {
    let mask = (1usize << prefix_bits) - 1;
    let mut value = usize::from(*block.get(*at).ok_or(Malformed)?) & mask;
    *at += 1;
    if value < mask {
        return Ok(value);
    }
    // Four bytes hold 28 bits, more than any length or index that fits a block.
    for shift in [0, 7, 14, 21] {
        let byte = *block.get(*at).ok_or(Malformed)?;
        *at += 1;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

/// A string literal inside a block.
struct Text {
    start: usize,
    end: usize,
    huffman: bool,
}

impl Text {
    fn read(block: &[u8], at: &mut usize) -> Result<Text, Malformed> {
        let huffman = block.get(*at).ok_or(Malformed)? & 0x80 != 0;
        let len = integer(block, at, 7)?;
        let (start, end) = (*at, *at + len);
        if end > block.len() {
            return Err(Malformed);
        }
        *at = end;
        Ok(Text { start, end, huffman })
    }

    fn decoded_len(&self, block: &[u8]) -> Result<usize, Malformed> {
        let bytes = &block[self.start..self.end];
        if self.huffman { huffman::symbols(bytes) } else { Ok(bytes.len()) }
    }

    /// Replaces the characters that the `http` crate refuses in an authority.
    fn make_acceptable(&self, block: &mut [u8]) -> Result<(), Malformed> {
        let bytes = &mut block[self.start..self.end];
        if self.huffman {
            return huffman::make_acceptable(bytes);
        }
        for byte in bytes {
            *byte = match *byte {
                b'%' | b'/' => b'-',
                b':' => b'B',
                b'@' | b'[' | b']' => b'~',
                b'?' => b'!',
                other => other,
            };
        }
        Ok(())
    }
}

/// The Huffman code of RFC 7541, appendix B. It is canonical: inside one length the codes count up,
/// so the number of codes of each length is all that is needed to split a string into symbols.
mod huffman {
    use super::Malformed;

    /// (length in bits, number of codes of that length)
    const CODES_BY_LENGTH: [(u32, u32); 21] = [
        (5, 10),
        (6, 26),
        (7, 32),
        (8, 6),
        (10, 5),
        (11, 3),
        (12, 2),
        (13, 6),
        (14, 2),
        (15, 3),
        (19, 3),
        (20, 8),
        (21, 13),
        (22, 26),
        (23, 29),
        (24, 12),
        (25, 4),
        (26, 15),
        (27, 19),
        (28, 29),
        (30, 4),
    ];
    /// The last code of all, "end of string", never stands in a string.
    const END_OF_STRING: u32 = 0x3fff_ffff;
    const SHORTEST_CODE_BITS: usize = 5;

    /// Calls `visit(code, length, position of its first bit)` for every symbol.
    fn walk(bytes: &[u8], mut visit: impl FnMut(u32, u32, usize)) -> Result<(), Malformed> {
        let total = bytes.len() * 8;
        let mut at = 0;
        while total - at >= SHORTEST_CODE_BITS {
            let window = window(bytes, at);
            let (code, length) = first_code(window);
            if at + length as usize > total {
                break;
            }
            if code == END_OF_STRING {
                return Err(Malformed);
            }
            visit(code, length, at);
            at += length as usize;
        }
        // What is left is padding: less than a byte, all ones.
        let left = (total - at) as u32;
        if left >= 8 || (left > 0 && window(bytes, at).leading_ones() < left) {
            return Err(Malformed);
        }
        Ok(())
    }

    /// The 32 bits from bit `at` on, ones after the end.
    fn window(bytes: &[u8], at: usize) -> u32 {
        let start = at / 8;
        let mut wide = 0u64;
        for i in 0..5 {
            wide = wide << 8 | u64::from(bytes.get(start + i).copied().unwrap_or(0xff));
        }
        (wide >> (8 - at % 8)) as u32
    }

    /// The code at the top of `window` and its length.
    fn first_code(window: u32) -> (u32, u32) {
        let mut next_code = 0;
        let mut previous_length = 0;
        for (length, count) in CODES_BY_LENGTH {
            let first_of_length = next_code << (length - previous_length);
            let code = window >> (32 - length);
            if code < first_of_length + count {
                return (code, length);
            }
            next_code = first_of_length + count;
            previous_length = length;
        }
        (END_OF_STRING, 30)
    }

    /// Number of symbols, which is the decoded length.
    pub fn symbols(bytes: &[u8]) -> Result<usize, Malformed> {
        let mut count = 0;
        walk(bytes, |_, _, _| count += 1)?;
        Ok(count)
    }

    /// Replaces codes by codes **of the same length**: `%` and `/` by `-`, `:` by `B`, `@`, `[` and
    /// `]` by `~`, `?` by `!`.
    pub fn make_acceptable(bytes: &mut [u8]) -> Result<(), Malformed> {
        let mut flips: Vec<(usize, u32)> = Vec::new();
        walk(bytes, |code, length, at| {
            let replacement = match (length, code) {
                (6, 0x15 | 0x18) => 0x16,
                (7, 0x5c) => 0x5d,
                (10, 0x3fc) => 0x3f8,
                (13, 0x1ffa..=0x1ffc) => 0x1ffd,
                _ => return,
            };
            flips.push((at + length as usize, code ^ replacement));
        })?;
        for (end, mask) in flips {
            for bit in 0..13 {
                if mask >> bit & 1 == 1 {
                    let position = end - 1 - bit;
                    bytes[position / 8] ^= 0x80 >> (position % 8);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
