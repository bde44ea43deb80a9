//! Settings of a port, as they were given, in the words of the data plane.

use crate::config::{Port, ProxyMode, ProxyProtocol, Redirection};
use crate::proxy::{self, AddressRanges, PortSettings};
use crate::snapshot::filter::Scheme;

/// What holds on the port.
pub fn settings(port: &Port) -> PortSettings {
    let protocol = |protocol: &ProxyProtocol| proxy::ProxyProtocol {
        trusted: AddressRanges(protocol.trusted.clone()),
        required: protocol.mode == ProxyMode::Required,
    };
    let redirection = |redirection: Redirection| proxy::Redirection {
        port: redirection.to,
        scheme: if redirection.https { Scheme::Https } else { Scheme::Http },
        permanent: redirection.permanent,
    };
    PortSettings {
        proxy_protocol: port.proxy_protocol.as_ref().map(protocol),
        forwarders: AddressRanges(port.forwarders.clone()),
        redirection: port.redirection.map(redirection),
    }
}
