//! A client's socket as the HTTP library sees it: bytes pass straight through, except that HTTP/2
//! header blocks are held until they are whole and then rewritten (see [`crate::server::authority`]).

use crate::server::activity::Activity;
use crate::server::authority::Rewriter;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

/// Read at once while a header block is incomplete.
const HELD_READ_BYTES: usize = 4 << 10;

/// The two protocols, told apart by their first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

impl Version {
    /// `None` while it can be either. No method of HTTP/1 in use begins like HTTP/2's preface.
    pub fn detect(first_bytes: &[u8]) -> Option<Version> {
        const PREFACE: &[u8] = b"PRI ";
        let compared = first_bytes.len().min(PREFACE.len());
        if first_bytes[..compared] != PREFACE[..compared] {
            return Some(Version::Http1);
        }
        (compared == PREFACE.len()).then_some(Version::Http2)
    }
}

pub struct ClientStream {
    socket: UnixStream,
    /// `None` for HTTP/1.
    rewriter: Option<Rewriter>,
    activity: Arc<Activity>,
    /// Read from the socket and not yet given to the library.
    held: Vec<u8>,
    /// So many bytes of `held` may go on.
    ready: usize,
}

impl ClientStream {
    /// `first_bytes` were read already, to find out the version.
    pub fn new(
        socket: UnixStream,
        version: Version,
        first_bytes: Vec<u8>,
        activity: Arc<Activity>,
    ) -> ClientStream {
        let rewriter = (version == Version::Http2).then(Rewriter::default);
        let mut stream = ClientStream { socket, rewriter, activity, held: first_bytes, ready: 0 };
        stream.scan_held();
        stream
    }

    fn scan_held(&mut self) {
        self.ready = match &mut self.rewriter {
            Some(rewriter) => rewriter.scan(&mut self.held),
            None => self.held.len(),
        };
        self.note_read();
    }

    fn note_read(&self) {
        match &self.rewriter {
            Some(rewriter) => {
                self.activity.read_frames(self.ready < self.held.len(), rewriter.is_inside_frame())
            }
            None => self.activity.read_bytes(),
        }
    }

    /// Gives on what may go on; true when that was something.
    fn pass_held(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let passed = self.ready.min(buf.remaining());
        buf.put_slice(&self.held[..passed]);
        self.held.drain(..passed);
        self.ready -= passed;
        passed > 0
    }

    /// Reads into the library's own buffer; only the start of an unfinished header block is taken
    /// out of it again. True when something (or the end) is there for the library.
    fn poll_read_through(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        let fresh = &mut buf.filled_mut()[before..];
        if fresh.is_empty() {
            return Poll::Ready(Ok(true));
        }
        if let Some(rewriter) = &mut self.rewriter {
            let passed = rewriter.scan(fresh);
            self.held.extend_from_slice(&fresh[passed..]);
            buf.set_filled(before + passed);
        }
        self.note_read();
        Poll::Ready(Ok(buf.filled().len() > before))
    }

    /// Reads behind the unfinished header block.
    fn poll_read_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.held.len();
        self.held.resize(before + HELD_READ_BYTES, 0);
        let mut tail = ReadBuf::new(&mut self.held[before..]);
        let result = Pin::new(&mut self.socket).poll_read(cx, &mut tail);
        let read = tail.filled().len();
        self.held.truncate(before + read);
        ready!(result)?;
        if read == 0 {
            // The client is gone; the library shall see the fragment and the end.
            self.rewriter = None;
            self.ready = self.held.len();
        } else {
            self.scan_held();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if buf.remaining() == 0 || this.pass_held(buf) {
                return Poll::Ready(Ok(()));
            }
            if !this.held.is_empty() {
                ready!(this.poll_read_held(cx))?;
            } else if ready!(this.poll_read_through(cx, buf))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, data);
        self.activity.wrote(written.is_pending());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, data);
        self.activity.wrote(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
