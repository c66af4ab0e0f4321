//! From a source of configuration to something that can be put in force: the one path that start,
//! reload, `check` and `explain` all take.

use crate::environment::System;
use oxgate_config::diagnostic::{Diagnostic, Diagnostics};
use oxgate_config::document::Document;
use oxgate_config::load;
use oxgate_config::resolved::{PolicyUse, Resolved};
use oxgate_control::watch::Print;
use oxgate_policy::Policy;
use oxgate_proxy::CompiledPolicy;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file, with what it includes.
    File(PathBuf),
    /// A text that somebody vouches for under a name.
    Text {
        /// Shown in diagnostics.
        name: String,
        /// YAML.
        text: String,
    },
}

/// A configuration without mistakes.
#[derive(Debug)]
pub struct Ready {
    /// As written.
    pub document: Document,
    /// As meant.
    pub resolved: Resolved,
    /// The policies of each route, compiled.
    pub chains: Vec<Vec<CompiledPolicy>>,
}

/// What came of reading a source.
#[derive(Debug)]
pub struct Reading {
    /// The configuration, or every mistake in it.
    pub result: Result<Ready, Vec<Diagnostic>>,
    /// The files and folders that were looked at, mistakes or not, as they were just before.
    pub files: Vec<(PathBuf, Print)>,
}

impl Source {
    /// Reads, resolves and compiles; publishes nothing.
    pub fn read(&self) -> Reading {
        let mut diagnostics = Diagnostics::default();
        let system = System::default();
        let root = match self {
            Source::File(path) => load::load(path, &system, &mut diagnostics),
            Source::Text { name, text } => load::from_text(name, text.clone(), None, &system, &mut diagnostics),
        };
        let document = root.and_then(|root| oxgate_config::document(&root, &mut diagnostics));
        let ready = document.map(|document| {
            let resolved = oxgate_config::resolve(&document, &mut diagnostics);
            let chains = compile_chains(&resolved, &mut diagnostics);
            Ready { document, resolved, chains }
        });
        let result = match ready {
            Some(ready) if diagnostics.is_empty() => Ok(ready),
            _ => Err(diagnostics.into_sorted()),
        };
        Reading { result, files: system.into_seen() }
    }
}

/// Compiles every policy once, however many routes use it.
fn compile_chains(resolved: &Resolved, diagnostics: &mut Diagnostics) -> Vec<Vec<CompiledPolicy>> {
    let mut compiled: HashMap<(usize, usize, usize), Option<Arc<dyn Policy>>> = HashMap::new();
    let mut compile = |policy: &PolicyUse, diagnostics: &mut Diagnostics| {
        let place = &policy.place;
        let key = (Arc::as_ptr(&place.source) as usize, place.span.start, place.span.end);
        let policy = compiled.entry(key).or_insert_with(|| oxgate_policy::compile(policy, diagnostics));
        policy.clone()
    };
    for policy in &resolved.named_policies {
        compile(policy, diagnostics);
    }
    let mut chains = Vec::with_capacity(resolved.routes.len());
    for route in &resolved.routes {
        let mut chain = Vec::new();
        for used in &route.policies {
            let Some(policy) = compile(used, diagnostics) else { continue };
            if let Err(message) = policy.check(&route.matching.path) {
                diagnostics.push(Diagnostic::at(&used.place, message).related(&route.place, "used by this route"));
            }
            chain.push(CompiledPolicy { kind: Arc::clone(&used.kind), policy });
        }
        chains.push(chain);
    }
    chains
}
