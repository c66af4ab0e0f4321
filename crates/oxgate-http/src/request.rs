//! A request head: received strictly, edited by policies, written canonically.

use crate::framing::content_length;
use crate::head::{Head, Span};
use crate::name::NameSet;
use crate::scan::{self, Line, Lines, Next, RequestLine, ScanError};
use crate::token::MAX_NAME;
use crate::{Framing, HeadLimits, Name, Parsed, PathPolicy, authority, path, token};

/// The methods that have rules of their own (RFC 9110 §9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the method of that name")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    Other,
}

impl Method {
    /// The method of this name; names are case-sensitive.
    pub fn of(name: &[u8]) -> Method {
        match name {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"CONNECT" => Method::Connect,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"PATCH" => Method::Patch,
            _ => Method::Other,
        }
    }

    /// Whether sending the request twice has the effect of sending it once (RFC 9110 §9.2.2).
    pub fn is_idempotent(self) -> bool {
        !matches!(self, Method::Post | Method::Patch | Method::Connect | Method::Other)
    }
}

/// Why a request is refused before anything is done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The bytes are no HTTP/1 request; the text says where.
    Syntax(&'static str),
    /// Another version than HTTP/1.0 and HTTP/1.1.
    Version,
    /// Host is missing, repeated or no authority.
    Host,
    /// The body's length is said twice, in two ways or not properly.
    Framing(&'static str),
    /// A transfer coding other than chunked.
    TransferCoding,
    /// The head is over its limit of bytes or fields.
    HeadTooLarge,
    /// The target is over its limit.
    TargetTooLong,
    /// CONNECT, which a gateway has no use for.
    Connect,
    /// An expectation other than 100-continue.
    Expectation,
    /// The path has no normal form.
    Path(path::PathError),
}

/// A protocol that the client asks to switch to (RFC 9110 §7.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// RFC 6455.
    Websocket,
}

/// A request, from whichever protocol it came.
#[derive(Debug, Default)]
pub struct Request {
    /// The fields.
    pub head: Head,
    method: Method,
    method_text: Span,
    raw_path: Span,
    path: Span,
    match_path: Span,
    query: Span,
    authority: Span,
    http10: bool,
    framing: Framing,
    persistent: bool,
    upgrade: Option<Upgrade>,
    expects_continue: bool,
    claims_client: bool,
    /// The value of Host that was checked last, in this request or one before.
    last_host: Vec<u8>,
    /// Changes with `last_host`, and whenever the authority is not the value of Host.
    authority_number: u64,
    /// The request line, as long as it may be sent as it was received.
    line: Span,
}

impl Request {
    /// Reads a head from the front of `received`.
    ///
    /// On success the fields that must not be forwarded are gone already: hop-by-hop fields, those
    /// that `Connection` names, and underscore aliases of fields that the gateway guards.
    ///
    /// # Errors
    /// The first rule that the head breaks. The connection must be closed after the answer, because
    /// where the next request starts is then unknown.
    pub fn parse(&mut self, received: &[u8], limits: &HeadLimits) -> Result<Parsed, RequestError> {
        self.head.clear();
        // Until it is known, and should the head be refused, the method is none of the known ones.
        (self.method, self.method_text) = (Method::Other, Span::default());
        let line = match scan::request_line(received) {
            Ok(Some(line)) if line.target.range().len() > limits.target => return Err(RequestError::TargetTooLong),
            Ok(Some(line)) => {
                self.method = Method::of(&received[line.method.range()]);
                line
            }
            Ok(None) if target_overflows(received, limits) => return Err(RequestError::TargetTooLong),
            Ok(None) => return partial(received, limits),
            Err(error) => return Err(syntax(error)),
        };
        let Some((facts, len)) = self.index_fields(received, line.end, limits)? else {
            return partial(received, limits);
        };
        if len > limits.bytes {
            return Err(RequestError::HeadTooLarge);
        }
        self.reset(&received[..len], &line);
        self.settle(facts)?;
        self.read_target(&line)?;
        Ok(Parsed::Complete(len))
    }

