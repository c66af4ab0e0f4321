//! `rewrite`: changes the path and the query that the upstream gets.

use crate::policy::{Answer, Phases, Policy, RequestView, Verdict};
use crate::registry::Compile;
use crate::template;
use oxgate_config::decode::{At, Named};
use oxgate_config::diagnostic::{Diagnostic, Diagnostics};
use oxgate_config::document;
use oxgate_config::document::{AuthorityDoc, RegexDoc};
use oxgate_config::node::Node;
use oxgate_config::pattern::PathPattern;
use oxgate_http::{PathPolicy, path};
use oxgate_telemetry::Reason;
use regex::bytes::Regex;
use std::sync::Arc;

document! {
    /// What the upstream gets instead. The edits of the path are made in the order of this list.
    pub(crate) struct Options {
        /// A prefix that is taken off, at a segment's end.
        strip_prefix: Option<At<String>> = None,
        /// An expression and what replaces its first find; `$1` is its first group.
        regex: Option<ReplaceDoc> = None,
        /// The whole path; `{name}` puts in parts of the matched one, `{*}` what follows a prefix.
        path: Option<At<String>> = None,
        /// A prefix that is put in front.
        add_prefix: Option<At<String>> = None,
        /// Edits of the query.
        query: QueryDoc,
        /// The value of Host.
        host: Option<AuthorityDoc> = None,
    }
}

document! {
    /// An expression and its replacement.
    pub(crate) struct ReplaceDoc {
        /// The expression, in linear time.
        pattern: RegexDoc,
        /// The replacement.
        to: String,
    }
}

document! {
    /// Edits of the query, values as they are to be sent.
    pub(crate) struct QueryDoc {
        /// Parameters that are left out.
        remove: Vec<String> = Vec::new(),
        /// Parameters that replace those of the same name.
        set: Named<String> = Named::default(),
    }
}

#[derive(Debug)]
struct Rewrite {
    strip_prefix: Option<String>,
    regex: Option<(Regex, String)>,
    path: Option<String>,
    add_prefix: Option<String>,
    remove: Vec<String>,
    set: Vec<(String, String)>,
    host: Option<String>,
}

impl Compile for Options {
    fn compile(self, node: &Node, diagnostics: &mut Diagnostics) -> Option<Arc<dyn Policy>> {
        for prefix in [&self.strip_prefix, &self.add_prefix].into_iter().flatten() {
            if !prefix.value.starts_with('/') || prefix.value.ends_with('/') {
                let message = "a prefix starts with `/` and does not end with one";
                diagnostics.push(Diagnostic::at(&prefix.node.place, message));
            }
        }
        if let Some(path) = self.path.as_ref().filter(|p| !p.value.starts_with('/')) {
            diagnostics.push(Diagnostic::at(&path.node.place, "a path starts with `/`"));
        }
        if let Some(path) = self.path.as_ref().filter(|p| p.value.starts_with('/') && !template::is_path(&p.value)) {
            let message = "the path is not in normal form: no query, no encoded or empty segment, no dot segment";
            diagnostics.push(Diagnostic::at(&path.node.place, message));
        }
        for (key, value) in &self.query.set.entries {
            let fits = |text: &str| text.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b'#' && b != b'&');
            if !fits(&key.text) || key.text.contains('=') || !fits(value) {
                let message = format!("the parameter `{}` must be percent-encoded, name and value", key.text);
                diagnostics.push(Diagnostic::at(&key.place, message));
            }
        }
        let regex = match self.regex {
            Some(replace) => {
                // The option's own check has compiled it already.
                let regex = regex::bytes::RegexBuilder::new(&replace.pattern.0).unicode(false).build().ok()?;
                Some((regex, replace.to))
            }
            None => None,
        };
        let policy = Rewrite {
            strip_prefix: self.strip_prefix.map(|p| p.value),
            regex,
            path: self.path.map(|p| p.value),
            add_prefix: self.add_prefix.map(|p| p.value),
            remove: self.query.remove,
            set: self.query.set.entries.into_iter().map(|(key, value)| (key.text, value)).collect(),
            host: self.host.map(|h| h.0),
        };
        if !policy.changes_path() && !policy.changes_query() && policy.host.is_none() {
            diagnostics.push(Diagnostic::at(&node.place, "`rewrite` changes nothing"));
        }
        Some(Arc::new(policy))
    }
}

impl Rewrite {
    fn changes_path(&self) -> bool {
        self.strip_prefix.is_some() || self.regex.is_some() || self.path.is_some() || self.add_prefix.is_some()
    }

    fn changes_query(&self) -> bool {
        !self.remove.is_empty() || !self.set.is_empty()
    }

