//! The seam between the chain and the policies.

use oxgate_config::pattern::PathPattern;
use oxgate_http::{Request, Response};
use oxgate_telemetry::Reason;
use std::borrow::Cow;
use std::fmt::Debug;
use std::net::IpAddr;
use std::time::Duration;

/// What a policy decides about a request.
#[derive(Debug)]
pub enum Verdict {
    /// The next policy, or the route's action.
    Next,
    /// This answer; nothing goes upstream, and the policies before this one see the answer pass.
    Answer(Box<Answer>),
    /// One call to an upstream first; [`Policy::on_reply`] then decides.
    Ask(Ask),
}

/// An outside call, on its way to the chain.
pub type Ask = Box<Call>;

/// An answer that the gateway makes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Why, for the answer's `code`, the log and the metrics.
    pub reason: Reason,
    /// Fields beyond those that every answer has.
    pub headers: Vec<(Cow<'static, str>, Vec<u8>)>,
    /// The body.
    pub body: Body,
}

/// The body of an [`Answer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A problem document (RFC 9457) with this detail; empty for none.
    Problem(Cow<'static, str>),
    /// These bytes; their type is among the headers.
    Bytes(Vec<u8>),
}

impl Answer {
    /// A problem document.
    pub fn problem(status: u16, reason: Reason, detail: impl Into<Cow<'static, str>>) -> Box<Answer> {
        Box::new(Answer { status, reason, headers: Vec::new(), body: Body::Problem(detail.into()) })
    }

    /// An answer with nothing in it.
    pub fn empty(status: u16, reason: Reason) -> Box<Answer> {
        Box::new(Answer { status, reason, headers: Vec::new(), body: Body::Bytes(Vec::new()) })
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self: Box<Self>, name: &'static str, value: impl Into<Vec<u8>>) -> Box<Answer> {
        self.headers.push((Cow::Borrowed(name), value.into()));
        self
    }
}

/// A request to an upstream on a policy's behalf. Its reply is held whole, up to 64 KiB.
#[derive(Debug)]
pub struct Call {
    /// The upstream's name.
    pub upstream: String,
    /// Method, path, fields and authority; a body is not sent.
    pub request: Request,
    /// How long the whole call may take.
    pub timeout: Duration,
}

/// What came back for a [`Call`].
#[derive(Debug)]
pub struct Reply {
    /// The head; `None` when no answer came, whatever the cause.
    pub response: Option<Response>,
    /// The body.
    pub body: Vec<u8>,
}

/// What a policy keeps between the phases of one exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Slot {
    /// Nothing.
    #[default]
    Empty,
    /// A number whose meaning only the policy knows.
    Number(u64),
    /// A text.
    Text(Box<str>),
}

/// The phases in which a policy wants to be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// [`Policy::on_request`].
    pub request: bool,
    /// [`Policy::on_response`].
    pub response: bool,
}

/// A request as a policy sees it.
#[derive(Debug)]
pub struct RequestView<'a> {
    /// The request; edits go upstream.
    pub request: &'a mut Request,
    /// The client, as the trusted proxies tell it.
    pub client: IpAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The pattern that the path matched, for its parts.
    pub pattern: &'a PathPattern,
    /// The policy's own state.
    pub slot: &'a mut Slot,
    /// The most bytes the request's body may have; policies only lower it.
    pub body_limit: &'a mut u64,
}

/// A response as a policy sees it, whoever made it.
#[derive(Debug)]
pub struct ResponseView<'a> {
    /// The request as it left the last policy.
    pub request: &'a Request,
    /// The response; edits go to the client.
    pub response: &'a mut Response,
    /// The policy's own state.
    pub slot: &'a mut Slot,
}

/// A policy with its options, shared by all workers.
pub trait Policy: Debug + Send + Sync {
    /// When to be asked; fixed for the policy's life.
    fn phases(&self) -> Phases;

    /// Whether the policy can serve a route with this path.
    ///
    /// # Errors
    /// Why not, in one sentence.
    fn check(&self, _: &PathPattern) -> Result<(), String> {
        Ok(())
    }

    /// Decides about a request.
    fn on_request(&self, _: &mut RequestView<'_>) -> Verdict {
        Verdict::Next
    }

    /// Decides after the call it asked for.
    fn on_reply(&self, _: &mut RequestView<'_>, _: Reply) -> Verdict {
        Verdict::Next
    }

    /// Edits a response.
    fn on_response(&self, _: &mut ResponseView<'_>) {}
}
