//! Who the client is, when trusted proxies stand in between (RFC 7239, `X-Forwarded-For`).

use crate::{Head, Name, token};
use std::net::{IpAddr, SocketAddr};

/// The client's address: the peer's, or, when the peer is trusted, the right-most address of
/// `X-Forwarded-For` (where absent, of `Forwarded`) that is not a trusted proxy itself.
///
/// Members that are no address end the walk: what stands further left was written by nobody known.
pub fn client_address(head: &Head, peer: IpAddr, trusts: impl Fn(IpAddr) -> bool) -> IpAddr {
    if !trusts(peer) {
        return peer;
    }
    let mut client = peer;
    let mut walk = |members: &mut dyn Iterator<Item = Option<IpAddr>>| {
        for member in members {
            let Some(address) = member else { break };
            client = address;
            if !trusts(address) {
                break;
            }
        }
    };
    if head.get(Name::XForwardedFor).is_some() {
        walk(&mut head.get_all(Name::XForwardedFor).rev().flat_map(|v| token::list(v).rev()).map(address));
    } else {
        walk(&mut head.get_all(Name::Forwarded).rev().flat_map(|v| token::list(v).rev()).map(forwarded_for));
    }
    client
}

/// The `for` parameter of one `Forwarded` element, if it is an address.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    element.split(|b| *b == b';').map(token::trim).find_map(|pair| {
        let equals = memchr::memchr(b'=', pair)?;
        pair[..equals].eq_ignore_ascii_case(b"for").then(|| address(&pair[equals + 1..]))?
    })
}

/// An address in any of the forms in use: bare, with a port, quoted, IPv6 in brackets.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = text.strip_prefix(b"\"").and_then(|t| t.strip_suffix(b"\"")).unwrap_or(text);
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

/// Appends `;host=…;proto=…` to an element of `Forwarded` (RFC 7239 §4).
pub fn write_host_and_proto(host: &[u8], proto: &str, out: &mut Vec<u8>) {
    if !host.is_empty() {
        let quoted = !token::is_token(host);
        out.extend_from_slice(b";host=");
        out.extend_from_slice(if quoted { b"\"" } else { b"" });
        out.extend_from_slice(host);
        out.extend_from_slice(if quoted { b"\"" } else { b"" });
    }
    out.extend_from_slice(b";proto=");
    out.extend_from_slice(proto.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(fields: &[(&str, &str)], peer: &str) -> String {
        let mut head = Head::default();
        for (name, value) in fields {
            head.append(name.as_bytes(), value.as_bytes());
        }
        let trusts = |a: IpAddr| a.to_string().starts_with("10.") || a.to_string().starts_with("fd00:");
        client_address(&head, peer.parse().expect("address"), trusts).to_string()
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        assert_eq!(client(&[("X-Forwarded-For", "1.2.3.4")], "9.9.9.9"), "9.9.9.9");
    }

    #[test]
    fn walks_from_the_right_past_trusted_proxies() {
        assert_eq!(client(&[("X-Forwarded-For", "1.1.1.1, 2.2.2.2")], "10.0.0.1"), "2.2.2.2");
        assert_eq!(
            client(&[("X-Forwarded-For", "1.1.1.1, 2.2.2.2"), ("X-Forwarded-For", "10.0.0.9:80")], "10.0.0.1"),
            "2.2.2.2"
        );
        assert_eq!(client(&[("X-Forwarded-For", "1.1.1.1, unknown, 10.0.0.2")], "10.0.0.1"), "10.0.0.2");
        assert_eq!(
            client(&[("Forwarded", "for=1.1.1.1, for=\"[2001:db8::1]:99\";proto=https")], "10.0.0.1"),
            "2001:db8::1"
        );
        assert_eq!(client(&[("Forwarded", "for=_x;host=evil")], "10.0.0.1"), "10.0.0.1");
        assert_eq!(client(&[], "10.0.0.1"), "10.0.0.1");
    }

    #[test]
    fn writes_elements() {
        let mut out = Vec::new();
        write_host_and_proto(b"a.test:8080", "http", &mut out);
        assert_eq!(String::from_utf8_lossy(&out), ";host=\"a.test:8080\";proto=http");
    }
}
