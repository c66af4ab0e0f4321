//! Passing a request to an upstream and its answer back.

use crate::error::{ProxyError, Side};
use crate::exchange::Exchange;
use crate::front::Downstream;
use crate::pump::{Pump, PumpError};
use crate::respond;
use crate::serve::{self, Next};
use crate::snapshot::{Route, TimeoutsUs};
use crate::tunnel;
use crate::upstream::{Connection, UpstreamView};
use crate::wait::Wait;
use crate::worker::{View, Worker};
use oxgate_config::resolved::Split;
use oxgate_http::{Framing, HeadLimits, Parsed, Request, Response};
use oxgate_policy::{Call, Reply};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Interim answers passed on before the upstream counts as broken.
const MAX_INTERIM: usize = 16;
/// What an upstream's head may cost.
const RESPONSE_LIMITS: HeadLimits = HeadLimits { bytes: 64 * 1024, fields: 200, target: 0 };
/// How often a client is looked at whose request's body the upstream does not take.
const LOOK_US: u64 = 50_000;
/// The most a reply to a policy's call may hold.
const MAX_REPLY: usize = 64 * 1024;

/// An upstream at work on a request: the request's body may be on its way to it, and the answer's
/// back.
#[derive(Debug)]
pub(crate) struct Origin {
    connection: Connection,
    upload: Upload,
    /// When the exchange as a whole must be over.
    total_us: u64,
}

/// The request on its way to the upstream.
#[derive(Debug)]
struct Upload {
    pump: Pump,
    state: UploadState,
    seen: u64,
    begun_us: u64,
    /// When it has to have got further.
    due_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UploadState {
    Running,
    Done,
    /// The upstream stopped reading; it may have answered all the same.
    Refused,
}

/// Sends the request and reads the head of the answer, at another endpoint or once more where that
/// cannot do harm. The upstream that answered lies in `place` afterwards, which is empty before.
pub(crate) async fn request(
    w: &Rc<Worker>,
    view: &View,
    route: &Route,
    arms: &[Split],
    x: &mut Exchange,
    down: &mut Downstream,
    place: &mut Option<Origin>,
) -> Result<(), ProxyError> {
    let arm = route.schedule.next(view.turn(x)).and_then(|i| arms.get(i)).ok_or(ProxyError::NoEndpoint)?;
    let (plan, upstream) = (&view.snapshot.upstreams[arm.upstream], view.upstream(w, arm.upstream));
    let total_us = x.started_us.saturating_add(route.timeouts.total);
    let held = body_at_hand(x, down);
    // A request may be sent once more when it is all here and doing it twice does no harm (RFC 9110
    // §9.2.2).
    let repeatable = held.is_some() && x.request.method().is_idempotent();
    let mut fresh_only = false;
    let mut repeated = false;
    let mut tried = Vec::new();
    loop {
        let picked = upstream.pick(plan, &tried).ok_or(ProxyError::NoEndpoint)?;
        x.upstream = Some((arm.upstream, picked));
        x.attempts = x.attempts.saturating_add(1);
        let mut wait = Wait::new(down, total_us);
        let connected = if fresh_only {
            Box::pin(upstream.connect(w, &upstream.endpoints[picked], &mut wait, true)).await
        } else {
            upstream.checkout(w, picked, &mut wait).await
        };
        // Moved as a whole, the connection is not kept in two places while the answer is waited for.
        let begun = connected.map(|connection| {
            if x.request.authority().is_empty() {
                x.request.set_authority(upstream.endpoints[picked].live.authority().as_bytes());
            }
            let reused = connection.reused;
            *place = Some(Origin::begin(w, x, down, connection, held, total_us));
            reused
        });
        let reused = match begun {
            Ok(reused) => reused,
            // Nothing was sent: any other endpoint will do.
            Err(ProxyError::ConnectFailed | ProxyError::Unresolved | ProxyError::ConnectTimeout)
                if tried.len() + 1 < plan.endpoints_in_use() =>
            {
                tried.push(picked);
                upstream.metrics.retries.add(1);
                continue;
            }
            Err(error) => return Err(error),
        };
        upstream.metrics.requests.add(1);
        match attempt(w, x, down, place, held, &route.timeouts).await {
            Ok(()) => {
                upstream.metrics.first_byte.observe(x.first_byte_us.saturating_sub(x.sent_us));
                break;
            }
            // No byte of an answer: an idle connection that was closed just then, or an endpoint that
            // breaks. Another endpoint if there is one, another connection if not.
            Err(ProxyError::Reset) if repeatable && !repeated && (reused || plan.endpoints_in_use() > 1) => {
                repeated = true;
                // Its place may be the only one there is.
                *place = None;
                upstream.metrics.retries.add(1);
                if tried.len() + 1 < plan.endpoints_in_use() {
                    tried.push(picked);
                }
                fresh_only = true;
            }
            Err(error) => {
                *place = None;
                return Err(error);
            }
        }
    }
    if let Some(n) = held {
        down.wire.input.consume(n);
    }
    Ok(())
}

/// Bytes of a body that has arrived whole already and so can be sent again; 0 for none.
fn body_at_hand(x: &Exchange, down: &Downstream) -> Option<usize> {
    match x.request.framing() {
        Framing::None => Some(0),
        Framing::Length(n) if n > x.body_limit => None,
        Framing::Length(n) => usize::try_from(n).ok().filter(|n| *n <= down.wire.input.filled().len()),
        Framing::Chunked | Framing::UntilClose => None,
    }
}

/// One attempt on one connection: head and body out, head of the answer in.
async fn attempt(
    w: &Worker,
    x: &mut Exchange,
    down: &mut Downstream,
    place: &mut Option<Origin>,
    held: Option<usize>,
    timeouts: &TimeoutsUs,
) -> Result<(), ProxyError> {
    let Some(Origin { connection, upload, total_us }) = place else { return Err(ProxyError::NoEndpoint) };
    let total_us = *total_us;
    let mut interims = 0;
    x.sent_us = upload.begun_us;
    let result = poll_fn(|cx| {
        if upload.state == UploadState::Running {
            let progress = upload.poll(cx, w, down, connection)?;
            if upload.state != UploadState::Running {
                x.sent_us = w.clock.now_us();
            }
            if progress {
                upload.set_deadline(w, down, timeouts, total_us);
            }
        }
        loop {
            match connection.wire.poll_fill(cx) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    while let Parsed::Complete(len) = parse_response(w, x, connection)? {
                        connection.wire.input.consume(len);
                        if !x.response.is_interim() {
                            x.first_byte_us = w.clock.now_us();
                            return Poll::Ready(Ok(()));
                        }
                        interims += 1;
                        pass_on_interim(cx, x, down, interims)?;
                    }
                }
                Poll::Ready(_) if connection.wire.input.is_empty() && interims == 0 => {
                    return Poll::Ready(Err(ProxyError::Reset));
                }
                Poll::Ready(_) => return Poll::Ready(Err(ProxyError::Malformed)),
                Poll::Pending => break,
            }
        }
        if upload.state != UploadState::Running && down.poll_gone(cx) {
            return Poll::Ready(Err(ProxyError::ClientGone));
        }
        if w.drain_is_over() {
            return Poll::Ready(Err(ProxyError::ShuttingDown));
        }
        if down.expired() && upload.is_late(w, down) {
            return Poll::Ready(Err(upload.lateness(w, total_us)));
        }
        if upload.is_blocked() && down.is_broken() {
            return Poll::Ready(Err(ProxyError::ClientGone));
        }
        Poll::Pending
    })
    .await;
    x.bytes_in = upload.pump.moved + held.unwrap_or(0) as u64;
    connection.wire.input.release();
    result
}

