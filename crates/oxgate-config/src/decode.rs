//! From nodes to typed values, with every mistake noted on the way; and the JSON Schema and the
//! effective values of the same types, from the same definitions.

use crate::diagnostic::{Diagnostic, Diagnostics, nearest};
use crate::node::{Key, Node, Value};
use serde_json::{Value as Json, json};
use std::net::SocketAddr;
use std::time::Duration;

/// A type that can be written in a configuration.
pub trait Decode: Sized {
    /// Reads a node; notes every mistake in it.
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self>;

    /// Its JSON Schema.
    fn schema() -> Json;

    /// The value as it would be written.
    fn encode(&self) -> Json;

    /// The value of something left out, for maps in which everything may be.
    fn absent() -> Option<Self> {
        None
    }
}

/// A node with nothing in it, from nowhere.
pub fn nothing() -> Node {
    let source = std::sync::Arc::new(crate::node::Source { name: String::new(), text: String::new() });
    Node { value: Value::Null, place: crate::node::Place { source, span: 0..0 } }
}

/// Defines a map with fixed keys: the struct, how it is read, its schema, its effective values.
///
/// `name: Type = default` may be left out; `name: Type` may be if it is a map in which everything may.
#[macro_export]
macro_rules! document {
    ($(#[$doc:meta])* $vis:vis struct $name:ident {
        $($(#[doc = $fdoc:literal])* $field:ident $(as $key:literal)? : $type:ty $(= $default:expr)?,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        $vis struct $name { $($(#[doc = $fdoc])* pub $field: $type,)* }

        impl $crate::decode::Decode for $name {
            fn decode(node: &$crate::node::Node, diagnostics: &mut $crate::diagnostic::Diagnostics) -> Option<Self> {
                const KEYS: &[&str] = &[$($crate::document!(@key $field $($key)?),)*];
                let mut map = $crate::decode::Fields::open(node, KEYS, diagnostics)?;
                $(let $field: Option<$type> = $crate::document!(@take map diagnostics ($crate::document!(@key $field $($key)?)) $($default)?);)*
                Some($name { $($field: $field?,)* })
            }

            fn schema() -> ::serde_json::Value {
                let mut properties = ::serde_json::Map::new();
                #[allow(unused_mut, reason = "a map in which everything may be left out never adds to it")]
                let mut required: Vec<&str> = Vec::new();
                $({
                    let mut schema = <$type as $crate::decode::Decode>::schema();
                    let doc = concat!($($fdoc, "\n",)* "").trim();
                    if let (Some(schema), false) = (schema.as_object_mut(), doc.is_empty()) {
                        schema.insert("description".to_owned(), doc.into());
                    }
                    $crate::document!(@note required schema ($crate::document!(@key $field $($key)?)) $type, $($default)?);
                    properties.insert($crate::document!(@key $field $($key)?).to_owned(), schema);
                })*
                ::serde_json::json!({ "type": "object", "additionalProperties": false, "properties": properties, "required": required })
            }

            fn encode(&self) -> ::serde_json::Value {
                let mut map = ::serde_json::Map::new();
                $({
                    let value = $crate::decode::Decode::encode(&self.$field);
                    if !value.is_null() {
                        map.insert($crate::document!(@key $field $($key)?).to_owned(), value);
                    }
                })*
                ::serde_json::Value::Object(map)
            }

            fn absent() -> Option<Self> {
                Self::decode(&$crate::decode::nothing(), &mut $crate::diagnostic::Diagnostics::default())
            }
        }
    };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@take $map:ident $d:ident ($key:expr) $default:expr) => { $map.optional($key, $d, || $default) };
    (@take $map:ident $d:ident ($key:expr)) => { $map.required($key, $d) };
    (@note $required:ident $schema:ident ($key:expr) $type:ty, $default:expr) => {
        let default: $type = $default;
        let default = $crate::decode::Decode::encode(&default);
        if let (Some(schema), false) = ($schema.as_object_mut(), default.is_null()) {
            schema.insert("default".to_owned(), default);
        }
    };
    (@note $required:ident $schema:ident ($key:expr) $type:ty,) => {
        match <$type as $crate::decode::Decode>::absent() {
            None => $required.push($key),
            Some(_) => {}
        }
    };
}

/// The entries of a map with fixed keys.
#[derive(Debug)]
pub struct Fields<'n> {
    node: &'n Node,
    entries: Vec<(&'n Key, &'n Node)>,
    /// Known keys that seem to be meant by unknown ones.
    misspelt: Vec<String>,
}

impl<'n> Fields<'n> {
    /// Opens a map; notes unknown and repeated keys.
    pub fn open(node: &'n Node, known: &[&str], diagnostics: &mut Diagnostics) -> Option<Fields<'n>> {
        let entries = entries(node, diagnostics)?;
        let mut misspelt = Vec::new();
        for (key, _) in &entries {
            if !known.contains(&key.text.as_str()) {
                let mut diagnostic = Diagnostic::at(&key.place, format!("unknown key `{}`", key.text));
                diagnostic = match nearest(&key.text, known.iter().copied()) {
                    Some(near) => {
                        misspelt.push(near.to_owned());
                        diagnostic.help(format!("did you mean `{near}`?"))
                    }
                    None => diagnostic.help(format!("known here: {}", known.join(", "))),
                };
                diagnostics.push(diagnostic);
            }
        }
        Some(Fields { node, entries, misspelt })
    }

    fn get(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(k, _)| k.text == key).map(|(_, n)| *n)
    }

    /// The value of a key that may be left out.
    pub fn optional<T: Decode>(
        &mut self,
        key: &str,
        diagnostics: &mut Diagnostics,
        default: impl FnOnce() -> T,
    ) -> Option<T> {
        match self.get(key) {
            // A mistake is noted; the default lets the search for more go on.
            Some(node) => T::decode(node, diagnostics).or_else(|| Some(default())),
            None => Some(default()),
        }
    }

    /// The value of a key that may not be left out.
    pub fn required<T: Decode>(&mut self, key: &str, diagnostics: &mut Diagnostics) -> Option<T> {
        match self.get(key) {
            Some(node) => T::decode(node, diagnostics),
            None => {
                let absent = T::absent();
                if absent.is_none() && !self.misspelt.iter().any(|meant| meant == key) {
                    diagnostics.push(Diagnostic::at(&self.node.place, format!("`{key}` is missing")));
                }
                absent
            }
        }
    }
}

/// A map's entries; `Null` counts as an empty map, repeated keys are noted.
fn entries<'n>(node: &'n Node, diagnostics: &mut Diagnostics) -> Option<Vec<(&'n Key, &'n Node)>> {
    let entries: Vec<_> = match &node.value {
        Value::Map(entries) => entries.iter().map(|(k, n)| (k, n)).collect(),
        Value::Null => Vec::new(),
        _ => {
            diagnostics.push(expected("a map", node));
            return None;
        }
    };
    let mut seen = std::collections::HashMap::new();
    for (key, _) in &entries {
        if let Some(first) = seen.insert(key.text.as_str(), &key.place) {
            let message = format!("`{}` is defined twice", key.text);
            diagnostics.push(Diagnostic::at(&key.place, message).related(first, "first defined here"));
        }
    }
    Some(entries)
}

