//! Host and path patterns of a route's `match`.

use std::fmt;

/// Which hosts a route answers for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// This host, in lower case.
    Exact(String),
    /// Every host that ends in this suffix, which starts with a dot: `*.example.org`.
    Wildcard(String),
}

impl HostPattern {
    /// Reads `api.example.com` or `*.example.org`, in any letter case, without a port.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence about the host.
    pub fn parse(text: &str) -> Result<HostPattern, String> {
        let lower = text.to_ascii_lowercase();
        let (name, wildcard) = match lower.strip_prefix("*.") {
            Some(suffix) => (suffix, true),
            None => (lower.as_str(), false),
        };
        match oxgate_http::authority::parse(name.as_bytes()) {
            Some(authority) if authority.port.is_none() => {}
            Some(_) => return Err("must not have a port: routes match on the host alone".to_owned()),
            None => return Err("is not a host name; a wildcard stands first, as in `*.example.org`".to_owned()),
        }
        Ok(if wildcard { HostPattern::Wildcard(format!(".{name}")) } else { HostPattern::Exact(lower) })
    }

    /// Whether a host, in lower case and without its port, is meant.
    pub fn matches(&self, host: &[u8]) -> bool {
        match self {
            HostPattern::Exact(name) => host == name.as_bytes(),
            HostPattern::Wildcard(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_bytes()),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(name) => f.write_str(name),
            HostPattern::Wildcard(suffix) => write!(f, "*{suffix}"),
        }
    }
}

/// One segment of a path pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// These bytes.
    Literal(String),
    /// Any one segment that is not empty, known by this name.
    Param(String),
}

/// Which paths a route answers for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// `/a/b` and `/a/{id}/c`: these segments and no more.
    Whole(Vec<Segment>),
    /// `/a/*`: these segments and whatever follows them.
    Prefix(Vec<Segment>),
    /// `~^/re$`: a regular expression that must match the whole path.
    Regex(String),
}

impl PathPattern {
    /// Reads a pattern as CONFIG's `path` writes it.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence about the path.
    pub fn parse(text: &str) -> Result<PathPattern, String> {
        if let Some(regex) = text.strip_prefix('~') {
            return whole_path_regex(regex)
                .map(|_| PathPattern::Regex(regex.to_owned()))
                .map_err(|error| format!("is not a valid regular expression: {}", last_line(&error.to_string())));
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err("must start with `/`, or with `~` for a regular expression".to_owned());
        };
        let (rest, prefix) = match rest.strip_suffix('*') {
            Some("") => return Ok(PathPattern::Prefix(Vec::new())),
            Some(before) => match before.strip_suffix('/') {
                Some(before) => (before, true),
                None => return Err("may have `*` only as its last segment: `/a/*`".to_owned()),
            },
            None => (rest, false),
        };
        let segments = rest.split('/').map(segment).collect::<Result<Vec<_>, _>>()?;
        let mut names: Vec<_> = segments.iter().filter_map(Segment::param).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("names `{{{}}}` twice", pair[0]));
        }
        let last = segments.len() - 1;
        if segments.iter().enumerate().any(|(i, s)| *s == Segment::Literal(String::new()) && (i < last || prefix)) {
            return Err("has an empty segment: requests never have one, for `//` is merged".to_owned());
        }
        Ok(if prefix { PathPattern::Prefix(segments) } else { PathPattern::Whole(segments) })
    }

    /// Whether a path in its normal form, without parameters, is meant. The plain definition; the
    /// router finds the same answer without asking every route.
    pub fn matches(&self, path: &[u8]) -> bool {
        let (segments, prefix) = match self {
            PathPattern::Whole(segments) => (segments, false),
            PathPattern::Prefix(segments) => (segments, true),
            PathPattern::Regex(regex) => {
                return whole_path_regex(regex).is_ok_and(|regex| regex.is_match(path));
            }
        };
        let Some(rest) = path.strip_prefix(b"/") else { return false };
        if segments.is_empty() {
            return prefix;
        }
        let mut parts = rest.split(|b| *b == b'/');
        segments.iter().all(|segment| parts.next().is_some_and(|part| segment.matches(part)))
            && (prefix || parts.next().is_none())
    }

    /// The part of a path that a `{name}` stands for; `{*}` is what follows a prefix.
    pub fn capture<'p>(&self, path: &'p [u8], name: &str) -> Option<&'p [u8]> {
        let (PathPattern::Whole(segments) | PathPattern::Prefix(segments)) = self else { return None };
        let rest = path.strip_prefix(b"/")?;
        if name == "*" {
            return Some(rest.splitn(segments.len() + 1, |b| *b == b'/').nth(segments.len()).unwrap_or_default());
        }
        let at = segments.iter().position(|s| s.param() == Some(name))?;
        rest.split(|b| *b == b'/').nth(at)
    }

    /// Whether [`PathPattern::capture`] knows a name.
    pub fn has_capture(&self, name: &str) -> bool {
        match self {
            PathPattern::Whole(segments) => segments.iter().any(|s| s.param() == Some(name)),
            PathPattern::Prefix(segments) => name == "*" || segments.iter().any(|s| s.param() == Some(name)),
            PathPattern::Regex(_) => false,
        }
    }
}

