//! Field names that the gateway acts on, as one-byte ids, so that finding one is an integer compare.

macro_rules! names {
    ($($id:ident = $text:literal,)*) => {
        /// The id of a field name; [`Name::Other`] for every name that the gateway never acts on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "each variant is the field of that name")]
        pub enum Name { Other, $($id,)* }

        const TEXTS: &[(&str, Name)] = &[$(($text, Name::$id),)*];
    };
}

names! {
    Accept = "accept",
    AccessControlRequestHeaders = "access-control-request-headers",
    AccessControlRequestMethod = "access-control-request-method",
    AccessControlAllowCredentials = "access-control-allow-credentials",
    AccessControlAllowHeaders = "access-control-allow-headers",
    AccessControlAllowMethods = "access-control-allow-methods",
    AccessControlAllowOrigin = "access-control-allow-origin",
    AccessControlExposeHeaders = "access-control-expose-headers",
    AccessControlMaxAge = "access-control-max-age",
    Allow = "allow",
    Authorization = "authorization",
    CacheControl = "cache-control",
    Connection = "connection",
    ContentEncoding = "content-encoding",
    ContentLength = "content-length",
    ContentType = "content-type",
    Cookie = "cookie",
    Date = "date",
    Expect = "expect",
    Forwarded = "forwarded",
    Host = "host",
    Http2Settings = "http2-settings",
    KeepAlive = "keep-alive",
    Location = "location",
    Origin = "origin",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    ProxyConnection = "proxy-connection",
    Referer = "referer",
    RetryAfter = "retry-after",
    SecWebsocketKey = "sec-websocket-key",
    Server = "server",
    SetCookie = "set-cookie",
    Te = "te",
    Trailer = "trailer",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    UserAgent = "user-agent",
    Vary = "vary",
    Via = "via",
    XForwardedFor = "x-forwarded-for",
    XForwardedHost = "x-forwarded-host",
    XForwardedPort = "x-forwarded-port",
    XForwardedProto = "x-forwarded-proto",
    XRequestId = "x-request-id",
}

const SLOTS: usize = 256;

/// Length, first and last letter tell nearly all names apart; the rest is linear probing.
const fn slot(name: &[u8]) -> usize {
    let (first, last) = (name[0] | 0x20, name[name.len() - 1] | 0x20);
    (name.len() * 11 + first as usize * 5 + last as usize * 19) % SLOTS
}

static TABLE: [(&str, Name); SLOTS] = {
    let mut table = [("", Name::Other); SLOTS];
    let mut i = 0;
    while i < TEXTS.len() {
        let mut at = slot(TEXTS[i].0.as_bytes());
        while !table[at].0.is_empty() {
            at = (at + 1) % SLOTS;
        }
        table[at] = TEXTS[i];
        i += 1;
    }
    table
};

/// Whether a name is this one in any letter case; both have the same length. Known names are made
/// of lower-case letters, digits and hyphens, which is why setting one bit is enough.
#[inline]
fn same(name: &[u8], lower: &[u8]) -> bool {
    let (words, tail) = name.as_chunks::<8>();
    let (lower_words, lower_tail) = lower.as_chunks::<8>();
    const CASE: u64 = 0x2020_2020_2020_2020;
    let eight = |a: &[u8; 8], b: &[u8; 8]| u64::from_le_bytes(*a) | CASE == u64::from_le_bytes(*b);
    words.iter().zip(lower_words).all(|(a, b)| eight(a, b))
        && match (name.last_chunk(), lower.last_chunk()) {
            (Some(a), Some(b)) => eight(a, b),
            _ => tail.iter().zip(lower_tail).all(|(a, b)| a | 0x20 == *b),
        }
}

impl Name {
    /// The id of a field name, in any letter case. Answers for tokens only (RFC 9110 §5.6.2).
    #[inline(always)]
    pub fn of(name: &[u8]) -> Name {
        if name.is_empty() {
            return Name::Other;
        }
        let mut at = slot(name);
        loop {
            let (text, id) = TABLE[at];
            if text.is_empty() {
                return Name::Other;
            }
            if text.len() == name.len() && same(name, text.as_bytes()) {
                return id;
            }
            at = (at + 1) % SLOTS;
        }
    }

    /// The id that a name with underscores would have with hyphens: CGI-style upstreams cannot
    /// tell the two apart, so such an alias must never carry a field that the gateway guards.
    pub fn of_alias(name: &[u8]) -> Name {
        let mut spelled = [0u8; 32];
        let Some(spelled) = spelled.get_mut(..name.len()) else { return Name::Other };
        for (to, from) in spelled.iter_mut().zip(name) {
            *to = if *from == b'_' { b'-' } else { *from };
        }
        Name::of(spelled)
    }

    /// Fields that belong to one connection and are never forwarded (RFC 9110 §7.6.1), with the
    /// ones that old peers use alike.
    #[inline]
    pub fn hop_by_hop(self) -> bool {
        matches!(
            self,
            Name::Connection
                | Name::KeepAlive
                | Name::ProxyConnection
                | Name::ProxyAuthenticate
                | Name::ProxyAuthorization
                | Name::Te
                | Name::Trailer
                | Name::TransferEncoding
                | Name::Upgrade
                | Name::Http2Settings
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_itself_in_any_case() {
        for (text, id) in TEXTS {
            assert_eq!(Name::of(text.as_bytes()), *id, "{text}");
            assert_eq!(Name::of(text.to_ascii_uppercase().as_bytes()), *id, "{text}");
        }
        assert_eq!(Name::of(b"x-unknown"), Name::Other);
        assert_eq!(Name::of(b""), Name::Other);
    }

    #[test]
    fn aliases_with_underscores_are_seen() {
        assert_eq!(Name::of_alias(b"Transfer_Encoding"), Name::TransferEncoding);
        assert_eq!(Name::of_alias(b"X_Forwarded-For"), Name::XForwardedFor);
        assert_eq!(Name::of_alias(&[b'_'; 40]), Name::Other);
    }
}
