//! The closed list of reasons for every answer that the gateway makes itself, and for every
//! exchange that ends early.

macro_rules! reasons {
    ($($(#[$doc:meta])* $id:ident = $text:literal,)*) => {
        /// Why the gateway answered itself, or why an exchange ended early.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason { $($(#[$doc])* $id,)* }

        impl Reason {
            /// Every reason, in the order of its number.
            pub const ALL: &[Reason] = &[$(Reason::$id,)*];

            /// The reason as `code` in answers, `reason` in logs and as a metric's label.
            pub fn text(self) -> &'static str {
                match self { $(Reason::$id => $text,)* }
            }
        }
    };
}

reasons! {
    /// The bytes are no HTTP request.
    MalformedRequest = "malformed_request",
    /// Host is missing, repeated or invalid.
    BadHost = "bad_host",
    /// The body's length is ambiguous.
    BadFraming = "bad_framing",
    /// The body breaks the chunked coding.
    BadBody = "bad_body",
    /// The path has no single reading.
    BadPath = "bad_path",
    /// The head is over its limit.
    HeaderTooLarge = "header_too_large",
    /// The target is over its limit.
    UriTooLong = "uri_too_long",
    /// Neither HTTP/1.0 nor HTTP/1.1.
    VersionNotSupported = "version_not_supported",
    /// A transfer coding other than chunked.
    TransferCodingNotSupported = "transfer_coding_not_supported",
    /// CONNECT.
    MethodNotSupported = "method_not_supported",
    /// An Expect other than 100-continue.
    ExpectationFailed = "expectation_failed",
    /// The head took longer than `header_timeout`.
    HeaderTimeout = "header_timeout",
    /// The body stalled longer than `body_idle_timeout` or fell under `min_body_rate`.
    BodyTimeout = "body_timeout",
    /// No route matches.
    NoRoute = "no_route",
    /// Routes match, but for other methods.
    MethodNotAllowed = "method_not_allowed",
    /// A route with `respond`.
    RouteResponse = "route_response",
    /// A route with `redirect`.
    RouteRedirect = "route_redirect",
    /// Denied by `ip_filter`.
    IpDenied = "ip_denied",
    /// A CORS preflight answered by `cors`.
    CorsPreflight = "cors_preflight",
    /// The body is over `body_limit`.
    BodyTooLarge = "body_too_large",
    /// The listener has all the connections it may have, or the process all its descriptors.
    TooManyConnections = "too_many_connections",
    /// The upstream has no endpoint.
    NoEndpoint = "no_endpoint",
    /// No address is known for the endpoint's name yet.
    UpstreamUnresolved = "upstream_unresolved",
    /// The endpoint refused the connection.
    UpstreamConnectRefused = "upstream_connect_refused",
    /// No connection within `connect_timeout`.
    UpstreamConnectTimeout = "upstream_connect_timeout",
    /// The upstream closed or reset the connection before its answer.
    UpstreamReset = "upstream_reset",
    /// The upstream's answer is no valid HTTP.
    UpstreamMalformed = "upstream_malformed",
    /// No answer within `timeouts.response`.
    UpstreamResponseTimeout = "upstream_response_timeout",
    /// The answer stalled longer than `timeouts.idle`.
    UpstreamIdleTimeout = "upstream_idle_timeout",
    /// The upstream ended the body before its end.
    UpstreamTruncated = "upstream_truncated",
    /// `limits.pending` requests wait for a connection already.
    UpstreamOverloaded = "upstream_overloaded",
    /// No connection became free within `limits.pending_timeout`.
    UpstreamPendingTimeout = "upstream_pending_timeout",
    /// The exchange took longer than `timeouts.total`.
    TotalTimeout = "total_timeout",
    /// The client went away.
    ClientGone = "client_gone",
    /// The client stopped reading the answer.
    ClientStalled = "client_stalled",
    /// The gateway shut down before the exchange was over.
    ShuttingDown = "shutting_down",
    /// The gateway is at fault.
    Internal = "internal_error",
}

impl Reason {
    /// Whether the exchange went as the configuration meant it to.
    pub fn is_ordinary(self) -> bool {
        matches!(self, Reason::RouteResponse | Reason::RouteRedirect | Reason::CorsPreflight)
    }
}
