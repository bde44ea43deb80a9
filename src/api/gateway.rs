//! `Gateway`, v1: listeners, TLS, addresses and their status. ListenerSet shares the listener types.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::LabelSelector;
use super::common::{Condition, LocalObjectReference, ObjectReference, Resource, SecretObjectReference, open_enum};
use super::external_auth::HttpExternalAuthFilter;

/// `gateway.networking.k8s.io/Gateway`.
pub type Gateway = Resource<GatewaySpec, GatewayStatus>;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    /// Name of the GatewayClass.
    pub gateway_class_name: String,
    /// 1 to 64 in the CRD; none is possible with ListenerSets in newer schemas.
    #[serde(default)]
    pub listeners: Vec<Listener>,
    /// Addresses asked for; none leaves the choice to the implementation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<GatewaySpecAddress>,
    /// Labels, annotations and parameters of what is created for the Gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infrastructure: Option<GatewayInfrastructure>,
    /// Which ListenerSets may add listeners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_listeners: Option<AllowedListeners>,
    /// TLS towards clients and backends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<GatewayTlsConfig>,
    /// Experimental: claims routes that name no parent (GEP-3793).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_scope: Option<String>,
}

/// A listener of a Gateway or ListenerSet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Unique within the object.
    pub name: String,
    /// Exact, or `*.` and at least one label; none takes every host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// 1 to 65535.
    pub port: i32,
    /// HTTP, HTTPS, TLS, TCP, UDP or an implementation's own.
    pub protocol: Protocol,
    /// Certificates and mode, for HTTPS and TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTlsConfig>,
    /// Which routes may attach; default those of the namespace.
    #[serde(default = "same_namespace_routes", skip_serializing_if = "Option::is_none")]
    pub allowed_routes: Option<AllowedRoutes>,
    /// Experimental: filters before route matching (GEP-5224).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<ListenerFilters>,
}

/// `ListenerFilters` (experimental).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ListenerFilters {
    /// In order, before a route is chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<ListenerFilter>,
}

/// `ListenerFilter` (experimental): `kind` says which of the other fields is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerFilter {
    /// Discriminator: `ExternalAuth` or `ExtensionRef`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `ExternalAuth`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_auth: Option<HttpExternalAuthFilter>,
    /// `ExtensionRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension_ref: Option<LocalObjectReference>,
}

open_enum! {
    /// `ProtocolType`.
    Protocol { Http = "HTTP", Https = "HTTPS", Tls = "TLS", Tcp = "TCP", Udp = "UDP" }
}

/// `ListenerTLSConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTlsConfig {
    /// Default `Terminate`.
    #[serde(default = "terminate")]
    pub mode: TlsMode,
    /// Certificates to present.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificate_refs: Vec<SecretObjectReference>,
    /// Implementation's options.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

open_enum! {
    /// `TLSModeType`.
    TlsMode { Terminate = "Terminate", Passthrough = "Passthrough" }
}

/// `AllowedRoutes`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AllowedRoutes {
    /// Default: the namespace of the listener's object.
    #[serde(default = "same_namespace", skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<RouteNamespaces>,
    /// Default: the kinds of the protocol.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<RouteGroupKind>,
}

/// `RouteNamespaces`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteNamespaces {
    /// Default `Same`.
    #[serde(default = "same", skip_serializing_if = "Option::is_none")]
    pub from: Option<FromNamespaces>,
    /// Required with `Selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

open_enum! {
    /// `FromNamespaces`.
    FromNamespaces { All = "All", Selector = "Selector", Same = "Same", None = "None" }
}

/// `AllowedListeners`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AllowedListeners {
    /// Default `None`.
    #[serde(default = "no_namespace", skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<ListenerNamespaces>,
}

/// `ListenerNamespaces`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListenerNamespaces {
    /// Default `None`.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub from: Option<FromNamespaces>,
    /// Required with `Selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// `RouteGroupKind`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RouteGroupKind {
    /// Default `gateway.networking.k8s.io`.
    #[serde(default = "gateway_group")]
    pub group: String,
    /// Kind of route.
    pub kind: String,
}

