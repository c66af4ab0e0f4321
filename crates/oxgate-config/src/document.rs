//! The configuration as it is written. Every key, its meaning and its default stand here once; the
//! reference and the JSON Schema are made from this file.

use crate::decode::{At, ByteRate, Bytes, Decode, Named, Patience, Share, expected, parsed, word};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::document;
use crate::node::{Node, Place, Value};
use crate::pattern::{HostPattern, PathPattern};
use crate::resolved::{Balance, Bind, Condition, LogTarget};
use ipnet::IpNet;
use oxgate_http::PathPolicy;
use serde_json::{Value as Json, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

document! {
    /// A whole configuration file.
    pub struct Document {
        /// The version of the format: 1.
        version: At<u32>,
        /// Where requests come in, by name. None written: `web` on 0.0.0.0:8080.
        listeners: Named<ListenerDoc> = Named::default(),
        /// Peers whose X-Forwarded-* and Forwarded fields and request ids are believed.
        trusted_proxies: Vec<IpNet> = Vec::new(),
        /// The operators' interface.
        admin: AdminDoc,
        /// Health and metrics.
        status: StatusDoc,
        /// How to stop.
        shutdown: ShutdownDoc,
        /// Where requests go, by name.
        upstreams: Named<UpstreamDoc> = Named::default(),
        /// Policies to be used by name.
        policies: Named<PolicyDoc> = Named::default(),
        /// What goes where, by name.
        routes: Named<At<RouteDoc>> = Named::default(),
        /// What holds for every route that says nothing else.
        defaults: DefaultsDoc,
        /// Logs.
        telemetry: TelemetryDoc,
    }
}

document! {
    /// Where requests come in.
    pub struct ListenerDoc {
        /// `0.0.0.0:8080`, `[::]:8080` or `unix:/run/oxgate.sock`.
        address: Bind,
        /// What its clients may cost.
        limits: ListenerLimitsDoc,
    }
}

document! {
    /// What a listener's clients may cost.
    pub struct ListenerLimitsDoc {
        /// Connections open at once.
        connections: usize = 100_000,
        /// Bytes of a request head, at most 128KiB; past it 431.
        header_bytes: At<Bytes> = At::bare(Bytes(32 * 1024)),
        /// Fields of a request head; past it 431.
        header_count: usize = 100,
        /// Bytes of a request target; past it 414.
        uri_bytes: Bytes = Bytes(8 * 1024),
        /// From a head's first byte to its last; past it 408.
        header_timeout: Duration = Duration::from_secs(10),
        /// Between requests; past it the connection is closed.
        idle_timeout: Duration = Duration::from_secs(75),
        /// Between two bytes of a body; past it 408. Also for clients that read nothing.
        body_idle_timeout: Duration = Duration::from_secs(30),
        /// What a body must average once `body_idle_timeout` has passed; past it 408. `0B/s` is no rule.
        min_body_rate: ByteRate = ByteRate(240),
    }
}

document! {
    /// The operators' interface.
    pub struct AdminDoc {
        /// Its address, or `off`. Addresses other than loopback need a token.
        address: At<AddressOrOff> = At::bare(AddressOrOff(Some(SocketAddr::from(([127, 0, 0, 1], 7700))))),
        /// What callers must send as `Authorization: Bearer …`.
        token: Option<SecretDoc> = None,
    }
}

document! {
    /// Health and metrics.
    pub struct StatusDoc {
        /// Its address, or `off`.
        address: AddressOrOff = AddressOrOff(Some(SocketAddr::from(([0, 0, 0, 0], 7701)))),
    }
}

document! {
    /// How to stop.
    pub struct ShutdownDoc {
        /// Between failing readiness and closing the listeners.
        delay: Duration = Duration::ZERO,
        /// What exchanges under way may take.
        drain: Duration = Duration::from_secs(30),
    }
}

document! {
    /// A named group of endpoints.
    pub struct UpstreamDoc {
        /// URLs, each with a weight where it should differ from 1.
        endpoints: At<Vec<EndpointDoc>>,
        /// How an endpoint is chosen.
        balance: Balance = Balance::RoundRobin,
        /// What the upstream may be burdened with.
        limits: UpstreamLimitsDoc,
        /// Idle connections.
        pool: PoolDoc,
        /// How long opening a connection may take; past it the next endpoint, in the end 504.
        connect_timeout: Duration = Duration::from_secs(1),
    }
}

document! {
    /// What an upstream may be burdened with.
    pub struct UpstreamLimitsDoc {
        /// Connections per endpoint; each worker has an equal share, at least one.
        connections: usize = 1024,
        /// Requests that may wait for a connection; past it 503.
        pending: usize = 1024,
        /// How long one waits; past it 503.
        pending_timeout: Duration = Duration::from_secs(1),
    }
}

document! {
    /// Idle connections.
    pub struct PoolDoc {
        /// How many are kept per endpoint; each worker has an equal share, at least one.
        idle: usize = 1024,
        /// How long one is kept.
        idle_timeout: Duration = Duration::from_secs(60),
        /// How long one is used in all.
        max_age: Duration = Duration::from_secs(600),
    }
}

document! {
    /// What goes where.
    pub struct RouteDoc {
        /// What the route answers for: `host/path`, or a map of conditions.
        matching as "match": MatchDoc,
        /// Policies in the order they run: names, or policies written in place.
        policies: Vec<PolicyRefDoc> = Vec::new(),
        /// An upstream's name, a URL, or a map with `split`, `respond` or `redirect`.
        to: At<ToDoc>,
        /// What to answer when the upstream cannot.
        fallback: Option<FallbackDoc> = None,
        /// How long things may take.
        timeouts: TimeoutsDoc,
        /// How paths with several readings are treated.
        path_policy: PathPolicy = PathPolicy::Strict,
    }
}

document! {
    /// How long things may take; what is left out comes from `defaults.timeouts`.
    pub struct TimeoutsDoc {
        /// From the request's last byte to the answer's first; past it 504. Default 30s.
        response: Option<Patience> = None,
        /// Between two bytes of the answer. Default 60s.
        idle: Option<Patience> = None,
        /// Between two bytes of an upgraded connection, in either direction. Default 1h.
        tunnel_idle: Option<Patience> = None,
        /// The whole exchange. Default none.
        total: Option<Patience> = None,
    }
}

document! {
    /// What holds for every route that says nothing else.
    pub struct DefaultsDoc {
        /// Policies that run before each route's own.
        policies: Vec<PolicyRefDoc> = Vec::new(),
        /// How long things may take.
        timeouts: TimeoutsDoc,
    }
}

document! {
    /// What a route answers for.
    pub struct MatchMapDoc {
        /// Any of these hosts; `*.example.org` means every host under it.
        hosts: Vec<HostPattern> = Vec::new(),
        /// `/a/b` exact, `/a/*` prefix, `/a/{id}` one segment each, `~^/re$` expression.
        path: PathPattern = PathPattern::Prefix(Vec::new()),
        /// Any of these methods.
        methods: Vec<MethodDoc> = Vec::new(),
        /// All of these, by field name: a value, `{ regex: … }` or `{ present: … }`.
        headers: Named<Condition> = Named::default(),
        /// All of these, by parameter name.
        query: Named<Condition> = Named::default(),
    }
}

document! {
    /// One arm of a weighted split.
    pub struct SplitDoc {
        /// An upstream's name.
        upstream: At<String>,
        /// Its share.
        weight: u32 = 1,
    }
}

document! {
    /// A fixed answer.
    pub struct RespondDoc {
        /// Its status.
        status: StatusCode = StatusCode(200),
        /// Its fields.
        headers: Named<HeaderValue> = Named::default(),
        /// Its body.
        body: String = String::new(),
    }
}

document! {
    /// A redirect; parts left out stay as the request had them.
    pub struct RedirectDoc {
        /// 301, 302, 303, 307 or 308.
        status: At<StatusCode> = At::bare(StatusCode(308)),
        /// `http` or `https`.
        scheme: Option<SchemeDoc> = None,
        /// The host, with a port where one is wanted.
        host: Option<AuthorityDoc> = None,
        /// The path; `{name}` puts in parts of the matched one.
        path: Option<At<RedirectPath>> = None,
        /// Whether the query is kept.
        keep_query: bool = true,
    }
}

document! {
    /// What to answer when the upstream cannot.
    pub struct FallbackDoc {
        /// A fixed answer.
        respond: RespondDoc,
    }
}

document! {
    /// Logs.
    pub struct TelemetryDoc {
        /// One line per exchange.
        access_log: Option<AccessLogDoc> = None,
    }
}

document! {
    /// One line per exchange.
    pub struct AccessLogDoc {
        /// `stdout`, `stderr` or `file:/path`.
        to: LogTarget = LogTarget::Stdout,
        /// `json`.
        format: LogFormat = LogFormat,
        /// The share of exchanges that is logged.
        sample: Share = Share(1.0),
        /// What is logged whatever the sample: `errors`, `slower_than: 1s`.
        always: Vec<AlwaysDoc> = vec![AlwaysDoc::Errors],
    }
}

impl<T> At<T> {
    /// A value that nobody wrote.
    pub fn bare(value: T) -> At<T> {
        At { value, node: crate::decode::nothing() }
    }
}

/// Implements [`Decode`] for a type that is written as one text.
macro_rules! text_type {
    ($type:ty, $what:literal, $schema:tt, $parse:expr, $write:expr) => {
        impl Decode for $type {
            fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
                let parse: fn(&str) -> Result<$type, String> = $parse;
                parsed($what, node, diagnostics, parse)
            }

            fn schema() -> Json {
                json!($schema)
            }

            fn encode(&self) -> Json {
                let write: fn(&$type) -> Json = $write;
                write(self)
            }
        }
    };
}

