//! Answers that the gateway makes itself: every one of them becomes bytes here.

use crate::chain::Chain;
use crate::error::{ProxyError, Side};
use crate::exchange::Exchange;
use crate::front::Downstream;
use crate::serve::{Next, Reply};
use crate::snapshot::Route;
use crate::worker::Worker;
use oxgate_config::pattern::PathPattern;
use oxgate_config::resolved::{Redirect, Respond};
use oxgate_http::{Framing, Method, token};
use oxgate_policy::{Answer, Body};
use oxgate_telemetry::Reason;
use std::borrow::Cow;
use std::future::poll_fn;
use std::task::Poll;

/// Unread body bytes that are read and thrown away to keep a connection.
const MAX_DRAIN: u64 = 64 * 1024;
/// How long a client may take to take an answer, or to send what is thrown away.
const PATIENCE_US: u64 = 10_000_000;

/// What an error becomes: the route's fallback, an answer, or nothing when nobody is left.
pub(crate) fn failure(route: &Route, x: &mut Exchange, error: ProxyError) -> Reply {
    let (status, reason, detail) = error.answer();
    match (error.side(), &route.fallback) {
        (Side::Upstream, Some(fallback)) => Reply::Own(fixed(fallback, reason)),
        _ if matches!(error, ProxyError::ClientGone | ProxyError::ClientStalled) => {
            x.reason = Some(reason);
            Reply::Nobody(error)
        }
        _ => Reply::Own(Answer::problem(status, reason, detail)),
    }
}

/// Notes that the client left before an answer.
pub(crate) fn nobody(x: &mut Exchange, error: ProxyError) -> Next {
    let (status, reason, _) = error.answer();
    (x.status, x.reason) = (status, Some(reason));
    Next::Close
}

/// The answer of a route with `respond`.
pub(crate) fn fixed(respond: &Respond, reason: Reason) -> Box<Answer> {
    let mut answer = Answer::empty(respond.status, reason);
    answer.headers = respond.headers.iter().map(|(n, v)| (Cow::Owned(n.clone()), v.clone().into_bytes())).collect();
    if !respond.body.is_empty() && !respond.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("content-type")) {
        answer = answer.with("Content-Type", "text/plain; charset=utf-8");
    }
    answer.body = Body::Bytes(respond.body.clone().into_bytes());
    answer
}

/// The answer of a route with `redirect`.
pub(crate) fn redirect(redirect: &Redirect, pattern: &PathPattern, x: &Exchange) -> Box<Answer> {
    let mut location = Vec::new();
    if redirect.scheme.is_some() || redirect.host.is_some() {
        location.extend_from_slice(redirect.scheme.as_deref().unwrap_or(x.scheme).as_bytes());
        location.extend_from_slice(b"://");
        match &redirect.host {
            Some(host) => location.extend_from_slice(host.as_bytes()),
            None if redirect.scheme.is_some() => location.extend_from_slice(x.request.host()),
            None => location.extend_from_slice(x.request.authority()),
        }
    }
    match &redirect.path {
        Some(path) => location.extend_from_slice(&oxgate_policy::template::expand(path, pattern, x.request.path())),
        None => location.extend_from_slice(x.request.path()),
    }
    if redirect.keep_query && !x.request.query().is_empty() {
        location.push(b'?');
        location.extend_from_slice(x.request.query());
    }
    // `//host` and `/\host` would lead to another host; one slash leads to a path.
    if redirect.host.is_none() && redirect.scheme.is_none() && location.starts_with(b"/") {
        let slashes = location.iter().take_while(|b| matches!(b, b'/' | b'\\')).count();
        location.drain(1..slashes);
    }
    Answer::empty(redirect.status, Reason::RouteRedirect).with("Location", location)
}

/// Answers a request that could not be read. Nothing after it on the connection is read either.
pub(crate) async fn refuse(w: &Worker, x: &mut Exchange, down: &mut Downstream, answer: Box<Answer>) {
    x.request_id.extend_from_slice(&w.new_request_id());
    x.client = down.peer;
    let body = fill(w, None, x, &answer);
    let mut out = w.buffers.take_staging();
    x.response.write_head(Framing::None, Some("close"), &mut out);
    if x.request.method() != Method::Head {
        out.extend_from_slice(&body);
        x.bytes_out = body.len() as u64;
    }
    send(w, x, down, out).await;
    crate::record::refused(w, x);
}

