//! Chunked coding: what is decoded does not depend on how the bytes arrive, and coding it again
//! gives the same data.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oxgate_http::chunked::{self, ChunkError, Decoder, HEADROOM, TAILROOM};

fuzz_target!(|data: &[u8]| {
    let Some((step, coded)) = data.split_first() else { return };
    let whole = decode(coded, coded.len().max(1));
    let pieces = decode(coded, usize::from(*step).max(1));
    assert_eq!(whole, pieces);
    if let Ok((body, trailers, Some(_))) = whole {
        let mut again = Vec::new();
        for part in body.chunks(100) {
            let mut buffer = vec![0; HEADROOM];
            buffer.extend_from_slice(part);
            buffer.extend_from_slice(&[0; TAILROOM]);
            let range = chunked::wrap(&mut buffer, HEADROOM..HEADROOM + part.len());
            again.extend_from_slice(&buffer[range]);
        }
        chunked::finish(&trailers, &mut again);
        let len = again.len();
        assert_eq!(decode(&again, len), Ok((body, trailers, Some(len))));
    }
});

/// Data, trailers, and how many bytes were used if the body ended.
type Body = (Vec<u8>, Vec<u8>, Option<usize>);

fn decode(coded: &[u8], step: usize) -> Result<Body, ChunkError> {
    let (mut decoder, mut body, mut at) = (Decoder::default(), Vec::new(), 0);
    while at < coded.len() {
        let mut piece = coded[at..coded.len().min(at + step)].to_vec();
        let decoded = decoder.decode(&mut piece)?;
        body.extend_from_slice(&piece[decoded.data]);
        at += decoded.consumed;
        if decoded.done {
            return Ok((body, decoder.trailers().to_vec(), Some(at)));
        }
    }
    Ok((body, Vec::new(), None))
}