/// The mistake of writing one kind of thing where another is wanted.
pub fn expected(what: &str, node: &Node) -> Diagnostic {
    Diagnostic::at(&node.place, format!("expected {what}, found {}", node.kind()))
}

/// A scalar's text, or a note that there is none.
pub fn text<'n>(what: &str, node: &'n Node, diagnostics: &mut Diagnostics) -> Option<&'n str> {
    match &node.value {
        Value::Scalar { text, .. } => Some(text),
        _ => {
            diagnostics.push(expected(what, node));
            None
        }
    }
}

/// Reads a scalar by a function whose error is the end of a sentence.
pub fn parsed<T>(
    what: &str,
    node: &Node,
    diagnostics: &mut Diagnostics,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let text = text(what, node, diagnostics)?;
    match parse(text) {
        Ok(value) => Some(value),
        Err(message) => {
            let secret = matches!(node.value, Value::Scalar { secret: true, .. });
            let shown = if secret { "the value".to_owned() } else { format!("`{text}`") };
            diagnostics.push(Diagnostic::at(&node.place, format!("{shown} {message}")));
            None
        }
    }
}

impl Decode for String {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        text("a text", node, diagnostics).map(str::to_owned)
    }

    fn schema() -> Json {
        json!({ "type": "string" })
    }

    fn encode(&self) -> Json {
        self.as_str().into()
    }
}

