//! Where the two planes meet: the command line, and the life of a running gateway.

pub mod cli;
mod commands;
pub mod configuration;
mod demo;
mod environment;
mod explain;
pub mod gateway;
mod interfaces;
mod memory;
mod run;
mod sockets;
pub mod upgrade;

pub use commands::main;
