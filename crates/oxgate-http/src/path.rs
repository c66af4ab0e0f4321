//! One normal form of the path, for matching, for policies and for forwarding alike.
//!
//! Percent codes of unreserved characters are decoded and the others written in upper case
//! (RFC 3986 §6.2.2), empty segments are merged. What has more than one reading among servers is
//! refused or rewritten, as the [`PathPolicy`] says.

/// What to do with a path that servers read in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PathPolicy {
    /// Refuse it.
    #[default]
    Strict,
    /// Rewrite what has one sensible reading, refuse the rest.
    Normalize,
    /// Match and forward the bytes as they came.
    Verbatim,
}

/// Why a path has no normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// A byte that no path may hold.
    Byte,
    /// A `%` without two hexadecimal digits.
    Percent,
    /// An encoded slash, or a backslash raw or encoded.
    Separator,
    /// An encoded control byte.
    Control,
    /// `.` or `..` in any spelling.
    DotSegment,
    /// Bytes that spell a character in more bytes than it needs (RFC 3629 §3).
    Overlong,
    /// A second encoding around a dot, slash or backslash.
    DoubleEncoding,
}

impl PathError {
    /// What is wrong, for the answer's detail.
    pub fn text(self) -> &'static str {
        match self {
            PathError::Byte => "the path holds a byte that must be percent-encoded",
            PathError::Percent => "a percent sign in the path lacks its two hexadecimal digits",
            PathError::Separator => "the path holds an encoded slash or a backslash",
            PathError::Control => "the path holds an encoded control byte",
            PathError::DotSegment => "the path holds a dot segment",
            PathError::Overlong => "the path holds an overlong UTF-8 sequence",
            PathError::DoubleEncoding => "the path holds a doubly encoded separator or dot",
        }
    }
}

/// How many bytes of a target, from its first on, are a path that is its own normal form under every
/// policy: nothing encoded, no parameters, no empty segment and none that starts with a dot. Nearly
/// every target is that up to its query.
#[inline]
pub fn plain_len(target: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&b) = target.get(at) {
        match CLASSES[b as usize] {
            Class::Plain => {}
            Class::Slash if !matches!(target.get(at + 1), Some(b'/' | b'.')) => {}
            Class::Slash | Class::Other => break,
        }
        at += 1;
    }
    at
}

#[derive(Clone, Copy)]
enum Class {
    Plain,
    Slash,
    Other,
}

static CLASSES: [Class; 256] = {
    let mut table = [Class::Other; 256];
    let mut b = 0x21;
    while b < 0x7f {
        table[b] = match b as u8 {
            b'%' | b';' | b'\\' | b'#' | b'?' => Class::Other,
            b'/' => Class::Slash,
            _ => Class::Plain,
        };
        b += 1;
    }
    table
};

/// Appends the normal form of `path` to `out`.
///
/// # Errors
/// The first reason why it has none under `policy`; `out` is then of no use.
pub fn normalize(path: &[u8], policy: PathPolicy, out: &mut Vec<u8>) -> Result<(), PathError> {
    if policy == PathPolicy::Verbatim {
        out.extend_from_slice(path);
        return path.iter().all(|b| (0x21..0x7f).contains(b) && *b != b'#').then_some(()).ok_or(PathError::Byte);
    }
    let start = out.len();
    decode(path, policy, out)?;
    refuse_double_encoding(&out[start..])?;
    let decoded = out.split_off(start);
    join_segments(&decoded, policy, out, start)
}

