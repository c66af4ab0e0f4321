//! What a policy is, and every built-in policy.
//!
//! A policy looks at a request on its way in and at the response on its way out. It does no I/O and
//! reads no clock: it lets the exchange go on, answers it, or asks for one outside call that the
//! chain performs for it.

mod body_limit;
mod cors;
mod headers;
mod ip_filter;
mod policy;
mod registry;
mod rewrite;
pub mod template;

pub use policy::{Answer, Ask, Body, Call, Phases, Policy, Reply, RequestView, ResponseView, Slot, Verdict};
pub use registry::{KINDS, Kind, compile};
