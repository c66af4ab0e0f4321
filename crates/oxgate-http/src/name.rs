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
    const CASE: u64 = 0x2020_2020_2020_2020;
    let four = |a: &[u8], b: &[u8]| match (a.first_chunk(), b.first_chunk()) {
        (Some(a), Some(b)) => u32::from_le_bytes(*a) | CASE as u32 == u32::from_le_bytes(*b),
        _ => false,
    };
    let eight = |a: &[u8], b: &[u8]| match (a.first_chunk(), b.first_chunk()) {
        (Some(a), Some(b)) => u64::from_le_bytes(*a) | CASE == u64::from_le_bytes(*b),
        _ => false,
    };
    // The last word overlaps the one before.
    match name.len() {
        n @ 8..=16 => eight(name, lower) && eight(&name[n - 8..], &lower[n - 8..]),
        n @ 4..8 => four(name, lower) && four(&name[n - 4..], &lower[n - 4..]),
        n @ 17.. => {
            let words = name.as_chunks::<8>().0.iter().zip(lower.as_chunks::<8>().0);
            words.into_iter().all(|(a, b)| eight(a, b)) && eight(&name[n - 8..], &lower[n - 8..])
        }
        0..4 => name.iter().zip(lower).all(|(a, b)| a | 0x20 == *b),
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

    /// The fields about the client that only trusted peers may send.
    #[inline]
    pub fn is_forwarding(self) -> bool {
        NameSet::FORWARDING.has(self)
    }

    /// Fields that belong to one connection and are never forwarded (RFC 9110 §7.6.1), with the
    /// ones that old peers use alike.
    #[inline]
    pub fn is_hop_by_hop(self) -> bool {
        NameSet::HOP_BY_HOP.has(self)
    }
}

/// A set of known names, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NameSet(u64);

impl NameSet {
    pub(crate) const FORWARDING: NameSet = NameSet::of(&[
        Name::XForwardedFor,
        Name::XForwardedProto,
        Name::XForwardedHost,
        Name::XForwardedPort,
        Name::Forwarded,
        Name::XRequestId,
    ]);
    pub(crate) const HOP_BY_HOP: NameSet = NameSet::of(&[
        Name::Connection,
        Name::KeepAlive,
        Name::ProxyConnection,
        Name::ProxyAuthenticate,
        Name::ProxyAuthorization,
        Name::Te,
        Name::Trailer,
        Name::TransferEncoding,
        Name::Upgrade,
        Name::Http2Settings,
    ]);

    /// The set of these names. There are fewer than 64 names.
    pub(crate) const fn of(names: &[Name]) -> NameSet {
        let (mut set, mut i) = (0, 0);
        while i < names.len() {
            set |= 1 << names[i] as u8;
            i += 1;
        }
        NameSet(set)
    }

    #[inline(always)]
    pub(crate) fn insert(&mut self, name: Name) {
        self.0 |= 1 << name as u8;
    }

    #[inline(always)]
    pub(crate) fn has(self, name: Name) -> bool {
        self.0 & 1 << name as u8 != 0
    }

    #[inline(always)]
    pub(crate) fn meets(self, other: NameSet) -> bool {
        self.0 & other.0 != 0
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
    fn a_set_has_what_was_put_in() {
        assert!(TEXTS.len() < 64, "a set is 64 bits");
        let mut set = NameSet::default();
        set.insert(Name::Te);
        assert!(set.has(Name::Te) && set.meets(NameSet::HOP_BY_HOP) && !set.meets(NameSet::FORWARDING));
    }

    #[test]
    fn aliases_with_underscores_are_seen() {
        assert_eq!(Name::of_alias(b"Transfer_Encoding"), Name::TransferEncoding);
        assert_eq!(Name::of_alias(b"X_Forwarded-For"), Name::XForwardedFor);
        assert_eq!(Name::of_alias(&[b'_'; 40]), Name::Other);
    }
}
