//! Settings of ports, as they were given, in the words of the data plane.

use std::collections::BTreeMap;

use crate::config::{Config, Port, ProxyMode, ProxyProtocol, Redirection};
use crate::proxy::{self, AddressRanges, PortSettings};
use crate::snapshot::filter::Scheme;

/// What holds on each port.
pub fn settings(config: &Config) -> BTreeMap<u16, PortSettings> {
    config.ports.0.iter().map(|(port, given)| (port.get(), settings_of(given))).collect()
}

/// Where the requests of some ports are sent instead.
#[must_use]
pub fn redirections(config: &Config) -> BTreeMap<u16, proxy::Redirection> {
    let all = settings(config).into_iter();
    all.filter_map(|(port, settings)| Some((port, settings.redirection?))).collect()
}

fn settings_of(port: &Port) -> PortSettings {
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
