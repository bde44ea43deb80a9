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
