//! From a request to its route: compiled tables, no scan.
//!
//! Per host a tree of path segments. A walk down the tree meets the routes in the order in which
//! they win, so the first one whose conditions hold is the answer.

mod conditions;
mod edges;

use conditions::{Conditions, Verdict};
use edges::Edges;
use oxgate_config::pattern::{HostPattern, PathPattern, Segment, whole_path_regex};
use oxgate_config::resolved::Route;
use oxgate_http::{PathPolicy, Request};
use regex::bytes::Regex;
use rustc_hash::FxHashMap;

/// What a look-up found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The index of the route.
    Route(usize),
    /// No route for this host and path.
    None,
    /// Routes, but for other methods: these.
    OtherMethods(Vec<String>),
}

/// The compiled table of routes.
#[derive(Debug, Default)]
pub struct Router {
    hosts: FxHashMap<Box<[u8]>, usize>,
    wildcards: FxHashMap<Box<[u8]>, usize>,
    any_host: Option<usize>,
    tables: Vec<Table>,
    policies: Vec<PathPolicy>,
}

/// Which routes a walk may choose, by how they treat odd paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Among {
    All,
    Verbatim,
    Rewriting,
}

impl Router {
    /// Compiles routes; a look-up answers with indices into them.
    pub fn compile(routes: &[Route]) -> Router {
        let mut order: Vec<usize> = (0..routes.len()).collect();
        order.sort_by(|a, b| {
            let key = |i: &usize| (usize::MAX - routes[*i].matching.conditions(), &routes[*i].name);
            key(a).cmp(&key(b))
        });
        let mut router = Router { policies: routes.iter().map(|r| r.path_policy).collect(), ..Router::default() };
        for index in order {
            let matching = &routes[index].matching;
            let candidate = |router: &mut Router, table: usize| {
                router.tables[table].insert(
                    &matching.path,
                    Candidate { route: index, conditions: Conditions::compile(&routes[index]) },
                );
            };
            if matching.hosts.is_empty() {
                let table = router.any_host.unwrap_or_else(|| router.new_table());
                router.any_host = Some(table);
                candidate(&mut router, table);
            }
            for host in &matching.hosts {
                let (wildcard, name) = match host {
                    HostPattern::Exact(name) => (false, name),
                    HostPattern::Wildcard(suffix) => (true, suffix),
                };
                let known = if wildcard { &router.wildcards } else { &router.hosts }.get(name.as_bytes()).copied();
                let table = known.unwrap_or_else(|| router.new_table());
                let names = if wildcard { &mut router.wildcards } else { &mut router.hosts };
                names.insert(name.as_bytes().into(), table);
                candidate(&mut router, table);
            }
        }
        router
    }

    fn new_table(&mut self) -> usize {
        self.tables.push(Table::default());
        self.tables.len() - 1
    }

    /// Finds the route of a request and leaves the request with the path that the route asks for.
    ///
    /// # Errors
    /// The request's path has no normal form under the route's policy.
    pub fn find(&self, request: &mut Request) -> Result<Found, oxgate_http::RequestError> {
        if request.path_is_plain() {
            return Ok(self.walk(request, Among::All));
        }
        self.find_odd(request)
    }

    /// A path with several readings: routes that rewrite see the normal form, the others the bytes.
    fn find_odd(&self, request: &mut Request) -> Result<Found, oxgate_http::RequestError> {
        if self.policies.contains(&PathPolicy::Verbatim) {
            request.set_path_policy(PathPolicy::Verbatim)?;
            let found = self.walk(request, Among::Verbatim);
            if matches!(found, Found::Route(_)) {
                return Ok(found);
            }
        }
        if self.policies.contains(&PathPolicy::Normalize) && request.set_path_policy(PathPolicy::Normalize).is_ok() {
            let found = self.walk(request, Among::Rewriting);
            if let Found::Route(route) = found
                && self.policies[route] == PathPolicy::Normalize
            {
                return Ok(found);
            }
        }
        request.set_path_policy(PathPolicy::Strict)?;
        Ok(self.walk(request, Among::Rewriting))
    }

