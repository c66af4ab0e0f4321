//! Chunked transfer coding (RFC 9112 §7.1), decoded in place and encoded around data where it lies.

use crate::name::Name;
use crate::scan::{Lines, Next};
use std::ops::Range;

/// The most bytes of one chunk-size line, extension included.
const MAX_SIZE_LINE: u32 = 256;
/// The most bytes of a trailer section.
const MAX_TRAILERS: usize = 8 * 1024;
/// The most fields of a trailer section.
const MAX_TRAILER_FIELDS: usize = 64;

/// A violation of the coding; the connection cannot be used any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

/// A decoder for one body.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// While reading a size: the size so far. While reading data: the bytes still to come.
    size: u64,
    digits: u32,
    line: u32,
    trailers: Vec<u8>,
}

/// What [`Decoder::decode`] made of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Where the data now lies.
    pub data: Range<usize>,
    /// Bytes used up, from the front.
    pub consumed: usize,
    /// Whether the body has ended; bytes after `consumed` belong to the next message.
    pub done: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder { state: State::Size, size: 0, digits: 0, line: 0, trailers: Vec::new() }
    }
}

impl Decoder {
    /// Decodes as much of `buf` as there is. The data of the first chunk stays where it is, that of
    /// later chunks is moved up to it, so that all of it lies in one piece.
    ///
    /// # Errors
    /// [`ChunkError`] at the first byte that the coding forbids.
    pub fn decode(&mut self, buf: &mut [u8]) -> Result<Decoded, ChunkError> {
        let mut data = 0..0;
        let mut at = 0;
        while at < buf.len() && self.state != State::Done {
            if self.state == State::Data {
                let n = usize::try_from(self.size).unwrap_or(usize::MAX).min(buf.len() - at);
                if data.is_empty() {
                    data = at..at;
                } else {
                    buf.copy_within(at..at + n, data.end);
                }
                data.end += n;
                at += n;
                self.size -= n as u64;
                if self.size == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.step(buf[at])?;
            at += 1;
        }
        Ok(Decoded { data, consumed: at, done: self.state == State::Done })
    }

    fn step(&mut self, b: u8) -> Result<(), ChunkError> {
        self.state = match (self.state, b) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = (b as char).to_digit(16).unwrap_or_default();
                self.digits += 1;
                self.size = self.size << 4 | u64::from(digit);
                if self.digits > 15 {
                    return Err(ChunkError);
                }
                State::Size
            }
            (State::Size, b'\r') if self.digits > 0 => State::SizeLf,
            (State::Size, b';') if self.digits > 0 => State::Extension,
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, b'\t' | 0x20..=0x7e | 0x80..) => {
                self.line += 1;
                if self.line > MAX_SIZE_LINE {
                    return Err(ChunkError);
                }
                State::Extension
            }
            (State::SizeLf, b'\n') => {
                self.digits = 0;
                self.line = 0;
                if self.size == 0 { State::TrailerStart } else { State::Data }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::Trailer, b'\r') => {
                self.keep_trailer_byte(b)?;
                State::TrailerLf
            }
            (State::TrailerStart | State::Trailer, b) if b != b'\n' => {
                self.keep_trailer_byte(b)?;
                State::Trailer
            }
            (State::TrailerLf, b'\n') => {
                self.keep_trailer_byte(b)?;
                State::TrailerStart
            }
            (State::EndLf, b'\n') => {
                self.check_trailers()?;
                State::Done
            }
            _ => return Err(ChunkError),
        };
        Ok(())
    }

    fn keep_trailer_byte(&mut self, b: u8) -> Result<(), ChunkError> {
        if self.trailers.len() == MAX_TRAILERS {
            return Err(ChunkError);
        }
        self.trailers.push(b);
        Ok(())
    }

    /// Leaves in the trailers only canonical lines that may be forwarded (RFC 9110 §6.5.1): no
    /// framing, routing or connection field, and none of the names that the gateway vouches for.
    fn check_trailers(&mut self) -> Result<(), ChunkError> {
        if self.trailers.is_empty() {
            return Ok(());
        }
        let mut received = std::mem::take(&mut self.trailers);
        received.extend_from_slice(b"\r\n");
        let mut lines = Lines::new(&received, 0);
        for _ in 0..=MAX_TRAILER_FIELDS {
            match lines.next() {
                Ok(Next::Field(line)) if !line.bare => {
                    let name = &received[line.name.range()];
                    if may_trail(name) {
                        self.trailers.extend_from_slice(name);
                        self.trailers.extend_from_slice(b": ");
                        self.trailers.extend_from_slice(&received[line.value.range()]);
                        self.trailers.extend_from_slice(b"\r\n");
                    }
                }
                Ok(Next::End(_)) => return Ok(()),
                _ => return Err(ChunkError),
            }
        }
        Err(ChunkError)
    }

    /// Whether the data is over and a trailer field has begun.
    pub fn in_trailer(&self) -> bool {
        matches!(self.state, State::Trailer | State::TrailerLf)
    }

    /// The forwardable trailer lines, each with its CRLF; complete once the body is done.
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }
}