text_type!(Bind, "an address", { "type": "string" }, |text| match text.strip_prefix("unix:") {
    Some(path) if path.starts_with('/') => Ok(Bind::Unix(PathBuf::from(path))),
    Some(_) => Err("must name an absolute path behind `unix:`".to_owned()),
    None => text.parse().map(Bind::Tcp).map_err(|_| "is not an address and port, as in `0.0.0.0:8080`, `[::]:8080` or `unix:/run/oxgate.sock`".to_owned()),
}, |bind| bind.to_string().into());

/// An address, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressOrOff(pub Option<SocketAddr>);

text_type!(AddressOrOff, "an address or `off`", { "type": "string" }, |text| match text {
    "off" => Ok(AddressOrOff(None)),
    _ => text.parse().map(|a| AddressOrOff(Some(a))).map_err(|_| "is neither an address and port nor `off`".to_owned()),
}, |address| address.0.map_or_else(|| "off".into(), |a| a.to_string().into()));

/// A text that never prints.
#[derive(Clone, Debug)]
pub struct SecretDoc(pub crate::resolved::Secret);

text_type!(SecretDoc, "a text", { "type": "string" },
    |text| Ok(SecretDoc(crate::resolved::Secret(text.to_owned()))), |_| "[secret]".into());

text_type!(HostPattern, "a host", { "type": "string" }, HostPattern::parse, |host| host.to_string().into());
text_type!(PathPattern, "a path", { "type": "string" }, PathPattern::parse, |path| path.to_string().into());