/// Parses the head of an answer; a 101 that nobody asked for is no answer.
#[inline]
fn parse_response(w: &Worker, x: &mut Exchange, connection: &mut Connection) -> Result<Parsed, ProxyError> {
    let input = &mut connection.wire.input;
    if input.is_empty() {
        return Ok(Parsed::Partial);
    }
    w.swap_response(x);
    let parsed =
        x.response.parse(input.filled(), x.request.method(), &RESPONSE_LIMITS).map_err(|_| ProxyError::Malformed)?;
    if parsed == Parsed::Partial && input.is_full() {
        input.grow();
    }
    let switches = parsed != Parsed::Partial && x.response.status() == 101;
    if switches && !(x.request.upgrade().is_some() && x.response.upgrades()) {
        return Err(ProxyError::Malformed);
    }
    Ok(parsed)
}

impl Origin {
    #[inline]
    fn begin(
        w: &Worker,
        x: &Exchange,
        down: &Downstream,
        connection: Connection,
        held: Option<usize>,
        total_us: u64,
    ) -> Origin {
        Origin { connection, upload: Upload::begin(w, x, down, held), total_us }
    }
}

impl Upload {
    /// Puts the head together, and the body behind it when it is at hand.
    #[inline]
    fn begin(w: &Worker, x: &Exchange, down: &Downstream, held: Option<usize>) -> Upload {
        let mut head = w.buffers.take_staging();
        x.request.write_head(&mut head);
        let framing = x.request.framing();
        let (framing, rechunk) = match held {
            Some(n) => {
                head.extend_from_slice(&down.wire.input.filled()[..n]);
                (Framing::None, false)
            }
            None => (framing, framing == Framing::Chunked),
        };
        let pump = Pump::new(head, framing, rechunk, x.body_limit);
        // No progress is like this, so the first look counts as some and sets a deadline.
        Upload { pump, state: UploadState::Running, seen: u64::MAX, begun_us: w.clock.now_us(), due_us: u64::MAX }
    }

