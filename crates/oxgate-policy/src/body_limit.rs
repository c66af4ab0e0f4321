//! `body_limit`: refuses request bodies over a size.

use crate::policy::{Answer, Phases, Policy, RequestView, Verdict};
use crate::registry::Compile;
use oxgate_config::decode::Bytes;
use oxgate_config::diagnostic::Diagnostics;
use oxgate_config::document;
use oxgate_config::node::Node;
use oxgate_http::Framing;
use oxgate_telemetry::Reason;
use std::sync::Arc;

document! {
    /// How large a body may be.
    pub(crate) struct Options {
        /// The most bytes; past it 413. A body without a length is cut off when it gets there.
        max: Bytes,
    }
}

#[derive(Debug)]
struct BodyLimit {
    max: u64,
}

impl Compile for Options {
    fn compile(self, _: &Node, _: &mut Diagnostics) -> Option<Arc<dyn Policy>> {
        Some(Arc::new(BodyLimit { max: self.max.0 }))
    }
}

impl Policy for BodyLimit {
    fn phases(&self) -> Phases {
        Phases { request: true, response: false }
    }

    fn on_request(&self, x: &mut RequestView<'_>) -> Verdict {
        if matches!(x.request.framing(), Framing::Length(n) if n > self.max) {
            let detail = "the body is larger than the route allows";
            return Verdict::Answer(Answer::problem(413, Reason::BodyTooLarge, detail));
        }
        *x.body_limit = self.max.min(*x.body_limit);
        Verdict::Next
    }
}
