//! An HTTP/1 connection: one request after the other.
//!
//! While a connection waits it is a few hundred bytes: the task, the socket, a timer slot. What an
//! exchange needs is put in a box when the first byte comes and kept while requests follow closely.

use super::downstream::{Admission, Downstream};
use super::listener::ListenerView;
use crate::exchange::Exchange;
use crate::respond;
use crate::serve::{Next, serve};
use crate::socket::Socket;
use crate::worker::Worker;
use oxgate_http::{HeadLimits, Parsed, RequestError};
use oxgate_policy::Answer;
use oxgate_telemetry::Reason;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;

/// How long a connection keeps its box after an exchange.
const GRACE_US: u64 = 100_000;
/// How long a connection may take to send a request while the gateway drains.
const LAST_MOMENT_US: u64 = 500_000;
/// What a client may still send that nobody will read, and how long it may take, before its
/// connection is closed under it: closing at once would destroy the answer on its way.
const LINGER_BYTES: usize = 1024 * 1024;
const LINGER_US: u64 = 2_000_000;

/// Serves a connection in a task of its own.
pub(crate) fn spawn(w: &Rc<Worker>, listener: &Rc<ListenerView>, socket: Socket, peer: Option<SocketAddr>) {
    let timer = w.timers.register(listener.group());
    let mut down = Downstream::new(Admission::new(w, listener), socket, peer, timer);
    // Captured, and lent from there: an argument would be kept in the task twice.
    w.event_loop.spawn(async move { connection(&mut down).await });
}

async fn connection(down: &mut Downstream) {
    let w = &Rc::clone(down.worker());
    let _watch = PanicWatch(Rc::clone(w));
    poll_fn(|cx| {
        down.watch_deadline(cx);
        Poll::Ready(())
    })
    .await;
    let mut patience_us = down.listener().limits.get().header_timeout.as_micros() as u64;
    while wait_for_bytes(w, down, patience_us).await {
        if !Box::pin(burst(w, down)).await {
            return;
        }
        patience_us = (down.listener().limits.get().idle_timeout.as_micros() as u64).saturating_sub(GRACE_US);
    }
}