    /// Moves what can be moved; says whether something was.
    #[inline]
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        w: &Worker,
        down: &mut Downstream,
        connection: &mut Connection,
    ) -> Result<bool, ProxyError> {
        match self.pump.poll(cx, &w.buffers, &mut down.wire, &mut connection.wire.socket) {
            Poll::Ready(Ok(())) => self.state = UploadState::Done,
            Poll::Ready(Err(PumpError::Sink)) => self.state = UploadState::Refused,
            Poll::Ready(Err(PumpError::Source)) => return Err(ProxyError::ClientGone),
            Poll::Ready(Err(PumpError::Malformed)) => return Err(ProxyError::BadBody),
            Poll::Ready(Err(PumpError::TooLarge)) => return Err(ProxyError::BodyTooLarge),
            Poll::Pending => {
                let progress = self.pump.progress() != self.seen;
                self.seen = self.pump.progress();
                return Ok(progress);
            }
        }
        Ok(true)
    }

    /// While the body comes in: the client's idle time and rate. Then: the upstream's first byte.
    #[inline]
    fn set_deadline(&mut self, w: &Worker, down: &Downstream, timeouts: &TimeoutsUs, total_us: u64) {
        let now = w.clock.now_us();
        let waits_for_upstream = self.pump.source_ended() || self.pump.waits_for_sink();
        let deadline = if self.state != UploadState::Running || waits_for_upstream {
            now.saturating_add(timeouts.response)
        } else {
            let limits = down.listener().limits.get();
            let idle = limits.body_idle_timeout.as_micros() as u64;
            let earned = (self.pump.moved * 1_000_000).checked_div(limits.min_body_rate).unwrap_or(u64::MAX);
            (now + idle).min(self.begun_us.saturating_add(idle).saturating_add(earned))
        };
        self.due_us = deadline.min(total_us);
        self.wake_in_time(now, down);
    }

    /// While the upstream takes nothing, nothing is read from the client either, so that its going away
    /// has to be looked for.
    #[inline]
    fn wake_in_time(&self, now: u64, down: &Downstream) {
        let look = if self.is_blocked() { now + LOOK_US } else { u64::MAX };
        down.set_deadline(self.due_us.min(look));
    }

    fn is_blocked(&self) -> bool {
        self.state == UploadState::Running && self.pump.waits_for_sink()
    }

    /// Whether time is up, the deadline having passed or just another look at the client being due.
    fn is_late(&self, w: &Worker, down: &Downstream) -> bool {
        let now = w.clock.now_us();
        let late = now >= self.due_us;
        if !late {
            self.wake_in_time(now, down);
        }
        late
    }

    /// Who was late when the deadline passed.
    fn lateness(&self, w: &Worker, total_us: u64) -> ProxyError {
        if w.clock.now_us() >= total_us {
            ProxyError::TotalTimeout
        } else if self.state != UploadState::Running || self.pump.waits_for_sink() || self.pump.source_ended() {
            ProxyError::ResponseTimeout
        } else if self.pump.lacks_end() {
            ProxyError::BadBody
        } else {
            ProxyError::BodyTimeout
        }
    }
}

/// Passes an interim answer on to the client (RFC 9110 §15.2). What the socket does not take now goes
/// out with whatever is sent next.
fn pass_on_interim(
    cx: &mut Context<'_>,
    x: &mut Exchange,
    down: &mut Downstream,
    count: usize,
) -> Result<(), ProxyError> {
    if count > MAX_INTERIM {
        return Err(ProxyError::Malformed);
    }
    if x.request.is_http10() || (x.response.status() == 100 && !x.request.expects_continue()) {
        return Ok(());
    }
    x.response.write_head(Framing::None, None, &mut x.unsent);
    if let Poll::Ready(Ok(n)) = down.wire.socket.poll_write(cx, &x.unsent) {
        x.unsent.drain(..n);
    }
    Ok(())
}

