//! One pass over a head: start line, field lines, blank line. Strict where RFC 9112 lets a
//! recipient choose, because every choice has been somebody's request smuggling.

use crate::head::Span;
use crate::marks::{BLOCK, Marks};
use crate::name::Name;
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
    pub(crate) id: Name,
    pub(crate) value: Span,
    /// Behind the line's end.
    pub(crate) end: usize,
    /// The line ends in LF without CR.
    pub(crate) bare: bool,
    /// The line reads `name: value CRLF`, with one space and no more white space.
    pub(crate) canonical: bool,
    /// The name is not a known one and holds an underscore.
    pub(crate) underscore: bool,
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
/// The longest method; the longest registered one has 17 letters.
const MAX_METHOD: usize = 32;
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
    let method_end = bytes[at..].iter().position(|b| !TCHARS[*b as usize]).map_or(bytes.len(), |n| at + n);
    if method_end - at > MAX_METHOD {
        return Err(ScanError::StartLine);
    }
    match bytes.get(method_end) {
        Some(b' ') if method_end > at => {}
        None => return Ok(None),
        Some(_) => return Err(ScanError::StartLine),
    }
    let target = Span::new(method_end + 1, first_below::<0x21>(bytes, method_end + 1));
    let space = target.range().end;
    match bytes.get(space) {
        None => return Ok(None),
        Some(b' ') if !target.is_empty() => {}
        Some(_) => return Err(ScanError::StartLine),
    }
    let Some(rest) = bytes[space + 1..].first_chunk::<{ VERSION + 2 }>() else {
        let so_far = &bytes[space + 1..];
        // What cannot become a version is refused before more of it comes.
        return if so_far.contains(&b'\n') { Err(ScanError::Version) } else { Ok(None) };
    };
    let http10 = match rest {
        b"HTTP/1.1\r\n" => false,
        b"HTTP/1.0\r\n" => true,
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', ..] => return Err(ScanError::StartLine),
        [b'H', b'T', b'T', b'P', b'/', ..] => return Err(ScanError::Version),
        _ => return Err(ScanError::StartLine),
    };
    Ok(Some(RequestLine { method: Span::new(at, method_end), target, http10, end: space + 1 + rest.len() }))
}

/// `HTTP/1.x SP status [SP reason] CRLF` (RFC 9112 §4); a bare LF is accepted from upstreams.
#[inline]
pub(crate) fn status_line(bytes: &[u8]) -> Result<Option<StatusLine>, ScanError> {
    let Some(head) = bytes.first_chunk::<{ VERSION + 4 }>() else {
        let prefix = &b"HTTP/1."[..bytes.len().min(7)];
        return if bytes.starts_with(prefix) && !bytes.contains(&b'\n') { Ok(None) } else { Err(ScanError::StartLine) };
    };
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
    let start = match bytes.get(head.len()) {
        Some(b' ') => head.len() + 1,
        _ => head.len(),
    };
    let end = text_end(bytes, start);
    let line_end = match bytes.get(end..) {
        Some([b'\r', b'\n', ..]) => end + 2,
        Some([b'\n', ..]) => end + 1,
        None | Some([] | [b'\r']) => return Ok(None),
        Some(_) => return Err(ScanError::StartLine),
    };
    // A reason is set off from the status by a space.
    if start == head.len() && end > start {
        return Err(ScanError::StartLine);
    }
    Ok(Some(StatusLine { status, reason: Span::new(start, end), http10, end: line_end }))
}

/// The lines behind a start line, one after the other. Colons and control bytes are looked for in
/// blocks, so that a line costs a few instructions whatever its length.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the block that `marks` is about begins.
    base: usize,
    marks: Marks,
}

