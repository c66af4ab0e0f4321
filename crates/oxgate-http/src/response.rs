//! A response head: what an upstream sent, or what the gateway answers itself.

use crate::framing::content_length;
use crate::head::{Head, Span};
use crate::name::NameSet;
use crate::scan::{self, Lines, Next};
use crate::token::MAX_NAME;
use crate::{Framing, HeadLimits, Method, Name, Parsed, token};

/// Why a response cannot be passed on. The upstream connection is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// The bytes are no HTTP/1 response.
    Syntax,
    /// The body's length is said twice, in two ways or not properly.
    Framing,
    /// The head is over its limit of bytes or fields.
    HeadTooLarge,
}

/// A response, from whichever protocol it came.
#[derive(Debug, Default)]
pub struct Response {
    /// The fields.
    pub head: Head,
    status: u16,
    reason: Span,
    framing: Framing,
    persistent: bool,
    upgrades: bool,
    /// The status line, as long as it may be sent as it was received.
    line: Span,
}

impl Response {
    /// Reads a head from the front of `received`, as the answer to a request with this method.
    /// Afterwards the hop-by-hop fields are gone and the framing is settled (RFC 9112 §6.3).
    ///
    /// # Errors
    /// The first rule that the head breaks.
    pub fn parse(&mut self, received: &[u8], to: Method, limits: &HeadLimits) -> Result<Parsed, ResponseError> {
        self.head.clear();
        let line = match scan::status_line(received) {
            Ok(Some(line)) => line,
            Ok(None) => return partial(received, limits),
            Err(_) => return Err(ResponseError::Syntax),
        };
        let (mut length, mut chunked, mut close, mut keep_alive) = (None, false, false, false);
        let (mut seen, mut nominated, mut upgrades) = (NameSet::default(), false, false);
        let mut lines = Lines::new(received, line.end);
        let mut at = line.end;
        let mut left = limits.fields;
        let len = loop {
            let field = match lines.next() {
                Ok(Next::Field(field)) => field,
                Ok(Next::End(end)) => break end,
                Ok(Next::Partial) => return partial(received, limits),
                // A blank line that ends in a bare LF is the only line that starts with one.
                Err(_) if received.get(at) == Some(&b'\n') => break at + 1,
                Err(_) => return Err(ResponseError::Syntax),
            };
            if left == 0 || field.name.len() > MAX_NAME {
                return Err(ResponseError::HeadTooLarge);
            }
            left -= 1;
            at = field.end;
            let value = &received[field.value.range()];
            let id = field.id;
            match id {
                Name::ContentLength => {
                    if length.replace(content_length(value).ok_or(ResponseError::Framing)?).is_some() {
                        return Err(ResponseError::Framing);
                    }
                }
                Name::TransferEncoding => {
                    if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                        return Err(ResponseError::Framing);
                    }
                    chunked = true;
                }
                Name::Connection => {
                    for option in token::list(value) {
                        if option.eq_ignore_ascii_case(b"close") {
                            close = true;
                        } else if option.eq_ignore_ascii_case(b"keep-alive") {
                            keep_alive = true;
                        } else if option.eq_ignore_ascii_case(b"upgrade") {
                        } else {
                            nominated = true;
                        }
                    }
                }
                Name::Upgrade => upgrades |= token::list(value).any(|p| p.eq_ignore_ascii_case(b"websocket")),
                _ => {}
            }
            seen.insert(id);
            self.head.push_received(&field, id);
        };
        if len > limits.bytes {
            return Err(ResponseError::HeadTooLarge);
        }
        self.head.load(&received[..len]);
        (self.status, self.reason, self.upgrades) = (line.status, line.reason, upgrades);
        let kept = !line.http10 && !line.reason.is_empty() && received[line.end - 2] == b'\r';
        self.line = if kept { Span::new(0, line.end) } else { Span::default() };
        if seen.meets(NameSet::HOP_BY_HOP) {
            self.head.strip_hop_by_hop(nominated);
        }
        let http10 = line.http10;
        if chunked && (length.is_some() || http10) {
            return Err(ResponseError::Framing);
        }
        self.persistent = !close && (!http10 || keep_alive);
        self.settle(to, length, chunked);
        Ok(Parsed::Complete(len))
    }

    fn settle(&mut self, to: Method, length: Option<u64>, chunked: bool) {
        let bodiless = matches!(self.status, 100..200 | 204 | 304) || to == Method::Head;
        self.framing = match (bodiless, length) {
            (true, _) => Framing::None,
            (false, _) if chunked => Framing::Chunked,
            (false, Some(length)) => Framing::of_length(length),
            (false, None) => Framing::UntilClose,
        };
        if matches!(self.status, 100..200 | 204) && (length.is_some() || chunked) {
            // RFC 9110 §8.6 forbids both here; what follows the head cannot be known.
            self.head.remove(Name::ContentLength);
            self.persistent &= length.unwrap_or(1) == 0;
        }
        self.persistent &= self.framing != Framing::UntilClose;
    }

    /// Starts an answer of the gateway's own.
    pub fn begin(&mut self, status: u16) {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        *self = Response { head, status, ..Response::default() };
    }

    /// Gives the answer a body of known length, with the field that says so.
    pub fn set_length(&mut self, length: usize) {
        self.framing = Framing::of_length(length as u64);
        self.head.set(b"Content-Length", length.to_string().as_bytes());
    }

    /// The status code, 100 to 999.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Replaces the status; the reason phrase becomes the standard one.
    pub fn set_status(&mut self, status: u16) {
        self.status = status;
        (self.reason, self.line) = Default::default();
    }

    /// Whether this is an interim response (1xx other than 101).
    pub fn is_interim(&self) -> bool {
        matches!(self.status, 100..200) && self.status != 101
    }

    /// Whether a 101 names the protocol that was asked for.
    pub fn upgrades(&self) -> bool {
        self.status == 101 && self.upgrades
    }

    /// How the body is delimited on the upstream's connection.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the upstream would take another request on the connection.
    pub fn is_persistent(&self) -> bool {
        self.persistent
    }

    /// Appends the head as an HTTP/1.1 response whose body is framed as `framing`, with
    /// `connection` as the Connection field where one is due.
    #[inline]
    pub fn write_head(&self, framing: Framing, connection: Option<&str>, out: &mut Vec<u8>) {
        if self.line.is_empty() {
            self.write_line(out);
        }
        self.head.write(self.line, out);
        if framing == Framing::Chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if let Some(connection) = connection {
            out.extend_from_slice(b"Connection: ");
            out.extend_from_slice(connection.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if self.upgrades() {
            out.extend_from_slice(b"Upgrade: websocket\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    fn write_line(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        let status = self.status;
        out.extend_from_slice(&[
            b'0' + (status / 100) as u8,
            b'0' + (status / 10 % 10) as u8,
            b'0' + (status % 10) as u8,
            b' ',
        ]);
        if self.reason.is_empty() {
            out.extend_from_slice(reason_phrase(status).as_bytes());
        } else {
            out.extend_from_slice(self.head.bytes(self.reason));
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn partial(received: &[u8], limits: &HeadLimits) -> Result<Parsed, ResponseError> {
    if received.len() > limits.bytes { Err(ResponseError::HeadTooLarge) } else { Ok(Parsed::Partial) }
}

/// The reason phrase that RFC 9110 §15 gives a status; empty for others.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        418 => "I'm a teapot",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, to: Method) -> Result<Response, ResponseError> {
        let mut response = Response::default();
        response.parse(text.as_bytes(), to, &HeadLimits::default())?;
        Ok(response)
    }

    fn written(text: &str) -> String {
        let response = parse(text, Method::Get).expect(text);
        let mut out = Vec::new();
        response.write_head(response.framing(), None, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn passes_on_what_came_without_hop_by_hop_fields() {
        let text =
            "HTTP/1.1 200 Fine\r\nConnection: X-S\r\nX-S: 1\r\nKeep-Alive: 5\r\nContent-Length: 2\r\nX-A: b\r\n\r\n";
        assert_eq!(written(text), "HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX-A: b\r\n\r\n");
    }

    #[test]
    fn bare_lf_is_written_canonically() {
        assert_eq!(written("HTTP/1.1 200 OK\nContent-Length: 2\n\n"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    }

    #[test]
    fn settles_framing() {
        let framing = |text: &str, to| parse(text, to).map(|r| (r.framing(), r.is_persistent()));
        assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n", Method::Get), Ok((Framing::UntilClose, false)));
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::Head), Ok((Framing::None, true)));
        assert_eq!(framing("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", Method::Get), Ok((Framing::None, false)));
        assert_eq!(framing("HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n", Method::Get), Ok((Framing::None, true)));
        assert_eq!(
            framing("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", Method::Get),
            Ok((Framing::Length(5), false))
        );
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(framing(text, Method::Get), Err(ResponseError::Framing), "{text:?}");
        }
        for text in [
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 99 X\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX-A: a\rb\r\n\r\n",
            "\x16\x03\x01 x\r\n\r\n",
        ] {
            assert_eq!(framing(text, Method::Get), Err(ResponseError::Syntax), "{text:?}");
        }
    }
}
