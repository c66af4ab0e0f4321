//! The small grammars of RFC 9110 §5.6: tokens, comma lists, field values.

/// The longest field name that is read or written, in bytes: nobody needs more.
pub const MAX_NAME: usize = 255;

/// Whether every byte is a `tchar` and there is at least one (RFC 9110 §5.6.2).
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| is_tchar(*b))
}

fn is_tchar(b: u8) -> bool {
    TCHARS[b as usize]
}

pub(crate) static TCHARS: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0x21;
    while b < 0x7f {
        let separator =
            matches!(b as u8, b'"' | b'(' | b')' | b',' | b'/' | b':'..=b'@' | b'[' | b'\\' | b']' | b'{' | b'}');
        table[b] = !separator;
        b += 1;
    }
    table
};

/// Whether a value may be sent in a field: no control byte but the tab, no white space at the ends.
pub fn is_field_value(value: &[u8]) -> bool {
    value.iter().all(|b| *b == b'\t' || (*b >= 0x20 && *b != 0x7f)) && trim(value).len() == value.len()
}

/// The text without the optional white space (space, tab) around it.
pub fn trim(text: &[u8]) -> &[u8] {
    let Some(start) = text.iter().position(|b| !is_ows(*b)) else { return &[] };
    let end = text.iter().rposition(|b| !is_ows(*b)).map_or(start, |last| last + 1);
    &text[start..end]
}

pub(crate) fn is_ows(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

/// The non-empty members of a comma-separated list.
pub fn list(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(trim).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_skip_empty_members() {
        let members: Vec<_> = list(b" a ,, b\t,").collect();
        assert_eq!(members, [b"a", b"b"]);
    }

    #[test]
    fn values_refuse_controls() {
        assert!(is_field_value(b"a\tb \xe9"));
        assert!(!is_field_value(b"a\r\nb"));
        assert!(!is_field_value(b" a"));
    }
}
