//! `ip_filter`: allows or denies clients by address.

use crate::policy::{Answer, Phases, Policy, RequestView, Verdict};
use crate::registry::Compile;
use ipnet::IpNet;
use oxgate_config::diagnostic::{Diagnostic, Diagnostics};
use oxgate_config::document;
use oxgate_config::node::Node;
use oxgate_telemetry::Reason;
use std::sync::Arc;

document! {
    /// Who may come in. The client is who the trusted proxies say it is.
    pub(crate) struct Options {
        /// Ranges that may; everybody when there are none.
        allow: Vec<IpNet> = Vec::new(),
        /// Ranges that may not, whatever `allow` says.
        deny: Vec<IpNet> = Vec::new(),
    }
}

#[derive(Debug)]
struct IpFilter {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
}

impl Compile for Options {
    fn compile(self, node: &Node, diagnostics: &mut Diagnostics) -> Option<Arc<dyn Policy>> {
        if self.allow.is_empty() && self.deny.is_empty() {
            diagnostics
                .push(Diagnostic::at(&node.place, "`ip_filter` has neither `allow` nor `deny` and so does nothing"));
        }
        Some(Arc::new(IpFilter { allow: self.allow, deny: self.deny }))
    }
}

impl Policy for IpFilter {
    fn phases(&self) -> Phases {
        Phases { request: true, response: false }
    }

    fn on_request(&self, x: &mut RequestView<'_>) -> Verdict {
        let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&x.client));
        if within(&self.deny) || !(self.allow.is_empty() || within(&self.allow)) {
            return Verdict::Answer(Answer::problem(403, Reason::IpDenied, "the client's address is not allowed"));
        }
        Verdict::Next
    }
}