/// A method's name.
#[derive(Clone, Debug)]
pub struct MethodDoc(pub String);

text_type!(MethodDoc, "a method", { "type": "string" }, |text| {
    let token = oxgate_http::token::is_token(text.as_bytes());
    match token && !text.bytes().any(|b| b.is_ascii_lowercase()) {
        true => Ok(MethodDoc(text.to_owned())),
        false => Err("is not a method; methods are written in capitals".to_owned()),
    }
}, |method| method.0.as_str().into());

/// A status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusCode(pub u16);

text_type!(StatusCode, "a status code", { "type": "integer", "minimum": 200, "maximum": 599 }, |text| {
    text.parse().ok().filter(|s| (200..600).contains(s)).map(StatusCode).ok_or("is not a status code from 200 to 599".to_owned())
}, |status| status.0.into());

/// The value of a field.
#[derive(Clone, Debug)]
pub struct HeaderValue(pub String);

text_type!(HeaderValue, "a field value", { "type": "string" }, |text| match oxgate_http::token::is_field_value(text.as_bytes()) {
    true => Ok(HeaderValue(text.to_owned())),
    false => Err("is no field value: control bytes, and white space at the ends, cannot be sent".to_owned()),
}, |value| value.0.as_str().into());

/// `http` or `https`.
#[derive(Clone, Debug)]
pub struct SchemeDoc(pub String);

