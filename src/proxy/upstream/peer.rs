//! A connection to an endpoint, as Pingora's connector is asked for one.

use std::net::SocketAddr;
use std::time::Duration;

use pingora::protocols::TcpKeepalive;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};

use super::UpstreamLoad;
use crate::proxy::settings::Settings;
use crate::snapshot::UpstreamProtocol;

/// The file of the authorities that Pingora's connectors trust by themselves: none. Endpoints are spoken to in cleartext,
/// and each connector would read the system's for itself: 200 KiB, some ms, and several for every worker.
pub const TRUSTED: &str = "/dev/null";

/// The peer for an endpoint of an upstream. Always by address: a name would be resolved in place, blocking.
pub fn peer(address: SocketAddr, upstream: &UpstreamLoad, settings: &Settings) -> Box<HttpPeer> {
    let mut peer = HttpPeer::new(address, false, String::new());
    // Invariant 12: connections of two upstreams never meet, even where they share an endpoint.
    peer.group_key = upstream.pool_key();
    match upstream.protocol() {
        UpstreamProtocol::Http1 => {
            peer.options.set_http_version(1, 1);
            // headers::strip_request does it
            peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
        }
        UpstreamProtocol::H2c => {
            peer.options.set_http_version(2, 2);
            peer.options.max_h2_streams = settings.upstream_h2_streams;
        }
    }
    let policy = upstream.policy();
    peer.options.connection_timeout = Some(policy.connect_timeout.unwrap_or(settings.connect_timeout));
    peer.options.idle_timeout = Some(policy.idle_timeout.unwrap_or(settings.upstream_idle_timeout));
    peer.options.write_timeout = Some(settings.body_timeout);
    peer.options.tcp_keepalive = Some(TcpKeepalive {
        idle: settings.tcp_keepalive,
        interval: Duration::from_secs(10),
        count: 5,
        user_timeout: Duration::ZERO,
    });
    Box::new(peer)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pingora::upstreams::peer::Peer;

    use super::super::balance::Ties;
    use super::*;
    use crate::snapshot::upstream::EndpointCell;
    use crate::snapshot::{EndpointSet, Policy, Upstream, UpstreamId};
    use crate::telemetry::UpstreamSeries;

    #[test]
    fn times_are_those_of_the_policy_or_of_the_process() {
        let (namespace, service) = ("n".to_owned(), "s".to_owned());
        let id = UpstreamId { namespace, service, port: 80, protocol: UpstreamProtocol::Http1 };
        let series = UpstreamSeries::unread("n", "s", 80);
        let ties = Ties { series, ring: Arc::default(), worker: 0, h2_streams: 1 };
        let endpoints = EndpointCell::new(EndpointSet::default());
        let load = UpstreamLoad::new(&Upstream { id, policy: Policy::default(), endpoints }, ties);
        let times = |load: &UpstreamLoad| {
            let peer = peer(([127, 0, 0, 1], 1).into(), load, &Settings::default());
            (peer.connection_timeout(), peer.idle_timeout(), peer.group_key)
        };
        let (connect, idle) = (Duration::from_millis(700), Duration::from_secs(7));
        let policy = Policy { connect_timeout: Some(connect), idle_timeout: Some(idle), ..Policy::default() };
        let (settings, key) = (Settings::default(), load.pool_key());
        assert_eq!(times(&load), (Some(settings.connect_timeout), Some(settings.upstream_idle_timeout), key));
        // The pool stays the same: who is connected to has not changed.
        assert_eq!(times(&load.under(policy)), (Some(connect), Some(idle), key));
    }
}
