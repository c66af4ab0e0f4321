//! The compiled configuration: immutable, shared by all workers, swapped whole.

use crate::chain::Chain;
use crate::router::Router;
use crate::schedule::Schedule;
use crate::upstream::Endpoint;
use oxgate_config::pattern::PathPattern;
use oxgate_config::resolved::{Action, Resolved, Respond, Timeouts, Upstream};
use oxgate_policy::Policy;
use rustc_hash::FxHashMap;
use std::collections::HashMap;
use std::sync::Arc;

/// Everything a worker needs to know to serve.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) router: Router,
    pub(crate) routes: Vec<Route>,
    pub(crate) upstreams: Vec<UpstreamPlan>,
    pub(crate) trusted_proxies: Vec<ipnet::IpNet>,
    pub(crate) log: Option<LogRule>,
    names: FxHashMap<Arc<str>, usize>,
}

/// Which exchanges the access log keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogRule {
    /// The share kept, of 2^32.
    pub(crate) sample: u64,
    pub(crate) errors: bool,
    pub(crate) slower_than_us: u64,
}

/// A route, ready to be taken.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    pub(crate) pattern: PathPattern,
    pub(crate) chain: Chain,
    pub(crate) action: Action,
    pub(crate) schedule: Schedule,
    pub(crate) fallback: Option<Respond>,
    pub(crate) timeouts: TimeoutsUs,
}

/// A route's timeouts in microseconds; `u64::MAX` is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeoutsUs {
    pub(crate) response: u64,
    pub(crate) idle: u64,
    pub(crate) total: u64,
    pub(crate) tunnel_idle: u64,
}

/// An upstream with its live endpoints.
#[derive(Debug)]
pub(crate) struct UpstreamPlan {
    pub(crate) spec: Upstream,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) schedule: Schedule,
}

impl UpstreamPlan {
    /// Endpoints that get requests.
    pub(crate) fn endpoints_in_use(&self) -> usize {
        self.spec.endpoints.iter().filter(|e| e.weight > 0).count()
    }
}

impl Snapshot {
    /// Compiles a checked configuration. `chains` holds the compiled policies of each route, in
    /// order. Endpoints that `previous` knows keep their live state.
    pub fn compile(resolved: &Resolved, chains: Vec<Vec<CompiledPolicy>>, previous: Option<&Snapshot>) -> Snapshot {
        // An endpoint is what it leads to: another weight makes no other one of it.
        let mut live: HashMap<(Arc<str>, &str, u16), Arc<Endpoint>> = HashMap::new();
        for plan in previous.into_iter().flat_map(|p| &p.upstreams) {
            for (spec, endpoint) in plan.spec.endpoints.iter().zip(&plan.endpoints) {
                live.insert((Arc::clone(&plan.spec.name), &spec.host, spec.port), Arc::clone(endpoint));
            }
        }
        let upstreams = resolved.upstreams.iter().map(|spec| UpstreamPlan {
            endpoints: spec
                .endpoints
                .iter()
                .map(|e| {
                    let known = live.remove(&(Arc::clone(&spec.name), e.host.as_str(), e.port));
                    known.unwrap_or_else(|| Arc::new(Endpoint::new(e)))
                })
                .collect(),
            schedule: Schedule::new(spec.endpoints.iter().map(|e| e.weight)),
            spec: spec.clone(),
        });
        let routes = resolved.routes.iter().zip(chains).map(|(route, policies)| Route {
            name: Arc::clone(&route.name),
            pattern: route.matching.path.clone(),
            chain: Chain::compile(policies),
            schedule: match &route.action {
                Action::Proxy(splits) => Schedule::new(splits.iter().map(|s| s.weight)),
                Action::Respond(_) | Action::Redirect(_) => Schedule::default(),
            },
            action: route.action.clone(),
            fallback: route.fallback.clone(),
            timeouts: TimeoutsUs::of(&route.timeouts),
        });
        Snapshot {
            router: Router::compile(&resolved.routes),
            names: resolved.upstreams.iter().enumerate().map(|(i, u)| (Arc::clone(&u.name), i)).collect(),
            routes: routes.collect(),
            upstreams: upstreams.collect(),
            trusted_proxies: resolved.trusted_proxies.clone(),
            log: resolved.access_log.as_ref().map(|log| LogRule {
                sample: (log.sample * 4_294_967_296.0) as u64,
                errors: log.errors,
                slower_than_us: log.slower_than.map_or(u64::MAX, |d| d.as_micros() as u64),
            }),
        }
    }

    /// The index of an upstream.
    pub(crate) fn upstream_named(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// Every endpoint that is known by a host name: the name, and where to say its addresses.
    pub fn names(&self) -> impl Iterator<Item = (&str, &Arc<Endpoint>)> {
        self.upstreams.iter().flat_map(|u| &u.endpoints).filter_map(|e| e.name().map(|name| (name, e)))
    }
}

/// A policy of a route's chain.
#[derive(Clone, Debug)]
pub struct CompiledPolicy {
    /// Its kind.
    pub kind: Arc<str>,
    /// The policy.
    pub policy: Arc<dyn Policy>,
}

impl TimeoutsUs {
    fn of(timeouts: &Timeouts) -> TimeoutsUs {
        let us = |d: Option<std::time::Duration>| d.map_or(u64::MAX, |d| d.as_micros() as u64);
        TimeoutsUs {
            response: us(timeouts.response),
            idle: us(timeouts.idle),
            total: us(timeouts.total),
            tunnel_idle: us(timeouts.tunnel_idle),
        }
    }
}
