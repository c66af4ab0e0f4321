//! The HTTP message and the HTTP/1 codec: bytes in, events out.
//!
//! Every protocol's front end fills the same [`Request`] and [`Response`]; policies and the
//! forwarding code see only these. Nothing here may know a socket, a runtime or a clock.

pub mod authority;
pub mod chunked;
pub mod forwarded;
mod framing;
mod head;
mod marks;
mod name;
pub mod path;
mod request;
mod response;
mod scan;
pub mod token;
pub mod websocket;

pub use framing::Framing;
pub use head::{Head, Span};
pub use name::Name;
pub use path::PathPolicy;
pub use request::{Method, Request, RequestError, Upgrade};
pub use response::{Response, ResponseError, reason_phrase};

/// What a head may cost before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, start line and blank line included.
    pub bytes: usize,
    /// Number of fields.
    pub fields: usize,
    /// Bytes of the request target.
    pub target: usize,
}

impl Default for HeadLimits {
    /// 32 KiB, 100 fields, 8 KiB of target.
    fn default() -> Self {
        HeadLimits { bytes: 32 * 1024, fields: 100, target: 8 * 1024 }
    }
}

/// What a parser made of the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole head, this many bytes long.
    Complete(usize),
    /// More bytes are needed.
    Partial,
}
