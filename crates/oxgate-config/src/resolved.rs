//! A configuration that was checked: every name found, every default in place.

use crate::node::{Node, Place};
use crate::pattern::{HostPattern, PathPattern};
use ipnet::IpNet;
use oxgate_http::PathPolicy;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A whole configuration, ready to be compiled.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// Where requests come in, by name.
    pub listeners: Vec<Listener>,
    /// Where requests go, by name.
    pub upstreams: Vec<Upstream>,
    /// What goes where, by name.
    pub routes: Vec<Route>,
    /// Every policy that has a name, used or not.
    pub named_policies: Vec<PolicyUse>,
    /// Peers whose word on the client we take.
    pub trusted_proxies: Vec<IpNet>,
    /// The operators' interface; `None` when switched off.
    pub admin: Option<Admin>,
    /// Health and metrics; `None` when switched off.
    pub status: Option<SocketAddr>,
    /// How to stop.
    pub shutdown: Shutdown,
    /// The access log; `None` when there is none.
    pub access_log: Option<AccessLog>,
}

/// The operators' interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
    /// The token that every call must bear; only a loopback address may go without.
    pub token: Option<Secret>,
}

impl Admin {
    /// Whether a connection to an address would end at the admin interface: none may be made on behalf
    /// of a client.
    pub fn is_reached_at(&self, address: IpAddr, port: u16) -> bool {
        let (own, address) = (self.address.ip().to_canonical(), address.to_canonical());
        // To connect to the unspecified address is to connect to this machine.
        let here = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
        let same = own == address || (own.is_unspecified() && here(address)) || (address.is_unspecified() && here(own));
        self.address.port() == port && same
    }
}

/// A text that never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Shutdown {
    /// Between failing readiness and closing the listeners.
    pub delay: Duration,
    /// What exchanges under way may take.
    pub drain: Duration,
}

/// The access log.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// Where lines go.
    pub to: LogTarget,
    /// The share of exchanges logged, 0 to 1.
    pub sample: f64,
    /// Log every exchange with a status from 400 or a reason, whatever the sample.
    pub errors: bool,
    /// Log every exchange that took longer, whatever the sample.
    pub slower_than: Option<Duration>,
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Appended to a file.
    File(PathBuf),
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Bind {
    /// An IP address and port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A Unix domain socket.
    Unix(PathBuf),
}

impl Bind {
    /// Whether both cannot be listened on: the same one, or one port on all addresses of the machine
    /// and on one of them.
    pub fn overlaps(&self, other: &Bind) -> bool {
        match (self, other) {
            (Bind::Tcp(a), Bind::Tcp(b)) => {
                let all = a.ip().is_unspecified() || b.ip().is_unspecified();
                a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || all)
            }
            (a, b) => a == b,
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bind::Tcp(address) => address.fmt(f),
            Bind::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where requests come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// Its address.
    pub address: Bind,
    /// What its clients may cost.
    pub limits: ListenerLimits,
}

/// What a listener's clients may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Connections open at once.
    pub connections: usize,
    /// Bytes of a request head.
    pub header_bytes: usize,
    /// Fields of a request head.
    pub header_count: usize,
    /// Bytes of a request target.
    pub uri_bytes: usize,
    /// From a head's first byte to its last; a new connection's first head counts from accepting.
    pub header_timeout: Duration,
    /// Between requests.
    pub idle_timeout: Duration,
    /// Between two bytes of a body, and for a client that reads nothing.
    pub body_idle_timeout: Duration,
    /// Bytes per second that a body must average beyond the first `body_idle_timeout`; 0 is no rule.
    pub min_body_rate: u64,
}

/// A named group of endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Its name; for a route's URL the URL itself.
    pub name: Arc<str>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// How one is chosen.
    pub balance: Balance,
    /// Connections per endpoint, over all workers.
    pub max_connections: usize,
    /// Requests that may wait for a connection, over all workers.
    pub max_pending: usize,
    /// How long one waits.
    pub pending_timeout: Duration,
    /// Idle connections kept per endpoint, over all workers.
    pub pool_idle: usize,
    /// How long an idle connection is kept.
    pub pool_idle_timeout: Duration,
    /// How long a connection is used.
    pub pool_max_age: Duration,
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Balance {
    /// In turn, in proportion to the weights.
    #[default]
    RoundRobin,
}

