//! From bytes to a checked configuration.

pub mod node;
pub mod pattern;
pub mod resolved;
