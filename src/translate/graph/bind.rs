//! Addresses that listeners are to be bound on, and what became of them.

use std::net::{IpAddr, SocketAddr};

use super::Settings;
use super::listener::{ListenerNode, ListenerState};
use crate::store::{BindState, Resources};
use crate::translate::Binds;

/// What became of an address of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindOutcome<'a> {
    /// Accepting.
    Bound,
    /// Not heard of yet.
    Pending,
    /// This machine has no such address; the words of the system.
    NoSuchAddress(&'a str),
    /// Out of files or memory; the words of the system.
    NoResources(&'a str),
    /// Taken or forbidden; the words of the system.
    Refused(&'a str),
}

/// Every pair of an address and the port.
pub fn addresses(ips: &[IpAddr], port: Option<u16>) -> Vec<SocketAddr> {
    port.into_iter().flat_map(|port| ips.iter().map(move |ip| SocketAddr::new(*ip, port))).collect()
}

/// What became of the addresses of a listener that serves; nothing for one that does not.
pub fn outcomes<'a>(
    listener: &ListenerNode<'a>,
    resources: &'a Resources,
    settings: &Settings,
) -> Vec<(SocketAddr, BindOutcome<'a>)> {
    if listener.state != ListenerState::Serving {
        return Vec::new();
    }
    let outcome = |address: &SocketAddr| match settings.binds {
        Binds::Assumed | Binds::Foreseen => BindOutcome::Bound,
        Binds::Observed => resources.binds.get(address).map_or(BindOutcome::Pending, judge),
    };
    listener.addresses.iter().map(|address| (*address, outcome(address))).collect()
}

fn judge(state: &BindState) -> BindOutcome<'_> {
    let BindState::Failed(words) = state else { return BindOutcome::Bound };
    let says = |part: &str| words.to_ascii_lowercase().contains(part);
    if says("cannot assign") || says("can't assign") || says("not available") {
        BindOutcome::NoSuchAddress(words)
    } else if says("too many open files") || says("cannot allocate memory") || says("no buffer space") {
        BindOutcome::NoResources(words)
    } else {
        BindOutcome::Refused(words)
    }
}
