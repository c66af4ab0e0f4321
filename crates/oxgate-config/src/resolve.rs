//! From what is written to what is meant: names found, defaults filled in, contradictions refused.

use crate::decode::{At, Decode, Patience};
use crate::diagnostic::{Diagnostic, Diagnostics, nearest};
use crate::document::{
    AlwaysDoc, Document, EndpointDoc, ListenerDoc, PolicyDoc, PolicyRefDoc, RedirectDoc, RespondDoc, RouteDoc,
    TimeoutsDoc, ToDoc, UpstreamDoc, UrlDoc,
};
use crate::node::{Node, Place, Value};
use crate::resolved::{
    AccessLog, Action, Admin, Bind, Endpoint, Listener, ListenerLimits, Match, PolicyUse, Redirect, Resolved, Respond,
    Route, Shutdown, Split, Timeouts, Upstream,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Reads a tree as a document; every mistake is noted.
pub fn document(root: &Node, diagnostics: &mut Diagnostics) -> Option<Document> {
    if matches!(root.value, Value::Null) {
        diagnostics.push(
            Diagnostic::at(&root.place, "the configuration is empty")
                .help("the smallest one has `version: 1` and a route"),
        );
        return None;
    }
    Document::decode(root, diagnostics)
}

/// Resolves a document. Mistakes are noted; what is given back is of use only when there are none.
pub fn resolve(document: &Document, diagnostics: &mut Diagnostics) -> Resolved {
    let mut resolver = Resolver {
        document,
        diagnostics,
        resolved: Resolved::default(),
        upstreams: HashMap::new(),
        names: Names::default(),
    };
    if document.version.value != 1 {
        let place = &document.version.node.place;
        resolver.diagnostics.push(Diagnostic::at(place, "the only version of the format is 1"));
    }
    resolver.listeners();
    resolver.admin();
    resolver.resolved.trusted_proxies.clone_from(&document.trusted_proxies);
    resolver.resolved.status = document.status.address.0;
    resolver.resolved.shutdown = Shutdown { delay: document.shutdown.delay, drain: document.shutdown.drain };
    resolver.access_log();
    for (key, upstream) in &document.upstreams.entries {
        resolver.upstream(&key.text, upstream);
    }
    for (_, policy) in &document.policies.entries {
        let policy = resolver.names.policy(policy);
        resolver.resolved.named_policies.push(policy);
    }
    for (key, route) in &document.routes.entries {
        resolver.route(&key.text, &key.place, route);
    }
    resolver.twins();
    resolver.resolved
}

struct Resolver<'d> {
    document: &'d Document,
    diagnostics: &'d mut Diagnostics,
    resolved: Resolved,
    /// Indices by name.
    upstreams: HashMap<String, usize>,
    names: Names,
}

/// Kinds, shared among the many places that use them.
#[derive(Default)]
struct Names(HashMap<String, Arc<str>>);

impl Names {
    fn policy(&mut self, policy: &PolicyDoc) -> PolicyUse {
        let kind = self.0.entry(policy.kind.clone()).or_insert_with(|| policy.kind.as_str().into());
        PolicyUse { kind: Arc::clone(kind), options: policy.options.clone(), place: policy.place.clone() }
    }
}

