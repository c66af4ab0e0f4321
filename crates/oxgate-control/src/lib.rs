//! The control plane: what happens beside the traffic.
//!
//! Nothing here is on the path of a request. When all of it stands still, traffic goes on.

pub mod access_log;
mod exposition;
pub mod http;
pub mod resolver;
pub mod status;
pub mod watch;
