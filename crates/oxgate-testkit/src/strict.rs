//! A strict reader of requests: what a careful origin would make of the bytes it got.

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The target.
    pub target: String,
    /// Names in lower case, and values.
    pub fields: Vec<(String, String)>,
    /// The body, decoded.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a field, if it is there once.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(n, _)| n == name);
        let first = values.next();
        assert!(values.next().is_none(), "{name} is repeated");
        first.map(|(_, v)| v.as_str())
    }
}

const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "proxy-authorization",
    "proxy-authenticate",
    "http2-settings",
];

/// Reads one request from the front; `Ok(None)` while it is incomplete.
///
/// # Errors
/// Which rule of a canonical request is broken.
pub fn read(bytes: &[u8]) -> Result<Option<(Request, usize)>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "the head is not text".to_owned());
    let latin: String = match head {
        Ok(text) => text.to_owned(),
        Err(_) => bytes[..end].iter().map(|b| *b as char).collect(),
    };
    let mut lines = latin.split("\r\n");
    let start = lines.next().unwrap_or_default();
    let parts: Vec<&str> = start.split(' ').collect();
    let [method, target, version] = parts[..] else { return Err(format!("request line {start:?}")) };
    let token =
        |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    if !token(method)
        || !target.bytes().all(|b| (0x21..0x7f).contains(&b))
        || !matches!(version, "HTTP/1.1" | "HTTP/1.0")
    {
        return Err(format!("request line {start:?}"));
    }
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| format!("field line {line:?}"))?;
        let value = value.trim_matches([' ', '\t']);
        if !token(name) || value.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
            return Err(format!("field line {line:?}"));
        }
        fields.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let count = |name: &str| fields.iter().filter(|(n, _)| n == name).count();
    let upgrade = fields.iter().any(|(n, v)| n == "upgrade" && v == "websocket");
    for (name, _) in &fields {
        let plain = name.replace('_', "-");
        let alias = *name != plain
            && (HOP_BY_HOP.contains(&plain.as_str())
                || ["content-length", "transfer-encoding", "host"].contains(&plain.as_str()));
        if alias
            || (HOP_BY_HOP.contains(&name.as_str()) && !(upgrade && ["connection", "upgrade"].contains(&name.as_str())))
        {
            return Err(format!("the field {name} was forwarded"));
        }
    }
    if count("host") != 1 || count("content-length") + count("transfer-encoding") > 1 {
        return Err(format!(
            "Host {} times, lengths {} times",
            count("host"),
            count("content-length") + count("transfer-encoding")
        ));
    }
    let mut at = end + 4;
    let value = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let mut body = Vec::new();
    if let Some(length) = value("content-length") {
        let length: usize = length.parse().map_err(|_| format!("Content-Length {length:?}"))?;
        let Some(rest) = bytes.get(at..at + length) else { return Ok(None) };
        body.extend_from_slice(rest);
        at += length;
    } else if let Some(coding) = value("transfer-encoding") {
        if coding != "chunked" {
            return Err(format!("Transfer-Encoding {coding:?}"));
        }
        loop {
            let Some(line) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
            let size = std::str::from_utf8(&bytes[at..at + line]).ok().and_then(|s| usize::from_str_radix(s, 16).ok());
            let size = size.ok_or("a chunk size is malformed")?;
            at += line + 2;
            if size == 0 {
                break;
            }
            let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
            if !chunk.ends_with(b"\r\n") {
                return Err("a chunk has no end".to_owned());
            }
            body.extend_from_slice(&chunk[..size]);
            at += size + 2;
        }
        loop {
            let Some(line) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
            at += line + 2;
            if line == 0 {
                break;
            }
        }
    }
    Ok(Some((Request { method: method.to_owned(), target: target.to_owned(), fields, body }, at)))
}

/// Where a piece first stands.
pub fn find(bytes: &[u8], piece: &[u8]) -> Option<usize> {
    bytes.windows(piece.len()).position(|w| w == piece)
}
