//! Texts with `{name}` for parts of the matched path.

use oxgate_config::pattern::PathPattern;
use oxgate_http::{PathPolicy, path};

/// Puts the parts of `path` in; `{*}` is what follows a prefix.
pub fn expand(template: &str, pattern: &PathPattern, path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(template.len() + path.len());
    for piece in pieces(template) {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Name(name) => out.extend_from_slice(pattern.capture(path, name).unwrap_or_default()),
        }
    }
    out
}

/// Whether a template makes a path in normal form out of parts that are in normal form.
pub fn is_path(template: &str) -> bool {
    let example: String = pieces(template)
        .map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Name(_) => "x",
        })
        .collect();
    let mut form = Vec::new();
    let normal = path::normalize(example.as_bytes(), PathPolicy::Strict, &mut form).is_ok();
    normal && form == example.as_bytes()
}

/// The names in a template that the pattern does not know.
pub fn unknown_names<'t>(template: &'t str, pattern: &PathPattern) -> Vec<&'t str> {
    pieces(template)
        .filter_map(|piece| match piece {
            Piece::Name(name) if !pattern.has_capture(name) => Some(name),
            _ => None,
        })
        .collect()
}

enum Piece<'t> {
    Text(&'t str),
    Name(&'t str),
}

fn pieces(template: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = template;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if let Some(inside) = rest.strip_prefix('{')
            && let Some((name, after)) = inside.split_once('}')
        {
            rest = after;
            return Some(Piece::Name(name));
        }
        let end = rest[1..].find('{').map_or(rest.len(), |at| at + 1);
        let (text, after) = rest.split_at(end);
        rest = after;
        Some(Piece::Text(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_parts_of_the_path_in() {
        let pattern = PathPattern::parse("/u/{id}/*").expect("valid");
        assert_eq!(expand("/v2/{id}?x={*}", &pattern, b"/u/7/a/b"), b"/v2/7?x=a/b");
        assert_eq!(expand("plain", &pattern, b"/u/7"), b"plain");
        assert_eq!(unknown_names("/{id}/{nope}", &pattern), ["nope"]);
        assert!(is_path("/v2/{id}/{*}") && is_path("/"));
        for template in ["/a?b=1", "/../{id}", "/a b", "/a//b", "/%2f", "x"] {
            assert!(!is_path(template), "{template}");
        }
    }
}