impl Segment {
    fn param(&self) -> Option<&str> {
        match self {
            Segment::Param(name) => Some(name),
            Segment::Literal(_) => None,
        }
    }

    fn matches(&self, part: &[u8]) -> bool {
        match self {
            Segment::Literal(text) => part == text.as_bytes(),
            Segment::Param(_) => !part.is_empty(),
        }
    }
}

/// Compiles a regular expression that has to match a whole path. Matching takes linear time.
///
/// # Errors
/// The compiler's, which names the place.
pub fn whole_path_regex(text: &str) -> Result<regex::bytes::Regex, regex::Error> {
    regex::bytes::RegexBuilder::new(&format!("^(?:{text})$")).unicode(false).size_limit(1 << 20).build()
}

fn segment(text: &str) -> Result<Segment, String> {
    if let Some(name) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
        let ok = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        return ok
            .then(|| Segment::Param(name.to_owned()))
            .ok_or_else(|| format!("names `{{{name}}}`, which is not letters, digits and `_`"));
    }
    if text.contains(['{', '}', '*']) {
        return Err(format!("has `{text}`: `{{name}}` and `*` take a whole segment"));
    }
    let mut normal = Vec::new();
    let path = format!("/{text}");
    oxgate_http::path::normalize(path.as_bytes(), oxgate_http::PathPolicy::Strict, &mut normal)
        .map_err(|error| format!("can match no request: {}", error.text()))?;
    if text.contains(';') {
        return Err("can match no request: `;parameters` are no part of a segment".to_owned());
    }
    if normal != path.as_bytes() {
        return Err(format!("can match no request: write `{}`", String::from_utf8_lossy(&normal[1..])));
    }
    Ok(Segment::Literal(text.to_owned()))
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ")
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (segments, prefix) = match self {
            PathPattern::Regex(regex) => return write!(f, "~{regex}"),
            PathPattern::Whole(segments) => (segments, false),
            PathPattern::Prefix(segments) => (segments, true),
        };
        for segment in segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Param(name) => write!(f, "/{{{name}}}")?,
            }
        }
        f.write_str(if prefix { "/*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        PathPattern::parse(pattern).expect(pattern).matches(path.as_bytes())
    }

    #[test]
    fn prefixes_end_at_segments() {
        for (path, expected) in [("/a", true), ("/a/", true), ("/a/x/y", true), ("/ab", false), ("/", false)] {
            assert_eq!(matches("/a/*", path), expected, "{path}");
        }
        assert!(matches("/*", "/") && matches("/*", "/x"));
    }

    #[test]
    fn templates_take_one_segment_each() {
        assert!(matches("/a/{id}/c", "/a/1/c"));
        assert!(!matches("/a/{id}/c", "/a//c") && !matches("/a/{id}/c", "/a/1/2/c") && !matches("/a/{id}", "/a/"));
        assert!(matches("/", "/") && matches("/a/", "/a/") && !matches("/a", "/a/"));
    }

    #[test]
    fn expressions_match_the_whole_path() {
        assert!(matches("~^/v[0-9]+$", "/v12") && matches("~/v[0-9]+", "/v1"));
        assert!(!matches("~/v[0-9]+", "/v1/x"));
    }

    #[test]
    fn captures_by_name() {
        let pattern = PathPattern::parse("/u/{id}/*").expect("valid");
        assert_eq!(pattern.capture(b"/u/7/a/b", "id"), Some(b"7".as_slice()));
        assert_eq!(pattern.capture(b"/u/7/a/b", "*"), Some(b"a/b".as_slice()));
        assert_eq!(pattern.capture(b"/u/7", "*"), Some(b"".as_slice()));
    }

    #[test]
    fn refuses_what_could_never_match() {
        for text in ["a", "/a*", "/a//b", "/{}", "/{a}/{a}", "/a%2fb", "/./a", "/%61", "~(", "/a;b", "/x{id}"] {
            assert!(PathPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_match_without_regard_to_case() {
        assert_eq!(HostPattern::parse("API.test"), Ok(HostPattern::Exact("api.test".to_owned())));
        let wildcard = HostPattern::parse("*.a.test").expect("valid");
        assert!(wildcard.matches(b"x.y.a.test") && !wildcard.matches(b"a.test"));
        assert!(HostPattern::parse("a.test:80").is_err() && HostPattern::parse("a.*").is_err());
    }
}
