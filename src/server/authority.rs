//! Makes the server deaf to what a client calls it.
//!
//! gRPC's C core, and with it every current Python client, sends the percent-encoded path of a Unix
//! socket as `:authority` (`tmp%2Fa.sock`). The `http` crate refuses that and the stream is reset
//! before any of our code runs. Nobody reads the authority of a request on a Unix socket, so the
//! characters in question are replaced in the bytes on their way to the HTTP/2 library.

use crate::server::hpack::HeaderBlocks;

const PREFACE_LEN: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
const FRAME_HEADER_LEN: usize = 9;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// A header block that does not end within this many bytes goes on as it is: the HTTP/2 library
/// has its own, smaller limits and refuses it.
const MAX_HELD: usize = 128 << 10;

/// Follows the frames of one HTTP/2 connection, client to server.
#[derive(Debug)]
pub struct Rewriter {
    /// Bytes that pass unseen: the rest of the preface or of a frame without headers.
    skip: usize,
    blocks: HeaderBlocks,
    /// Something was not HTTP/2; the library will say so, nothing is touched any more.
    lost: bool,
}

impl Default for Rewriter {
    fn default() -> Rewriter {
        Rewriter { skip: PREFACE_LEN, blocks: HeaderBlocks::default(), lost: false }
    }
}

/// The start of a frame.
struct FrameHead {
    payload_len: usize,
    kind: u8,
    flags: u8,
}

impl FrameHead {
    fn read(data: &[u8]) -> Option<FrameHead> {
        let head = data.get(..FRAME_HEADER_LEN)?;
        let payload_len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        Some(FrameHead { payload_len, kind: head[3], flags: head[4] })
    }

    fn frame_len(&self) -> usize {
        FRAME_HEADER_LEN + self.payload_len
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

impl Rewriter {
    /// What was passed on so far ends inside the preface or a frame.
    pub fn is_inside_frame(&self) -> bool {
        self.skip > 0
    }

    /// Looks at what came from the client and rewrites what is complete. The first bytes, as many
    /// as the result says, may go on; the others must be shown again with what follows them.
    pub fn scan(&mut self, data: &mut [u8]) -> usize {
        let mut at = 0;
        while !self.lost {
            let skipped = self.skip.min(data.len() - at);
            self.skip -= skipped;
            at += skipped;
            if at == data.len() {
                return at;
            }
            let Some(head) = FrameHead::read(&data[at..]) else { return at };
            if head.kind != HEADERS {
                self.skip = head.frame_len();
                continue;
            }
            match self.header_block(&mut data[at..], &head) {
                Ok(Some(len)) => at += len,
                Ok(None) if data.len() - at < MAX_HELD => return at,
                Ok(None) | Err(NotHttp2) => self.lost = true,
            }
        }
        data.len()
    }

    /// Rewrites the header block that starts with the frame at the start of `data`; its whole
    /// length, with CONTINUATION frames, or `None` while it is incomplete.
    fn header_block(
        &mut self,
        data: &mut [u8],
        head: &FrameHead,
    ) -> Result<Option<usize>, NotHttp2> {
        if head.frame_len() > data.len() {
            return Ok(None);
        }
        let mut start = FRAME_HEADER_LEN;
        let mut end = head.frame_len();
        if head.has(PADDED) {
            let padding = usize::from(*data[..end].get(start).ok_or(NotHttp2)?);
            start += 1;
            end = end.checked_sub(padding).ok_or(NotHttp2)?;
        }
        if head.has(PRIORITY) {
            start += 5;
        }
        if start > end {
            return Err(NotHttp2);
        }
        if head.has(END_HEADERS) {
            self.blocks.rewrite(&mut data[start..end]).map_err(|_| NotHttp2)?;
            return Ok(Some(head.frame_len()));
        }
        self.continued_block(data, start..end, head.frame_len())
    }

    /// A block in several frames: put together, rewritten, and put back where it came from.
    fn continued_block(
        &mut self,
        data: &mut [u8],
        first: std::ops::Range<usize>,
        mut at: usize,
    ) -> Result<Option<usize>, NotHttp2> {
        let mut fragments = vec![first];
        loop {
            let Some(head) = FrameHead::read(&data[at..]) else { return Ok(None) };
            if head.kind != CONTINUATION {
                return Err(NotHttp2);
            }
            let end = at + head.frame_len();
            if end > data.len() {
                return Ok(None);
            }
            fragments.push(at + FRAME_HEADER_LEN..end);
            at = end;
            if head.has(END_HEADERS) {
                break;
            }
        }
        let mut block = Vec::new();
        for fragment in &fragments {
            block.extend_from_slice(&data[fragment.clone()]);
        }
        self.blocks.rewrite(&mut block).map_err(|_| NotHttp2)?;
        let mut rest = block.as_slice();
        for fragment in fragments {
            let (piece, after) = rest.split_at(fragment.len());
            data[fragment].copy_from_slice(piece);
            rest = after;
        }
        Ok(Some(at))
    }
}

/// The bytes break the protocol.
struct NotHttp2;

#[cfg(test)]
mod tests;
