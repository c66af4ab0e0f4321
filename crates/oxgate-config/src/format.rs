//! YAML, TOML and JSON into one tree of nodes that know where they stand.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::node::{Key, Node, Place, Source, Value};
use saphyr_parser::{Event, Parser, ScalarStyle};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// The deepest nesting of a document.
const MAX_DEPTH: usize = 64;
/// The most nodes of a document, aliases counted as often as they stand for something.
const MAX_NODES: usize = 1_000_000;

/// Reads a source by the ending of its name: `.toml` is TOML; `.json`, `.yaml`, `.yml` and all else
/// are YAML, of which JSON is a part. Whatever is wrong is noted.
pub(crate) fn parse(source: &Arc<Source>, diagnostics: &mut Diagnostics) -> Option<Node> {
    let parsed = if source.name.ends_with(".toml") { parse_toml(source) } else { parse_yaml(source) };
    parsed.map_err(|diagnostic| diagnostics.push(diagnostic)).ok()
}

fn parse_yaml(source: &Arc<Source>) -> Result<Node, Diagnostic> {
    let mut yaml = Yaml {
        source,
        offsets: (!source.text.is_ascii()).then(|| source.text.char_indices().map(|(at, _)| at).collect()),
        anchors: HashMap::new(),
        nodes: 0,
    };
    let mut parser = Parser::new_from_str(&source.text);
    let mut root = None;
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let at = yaml.offset(error.marker().index());
            Diagnostic::at(&yaml.place(at..at), format!("the file is not valid: {}", error.info()))
        })?;
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            event if root.is_none() => root = Some(yaml.node(event, yaml.range(span), &mut parser, 0)?),
            _ => {
                let place = yaml.place(yaml.range(span));
                return Err(Diagnostic::at(&place, "the file holds more than one document"));
            }
        }
    }
    Ok(root.unwrap_or_else(|| Node { value: Value::Null, place: yaml.place(0..0) }))
}

struct Yaml<'s> {
    source: &'s Arc<Source>,
    /// Byte offsets of characters; `None` where they are the same.
    offsets: Option<Vec<usize>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl Yaml<'_> {
    fn offset(&self, character: usize) -> usize {
        match &self.offsets {
            Some(offsets) => offsets.get(character).copied().unwrap_or(self.source.text.len()),
            None => character.min(self.source.text.len()),
        }
    }

    fn range(&self, span: saphyr_parser::Span) -> Range<usize> {
        self.offset(span.start.index())..self.offset(span.end.index())
    }

    fn place(&self, span: Range<usize>) -> Place {
        Place { source: Arc::clone(self.source), span }
    }

    fn next<'i>(
        &self,
        parser: &mut Parser<'i, saphyr_parser::StrInput<'i>>,
    ) -> Result<(Event<'i>, Range<usize>), Diagnostic> {
        match parser.next_event() {
            Some(Ok((event, span))) => Ok((event, self.range(span))),
            Some(Err(error)) => {
                let at = self.offset(error.marker().index());
                Err(Diagnostic::at(&self.place(at..at), format!("the file is not valid: {}", error.info())))
            }
            None => {
                Err(Diagnostic::at(&self.place(self.source.text.len()..self.source.text.len()), "the file ends early"))
            }
        }
    }

    fn node<'i>(
        &mut self,
        event: Event<'i>,
        mut span: Range<usize>,
        parser: &mut Parser<'i, saphyr_parser::StrInput<'i>>,
        depth: usize,
    ) -> Result<Node, Diagnostic> {
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(Diagnostic::at(&self.place(span), "the document is nested too deeply or too large"));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let null = plain && matches!(&*text, "" | "~" | "null");
                let scalar = Value::Scalar { text: text.into_owned(), plain, secret: false };
                (if null { Value::Null } else { scalar }, anchor)
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next(parser)? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, span, parser, depth + 1)?),
                    }
                }
                span.end = items.last().map_or(span.end, |n: &Node| n.place.span.end);
                (Value::List(items), anchor)
            }
            Event::MappingStart(anchor, _) => {
                let mut entries = Vec::new();
                loop {
                    let (event, at) = self.next(parser)?;
                    let key = match event {
                        Event::MappingEnd => break,
                        Event::Scalar(text, ..) => Key { text: text.into_owned(), place: self.place(at) },
                        _ => return Err(Diagnostic::at(&self.place(at), "a key must be a text")),
                    };
                    let (event, at) = self.next(parser)?;
                    entries.push((key, self.node(event, at, parser, depth + 1)?));
                }
                if let Some((first, _)) = entries.first() {
                    span.start = span.start.min(first.place.span.start);
                }
                span.end = entries.last().map_or(span.end, |(_, n): &(Key, Node)| n.place.span.end.max(span.end));
                (Value::Map(entries), anchor)
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                let node =
                    node.ok_or_else(|| Diagnostic::at(&self.place(span.clone()), "the alias stands for nothing"))?;
                self.nodes += count(&node);
                return Ok(node);
            }
            _ => return Err(Diagnostic::at(&self.place(span), "the file is not valid here")),
        };
        let node = Node { value, place: self.place(span) };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }
}

fn count(node: &Node) -> usize {
    match &node.value {
        Value::Null | Value::Scalar { .. } => 1,
        Value::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|(_, n)| count(n)).sum::<usize>(),
    }
}

fn parse_toml(source: &Arc<Source>) -> Result<Node, Diagnostic> {
    let table = DeTable::parse(&source.text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        Diagnostic::at(
            &Place { source: Arc::clone(source), span },
            format!("the file is not valid: {}", error.message()),
        )
    })?;
    Ok(toml_table(source, table.get_ref(), table.span()))
}

fn toml_table(source: &Arc<Source>, table: &DeTable<'_>, span: Range<usize>) -> Node {
    let place = |span| Place { source: Arc::clone(source), span };
    let entries = table.iter().map(|(key, value)| {
        let key = Key { text: key.get_ref().to_string(), place: place(key.span()) };
        (key, toml_value(source, value.get_ref(), value.span()))
    });
    Node { value: Value::Map(entries.collect()), place: place(span) }
}

fn toml_value(source: &Arc<Source>, value: &DeValue<'_>, span: Range<usize>) -> Node {
    let scalar = |text: &str, plain| Value::Scalar { text: text.to_owned(), plain, secret: false };
    let value = match value {
        DeValue::String(text) => scalar(text, false),
        DeValue::Integer(n) => scalar(n.as_str(), true),
        DeValue::Float(n) => scalar(n.as_str(), true),
        DeValue::Boolean(b) => scalar(if *b { "true" } else { "false" }, true),
        DeValue::Datetime(d) => scalar(&d.to_string(), true),
        DeValue::Array(items) => Value::List(items.iter().map(|v| toml_value(source, v.get_ref(), v.span())).collect()),
        DeValue::Table(table) => return toml_table(source, table, span),
    };
    Node { value, place: Place { source: Arc::clone(source), span } }
}
