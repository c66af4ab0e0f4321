//! `headers`: sets, appends and removes fields of requests and responses.

use crate::policy::{Phases, Policy, RequestView, ResponseView, Verdict};
use crate::registry::Compile;
use oxgate_config::decode::Named;
use oxgate_config::diagnostic::{Diagnostic, Diagnostics};
use oxgate_config::document;
use oxgate_config::document::HeaderValue;
use oxgate_config::node::{Node, Place};
use oxgate_http::{Head, Name, token};
use std::sync::Arc;

document! {
    /// Edits of fields.
    pub(crate) struct Options {
        /// Edits of the request, before the upstream gets it.
        request: EditsDoc,
        /// Edits of the response, before the client gets it.
        response: EditsDoc,
    }
}

document! {
    /// Edits of one message: first `remove`, then `set`, then `append`.
    pub(crate) struct EditsDoc {
        /// Fields that are left out.
        remove: Vec<String> = Vec::new(),
        /// Fields that replace those of the same name.
        set: Named<HeaderValue> = Named::default(),
        /// Fields that come on top of those of the same name.
        append: Named<HeaderValue> = Named::default(),
    }
}

#[derive(Debug)]
struct Headers {
    request: Edits,
    response: Edits,
}

#[derive(Debug)]
struct Edits {
    remove: Vec<String>,
    set: Vec<(String, String)>,
    append: Vec<(String, String)>,
}

impl Compile for Options {
    fn compile(self, node: &Node, diagnostics: &mut Diagnostics) -> Option<Arc<dyn Policy>> {
        let request = Edits::compile(self.request, node, diagnostics);
        let response = Edits::compile(self.response, node, diagnostics);
        if request.is_empty() && response.is_empty() {
            diagnostics.push(Diagnostic::at(&node.place, "`headers` edits nothing"));
        }
        Some(Arc::new(Headers { request, response }))
    }
}

impl Edits {
    fn compile(doc: EditsDoc, node: &Node, diagnostics: &mut Diagnostics) -> Edits {
        for name in &doc.remove {
            check(name, &node.place, diagnostics);
        }
        let mut list = |named: Named<HeaderValue>| {
            let fields = named.entries.into_iter().map(|(key, value)| {
                check(&key.text, &key.place, diagnostics);
                (key.text, value.0)
            });
            fields.collect::<Vec<_>>()
        };
        Edits { set: list(doc.set), append: list(doc.append), remove: doc.remove }
    }

    fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.append.is_empty()
    }

    fn apply(&self, head: &mut Head) {
        for name in &self.remove {
            head.remove_named(name.as_bytes());
        }
        for (name, value) in &self.set {
            head.set(name.as_bytes(), value.as_bytes());
        }
        for (name, value) in &self.append {
            head.append(name.as_bytes(), value.as_bytes());
        }
    }
}

/// Fields that say how the message itself is sent are not for editing.
fn check(name: &str, place: &Place, diagnostics: &mut Diagnostics) {
    let id = Name::of(name.as_bytes());
    if !token::is_token(name.as_bytes()) || name.len() > token::MAX_NAME {
        diagnostics.push(Diagnostic::at(place, format!("`{name}` is not a field name")));
    } else if id.is_hop_by_hop() || id == Name::ContentLength {
        diagnostics.push(Diagnostic::at(place, format!("`{name}` is set by the gateway itself")));
    } else if id == Name::Host {
        diagnostics.push(Diagnostic::at(place, "`Host` is set by `rewrite`: `host: …`"));
    }
}

impl Policy for Headers {
    fn phases(&self) -> Phases {
        Phases { request: !self.request.is_empty(), response: !self.response.is_empty() }
    }

    fn on_request(&self, x: &mut RequestView<'_>) -> Verdict {
        self.request.apply(&mut x.request.head);
        Verdict::Next
    }

    fn on_response(&self, x: &mut ResponseView<'_>) {
        self.response.apply(&mut x.response.head);
    }
}