    fn walk(&self, request: &Request, among: Among) -> Found {
        let mut search = Search { request, path: request.match_path(), among, policies: &self.policies, methods: None };
        if !(self.hosts.is_empty() && self.wildcards.is_empty()) {
            let mut lower = [0; 255];
            let host = lower_case(request.host(), &mut lower);
            let exact = self.hosts.get(host).copied();
            for table in exact.into_iter().chain(self.wildcard_tables(host)) {
                if let Some(route) = self.tables[table].find(&mut search) {
                    return Found::Route(route);
                }
            }
        }
        if let Some(table) = self.any_host
            && let Some(route) = self.tables[table].find(&mut search)
        {
            return Found::Route(route);
        }
        match search.methods {
            None => Found::None,
            Some(mut methods) => {
                methods.sort();
                methods.dedup();
                Found::OtherMethods(methods)
            }
        }
    }

    fn wildcard_tables<'a>(&'a self, host: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        let dots = (!self.wildcards.is_empty()).then(|| memchr::memchr_iter(b'.', host));
        dots.into_iter().flatten().filter(|dot| *dot > 0).filter_map(|dot| self.wildcards.get(&host[dot..]).copied())
    }
}

fn lower_case<'a>(host: &'a [u8], space: &'a mut [u8; 255]) -> &'a [u8] {
    let host = host.strip_suffix(b".").unwrap_or(host);
    if !host.iter().any(u8::is_ascii_uppercase) {
        return host;
    }
    let Some(lower) = space.get_mut(..host.len()) else { return host };
    lower.copy_from_slice(host);
    lower.make_ascii_lowercase();
    lower
}

/// A request on its way through the tables.
struct Search<'a> {
    request: &'a Request,
    path: &'a [u8],
    among: Among,
    policies: &'a [PathPolicy],
    /// Methods of routes that would have matched.
    methods: Option<Vec<String>>,
}

impl Search<'_> {
    #[inline]
    fn choose(&mut self, candidates: &[Candidate]) -> Option<usize> {
        candidates.iter().find(|candidate| self.accepts(candidate)).map(|candidate| candidate.route)
    }

    fn accepts(&mut self, candidate: &Candidate) -> bool {
        let verbatim = || self.policies[candidate.route] == PathPolicy::Verbatim;
        if self.among != Among::All && verbatim() != (self.among == Among::Verbatim) {
            return false;
        }
        let Some(conditions) = &candidate.conditions else { return true };
        match conditions.hold(self.request) {
            Verdict::Hold => true,
            Verdict::Fail => false,
            Verdict::OtherMethod => {
                self.methods.get_or_insert_default().extend(conditions.methods.iter().cloned());
                false
            }
        }
    }
}

#[derive(Debug)]
struct Candidate {
    route: usize,
    conditions: Option<Box<Conditions>>,
}

/// The routes of one host.
#[derive(Debug)]
struct Table {
    nodes: Vec<Node>,
    edges: Edges,
    has_whole: bool,
    has_prefix: bool,
    /// Prefixes with `{name}` in them: the longest one is then not simply the deepest on one branch.
    has_prefix_params: bool,
    regexes: Vec<(Regex, Candidate)>,
}

#[derive(Debug, Default)]
struct Node {
    /// Whether a literal segment leads on from here.
    has_edges: bool,
    param: Option<usize>,
    whole: Vec<Candidate>,
    prefix: Vec<Candidate>,
}

impl Default for Table {
    fn default() -> Self {
        Table {
            nodes: vec![Node::default()],
            edges: Edges::default(),
            has_whole: false,
            has_prefix: false,
            has_prefix_params: false,
            regexes: Vec::new(),
        }
    }
}

/// The path left to match at a node; `None` once its last segment is taken.
type Rest<'a> = Option<&'a [u8]>;

fn split(rest: &[u8]) -> (&[u8], Rest<'_>) {
    match memchr::memchr(b'/', rest) {
        Some(slash) => (&rest[..slash], Some(&rest[slash + 1..])),
        None => (rest, None),
    }
}

