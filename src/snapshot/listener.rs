//! Addresses to bind and the listeners that share them.

use serde::Serialize;

use super::route::RuleIndex;
use super::tls::ListenerTls;
use crate::router::RouteTable;
use crate::router::hostname::{HostMap, Hostname};

/// One address and port. Its listeners are distinct by hostname; those of several Gateways may share it.
#[derive(Debug, Serialize)]
pub struct Bind {
    /// What is spoken on the port.
    pub protocol: BindProtocol,
    /// Every listener of the port.
    pub listeners: Vec<Listener>,
    /// Index of the listener that takes a host (HTTP: of the request; TLS: the SNI), most specific first.
    pub by_host: HostMap<u32>,
}

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum BindProtocol {
    /// Cleartext: HTTP/1.1 and h2c by prior knowledge.
    Http,
    /// TLS, terminated by the listener that the SNI chooses; HTTP/1.1 and h2 by ALPN.
    Https,
}

/// A listener of a Gateway that serves.
#[derive(Debug, Serialize)]
pub struct Listener {
    /// Whose listener it is.
    pub id: ListenerId,
    /// The hosts it takes; none takes every host.
    pub hostname: Option<Hostname>,
    /// The port clients were told, which differs from the bound one under `--port-offset`.
    pub port: u16,
    /// Certificates, on an HTTPS port.
    pub tls: Option<ListenerTls>,
    /// Its routes, HTTP and gRPC alike.
    pub routes: RouteTable<RuleIndex>,
}

/// Gateway and listener name, as metrics and logs say them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ListenerId {
    /// Namespace of the Gateway.
    pub namespace: String,
    /// Name of the Gateway.
    pub gateway: String,
    /// Name of the listener.
    pub listener: String,
}

/// Which listener of a port takes a request.
#[derive(Debug, Clone, Copy)]
pub enum Choice<'a> {
    /// This one.
    Listener(&'a Listener),
    /// No listener of the port takes the host. 404.
    NoListener,
    /// The Host belongs to another listener, or none, than the one whose certificate the client saw. 421.
    Misdirected(&'a Listener),
}

impl Bind {
    /// The port clients were told. Under `--port-offset` listeners of two ports may meet on one bind: then it is that
    /// of the first.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.listeners.first().map(|listener| listener.port)
    }

    /// Index of the listener that answers a handshake for `sni` (lower case); without SNI only a listener without
    /// hostname does. `None` refuses the handshake.
    #[must_use]
    pub fn listener_for_sni(&self, sni: Option<&str>) -> Option<u32> {
        self.by_host.find(sni.unwrap_or_default()).copied()
    }

    /// The listener for a request, on a port without TLS (`by_sni` is `None`) or on a connection whose handshake
    /// the listener of index `by_sni` answered. `host` is lower case and without port.
    ///
    /// "select the most specific listener by Host as well; if it is not the one of the SNI, answer 421"
    /// (gateway-api.md 3.4, after RFC 9110 section 15.5.20).
    #[must_use]
    pub fn choose(&self, by_sni: Option<u32>, host: &str) -> Choice<'_> {
        let by_host = self.by_host.find(host).copied();
        let listener = |index: u32| self.listeners.get(index as usize);
        match (by_sni, by_host) {
            (Some(sni), host) if host != Some(sni) => listener(sni).map_or(Choice::NoListener, Choice::Misdirected),
            (_, host) => host.and_then(listener).map_or(Choice::NoListener, Choice::Listener),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: [Option<&str>; 4] =
        [None, Some("second-example.org"), Some("*.wildcard.org"), Some("fourth-example.wildcard.org")];

    fn bind(hosts: &[Option<&str>]) -> Bind {
        let mut bind = Bind { protocol: BindProtocol::Https, listeners: Vec::new(), by_host: HostMap::default() };
        for (index, host) in (0..).zip(hosts) {
            let hostname = host.and_then(Hostname::parse);
            bind.by_host.insert(hostname.as_ref(), index);
            let id = ListenerId { namespace: "n".into(), gateway: "g".into(), listener: index.to_string() };
            bind.listeners.push(Listener { id, hostname, port: 443, tls: None, routes: RouteTable::default() });
        }
        bind
    }

    #[test]
    fn a_host_of_another_listener_than_the_sni_chose_is_misdirected() {
        let bind = bind(&HOSTS);
        // the matrix of gateway-api.md 3.4
        for (sni, host, taken) in [
            ("example.org", "example.org", true),
            ("example.org", "second-example.org", false),
            ("example.org", "unknown-example.org", true),
            ("second-example.org", "second-example.org", true),
            ("second-example.org", "example.org", false),
            ("third-example.wildcard.org", "fith-example.wildcard.org", true),
            ("third-example.wildcard.org", "fourth-example.wildcard.org", false),
            ("third-example.wildcard.org", "unknown-example.org", false),
            ("fourth-example.wildcard.org", "fith-example.wildcard.org", false),
            ("unknown-example.org", "example.org", true),
        ] {
            let by_sni = bind.listener_for_sni(Some(sni));
            assert!(by_sni.is_some());
            match bind.choose(by_sni, host) {
                Choice::Listener(_) => assert!(taken, "{sni} {host}"),
                Choice::Misdirected(_) => assert!(!taken, "{sni} {host}"),
                Choice::NoListener => panic!("{sni} {host}"),
            }
        }
    }

    #[test]
    fn without_sni_only_a_listener_without_hostname_answers() {
        assert_eq!(bind(&HOSTS).listener_for_sni(None), Some(0));
        assert_eq!(bind(&[Some("a.org")]).listener_for_sni(None), None);
        assert_eq!(bind(&[Some("a.org")]).listener_for_sni(Some("b.org")), None);
    }

    #[test]
    fn without_tls_the_most_specific_listener_takes_the_host_or_none_does() {
        let bind = bind(&[Some("*.wildcard.org"), Some("a.wildcard.org")]);
        let taken = |host| match bind.choose(None, host) {
            Choice::Listener(listener) => Some(listener.id.listener.clone()),
            _ => None,
        };
        assert_eq!(taken("a.wildcard.org").as_deref(), Some("1"));
        assert_eq!(taken("b.wildcard.org").as_deref(), Some("0"));
        assert_eq!(taken("wildcard.org"), None);
    }
}
