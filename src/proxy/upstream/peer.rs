//! A connection to an endpoint, as Pingora's connector is asked for one.

use std::net::SocketAddr;
use std::time::Duration;

use pingora::protocols::TcpKeepalive;
use pingora::upstreams::peer::HttpPeer;

use super::UpstreamLoad;
use crate::proxy::settings::Settings;
use crate::snapshot::UpstreamProtocol;

/// The peer for an endpoint of an upstream. Always by address: a name would be resolved in place, blocking.
pub fn peer(address: SocketAddr, upstream: &UpstreamLoad, settings: &Settings) -> Box<HttpPeer> {
    let mut peer = HttpPeer::new(address, false, String::new());
    // Invariant 12: connections of two upstreams never meet, even where they share an endpoint.
    peer.group_key = upstream.pool_key();
    match upstream.protocol() {
        UpstreamProtocol::Http1 => peer.options.set_http_version(1, 1),
        UpstreamProtocol::H2c => {
            peer.options.set_http_version(2, 2);
            peer.options.max_h2_streams = settings.upstream_h2_streams;
        }
    }
    let policy = upstream.policy();
    peer.options.connection_timeout = Some(policy.connect_timeout.unwrap_or(settings.connect_timeout));
    peer.options.idle_timeout = Some(policy.idle_timeout.unwrap_or(settings.upstream_idle_timeout));
    peer.options.tcp_keepalive = Some(TcpKeepalive {
        idle: settings.tcp_keepalive,
        interval: Duration::from_secs(10),
        count: 5,
        user_timeout: Duration::ZERO,
    });
    Box::new(peer)
}
