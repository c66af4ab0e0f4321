//! Paths: a normal form is its own normal form and has no second reading, however often it is
//! decoded.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oxgate_http::PathPolicy;
use oxgate_http::path::{normalize, plain_len};

fuzz_target!(|path: &[u8]| {
    for policy in [PathPolicy::Strict, PathPolicy::Normalize, PathPolicy::Verbatim] {
        let mut form = Vec::new();
        if normalize(path, policy, &mut form).is_err() {
            continue;
        }
        if policy == PathPolicy::Verbatim {
            assert_eq!(form, path);
            continue;
        }
        assert!(form.starts_with(b"/") && form.iter().all(|b| (0x21..0x7f).contains(b)));
        let mut again = Vec::new();
        assert_eq!(normalize(&form, PathPolicy::Strict, &mut again), Ok(()));
        assert_eq!(again, form);
        let mut decoded = form.clone();
        for _ in 0..4 {
            decoded = decode(&decoded);
            for segment in decoded.split(|b| matches!(b, b'/' | b'\\')).skip(1) {
                let name = segment.split(|b| *b == b';').next().unwrap_or_default();
                assert!(!matches!(name, b"." | b".."), "a dot segment in {}", String::from_utf8_lossy(&form));
            }
        }
        let slashes = |text: &[u8]| text.iter().filter(|b| matches!(b, b'/' | b'\\')).count();
        assert_eq!(slashes(&decoded), slashes(&form), "a hidden slash in {}", String::from_utf8_lossy(&form));
    }
    if path.starts_with(b"/") && plain_len(path) == path.len() {
        let mut form = Vec::new();
        assert_eq!(normalize(path, PathPolicy::Strict, &mut form), Ok(()));
        assert_eq!(form, path);
    }
});

fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(b) = text.get(at) {
        let hex = |i: usize| text.get(at + i).and_then(|b| (*b as char).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (b, hex(1), hex(2)) {
            out.push((high * 16 + low) as u8);
            at += 3;
        } else {
            out.push(*b);
            at += 1;
        }
    }
    out
}