    fn new_path(&self, old: &[u8], pattern: &PathPattern) -> Vec<u8> {
        let mut new = old.to_vec();
        if let Some(prefix) = &self.strip_prefix
            && let Some(rest) = new.strip_prefix(prefix.as_bytes())
            && (rest.is_empty() || rest[0] == b'/')
        {
            new = if rest.is_empty() { b"/".to_vec() } else { rest.to_vec() };
        }
        if let Some((regex, to)) = &self.regex {
            new = regex.replace(&new, to.as_bytes()).into_owned();
        }
        if let Some(path) = &self.path {
            new = template::expand(path, pattern, old);
        }
        if let Some(prefix) = &self.add_prefix {
            let rest = if new == b"/" { b"".as_slice() } else { &new };
            new = [prefix.as_bytes(), rest].concat();
        }
        new
    }

    fn new_query(&self, old: &[u8]) -> Vec<u8> {
        let name = |pair: &[u8]| pair.split(|b| *b == b'=').next().unwrap_or_default().to_vec();
        let edited = |pair: &&[u8]| {
            let name = name(pair);
            self.remove.iter().any(|r| r.as_bytes() == name) || self.set.iter().any(|(s, _)| s.as_bytes() == name)
        };
        let kept = old.split(|b| *b == b'&').filter(|pair| !pair.is_empty() && !edited(pair)).map(<[u8]>::to_vec);
        let set = self.set.iter().map(|(name, value)| format!("{name}={value}").into_bytes());
        kept.chain(set).collect::<Vec<_>>().join(b"&".as_slice())
    }
}

impl Policy for Rewrite {
    fn phases(&self) -> Phases {
        Phases { request: true, response: false }
    }

    fn on_request(&self, x: &mut RequestView<'_>) -> Verdict {
        if self.changes_path() {
            let new = self.new_path(x.request.path(), x.pattern);
            let mut normal = Vec::with_capacity(new.len());
            // What the edits made must have one reading too.
            if !new.starts_with(b"/") || path::normalize(&new, PathPolicy::Strict, &mut normal).is_err() {
                let detail = "the rewritten path has no single reading";
                return Verdict::Answer(Answer::problem(400, Reason::BadPath, detail));
            }
            x.request.set_path(&normal);
        }
        if self.changes_query() {
            let query = self.new_query(x.request.query());
            x.request.set_query(&query);
        }
        if let Some(host) = &self.host {
            x.request.set_authority(host.as_bytes());
        }
        Verdict::Next
    }

    fn check(&self, pattern: &PathPattern) -> Result<(), String> {
        let unknown = self.path.as_deref().map(|path| template::unknown_names(path, pattern)).unwrap_or_default();
        match unknown.first() {
            Some(name) => Err(format!("`rewrite` uses `{{{name}}}`, which the route's path `{pattern}` does not have")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite() -> Rewrite {
        Rewrite {
            strip_prefix: None,
            regex: None,
            path: None,
            add_prefix: None,
            remove: vec![],
            set: vec![],
            host: None,
        }
    }

    fn path(rewrite: &Rewrite, old: &str) -> String {
        let pattern = PathPattern::parse("/u/{id}/*").expect("valid");
        String::from_utf8(rewrite.new_path(old.as_bytes(), &pattern)).expect("text")
    }

    #[test]
    fn strips_at_segments_only() {
        let rewrite = Rewrite { strip_prefix: Some("/api".to_owned()), ..rewrite() };
        assert_eq!(path(&rewrite, "/api/x"), "/x");
        assert_eq!(path(&rewrite, "/api"), "/");
        assert_eq!(path(&rewrite, "/apix"), "/apix");
    }

    #[test]
    fn edits_follow_each_other() {
        let regex = Regex::new("^/v([0-9]+)").expect("valid");
        let rewrite =
            Rewrite { regex: Some((regex, "/version/$1".to_owned())), add_prefix: Some("/in".to_owned()), ..rewrite() };
        assert_eq!(path(&rewrite, "/v2/x"), "/in/version/2/x");
        let rewrite = Rewrite { path: Some("/p/{id}".to_owned()), ..self::rewrite() };
        assert_eq!(path(&rewrite, "/u/7/rest"), "/p/7");
    }

    #[test]
    fn query_parameters_are_replaced_by_name() {
        let rewrite =
            Rewrite { remove: vec!["a".to_owned()], set: vec![("b".to_owned(), "2".to_owned())], ..rewrite() };
        assert_eq!(rewrite.new_query(b"a=1&b=1&c&&a"), b"c&b=2");
        assert_eq!(rewrite.new_query(b""), b"b=2");
    }
}