    fn reset(&mut self, received: &[u8], line: &RequestLine) {
        self.head.load(received);
        self.method_text = line.method;
        self.http10 = line.http10;
        (self.raw_path, self.path, self.match_path) = Default::default();
        (self.query, self.authority) = Default::default();
        self.framing = Framing::None;
        self.upgrade = None;
        self.line = Span::default();
    }

    /// Puts every field in the index and collects what decides framing and persistence; `None` while
    /// the head is incomplete.
    #[inline]
    fn index_fields(
        &mut self,
        received: &[u8],
        at: usize,
        limits: &HeadLimits,
    ) -> Result<Option<(Facts, usize)>, RequestError> {
        let mut facts = Facts::default();
        let mut lines = Lines::new(received, at);
        let mut left = limits.fields;
        loop {
            let line = match lines.next().map_err(syntax)? {
                Next::Field(line) => line,
                Next::End(end) => return Ok(Some((facts, end))),
                Next::Partial => return Ok(None),
            };
            if line.bare {
                return Err(RequestError::Syntax("a line ends without CR"));
            }
            if line.name.len() > MAX_NAME {
                return Err(RequestError::HeadTooLarge);
            }
            if left == 0 {
                return Err(RequestError::HeadTooLarge);
            }
            left -= 1;
            let id = facts.field(&line, &received[line.value.range()])?;
            self.head.push_received(&line, id);
        }
    }

    /// Decides framing and persistence (RFC 9112 §6.3, §9.3) and drops what goes no further.
    fn settle(&mut self, facts: Facts) -> Result<(), RequestError> {
        if self.method == Method::Connect {
            return Err(RequestError::Connect);
        }
        if facts.unknown_coding {
            return Err(RequestError::TransferCoding);
        }
        self.framing = match (facts.chunked, facts.length) {
            (true, Some(_)) => return Err(RequestError::Framing("Content-Length and Transfer-Encoding together")),
            (true, None) if self.http10 => return Err(RequestError::Framing("Transfer-Encoding in HTTP/1.0")),
            (true, None) => Framing::Chunked,
            (false, Some(length)) => Framing::of_length(length),
            (false, None) => Framing::None,
        };
        self.persistent = !facts.close && (!self.http10 || facts.keep_alive);
        self.expects_continue = facts.expects_continue && !self.http10;
        self.claims_client = facts.seen.meets(NameSet::FORWARDING);
        if facts.upgrade && facts.upgrade_option && self.method == Method::Get && !self.http10 && self.framing.is_none()
        {
            self.upgrade = Some(Upgrade::Websocket);
        }
        match facts.host {
            Some(value) if self.is_authority(value) => self.authority = value,
            None if self.http10 => self.forget_host(),
            _ => return Err(RequestError::Host),
        }
        if facts.seen.meets(NameSet::HOP_BY_HOP) {
            self.head.strip_hop_by_hop(facts.nominated);
        }
        if facts.underscores {
            self.head.drop_where(|_, name| name.contains(&b'_') && is_guarded(Name::of_alias(name)));
        }
        if facts.rewrite_length {
            let length = facts.length.unwrap_or_default();
            self.head.append(b"Content-Length", length.to_string().as_bytes());
        }
        Ok(())
    }

    /// Whether a value of Host is an authority. Most clients say the same one in every request.
    #[inline]
    fn is_authority(&mut self, value: Span) -> bool {
        let host = self.head.bytes(value);
        if host == self.last_host && !host.is_empty() {
            return true;
        }
        self.authority_number += 1;
        self.last_host.clear();
        let valid = authority::parse(host).is_some();
        if valid {
            self.last_host.extend_from_slice(host);
        }
        valid
    }