/// Sends an answer of the gateway's own, through the response policies of the route if there is one.
pub(crate) async fn answer(
    w: &Worker,
    chain: Option<&Chain>,
    x: &mut Exchange,
    down: &mut Downstream,
    answer: &Answer,
) -> Next {
    let body = fill(w, chain, x, answer);
    let unread = x.request.framing();
    let drainable = match unread {
        Framing::None => Some(0),
        Framing::Length(n) if n <= MAX_DRAIN && !x.request.expects_continue() => Some(n),
        _ => None,
    };
    // Once some of the body went upstream, how much is left is the pump's secret.
    let drainable = drainable.filter(|n| *n == 0 || x.attempts == 0);
    let keep = x.request.is_persistent() && drainable.is_some() && !w.is_leaving();
    let mut out = w.buffers.take_staging();
    out.extend_from_slice(&x.unsent);
    x.unsent.clear();
    let connection = match (keep, x.request.is_http10()) {
        (false, _) => Some("close"),
        (true, true) => Some("keep-alive"),
        (true, false) => None,
    };
    x.response.write_head(Framing::None, connection, &mut out);
    if x.request.method() != Method::Head && !matches!(x.status, 204 | 304) {
        out.extend_from_slice(&body);
        x.bytes_out = body.len() as u64;
    }
    let sent = send(w, x, down, out).await;
    match drainable {
        _ if !sent => Next::Close,
        Some(n) if keep => drain(down, n).await,
        _ if unread.is_none() && !x.request.is_persistent() => Next::Close,
        _ => Next::Linger,
    }
}

/// Makes the exchange's response out of the answer; gives the body.
fn fill(w: &Worker, chain: Option<&Chain>, x: &mut Exchange, answer: &Answer) -> Vec<u8> {
    x.response.begin(answer.status);
    let head = &mut x.response.head;
    for (name, value) in &answer.headers {
        head.append(name.as_bytes(), value);
    }
    let body = match &answer.body {
        Body::Bytes(bytes) => Cow::Borrowed(bytes.as_slice()),
        Body::Problem(detail) => {
            head.append(b"Content-Type", b"application/problem+json");
            head.append(b"Cache-Control", b"no-store");
            Cow::Owned(problem(answer, detail, &x.request_id))
        }
    };
    head.append_with(b"Date", |out| w.write_date(out));
    if !matches!(answer.status, 204 | 304) {
        x.response.set_length(body.len());
    }
    if let Some(chain) = chain {
        chain.response(x);
    }
    x.status = x.response.status();
    x.reason = Some(answer.reason);
    body.into_owned()
}

/// A problem document (RFC 9457).
fn problem(answer: &Answer, detail: &str, request_id: &[u8]) -> Vec<u8> {
    let title = oxgate_http::reason_phrase(answer.status);
    let id = if token::is_token(request_id) { String::from_utf8_lossy(request_id) } else { Cow::Borrowed("") };
    let code = answer.reason.text();
    format!(
        "{{\"status\":{},\"title\":\"{title}\",\"code\":\"{code}\",\"detail\":\"{}\",\"request_id\":\"{id}\"}}\n",
        answer.status,
        detail.replace('\\', "\\\\").replace('"', "\\\"")
    )
    .into_bytes()
}

/// Writes everything; false when the client does not take it.
async fn send(w: &Worker, x: &mut Exchange, down: &mut Downstream, out: Vec<u8>) -> bool {
    down.set_deadline(w.clock.now_us() + PATIENCE_US);
    let mut sent = 0;
    let ok = poll_fn(|cx| {
        while sent < out.len() {
            match down.wire.socket.poll_write(cx, &out[sent..]) {
                Poll::Ready(Ok(n)) => sent += n,
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Pending if down.expired() => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(true)
    })
    .await;
    if !ok {
        x.reason = Some(Reason::ClientGone);
    }
    w.buffers.put_staging(out);
    ok
}

/// Reads the rest of a small body, so that the connection can carry the next request.
async fn drain(down: &mut Downstream, mut left: u64) -> Next {
    poll_fn(|cx| {
        loop {
            let n = left.min(down.wire.input.filled().len() as u64);
            down.wire.input.consume(n as usize);
            left -= n;
            if left == 0 {
                return Poll::Ready(Next::Keep);
            }
            match down.wire.poll_fill(cx) {
                Poll::Ready(Ok(n)) if n > 0 => {}
                Poll::Ready(_) => return Poll::Ready(Next::Close),
                Poll::Pending if down.expired() => return Poll::Ready(Next::Linger),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}
