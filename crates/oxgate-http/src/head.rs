//! The fields of a message: one byte buffer and an index of spans into it, edited in place.
//!
//! Lines are kept as they were received; removing one flips a flag, adding one appends a line to
//! the buffer. Writing copies runs of neighbouring kept lines, so a message that nobody edits is
//! copied in a few large pieces. Both buffers are reused from message to message.

use crate::name::Name;
use crate::scan::Line;
use crate::token;

/// A piece of a [`Head`]'s buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    pub(crate) fn len(self) -> usize {
        self.range().len()
    }

    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Whether the piece has no bytes.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Sixteen bytes, because every field of every message is one.
#[derive(Clone, Copy, Debug)]
struct Field {
    /// Where the name starts, and with it the line.
    start: u32,
    value: Span,
    /// At most [`token::MAX_NAME`].
    name_len: u8,
    id: Name,
    dropped: bool,
    /// The line reads `name: value CRLF` and may be copied as it stands.
    canonical: bool,
}

impl Field {
    fn name(&self) -> std::ops::Range<usize> {
        self.start as usize..self.start as usize + usize::from(self.name_len)
    }

    /// The line of a canonical field, its CRLF included.
    fn line(&self) -> Span {
        Span { start: self.start, end: self.value.end + 2 }
    }
}

/// The fields of a request or response, with the bytes that they and the start line live in.
#[derive(Debug, Default)]
pub struct Head {
    bytes: Vec<u8>,
    fields: Vec<Field>,
}

