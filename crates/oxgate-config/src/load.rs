//! From files to one tree: reading, variables, includes.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::format;
use crate::node::{Node, Source, Value};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest file that is read.
pub const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Where files and variables come from.
pub trait Environment {
    /// A file's text.
    ///
    /// # Errors
    /// The file cannot be read, is larger than [`MAX_FILE`] or no UTF-8.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// The names in a folder, in any order.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// An environment variable.
    fn variable(&self, name: &str) -> Option<String>;
}

/// Loads a file with everything it includes; every mistake is noted.
pub fn load(path: &Path, environment: &dyn Environment, diagnostics: &mut Diagnostics) -> Option<Node> {
    let mut root = load_one(path, environment, diagnostics)?;
    let base = path.parent().unwrap_or(Path::new(""));
    for (pattern, place) in take_includes(&mut root, diagnostics) {
        match matching(&base.join(&pattern), environment) {
            Ok(found) => {
                for file in found {
                    if let Some(node) = load_one(&file, environment, diagnostics) {
                        merge(&mut root, node, diagnostics);
                    }
                }
            }
            Err(error) => diagnostics.push(Diagnostic::at(&place, format!("cannot include `{pattern}`: {error}"))),
        }
    }
    Some(root)
}

fn load_one(path: &Path, environment: &dyn Environment, diagnostics: &mut Diagnostics) -> Option<Node> {
    match environment.read(path) {
        Ok(text) => from_text(&path.display().to_string(), text, path.parent(), environment, diagnostics),
        Err(error) => {
            diagnostics.push(Diagnostic::nowhere(format!("cannot read {}: {error}", path.display())));
            None
        }
    }
}

/// Reads a text as a file of this name; variables are put in.
pub fn from_text(
    name: &str,
    text: String,
    base: Option<&Path>,
    environment: &dyn Environment,
    diagnostics: &mut Diagnostics,
) -> Option<Node> {
    let source = Arc::new(Source { name: name.to_owned(), text });
    let mut root = format::parse(&source, diagnostics)?;
    expand(&mut root, base.unwrap_or(Path::new("")), environment, diagnostics);
    Some(root)
}

/// Takes the `include` entry out of a root.
fn take_includes(root: &mut Node, diagnostics: &mut Diagnostics) -> Vec<(String, crate::node::Place)> {
    let Value::Map(entries) = &mut root.value else { return Vec::new() };
    let mut found = Vec::new();
    entries.retain(|(key, node)| {
        if key.text != "include" {
            return true;
        }
        match &node.value {
            Value::List(items) => {
                for item in items {
                    match &item.value {
                        Value::Scalar { text, .. } => found.push((text.clone(), item.place.clone())),
                        _ => diagnostics.push(Diagnostic::at(&item.place, "`include` must list file names")),
                    }
                }
            }
            _ => diagnostics.push(Diagnostic::at(&node.place, "`include` must be a list of file names")),
        }
        false
    });
    found
}

/// The files that a pattern with `*` in its last part means, by name.
fn matching(pattern: &Path, environment: &dyn Environment) -> io::Result<Vec<PathBuf>> {
    let name = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = pattern.parent().unwrap_or(Path::new(""));
    if folder.to_string_lossy().contains('*') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "`*` may stand only in the file's name"));
    }
    if !name.contains('*') {
        return Ok(vec![pattern.to_owned()]);
    }
    let mut names: Vec<String> = environment.list(folder)?.into_iter().filter(|n| glob(&name, n)).collect();
    // Hidden files are editors' and orchestrators' own.
    names.retain(|n| !n.starts_with('.') || name.starts_with('.'));
    names.sort();
    Ok(names.into_iter().map(|n| folder.join(n)).collect())
}

