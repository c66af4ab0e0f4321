//! Who asks, under which id, and what the upstream is told about it.

use crate::exchange::{Exchange, MAX_REQUEST_ID};
use crate::front::Downstream;
use crate::worker::{View, Worker};
use oxgate_http::{Name, forwarded, token};
use std::net::IpAddr;

/// Settles client and request id, and replaces the forwarding fields by ours.
///
/// From peers that are not trusted nothing is believed and nothing of theirs is forwarded.
#[inline]
pub(crate) fn client(w: &Worker, view: &View, x: &mut Exchange, down: &Downstream) {
    x.begin(w.clock.now_us());
    x.client = down.peer;
    x.scheme = down.listener().scheme();
    let trusted = &view.snapshot.trusted_proxies;
    let trusts = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    if !trusted.is_empty() && trusts(down.peer) {
        trusted_peer(w, x, down, trusts);
    } else {
        untrusted_peer(w, x, down);
    }
}

fn untrusted_peer(w: &Worker, x: &mut Exchange, down: &Downstream) {
    x.request.head.drop_where(|id, _| is_forwarding(id));
    w.new_request_id(&mut x.request_id);
    x.request.head.append_known(Name::XForwardedFor, b"X-Forwarded-For: ", |out| down.write_peer(out));
    append_rest(x, down, true, &[]);
}

fn trusted_peer(w: &Worker, x: &mut Exchange, down: &Downstream, trusts: impl Fn(IpAddr) -> bool) {
    let head = &mut x.request.head;
    x.client = forwarded::client_address(head, down.peer, trusts);
    let proto = head.get(Name::XForwardedProto);
    if proto.is_some_and(|p| p.eq_ignore_ascii_case(b"https")) {
        x.scheme = "https";
    }
    let chain = joined(head.get_all(Name::XForwardedFor));
    let elements = joined(head.get_all(Name::Forwarded));
    let known_host = head.get(Name::XForwardedHost).is_some();
    match head.get(Name::XRequestId).filter(|id| id.len() <= MAX_REQUEST_ID && token::is_token(id)) {
        Some(id) => x.request_id.extend_from_slice(id),
        None => w.new_request_id(&mut x.request_id),
    }
    head.drop_where(|id, _| is_forwarding(id) && !(known_host && id == Name::XForwardedHost));
    head.append_known(Name::XForwardedFor, b"X-Forwarded-For: ", |out| {
        out.extend_from_slice(&chain);
        if !chain.is_empty() {
            out.extend_from_slice(b", ");
        }
        down.write_peer(out);
    });
    append_rest(x, down, !known_host, &elements);
}

/// The fields about the client that only trusted peers may send.
fn is_forwarding(id: Name) -> bool {
    matches!(
        id,
        Name::XForwardedFor
            | Name::XForwardedProto
            | Name::XForwardedHost
            | Name::XForwardedPort
            | Name::Forwarded
            | Name::XRequestId
    )
}

/// Everything but `X-Forwarded-For`; `elements` is what `Forwarded` said before.
fn append_rest(x: &mut Exchange, down: &Downstream, host: bool, elements: &[u8]) {
    let mut authority = std::mem::take(&mut x.scratch);
    authority.clear();
    authority.extend_from_slice(x.request.authority());
    let head = &mut x.request.head;
    head.append_known(Name::XForwardedProto, b"X-Forwarded-Proto: ", |out| out.extend_from_slice(x.scheme.as_bytes()));
    if host && !authority.is_empty() {
        head.append_known(Name::XForwardedHost, b"X-Forwarded-Host: ", |out| out.extend_from_slice(&authority));
    }
    head.append_known(Name::Forwarded, b"Forwarded: ", |out| {
        if !elements.is_empty() {
            out.extend_from_slice(elements);
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(b"for=");
        down.write_forwarded_peer(out);
        forwarded::write_host_and_proto(&authority, x.scheme, out);
    });
    head.append_known(Name::XRequestId, b"X-Request-ID: ", |out| out.extend_from_slice(&x.request_id));
    x.scratch = authority;
}

fn joined<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    values.collect::<Vec<_>>().join(b", ".as_slice())
}