impl Resolver<'_> {
    fn listeners(&mut self) {
        for (key, doc) in &self.document.listeners.entries {
            let limits = listener_limits(doc);
            if limits.header_bytes > 128 * 1024 {
                let place = &doc.limits.header_bytes.node.place;
                self.diagnostics.push(Diagnostic::at(place, "`header_bytes` may be at most 128KiB"));
            }
            let same = self.resolved.listeners.iter().find(|l| l.address.overlaps(&doc.address));
            if let Some(same) = same {
                let how = if same.address == doc.address { "the same address" } else { "overlapping addresses" };
                let message = format!("the listeners `{}` and `{}` have {how}", same.name, key.text);
                self.diagnostics.push(Diagnostic::at(&key.place, message));
            }
            self.resolved.listeners.push(Listener {
                name: key.text.as_str().into(),
                address: doc.address.clone(),
                limits,
            });
        }
        if self.resolved.listeners.is_empty() {
            self.resolved.listeners.extend(default_listener());
        }
    }

    fn admin(&mut self) {
        let admin = &self.document.admin;
        let token = admin.token.as_ref().map(|t| t.0.clone()).filter(|t| !t.0.is_empty());
        self.resolved.admin = admin.address.value.0.map(|address| {
            if !address.ip().is_loopback() && token.is_none() {
                let message = "the admin interface needs a `token` on an address other than loopback";
                self.diagnostics.push(Diagnostic::at(&admin.address.node.place, message));
            }
            Admin { address, token }
        });
    }

    fn access_log(&mut self) {
        self.resolved.access_log = self.document.telemetry.access_log.as_ref().map(|log| AccessLog {
            to: log.to.clone(),
            sample: log.sample.0,
            errors: log.always.contains(&AlwaysDoc::Errors),
            slower_than: log.always.iter().find_map(|a| match a {
                AlwaysDoc::SlowerThan(d) => Some(*d),
                AlwaysDoc::Errors => None,
            }),
        });
    }

    fn upstream(&mut self, name: &str, doc: &UpstreamDoc) {
        if doc.endpoints.value.is_empty() {
            self.diagnostics
                .push(Diagnostic::at(&doc.endpoints.node.place, format!("the upstream `{name}` has no endpoint")));
        }
        if !doc.endpoints.value.is_empty() && doc.endpoints.value.iter().all(|e| e.weight == 0) {
            self.diagnostics.push(Diagnostic::at(&doc.endpoints.node.place, "every endpoint has the weight 0"));
        }
        for endpoint in &doc.endpoints.value {
            self.keep_off_admin(&endpoint.url, &endpoint.place);
        }
        self.add_upstream(Upstream {
            name: name.into(),
            endpoints: doc.endpoints.value.iter().map(endpoint).collect(),
            balance: doc.balance,
            max_connections: doc.limits.connections,
            max_pending: doc.limits.pending,
            pending_timeout: doc.limits.pending_timeout,
            pool_idle: doc.pool.idle,
            pool_idle_timeout: doc.pool.idle_timeout,
            pool_max_age: doc.pool.max_age,
            connect_timeout: doc.connect_timeout,
        });
    }

    /// An address of the admin interface is no endpoint. What a name stands for is looked at when it is
    /// resolved.
    fn keep_off_admin(&mut self, url: &UrlDoc, place: &Place) {
        let address = url.host.parse().ok();
        let admin = self.resolved.admin.as_ref();
        if address.zip(admin).is_some_and(|(address, admin)| admin.is_reached_at(address, url.port)) {
            let message = format!("{}:{} is the admin interface, which no client may reach", url.host, url.port);
            self.diagnostics.push(Diagnostic::at(place, message));
        }
    }

    fn add_upstream(&mut self, upstream: Upstream) -> usize {
        let index = self.resolved.upstreams.len();
        self.upstreams.insert(upstream.name.to_string(), index);
        self.resolved.upstreams.push(upstream);
        index
    }

    fn find_upstream(&mut self, name: &str, place: &Place) -> Option<usize> {
        let found = self.upstreams.get(name).copied();
        if found.is_none() && !self.document.upstreams.broken.iter().any(|b| b == name) {
            let diagnostic = Diagnostic::at(place, format!("there is no upstream `{name}`"));
            let near = nearest(name, self.document.upstreams.names());
            self.diagnostics.push(match near {
                Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                None => diagnostic.help("upstreams are defined under `upstreams`; a URL starts with `http://`"),
            });
        }
        found
    }

    fn route(&mut self, name: &str, place: &Place, doc: &At<RouteDoc>) {
        let RouteDoc { matching, policies, to, fallback, timeouts, path_policy } = &doc.value;
        let named: Vec<(String, _)> =
            matching.0.headers.entries.iter().map(|(k, c)| (k.text.to_ascii_lowercase(), c.clone())).collect();
        for (key, _) in &matching.0.headers.entries {
            if !oxgate_http::token::is_token(key.text.as_bytes()) {
                self.diagnostics.push(Diagnostic::at(&key.place, format!("`{}` is not a field name", key.text)));
            }
        }
        let mut chain = self.policies(&self.document.defaults.policies);
        chain.extend(self.policies(policies));
        let matching = Match {
            hosts: matching.0.hosts.clone(),
            path: matching.0.path.clone(),
            methods: matching.0.methods.iter().map(|m| m.0.clone()).collect(),
            headers: named,
            query: matching.0.query.entries.iter().map(|(k, c)| (k.text.clone(), c.clone())).collect(),
        };
        let Some(action) = self.action(to, &matching) else { return };
        if let (Some(_), Action::Respond(_) | Action::Redirect(_)) = (fallback, &action) {
            self.diagnostics.push(Diagnostic::at(
                place,
                format!("the fallback of `{name}` can never be used: the route asks no upstream"),
            ));
        }
        let fallback = fallback.as_ref().map(|f| self.respond(&f.respond));
        self.resolved.routes.push(Route {
            name: name.into(),
            place: place.clone(),
            matching,
            policies: chain,
            action,
            fallback,
            timeouts: effective_timeouts(timeouts, &self.document.defaults.timeouts),
            path_policy: *path_policy,
        });
    }

    fn policies(&mut self, refs: &[PolicyRefDoc]) -> Vec<PolicyUse> {
        let mut uses = Vec::new();
        for policy in refs {
            match policy {
                PolicyRefDoc::Inline(policy) => uses.push(self.names.policy(policy)),
                PolicyRefDoc::Name(name, place) => match self.document.policies.get(name) {
                    Some(policy) => uses.push(self.names.policy(policy)),
                    None if self.document.policies.broken.contains(name) => {}
                    None => {
                        let diagnostic = Diagnostic::at(place, format!("there is no policy `{name}`"));
                        let near = nearest(name, self.document.policies.names());
                        self.diagnostics.push(match near {
                            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                            None => diagnostic.help(
                                "policies are defined under `policies`, or written in place as `{ kind: { … } }`",
                            ),
                        });
                    }
                },
            }
        }
        uses
    }

    fn action(&mut self, to: &At<ToDoc>, matching: &Match) -> Option<Action> {
        let place = &to.node.place;
        match &to.value {
            ToDoc::Upstream(name) => {
                let upstream = self.find_upstream(name, place)?;
                Some(Action::Proxy(vec![Split { upstream, weight: 1 }]))
            }
            ToDoc::Url(url) => {
                self.keep_off_admin(url, place);
                let endpoint = Endpoint { host: url.host.clone(), port: url.port, weight: 1 };
                let name = format!("http://{}", endpoint.authority());
                let upstream = match self.upstreams.get(&name) {
                    Some(index) => *index,
                    None => self.add_upstream(url_upstream(&name, endpoint)),
                };
                Some(Action::Proxy(vec![Split { upstream, weight: 1 }]))
            }
            ToDoc::Split(arms) => {
                if arms.iter().all(|a| a.weight == 0) {
                    self.diagnostics.push(Diagnostic::at(place, "a split needs an arm with a weight above 0"));
                }
                let arms: Vec<_> = arms
                    .iter()
                    .map(|a| {
                        Some(Split {
                            upstream: self.find_upstream(&a.upstream.value, &a.upstream.node.place)?,
                            weight: a.weight,
                        })
                    })
                    .collect();
                arms.into_iter().collect::<Option<_>>().map(Action::Proxy)
            }
            ToDoc::Respond(respond) => Some(Action::Respond(self.respond(respond))),
            ToDoc::Redirect(redirect) => Some(Action::Redirect(self.redirect(redirect, matching))),
        }
    }

    fn respond(&mut self, doc: &RespondDoc) -> Respond {
        for (key, _) in &doc.headers.entries {
            let name = key.text.as_bytes();
            let id = oxgate_http::Name::of(name);
            if !oxgate_http::token::is_token(name) {
                self.diagnostics.push(Diagnostic::at(&key.place, format!("`{}` is not a field name", key.text)));
            } else if id.is_hop_by_hop() || id == oxgate_http::Name::ContentLength {
                self.diagnostics
                    .push(Diagnostic::at(&key.place, format!("`{}` is set by the gateway itself", key.text)));
            }
        }
        Respond {
            status: doc.status.0,
            headers: doc.headers.entries.iter().map(|(k, v)| (k.text.clone(), v.0.clone())).collect(),
            body: doc.body.clone(),
        }
    }

    fn redirect(&mut self, doc: &RedirectDoc, matching: &Match) -> Redirect {
        let status = doc.status.value.0;
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            self.diagnostics
                .push(Diagnostic::at(&doc.status.node.place, "a redirect has the status 301, 302, 303, 307 or 308"));
        }
        if let Some(path) = &doc.path {
            for name in unknown_names(&path.value.0, matching) {
                let message = format!("the matched path has no part `{{{name}}}`");
                self.diagnostics.push(Diagnostic::at(&path.node.place, message));
            }
        }
        Redirect {
            status,
            scheme: doc.scheme.as_ref().map(|s| s.0.clone()),
            host: doc.host.as_ref().map(|h| h.0.clone()),
            path: doc.path.as_ref().map(|p| p.value.0.clone()),
            keep_query: doc.keep_query,
        }
    }

    /// Refuses two routes that match the very same requests.
    fn twins(&mut self) {
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (index, route) in self.resolved.routes.iter().enumerate() {
            for key in identity(&route.matching) {
                if let Some(first) = seen.insert(key, index) {
                    let first = &self.resolved.routes[first];
                    let message = format!("the routes `{}` and `{}` match the same requests", first.name, route.name);
                    let diagnostic = Diagnostic::at(&route.place, message).related(&first.place, "the other one");
                    self.diagnostics.push(diagnostic.help("give one of them another host, path or condition"));
                    break;
                }
            }
        }
    }
}