    /// Splits the target (RFC 9112 §3.2) and gives the path its normal form under the strict
    /// policy; a path that has none there keeps an empty one until [`Request::set_path_policy`].
    #[inline]
    fn read_target(&mut self, line: &RequestLine) -> Result<(), RequestError> {
        let target = line.target;
        let mut origin = target;
        if self.head.bytes(target).first() != Some(&b'/') {
            if self.head.bytes(target) == b"*" && self.method == Method::Options {
                (self.raw_path, self.path, self.match_path) = (target, target, target);
                return Ok(());
            }
            origin = self.take_absolute_form(target)?;
        }
        let text = self.head.bytes(origin);
        let start = origin.range().start;
        let mut end = path::plain_len(text);
        let plain = end == text.len() || text[end] == b'?';
        if !plain {
            end = memchr::memchr(b'?', text).unwrap_or(text.len());
        }
        let query = &text[end..];
        if query.iter().any(|b| !(0x21..0x7f).contains(b) || *b == b'#') {
            return Err(RequestError::Path(path::PathError::Byte));
        }
        let lone_mark = query.len() == 1;
        self.query = if query.len() > 1 { Span::new(start + end + 1, start + text.len()) } else { Span::default() };
        self.raw_path = if end == 0 { self.head.store(b"/") } else { Span::new(start, start + end) };
        if plain {
            (self.path, self.match_path) = (self.raw_path, self.raw_path);
            if origin == target && !self.http10 && !lone_mark {
                self.line = Span::new(line.method.range().start, line.end);
            }
        }
        Ok(())
    }

    /// `http://authority/path`: the authority replaces Host (RFC 9112 §3.2.2).
    fn take_absolute_form(&mut self, target: Span) -> Result<Span, RequestError> {
        let text = self.head.bytes(target);
        let scheme = [b"http://".as_slice(), b"https://"];
        let skip = scheme
            .iter()
            .find(|s| text.len() >= s.len() && text[..s.len()].eq_ignore_ascii_case(s))
            .map(|s| s.len())
            .ok_or(RequestError::Syntax("the target is neither a path nor a URL"))?;
        let rest = &text[skip..];
        let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
        let authority = rest[..end].to_vec();
        if authority::parse(&authority).is_none() {
            return Err(RequestError::Host);
        }
        self.forget_host();
        self.set_authority(&authority);
        Ok(Span::new(target.range().start + skip + end, target.range().end))
    }

    /// Whether the path reads alike under every policy.
    #[inline]
    pub fn path_is_plain(&self) -> bool {
        self.path == self.raw_path
    }

    /// Gives the path the normal form of a policy, for matching and forwarding.
    ///
    /// # Errors
    /// [`RequestError::Path`] when it has none.
    pub fn set_path_policy(&mut self, policy: PathPolicy) -> Result<(), RequestError> {
        let mut form = Vec::with_capacity(self.head.bytes(self.raw_path).len());
        path::normalize(self.head.bytes(self.raw_path), policy, &mut form).map_err(RequestError::Path)?;
        if policy == PathPolicy::Verbatim {
            (self.path, self.match_path) = (self.raw_path, self.raw_path);
        } else {
            self.set_path(&form);
        }
        Ok(())
    }

    /// Replaces the path; the caller vouches for its being in normal form.
    pub fn set_path(&mut self, form: &[u8]) {
        self.line = Span::default();
        self.path = self.head.store(form);
        self.match_path = self.path;
        if form.contains(&b';') || memchr::memmem::find(form, b"%3B").is_some() {
            let mut bare = Vec::with_capacity(form.len());
            path::without_parameters(form, &mut bare);
            self.match_path = self.head.store(&bare);
        }
    }

    /// Replaces the query, given without its question mark.
    pub fn set_query(&mut self, query: &[u8]) {
        self.line = Span::default();
        self.query = if query.is_empty() { Span::default() } else { self.head.store(query) };
    }

    /// Replaces Host.
    pub fn set_authority(&mut self, authority: &[u8]) {
        self.head.remove(Name::Host);
        self.head.append(b"Host", authority);
        self.authority = self.head.store(authority);
    }

    /// The request has another authority than Host says.
    fn forget_host(&mut self) {
        self.authority_number += 1;
        self.last_host.clear();
    }

    /// A number that stands for the authority that was received: as long as requests read into this value
    /// have the same number, they came with the same one. [`Request::set_authority`] leaves it alone.
    #[inline]
    pub fn authority_number(&self) -> u64 {
        self.authority_number
    }

    /// The method.
    #[inline]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The method as sent.
    pub fn method_text(&self) -> &[u8] {
        self.head.bytes(self.method_text)
    }

    /// The path as received.
    pub fn raw_path(&self) -> &[u8] {
        self.head.bytes(self.raw_path)
    }

