//! What went wrong between the gateway and an upstream or a client: what, whose side, and whether
//! sending the request again is safe.

use oxgate_telemetry::Reason;

/// Something broke while an exchange was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyError {
    /// The upstream has no endpoint at all.
    NoEndpoint,
    /// No address is known for the endpoint's name.
    Unresolved,
    /// The connection was refused or could not be made.
    ConnectFailed,
    /// No connection within the time allowed.
    ConnectTimeout,
    /// Too many requests wait for a connection already.
    Overloaded,
    /// No connection became free in time.
    PendingTimeout,
    /// The upstream closed or reset before a byte of its answer.
    Reset,
    /// The upstream's answer is malformed.
    Malformed,
    /// The answer did not begin in time.
    ResponseTimeout,
    /// The answer stalled.
    IdleTimeout,
    /// The answer's body ended early.
    Truncated,
    /// The exchange as a whole took too long.
    TotalTimeout,
    /// The request's body is malformed.
    BadBody,
    /// The request's body is over the limit.
    BodyTooLarge,
    /// The request's body stalled.
    BodyTimeout,
    /// The client went away.
    ClientGone,
    /// The client stopped reading.
    ClientStalled,
    /// The time to finish before the gateway ends is over.
    ShuttingDown,
}

/// Whose side broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Upstream,
    Client,
}

impl ProxyError {
    /// The status and the reason of the answer, and what it says.
    pub(crate) fn answer(self) -> (u16, Reason, &'static str) {
        match self {
            ProxyError::NoEndpoint => (503, Reason::NoEndpoint, "no endpoint can take the request"),
            ProxyError::Unresolved => (503, Reason::UpstreamUnresolved, "the upstream's address is not known yet"),
            ProxyError::ConnectFailed => (502, Reason::UpstreamConnectRefused, "the upstream refused the connection"),
            ProxyError::ConnectTimeout => {
                (504, Reason::UpstreamConnectTimeout, "the upstream could not be reached in time")
            }
            ProxyError::Overloaded => (503, Reason::UpstreamOverloaded, "too many requests wait for the upstream"),
            ProxyError::PendingTimeout => {
                (503, Reason::UpstreamPendingTimeout, "no connection to the upstream became free in time")
            }
            ProxyError::Reset => (502, Reason::UpstreamReset, "the upstream closed the connection without an answer"),
            ProxyError::Malformed => (502, Reason::UpstreamMalformed, "the upstream's answer is not valid HTTP"),
            ProxyError::ResponseTimeout => {
                (504, Reason::UpstreamResponseTimeout, "the upstream did not answer in time")
            }
            ProxyError::IdleTimeout => (504, Reason::UpstreamIdleTimeout, "the upstream's answer stalled"),
            ProxyError::Truncated => (502, Reason::UpstreamTruncated, "the upstream's answer ended early"),
            ProxyError::TotalTimeout => (504, Reason::TotalTimeout, "the exchange took too long"),
            ProxyError::BadBody => (400, Reason::BadBody, "the body's chunked coding is malformed"),
            ProxyError::BodyTooLarge => (413, Reason::BodyTooLarge, "the body is larger than the route allows"),
            ProxyError::BodyTimeout => (408, Reason::BodyTimeout, "the body did not arrive in time"),
            ProxyError::ClientGone => (499, Reason::ClientGone, "the client went away"),
            ProxyError::ClientStalled => (499, Reason::ClientStalled, "the client stopped reading"),
            ProxyError::ShuttingDown => (503, Reason::ShuttingDown, "the gateway is shutting down"),
        }
    }

    /// Whose side broke.
    pub(crate) fn side(self) -> Side {
        match self {
            ProxyError::BadBody
            | ProxyError::BodyTooLarge
            | ProxyError::BodyTimeout
            | ProxyError::ClientGone
            | ProxyError::ClientStalled => Side::Client,
            ProxyError::NoEndpoint
            | ProxyError::Unresolved
            | ProxyError::ConnectFailed
            | ProxyError::ConnectTimeout
            | ProxyError::Overloaded
            | ProxyError::PendingTimeout
            | ProxyError::Reset
            | ProxyError::Malformed
            | ProxyError::ResponseTimeout
            | ProxyError::IdleTimeout
            | ProxyError::Truncated
            | ProxyError::TotalTimeout
            | ProxyError::ShuttingDown => Side::Upstream,
        }
    }
}
