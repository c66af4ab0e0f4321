//! `cors`: cross-origin requests from browsers (the Fetch standard, CORS protocol).

use crate::policy::{Answer, Phases, Policy, RequestView, ResponseView, Slot, Verdict};
use crate::registry::Compile;
use oxgate_config::diagnostic::{Diagnostic, Diagnostics};
use oxgate_config::document;
use oxgate_config::node::Node;
use oxgate_http::{Method, Name};
use oxgate_telemetry::Reason;
use std::sync::Arc;
use std::time::Duration;

document! {
    /// Which origins may do what.
    pub(crate) struct Options {
        /// Origins as browsers write them, `https://app.example.com`; `https://*.example.com` for all under it; `*` for all.
        origins: Vec<String>,
        /// Methods that preflights may ask for.
        methods: Vec<String> = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"].map(str::to_owned).to_vec(),
        /// Request fields that preflights may ask for; `*` for all.
        headers: Vec<String> = vec!["*".to_owned()],
        /// Response fields that scripts may read.
        expose: Vec<String> = Vec::new(),
        /// Whether cookies and credentials may come along.
        credentials: bool = false,
        /// How long a browser may remember a preflight.
        max_age: Duration = Duration::from_secs(600),
    }
}

#[derive(Debug)]
struct Cors {
    origins: Vec<String>,
    any_origin: bool,
    methods: String,
    /// `None` for all.
    headers: Option<String>,
    expose: String,
    credentials: bool,
    max_age: String,
}

impl Compile for Options {
    fn compile(self, node: &Node, diagnostics: &mut Diagnostics) -> Option<Arc<dyn Policy>> {
        let any_origin = self.origins.iter().any(|o| o == "*");
        if any_origin && self.credentials {
            let message = "`credentials` with the origin `*` would let every site act for your users; name the origins";
            diagnostics.push(Diagnostic::at(&node.place, message));
        }
        if self.origins.is_empty() {
            diagnostics.push(Diagnostic::at(&node.place, "`origins` names no origin"));
        }
        for origin in self.origins.iter().filter(|o| *o != "*" && (!o.contains("://") || o.ends_with('/'))) {
            let message =
                format!("`{origin}` is not an origin: write scheme and host, as in `https://app.example.com`");
            diagnostics.push(Diagnostic::at(&node.place, message));
        }
        Some(Arc::new(Cors {
            any_origin,
            origins: self.origins.iter().map(|o| o.to_ascii_lowercase()).collect(),
            methods: self.methods.join(", "),
            headers: (!self.headers.iter().any(|h| h == "*")).then(|| self.headers.join(", ")),
            expose: self.expose.join(", "),
            credentials: self.credentials,
            max_age: self.max_age.as_secs().to_string(),
        }))
    }
}

impl Cors {
    fn allows(&self, origin: &[u8]) -> bool {
        let origin = origin.to_ascii_lowercase();
        self.any_origin
            || self.origins.iter().any(|allowed| match allowed.split_once("*.") {
                Some((scheme, domain)) => {
                    let rest = origin.strip_prefix(scheme.as_bytes()).and_then(|o| o.strip_suffix(domain.as_bytes()));
                    rest.is_some_and(|sub| sub.len() > 1 && sub.ends_with(b"."))
                }
                None => origin == allowed.as_bytes(),
            })
    }

    /// The value of Access-Control-Allow-Origin.
    fn origin_value(&self, origin: &[u8]) -> Vec<u8> {
        if self.any_origin { b"*".to_vec() } else { origin.to_vec() }
    }

    fn preflight(&self, origin: &[u8], asked_headers: Option<&[u8]>) -> Box<Answer> {
        let mut answer = Answer::empty(204, Reason::CorsPreflight)
            .with("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
        if !self.allows(origin) {
            return answer;
        }
        answer = answer
            .with("Access-Control-Allow-Origin", self.origin_value(origin))
            .with("Access-Control-Allow-Methods", self.methods.as_str())
            .with("Access-Control-Max-Age", self.max_age.as_str());
        let headers = match (&self.headers, asked_headers) {
            (Some(headers), _) => Some(headers.as_bytes()),
            (None, asked) => asked,
        };
        if let Some(headers) = headers.filter(|h| !h.is_empty()) {
            answer = answer.with("Access-Control-Allow-Headers", headers);
        }
        if self.credentials {
            answer = answer.with("Access-Control-Allow-Credentials", "true");
        }
        answer
    }
}

/// The slot of an exchange that was answered as a preflight, whose response is complete already.
const PREFLIGHT: Slot = Slot::Number(1);

impl Policy for Cors {
    fn phases(&self) -> Phases {
        Phases { request: true, response: true }
    }

    fn on_request(&self, x: &mut RequestView<'_>) -> Verdict {
        let head = &x.request.head;
        let asks = x.request.method() == Method::Options && head.get(Name::AccessControlRequestMethod).is_some();
        match head.get(Name::Origin) {
            Some(origin) if asks => {
                *x.slot = PREFLIGHT;
                Verdict::Answer(self.preflight(origin, head.get(Name::AccessControlRequestHeaders)))
            }
            _ => Verdict::Next,
        }
    }

    fn on_response(&self, x: &mut ResponseView<'_>) {
        if *x.slot == PREFLIGHT {
            return;
        }
        // The gateway decides alone: two answers to one question confuse browsers.
        for name in [
            Name::AccessControlAllowOrigin,
            Name::AccessControlAllowCredentials,
            Name::AccessControlExposeHeaders,
            Name::AccessControlAllowMethods,
            Name::AccessControlAllowHeaders,
            Name::AccessControlMaxAge,
        ] {
            x.response.head.remove(name);
        }
        let head = &mut x.response.head;
        if !self.any_origin {
            head.append(b"Vary", b"Origin");
        }
        let Some(origin) = x.request.head.get(Name::Origin).filter(|origin| self.allows(origin)) else { return };
        head.append(b"Access-Control-Allow-Origin", &self.origin_value(origin));
        if self.credentials {
            head.append(b"Access-Control-Allow-Credentials", b"true");
        }
        if !self.expose.is_empty() {
            head.append(b"Access-Control-Expose-Headers", self.expose.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_matched_whole() {
        let origins = ["https://*.a.test", "https://b.test"].map(str::to_owned).to_vec();
        let cors = Cors {
            any_origin: false,
            origins,
            methods: String::new(),
            headers: None,
            expose: String::new(),
            credentials: false,
            max_age: String::new(),
        };
        for (origin, allowed) in [
            ("https://x.a.test", true),
            ("https://x.y.A.test", true),
            ("https://b.test", true),
            ("https://a.test", false),
            ("https://.a.test", false),
            ("https://evila.test", false),
            ("https://b.test.evil", false),
            ("http://b.test", false),
        ] {
            assert_eq!(cors.allows(origin.as_bytes()), allowed, "{origin}");
        }
    }
}