impl Decode for bool {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        parsed("`true` or `false`", node, diagnostics, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("is neither `true` nor `false`".to_owned()),
        })
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }

    fn encode(&self) -> Json {
        (*self).into()
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Decode for $type {
            fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
                parsed("a number", node, diagnostics, |text| {
                    text.parse().map_err(|_| format!("is not a whole number from 0 to {}", <$type>::MAX))
                })
            }

            fn schema() -> Json {
                json!({ "type": "integer", "minimum": 0, "maximum": <$type>::MAX })
            }

            fn encode(&self) -> Json {
                (*self).into()
            }
        }
    )*};
}
integers!(u16, u32, usize);

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            Value::List(items) => {
                let decoded: Vec<_> = items.iter().map(|n| T::decode(n, diagnostics)).collect();
                decoded.into_iter().collect()
            }
            Value::Null => Some(Vec::new()),
            _ => {
                diagnostics.push(expected("a list", node));
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": T::schema() })
    }

    fn encode(&self) -> Json {
        Json::Array(self.iter().map(Decode::encode).collect())
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        T::decode(node, diagnostics).map(Some)
    }

    fn schema() -> Json {
        T::schema()
    }

    fn encode(&self) -> Json {
        self.as_ref().map_or(Json::Null, Decode::encode)
    }
}

impl<T: Decode> Decode for Box<T> {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        T::decode(node, diagnostics).map(Box::new)
    }

    fn schema() -> Json {
        T::schema()
    }

    fn encode(&self) -> Json {
        (**self).encode()
    }
}

/// A map from names to things, in the order written.
#[derive(Clone, Debug)]
pub struct Named<T> {
    /// What could be read.
    pub entries: Vec<(Key, T)>,
    /// The names of what could not; why has been noted.
    pub broken: Vec<String>,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Named { entries: Vec::new(), broken: Vec::new() }
    }
}

impl<T> Named<T> {
    /// The thing of a name.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.entries.iter().find(|(key, _)| key.text == name).map(|(_, value)| value)
    }

    /// All names that could be meant.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(key, _)| key.text.as_str())
    }
}

impl<T: Decode> Decode for Named<T> {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let entries = entries(node, diagnostics)?;
        let mut named = Named::default();
        for (key, node) in entries {
            match T::decode(node, diagnostics) {
                Some(value) => named.entries.push((key.clone(), value)),
                None => named.broken.push(key.text.clone()),
            }
        }
        Some(named)
    }

    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": T::schema() })
    }

    fn encode(&self) -> Json {
        Json::Object(self.entries.iter().map(|(key, value)| (key.text.clone(), value.encode())).collect())
    }
}

/// Something with the node it was read from.
#[derive(Clone, Debug)]
pub struct At<T> {
    /// The thing.
    pub value: T,
    /// The node.
    pub node: Node,
}

impl<T: Decode> Decode for At<T> {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        T::decode(node, diagnostics).map(|value| At { value, node: node.clone() })
    }

    fn schema() -> Json {
        T::schema()
    }

    fn encode(&self) -> Json {
        self.value.encode()
    }
}

impl Decode for SocketAddr {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        parsed("an address", node, diagnostics, |text| {
            text.parse().map_err(|_| "is not an address and port, as in `127.0.0.1:8080` or `[::]:8080`".to_owned())
        })
    }

    fn schema() -> Json {
        json!({ "type": "string" })
    }

    fn encode(&self) -> Json {
        self.to_string().into()
    }
}

impl Decode for ipnet::IpNet {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        parsed("an address range", node, diagnostics, |text| {
            let address = text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from);
            text.parse().or(address).map_err(|_| "is not an address or range, as in `10.0.0.0/8` or `::1`".to_owned())
        })
    }

    fn schema() -> Json {
        json!({ "type": "string" })
    }

    fn encode(&self) -> Json {
        self.to_string().into()
    }
}

