//! backendRefs: from a reference to an upstream and its endpoints.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::Remarks;
use super::endpoint;
use super::grant::Grants;
use super::problem::{BackendFault, Remark};
use super::tls_policy::TlsPolicies;
use crate::api::{BackendObjectReference, Kind, ObjectKey, Service};
use crate::snapshot::{EndpointSet, UpstreamId, UpstreamProtocol};
use crate::store::Resources;
use crate::translate::References;

/// Position of an upstream among those found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamRef(pub usize);

/// A Service port that some route forwards to.
#[derive(Debug)]
pub struct UpstreamNode {
    /// Who it is.
    pub id: UpstreamId,
    /// Where it is.
    pub endpoints: EndpointSet,
}

/// Services, and every port of them that was asked for, resolved once however many routes forward to it.
pub struct Backends<'a> {
    resources: &'a Resources,
    grants: &'a Grants<'a>,
    policies: &'a TlsPolicies<'a>,
    services: HashMap<(&'a str, &'a str), (&'a ObjectKey, &'a Service), FixedState>,
    resolved: HashMap<Wanted<'a>, Result<UpstreamRef, BackendFault<'a>>, FixedState>,
    /// Every upstream found, in the order of [`UpstreamRef`].
    pub upstreams: Vec<UpstreamNode>,
}

/// A port of a Service, and what for: two kinds of route may have to speak to it in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Wanted<'a> {
    namespace: &'a str,
    name: &'a str,
    port: i32,
    /// gRPC, which is HTTP/2.
    grpc: bool,
}

impl<'a> Backends<'a> {
    /// Over the Services held.
    pub fn new(resources: &'a Resources, grants: &'a Grants<'a>, policies: &'a TlsPolicies<'a>) -> Self {
        let services =
            resources.services.iter().map(|entry| ((entry.0.namespace.as_str(), entry.0.name.as_str()), entry));
        Backends {
            resources,
            grants,
            policies,
            services: services.collect(),
            resolved: HashMap::default(),
            upstreams: Vec::new(),
        }
    }

    /// The upstream that a route of kind `from` in `namespace` refers to.
    ///
    /// RefNotPermitted comes before existence: "Do not reveal existence" (gateway-api.md 6.6).
    pub fn resolve(
        &mut self,
        from: Kind,
        namespace: &'a str,
        reference: &'a BackendObjectReference,
        remarks: &mut Remarks<'a>,
    ) -> Result<UpstreamRef, BackendFault<'a>> {
        let target = reference.namespace.as_deref().unwrap_or(namespace);
        let to = (reference.group.as_str(), reference.kind.as_str());
        if !self.grants.permit(from, namespace, to, target, &reference.name) {
            return Err(BackendFault::NotPermitted);
        }
        if to != (Kind::Service.group(), Kind::Service.name()) {
            return Err(BackendFault::Kind);
        }
        let port = reference.port.ok_or(BackendFault::PortMissing)?;
        let wanted = Wanted { namespace: target, name: &reference.name, port, grpc: from == Kind::GrpcRoute };
        if let Some(known) = self.resolved.get(&wanted) {
            return *known;
        }
        let resolved = self.look_up(wanted, remarks);
        self.resolved.insert(wanted, resolved);
        resolved
    }

    /// Notes every Service that was looked for.
    pub fn note(&self, references: &mut References) {
        for Wanted { namespace, name, .. } in self.resolved.keys() {
            references.add(Kind::Service, namespace, name);
        }
    }

    fn look_up(
        &mut self,
        Wanted { namespace, name, port: number, grpc }: Wanted<'a>,
        remarks: &mut Remarks<'a>,
    ) -> Result<UpstreamRef, BackendFault<'a>> {
        let &(key, service) = self.services.get(&(namespace, name)).ok_or(BackendFault::NotFound)?;
        let spec = service.spec.as_ref().ok_or(BackendFault::PortNotFound)?;
        if spec.type_.as_deref() == Some("ExternalName") {
            return Err(BackendFault::ExternalName);
        }
        let numbered = || spec.ports.iter().flatten().filter(|port| port.port == number);
        let tcp = numbered().find(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
        let Some(port) = tcp else {
            let other = numbered().find_map(|port| port.protocol.as_deref());
            return Err(other.map_or(BackendFault::PortNotFound, BackendFault::Transport));
        };
        let number = u16::try_from(number).ok().filter(|port| *port > 0).ok_or(BackendFault::PortNotFound)?;
        let port_name = port.name.as_deref().unwrap_or_default();
        if let Some(policy) = self.policies.of(namespace, name, port_name) {
            return Err(BackendFault::TlsPolicy(policy));
        }
        let app_protocol = port.app_protocol.as_deref().filter(|text| !text.is_empty());
        let protocol = protocol(app_protocol, grpc)?;
        if let Some(found) = app_protocol.filter(|found| !is_known(found, grpc)) {
            remarks.add(Kind::Service, key, Remark::AppProtocol { port: port.port, found, taken: protocol });
        }
        let endpoints = endpoint::endpoints(self.resources, key, port_name);
        if endpoints.endpoints.is_empty() {
            remarks.add(Kind::Service, key, Remark::NoEndpoints { port: number, name: port_name });
        }
        endpoint::remark_slices(self.resources, key, remarks);
        let id = UpstreamId { namespace: namespace.to_owned(), service: name.to_owned(), port: number, protocol };
        self.upstreams.push(UpstreamNode { id, endpoints });
        Ok(UpstreamRef(self.upstreams.len() - 1))
    }
}

/// How a port is spoken to. "Implementations MAY infer the protocol from the Route type referring to the backend
/// Service. If a Route is not able to send traffic to the backend using the specified protocol then the backend is
/// considered invalid" (BackendRef): gRPC is HTTP/2.
fn protocol(app_protocol: Option<&str>, grpc: bool) -> Result<UpstreamProtocol, BackendFault<'_>> {
    match app_protocol {
        Some(found @ ("kubernetes.io/wss" | "https" | "tls" | "wss")) => Err(BackendFault::AppProtocol(found)),
        Some(found @ ("http" | "kubernetes.io/ws")) if grpc => Err(BackendFault::NotGrpc(found)),
        Some("kubernetes.io/h2c") => Ok(UpstreamProtocol::H2c),
        _ if grpc => Ok(UpstreamProtocol::H2c),
        _ => Ok(UpstreamProtocol::Http1),
    }
}

/// Whether an application protocol that can be spoken says which one it is.
fn is_known(app_protocol: &str, grpc: bool) -> bool {
    matches!(app_protocol, "http" | "kubernetes.io/ws" | "kubernetes.io/h2c") || (grpc && app_protocol == "grpc")
}