impl<'a> Lines<'a> {
    /// The lines from `at` on, which is within `bytes` or their end.
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Lines<'a> {
        Lines { bytes, at, base: at, marks: Marks::of(&bytes[at..]) }
    }

    /// The next line. `name ":" OWS value OWS CRLF` (RFC 9112 §5): no space before the colon, no
    /// folded lines, no control bytes. A bare LF is pointed out, not refused.
    ///
    /// # Errors
    /// The first rule that the line breaks. There is nothing to read behind an error or the end.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Next, ScanError> {
        let (bytes, start) = (self.bytes, self.at);
        let colon = self.find(start, |m| m.colons | m.controls);
        if bytes.get(colon) != Some(&b':') {
            return self.without_colon(colon);
        }
        let name = &bytes[start..colon];
        let id = Name::of(name);
        let mut underscore = false;
        if id == Name::Other {
            underscore = unknown_name(name)?;
        }
        let stop = self.find(colon + 1, |m| m.controls);
        let (bare, end) = match bytes.get(stop..) {
            Some([b'\r', b'\n', ..]) => (false, stop + 2),
            Some([b'\n', ..]) => (true, stop + 1),
            None | Some([] | [b'\r']) => return Ok(Next::Partial),
            Some(_) => return Err(ScanError::FieldValue),
        };
        let name = Span::new(start, colon);
        self.at = end;
        if let [b' ', value @ ..] = &bytes[colon + 1..stop]
            && !value.first().is_some_and(|b| is_ows(*b))
            && !value.last().is_some_and(|b| is_ows(*b))
        {
            let value = Span::new(colon + 2, stop);
            return Ok(Next::Field(Line { name, id, value, end, bare, canonical: !bare, underscore }));
        }
        let value = trimmed(bytes, colon + 1, stop);
        Ok(Next::Field(Line { name, id, value, end, bare, canonical: false, underscore }))
    }

    /// A line whose first mark, at `stop`, is no colon: the blank one, an unfinished one or a wrong one.
    fn without_colon(&self, stop: usize) -> Result<Next, ScanError> {
        let name = &self.bytes[self.at..stop];
        match self.bytes.get(stop..) {
            Some([b'\r', b'\n', ..]) if name.is_empty() => Ok(Next::End(stop + 2)),
            Some([b'\r']) if name.is_empty() => Ok(Next::Partial),
            None | Some([]) if name.iter().all(|b| TCHARS[*b as usize]) => Ok(Next::Partial),
            _ => Err(ScanError::FieldName),
        }
    }

    /// Where the first marked byte at or after `from` stands; the end where there is none. What is
    /// before the block looked at last is not looked at again.
    #[inline(always)]
    fn find(&mut self, from: usize, marked: impl Fn(&Marks) -> u64) -> usize {
        let mut skip = from - self.base;
        loop {
            if skip < BLOCK {
                let marked = marked(&self.marks) >> skip;
                if marked != 0 {
                    return self.base + skip + marked.trailing_zeros() as usize;
                }
            }
            let next = self.base + BLOCK;
            if next >= self.bytes.len() {
                return self.bytes.len();
            }
            self.base = next;
            self.marks = Marks::of(&self.bytes[next..]);
            skip = skip.saturating_sub(BLOCK);
        }
    }
}

/// The piece without the optional white space around it.
fn trimmed(bytes: &[u8], mut from: usize, mut to: usize) -> Span {
    while from < to && is_ows(bytes[from]) {
        from += 1;
    }
    while to > from && is_ows(bytes[to - 1]) {
        to -= 1;
    }
    Span::new(from, to)
}

/// Checks a name that is none of the known ones; says whether it holds an underscore.
fn unknown_name(name: &[u8]) -> Result<bool, ScanError> {
    let mut underscore = false;
    for b in name {
        if !TCHARS[*b as usize] {
            return Err(ScanError::FieldName);
        }
        underscore |= *b == b'_';
    }
    if name.is_empty() { Err(ScanError::FieldName) } else { Ok(underscore) }
}

/// Where the first control byte stands that is no tab; the end where there is none.
#[inline(always)]
fn text_end(bytes: &[u8], mut at: usize) -> usize {
    loop {
        at = first_below::<0x20>(bytes, at);
        if bytes.get(at) != Some(&b'\t') {
            return at;
        }
        at += 1;
    }
}

/// Where the first byte under `FLOOR` or DEL stands from `at` on; the end where there is none. Eight
/// bytes at a time.
#[inline(always)]
fn first_below<const FLOOR: u8>(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let x = u64::from_le_bytes(*word);
        let delete = x ^ (ONES * 0x7f);
        // The high bit of bytes under the floor and of 0x7f. A borrow may mark bytes behind one that
        // is rightly marked, never the first.
        let found = ((x.wrapping_sub(ONES * FLOOR as u64) & !x) | (delete.wrapping_sub(ONES) & !delete)) & HIGH;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|b| *b >= FLOOR && *b != 0x7f) {
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
                let clean = b == b'\t' || (b >= 0x20 && b != 0x7f);
                assert_eq!(text_end(&value, 0), if clean { 20 } else { at }, "{b:#x} at {at}");
            }
        }
    }

    /// A head's length, and its names and values.
    type Meaning = (usize, Vec<(Vec<u8>, Vec<u8>)>);

    /// What a request head means, or why it means nothing.
    fn ours(bytes: &[u8]) -> Result<Option<Meaning>, ScanError> {
        let Some(line) = request_line(bytes)? else { return Ok(None) };
        let (mut lines, mut fields) = (Lines::new(bytes, line.end), Vec::new());
        loop {
            match lines.next()? {
                Next::Field(line) => {
                    fields.push((bytes[line.name.range()].to_vec(), bytes[line.value.range()].to_vec()));
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
