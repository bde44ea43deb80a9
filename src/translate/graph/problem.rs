//! Why something is not as asked: closed enums, one a kind of node. Facts only; the words and the condition
//! that each becomes stand in one table, `report/condition.rs`.

use std::net::SocketAddr;

use super::filter_fault::{FilterFault, FilterList, FilterPlace, HeaderList};
use crate::api::common::{LocalObjectReference, ObjectReference};
use crate::api::gateway::{Protocol, TlsMode};
use crate::api::{BackendObjectReference, Kind, ObjectKey, ParentReference, SecretObjectReference};
use crate::snapshot::tls::CertificateProblem;
use crate::snapshot::{ListenerId, UpstreamProtocol};

/// What is wrong with a GatewayClass of ours.
#[derive(Debug, Clone)]
pub enum ClassProblem<'a> {
    /// `parametersRef` names a kind that is not supported.
    Parameters(&'a ObjectReference),
}

/// What is wrong with a Gateway as a whole.
#[derive(Debug, Clone)]
pub enum GatewayProblem<'a> {
    /// Its class is ours but not accepted.
    ClassNotAccepted(&'a str),
    /// `infrastructure.parametersRef` names a kind that is not supported.
    Parameters(&'a LocalObjectReference),
    /// An address of a type that is not supported.
    AddressType { index: usize, found: &'a str },
    /// `addresses[].routability`, which nothing on a host can satisfy.
    Routability { index: usize, found: &'a str },
    /// An address that is none.
    AddressNotIp { index: usize, found: &'a str },
    /// No listener at all.
    NoListeners,
    /// Two listeners of one name; the first stays.
    ListenerNameTwice { index: usize, name: &'a str },
    /// `tls.backend.clientCertificateRef`, which is not served.
    BackendClientCertificate,
    /// `allowedListeners`, which is not served.
    AllowedListeners,
    /// `defaultScope`, which is not served.
    DefaultScope(&'a str),
    /// Labels and annotations for what is created, where nothing is.
    InfrastructureUnused,
}

/// What is wrong with a listener.
#[derive(Debug, Clone)]
pub enum ListenerProblem<'a> {
    /// A protocol of the specification that is not served, or an unknown one.
    Protocol { found: &'a Protocol, known: bool },
    /// Not a port.
    Port(i32),
    /// Not a hostname.
    Hostname(&'a str),
    /// `filters`, which are not served.
    Filters,
    /// Client certificates are asked for, which is not served.
    ClientValidation,
    /// Not `Terminate` on an HTTPS listener.
    TlsMode(&'a TlsMode),
    /// `tls` on a listener without TLS.
    TlsUnused,
    /// A TLS option meant for us, and unknown.
    TlsOption(&'a str),
    /// A TLS option of another implementation.
    ForeignTlsOption(&'a str),
    /// HTTPS without a certificate.
    NoCertificate,
    /// Not one of `All`, `Same`, `Selector`, `None`.
    NamespacesFrom(&'a str),
    /// A selector that cannot be evaluated.
    NamespaceSelector(SelectorFault<'a>),
    /// Indistinct from these listeners of the same Gateway: same port and hostname.
    HostnameConflict(Vec<&'a str>),
    /// Other protocol on the same port than these listeners of the same Gateway.
    ProtocolConflict(Vec<&'a str>),
    /// An older listener of this address is not distinct from it.
    PortHeld { address: SocketAddr, by: Holder, why: PortClash },
    /// A kind of route that is not served on this protocol.
    RouteKind { index: usize, group: &'a str, kind: &'a str },
    /// A certificate that cannot be used.
    CertificateRef {
        index: usize,
        namespace: &'a str,
        reference: &'a SecretObjectReference,
        fault: CertificateFault<'a>,
    },
}

/// What a problem means for its listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It is said; the listener serves.
    Said,
    /// Routes attach and count; nothing is served.
    Withheld,
    /// Nothing attaches.
    Rejected,
}

/// Who holds an address.
#[derive(Debug, Clone)]
pub enum Holder {
    /// An earlier listener of the same Gateway (two ports that an offset brings together).
    Same(String),
    /// A listener of an older Gateway.
    Older(ListenerId),
}

/// Why two listeners cannot share an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortClash {
    /// The same hosts.
    Hostname,
    /// Cleartext and TLS.
    Protocol,
}

/// Why a label selector cannot be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelectorFault<'a> {
    /// `from: Selector` without a selector.
    Missing,
    /// Not one of the four operators.
    Operator(&'a str),
    /// `In` and `NotIn` need values.
    NoValues(&'a str),
    /// `Exists` and `DoesNotExist` take none.
    SomeValues(&'a str),
}

/// Why a certificate cannot be used.
#[derive(Debug, Clone)]
pub enum CertificateFault<'a> {
    /// No ReferenceGrant permits the reference; nothing is said about whether the Secret exists.
    NotPermitted,
    /// Not a core Secret.
    Kind,
    /// No such Secret.
    NotFound,
    /// A Secret of another type.
    Type(&'a str),
    /// A key of the Secret is missing.
    KeyMissing(&'static str),
    /// What the Secret holds is no certificate with its key.
    Malformed(CertificateProblem),
}

/// Why a route does not attach to a parent. In the order in which they are looked at.
#[derive(Debug, Clone)]
pub enum AttachProblem<'a> {
    /// No listener has that section name and port; these are the names and ports that there are.
    NoMatchingParent { section: Option<String>, port: Option<i32>, listeners: Vec<(&'a str, i32)> },
    /// None of these listeners allows the route.
    NotAllowed(Vec<Refusal<'a>>),
    /// None of these listeners takes a host of the route.
    NoMatchingHostname(Vec<&'a str>),
}

/// A listener that does not take a route, and why.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// Name of the listener.
    pub listener: &'a str,
    /// Why.
    pub why: RefusalReason,
}

/// Why a listener does not take a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// The listener itself is rejected.
    Listener,
    /// It takes no such kind.
    Kind,
    /// It takes none from that namespace.
    Namespace,
}

/// What is wrong with a part of a route.
#[derive(Debug, Clone)]
pub enum RouteProblem<'a> {
    /// Not a hostname: it matches nothing.
    Hostname { index: usize, found: &'a str },
    /// A match that cannot be compiled: it matches nothing, and the rule answers 500.
    Match { rule: usize, index: usize, fault: MatchFault<'a> },
    /// Filters that cannot stand together.
    IncompatibleFilters { list: FilterList, first: &'a str, second: &'a str },
    /// A filter that cannot be served as asked: its rule, or the share of its backendRef, answers 500.
    Filter { place: FilterPlace<'a>, fault: FilterFault<'a> },
    /// `sessionPersistence`, which is not served.
    SessionPersistence { rule: usize },
    /// Not a duration of GEP-2257.
    Duration { rule: usize, field: &'static str, found: &'a str },
    /// `timeouts.backendRequest` is longer than `timeouts.request`.
    BackendTimeout { rule: usize, request: &'a str, backend: &'a str },
    /// Not a status code from 400 to 599.
    RetryCode { rule: usize, index: usize, found: i32 },
    /// A negative number of attempts.
    RetryAttempts { rule: usize, found: i32 },
    /// Not 0 to 1,000,000.
    Weight { rule: usize, backend: usize, found: i32 },
}

impl RouteProblem<'_> {
    /// Whether this makes its rule answer 500 as a whole.
    pub fn drops_rule(&self) -> bool {
        match self {
            RouteProblem::Hostname { .. } => false,
            RouteProblem::IncompatibleFilters { list, .. }
            | RouteProblem::Filter { place: FilterPlace { list, .. }, .. } => list.backend.is_none(),
            RouteProblem::Match { .. }
            | RouteProblem::SessionPersistence { .. }
            | RouteProblem::Duration { .. }
            | RouteProblem::BackendTimeout { .. }
            | RouteProblem::RetryCode { .. }
            | RouteProblem::RetryAttempts { .. }
            | RouteProblem::Weight { .. } => true,
        }
    }
}

/// Why a match cannot be compiled.
#[derive(Debug, Clone)]
pub enum MatchFault<'a> {
    /// Not a type of path match.
    PathType(&'a str),
    /// Not an absolute, normal path.
    Path(&'a str),
    /// A regular expression that does not compile.
    Pattern { field: &'static str, found: &'a str, fault: String },
    /// Not a type of header or query match.
    ValueType { field: &'static str, found: &'a str },
    /// Not a header name.
    HeaderName(&'a str),
    /// Not a header value.
    HeaderValue(&'a str),
    /// An empty query parameter name.
    QueryName,
    /// Not a method.
    Method(&'a str),
    /// A method match with neither service nor method.
    CallEmpty,
    /// Not a gRPC service.
    Service(&'a str),
    /// Not a gRPC method.
    CallMethod(&'a str),
}

/// A reference to a backend that does not resolve.
#[derive(Debug, Clone)]
pub struct BackendProblem<'a> {
    /// Where it stands.
    pub place: RefPlace,
    /// The reference.
    pub reference: &'a BackendObjectReference,
    /// Namespace that it points to.
    pub namespace: &'a str,
    /// Why it does not resolve.
    pub fault: BackendFault<'a>,
}

/// Where a reference to a backend stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefPlace {
    /// A backendRef of a rule: its share answers 500.
    Backend { rule: usize, index: usize },
    /// A mirror, which is left out.
    Mirror { list: FilterList, index: usize },
}

/// Why a backendRef does not resolve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendFault<'a> {
    /// No ReferenceGrant permits the reference; nothing is said about whether the backend exists.
    NotPermitted,
    /// Not a core Service.
    Kind,
    /// A Service of type ExternalName: a confused deputy in waiting (gateway-api.md 6.4).
    ExternalName,
    /// No such Service.
    NotFound,
    /// A Service needs a port.
    PortMissing,
    /// The Service has no such port.
    PortNotFound,
    /// The Service has that port only for another transport.
    Transport(&'a str),
    /// An application protocol that needs TLS, which is not spoken.
    AppProtocol(&'a str),
    /// An application protocol that carries no gRPC.
    NotGrpc(&'a str),
    /// A BackendTLSPolicy wants TLS, which is not served: never plaintext instead.
    TlsPolicy(&'a str),
}

/// What is wrong with a value of an UpstreamPolicy: it has no effect as a whole. Fields are those of its spec.
#[derive(Debug, Clone)]
pub enum PolicyProblem<'a> {
    /// No target at all.
    NoTargets,
    /// A text that is none of those allowed.
    Text { field: &'static str, found: &'a str, allowed: &'static str },
    /// The field that this type needs is missing.
    MemberMissing { field: &'static str, of: &'static str },
    /// A field that belongs to another type than the one found.
    MemberOfOther { field: &'static str, of: &'static str, found: &'a str },
    /// Not a duration of GEP-2257.
    Duration { field: &'static str, found: &'a str },
    /// A duration that is too short.
    TooShort { field: &'static str, found: &'a str, allowed: &'static str },
    /// A duration that is longer than that of another field.
    LongerThan { field: &'static str, found: &'a str, other: &'static str, bound: &'a str },
    /// A number below the least one.
    TooSmall { field: &'static str, found: i32, least: i32 },
    /// Neither a status code nor a range of them.
    Status { index: usize, found: &'a str },
    /// No status code at all is good.
    NoStatus,
}

/// Why an UpstreamPolicy has no effect on one of its targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetProblem<'a> {
    /// Not a core Service.
    Kind,
    /// No such Service.
    NotFound,
    /// The Service has no TCP port of that name.
    PortNotFound,
    /// This policy has the very same target, and is older or first by name.
    Conflicted(&'a ObjectKey),
}

/// Something to say about an object that has no condition for it.
#[derive(Debug, Clone)]
pub enum Remark<'a> {
    /// Gateway: its class is not there (files).
    ClassNotFound(&'a str),
    /// GatewayClass: another controller's.
    ForeignClass(&'a str),
    /// Route: no parent at all.
    NoParents,
    /// Route: the Gateway is not there (files).
    ParentNotFound { index: usize, parent: &'a ParentReference },
    /// Route: a parent of a kind that is not served.
    ParentKind { index: usize, parent: ParentReference },
    /// Route: `useDefaultGateways`, which is not served.
    DefaultGateways(&'a str),
    /// A kind that is not served.
    KindNotServed(Kind),
    /// Route: a header that stands before in the same list of a header modifier; the first one counts.
    RepeatedHeader { place: FilterPlace<'a>, list: HeaderList, index: usize, name: &'a str },
    /// Service: an application protocol that is not known, and what it is taken as.
    AppProtocol { port: i32, found: &'a str, taken: UpstreamProtocol },
    /// Service: no endpoint that may be used.
    NoEndpoints { port: u16, name: &'a str },
    /// EndpointSlice: names instead of addresses.
    FqdnSlice,
    /// EndpointSlice: a type that is not known.
    SliceAddressType(&'a str),
}