text_type!(SchemeDoc, "a scheme", { "enum": ["http", "https"] }, |text| match text {
    "http" | "https" => Ok(SchemeDoc(text.to_owned())),
    _ => Err("is neither `http` nor `https`".to_owned()),
}, |scheme| scheme.0.as_str().into());

/// A host with an optional port.
#[derive(Clone, Debug)]
pub struct AuthorityDoc(pub String);

text_type!(AuthorityDoc, "a host", { "type": "string" }, |text| match oxgate_http::authority::parse(text.as_bytes()) {
    Some(_) => Ok(AuthorityDoc(text.to_owned())),
    None => Err("is not a host with an optional port".to_owned()),
}, |authority| authority.0.as_str().into());

/// The path of a redirect, with `{name}` for parts of the matched path.
#[derive(Clone, Debug)]
pub struct RedirectPath(pub String);

text_type!(RedirectPath, "a path", { "type": "string" }, |text| {
    let clean = text.bytes().all(|b| (0x21..0x7f).contains(&b)) && text.starts_with('/') && !text.starts_with("//");
    clean.then(|| RedirectPath(text.to_owned())).ok_or("is not a path: it starts with one `/` and holds no spaces".to_owned())
}, |path| path.0.as_str().into());

text_type!(LogTarget, "a target", { "type": "string" }, |text| match (text, text.strip_prefix("file:")) {
    ("stdout", _) => Ok(LogTarget::Stdout),
    ("stderr", _) => Ok(LogTarget::Stderr),
    (_, Some(path)) if !path.is_empty() => Ok(LogTarget::File(PathBuf::from(path))),
    _ => Err("is none of `stdout`, `stderr`, `file:/path`".to_owned()),
}, |to| match to {
    LogTarget::Stdout => "stdout".into(),
    LogTarget::Stderr => "stderr".into(),
    LogTarget::File(path) => format!("file:{}", path.display()).into(),
});

/// The one format of log lines.
#[derive(Clone, Copy, Debug)]
pub struct LogFormat;

text_type!(LogFormat, "a format", { "enum": ["json"] }, |text| match text {
    "json" => Ok(LogFormat),
    _ => Err("is not a log format; there is `json`".to_owned()),
}, |_| "json".into());

impl Decode for Balance {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        word(node, diagnostics, &[("round_robin", Balance::RoundRobin)])
    }

    fn schema() -> Json {
        json!({ "enum": ["round_robin"] })
    }

    fn encode(&self) -> Json {
        "round_robin".into()
    }
}

const PATH_POLICIES: &[(&str, PathPolicy)] =
    &[("strict", PathPolicy::Strict), ("normalize", PathPolicy::Normalize), ("verbatim", PathPolicy::Verbatim)];

impl Decode for PathPolicy {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        word(node, diagnostics, PATH_POLICIES)
    }

    fn schema() -> Json {
        json!({ "enum": ["strict", "normalize", "verbatim"] })
    }

    fn encode(&self) -> Json {
        PATH_POLICIES.iter().find(|(_, policy)| policy == self).map(|(word, _)| *word).into()
    }
}

/// What is logged whatever the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlwaysDoc {
    /// Statuses from 400, and exchanges that ended early.
    Errors,
    /// Exchanges that took longer.
    SlowerThan(Duration),
}

document! {
    struct SlowerDoc {
        slower_than: Duration,
    }
}

impl Decode for AlwaysDoc {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            Value::Map(_) => SlowerDoc::decode(node, diagnostics).map(|d| AlwaysDoc::SlowerThan(d.slower_than)),
            _ => word(node, diagnostics, &[("errors", AlwaysDoc::Errors)]),
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "const": "errors" }, SlowerDoc::schema()] })
    }

    fn encode(&self) -> Json {
        match self {
            AlwaysDoc::Errors => "errors".into(),
            AlwaysDoc::SlowerThan(d) => json!({ "slower_than": d.encode() }),
        }
    }
}

/// An endpoint: a URL, or a map of URL and weight.
#[derive(Clone, Debug)]
pub struct EndpointDoc {
    /// Where it is written.
    pub place: Place,
    /// The URL.
    pub url: UrlDoc,
    /// Its share.
    pub weight: u32,
}

