//! The client's side: accepting connections and reading requests from them.

mod downstream;
pub(crate) mod h1;
mod listener;

pub(crate) use downstream::{Downstream, write_address};
pub use listener::ListenerSocket;
pub(crate) use listener::{ListenerView, run as run_listener};
