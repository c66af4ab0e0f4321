//! quick
use oxgate_config::{node::*, pattern::*, resolved::*};
use oxgate_proxy::*;
use std::{sync::Arc, time::Duration};
#[global_allocator]
static A: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let n: usize = a.get(3).and_then(|s| s.parse().ok()).unwrap_or(1);
    let s = Duration::from_secs;
    let to: std::net::SocketAddr = a[2].parse().unwrap();
    let limits = ListenerLimits { connections: 100000, header_bytes: 32768, header_count: 100, uri_bytes: 8192, header_timeout: s(10), idle_timeout: s(75), body_idle_timeout: s(30), min_body_rate: 240 };
    let place = Place { source: Arc::new(Source { name: "".into(), text: "".into() }), span: 0..0 };
    let mut r = Resolved::default();
    r.upstreams.push(Upstream { name: "u".into(), endpoints: vec![Endpoint { host: to.ip().to_string(), port: to.port(), weight: 1 }], balance: Balance::RoundRobin, max_connections: 1024, max_pending: 1024, pending_timeout: s(1), pool_idle: 1024, pool_idle_timeout: s(60), pool_max_age: s(600), connect_timeout: s(1) });
    for i in 0..n {
        r.routes.push(Route { name: format!("r{i}").into(), place: place.clone(), matching: Match { hosts: vec![], path: PathPattern::parse(&if i == 0 { "/*".to_string() } else { format!("/svc{i}/*") }).unwrap(), methods: vec![], headers: vec![], query: vec![] }, policies: vec![], action: Action::Proxy(vec![Split { upstream: 0, weight: 1 }]), fallback: None, timeouts: Timeouts { response: Some(s(30)), idle: Some(s(60)), total: None, tunnel_idle: Some(s(3600)) }, path_policy: Default::default() });
    }
    let chains = vec![vec![]; r.routes.len()];
    let snap = Arc::new(Snapshot::compile(&r, chains, None));
    let (plane, _logs) = Plane::start(1, snap).unwrap();
    let addr: std::net::SocketAddr = a[1].parse().unwrap();
    let sock = socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None).unwrap();
    sock.set_reuse_port(true).unwrap(); sock.set_reuse_address(true).unwrap(); sock.set_nonblocking(true).unwrap(); sock.set_tcp_nodelay(true).unwrap();
    sock.bind(&addr.into()).unwrap(); sock.listen(4096).unwrap();
    plane.listen(&"web".into(), limits, vec![ListenerSocket::Tcp(sock.into())]);
    plane.join();
}
