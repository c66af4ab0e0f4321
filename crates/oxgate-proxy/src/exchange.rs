//! One request and its response, with what is known about them. Reused along a connection.

use crate::identify::Introduction;
use oxgate_http::{Request, Response};
use oxgate_policy::Slot;
use oxgate_telemetry::Reason;
use std::net::{IpAddr, Ipv4Addr};

/// The longest request id taken over from a trusted peer.
pub(crate) const MAX_REQUEST_ID: usize = 128;

#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) request: Request,
    /// In a box, so that it can be swapped for one that lies in the cache.
    pub(crate) response: Box<Response>,
    /// When the head was complete, in the worker's microseconds.
    pub(crate) started_us: u64,
    /// When the request was handed to the upstream, and when the answer began; 0 before.
    pub(crate) sent_us: u64,
    pub(crate) first_byte_us: u64,
    pub(crate) client: IpAddr,
    pub(crate) scheme: &'static str,
    pub(crate) request_id: Vec<u8>,
    pub(crate) introduction: Introduction,
    /// The rest of an interim answer that the client's socket did not take: it has to go out before
    /// anything else.
    pub(crate) unsent: Vec<u8>,
    pub(crate) route: Option<usize>,
    /// Indices of the upstream and its endpoint.
    pub(crate) upstream: Option<(usize, usize)>,
    pub(crate) attempts: u8,
    pub(crate) slots: Vec<Slot>,
    pub(crate) body_limit: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// The status that the client got; 0 while it got none.
    pub(crate) status: u16,
    pub(crate) reason: Option<Reason>,
}

impl Default for Exchange {
    fn default() -> Self {
        Exchange {
            request: Request::default(),
            response: Box::default(),
            started_us: 0,
            sent_us: 0,
            first_byte_us: 0,
            client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            scheme: "http",
            request_id: Vec::new(),
            introduction: Introduction::default(),
            unsent: Vec::new(),
            route: None,
            upstream: None,
            attempts: 0,
            slots: Vec::new(),
            body_limit: u64::MAX,
            bytes_in: 0,
            bytes_out: 0,
            status: 0,
            reason: None,
        }
    }
}

impl Exchange {
    /// Forgets everything but the request, which was just read.
    #[inline]
    pub(crate) fn begin(&mut self, now_us: u64) {
        self.started_us = now_us;
        (self.sent_us, self.first_byte_us) = (0, 0);
        self.request_id.clear();
        self.route = None;
        self.upstream = None;
        self.attempts = 0;
        self.slots.clear();
        self.unsent.clear();
        self.body_limit = u64::MAX;
        (self.bytes_in, self.bytes_out) = (0, 0);
        self.status = 0;
        self.reason = None;
    }
}
