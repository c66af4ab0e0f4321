//! Which crate must not see which: the walls of ARCHITECTURE.md, checked on the resolved graph.

use crate::{Result, root};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::process::Command;

/// A crate, and what must not be among its dependencies, however far down.
const WALLS: &[(&str, &[&str])] = &[
    ("oxgate-http", &["tokio", "mio", "socket2", "hyper"]),
    ("oxgate-config", &["tokio", "mio", "socket2", "hyper"]),
    ("oxgate-policy", &["tokio", "mio", "socket2", "hyper"]),
    ("oxgate-telemetry", &["tokio", "hyper", "oxgate-http"]),
    ("oxgate-proxy", &["oxgate-control", "hyper", "hickory-resolver"]),
    ("oxgate-control", &["oxgate-proxy", "oxgate-policy"]),
];

/// Fails if a wall has a hole.
pub(crate) fn check() -> Result<()> {
    let output =
        Command::new("cargo").args(["metadata", "--format-version", "1", "--locked"]).current_dir(root()).output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names: HashMap<String, String> =
        list(&metadata["packages"]).iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
    let mut edges: HashMap<String, HashSet<String>> = HashMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        for dependency in list(&node["deps"]) {
            // Test-only dependencies do not count.
            let normal = list(&dependency["dep_kinds"]).iter().any(|k| k["kind"].is_null());
            if let (true, Some(from), Some(to)) =
                (normal, names.get(&text(&node["id"])), names.get(&text(&dependency["pkg"])))
            {
                edges.entry(from.clone()).or_default().insert(to.clone());
            }
        }
    }
    let mut holes = Vec::new();
    for (inside, outside) in WALLS {
        let mut seen: HashSet<&str> = HashSet::new();
        let mut open = vec![*inside];
        while let Some(name) = open.pop() {
            if seen.insert(name) {
                open.extend(edges.get(name).into_iter().flatten().map(String::as_str));
            }
        }
        holes.extend(outside.iter().filter(|o| seen.contains(**o)).map(|o| format!("{inside} sees {o}")));
    }
    if !holes.is_empty() {
        return Err(holes.join(", ").into());
    }
    println!("the walls hold");
    Ok(())
}
