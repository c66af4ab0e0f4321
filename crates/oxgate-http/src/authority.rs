//! The authority of a request: the value of `Host` or the host and port of an absolute target.

/// A host and, where written, its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Host name or address as written; an IPv6 address keeps its brackets.
    pub host: &'a [u8],
    /// The port, when one is written.
    pub port: Option<u16>,
}

/// Reads `host [ ":" port ]` (RFC 3986 §3.2) without user information, percent codes or an empty
/// part: each of these has been read in two ways by two servers on one path.
pub fn parse(text: &[u8]) -> Option<Authority<'_>> {
    if text.is_empty() || text.len() > 255 + 6 {
        return None;
    }
    let host_len = if text[0] == b'[' {
        let close = memchr::memchr(b']', text)?;
        let inside = std::str::from_utf8(&text[1..close]).ok()?;
        inside.parse::<std::net::Ipv6Addr>().ok()?;
        close + 1
    } else {
        let len = text.iter().position(|b| !is_host_byte(*b)).unwrap_or(text.len());
        if len == 0 || len > 255 {
            return None;
        }
        len
    };
    let (host, rest) = text.split_at(host_len);
    let port = match rest {
        [] => None,
        [b':', digits @ ..] => Some(port(digits)?),
        _ => return None,
    };
    Some(Authority { host, port })
}

/// The host part of an authority that was checked before.
pub fn host_of(authority: &[u8]) -> &[u8] {
    let end = match authority.first() {
        Some(b'[') => memchr::memchr(b']', authority).map_or(authority.len(), |close| close + 1),
        _ => authority.iter().position(|b| *b == b':').unwrap_or(authority.len()),
    };
    &authority[..end]
}

fn is_host_byte(b: u8) -> bool {
    HOST_BYTES[b as usize]
}

static HOST_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 128 {
        table[b] = (b as u8).is_ascii_alphanumeric() || matches!(b as u8, b'-' | b'.' | b'_' | b'~');
        b += 1;
    }
    table
};

fn port(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts_and_ports() {
        assert_eq!(parse(b"a.test").map(|a| a.port), Some(None));
        assert_eq!(parse(b"A.TEST:80").map(|a| (a.host, a.port)), Some((b"A.TEST".as_slice(), Some(80))));
        assert_eq!(parse(b"[::1]:8080").map(|a| (a.host, a.port)), Some((b"[::1]".as_slice(), Some(8080))));
    }

    #[test]
    fn refuses_what_can_be_read_twice() {
        for text in ["", "a/b", "u@a", "a:b", "a:99999", "a:", ":80", "[::1", "[::1]x", "[zz]", "a b", "a%20b", "a,b"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