    /// The path in its normal form, as policies see it and upstreams get it.
    #[inline]
    pub fn path(&self) -> &[u8] {
        self.head.bytes(self.path)
    }

    /// The path that routes are matched on: the normal form without `;parameters`.
    #[inline]
    pub fn match_path(&self) -> &[u8] {
        self.head.bytes(self.match_path)
    }

    /// The query without its question mark; empty when there is none.
    #[inline]
    pub fn query(&self) -> &[u8] {
        self.head.bytes(self.query)
    }

    /// Host with its port; empty for HTTP/1.0 requests without one.
    pub fn authority(&self) -> &[u8] {
        self.head.bytes(self.authority)
    }

    /// Host without its port, as sent.
    #[inline]
    pub fn host(&self) -> &[u8] {
        authority::host_of(self.authority())
    }

    /// Whether the client speaks HTTP/1.0.
    pub fn is_http10(&self) -> bool {
        self.http10
    }

    /// How the body is delimited.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the client would send another request on the connection.
    pub fn is_persistent(&self) -> bool {
        self.persistent
    }

    /// The protocol the client asks for.
    pub fn upgrade(&self) -> Option<Upgrade> {
        self.upgrade
    }

    /// Whether the client may wait for a 100 before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Whether the client sent a field that says who the client is ([`Name::is_forwarding`]).
    pub fn claims_client(&self) -> bool {
        self.claims_client
    }

    /// Appends the head as an HTTP/1.1 request.
    #[inline]
    pub fn write_head(&self, out: &mut Vec<u8>) {
        if self.line.is_empty() {
            self.write_line(out);
        }
        self.head.write(self.line, out);
        if self.framing == Framing::Chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if self.upgrade == Some(Upgrade::Websocket) {
            out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    fn write_line(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.method_text());
        out.push(b' ');
        out.extend_from_slice(self.path());
        let query = self.query();
        if !query.is_empty() {
            out.push(b'?');
            out.extend_from_slice(query);
        }
        out.extend_from_slice(b" HTTP/1.1\r\n");
    }
}

/// What one pass over the fields finds out.
#[derive(Default)]
struct Facts {
    host: Option<Span>,
    length: Option<u64>,
    rewrite_length: bool,
    chunked: bool,
    /// A transfer coding other than chunked.
    unknown_coding: bool,
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    upgrade_option: bool,
    expects_continue: bool,
    /// Names met.
    seen: NameSet,
    nominated: bool,
    /// Members of Connection.
    options: usize,
    underscores: bool,
}

/// The most members of Connection: each has to be looked for among all fields.
const MAX_CONNECTION_OPTIONS: usize = 64;

/// The fields that decide framing and persistence.
const SETTLING: NameSet = NameSet::of(&[
    Name::Host,
    Name::ContentLength,
    Name::TransferEncoding,
    Name::Connection,
    Name::Upgrade,
    Name::Expect,
]);

impl Facts {
    /// Notes what a field says; gives the id under which it is kept.
    #[inline]
    fn field(&mut self, line: &Line, value: &[u8]) -> Result<Name, RequestError> {
        let mut id = line.id;
        self.underscores |= line.underscore;
        self.seen.insert(id);
        if !SETTLING.has(id) {
            return Ok(id);
        }
        match id {
            Name::Host => {
                if self.host.replace(line.value).is_some() {
                    return Err(RequestError::Host);
                }
            }
            Name::ContentLength => {
                let length = content_length(value).ok_or(RequestError::Framing("Content-Length is not a number"))?;
                if self.length.replace(length).is_some() {
                    return Err(RequestError::Framing("Content-Length is repeated"));
                }
                // A number in another spelling is written anew.
                if value.len() > 1 && value[0] == b'0' {
                    id = Name::TransferEncoding;
                    self.seen.insert(id);
                    self.rewrite_length = true;
                }
            }
            Name::TransferEncoding => {
                if self.chunked {
                    return Err(RequestError::Framing("Transfer-Encoding is repeated"));
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    self.unknown_coding = true;
                }
                self.chunked = true;
            }
            Name::Connection => {
                for option in token::list(value) {
                    self.options += 1;
                    if self.options > MAX_CONNECTION_OPTIONS {
                        return Err(RequestError::HeadTooLarge);
                    }
                    self.connection_option(option)?;
                }
            }
            Name::Upgrade => {
                self.upgrade |= token::list(value).any(|p| p.eq_ignore_ascii_case(b"websocket"));
            }
            Name::Expect if !value.eq_ignore_ascii_case(b"100-continue") => {
                return Err(RequestError::Expectation);
            }
            Name::Expect => self.expects_continue = true,
            _ => {}
        }
        Ok(id)
    }