fn may_trail(name: &[u8]) -> bool {
    let id = if name.contains(&b'_') { Name::of_alias(name) } else { Name::of(name) };
    !id.is_hop_by_hop()
        && !matches!(
            id,
            Name::Host
                | Name::ContentLength
                | Name::ContentType
                | Name::ContentEncoding
                | Name::Authorization
                | Name::Cookie
                | Name::SetCookie
                | Name::CacheControl
                | Name::Expect
                | Name::Forwarded
                | Name::XForwardedFor
                | Name::XForwardedHost
                | Name::XForwardedPort
                | Name::XForwardedProto
                | Name::XRequestId
        )
}

/// Room that [`wrap`] needs before the data.
pub const HEADROOM: usize = 18;
/// Room that [`wrap`] needs after the data.
pub const TAILROOM: usize = 2;

/// Turns `buf[data]` into one chunk by writing the size line right before and the line end right
/// after it; gives the range of the whole chunk.
///
/// The caller keeps [`HEADROOM`] bytes free before the data, [`TAILROOM`] after it, and never
/// wraps nothing: an empty chunk would end the body.
pub fn wrap(buf: &mut [u8], data: Range<usize>) -> Range<usize> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut at = data.start;
    let mut put = |b: u8| {
        at -= 1;
        buf[at] = b;
    };
    put(b'\n');
    put(b'\r');
    let mut left = data.len();
    loop {
        put(HEX[left & 15]);
        left >>= 4;
        if left == 0 {
            break;
        }
    }
    buf[data.end..data.end + TAILROOM].copy_from_slice(b"\r\n");
    at..data.end + TAILROOM
}

/// Appends the last chunk, the trailer lines given and the line that ends the body.
pub fn finish(trailers: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decodes a body that arrives in pieces; gives the data, the trailers and what is left over.
    fn decode(coded: &[u8], pieces: &[usize]) -> Result<(Vec<u8>, Vec<u8>, usize), ChunkError> {
        let (mut decoder, mut data, mut at) = (Decoder::default(), Vec::new(), 0);
        let mut pieces = pieces.iter().copied().cycle();
        while at < coded.len() {
            let n = pieces.next().unwrap_or(1).clamp(1, coded.len() - at);
            let mut buf = coded[at..at + n].to_vec();
            let decoded = decoder.decode(&mut buf)?;
            data.extend_from_slice(&buf[decoded.data]);
            at += decoded.consumed;
            if decoded.done {
                return Ok((data, decoder.trailers().to_vec(), coded.len() - at));
            }
        }
        Ok((data, Vec::new(), usize::MAX))
    }

    #[test]
    fn refuses_every_other_spelling() {
        for coded in [
            "0x5\r\nhello\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "-1\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            "10000000000000005\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5;a\nxx\r\nhello\r\n0\r\n\r\n",
            "0\r\nXX\r\n\r\n",
            "5zz\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello\r\n0\n\n",
            "\r\n",
            ";x\r\n",
            "5\r\nhelloXX0\r\n\r\n",
            "0\r\nA b: c\r\n\r\n",
            "0\r\nA: \0\r\n\r\n",
            "5;\rx\r\nhello\r\n0\r\n\r\n",
            "0\r\n X: y\r\n\r\n",
        ] {
            assert_eq!(decode(coded.as_bytes(), &[coded.len()]), Err(ChunkError), "{coded:?}");
            assert_eq!(decode(coded.as_bytes(), &[1]), Err(ChunkError), "{coded:?} byte by byte");
        }
    }

    #[test]
    fn keeps_only_trailers_that_may_be_forwarded() {
        let coded = b"0\r\nX-Sum:  1 \r\nContent-Length: 9\r\nTransfer_Encoding: x\r\nHost: evil\r\n\r\nrest";
        let (_, trailers, left) = decode(coded, &[3]).expect("valid");
        assert_eq!(String::from_utf8_lossy(&trailers), "X-Sum: 1\r\n");
        assert_eq!(left, 4);
    }

    proptest! {
        /// Whatever the chunks and however they arrive, decoding gives the data back.
        #[test]
        fn decoding_undoes_encoding(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..8),
                                    pieces in proptest::collection::vec(1usize..64, 1..8), after in 0usize..5) {
            let mut coded = Vec::new();
            for chunk in &chunks {
                let mut buf = vec![0; HEADROOM];
                buf.extend_from_slice(chunk);
                buf.extend_from_slice(&[0; TAILROOM]);
                let range = wrap(&mut buf, HEADROOM..HEADROOM + chunk.len());
                coded.extend_from_slice(&buf[range]);
            }
            finish(b"x-a: b\r\n", &mut coded);
            coded.extend_from_slice(&vec![b'z'; after]);
            let (data, trailers, left) = decode(&coded, &pieces).expect("valid");
            prop_assert_eq!(data, chunks.concat());
            prop_assert_eq!(trailers, b"x-a: b\r\n".to_vec());
            // What the last piece brought beyond the body stays with the caller.
            prop_assert_eq!(left, after);
        }
    }
}
