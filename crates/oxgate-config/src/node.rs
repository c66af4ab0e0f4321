//! What was written, with where it was written: the one tree that YAML, TOML and JSON become.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A file of configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name as shown to people.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A piece of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The source.
    pub source: Arc<Source>,
    /// Bytes of its text.
    pub span: Range<usize>,
}

impl Place {
    /// Line and column of the first byte, both from 1; columns count characters.
    pub fn line_column(&self) -> (usize, usize) {
        let before = self.source.text.get(..self.span.start).unwrap_or(&self.source.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_column();
        write!(f, "{}:{line}:{column}", self.source.name)
    }
}

/// A value as written.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it stands.
    pub place: Place,
}

/// What a value is.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing, `null`, `~`.
    Null,
    /// A text, number or truth value; `plain` when it was not quoted, so that it may be either.
    Scalar {
        /// The text, variables put in.
        text: String,
        /// Whether it was written without quotes.
        plain: bool,
        /// Whether any of it came from a variable or a file and so must not be shown.
        secret: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A map in the order written; keys may repeat until that is checked.
    Map(Vec<(Key, Node)>),
}

/// A map's key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its text.
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

impl Node {
    /// What kind of thing it is, for diagnostics.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar { .. } => "a text or number",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}