fn glob(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    for (i, part) in parts.iter().enumerate() {
        if i + 1 == parts.len() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

/// Adds an included file's entries. Entries of maps by name are joined; everything that is there
/// twice stays so, for the check of duplicate keys to find with both its places.
fn merge(root: &mut Node, other: Node, diagnostics: &mut Diagnostics) {
    let place = other.place.clone();
    let (Value::Map(entries), Value::Map(more)) = (&mut root.value, other.value) else {
        diagnostics.push(Diagnostic::at(&place, "a configuration file must be a map"));
        return;
    };
    for (key, node) in more {
        let named = matches!(key.text.as_str(), "listeners" | "upstreams" | "policies" | "routes");
        let known = entries.iter_mut().find(|(k, _)| k.text == key.text);
        match (known, node.value) {
            // Every file may say the version, as long as they agree; that is checked as one.
            (Some(_), Value::Scalar { .. }) if key.text == "version" => {}
            (Some((_, Node { value: Value::Map(have), .. })), Value::Map(new)) if named => have.extend(new),
            (_, value) => entries.push((key, Node { value, place: node.place })),
        }
    }
}

/// Puts variables into every scalar.
fn expand(node: &mut Node, base: &Path, environment: &dyn Environment, diagnostics: &mut Diagnostics) {
    match &mut node.value {
        Value::Null => {}
        Value::List(items) => items.iter_mut().for_each(|n| expand(n, base, environment, diagnostics)),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, n)| expand(n, base, environment, diagnostics)),
        Value::Scalar { text, secret, .. } if text.contains('$') => match put_in(text, base, environment) {
            Ok(new) => {
                *secret = new != *text;
                *text = new;
            }
            Err(message) => diagnostics.push(Diagnostic::at(&node.place, message)),
        },
        Value::Scalar { .. } => {}
    }
}

/// `${VAR}`, `${VAR:-default}`, `${VAR:?message}`, `${file:/path}` and `$${literal}`.
fn put_in(text: &str, base: &Path, environment: &dyn Environment) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at]);
            out.push('{');
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let inside = &rest[at + 2..];
        let close = inside.find('}').ok_or("`${` is never closed; a literal one is written `$${`")?;
        out.push_str(&value_of(&inside[..close], base, environment)?);
        rest = &inside[close + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn value_of(reference: &str, base: &Path, environment: &dyn Environment) -> Result<String, String> {
    if let Some(path) = reference.strip_prefix("file:") {
        let text = environment.read(&base.join(path)).map_err(|error| format!("cannot read `{path}`: {error}"))?;
        return Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned());
    }
    let (name, fallback) = match reference.split_once(":-") {
        Some((name, fallback)) => (name, Some(fallback)),
        None => (reference, None),
    };
    let (name, message) = match name.split_once(":?") {
        Some((name, message)) => (name, Some(message)),
        None => (name, None),
    };
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(format!("`${{{reference}}}` names no variable; a literal one is written `$${{{reference}}}`"));
    }
    match (environment.variable(name).filter(|v| !v.is_empty()), fallback, message) {
        (Some(value), _, _) => Ok(value),
        (None, Some(fallback), _) => Ok(fallback.to_owned()),
        (None, None, Some(message)) => Err(format!("the variable `{name}` is not set: {message}")),
        (None, None, None) => Err(format!("the variable `{name}` is not set; `${{{name}:-default}}` gives a default")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake;

    impl Environment for Fake {
        fn read(&self, path: &Path) -> io::Result<String> {
            match path.to_str() {
                Some("/s") => Ok("secret\n".to_owned()),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }

        fn list(&self, _: &Path) -> io::Result<Vec<String>> {
            Ok(vec![])
        }

        fn variable(&self, name: &str) -> Option<String> {
            (name == "A").then(|| "1".to_owned())
        }
    }

    #[test]
    fn variables_are_put_in() {
        let put = |text: &str| put_in(text, Path::new(""), &Fake);
        assert_eq!(put("x${A}y${B:-2}"), Ok("x1y2".to_owned()));
        assert_eq!(put("$${A} $5"), Ok("${A} $5".to_owned()));
        assert_eq!(put("${file:/s}"), Ok("secret".to_owned()));
        assert!(put("${B}").is_err_and(|e| e.contains("`B` is not set")));
        assert!(put("${B:?ask ops}").is_err_and(|e| e.ends_with("ask ops")));
        assert!(put("${A").is_err() && put("${}").is_err());
    }

    #[test]
    fn globs_match_names() {
        assert!(glob("*.yaml", "a.yaml") && glob("r-*-x.*", "r-1-x.yaml"));
        assert!(!glob("*.yaml", "a.yml") && !glob("a*", "b"));
    }
}
