//! One pass over a head: start line, field lines, blank line. Strict where RFC 9112 lets a
//! recipient choose, because every choice has been somebody's request smuggling.

use crate::head::Span;
use crate::token::{TCHARS, is_ows};

/// Why the bytes are no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScanError {
    StartLine,
    Version,
    FieldName,
    FieldValue,
}

/// What stands next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Field(Line),
    /// The blank line; the head ends here.
    End(usize),
    /// The bytes end before the line does.
    Partial,
}

/// A field line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) name: Span,
    pub(crate) value: Span,
    /// Behind the line's end.
    pub(crate) end: usize,
    /// The line ends in LF without CR.
    pub(crate) bare: bool,
    /// A tab stands behind the colon.
    pub(crate) tab: bool,
}

/// A request line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestLine {
    pub(crate) method: Span,
    pub(crate) target: Span,
    pub(crate) http10: bool,
    pub(crate) end: usize,
}

/// A status line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StatusLine {
    pub(crate) status: u16,
    pub(crate) reason: Span,
    pub(crate) http10: bool,
    pub(crate) end: usize,
}

const VERSION: usize = "HTTP/1.1".len();
/// Empty lines before a request that are passed over (RFC 9112 §2.2).
const MAX_EMPTY_LINES: usize = 4;

/// `method SP target SP HTTP/1.x CRLF` (RFC 9112 §3); `None` while it is incomplete.
#[inline]
pub(crate) fn request_line(bytes: &[u8]) -> Result<Option<RequestLine>, ScanError> {
    let mut at = 0;
    while bytes.get(at) == Some(&b'\r') && at < 2 * MAX_EMPTY_LINES {
        match bytes.get(at + 1) {
            Some(b'\n') => at += 2,
            Some(_) => return Err(ScanError::StartLine),
            None => return Ok(None),
        }
    }
    let method = run(bytes, at, |b| TCHARS[b as usize]);
    if method.is_empty() || bytes.get(method.range().end).is_some_and(|b| *b != b' ') {
        return if at == bytes.len() { Ok(None) } else { Err(ScanError::StartLine) };
    }
    let target = run(bytes, method.range().end + 1, |b| b > b' ' && b != 0x7f);
    let space = target.range().end;
    match bytes.get(space) {
        None => return Ok(None),
        Some(b' ') if !target.is_empty() => {}
        Some(_) => return Err(ScanError::StartLine),
    }
    let Some(rest) = bytes.get(space + 1..space + 1 + VERSION + 2) else {
        let so_far = &bytes[space + 1..];
        // What cannot become a version is refused before more of it comes.
        return if so_far.contains(&b'\n') { Err(ScanError::Version) } else { Ok(None) };
    };
    let (version, line_end) = rest.split_at(VERSION);
    let http10 = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ if version.starts_with(b"HTTP/") => return Err(ScanError::Version),
        _ => return Err(ScanError::StartLine),
    };
    if line_end != b"\r\n" {
        return Err(ScanError::StartLine);
    }
    Ok(Some(RequestLine { method, target, http10, end: space + 1 + VERSION + 2 }))
}

/// `HTTP/1.x SP status [SP reason] CRLF` (RFC 9112 §4); a bare LF is accepted from upstreams.
#[inline]
pub(crate) fn status_line(bytes: &[u8]) -> Result<Option<StatusLine>, ScanError> {
    let Some(newline) = memchr::memchr(b'\n', bytes) else {
        let prefix = &b"HTTP/1."[..bytes.len().min(7)];
        return if bytes.starts_with(prefix) { Ok(None) } else { Err(ScanError::StartLine) };
    };
    let line = bytes[..newline].strip_suffix(b"\r").unwrap_or(&bytes[..newline]);
    let Some((head, reason)) = line.split_at_checked(VERSION + 4) else { return Err(ScanError::StartLine) };
    let http10 = match &head[..VERSION + 1] {
        b"HTTP/1.1 " => false,
        b"HTTP/1.0 " => true,
        _ => return Err(ScanError::StartLine),
    };
    let digits = &head[VERSION + 1..];
    if !digits.iter().all(u8::is_ascii_digit) || digits[0] == b'0' {
        return Err(ScanError::StartLine);
    }
    let status = digits.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0'));
    let reason = match reason {
        [] => Span::default(),
        [b' ', text @ ..] if is_text(text) => Span::new(VERSION + 5, VERSION + 5 + text.len()),
        _ => return Err(ScanError::StartLine),
    };
    Ok(Some(StatusLine { status, reason, http10, end: newline + 1 }))
}

