//! Scripted origins and clients for end-to-end tests: real sockets, real processes, no fixed ports.

pub mod actor;
pub mod process;
pub mod sink;
pub mod spec;
pub mod strict;
