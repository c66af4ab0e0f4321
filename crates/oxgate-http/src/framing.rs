//! How long a body is, decided once from the head (RFC 9112 §6.3).

/// The length of a message body on an HTTP/1 connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Framing {
    /// No body follows.
    #[default]
    None,
    /// Exactly this many bytes follow; never zero.
    Length(u64),
    /// Chunked coding, ended by the last chunk and its trailers.
    Chunked,
    /// Everything until the peer closes; responses only.
    UntilClose,
}

impl Framing {
    pub(crate) fn of_length(length: u64) -> Framing {
        if length == 0 { Framing::None } else { Framing::Length(length) }
    }

    /// Whether no body follows.
    pub fn is_none(self) -> bool {
        self == Framing::None
    }
}

/// Reads a Content-Length value: digits only (RFC 9110 §8.6), at most 32 of them, under 2^62.
pub(crate) fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 32 {
        return None;
    }
    let mut length: u64 = 0;
    for b in value {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 || length >= 1 << 58 {
            return None;
        }
        length = length * 10 + u64::from(digit);
    }
    (length < 1 << 62).then_some(length)
}
