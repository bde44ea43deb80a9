//! Listeners: protocol, port, hostname, kinds, TLS, and what follows for them.

use std::net::SocketAddr;

use super::Settings;
use super::bind::BindOutcome;
use super::certificate::Certificates;
use super::gateway_service::TargetLack;
use super::namespace;
use super::problem::{Effect, GatewayProblem, ListenerProblem, SelectorFault};
use crate::api::gateway::{
    FromNamespaces, Gateway, GatewayTlsConfig, Listener, ListenerTlsConfig, Protocol, RouteGroupKind, TlsMode,
};
use crate::api::kind::{GATEWAY_GROUP, TRANSOM_GROUP};
use crate::api::{Kind, ObjectKey};
use crate::router::Hostname;
use crate::snapshot::tls::Certificate;
use crate::snapshot::{BindProtocol, ListenerId};

/// Kinds of route that HTTP and HTTPS listeners serve, sorted. What is not here is an invalid kind.
pub const HTTP_KINDS: &[Kind] = &[Kind::GrpcRoute, Kind::HttpRoute];

/// A listener and all that was found out about it.
#[derive(Debug)]
pub struct ListenerNode<'a> {
    /// Position in the spec.
    pub index: usize,
    /// The object's part.
    pub listener: &'a Listener,
    /// What is spoken; `None` is not served.
    pub protocol: Option<BindProtocol>,
    /// The port that clients use.
    pub port: Option<u16>,
    /// The port that is bound on the host.
    pub bound_port: Option<u16>,
    /// The hosts that it takes; `None` takes every host (or, with a problem, none).
    pub hostname: Option<Hostname>,
    /// Kinds that it allows and that are served, sorted.
    pub kinds: Vec<RouteGroupKind>,
    /// Certificates that can be presented.
    pub certificates: Vec<Certificate>,
    /// What is not as asked.
    pub problems: Vec<ListenerProblem<'a>>,
    /// Other listeners of the port whose TLS overlaps.
    pub overlap: Option<Overlap<'a>>,
    /// Addresses to bind.
    pub addresses: Vec<SocketAddr>,
    /// Why there is none yet, behind a Service.
    pub lacks_target: Option<TargetLack<'a>>,
    /// What became of them, if it serves.
    pub binds: Vec<(SocketAddr, BindOutcome<'a>)>,
    /// What follows.
    pub state: ListenerState,
    /// The status that it has says `Programmed` of this very generation of its Gateway.
    pub was_programmed: bool,
    /// Accepted routes.
    pub attached_routes: i32,
}

/// What follows from the problems of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerState {
    /// Served.
    Serving,
    /// Not served, but routes attach and count.
    AttachOnly,
    /// Nothing attaches.
    Rejected,
}

/// In what TLS overlaps, and with which listeners.
#[derive(Debug, Clone)]
pub enum Overlap<'a> {
    /// Hostnames.
    Hostnames(Vec<&'a str>),
    /// Names of the certificates.
    Certificates(Vec<&'a str>),
}

impl<'a> ListenerNode<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        &self.listener.name
    }

    /// Its name beside that of its Gateway.
    pub fn id(&self, gateway: &ObjectKey) -> ListenerId {
        ListenerId {
            namespace: gateway.namespace.clone(),
            gateway: gateway.name.clone(),
            listener: self.listener.name.clone(),
        }
    }

    /// The worst of what its problems mean.
    pub fn effect(&self) -> Effect {
        self.problems.iter().map(ListenerProblem::effect).max().unwrap_or(Effect::Said)
    }

    /// Whether its configuration is sound and supported; references may still not resolve.
    pub fn accepted(&self) -> bool {
        self.effect() == Effect::Said
    }

    /// Why it serves and yet has nothing to bind.
    pub fn awaited_target(&self) -> Option<&TargetLack<'a>> {
        self.lacks_target.as_ref().filter(|_| self.state == ListenerState::Serving)
    }

    /// An address that nothing is heard of yet.
    pub fn pending(&self) -> Option<SocketAddr> {
        self.binds.iter().find(|(_, outcome)| *outcome == BindOutcome::Pending).map(|(address, _)| *address)
    }

    /// Draws the conclusion, once every problem is known.
    pub fn settle(&mut self, gateway_accepted: bool) {
        let no_certificate = self.protocol == Some(BindProtocol::Https) && self.certificates.is_empty();
        self.state = match self.effect() {
            Effect::Rejected => ListenerState::Rejected,
            Effect::Withheld => ListenerState::AttachOnly,
            Effect::Said if !gateway_accepted || no_certificate || self.kinds.is_empty() => ListenerState::AttachOnly,
            Effect::Said => ListenerState::Serving,
        };
    }
}