/// What tells a route from others: one text per host.
fn identity(matching: &Match) -> Vec<String> {
    let Match { hosts, path, methods, headers, query } = matching;
    let mut shape = String::new();
    // The names of path parts tell nothing apart.
    for (i, piece) in path.to_string().split('{').enumerate() {
        shape.push_str(if i == 0 { piece } else { piece.split_once('}').map_or(piece, |(_, rest)| rest) });
        shape.push('\0');
    }
    let mut methods = methods.clone();
    methods.sort();
    let mut conditions: Vec<String> =
        headers.iter().map(|c| format!("h{c:?}")).chain(query.iter().map(|c| format!("q{c:?}"))).collect();
    conditions.sort();
    let rest = format!("{shape}{methods:?}{conditions:?}");
    match hosts.is_empty() {
        true => vec![rest],
        false => hosts.iter().map(|h| format!("{h} {rest}")).collect(),
    }
}

fn unknown_names<'t>(template: &'t str, matching: &Match) -> Vec<&'t str> {
    let names = template.split('{').skip(1).filter_map(|piece| piece.split_once('}').map(|(name, _)| name));
    names.filter(|name| !matching.path.has_capture(name)).collect()
}

fn listener_limits(doc: &ListenerDoc) -> ListenerLimits {
    let limits = &doc.limits;
    ListenerLimits {
        connections: limits.connections,
        header_bytes: limits.header_bytes.value.0 as usize,
        header_count: limits.header_count,
        uri_bytes: limits.uri_bytes.0 as usize,
        header_timeout: limits.header_timeout,
        idle_timeout: limits.idle_timeout,
        body_idle_timeout: limits.body_idle_timeout,
        min_body_rate: limits.min_body_rate.0,
    }
}