/// Passes the answer on to the client, while the rest of the request may still be going out.
pub(crate) async fn deliver(
    w: &Rc<Worker>,
    route: &Route,
    x: &mut Exchange,
    down: &mut Downstream,
    place: &mut Option<Origin>,
) -> Next {
    let Some(Origin { connection, upload, total_us }) = place else { return Next::Close };
    let total_us = *total_us;
    let framing = x.response.framing();
    route.chain.response(x);
    x.status = x.response.status();
    let mut head = std::mem::take(&mut x.unsent);
    if x.status == 101 {
        return Box::pin(tunnel::run(w, x, down, connection, head, &route.timeouts)).await;
    }
    let (sink, keep) = client_framing(w, x, framing, upload.state);
    let behind_interim = !head.is_empty();
    if !behind_interim {
        head = w.buffers.take_staging();
    }
    let connection_field = match (keep, x.request.is_http10()) {
        (false, _) => Some("close"),
        (true, true) => Some("keep-alive"),
        (true, false) => None,
    };
    x.response.write_head(sink, connection_field, &mut head);
    let mut download = Pump::new(head, framing, sink == Framing::Chunked, u64::MAX);
    let mut seen = None;
    let result = poll_fn(|cx| {
        if upload.state == UploadState::Running && upload.poll(cx, w, down, connection).is_err() {
            upload.state = UploadState::Refused;
        }
        match download.poll(cx, &w.buffers, &mut connection.wire, &mut down.wire.socket) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(PumpError::Sink)) => return Poll::Ready(Err(ProxyError::ClientGone)),
            Poll::Ready(Err(PumpError::Malformed)) => return Poll::Ready(Err(ProxyError::Malformed)),
            Poll::Ready(Err(_)) => return Poll::Ready(Err(ProxyError::Truncated)),
            Poll::Pending => {}
        }
        if upload.state == UploadState::Done && down.poll_gone(cx) {
            return Poll::Ready(Err(ProxyError::ClientGone));
        }
        let now_seen = Some((download.progress(), download.waits_for_sink(), upload.pump.progress()));
        if now_seen != seen {
            seen = now_seen;
            let stall_us = down.listener().limits.get().body_idle_timeout.as_micros() as u64;
            let patience = if download.waits_for_sink() { stall_us } else { route.timeouts.idle };
            down.set_deadline(w.clock.now_us().saturating_add(patience).min(total_us));
        } else if down.expired() {
            let total = w.clock.now_us() >= total_us;
            let stalled = if download.waits_for_sink() { ProxyError::ClientStalled } else { ProxyError::IdleTimeout };
            return Poll::Ready(Err(if total { ProxyError::TotalTimeout } else { stalled }));
        }
        if w.drain_is_over() {
            return Poll::Ready(Err(ProxyError::ShuttingDown));
        }
        Poll::Pending
    })
    .await;
    x.bytes_in = x.bytes_in.max(upload.pump.moved);
    x.bytes_out = download.moved;
    match result {
        Ok(()) => {
            let uploaded = upload.state == UploadState::Done;
            if let Some(origin) = place.take()
                && uploaded
                && x.response.is_persistent()
            {
                origin.connection.release(w);
            }
            w.swap_response(x);
            match (keep && uploaded, uploaded && !x.request.is_persistent()) {
                (true, _) => Next::Keep,
                (false, true) => Next::Close,
                // The client may have sent more already, which would turn our closing into a reset.
                (false, false) => Next::Linger,
            }
        }
        Err(error) if download.is_untouched() && !behind_interim && error.side() == Side::Upstream => {
            *place = None;
            match respond::failure(route, x, error) {
                serve::Reply::Own(answer) => Box::pin(respond::answer(w, Some(&route.chain), x, down, &answer)).await,
                _ => Next::Close,
            }
        }
        Err(error) => {
            // The head is out: all that is left is to let the client see that the body is cut.
            if sink == Framing::UntilClose || behind_interim {
                down.wire.socket.reset_on_close();
            }
            x.reason = Some(error.answer().1);
            Next::Close
        }
    }
}

/// How the body is framed for the client, and whether its connection may be kept.
#[inline]
fn client_framing(w: &Worker, x: &Exchange, framing: Framing, upload: UploadState) -> (Framing, bool) {
    let sink = match framing {
        Framing::Chunked | Framing::UntilClose if x.request.is_http10() => Framing::UntilClose,
        Framing::UntilClose => Framing::Chunked,
        known => known,
    };
    let early_refusal = upload != UploadState::Done && x.status >= 400;
    (sink, x.request.is_persistent() && sink != Framing::UntilClose && !w.is_leaving() && !early_refusal)
}

