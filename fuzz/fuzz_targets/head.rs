//! Heads: what is accepted is forwarded canonically and means the same when it is read again, and
//! nothing depends on how the bytes arrive.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oxgate_http::{HeadLimits, Method, Parsed, PathPolicy, Request, Response};

const LIMITS: HeadLimits = HeadLimits { bytes: 2048, fields: 16, target: 256 };

fuzz_target!(|data: &[u8]| {
    if data.first().is_some_and(|b| b & 1 == 0) { request(&data[1..]) } else { response(data.get(1..).unwrap_or_default()) }
});

fn request(data: &[u8]) {
    let mut request = Request::default();
    let whole = request.parse(data, &LIMITS);
    // A reader that saw less never made something else of it.
    for cut in [data.len() / 3, data.len() / 2, data.len().saturating_sub(1)] {
        match (Request::default().parse(&data[..cut], &LIMITS), &whole) {
            (Ok(Parsed::Complete(n)), whole) => assert_eq!(*whole, Ok(Parsed::Complete(n))),
            (Err(_), Ok(Parsed::Complete(_))) => panic!("refused before it was whole"),
            _ => {}
        }
    }
    let Ok(Parsed::Complete(_)) = whole else { return };
    if !request.path_is_plain() && request.set_path_policy(PathPolicy::Strict).is_err() {
        return;
    }
    // HTTP/1.0 does without a Host; what is forwarded does not.
    if request.authority().is_empty() {
        request.set_authority(b"a.test");
    }
    let mut out = Vec::new();
    request.write_head(&mut out);
    let text = out.strip_suffix(b"\r\n\r\n").expect("a blank line at the end");
    for (i, line) in text.split(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(line.iter().all(|b| *b == b'\t' || (*b >= 0x20 && *b != 0x7f)), "a control byte in line {i}");
        assert!(i == 0 || line.contains(&b':'), "a line without a colon");
    }
    let mut again = Request::default();
    let wide = HeadLimits { bytes: 8192, fields: 32, target: 1024 };
    assert_eq!(again.parse(&out, &wide), Ok(Parsed::Complete(out.len())), "what is forwarded is not readable");
    if !again.path_is_plain() {
        assert_eq!(again.set_path_policy(PathPolicy::Strict), Ok(()));
    }
    assert_eq!(again.framing(), request.framing());
    assert_eq!(again.path(), request.path());
    assert_eq!(again.query(), request.query());
    assert_eq!(again.authority(), request.authority());
    assert_eq!(again.method_text(), request.method_text());
}

fn response(data: &[u8]) {
    let mut response = Response::default();
    if let Ok(Parsed::Complete(len)) = response.parse(data, Method::Get, &LIMITS) {
        assert!(len <= data.len());
        let mut out = Vec::new();
        response.write_head(response.framing(), None, &mut out);
        let mut again = Response::default();
        let wide = HeadLimits { bytes: 8192, fields: 32, target: 0 };
        let read = again.parse(&out, Method::Get, &wide);
        assert_eq!(read, Ok(Parsed::Complete(out.len())), "what is passed on is not readable");
        assert_eq!(again.status(), response.status());
        assert_eq!(again.framing(), response.framing());
    }
}
