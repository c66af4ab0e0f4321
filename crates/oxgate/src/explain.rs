//! `oxgate explain`: which route a request takes, why the others lost, and what then happens to it.

use crate::cli::ExplainArgs;
use crate::commands::{print, report};
use crate::configuration::{Ready, Source};
use oxgate_config::resolved::{Action, Route, Timeouts};
use oxgate_http::{HeadLimits, Parsed, Request};
use oxgate_proxy::{Found, Router};
use serde_json::json;
use std::fmt::Write;
use std::time::Duration;

pub(crate) fn command(args: &ExplainArgs, source: &Source) -> u8 {
    let ready = match source.read().result {
        Ok(ready) => ready,
        Err(diagnostics) => return report(&diagnostics),
    };
    match request(args) {
        Ok(request) => print(&explain(&ready, request)),
        Err(message) => {
            eprintln!("oxgate: {message}");
            2
        }
    }
}

/// The request that the arguments describe.
fn request(args: &ExplainArgs) -> Result<Request, String> {
    let (authority, target) = match args.url.split_once("://") {
        Some((_, rest)) => match rest.find('/') {
            Some(slash) => (&rest[..slash], &rest[slash..]),
            None => (rest, "/"),
        },
        None => ("localhost", args.url.as_str()),
    };
    let mut text = format!("{} {target} HTTP/1.1\r\n", args.method);
    if !args.headers.iter().any(|h| h.to_ascii_lowercase().starts_with("host:")) {
        // Writing to a String cannot fail.
        let _ = write!(text, "Host: {authority}\r\n");
    }
    for header in &args.headers {
        let (name, value) =
            header.split_once(':').ok_or_else(|| format!("`{header}` is not a field: write `name: value`"))?;
        let _ = write!(text, "{}: {}\r\n", name.trim(), value.trim());
    }
    text.push_str("\r\n");
    let mut request = Request::default();
    match request.parse(text.as_bytes(), &HeadLimits::default()) {
        Ok(Parsed::Complete(_)) => Ok(request),
        Ok(Parsed::Partial) => Err("the request is incomplete".to_owned()),
        Err(error) => Err(format!("the gateway would refuse the request: {error:?}")),
    }
}

fn explain(ready: &Ready, mut request: Request) -> String {
    let routes = &ready.resolved.routes;
    let mut out = String::new();
    let found = Router::compile(routes).find(&mut request);
    let winner = match &found {
        Ok(Found::Route(index)) => {
            let _ = writeln!(out, "route `{}` ({})", routes[*index].name, routes[*index].place);
            Some(*index)
        }
        Ok(Found::None) => {
            out.push_str("404 no_route: no route matches\n");
            None
        }
        Ok(Found::OtherMethods(methods)) => {
            let _ = writeln!(out, "405 method_not_allowed: routes match for {}", methods.join(", "));
            None
        }
        Err(error) => {
            let _ = writeln!(out, "400 bad_path: {error:?}");
            None
        }
    };
    let path = String::from_utf8_lossy(request.match_path()).into_owned();
    let _ = writeln!(out, "  path matched: {path}");
    if let Some(index) = winner {
        describe(ready, index, &mut out);
    }
    let others: Vec<_> = routes.iter().enumerate().filter(|(i, _)| Some(*i) != winner).collect();
    if !others.is_empty() {
        out.push_str("other routes\n");
    }
    for (_, route) in others.iter().take(50) {
        let _ = writeln!(out, "  `{}`: {}", route.name, why_not(route, winner.map(|i| &routes[i]), &request));
    }
    if others.len() > 50 {
        let _ = writeln!(out, "  … and {} more", others.len() - 50);
    }
    out
}

/// What happens to a request on its route.
fn describe(ready: &Ready, index: usize, out: &mut String) {
    let route = &ready.resolved.routes[index];
    let action = match &route.action {
        Action::Proxy(arms) => {
            let arms: Vec<String> = arms
                .iter()
                .map(|arm| {
                    let upstream = &ready.resolved.upstreams[arm.upstream];
                    let endpoints: Vec<String> =
                        upstream.endpoints.iter().map(|e| format!("{} weight {}", e.authority(), e.weight)).collect();
                    format!("upstream `{}` weight {} [{}]", upstream.name, arm.weight, endpoints.join(", "))
                })
                .collect();
            arms.join(" | ")
        }
        Action::Respond(respond) => format!("respond {}", respond.status),
        Action::Redirect(redirect) => format!("redirect {}", redirect.status),
    };
    let _ = writeln!(out, "  to: {action}");
    if let Some(fallback) = &route.fallback {
        let _ = writeln!(out, "  fallback: respond {}", fallback.status);
    }
    let _ = writeln!(out, "  timeouts: {}", timeouts(&route.timeouts));
    let _ = writeln!(out, "  path_policy: {:?}", route.path_policy);
    out.push_str(if route.policies.is_empty() { "  policies: none\n" } else { "  policies, in this order\n" });
    for policy in &route.policies {
        let kind = oxgate_policy::KINDS.iter().find(|k| *k.name == *policy.kind);
        let effective = kind.and_then(|k| (k.effective)(&policy.options)).unwrap_or_default();
        let _ = writeln!(out, "    {} {effective} ({})", policy.kind, policy.place);
    }
}

/// The first thing that speaks against a route.
fn why_not(route: &Route, winner: Option<&Route>, request: &Request) -> String {
    let matching = &route.matching;
    let host = request.host().to_ascii_lowercase();
    if !matching.hosts.is_empty() && !matching.hosts.iter().any(|h| h.matches(&host)) {
        return format!(
            "the host is not {}",
            matching.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
        );
    }
    if !matching.path.matches(request.match_path()) {
        return format!("the path does not match {}", matching.path);
    }
    if !matching.methods.is_empty() && !matching.methods.iter().any(|m| m.as_bytes() == request.method_text()) {
        return format!("the method is not {}", matching.methods.join(" or "));
    }
    match winner {
        Some(winner) => format!("`{}` is more specific, or a header or query condition does not hold", winner.name),
        None => "a header or query condition does not hold".to_owned(),
    }
}

/// Timeouts as they are written.
pub(crate) fn timeouts(timeouts: &Timeouts) -> serde_json::Value {
    let text = |d: Option<Duration>| oxgate_config::decode::Decode::encode(&oxgate_config::decode::Patience(d));
    json!({
        "response": text(timeouts.response),
        "idle": text(timeouts.idle),
        "tunnel_idle": text(timeouts.tunnel_idle),
        "total": text(timeouts.total),
    })
}