/// Percent codes to their one spelling.
fn decode(path: &[u8], policy: PathPolicy, out: &mut Vec<u8>) -> Result<(), PathError> {
    let strict = policy == PathPolicy::Strict;
    // The bytes that the path stands for, to judge its UTF-8.
    let mut high = Vec::new();
    let mut at = 0;
    while let Some(&b) = path.get(at) {
        at += 1;
        match b {
            b'%' => {
                let code = path.get(at..at + 2).and_then(hex_pair).ok_or(PathError::Percent)?;
                at += 2;
                match code {
                    b'/' | b'\\' if strict => return Err(PathError::Separator),
                    b'/' | b'\\' => out.push(b'/'),
                    0..=0x1f | 0x7f => return Err(PathError::Control),
                    code if is_unreserved(code) => out.push(code),
                    code => push_code(out, code),
                }
                if code >= 0x80 {
                    high.push(code);
                    continue;
                }
            }
            b'\\' if strict => return Err(PathError::Separator),
            b'\\' => out.push(b'/'),
            0..=0x20 | 0x7f | b'#' | b'?' => return Err(PathError::Byte),
            0x80.. if strict => return Err(PathError::Byte),
            0x80.. => {
                push_code(out, b);
                high.push(b);
                continue;
            }
            b => out.push(b),
        }
        refuse_overlong(&high)?;
        high.clear();
    }
    refuse_overlong(&high)
}

/// Refuses what a second round of decoding would turn into other segments or other letters: some
/// server on the way will do that round. Behind `%25`, two digits that stand for anything else pass.
fn refuse_double_encoding(decoded: &[u8]) -> Result<(), PathError> {
    for at in memchr::memmem::find_iter(decoded, b"%25") {
        let hidden = decoded.get(at + 3..at + 5).and_then(hex_pair);
        if hidden.is_some_and(|b| is_unreserved(b) || b.is_ascii_control() || b"/\\%;".contains(&b)) {
            return Err(PathError::DoubleEncoding);
        }
    }
    Ok(())
}

/// Merges empty segments and settles dot segments.
fn join_segments(decoded: &[u8], policy: PathPolicy, out: &mut Vec<u8>, start: usize) -> Result<(), PathError> {
    let strict = policy == PathPolicy::Strict;
    let mut trailing_slash = false;
    for segment in decoded.split(|b| *b == b'/') {
        let name = segment_name(segment);
        trailing_slash = true;
        match name {
            b"" if segment.is_empty() => {}
            b"" | b"." | b".." if strict => return Err(PathError::DotSegment),
            b"" | b"." => {}
            b".." => {
                let parent = out[start..].iter().rposition(|b| *b == b'/').ok_or(PathError::DotSegment)?;
                out.truncate(start + parent);
            }
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
                trailing_slash = false;
            }
        }
    }
    if trailing_slash {
        out.push(b'/');
    }
    Ok(())
}

/// A segment without its `;parameters`, which are no part of it when matching. In the normal form an
/// encoded semicolon reads `%3B`; servers that decode first see parameters behind it too.
pub fn segment_name(segment: &[u8]) -> &[u8] {
    let plain = memchr::memchr(b';', segment).unwrap_or(segment.len());
    let encoded = memchr::memmem::find(&segment[..plain], b"%3B").unwrap_or(plain);
    &segment[..encoded]
}

/// Appends the path that routes are matched on: the normal form without parameters.
pub fn without_parameters(path: &[u8], out: &mut Vec<u8>) {
    for (i, segment) in path.split(|b| *b == b'/').enumerate() {
        if i > 0 {
            out.push(b'/');
        }
        out.extend_from_slice(segment_name(segment));
    }
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let digit = |b: u8| (b as char).to_digit(16);
    Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8)
}

fn push_code(out: &mut Vec<u8>, code: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[b'%', HEX[usize::from(code >> 4)], HEX[usize::from(code & 15)]]);
}

fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