impl ListenerProblem<'_> {
    /// What it means for the listener. Any but [`Effect::Said`] is `Accepted=False`.
    pub fn effect(&self) -> Effect {
        match self {
            ListenerProblem::Protocol { .. } | ListenerProblem::Port(_) | ListenerProblem::Hostname(_) => {
                Effect::Rejected
            }
            ListenerProblem::Filters
            | ListenerProblem::ClientValidation
            | ListenerProblem::TlsMode(_)
            | ListenerProblem::TlsUnused
            | ListenerProblem::TlsOption(_)
            | ListenerProblem::NamespacesFrom(_)
            | ListenerProblem::NamespaceSelector(_)
            | ListenerProblem::HostnameConflict(_)
            | ListenerProblem::ProtocolConflict(_)
            | ListenerProblem::PortHeld { .. } => Effect::Withheld,
            ListenerProblem::ForeignTlsOption(_)
            | ListenerProblem::NoCertificate
            | ListenerProblem::RouteKind { .. }
            | ListenerProblem::CertificateRef { .. } => Effect::Said,
        }
    }
}

/// Whether some host is taken by both; no hostname takes every host.
pub fn share_hosts(a: Option<&Hostname>, b: Option<&Hostname>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return true };
    let below = |narrow: &str, wide: &str| narrow.strip_suffix(wide).is_some_and(|left| left.ends_with('.'));
    match (a, b) {
        (Hostname::Exact(a), Hostname::Exact(b)) => a == b,
        (Hostname::Exact(name), Hostname::Wildcard(suffix)) | (Hostname::Wildcard(suffix), Hostname::Exact(name)) => {
            below(name, suffix)
        }
        (Hostname::Wildcard(a), Hostname::Wildcard(b)) => a == b || below(a, b) || below(b, a),
    }
}

/// A hostname of the specification: no IP address, no port.
pub fn parse_hostname(text: &str) -> Option<Hostname> {
    if text.parse::<std::net::Ipv4Addr>().is_ok() {
        return None;
    }
    Hostname::parse(text)
}

/// Reads the listeners of a Gateway. A name that stood before is a problem of the Gateway; the first stays.
pub fn listeners<'a>(
    gateway_problems: &mut Vec<GatewayProblem<'a>>,
    key: &'a ObjectKey,
    gateway: &'a Gateway,
    settings: &Settings,
    certificates: &mut Certificates<'a>,
) -> Vec<ListenerNode<'a>> {
    let mut nodes: Vec<ListenerNode<'a>> = Vec::with_capacity(gateway.spec.listeners.len());
    for (index, listener) in gateway.spec.listeners.iter().enumerate() {
        if nodes.iter().any(|node| node.name() == listener.name) {
            gateway_problems.push(GatewayProblem::ListenerNameTwice { index, name: &listener.name });
            continue;
        }
        let mut node = read(index, listener, settings);
        if node.protocol == Some(BindProtocol::Https) {
            if asks_for_client_certificates(gateway.spec.tls.as_ref(), listener.port) {
                node.problems.push(ListenerProblem::ClientValidation);
            }
            read_tls(&mut node, listener.tls.as_ref(), &key.namespace, certificates);
        }
        nodes.push(node);
    }
    nodes
}

fn read<'a>(index: usize, listener: &'a Listener, settings: &Settings) -> ListenerNode<'a> {
    let mut problems = Vec::new();
    let protocol = match &listener.protocol {
        Protocol::Http => Some(BindProtocol::Http),
        Protocol::Https => Some(BindProtocol::Https),
        found => {
            let known = !matches!(found, Protocol::Other(_));
            problems.push(ListenerProblem::Protocol { found, known });
            None
        }
    };
    let port = u16::try_from(listener.port).ok().filter(|port| *port > 0);
    let bound_port =
        port.and_then(|port| if port < 1024 { port.checked_add(settings.port_offset) } else { Some(port) });
    if bound_port.is_none() {
        problems.push(ListenerProblem::Port(listener.port));
    }
    let asked = listener.hostname.as_deref().filter(|text| !text.is_empty());
    let hostname = asked.and_then(parse_hostname);
    if let (Some(text), None) = (asked, &hostname) {
        problems.push(ListenerProblem::Hostname(text));
    }
    if listener.filters.as_ref().is_some_and(|filters| !filters.requests.is_empty()) {
        problems.push(ListenerProblem::Filters);
    }
    if listener.tls.is_some() && protocol == Some(BindProtocol::Http) {
        problems.push(ListenerProblem::TlsUnused);
    }
    let kinds = read_kinds(listener, protocol, &mut problems);
    read_namespaces(listener, &mut problems);
    ListenerNode {
        index,
        listener,
        protocol,
        port,
        bound_port,
        hostname,
        kinds,
        certificates: Vec::new(),
        problems,
        overlap: None,
        addresses: Vec::new(),
        lacks_target: None,
        binds: Vec::new(),
        state: ListenerState::Rejected,
        was_programmed: false,
        attached_routes: 0,
    }
}

