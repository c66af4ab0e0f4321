//! An endpoint's live state, kept across snapshots for as long as the endpoint is configured.

#![expect(clippy::disallowed_types, reason = "the lock is taken per connection and per answer of the name service")]

use oxgate_config::resolved;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

/// One address of an upstream, or one name with as many addresses as its name service says.
#[derive(Debug)]
pub struct Endpoint {
    host: String,
    port: u16,
    is_name: bool,
    authority: String,
    /// Taken when a connection is opened and when the name service answered, never per request.
    addresses: Mutex<Arc<[SocketAddr]>>,
}

impl Endpoint {
    pub(crate) fn new(spec: &resolved::Endpoint) -> Endpoint {
        let address = spec.host.parse::<IpAddr>().ok();
        let addresses: Arc<[SocketAddr]> = address.iter().map(|ip| SocketAddr::new(*ip, spec.port)).collect();
        Endpoint {
            host: spec.host.clone(),
            port: spec.port,
            is_name: address.is_none(),
            authority: spec.authority(),
            addresses: Mutex::new(addresses),
        }
    }

    /// The host name, unless the endpoint was given by address.
    pub fn name(&self) -> Option<&str> {
        self.is_name.then_some(self.host.as_str())
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port` as written in Host and in logs.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Replaces the addresses of the name; the old ones stay when there are no new ones.
    pub fn set_addresses(&self, addresses: &[IpAddr]) {
        if !addresses.is_empty() {
            let new = addresses.iter().map(|ip| SocketAddr::new(*ip, self.port)).collect();
            *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = new;
        }
    }

    /// The addresses known now.
    pub(crate) fn addresses(&self) -> Arc<[SocketAddr]> {
        Arc::clone(&self.addresses.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
