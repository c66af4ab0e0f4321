//! The list of policies: to add one, write its file and name it here.

use crate::policy::Policy;
use crate::{body_limit, cors, headers, ip_filter, rewrite};
use oxgate_config::decode::Decode;
use oxgate_config::diagnostic::{Diagnostic, Diagnostics, nearest};
use oxgate_config::node::Node;
use oxgate_config::resolved::PolicyUse;
use std::sync::Arc;

/// A kind of policy.
#[derive(Debug)]
pub struct Kind {
    /// The key it is written under.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub doc: &'static str,
    /// The JSON Schema of its options.
    pub schema: fn() -> serde_json::Value,
    /// Its effective options as they would be written.
    pub effective: fn(&Node) -> Option<serde_json::Value>,
    compile: fn(&Node, &mut Diagnostics) -> Option<Arc<dyn Policy>>,
}

/// Every kind there is.
pub static KINDS: &[Kind] = &[
    kind::<body_limit::Options>("body_limit", "Refuses request bodies over a size with 413."),
    kind::<cors::Options>("cors", "Answers CORS preflights and marks responses for the origins allowed."),
    kind::<headers::Options>("headers", "Sets, appends and removes fields of requests and responses."),
    kind::<ip_filter::Options>("ip_filter", "Allows or denies clients by their address."),
    kind::<rewrite::Options>("rewrite", "Changes the path and the query that the upstream gets."),
];

/// Options that become a policy.
pub(crate) trait Compile: Decode {
    /// Makes the policy; notes what the options' own checks could not see.
    fn compile(self, node: &Node, diagnostics: &mut Diagnostics) -> Option<Arc<dyn Policy>>;
}

const fn kind<O: Compile>(name: &'static str, doc: &'static str) -> Kind {
    Kind {
        name,
        doc,
        schema: O::schema,
        effective: |node| O::decode(node, &mut Diagnostics::default()).map(|options| options.encode()),
        compile: |node, diagnostics| {
            let before = diagnostics.len();
            let options = O::decode(node, diagnostics)?;
            // What faulty options amount to is nobody's intention.
            if diagnostics.len() > before { None } else { options.compile(node, diagnostics) }
        },
    }
}

/// Compiles a policy; notes an unknown kind and every mistake in its options.
pub fn compile(policy: &PolicyUse, diagnostics: &mut Diagnostics) -> Option<Arc<dyn Policy>> {
    if let Some(kind) = KINDS.iter().find(|k| *k.name == *policy.kind) {
        return (kind.compile)(&policy.options, diagnostics);
    }
    let names: Vec<&str> = KINDS.iter().map(|k| k.name).collect();
    let diagnostic = Diagnostic::at(&policy.place, format!("there is no kind of policy `{}`", policy.kind));
    diagnostics.push(match nearest(&policy.kind, names.iter().copied()) {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
        None => diagnostic.help(format!("there are {}", names.join(", "))),
    });
    None
}