impl Table {
    /// Adds a route; those that win come first.
    fn insert(&mut self, pattern: &PathPattern, candidate: Candidate) {
        let (segments, prefix) = match pattern {
            PathPattern::Whole(segments) => (segments, false),
            PathPattern::Prefix(segments) => (segments, true),
            PathPattern::Regex(regex) => {
                // Patterns were compiled once when they were read.
                if let Ok(regex) = whole_path_regex(regex) {
                    self.regexes.push((regex, candidate));
                }
                return;
            }
        };
        let mut at = 0;
        for segment in segments {
            at = match segment {
                Segment::Literal(text) => match self.edges.get(at, text.as_bytes()) {
                    Some(next) => next,
                    None => {
                        let next = self.new_node();
                        self.edges.insert(at, text.as_bytes(), next);
                        self.nodes[at].has_edges = true;
                        next
                    }
                },
                Segment::Param(_) => {
                    self.has_prefix_params |= prefix;
                    match self.nodes[at].param {
                        Some(next) => next,
                        None => {
                            let next = self.new_node();
                            self.nodes[at].param = Some(next);
                            next
                        }
                    }
                }
            };
        }
        let node = &mut self.nodes[at];
        if prefix { &mut node.prefix } else { &mut node.whole }.push(candidate);
        self.has_prefix |= prefix;
        self.has_whole |= !prefix;
    }

    fn new_node(&mut self) -> usize {
        self.nodes.push(Node::default());
        self.nodes.len() - 1
    }

    fn find(&self, search: &mut Search<'_>) -> Option<usize> {
        let path = search.path.strip_prefix(b"/")?;
        if self.has_whole
            && let Some(route) = self.find_whole(0, Some(path), search)
        {
            return Some(route);
        }
        if self.has_prefix {
            let found = if self.has_prefix_params {
                self.find_longest_prefix(path, search)
            } else {
                self.find_prefix(0, Some(path), search)
            };
            if found.is_some() {
                return found;
            }
        }
        self.regexes
            .iter()
            .filter(|(regex, _)| regex.is_match(search.path))
            .find_map(|(_, candidate)| search.accepts(candidate).then_some(candidate.route))
    }

    /// Literal segments are tried before `{name}`, so the route with more of them from the left wins.
    fn find_whole(&self, at: usize, rest: Rest<'_>, search: &mut Search<'_>) -> Option<usize> {
        let node = &self.nodes[at];
        let Some(rest) = rest else { return search.choose(&node.whole) };
        let (segment, rest) = split(rest);
        if let Some(next) = self.edges.get(at, segment)
            && let Some(route) = self.find_whole(next, rest, search)
        {
            return Some(route);
        }
        let next = node.param.filter(|_| !segment.is_empty())?;
        self.find_whole(next, rest, search)
    }

    /// The deepest prefix that matches, then shorter ones.
    fn find_prefix(&self, at: usize, rest: Rest<'_>, search: &mut Search<'_>) -> Option<usize> {
        let node = &self.nodes[at];
        if let Some(rest) = rest.filter(|_| node.has_edges) {
            let (segment, rest) = split(rest);
            if let Some(next) = self.edges.get(at, segment)
                && let Some(route) = self.find_prefix(next, rest, search)
            {
                return Some(route);
            }
        }
        search.choose(&node.prefix)
    }

    fn find_longest_prefix(&self, path: &[u8], search: &mut Search<'_>) -> Option<usize> {
        let mut found = Vec::new();
        self.collect_prefixes(0, Some(path), 0, &mut found);
        // Stable: among equally long ones the order of the walk, literal before `{name}`, stays.
        found.sort_by_key(|(depth, _)| usize::MAX - depth);
        found.into_iter().find_map(|(_, node)| search.choose(&self.nodes[node].prefix))
    }

    fn collect_prefixes(&self, at: usize, rest: Rest<'_>, depth: usize, found: &mut Vec<(usize, usize)>) {
        if let Some(rest) = rest {
            let (segment, rest) = split(rest);
            if let Some(next) = self.edges.get(at, segment) {
                self.collect_prefixes(next, rest, depth + 1, found);
            }
            if let Some(next) = self.nodes[at].param.filter(|_| !segment.is_empty()) {
                self.collect_prefixes(next, rest, depth + 1, found);
            }
        }
        if !self.nodes[at].prefix.is_empty() {
            found.push((depth, at));
        }
    }
}

#[cfg(test)]
mod tests;