impl Head {
    /// Forgets the message; keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
    }

    /// Takes over a received head; the spans pushed before count from its first byte.
    #[inline]
    pub(crate) fn load(&mut self, received: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(received);
    }

    #[inline]
    pub(crate) fn push_received(&mut self, line: &Line, id: Name) {
        self.fields.push(Field {
            start: line.name.range().start as u32,
            value: line.value,
            name_len: line.name.len() as u8,
            id,
            dropped: false,
            canonical: line.canonical,
        });
    }

    /// The bytes of a piece.
    #[inline]
    pub fn bytes(&self, span: Span) -> &[u8] {
        self.bytes.get(span.range()).unwrap_or_default()
    }

    /// Keeps bytes alongside the message and says where they are.
    pub fn store(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Span::new(start, self.bytes.len())
    }

    /// Bytes held, edits included.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    fn live(&self) -> impl DoubleEndedIterator<Item = &Field> {
        self.fields.iter().filter(|f| !f.dropped)
    }

    fn name_of(&self, f: &Field) -> &[u8] {
        &self.bytes[f.name()]
    }

    /// Number of fields that would be sent.
    pub fn len(&self) -> usize {
        self.live().count()
    }

    /// Whether there are no fields to send.
    pub fn is_empty(&self) -> bool {
        self.live().next().is_none()
    }

    /// The first value of a known field.
    #[inline]
    pub fn get(&self, name: Name) -> Option<&[u8]> {
        self.live().find(|f| f.id == name).map(|f| self.bytes(f.value))
    }

    /// Every value of a known field, in the order received.
    pub fn get_all(&self, name: Name) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.live().filter(move |f| f.id == name).map(|f| self.bytes(f.value))
    }

    /// Every value of the field with this name, in the order received.
    pub fn find_all<'a, 'n>(&'a self, name: &'n [u8]) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'a, 'n> {
        self.live().filter(move |f| self.name_of(f).eq_ignore_ascii_case(name)).map(|f| self.bytes(f.value))
    }

    /// The first value of the field with this name.
    pub fn find(&self, name: &[u8]) -> Option<&[u8]> {
        self.find_all(name).next()
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        self.live().map(|f| (self.name_of(f), self.bytes(f.value)))
    }

    /// Drops every field with a known name.
    #[inline]
    pub fn remove(&mut self, name: Name) {
        for f in &mut self.fields {
            f.dropped |= f.id == name;
        }
    }

    /// Drops every field with this name; says whether there was one.
    pub fn remove_named(&mut self, name: &[u8]) -> bool {
        let Head { bytes, fields } = self;
        let mut found = false;
        for f in fields.iter_mut().filter(|f| !f.dropped && usize::from(f.name_len) == name.len()) {
            if bytes[f.name()].eq_ignore_ascii_case(name) {
                f.dropped = true;
                found = true;
            }
        }
        found
    }

    /// Drops the fields for which `drop` says so, given id and name.
    pub fn drop_where(&mut self, mut drop: impl FnMut(Name, &[u8]) -> bool) {
        let Head { bytes, fields } = self;
        for f in fields.iter_mut().filter(|f| !f.dropped) {
            f.dropped = drop(f.id, &bytes[f.name()]);
        }
    }

    /// Drops what belongs to the received connection alone: the hop-by-hop fields and those that
    /// `Connection` names (RFC 9110 §7.6.1). Host and the fields that decide framing stay whatever
    /// `Connection` says.
    pub(crate) fn strip_hop_by_hop(&mut self, nominated: bool) {
        if nominated {
            let options: Vec<Vec<u8>> =
                self.get_all(Name::Connection).flat_map(token::list).map(<[u8]>::to_vec).collect();
            for option in options {
                if !matches!(Name::of(&option), Name::Host | Name::ContentLength) {
                    self.remove_named(&option);
                }
            }
        }
        for f in &mut self.fields {
            f.dropped |= f.id.is_hop_by_hop();
        }
    }

    /// Adds a field. The caller vouches for the name being a token of at most 255 bytes and the value
    /// a field value: both come from configuration that was checked, or from fields that were parsed.
    #[inline]
    pub fn append(&mut self, name: &[u8], value: &[u8]) {
        self.append_with(name, |line| line.extend_from_slice(value));
    }

    /// Adds a field whose value `write` appends to the line. The same duties as [`Head::append`].
    #[inline]
    pub fn append_with(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(b": ");
        self.finish_line(start, name.len(), Name::of(name), write);
    }

    /// Adds a field whose name is known: `label` is its text with the colon and the space behind it.
    #[inline]
    pub fn append_known(&mut self, id: Name, label: &'static [u8], write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(label);
        self.finish_line(start, label.len() - 2, id, write);
    }

    /// Adds a field whose line is at hand as it is to be sent, its CRLF included; its name has `name_len`
    /// bytes. The same duties as [`Head::append`].
    #[inline]
    pub fn append_line(&mut self, id: Name, name_len: u8, line: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(line);
        let value = Span::new(start + usize::from(name_len) + 2, self.bytes.len() - 2);
        self.fields.push(Field { start: start as u32, value, name_len, id, dropped: false, canonical: true });
    }

    /// Adds every field of `other`, a head that was put together by appending.
    #[inline]
    pub fn append_all(&mut self, other: &Head) {
        let shift = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&other.bytes);
        let shifted = |span: Span| Span { start: span.start + shift, end: span.end + shift };
        let shift_field = |f: &Field| Field { start: f.start + shift, value: shifted(f.value), ..*f };
        self.fields.extend(other.fields.iter().map(shift_field));
    }

    #[inline]
    fn finish_line(&mut self, start: usize, name_len: usize, id: Name, write: impl FnOnce(&mut Vec<u8>)) {
        let value = self.bytes.len();
        write(&mut self.bytes);
        let end = self.bytes.len();
        self.bytes.extend_from_slice(b"\r\n");
        self.fields.push(Field {
            start: start as u32,
            value: Span::new(value, end),
            name_len: name_len as u8,
            id,
            dropped: false,
            canonical: true,
        });
    }

    /// Replaces every field of this name by one.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.remove_named(name);
        self.append(name, value);
    }

    /// Appends a start line that is kept as it was received, where there is one, and the kept field
    /// lines, without the blank line that ends a head.
    #[inline]
    pub(crate) fn write(&self, start_line: Span, out: &mut Vec<u8>) {
        let mut run = start_line;
        for f in self.fields.iter().filter(|f| !f.dropped) {
            if f.canonical && f.start == run.end {
                run.end = f.line().end;
                continue;
            }
            out.extend_from_slice(self.bytes(run));
            run = Span::default();
            if f.canonical {
                run = f.line();
            } else {
                out.extend_from_slice(self.name_of(f));
                out.extend_from_slice(b": ");
                out.extend_from_slice(self.bytes(f.value));
                out.extend_from_slice(b"\r\n");
            }
        }
        out.extend_from_slice(self.bytes(run));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a head means: its names (lower case) and values in order.
    fn meaning(head: &Head) -> Vec<(Vec<u8>, Vec<u8>)> {
        head.iter().map(|(n, v)| (n.to_ascii_lowercase(), v.to_vec())).collect()
    }

    fn written(head: &Head) -> Vec<u8> {
        let mut out = Vec::new();
        head.write(Span::default(), &mut out);
        out
    }

    #[derive(Clone, Debug)]
    enum Edit {
        Append(u8, u8),
        Set(u8, u8),
        Remove(u8),
    }

    fn edits() -> impl Strategy<Value = Vec<Edit>> {
        let edit = prop_oneof![
            (0u8..6, any::<u8>()).prop_map(|(n, v)| Edit::Append(n, v)),
            (0u8..6, any::<u8>()).prop_map(|(n, v)| Edit::Set(n, v)),
            (0u8..6).prop_map(Edit::Remove),
        ];
        proptest::collection::vec(edit, 0..24)
    }

    proptest! {
        /// Edits on the spans mean what the same edits mean on a plain list, and writing agrees.
        #[test]
        fn edits_mean_what_they_mean_on_a_list(received in proptest::collection::vec((0u8..6, any::<u8>(), any::<bool>()), 0..12), edits in edits()) {
            let mut list: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
            let mut text = b"GET / HTTP/1.1\r\n".to_vec();
            let mut spans = Vec::new();
            for (n, v, tidy) in &received {
                let (name, value) = (format!("x-{n}"), v.to_string());
                let start = text.len();
                text.extend_from_slice(name.as_bytes());
                text.extend_from_slice(if *tidy { b": ".as_slice() } else { b":\t".as_slice() });
                let from = text.len();
                text.extend_from_slice(value.as_bytes());
                let to = text.len();
                text.extend_from_slice(if *tidy { b"\r\n".as_slice() } else { b" \r\n".as_slice() });
                spans.push(Line {
                    name: Span::new(start, start + name.len()),
                    value: Span::new(from, to),
                    end: text.len(),
                    id: Name::Other,
                    bare: false,
                    canonical: *tidy,
                    underscore: false,
                });
                list.push((name.into_bytes(), value.into_bytes()));
            }
            let mut head = Head::default();
            head.load(&text);
            for line in spans {
                head.push_received(&line, Name::Other);
            }
            for edit in edits {
                match edit {
                    Edit::Append(n, v) => {
                        let (name, value) = (format!("x-{n}").into_bytes(), v.to_string().into_bytes());
                        head.append(&name, &value);
                        list.push((name, value));
                    }
                    Edit::Set(n, v) => {
                        let (name, value) = (format!("x-{n}").into_bytes(), v.to_string().into_bytes());
                        head.set(&name, &value);
                        list.retain(|(have, _)| *have != name);
                        list.push((name, value));
                    }
                    Edit::Remove(n) => {
                        let name = format!("x-{n}").into_bytes();
                        head.remove_named(&name);
                        list.retain(|(have, _)| *have != name);
                    }
                }
            }
            prop_assert_eq!(meaning(&head), list.clone());
            let mut expected = Vec::new();
            for (name, value) in &list {
                expected.extend_from_slice(name);
                expected.extend_from_slice(b": ");
                expected.extend_from_slice(value);
                expected.extend_from_slice(b"\r\n");
            }
            prop_assert_eq!(written(&head), expected);
        }
    }
}
