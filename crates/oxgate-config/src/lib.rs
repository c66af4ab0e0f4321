//! From bytes to a checked configuration.
//!
//! One way only: a file's bytes become a tree of [`node`]s that know where they stand, the tree a
//! [`document`](mod@document) as written, the document a [`resolved`] configuration with every name found and every
//! default in place. All mistakes on the way are noted as [`diagnostic`]s, never just the first.

pub mod decode;
pub mod diagnostic;
pub mod document;
mod format;
pub mod load;
pub mod node;
pub mod pattern;
mod resolve;
pub mod resolved;

pub use resolve::{document, resolve};
