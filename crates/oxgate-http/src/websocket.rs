//! WebSocket frames (RFC 6455 §5.2), as far as it takes to know where one ends.

/// `Going Away` (RFC 6455 §7.4.1): the endpoint is about to disappear.
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();
const FIN_AND_CLOSE: u8 = 0x88;
const MASKED: u8 = 0x80;

/// Follows a stream of frames.
#[derive(Debug, Default)]
pub struct Frames {
    /// Bytes of the header seen so far, which is at most 14 long.
    header: [u8; 14],
    seen: usize,
    /// Bytes left of the payload.
    left: u64,
}

impl Frames {
    /// Takes note of the next bytes of the stream.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= n as u64;
                bytes = &bytes[n..];
                continue;
            }
            self.header[self.seen] = bytes[0];
            self.seen += 1;
            bytes = &bytes[1..];
            if self.seen == self.header_len() {
                self.left = self.payload();
                self.seen = 0;
            }
        }
    }

    /// Whether the last frame is whole: only here may another one be put in.
    pub fn is_between(&self) -> bool {
        self.seen == 0 && self.left == 0
    }

    /// How long the header is, as far as it is known; never less than what was seen of it.
    fn header_len(&self) -> usize {
        let second = if self.seen > 1 { self.header[1] } else { 0 };
        let length = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if second & MASKED != 0 { 4 } else { 0 }
    }

    fn payload(&self) -> u64 {
        let [_, second, a, b, c, d, e, f, g, h, ..] = self.header;
        match second & !MASKED {
            126 => u64::from(u16::from_be_bytes([a, b])),
            127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            n => u64::from(n),
        }
    }
}

/// The frame by which a server says that it goes away.
pub fn server_goes_away() -> [u8; 4] {
    let [high, low] = GOING_AWAY;
    [FIN_AND_CLOSE, 2, high, low]
}

/// The frame by which a client says that it goes away; a client's frames are masked (RFC 6455 §5.3).
pub fn client_goes_away(mask: [u8; 4]) -> [u8; 8] {
    let [high, low] = GOING_AWAY;
    let [a, b, c, d] = mask;
    [FIN_AND_CLOSE, MASKED | 2, a, b, c, d, high ^ a, low ^ b]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
        let bit = if mask.is_some() { MASKED } else { 0 };
        let mut frame = vec![0x82];
        match len {
            0..126 => frame.push(bit | len as u8),
            126..65536 => {
                frame.push(bit | 126);
                frame.extend((len as u16).to_be_bytes());
            }
            _ => {
                frame.push(bit | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend(mask.into_iter().flatten());
        // A payload that looks like headers.
        frame.extend((0..len).map(|i| i as u8));
        frame
    }

    #[test]
    fn the_ends_of_frames_are_found_however_they_arrive() {
        for piece in [1, 2, 3, 7, 100, 100_000] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let mut frames = Frames::default();
                assert!(frames.is_between());
                for len in [0, 1, 125, 126, 127, 65535, 65536, 0] {
                    let frame = frame(len, mask);
                    let (last, most) = frame.split_last().expect("a frame is not empty");
                    most.chunks(piece).for_each(|bytes| frames.pass(bytes));
                    assert!(!frames.is_between(), "{len} bytes in pieces of {piece}");
                    frames.pass(&[*last]);
                    assert!(frames.is_between(), "{len} bytes in pieces of {piece}");
                }
            }
        }
    }

    #[test]
    fn several_frames_may_come_at_once() {
        let mut frames = Frames::default();
        frames.pass(&[frame(3, None), frame(200, None), frame(0, None)].concat());
        assert!(frames.is_between());
        frames.pass(&server_goes_away());
        frames.pass(&client_goes_away([9, 8, 7, 6]));
        assert!(frames.is_between());
    }

    #[test]
    fn goodbyes_carry_their_code() {
        assert_eq!(server_goes_away(), [0x88, 0x02, 0x03, 0xe9]);
        assert_eq!(client_goes_away([1, 2, 3, 4]), [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe9 ^ 2]);
    }
}
