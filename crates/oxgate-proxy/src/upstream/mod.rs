//! Upstreams: endpoints, the choice among them, and the connections to them.

mod connection;
mod endpoint;
mod pool;

pub(crate) use connection::Connection;
pub use endpoint::Endpoint;
pub(crate) use pool::UpstreamView;