    fn connection_option(&mut self, option: &[u8]) -> Result<(), RequestError> {
        if option.eq_ignore_ascii_case(b"close") {
            self.close = true;
        } else if option.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
        } else if option.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade_option = true;
        } else if token::is_token(option) {
            self.nominated = true;
        } else {
            return Err(RequestError::Syntax("Connection holds something else than names"));
        }
        Ok(())
    }
}

/// Fields whose underscore alias is dropped: an upstream could take it for the real one.
fn is_guarded(id: Name) -> bool {
    id.is_hop_by_hop()
        || matches!(
            id,
            Name::Host
                | Name::ContentLength
                | Name::ContentType
                | Name::Expect
                | Name::Authorization
                | Name::Forwarded
                | Name::XForwardedFor
                | Name::XForwardedHost
                | Name::XForwardedPort
                | Name::XForwardedProto
                | Name::XRequestId
        )
}

fn partial(received: &[u8], limits: &HeadLimits) -> Result<Parsed, RequestError> {
    if received.len() > limits.bytes { Err(RequestError::HeadTooLarge) } else { Ok(Parsed::Partial) }
}

/// A target that fills the buffer before it ends is never complete enough for the parser to show.
fn target_overflows(received: &[u8], limits: &HeadLimits) -> bool {
    received.len() > limits.target + 64 && memchr::memchr(b'\n', &received[..limits.target + 64]).is_none()
}

