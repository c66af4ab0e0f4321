//! The data plane: everything between a client's bytes and an upstream's.
//!
//! One worker per core serves its own connections from its own pools by an immutable snapshot. This
//! crate reads no file and knows no source of configuration; the [`Plane`] is all that others see.

mod buffer;
mod chain;
mod clock;
mod error;
mod event_loop;
mod exchange;
mod forward;
mod front;
mod identify;
mod plane;
mod policies;
mod pump;
mod record;
mod respond;
mod router;
mod schedule;
mod serve;
mod snapshot;
mod socket;
mod timers;
mod tunnel;
mod upstream;
mod wait;
mod wire;
mod worker;

pub use front::ListenerSocket;
pub use plane::Plane;
pub use router::{Found, Router};
pub use snapshot::{CompiledPolicy, Snapshot};
pub use socket::watch_for_vanished_peers;
pub use upstream::Endpoint;
