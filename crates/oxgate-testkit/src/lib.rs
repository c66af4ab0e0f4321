//! Scripted origins and clients for end-to-end tests.