fn syntax(error: ScanError) -> RequestError {
    match error {
        ScanError::Version => RequestError::Version,
        ScanError::StartLine => RequestError::Syntax("the request line is malformed"),
        ScanError::FieldName => RequestError::Syntax("a field name is malformed"),
        ScanError::FieldValue => RequestError::Syntax("a field value is malformed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Request, RequestError> {
        let mut request = Request::default();
        match request.parse(text.as_bytes(), &HeadLimits::default())? {
            Parsed::Complete(len) => assert_eq!(len, text.len(), "{text:?}"),
            Parsed::Partial => panic!("partial: {text:?}"),
        }
        if !request.path_is_plain() {
            request.set_path_policy(PathPolicy::Strict)?;
        }
        Ok(request)
    }

    fn forwarded(text: &str) -> String {
        let mut out = Vec::new();
        parse(text).expect(text).write_head(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn one_authority_number_is_one_authority() {
        let hosts = ["Host: a.test\r\n", "Host: a.test\r\n", "Host: b.test\r\n", "", "Host: b.test\r\n"];
        let mut request = Request::default();
        let mut known: Vec<(u64, Vec<u8>)> = Vec::new();
        for host in hosts.iter().chain(&hosts) {
            for target in ["/", "http://c.test/", "/"] {
                let text = format!("GET {target} HTTP/1.0\r\n{host}\r\n");
                request.parse(text.as_bytes(), &HeadLimits::default()).expect("a request");
                let (number, authority) = (request.authority_number(), request.authority().to_vec());
                assert!(known.iter().all(|(n, a)| *n != number || *a == authority), "{text:?}: {known:?}");
                known.push((number, authority));
            }
        }
        let repeats = known.windows(2).filter(|pair| pair[0].0 == pair[1].0).count();
        assert!(repeats > 0, "a repeated authority has a number of its own each time");
    }

    #[test]
    fn forwards_what_nobody_edits_as_it_came() {
        let text = "GET /a/b?c=d HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\n\r\n";
        assert_eq!(forwarded(text), text);
    }

    #[test]
    fn strips_what_belongs_to_the_connection() {
        let text = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close, X-A, Host\r\nX-A: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\nX-B:\t2 \r\n\r\n";
        assert_eq!(forwarded(text), "GET / HTTP/1.1\r\nHost: a.test\r\nX-B: 2\r\n\r\n");
    }

    #[test]
    fn drops_underscore_aliases_of_guarded_fields() {
        let text = "GET / HTTP/1.1\r\nHost: a.test\r\nTransfer_Encoding: chunked\r\nX_Forwarded_For: 1.1.1.1\r\nx_mine: 1\r\n\r\n";
        assert_eq!(forwarded(text), "GET / HTTP/1.1\r\nHost: a.test\r\nx_mine: 1\r\n\r\n");
    }

    #[test]
    fn an_absolute_target_decides_the_authority() {
        let text = "GET http://evil.test HTTP/1.1\r\nHost: a.test\r\n\r\n";
        assert_eq!(forwarded(text), "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n");
        assert_eq!(parse(text).expect("valid").host(), b"evil.test");
    }

    #[test]
    fn decides_framing_once() {
        let framing = |fields: &str| parse(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).map(|r| r.framing());
        assert_eq!(framing(""), Ok(Framing::None));
        assert_eq!(framing("Content-Length: 5\r\n"), Ok(Framing::Length(5)));
        assert_eq!(framing("Content-Length: 010\r\n"), Ok(Framing::Length(10)));
        let text = forwarded("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 010\r\n\r\n");
        assert_eq!(text, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
        assert_eq!(framing("Transfer-Encoding: CHUNKED\r\n"), Ok(Framing::Chunked));
        assert_eq!(framing("Transfer-Encoding: identity\r\n"), Err(RequestError::TransferCoding));
        for fields in [
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 5,5\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
        ] {
            assert!(matches!(framing(fields), Err(RequestError::Framing(_))), "{fields:?}");
        }
    }

    #[test]
    fn refuses_lines_without_cr() {
        for text in [
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
        ] {
            assert!(matches!(parse(text), Err(RequestError::Syntax(_))), "{text:?}");
        }
    }

    #[test]
    fn upgrades_only_to_websocket_and_only_when_asked_properly() {
        let ask = |fields: &str| parse(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).expect("valid").upgrade();
        assert_eq!(ask("Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n"), Some(Upgrade::Websocket));
        assert_eq!(ask("Upgrade: websocket\r\n"), None);
        assert_eq!(ask("Connection: upgrade\r\nUpgrade: h2c\r\n"), None);
    }

    #[test]
    fn limits_hold_before_the_head_is_whole() {
        let limits = HeadLimits { bytes: 256, fields: 4, target: 100 };
        let parse = |text: String| Request::default().parse(text.as_bytes(), &limits);
        assert_eq!(parse(format!("GET /{}", "a".repeat(200))), Err(RequestError::TargetTooLong));
        assert_eq!(parse(format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(300))), Err(RequestError::HeadTooLarge));
        assert_eq!(parse(format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(5))), Err(RequestError::HeadTooLarge));
        assert_eq!(parse("GET / HTT".to_owned()), Ok(Parsed::Partial));
        // A method of any length would be taken for a target that has no end.
        assert!(matches!(parse("G".repeat(40)), Err(RequestError::Syntax(_))));
        assert!(matches!(
            parse(format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "G".repeat(150))),
            Err(RequestError::Syntax(_))
        ));
    }

    #[test]
    fn names_and_connection_options_have_a_limit_of_their_own() {
        let limits = HeadLimits { bytes: 128 * 1024, ..HeadLimits::default() };
        let parse = |fields: String| {
            let text = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n{fields}\r\n");
            Request::default().parse(text.as_bytes(), &limits)
        };
        // A name whose length is cut to sixteen bits would end up as another name.
        let name = format!("Transfer-Encoding{}:chunked\r\n", "a".repeat(65_536));
        assert_eq!(parse(name), Err(RequestError::HeadTooLarge));
        assert_eq!(parse(format!("Connection: {}\r\n", "a,".repeat(65))), Err(RequestError::HeadTooLarge));
        assert!(matches!(parse(format!("Connection: {}\r\n", "a,".repeat(64))), Ok(Parsed::Complete(_))));
    }
}
