//! Who asks, under which id, and what the upstream is told about it.

use crate::exchange::{Exchange, MAX_REQUEST_ID};
use crate::front::Downstream;
use crate::worker::{View, Worker};
use oxgate_http::{Head, Name, forwarded, token};
use std::net::IpAddr;

const REQUEST_ID: &[u8] = b"X-Request-ID";

/// The forwarding fields of a client that nothing is believed of. They are the same for all requests
/// of a connection to one authority, so they are written once.
#[derive(Debug, Default)]
pub(crate) struct Introduction {
    /// The authority's number.
    authority: u64,
    fields: Head,
}

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
    if x.request.claims_client() {
        x.request.head.drop_where(|id, _| id.is_forwarding());
    }
    let Introduction { authority, fields } = &mut x.introduction;
    if fields.is_empty() || *authority != x.request.authority_number() {
        *authority = x.request.authority_number();
        fields.clear();
        append_for(fields, down, &[]);
        append_rest(fields, down, x.scheme, x.request.authority(), true, &[]);
    }
    x.request.head.append_all(fields);
    let id = w.new_request_id();
    x.request_id.extend_from_slice(&id);
    let mut line = *b"X-Request-ID: 00000000-0000-0000-0000-000000000000\r\n";
    line[REQUEST_ID.len() + 2..][..id.len()].copy_from_slice(&id);
    x.request.head.append_line(Name::XRequestId, REQUEST_ID.len() as u8, &line);
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
        None => x.request_id.extend_from_slice(&w.new_request_id()),
    }
    let authority = x.request.authority().to_vec();
    let head = &mut x.request.head;
    head.drop_where(|id, _| id.is_forwarding() && !(known_host && id == Name::XForwardedHost));
    append_for(head, down, &chain);
    append_rest(head, down, x.scheme, &authority, !known_host, &elements);
    head.append(REQUEST_ID, &x.request_id);
}

/// Appends `X-Forwarded-For`; `chain` is what it said before.
fn append_for(head: &mut Head, down: &Downstream, chain: &[u8]) {
    head.append_known(Name::XForwardedFor, b"X-Forwarded-For: ", |out| {
        out.extend_from_slice(chain);
        if !chain.is_empty() {
            out.extend_from_slice(b", ");
        }
        down.write_peer(out);
    });
}

/// Appends what says how the client came here; `elements` is what `Forwarded` said before.
fn append_rest(head: &mut Head, down: &Downstream, scheme: &str, authority: &[u8], host: bool, elements: &[u8]) {
    head.append_known(Name::XForwardedProto, b"X-Forwarded-Proto: ", |out| out.extend_from_slice(scheme.as_bytes()));
    if host && !authority.is_empty() {
        head.append_known(Name::XForwardedHost, b"X-Forwarded-Host: ", |out| out.extend_from_slice(authority));
    }
    head.append_known(Name::Forwarded, b"Forwarded: ", |out| {
        if !elements.is_empty() {
            out.extend_from_slice(elements);
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(b"for=");
        down.write_forwarded_peer(out);
        forwarded::write_host_and_proto(authority, scheme, out);
    });
}

fn joined<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    values.collect::<Vec<_>>().join(b", ".as_slice())
}
