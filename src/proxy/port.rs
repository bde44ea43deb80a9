//! What holds on a port beyond what its listeners say: whom its peers are believed, and where requests are sent
//! instead. Plain values; where they come from is not known here.

use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::IpNet;

use crate::snapshot::filter::Scheme;

/// Settings of a port that listeners name.
#[derive(Debug, Clone, Default)]
pub struct PortSettings {
    /// Connections begin with a header of the PROXY protocol.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Peers that are believed what they say of the client.
    pub forwarders: AddressRanges,
    /// Where every request is sent instead.
    pub redirection: Option<Redirection>,
}

/// Who may send a header of the PROXY protocol.
#[derive(Debug, Clone)]
pub struct ProxyProtocol {
    /// Nobody else.
    pub trusted: AddressRanges,
    /// Whether a connection without it is closed.
    pub required: bool,
}

/// Ranges of addresses.
#[derive(Debug, Clone, Default)]
pub struct AddressRanges(pub Vec<IpNet>);

/// Where every request of a port is sent instead.
#[derive(Debug, Clone, Copy)]
pub struct Redirection {
    /// The port that is named.
    pub port: NonZeroU16,
    /// The scheme.
    pub scheme: Scheme,
    /// Whether a client may remember it.
    pub permanent: bool,
}

impl AddressRanges {
    /// Whether an address is in any of them. An IPv4 address in the form of IPv6 is in none.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(&address))
    }
}