/// `GatewaySpecAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewaySpecAddress {
    /// Default `IPAddress`.
    #[serde(rename = "type", default = "ip_address")]
    pub kind: String,
    /// None asks for any address of the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Experimental (GEP-5093).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routability: Option<String>,
}

/// `GatewayInfrastructure`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayInfrastructure {
    /// Labels for what is created.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations for what is created.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Settings in a kind of the controller's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters_ref: Option<LocalObjectReference>,
}

/// `GatewayTLSConfig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GatewayTlsConfig {
    /// Towards backends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<GatewayBackendTls>,
    /// Towards clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frontend: Option<FrontendTlsConfig>,
}

/// `GatewayBackendTLS`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayBackendTls {
    /// Presented to backends that ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<SecretObjectReference>,
}

/// `FrontendTLSConfig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendTlsConfig {
    /// For every HTTPS listener.
    pub default: FrontendTls,
    /// Instead of the default, for a port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_port: Vec<TlsPortConfig>,
}

/// `TLSPortConfig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TlsPortConfig {
    /// Listener port.
    pub port: i32,
    /// Settings of the port.
    pub tls: FrontendTls,
}

/// `TLSConfig` of the frontend.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FrontendTls {
    /// Client certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<FrontendTlsValidation>,
}

/// `FrontendTLSValidation`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendTlsValidation {
    /// Trust anchors.
    #[serde(default)]
    pub ca_certificate_refs: Vec<ObjectReference>,
    /// `AllowValidOnly` (default) or `AllowInsecureFallback`.
    #[serde(default = "allow_valid_only", skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

/// What is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// Addresses bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<GatewayStatusAddress>,
    /// `Accepted`, `Programmed`, `ResolvedRefs` …
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// One a listener.
    #[serde(default)]
    pub listeners: Vec<ListenerStatus>,
    /// Accepted ListenerSets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached_listener_sets: Option<i32>,
}

/// `GatewayStatusAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayStatusAddress {
    /// `IPAddress` or `Hostname`.
    #[serde(rename = "type", default = "ip_address")]
    pub kind: String,
    /// The address.
    pub value: String,
    /// Experimental (GEP-5093).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routability: Option<String>,
}

/// `ListenerStatus`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// The listener's name.
    pub name: String,
    /// Kinds that the listener allows and Transom serves.
    #[serde(default)]
    pub supported_kinds: Vec<RouteGroupKind>,
    /// Accepted routes.
    #[serde(default)]
    pub attached_routes: i32,
    /// `Accepted`, `Programmed`, `ResolvedRefs`, `Conflicted` …
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

fn terminate() -> TlsMode {
    TlsMode::Terminate
}

#[allow(clippy::unnecessary_wraps, reason = "serde asks for the field's type")]
fn same_namespace_routes() -> Option<AllowedRoutes> {
    Some(AllowedRoutes { namespaces: same_namespace(), kinds: Vec::new() })
}

#[allow(clippy::unnecessary_wraps, reason = "serde asks for the field's type")]
fn same_namespace() -> Option<RouteNamespaces> {
    Some(RouteNamespaces { from: same(), selector: None })
}

#[allow(clippy::unnecessary_wraps, reason = "serde asks for the field's type")]
fn same() -> Option<FromNamespaces> {
    Some(FromNamespaces::Same)
}

#[allow(clippy::unnecessary_wraps, reason = "serde asks for the field's type")]
fn no_namespace() -> Option<ListenerNamespaces> {
    Some(ListenerNamespaces { from: none(), selector: None })
}

#[allow(clippy::unnecessary_wraps, reason = "serde asks for the field's type")]
fn none() -> Option<FromNamespaces> {
    Some(FromNamespaces::None)
}

#[allow(clippy::unnecessary_wraps, reason = "serde asks for the field's type")]
fn allow_valid_only() -> Option<String> {
    Some("AllowValidOnly".to_owned())
}

fn ip_address() -> String {
    "IPAddress".to_owned()
}

fn gateway_group() -> String {
    super::kind::GATEWAY_GROUP.to_owned()
}