document! {
    struct EndpointMapDoc {
        /// `http://host:port`.
        url: UrlDoc,
        /// Its share of the requests.
        weight: u32 = 1,
    }
}

impl Decode for EndpointDoc {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let (url, weight) = match &node.value {
            Value::Map(_) => EndpointMapDoc::decode(node, diagnostics).map(|d| (d.url, d.weight)),
            _ => UrlDoc::decode(node, diagnostics).map(|url| (url, 1)),
        }?;
        Some(EndpointDoc { place: node.place.clone(), url, weight })
    }

    fn schema() -> Json {
        json!({ "anyOf": [UrlDoc::schema(), EndpointMapDoc::schema()] })
    }

    fn encode(&self) -> Json {
        json!({ "url": self.url.encode(), "weight": self.weight })
    }
}

/// The URL of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlDoc {
    /// Host name or address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

text_type!(UrlDoc, "a URL", { "type": "string", "pattern": "^http://" }, |text| {
    let Some(rest) = text.strip_prefix("http://") else {
        return Err("must start with `http://`".to_owned());
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err("must end behind host and port; a path is put in front by the `rewrite` policy".to_owned());
    }
    let parsed = oxgate_http::authority::parse(authority.as_bytes()).ok_or("has no valid host and port, as in `http://127.0.0.1:3000`")?;
    let host = String::from_utf8_lossy(parsed.host).trim_matches(['[', ']']).to_owned();
    Ok(UrlDoc { host, port: parsed.port.unwrap_or(80) })
}, |url| {
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    format!("http://{host}:{}", url.port).into()
});

impl Decode for Condition {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            Value::Map(_) => {
                let map = ConditionMapDoc::decode(node, diagnostics)?;
                match (map.regex, map.present) {
                    (Some(regex), None) => Some(Condition::Regex(regex.0)),
                    (None, Some(present)) => Some(Condition::Present(present)),
                    _ => {
                        diagnostics.push(Diagnostic::at(&node.place, "a condition has either `regex` or `present`"));
                        None
                    }
                }
            }
            _ => String::decode(node, diagnostics).map(Condition::Is),
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "type": ["string", "number", "boolean"] }, ConditionMapDoc::schema()] })
    }

    fn encode(&self) -> Json {
        match self {
            Condition::Is(value) => value.as_str().into(),
            Condition::Regex(regex) => json!({ "regex": regex }),
            Condition::Present(present) => json!({ "present": present }),
        }
    }
}

document! {
    struct ConditionMapDoc {
        /// An expression that is found in a value.
        regex: Option<RegexDoc> = None,
        /// Whether it must be there at all.
        present: Option<bool> = None,
    }
}

/// A regular expression.
#[derive(Clone, Debug)]
pub struct RegexDoc(pub String);

text_type!(RegexDoc, "an expression", { "type": "string" }, |text| {
    regex::bytes::RegexBuilder::new(text).unicode(false).size_limit(1 << 20).build()
        .map(|_| RegexDoc(text.to_owned()))
        .map_err(|e| format!("is not a valid regular expression: {}", e.to_string().lines().last().unwrap_or_default()))
}, |regex| regex.0.as_str().into());

/// What a route answers for, in either form.
#[derive(Clone, Debug)]
pub struct MatchDoc(pub MatchMapDoc);

impl Decode for MatchDoc {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        if let Value::Map(_) = node.value {
            return MatchMapDoc::decode(node, diagnostics).map(MatchDoc);
        }
        let (hosts, path) = parsed("a path or a map", node, diagnostics, |text| {
            let start = if text.starts_with('~') { Some(0) } else { text.find('/') };
            let start = start.ok_or("holds no path: write `/path`, `host/path` or a map")?;
            let host = (start > 0).then(|| HostPattern::parse(&text[..start])).transpose()?;
            Ok((host.into_iter().collect(), PathPattern::parse(&text[start..])?))
        })?;
        Some(MatchDoc(MatchMapDoc {
            hosts,
            path,
            methods: Vec::new(),
            headers: Named::default(),
            query: Named::default(),
        }))
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "string" }, MatchMapDoc::schema()] })
    }

    fn encode(&self) -> Json {
        self.0.encode()
    }
}