/// Spec, supportedKinds: "MUST represent the kinds an implementation supports for that Listener configuration";
/// those it does not know "MUST NOT appear in this list and [...] set the ResolvedRefs condition to False".
fn read_kinds<'a>(
    listener: &'a Listener,
    protocol: Option<BindProtocol>,
    problems: &mut Vec<ListenerProblem<'a>>,
) -> Vec<RouteGroupKind> {
    if protocol.is_none() {
        return Vec::new();
    }
    let served = |kind: &Kind| RouteGroupKind { group: GATEWAY_GROUP.to_owned(), kind: kind.name().to_owned() };
    let asked = listener.allowed_routes.as_ref().map_or(&[][..], |allowed| &allowed.kinds);
    if asked.is_empty() {
        return HTTP_KINDS.iter().map(served).collect();
    }
    let mut kinds = Vec::new();
    for (index, kind) in asked.iter().enumerate() {
        if kind.group == GATEWAY_GROUP && HTTP_KINDS.iter().any(|known| known.name() == kind.kind) {
            kinds.push(kind.clone());
        } else {
            problems.push(ListenerProblem::RouteKind { index, group: &kind.group, kind: &kind.kind });
        }
    }
    kinds.sort();
    kinds.dedup();
    kinds
}

fn read_namespaces<'a>(listener: &'a Listener, problems: &mut Vec<ListenerProblem<'a>>) {
    let Some(namespaces) = listener.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref()) else {
        return;
    };
    match &namespaces.from {
        Some(FromNamespaces::Other(found)) => problems.push(ListenerProblem::NamespacesFrom(found)),
        Some(FromNamespaces::Selector) => {
            let fault = namespaces.selector.as_ref().map_or(Some(SelectorFault::Missing), namespace::fault);
            problems.extend(fault.map(ListenerProblem::NamespaceSelector));
        }
        _ => {}
    }
}

fn read_tls<'a>(
    node: &mut ListenerNode<'a>,
    tls: Option<&'a ListenerTlsConfig>,
    namespace: &'a str,
    certificates: &mut Certificates<'a>,
) {
    let refs = tls.map_or(&[][..], |tls| &tls.certificate_refs);
    if refs.is_empty() {
        node.problems.push(ListenerProblem::NoCertificate);
    }
    let Some(tls) = tls else { return };
    if tls.mode != TlsMode::Terminate {
        node.problems.push(ListenerProblem::TlsMode(&tls.mode));
    }
    for option in tls.options.keys() {
        // Options are named `<domain>/<name>`; those of another domain are meant for another implementation.
        let ours = option.split_once('/').is_none_or(|(domain, _)| domain.ends_with(TRANSOM_GROUP));
        node.problems.push(if ours {
            ListenerProblem::TlsOption(option)
        } else {
            ListenerProblem::ForeignTlsOption(option)
        });
    }
    for (index, reference) in refs.iter().enumerate() {
        match certificates.resolve(namespace, reference) {
            Ok(certificate) => node.certificates.push(certificate),
            Err(fault) => {
                let namespace = reference.namespace.as_deref().unwrap_or(namespace);
                node.problems.push(ListenerProblem::CertificateRef { index, namespace, reference, fault });
            }
        }
    }
}

fn asks_for_client_certificates(tls: Option<&GatewayTlsConfig>, port: i32) -> bool {
    let Some(frontend) = tls.and_then(|tls| tls.frontend.as_ref()) else { return false };
    let own = frontend.per_port.iter().find(|config| config.port == port).map(|config| &config.tls);
    own.unwrap_or(&frontend.default).validation.is_some()
}
