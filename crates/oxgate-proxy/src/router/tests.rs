//! The router against the plain definition: look at every route and take the best.

use super::*;
use oxgate_config::node::{Place, Source};
use oxgate_config::resolved::{Action, Condition, Match, Respond, Timeouts};
use proptest::prelude::*;
use std::cmp::Reverse;
use std::sync::Arc;

fn route(name: &str, host: Option<&str>, path: &str, methods: &[&str], header: Option<&str>) -> Route {
    Route {
        name: name.into(),
        place: Place { source: Arc::new(Source { name: String::new(), text: String::new() }), span: 0..0 },
        matching: Match {
            hosts: host.map(|h| HostPattern::parse(h).expect("host")).into_iter().collect(),
            path: PathPattern::parse(path).expect(path),
            methods: methods.iter().map(|m| (*m).to_owned()).collect(),
            headers: header.map(|v| ("x-tier".to_owned(), Condition::Is(v.to_owned()))).into_iter().collect(),
            query: Vec::new(),
        },
        policies: Vec::new(),
        action: Action::Respond(Respond { status: 200, headers: Vec::new(), body: String::new() }),
        fallback: None,
        timeouts: Timeouts::default(),
        path_policy: PathPolicy::Strict,
    }
}

fn request(method: &str, host: &str, path: &str, tier: &str) -> Request {
    let mut request = Request::default();
    let text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nX-Tier: {tier}\r\n\r\n");
    request.parse(text.as_bytes(), &oxgate_http::HeadLimits::default()).expect("valid");
    request
}

/// How specific a segment list is: literal before parameter, from the left.
fn literals(segments: &[Segment]) -> Vec<bool> {
    segments.iter().map(|s| matches!(s, Segment::Literal(_))).collect()
}

fn best(routes: &[Route], request: &Request) -> Option<usize> {
    let holds = |route: &Route| {
        let m = &route.matching;
        (m.hosts.is_empty() || m.hosts.iter().any(|h| h.matches(request.host())))
            && m.path.matches(request.match_path())
            && (m.methods.is_empty() || m.methods.iter().any(|name| name.as_bytes() == request.method_text()))
            && m.headers.iter().all(|(name, c)| {
                *c == Condition::Is(
                    String::from_utf8_lossy(request.head.find(name.as_bytes()).unwrap_or_default()).into_owned(),
                )
            })
    };
    let rank = |route: &Route| {
        let m = &route.matching;
        let host = match m.hosts.first() {
            Some(HostPattern::Exact(_)) => (2, 0),
            Some(HostPattern::Wildcard(suffix)) => (1, suffix.len()),
            None => (0, 0),
        };
        let path = match &m.path {
            PathPattern::Whole(s) => (2, 0, literals(s)),
            PathPattern::Prefix(s) => (1, s.len(), literals(s)),
            PathPattern::Regex(_) => (0, 0, Vec::new()),
        };
        (host, path, m.conditions(), Reverse(route.name.clone()))
    };
    (0..routes.len()).filter(|i| holds(&routes[*i])).max_by_key(|i| rank(&routes[*i]))
}

#[test]
fn says_which_methods_would_do() {
    let routes = [route("a", None, "/x", &["PUT", "GET"], None), route("b", None, "/x", &["DELETE"], None)];
    let router = Router::compile(&routes);
    let found = router.find(&mut request("POST", "h", "/x", ""));
    assert_eq!(found, Ok(Found::OtherMethods(vec!["DELETE".to_owned(), "GET".to_owned(), "PUT".to_owned()])));
    assert_eq!(router.find(&mut request("POST", "h", "/y", "")), Ok(Found::None));
}

#[test]
fn odd_paths_are_matched_as_the_route_reads_them() {
    let mut routes = [
        route("strict", None, "/s/*", &[], None),
        route("normal", None, "/n/*", &[], None),
        route("verbatim", None, "~/v/.*", &[], None),
    ];
    routes[1].path_policy = PathPolicy::Normalize;
    routes[2].path_policy = PathPolicy::Verbatim;
    let router = Router::compile(&routes);
    let find = |path: &str| {
        let mut request = request("GET", "h", path, "");
        router.find(&mut request).map(|found| (found, String::from_utf8_lossy(request.path()).into_owned()))
    };
    assert_eq!(find("/s/a%2fb"), Err(oxgate_http::RequestError::Path(oxgate_http::path::PathError::Separator)));
    assert_eq!(find("/n/a/../b"), Ok((Found::Route(1), "/n/b".to_owned())));
    assert_eq!(find("/v/a%2fb/../c"), Ok((Found::Route(2), "/v/a%2fb/../c".to_owned())));
    assert_eq!(find("/s/%61;x=1"), Ok((Found::Route(0), "/s/a;x=1".to_owned())));
    // A detour through another route's prefix does not lend its leniency.
    assert!(find("/n/../s/x").is_err());
}

proptest! {
    #[test]
    fn finds_what_a_scan_of_all_routes_finds(
        specs in proptest::collection::vec((
            proptest::option::of(prop_oneof![Just("a.test"), Just("b.a.test"), Just("*.a.test"), Just("*.test")]),
            prop_oneof![
                "(/(a|b|c|\\{x\\})){1,3}", "(/(a|b|\\{x\\})){1,3}", "(/(a|b|\\{x\\})){0,3}/\\*", Just("/".to_owned()), Just("/a/".to_owned()),
                Just("~/[ab].*".to_owned()), Just("~.*".to_owned()),
            ].prop_filter("names once", |p| p.matches("{x}").count() < 2),
            proptest::sample::subsequence(vec!["GET", "POST"], 0..=2),
            proptest::option::of(prop_oneof![Just("gold"), Just("tin")]),
        ), 1..24),
        requests in proptest::collection::vec((
            prop_oneof![Just("GET"), Just("PUT")], prop_oneof![Just("a.test"), Just("b.a.test"), Just("c.test"), Just("x.y.a.test")],
            "(/[abcd]){0,4}/?", prop_oneof![Just("gold"), Just("lead")],
        ), 1..40),
    ) {
        let routes: Vec<Route> = specs.iter().enumerate()
            .map(|(i, (host, path, methods, header))| route(&format!("r{i:02}"), *host, path, methods, *header)).collect();
        let router = Router::compile(&routes);
        for (method, host, path, tier) in requests {
            let path = if path.is_empty() { "/" } else { &path };
            let mut request = request(method, host, path, tier);
            let found = match router.find(&mut request) {
                Ok(Found::Route(i)) => Some(i),
                _ => None,
            };
            prop_assert_eq!(found, best(&routes, &request), "{} {} {}", method, host, path);
        }
    }
}