/// `name ":" OWS value OWS CRLF` (RFC 9112 §5): no space before the colon, no folded lines, no
/// control bytes. A bare LF is pointed out, not refused.
#[inline(always)]
pub(crate) fn field_line(bytes: &[u8], at: usize) -> Result<Next, ScanError> {
    match bytes.get(at) {
        None => return Ok(Next::Partial),
        Some(b'\r') => {
            return match bytes.get(at + 1) {
                Some(b'\n') => Ok(Next::End(at + 2)),
                Some(_) => Err(ScanError::FieldName),
                None => Ok(Next::Partial),
            };
        }
        Some(_) => {}
    }
    let name = run(bytes, at, |b| TCHARS[b as usize]);
    let colon = name.range().end;
    match bytes.get(colon) {
        Some(b':') if !name.is_empty() => {}
        None => return Ok(Next::Partial),
        Some(_) => return Err(ScanError::FieldName),
    }
    let mut start = colon + 1;
    while bytes.get(start).is_some_and(|b| is_ows(*b)) {
        start += 1;
    }
    let text_end = text_end(bytes, start);
    let (bare, line_end) = match (bytes.get(text_end), bytes.get(text_end + 1)) {
        (None, _) | (Some(b'\r'), None) => return Ok(Next::Partial),
        (Some(b'\r'), Some(b'\n')) => (false, text_end + 2),
        (Some(b'\n'), _) => (true, text_end + 1),
        (Some(_), _) => return Err(ScanError::FieldValue),
    };
    let mut end = text_end;
    while end > start && is_ows(bytes[end - 1]) {
        end -= 1;
    }
    Ok(Next::Field(Line { name, value: Span::new(start, end), end: line_end, bare, tab: bytes[colon + 1] == b'\t' }))
}

/// The bytes from `at` on for which a test holds.
#[inline(always)]
fn run(bytes: &[u8], at: usize, test: impl Fn(u8) -> bool) -> Span {
    let mut end = at.min(bytes.len());
    while let Some(four) = bytes.get(end..end + 4) {
        if !test(four[0]) {
            return Span::new(at, end);
        }
        if !test(four[1]) {
            return Span::new(at, end + 1);
        }
        if !test(four[2]) {
            return Span::new(at, end + 2);
        }
        if !test(four[3]) {
            return Span::new(at, end + 3);
        }
        end += 4;
    }
    while bytes.get(end).is_some_and(|b| test(*b)) {
        end += 1;
    }
    Span::new(at, end.max(at))
}

/// Whether there is no control byte but the tab.
fn is_text(value: &[u8]) -> bool {
    text_end(value, 0) == value.len()
}

/// Where the first control byte stands that is no tab; the end where there is none. Eight bytes at
/// a time.
#[inline(always)]
fn text_end(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let x = u64::from_le_bytes(*word);
        let delete = x ^ (ONES * 0x7f);
        // The high bit of bytes under 0x20 and of 0x7f. A borrow may mark bytes behind one that is
        // rightly marked, never the first.
        let controls = ((x.wrapping_sub(ONES * 0x20) & !x) | (delete.wrapping_sub(ONES) & !delete)) & HIGH;
        if controls == 0 {
            at += 8;
            continue;
        }
        at += controls.trailing_zeros() as usize / 8;
        if bytes[at] != b'\t' {
            return at;
        }
        at += 1;
    }
    while bytes.get(at).is_some_and(|b| *b == b'\t' || (*b >= 0x20 && *b != 0x7f)) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_control_byte_in_a_value_is_seen() {
        for at in 0..20 {
            for b in 0..=255u8 {
                let mut value = [b'a'; 20];
                value[at] = b;
                assert_eq!(is_text(&value), b == b'\t' || (b >= 0x20 && b != 0x7f), "{b:#x} at {at}");
            }
        }
    }

    /// A head's length, and its names and values.
    type Meaning = (usize, Vec<(Vec<u8>, Vec<u8>)>);

    /// What a request head means, or why it means nothing.
    fn ours(bytes: &[u8]) -> Result<Option<Meaning>, ScanError> {
        let Some(line) = request_line(bytes)? else { return Ok(None) };
        let (mut at, mut fields) = (line.end, Vec::new());
        loop {
            match field_line(bytes, at)? {
                Next::Field(line) => {
                    fields.push((bytes[line.name.range()].to_vec(), bytes[line.value.range()].to_vec()));
                    at = line.end;
                }
                Next::End(end) => return Ok(Some((end, fields))),
                Next::Partial => return Ok(None),
            }
        }
    }

    proptest! {
        /// What this scanner accepts, httparse accepts with the same meaning; it accepts nothing that
        /// httparse refuses.
        #[test]
        fn accepts_nothing_that_httparse_refuses(
            parts in proptest::collection::vec(prop_oneof![
                Just("GET / HTTP/1.1\r\n".to_owned()), Just("Host: a\r\n".to_owned()), Just("\r\n".to_owned()), Just("\n".to_owned()),
                Just("X:  y \t\r\n".to_owned()), Just("X-Y:\r\n".to_owned()), Just(" fold\r\n".to_owned()), Just("a b: c\r\n".to_owned()),
                Just("A: \u{e9}\r\n".to_owned()), Just("B: a\rb\r\n".to_owned()), Just("C :x\r\n".to_owned()), "[ -~]{0,12}", "[\\x00-\\x7f]{0,3}",
            ], 0..8),
            prefix in 0usize..2,
        ) {
            let mut text = if prefix == 0 { "POST /a?b HTTP/1.0\r\n".to_owned() } else { String::new() };
            text.extend(parts);
            let bytes = text.as_bytes();
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut request = httparse::Request::new(&mut fields);
            let theirs = request.parse(bytes);
            if let Ok(Some((end, mine))) = ours(bytes) {
                prop_assert_eq!(theirs, Ok(httparse::Status::Complete(end)), "{:?}", text);
                let same: Vec<_> = request.headers.iter().map(|f| (f.name.as_bytes().to_vec(), f.value.to_vec())).collect();
                prop_assert_eq!(mine, same, "{:?}", text);
            }
        }
    }
}