/// Refuses overlong sequences in a run of bytes above 0x7f; other encodings may pass.
fn refuse_overlong(run: &[u8]) -> Result<(), PathError> {
    let overlong = run.iter().enumerate().any(|(i, b)| match (b, run.get(i + 1)) {
        (0xc0 | 0xc1 | 0xf8.., _) => true,
        (0xe0, Some(next)) => *next < 0xa0,
        (0xf0, Some(next)) => *next < 0x90,
        _ => false,
    });
    if overlong { Err(PathError::Overlong) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn form(path: &str, policy: PathPolicy) -> Result<String, PathError> {
        let mut out = Vec::new();
        normalize(path.as_bytes(), policy, &mut out).map(|()| String::from_utf8_lossy(&out).into_owned())
    }

    #[test]
    fn strict_settles_spellings_and_refuses_second_readings() {
        for (path, expected) in [
            ("/a", Ok("/a")),
            ("/", Ok("/")),
            ("//a//b/", Ok("/a/b/")),
            ("/%61dmin", Ok("/admin")),
            ("/a%20b%c3%a9", Ok("/a%20b%C3%A9")),
            ("/a;x=1/b", Ok("/a;x=1/b")),
            ("/.hidden/...", Ok("/.hidden/...")),
            ("/100%25", Ok("/100%25")),
            ("/./a", Err(PathError::DotSegment)),
            ("/a/..", Err(PathError::DotSegment)),
            ("/%2e%2E/a", Err(PathError::DotSegment)),
            ("/..;/a", Err(PathError::DotSegment)),
            ("/;/a", Err(PathError::DotSegment)),
            ("/a%2fb", Err(PathError::Separator)),
            ("/a%5Cb", Err(PathError::Separator)),
            ("/\\a", Err(PathError::Separator)),
            ("/a%00", Err(PathError::Control)),
            ("/a%0d", Err(PathError::Control)),
            ("/a%zz", Err(PathError::Percent)),
            ("/a%4", Err(PathError::Percent)),
            ("/%c0%ae%c0%ae/a", Err(PathError::Overlong)),
            ("/%e0%80%af", Err(PathError::Overlong)),
            ("/a%3Bx/b", Ok("/a%3Bx/b")),
            ("/50%2520off", Ok("/50%2520off")),
            ("/..%3b/a", Err(PathError::DotSegment)),
            ("/%252e%252e/admin", Err(PathError::DoubleEncoding)),
            ("/%25%32e%25%32e/admin", Err(PathError::DoubleEncoding)),
            ("/admin%25%32f", Err(PathError::DoubleEncoding)),
            ("/%2561dmin", Err(PathError::DoubleEncoding)),
            ("/é", Err(PathError::Byte)),
        ] {
            let expected: Result<String, PathError> = expected.map(str::to_owned);
            assert_eq!(form(path, PathPolicy::Strict), expected, "{path}");
        }
    }

    #[test]
    fn normalize_rewrites_what_has_one_sensible_reading() {
        for (path, expected) in [
            ("/./a", Ok("/a")),
            ("/a/b/../../admin", Ok("/admin")),
            ("/a/..", Ok("/")),
            ("/a/.", Ok("/a/")),
            ("/a%2fb", Ok("/a/b")),
            ("/\\admin", Ok("/admin")),
            ("/a/..;x/b", Ok("/b")),
            ("/é", Ok("/%C3%A9")),
            ("/..", Err(PathError::DotSegment)),
            ("/a%00", Err(PathError::Control)),
        ] {
            let expected: Result<String, PathError> = expected.map(str::to_owned);
            assert_eq!(form(path, PathPolicy::Normalize), expected, "{path}");
        }
    }

    #[test]
    fn parameters_are_no_part_of_a_segment_however_they_are_spelled() {
        let mut out = Vec::new();
        without_parameters(b"/admin%3Bx/a;b=c/d", &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "/admin/a/d");
    }

    proptest! {
        /// A normal form is its own normal form, under both policies that rewrite.
        #[test]
        fn the_normal_form_is_stable(path in "/[a-cA-C./;%25efEF0-9\\\\]{0,24}") {
            for policy in [PathPolicy::Strict, PathPolicy::Normalize] {
                if let Ok(once) = form(&path, policy) {
                    prop_assert_eq!(form(&once, PathPolicy::Strict), Ok(once.clone()), "{}", path);
                }
            }
        }

        /// A plain path needs no work.
        #[test]
        fn plain_paths_are_their_own_form(path in "(/[a-z.]{0,3}){1,6}") {
            if plain_len(path.as_bytes()) == path.len() {
                prop_assert_eq!(form(&path, PathPolicy::Strict), Ok(path.clone()));
            }
        }
    }
}