impl Decode for Duration {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        parsed("a duration", node, diagnostics, duration)
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?(ms|us|s|m|h|d))+$" })
    }

    fn encode(&self) -> Json {
        let (ms, s) = (self.as_millis(), self.as_secs());
        match () {
            () if ms % 1000 != 0 => format!("{ms}ms").into(),
            () if s >= 3600 && s % 3600 == 0 => format!("{}h", s / 3600).into(),
            () if s >= 60 && s % 60 == 0 => format!("{}m", s / 60).into(),
            () => format!("{s}s").into(),
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "is not a duration: write a number with its unit, as in `250ms`, `5s`, `10m`, `1h`".to_owned();
    let mut total = 0.0;
    let mut rest = text;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "us" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return Err(wrong()),
            };
        rest = &rest[unit..];
    }
    Duration::try_from_secs_f64(total).ok().filter(|d| d.as_secs() < 10 * 365 * 86_400).ok_or_else(wrong)
}

/// A duration, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience(pub Option<Duration>);

impl Decode for Patience {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        parsed("a duration or `none`", node, diagnostics, |text| match text {
            "none" => Ok(Patience(None)),
            _ => duration(text).map(|d| Patience(Some(d))),
        })
    }

    fn schema() -> Json {
        json!({ "anyOf": [Duration::schema(), { "const": "none" }] })
    }

    fn encode(&self) -> Json {
        self.0.map_or_else(|| "none".into(), |d| d.encode())
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl Decode for Bytes {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        parsed("a size", node, diagnostics, size).map(Bytes)
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+(B|kB|KiB|MB|MiB|GB|GiB)$" })
    }

    fn encode(&self) -> Json {
        let n = self.0;
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];
        let (unit, name) =
            units.into_iter().find(|(unit, _)| n >= *unit && n.is_multiple_of(*unit)).unwrap_or((1, "B"));
        format!("{}{name}", n / unit).into()
    }
}

fn size(text: &str) -> Result<u64, String> {
    let wrong = || "is not a size: write a number with its unit, as in `512B`, `32KiB`, `10MiB`".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = match text[digits..].trim_start() {
        "B" => 1,
        "kB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).filter(|n| *n < 1 << 62).ok_or_else(wrong)
}

/// A number of bytes per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRate(pub u64);

impl Decode for ByteRate {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        parsed("a rate", node, diagnostics, |text| match text.strip_suffix("/s") {
            Some(text) => size(text),
            None => Err("is not a rate: write bytes per second, as in `240B/s`".to_owned()),
        })
        .map(ByteRate)
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+(B|kB|KiB|MB|MiB|GB|GiB)/s$" })
    }

    fn encode(&self) -> Json {
        format!("{}B/s", self.0).into()
    }
}

/// A share of a whole, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(pub f64);

impl Decode for Share {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        parsed("a percentage", node, diagnostics, |text| {
            let number = text.strip_suffix('%').and_then(|n| n.parse::<f64>().ok());
            number
                .filter(|n| (0.0..=100.0).contains(n))
                .map(|n| Share(n / 100.0))
                .ok_or("is not a percentage from `0%` to `100%`".to_owned())
        })
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?%$" })
    }

    fn encode(&self) -> Json {
        format!("{}%", self.0 * 100.0).into()
    }
}

/// Reads one of several words.
pub fn word<T: Copy>(node: &Node, diagnostics: &mut Diagnostics, words: &[(&str, T)]) -> Option<T> {
    let text = text("a word", node, diagnostics)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Some(*value);
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let diagnostic = Diagnostic::at(&node.place, format!("`{text}` is not one of {}", known.join(", ")));
    diagnostics.push(match nearest(text, known) {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
        None => diagnostic,
    });
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_units() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert!(["", "5", "s", "5 s", "-1s", "5x", "1e9s", "99999d"].iter().all(|t| duration(t).is_err()));
        assert_eq!(Duration::from_secs(5400).encode(), "90m");
    }

    #[test]
    fn sizes_need_units() {
        assert_eq!(size("32KiB"), Ok(32 * 1024));
        assert!(["", "5", "KiB", "-1B", "5kb", "99999999999999GiB"].iter().all(|t| size(t).is_err()));
        assert_eq!(Bytes(32 * 1024).encode(), "32KiB");
        assert_eq!(Bytes(0).encode(), "0B");
    }
}