/// Waits for a first byte; false when the client closes or stays silent, or the gateway drains.
///
/// A request may be on the way while the gateway drains already: it gets a moment.
async fn wait_for_bytes(w: &Worker, down: &mut Downstream, patience_us: u64) -> bool {
    down.wait_idle(w.clock.now_us(), patience_us);
    let mut hurried = false;
    poll_fn(|cx| match down.wire.poll_fill(cx) {
        Poll::Ready(read) => Poll::Ready(read.is_ok_and(|n| n > 0)),
        Poll::Pending if down.expired() || down.is_shed() => Poll::Ready(false),
        Poll::Pending if w.is_draining() => {
            if !std::mem::replace(&mut hurried, true) {
                down.set_deadline(w.clock.now_us() + LAST_MOMENT_US);
            }
            Poll::Pending
        }
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Serves requests while they follow closely; says whether the connection goes on.
async fn burst(w: &Rc<Worker>, down: &mut Downstream) -> bool {
    let mut x = Exchange::default();
    loop {
        match read_head(w, &mut x, down).await {
            Head::Complete => {}
            Head::Quiet => return true,
            Head::Closed => return false,
            Head::Refused(answer) => {
                x.begin(w.clock.now_us());
                respond::refuse(w, &mut x, down, answer).await;
                linger(w, down).await;
                return false;
            }
        }
        match serve(w, &mut x, down).await {
            Next::Keep => {}
            Next::Close => return false,
            Next::Linger => {
                linger(w, down).await;
                return false;
            }
        }
    }
}

enum Head {
    Complete,
    /// Nothing came for a while.
    Quiet,
    Closed,
    Refused(Box<Answer>),
}

/// Reads the next request's head into the exchange.
async fn read_head(w: &Worker, x: &mut Exchange, down: &mut Downstream) -> Head {
    let (limits, timeout_us) = head_limits(down);
    let mut begun = !down.wire.input.skip_empty_lines();
    if !begun {
        down.wait_idle(w.clock.now_us(), GRACE_US);
    }
    // Most heads come whole and need no deadline.
    let mut timed = false;
    let mut unparsed = begun;
    poll_fn(|cx| {
        loop {
            if unparsed && begun {
                match x.request.parse(down.wire.input.filled(), &limits) {
                    Ok(Parsed::Complete(len)) => {
                        down.wire.input.consume(len);
                        return Poll::Ready(Head::Complete);
                    }
                    Ok(Parsed::Partial) if down.wire.input.is_full() => down.wire.input.grow(),
                    Ok(Parsed::Partial) => {}
                    Err(error) => return Poll::Ready(Head::Refused(refusal(error))),
                }
                if !std::mem::replace(&mut timed, true) {
                    down.set_deadline(w.clock.now_us() + timeout_us);
                }
            }
            match down.wire.poll_fill(cx) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    let filled = down.wire.input.filled();
                    let new = &filled[filled.len() - n..];
                    let over = || filled.len() > limits.target.min(limits.bytes) || down.wire.input.is_full();
                    // A head can end only where a line ends: more of one without that needs no parsing.
                    unparsed = !begun || memchr::memchr(b'\n', new).is_some() || over();
                    begun = begun || !down.wire.input.skip_empty_lines();
                }
                Poll::Ready(_) => return Poll::Ready(Head::Closed),
                Poll::Pending if down.expired() && begun => {
                    let detail = "the request's head did not arrive in time";
                    return Poll::Ready(Head::Refused(Answer::problem(408, Reason::HeaderTimeout, detail)));
                }
                Poll::Pending if down.is_shed() && !begun => return Poll::Ready(Head::Closed),
                Poll::Pending if down.expired() => return Poll::Ready(Head::Quiet),
                Poll::Pending if w.is_draining() && !begun => return Poll::Ready(Head::Quiet),
                Poll::Pending => {
                    down.wire.input.settle();
                    return Poll::Pending;
                }
            }
        }
    })
    .await
}

/// What a head may cost its listener: bytes, and time in microseconds.
#[inline]
fn head_limits(down: &Downstream) -> (HeadLimits, u64) {
    let limits = down.listener().limits.get();
    let head = HeadLimits { bytes: limits.header_bytes, fields: limits.header_count, target: limits.uri_bytes };
    (head, limits.header_timeout.as_micros() as u64)
}

/// The answer to a request that cannot be read or must not be forwarded.
pub(crate) fn refusal(error: RequestError) -> Box<Answer> {
    let (status, reason, detail) = match error {
        RequestError::Syntax(detail) => (400, Reason::MalformedRequest, detail),
        RequestError::Version => (505, Reason::VersionNotSupported, "only HTTP/1.0 and HTTP/1.1 are spoken here"),
        RequestError::Host => (400, Reason::BadHost, "Host is missing, repeated or no host and port"),
        RequestError::Framing(detail) => (400, Reason::BadFraming, detail),
        RequestError::TransferCoding => {
            (501, Reason::TransferCodingNotSupported, "only chunked is known as transfer coding")
        }
        RequestError::HeadTooLarge => (431, Reason::HeaderTooLarge, "the request's head is over the limit"),
        RequestError::TargetTooLong => (414, Reason::UriTooLong, "the request's target is over the limit"),
        RequestError::Connect => (501, Reason::MethodNotSupported, "CONNECT is not supported"),
        RequestError::Expectation => (417, Reason::ExpectationFailed, "only 100-continue can be expected"),
        RequestError::Path(error) => (400, Reason::BadPath, error.text()),
    };
    Answer::problem(status, reason, detail)
}

/// Ends our side and reads what the client still sends, within bounds.
async fn linger(w: &Worker, down: &mut Downstream) {
    down.set_deadline(w.clock.now_us() + LINGER_US);
    let mut left = LINGER_BYTES;
    let mut shut = false;
    poll_fn(|cx| {
        loop {
            if !shut {
                match down.wire.socket.poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => shut = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            down.wire.input.discard();
            match down.wire.poll_fill(cx) {
                Poll::Ready(Ok(n)) if n > 0 && n <= left => left -= n,
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if down.expired() => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

/// Counts a panic that ends a connection.
struct PanicWatch(Rc<Worker>);

impl Drop for PanicWatch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.metrics.panics.add(1);
        }
    }
}
