//! What a route asks of a request beyond host and path.

use oxgate_config::resolved::{Condition, Route};
use oxgate_http::{Method, Name, Request};
use regex::bytes::Regex;

/// A route's conditions; a route without any has none of these.
#[derive(Debug)]
pub(super) struct Conditions {
    pub(super) methods: Vec<String>,
    /// Whether a policy answers browsers that ask with OPTIONS what they may send.
    preflights: bool,
    headers: Vec<(Vec<u8>, Test)>,
    query: Vec<(Vec<u8>, Test)>,
}

/// Whether conditions hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Hold,
    Fail,
    /// They would, for another method.
    OtherMethod,
}

#[derive(Debug)]
enum Test {
    Is(Vec<u8>),
    Regex(Regex),
    Present(bool),
}

impl Conditions {
    pub(super) fn compile(route: &Route) -> Option<Box<Conditions>> {
        let matching = &route.matching;
        let tests = |conditions: &[(String, Condition)]| {
            conditions.iter().map(|(name, condition)| (name.clone().into_bytes(), Test::compile(condition))).collect()
        };
        (matching.conditions() > 0).then(|| {
            Box::new(Conditions {
                methods: matching.methods.clone(),
                preflights: route.policies.iter().any(|policy| &*policy.kind == "cors"),
                headers: tests(&matching.headers),
                query: tests(&matching.query),
            })
        })
    }

    pub(super) fn hold(&self, request: &Request) -> Verdict {
        let headers = self.headers.iter().all(|(name, test)| test.holds(|| request.head.find_all(name)));
        let query = self.query.iter().all(|(name, test)| test.holds(|| parameters(request.query(), name)));
        let method = request.method_text();
        match headers && query {
            false => Verdict::Fail,
            true if self.methods.is_empty() || self.takes(method) => Verdict::Hold,
            true if self.preflights && asked_for(request).is_some_and(|method| self.takes(method)) => Verdict::Hold,
            true => Verdict::OtherMethod,
        }
    }
}

impl Conditions {
    fn takes(&self, method: &[u8]) -> bool {
        self.methods.iter().any(|m| m.as_bytes() == method)
    }
}

/// The method that a preflight asks about (the Fetch standard, CORS-preflight fetch).
fn asked_for(request: &Request) -> Option<&[u8]> {
    let head = &request.head;
    let preflight = request.method() == Method::Options && head.get(Name::Origin).is_some();
    head.get(Name::AccessControlRequestMethod).filter(|_| preflight)
}

impl Test {
    fn compile(condition: &Condition) -> Test {
        match condition {
            Condition::Is(value) => Test::Is(value.clone().into_bytes()),
            Condition::Present(present) => Test::Present(*present),
            Condition::Regex(regex) => match condition_regex(regex) {
                Ok(regex) => Test::Regex(regex),
                // Conditions were compiled once when they were read.
                Err(_) => Test::Present(false),
            },
        }
    }

    /// Every value counts, never only the first one.
    fn holds<'v, I: Iterator<Item = &'v [u8]>>(&self, values: impl FnOnce() -> I) -> bool {
        match self {
            Test::Is(expected) => values().any(|value| value == expected),
            Test::Regex(regex) => values().any(|value| regex.is_match(value)),
            Test::Present(present) => values().next().is_some() == *present,
        }
    }
}

fn condition_regex(text: &str) -> Result<Regex, regex::Error> {
    regex::bytes::RegexBuilder::new(text).unicode(false).size_limit(1 << 20).build()
}

/// The values of a query parameter, as written.
fn parameters<'q>(query: &'q [u8], name: &[u8]) -> impl Iterator<Item = &'q [u8]> {
    query.split(|b| *b == b'&').filter_map(move |pair| {
        let equals = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        (&pair[..equals] == name).then(|| pair.get(equals + 1..).unwrap_or_default())
    })
}
