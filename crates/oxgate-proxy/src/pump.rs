//! The one body pump: moves a body from a wire to a socket, re-framing it on the way.
//!
//! Bytes are written from the buffer that they were read into. A head that was put in front of the
//! body goes out with the body's first bytes in one system call. Nothing is read while something is
//! unsent, which is all the backpressure there needs to be.

use crate::buffer::{BufferPool, SMALL};
use crate::socket::Socket;
use crate::wire::Wire;
use oxgate_http::Framing;
use oxgate_http::chunked::{self, Decoder};
use oxgate_http::websocket::Frames;
use std::io;
use std::ops::Range;
use std::task::{Context, Poll, ready};

/// Why a body did not get across.
#[derive(Debug)]
pub(crate) enum PumpError {
    /// The source ended or broke before the body was whole.
    Source,
    /// The source's chunked coding is malformed.
    Malformed,
    /// The sink does not take bytes any more.
    Sink,
    /// The body is over the limit.
    TooLarge,
}

#[derive(Debug)]
enum Coding {
    Length(u64),
    Chunked(Box<Decoder>),
    UntilClose,
    /// Frames until the end, which may come within one.
    WebSocket(Box<Frames>),
}

/// One body on its way.
#[derive(Debug)]
pub(crate) struct Pump {
    /// Goes out before anything that lies in the source's buffer.
    staged: Vec<u8>,
    staged_sent: usize,
    coding: Coding,
    /// Whether the sink gets chunks.
    rechunk: bool,
    unsent: Range<usize>,
    ended: bool,
    /// Body bytes taken from the source.
    pub(crate) moved: u64,
    /// Bytes that the sink has taken, heads and framing included.
    flushed: u64,
    limit: u64,
}

impl Pump {
    /// A body with this framing at the source, after `head`; chunked at the sink if `rechunk`.
    /// More than `limit` bytes are an error.
    pub(crate) fn new(head: Vec<u8>, framing: Framing, rechunk: bool, limit: u64) -> Pump {
        let (coding, ended) = match framing {
            Framing::None => (Coding::Length(0), true),
            Framing::Length(n) => (Coding::Length(n), false),
            Framing::Chunked => (Coding::Chunked(Box::default()), false),
            Framing::UntilClose => (Coding::UntilClose, false),
        };
        Pump { staged: head, staged_sent: 0, coding, rechunk, unsent: 0..0, ended, moved: 0, flushed: 0, limit }
    }

    /// One direction of a WebSocket, after `head`.
    pub(crate) fn websocket(head: Vec<u8>) -> Pump {
        let coding = Coding::WebSocket(Box::default());
        Pump { coding, ..Pump::new(head, Framing::UntilClose, false, u64::MAX) }
    }

    /// Whether everything taken from the source has gone out, and a WebSocket's next frame may be
    /// another one.
    pub(crate) fn is_between_frames(&self) -> bool {
        let between = matches!(&self.coding, Coding::WebSocket(frames) if frames.is_between());
        between && !self.waits_for_sink()
    }

    /// Whether the whole body was read; some of it may still be unsent.
    pub(crate) fn source_ended(&self) -> bool {
        self.ended
    }

    /// Whether the pump waits for the sink and not for the source.
    pub(crate) fn waits_for_sink(&self) -> bool {
        self.staged_sent < self.staged.len() || !self.unsent.is_empty()
    }

    /// A number that changes whenever something got further, on either side.
    pub(crate) fn progress(&self) -> u64 {
        self.moved.wrapping_add(self.flushed)
    }

    /// Whether the sink has taken nothing at all.
    pub(crate) fn is_untouched(&self) -> bool {
        self.flushed == 0
    }

    /// Whether all data has come and what follows is the unfinished line of a trailer field.
    pub(crate) fn lacks_end(&self) -> bool {
        matches!(&self.coding, Coding::Chunked(decoder) if decoder.in_trailer())
    }

    /// Moves what can be moved; ready once everything was handed to the sink.
    ///
    /// A source that closes ends a close-delimited body and breaks every other.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        pool: &BufferPool,
        source: &mut Wire,
        sink: &mut Socket,
    ) -> Poll<Result<(), PumpError>> {
        loop {
            if !self.ended && self.unsent.is_empty() && !source.input.is_empty() && self.staged.len() < SMALL {
                self.take(source)?;
            }
            ready!(self.poll_flush(cx, pool, source, sink)).map_err(|_| PumpError::Sink)?;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if source.input.is_empty() {
                match ready!(source.poll_fill(cx)) {
                    Ok(0) => self.source_closed()?,
                    Ok(_) => {}
                    Err(_) => return Poll::Ready(Err(PumpError::Source)),
                }
            }
        }
    }

    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        pool: &BufferPool,
        source: &mut Wire,
        sink: &mut Socket,
    ) -> Poll<io::Result<()>> {
        while self.staged_sent < self.staged.len() {
            let n = ready!(sink.poll_write(cx, &self.staged[self.staged_sent..]))?;
            self.staged_sent += n;
            self.flushed += n as u64;
        }
        if self.staged_sent > 0 {
            pool.put_staging(std::mem::take(&mut self.staged));
            self.staged_sent = 0;
        }
        while !self.unsent.is_empty() {
            let n = ready!(sink.poll_write(cx, source.input.slice(self.unsent.clone())))?;
            self.unsent.start += n;
            self.flushed += n as u64;
        }
        source.input.release();
        Poll::Ready(Ok(()))
    }

    /// Takes the body bytes that were read, framed for the sink.
    fn take(&mut self, source: &mut Wire) -> Result<(), PumpError> {
        let (bytes, filled) = source.input.parts();
        let (mut data, consumed) = match &mut self.coding {
            Coding::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(filled.len());
                *left -= n as u64;
                self.ended = *left == 0;
                (filled.start..filled.start + n, n)
            }
            Coding::UntilClose => (filled.clone(), filled.len()),
            Coding::WebSocket(frames) => {
                frames.pass(&bytes[filled.clone()]);
                (filled.clone(), filled.len())
            }
            Coding::Chunked(decoder) => {
                let decoded = decoder.decode(&mut bytes[filled.clone()]).map_err(|_| PumpError::Malformed)?;
                self.ended = decoded.done;
                (filled.start + decoded.data.start..filled.start + decoded.data.end, decoded.consumed)
            }
        };
        self.moved += data.len() as u64;
        if self.moved > self.limit {
            return Err(PumpError::TooLarge);
        }
        if self.rechunk && !data.is_empty() {
            data = chunked::wrap(bytes, data);
        }
        let last = self.rechunk && self.ended;
        if last || (!self.staged.is_empty() && self.staged.len() + data.len() <= 2 * SMALL) {
            self.staged.extend_from_slice(&bytes[data]);
            if last {
                let trailers = if let Coding::Chunked(decoder) = &self.coding { decoder.trailers() } else { &[] };
                chunked::finish(trailers, &mut self.staged);
            }
        } else {
            self.unsent = data;
        }
        source.input.consume(consumed);
        Ok(())
    }

    fn source_closed(&mut self) -> Result<(), PumpError> {
        if !matches!(self.coding, Coding::UntilClose | Coding::WebSocket(_)) {
            return Err(PumpError::Source);
        }
        self.ended = true;
        if self.rechunk {
            chunked::finish(&[], &mut self.staged);
        }
        Ok(())
    }
}