/// The listener of a configuration that names none.
fn default_listener() -> Option<Listener> {
    let limits = Decode::absent()?;
    let doc = ListenerDoc { address: Bind::Tcp(([0, 0, 0, 0], 8080).into()), limits };
    Some(Listener { name: "web".into(), limits: listener_limits(&doc), address: doc.address })
}

fn endpoint(doc: &EndpointDoc) -> Endpoint {
    Endpoint { host: doc.url.host.clone(), port: doc.url.port, weight: doc.weight }
}

/// The upstream that a URL in `to` stands for, with the defaults of every other one.
fn url_upstream(name: &str, endpoint: Endpoint) -> Upstream {
    Upstream {
        name: name.into(),
        endpoints: vec![endpoint],
        balance: Default::default(),
        max_connections: 1024,
        max_pending: 1024,
        pending_timeout: Duration::from_secs(1),
        pool_idle: 1024,
        pool_idle_timeout: Duration::from_secs(60),
        pool_max_age: Duration::from_secs(600),
        connect_timeout: Duration::from_secs(1),
    }
}

fn effective_timeouts(route: &TimeoutsDoc, defaults: &TimeoutsDoc) -> Timeouts {
    let pick = |own: Option<Patience>, default: Option<Patience>, built_in: Option<u64>| {
        own.or(default).map_or(built_in.map(Duration::from_secs), |p| p.0)
    };
    Timeouts {
        response: pick(route.response, defaults.response, Some(30)),
        idle: pick(route.idle, defaults.idle, Some(60)),
        tunnel_idle: pick(route.tunnel_idle, defaults.tunnel_idle, Some(3600)),
        total: pick(route.total, defaults.total, None),
    }
}