/// What a route does.
#[derive(Clone, Debug)]
pub enum ToDoc {
    /// An upstream's name.
    Upstream(String),
    /// A URL, which becomes an upstream of its own.
    Url(UrlDoc),
    /// Several upstreams.
    Split(Vec<SplitDoc>),
    /// A fixed answer.
    Respond(RespondDoc),
    /// A redirect.
    Redirect(RedirectDoc),
}

document! {
    struct ToMapDoc {
        /// Upstreams in proportion to their weights.
        split: Option<Vec<SplitDoc>> = None,
        /// A fixed answer.
        respond: Option<RespondDoc> = None,
        /// A redirect.
        redirect: Option<RedirectDoc> = None,
    }
}

impl Decode for ToDoc {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            Value::Map(_) => {
                let map = ToMapDoc::decode(node, diagnostics)?;
                match (map.split, map.respond, map.redirect) {
                    (Some(arms), None, None) => Some(ToDoc::Split(arms)),
                    (None, Some(respond), None) => Some(ToDoc::Respond(respond)),
                    (None, None, Some(redirect)) => Some(ToDoc::Redirect(redirect)),
                    _ => {
                        let message = "`to` has exactly one of `split`, `respond` and `redirect`";
                        diagnostics.push(Diagnostic::at(&node.place, message));
                        None
                    }
                }
            }
            Value::Scalar { text, .. } if text.contains("://") => UrlDoc::decode(node, diagnostics).map(ToDoc::Url),
            Value::Scalar { text, .. } => Some(ToDoc::Upstream(text.clone())),
            _ => {
                diagnostics.push(expected("an upstream's name, a URL or a map", node));
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "string" }, ToMapDoc::schema()] })
    }

    fn encode(&self) -> Json {
        match self {
            ToDoc::Upstream(name) => name.as_str().into(),
            ToDoc::Url(url) => url.encode(),
            ToDoc::Split(arms) => json!({ "split": arms.encode() }),
            ToDoc::Respond(respond) => json!({ "respond": respond.encode() }),
            ToDoc::Redirect(redirect) => json!({ "redirect": redirect.encode() }),
        }
    }
}

/// A policy: exactly one key, its kind.
#[derive(Clone, Debug)]
pub struct PolicyDoc {
    /// Its kind.
    pub kind: String,
    /// Where the kind is written.
    pub place: Place,
    /// Its options; what they mean only the kind knows.
    pub options: Node,
}

impl Decode for PolicyDoc {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            Value::Map(entries) if entries.len() == 1 => {
                let (key, options) = &entries[0];
                Some(PolicyDoc { kind: key.text.clone(), place: key.place.clone(), options: options.clone() })
            }
            _ => {
                diagnostics.push(Diagnostic::at(&node.place, "a policy is a map with exactly one key: its kind"));
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "$ref": "#/$defs/policy" })
    }

    fn encode(&self) -> Json {
        Json::Object([(self.kind.clone(), json(&self.options))].into_iter().collect())
    }
}

/// A policy in a route's list: a name, or a policy written in place.
#[derive(Clone, Debug)]
pub enum PolicyRefDoc {
    /// The name of a policy.
    Name(String, Place),
    /// A policy.
    Inline(PolicyDoc),
}

impl Decode for PolicyRefDoc {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            Value::Scalar { text, .. } => Some(PolicyRefDoc::Name(text.clone(), node.place.clone())),
            _ => PolicyDoc::decode(node, diagnostics).map(PolicyRefDoc::Inline),
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "string" }, PolicyDoc::schema()] })
    }

    fn encode(&self) -> Json {
        match self {
            PolicyRefDoc::Name(name, _) => name.as_str().into(),
            PolicyRefDoc::Inline(policy) => policy.encode(),
        }
    }
}

/// A node as JSON; secrets are not shown.
fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Scalar { secret: true, .. } => "[secret]".into(),
        Value::Scalar { text, plain, .. } => {
            let typed = plain.then(|| serde_json::from_str(text).ok()).flatten();
            typed.filter(|v: &Json| v.is_number() || v.is_boolean()).unwrap_or_else(|| text.as_str().into())
        }
        Value::List(items) => Json::Array(items.iter().map(json).collect()),
        Value::Map(entries) => Json::Object(entries.iter().map(|(k, n)| (k.text.clone(), json(n))).collect()),
    }
}