/// One address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Host name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its share.
    pub weight: u32,
}

impl Endpoint {
    /// `host:port` as it is written in Host and in logs.
    pub fn authority(&self) -> String {
        match (self.host.contains(':'), self.port) {
            (true, port) => format!("[{}]:{port}", self.host),
            (false, 80) => self.host.clone(),
            (false, port) => format!("{}:{port}", self.host),
        }
    }
}

/// What goes where.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its name.
    pub name: Arc<str>,
    /// Where it was written.
    pub place: Place,
    /// What it answers for.
    pub matching: Match,
    /// The policies in the order they run.
    pub policies: Vec<PolicyUse>,
    /// What it does.
    pub action: Action,
    /// What to answer when the upstream cannot.
    pub fallback: Option<Respond>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How odd paths are treated.
    pub path_policy: PathPolicy,
}

/// What a route answers for.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// Any of these hosts; every host when empty.
    pub hosts: Vec<HostPattern>,
    /// This path.
    pub path: PathPattern,
    /// Any of these methods; every method when empty.
    pub methods: Vec<String>,
    /// All of these header conditions, by name in lower case.
    pub headers: Vec<(String, Condition)>,
    /// All of these query conditions, by name.
    pub query: Vec<(String, Condition)>,
}

impl Match {
    /// How many conditions beyond host and path there are; more win.
    pub fn conditions(&self) -> usize {
        usize::from(!self.methods.is_empty()) + self.headers.len() + self.query.len()
    }
}

/// What a header or query parameter must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// This value.
    Is(String),
    /// A value in which the expression is found.
    Regex(String),
    /// There, or not there.
    Present(bool),
}

/// A policy in a chain.
#[derive(Clone, Debug)]
pub struct PolicyUse {
    /// Its kind, as registered.
    pub kind: Arc<str>,
    /// Its options as written.
    pub options: Node,
    /// Where the policy was written.
    pub place: Place,
}

/// What a route does with a request that its policies let pass.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Passes it to one of these upstreams, in proportion to the weights.
    Proxy(Vec<Split>),
    /// Answers it.
    Respond(Respond),
    /// Sends the client elsewhere.
    Redirect(Redirect),
}

/// One arm of a weighted split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Index into [`Resolved::upstreams`].
    pub upstream: usize,
    /// Its share.
    pub weight: u32,
}

/// A fixed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respond {
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

/// A redirect; parts left out stay as the request had them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Host, with a port where one is wanted.
    pub host: Option<String>,
    /// Path, with `{name}` for parts of the matched one.
    pub path: Option<String>,
    /// Whether the query is kept.
    pub keep_query: bool,
}

/// How long the parts of an exchange may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// From the request's last byte to the answer's first.
    pub response: Option<Duration>,
    /// Between two bytes of the answer.
    pub idle: Option<Duration>,
    /// Between two bytes of an upgraded connection, in either direction.
    pub tunnel_idle: Option<Duration>,
    /// The whole exchange.
    pub total: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_interface_is_known_under_all_its_addresses() {
        let is_reached = |own: &str, address: &str, port| {
            let admin = Admin { address: SocketAddr::new(own.parse().expect("an address"), 9901), token: None };
            admin.is_reached_at(address.parse().expect("an address"), port)
        };
        assert!(is_reached("127.0.0.1", "127.0.0.1", 9901));
        assert!(!is_reached("127.0.0.1", "127.0.0.1", 9902));
        assert!(!is_reached("127.0.0.1", "10.0.0.1", 9901));
        assert!(is_reached("127.0.0.1", "::ffff:127.0.0.1", 9901));
        assert!(is_reached("127.0.0.1", "0.0.0.0", 9901));
        assert!(is_reached("0.0.0.0", "127.0.0.1", 9901));
        assert!(is_reached("::", "127.0.0.1", 9901));
        assert!(is_reached("10.0.0.1", "10.0.0.1", 9901));
        assert!(!is_reached("10.0.0.1", "127.0.0.1", 9901));
    }
}