/// Makes the call that a policy asks for. A call that fails in any way has no response.
pub(crate) async fn call(w: &Worker, view: &View, call: Call, down: &mut Downstream) -> Reply {
    let Call { upstream, request, timeout } = call;
    let deadline_us = w.clock.now_us() + timeout.as_micros() as u64;
    let mut wait = Wait::new(down, deadline_us);
    let none = Reply { response: None, body: Vec::new() };
    let Some(index) = view.snapshot.upstream_named(&upstream) else { return none };
    let (plan, upstream) = (&view.snapshot.upstreams[index], view.upstream(w, index));
    let Some(picked) = upstream.pick(plan, &[]) else { return none };
    let Ok(connection) = upstream.checkout(w, picked, &mut wait).await else { return none };
    let reused = connection.reused;
    wait.set_deadline(deadline_us);
    let mut reply = wait.until(w, ProxyError::ResponseTimeout, exchange_whole(w, upstream, &request, connection)).await;
    // The upstream closed an idle connection just then.
    if reply.as_ref().is_err_and(|e| *e == ProxyError::Reset) && reused && request.method().is_idempotent() {
        let Ok(connection) = upstream.connect(w, &upstream.endpoints[picked], &mut wait, true).await else {
            return none;
        };
        wait.set_deadline(deadline_us);
        reply = wait.until(w, ProxyError::ResponseTimeout, exchange_whole(w, upstream, &request, connection)).await;
    }
    reply.unwrap_or(none)
}

/// One small exchange with an upstream, the reply held whole.
async fn exchange_whole(
    w: &Worker,
    upstream: &UpstreamView,
    request: &Request,
    mut connection: Connection,
) -> Result<Reply, ProxyError> {
    upstream.metrics.requests.add(1);
    let mut out = w.buffers.take_staging();
    request.write_head(&mut out);
    let mut sent = 0;
    let mut response = Response::default();
    let mut body = Vec::new();
    let mut decoder = oxgate_http::chunked::Decoder::default();
    let mut head = false;
    let whole = poll_fn(|cx| {
        while sent < out.len() {
            match connection.wire.socket.poll_write(cx, &out[sent..]) {
                Poll::Ready(Ok(n)) => sent += n,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(ProxyError::Reset)),
                Poll::Pending => return Poll::Pending,
            }
        }
        loop {
            if !head && !connection.wire.input.is_empty() {
                match response.parse(connection.wire.input.filled(), request.method(), &RESPONSE_LIMITS) {
                    Ok(Parsed::Complete(len)) => {
                        connection.wire.input.consume(len);
                        if response.status() == 101 {
                            return Poll::Ready(Err(ProxyError::Malformed));
                        }
                        head = !response.is_interim();
                        continue;
                    }
                    Ok(Parsed::Partial) if connection.wire.input.is_full() => connection.wire.input.grow(),
                    Ok(Parsed::Partial) => {}
                    Err(_) => return Poll::Ready(Err(ProxyError::Malformed)),
                }
            }
            if head && collect(&mut connection, response.framing(), &mut decoder, &mut body)? {
                return Poll::Ready(Ok(()));
            }
            match connection.wire.poll_fill(cx) {
                Poll::Ready(Ok(n)) if n > 0 => {}
                Poll::Ready(Ok(_)) if head && response.framing() == Framing::UntilClose => return Poll::Ready(Ok(())),
                Poll::Ready(_) => return Poll::Ready(Err(ProxyError::Reset)),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    w.buffers.put_staging(out);
    whole?;
    if response.is_persistent() {
        connection.release(w);
    }
    Ok(Reply { response: Some(response), body })
}

/// Moves body bytes from the connection's input to `body`; true once the body is whole.
fn collect(
    connection: &mut Connection,
    framing: Framing,
    decoder: &mut oxgate_http::chunked::Decoder,
    body: &mut Vec<u8>,
) -> Result<bool, ProxyError> {
    let input = &mut connection.wire.input;
    let (bytes, filled) = input.parts();
    let (data, consumed, done) = match framing {
        Framing::None => return Ok(true),
        Framing::UntilClose => (filled.clone(), filled.len(), false),
        Framing::Length(length) => {
            let n = usize::try_from(length - body.len() as u64).unwrap_or(usize::MAX).min(filled.len());
            (filled.start..filled.start + n, n, body.len() as u64 + n as u64 == length)
        }
        Framing::Chunked => {
            let decoded = decoder.decode(&mut bytes[filled.clone()]).map_err(|_| ProxyError::Malformed)?;
            (filled.start + decoded.data.start..filled.start + decoded.data.end, decoded.consumed, decoded.done)
        }
    };
    if body.len() + data.len() > MAX_REPLY {
        return Err(ProxyError::Malformed);
    }
    body.extend_from_slice(&bytes[data]);
    input.consume(consumed);
    Ok(done)
}
