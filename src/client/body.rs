//! The body of a reply, kept in the pieces it came in.

use super::{ClientError, GRPC_PREFIX_BYTES};
use bytes::{Buf, Bytes, BytesMut};
use h2::RecvStream;
use http::HeaderMap;
use std::collections::VecDeque;

/// A reply's bytes. Large replies come in many frames; decoding straight from the pieces saves
/// joining megabytes of which only a few bytes are looked at.
#[derive(Debug, Default)]
pub struct Body {
    pieces: VecDeque<Bytes>,
    len: usize,
}

impl Body {
    /// Reads to the end, trailers included.
    pub(super) async fn read(
        mut stream: RecvStream,
        max_bytes: usize,
    ) -> Result<(Body, Option<HeaderMap>), ClientError> {
        let mut body = Body::default();
        while let Some(piece) = stream.data().await {
            let piece = piece.map_err(ClientError::from_h2)?;
            stream.flow_control().release_capacity(piece.len()).map_err(ClientError::from_h2)?;
            if body.len + piece.len() > max_bytes {
                let text = format!("the reply is larger than {max_bytes} bytes");
                return Err(ClientError::Protocol(text));
            }
            body.push(piece);
        }
        let trailers = stream.trailers().await.map_err(ClientError::from_h2)?;
        Ok((body, trailers))
    }

    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// All of it in one piece.
    pub(super) fn into_bytes(mut self) -> Bytes {
        self.copy_to_bytes(self.len)
    }

    /// Takes off the five bytes before a gRPC message.
    pub(super) fn strip_grpc_prefix(&mut self) -> Result<(), ClientError> {
        let wrong = |text: String| Err(ClientError::Protocol(text));
        if self.len < GRPC_PREFIX_BYTES {
            return wrong(format!("the reply has {} bytes, too few for a message", self.len));
        }
        let compressed = self.get_u8() != 0;
        let length = self.get_u32() as usize;
        if compressed {
            return wrong("the reply is compressed, which was not asked for".into());
        }
        if length != self.len {
            return wrong(format!("the reply says {length} bytes and has {}", self.len));
        }
        Ok(())
    }
}

impl Buf for Body {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| &piece[..])
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len, "advance past the end: {count} of {}", self.len);
        self.len -= count;
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        // What lies within one piece stays a slice of it.
        if let Some(piece) = self.pieces.front_mut()
            && count < piece.len()
        {
            self.len -= count;
            return piece.split_to(count);
        }
        if self.pieces.front().is_some_and(|piece| piece.len() == count) {
            self.len -= count;
            return self.pieces.pop_front().unwrap_or_default();
        }
        assert!(count <= self.len, "copy past the end: {count} of {}", self.len);
        let mut joined = BytesMut::with_capacity(count);
        while joined.len() < count {
            let take = self.chunk().len().min(count - joined.len());
            joined.extend_from_slice(&self.chunk()[..take]);
            self.advance(take);
        }
        joined.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(pieces: &[&'static [u8]]) -> Body {
        let mut body = Body::default();
        pieces.iter().for_each(|piece| body.push(Bytes::from_static(piece)));
        body
    }

    #[test]
    fn pieces_read_as_one() {
        let mut b = body(&[b"ab", b"", b"cde", b"f"]);
        assert_eq!(b.remaining(), 6);
        b.advance(1);
        assert_eq!(b.copy_to_bytes(3), "bcd");
        assert_eq!(b.copy_to_bytes(1), "e");
        assert_eq!(b.copy_to_bytes(1), "f");
        assert!(!b.has_remaining());
        assert_eq!(b.chunk(), b"");
    }

    #[test]
    fn a_message_split_inside_its_prefix_decodes() {
        let mut b = body(&[&[0, 0], &[0, 0, 3, 9], &[8, 7]]);
        b.strip_grpc_prefix().unwrap();
        assert_eq!(&b.into_bytes()[..], &[9, 8, 7]);
    }

    #[test]
    fn a_wrong_prefix_is_an_error() {
        for pieces in [&[0u8, 0, 0][..], &[1, 0, 0, 0, 0], &[0, 0, 0, 0, 2, 7]] {
            let mut b = Body::default();
            b.push(Bytes::copy_from_slice(pieces));
            assert!(b.strip_grpc_prefix().is_err(), "{pieces:?}");
        }
    }
}
