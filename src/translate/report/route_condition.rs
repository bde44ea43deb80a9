//! The rest of the one table: problems of a route's own parts and of its backends, and remarks.

use super::condition::{ACCEPTED, RESOLVED_REFS, Telling, named};
use super::{Severity, filter};
use crate::api::Kind;
use crate::snapshot::UpstreamProtocol;
use crate::translate::graph::problem::{BackendFault, BackendProblem, MatchFault, RefPlace, Remark, RouteProblem};

/// Of a part of a route. As a condition it is `Accepted=False` if nothing of the route is as asked, else
/// `PartiallyInvalid=True`; that choice is the route's.
pub fn route(problem: &RouteProblem<'_>) -> Telling {
    let unsupported = |field: String, message: String| Telling::no(ACCEPTED, "UnsupportedValue", field, message);
    match problem {
        RouteProblem::Hostname { index, found } => unsupported(
            format!("spec.hostnames[{index}]"),
            format!(
                "{found:?} is not a hostname and matches nothing; allowed: a DNS name such as a.example.com, or *.example.com"
            ),
        ),
        RouteProblem::Match { rule, index, fault } => {
            let (field, message) = match_fault(fault);
            let message = format!("{message}; the match never matches, and its rule answers 500");
            unsupported(format!("spec.rules[{rule}].matches[{index}].{field}"), message)
        }
        RouteProblem::IncompatibleFilters { list, first, second } => filter::incompatible(*list, first, second),
        RouteProblem::Filter { place, fault } => filter::fault(place, fault),
        RouteProblem::SessionPersistence { rule } => unsupported(
            format!("spec.rules[{rule}].sessionPersistence"),
            "sessionPersistence is not served by this version of Transom; the rule answers 500".to_owned(),
        ),
        RouteProblem::Duration { rule, field, found } => unsupported(
            format!("spec.rules[{rule}].{field}"),
            format!("{found:?} is not a duration; allowed: such as 10s, 500ms, 1h30m; the rule answers 500"),
        ),
        RouteProblem::BackendTimeout { rule, request, backend } => unsupported(
            format!("spec.rules[{rule}].timeouts.backendRequest"),
            format!("{backend} is longer than timeouts.request; allowed: at most {request}; the rule answers 500"),
        ),
        RouteProblem::RetryCode { rule, index, found } => unsupported(
            format!("spec.rules[{rule}].retry.codes[{index}]"),
            format!("{found} is not a code that can be retried; allowed: 400 to 599; the rule answers 500"),
        ),
        RouteProblem::RetryAttempts { rule, found } => unsupported(
            format!("spec.rules[{rule}].retry.attempts"),
            format!("{found} is out of range; allowed: 0 and more; the rule answers 500"),
        ),
        RouteProblem::Weight { rule, backend, found } => unsupported(
            format!("spec.rules[{rule}].backendRefs[{backend}].weight"),
            format!("{found} is out of range; allowed: 0 to 1000000; the rule answers 500"),
        ),
    }
}

fn match_fault(fault: &MatchFault<'_>) -> (&'static str, String) {
    match fault {
        MatchFault::PathType(found) => {
            ("path.type", format!("{found:?} is not known; allowed: Exact, PathPrefix, RegularExpression"))
        }
        MatchFault::Path(found) => (
            "path.value",
            format!("{found:?} can match no request; allowed: an absolute path without //, /./, /../, %2F, # and ?"),
        ),
        MatchFault::Pattern { field, found, fault } => {
            // The regex crate draws the pattern over several lines; its last one says what is wrong.
            let last = fault.lines().last().unwrap_or_default().trim();
            (*field, format!("{found:?} is not a regular expression: {last}"))
        }
        MatchFault::ValueType { field, found } => {
            (*field, format!("type {found:?} is not known; allowed: Exact, RegularExpression"))
        }
        MatchFault::HeaderName(found) => ("headers", format!("{found:?} is not a header name")),
        MatchFault::HeaderValue(found) => ("headers", format!("{found:?} is not a header value")),
        MatchFault::QueryName => ("queryParams", "a query parameter needs a name".to_owned()),
        MatchFault::Method(found) => (
            "method",
            format!("{found:?} is not known; allowed: GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH"),
        ),
        MatchFault::CallEmpty => {
            ("method", "neither service nor method is given; allowed: one of them or both".to_owned())
        }
        MatchFault::Service(found) => {
            let allowed = "a name such as shop.v1.Cart, of letters, digits and _ between dots";
            ("method.service", format!("{found:?} is not a gRPC service; allowed: {allowed}"))
        }
        MatchFault::CallMethod(found) => {
            let allowed = "a name such as AddItem, of letters, digits and _";
            ("method.method", format!("{found:?} is not a gRPC method; allowed: {allowed}"))
        }
    }
}

/// Of a reference to a backend.
pub fn backend(from: Kind, problem: &BackendProblem<'_>) -> Telling {
    let BackendProblem { place, reference, namespace, fault } = problem;
    let name = &reference.name;
    let port = reference.port.unwrap_or_default();
    let (reason, message) = match fault {
        BackendFault::NotPermitted => {
            let what = named(&reference.group, &reference.kind);
            let article = if from == Kind::HttpRoute { "an" } else { "a" };
            let why = format!("no ReferenceGrant there permits {article} {from} of this one");
            ("RefNotPermitted", format!("{what} {namespace}/{name} is in another namespace, and {why}"))
        }
        BackendFault::Kind => {
            let what = named(&reference.group, &reference.kind);
            ("InvalidKind", format!("{what} {namespace}/{name} is not a kind of backend; allowed: Service"))
        }
        // Not BackendNotFound: it is there, and it is of a kind that is refused.
        BackendFault::ExternalName => {
            let why = "is of type ExternalName, which is refused: it could point anywhere";
            ("InvalidKind", format!("Service {namespace}/{name} {why}"))
        }
        BackendFault::NotFound => ("BackendNotFound", format!("Service {namespace}/{name} does not exist")),
        BackendFault::PortMissing => {
            ("BackendNotFound", format!("Service {namespace}/{name} is referred to without port"))
        }
        BackendFault::PortNotFound => ("BackendNotFound", format!("Service {namespace}/{name} has no port {port}")),
        BackendFault::Transport(found) => {
            ("UnsupportedProtocol", format!("port {port} of Service {namespace}/{name} is {found}; allowed: TCP"))
        }
        BackendFault::AppProtocol(found) => {
            let why = "needs TLS, which this version of Transom does not speak to backends";
            ("UnsupportedProtocol", format!("port {port} of Service {namespace}/{name}: appProtocol {found:?} {why}"))
        }
        BackendFault::NotGrpc(found) => {
            let why = "carries no gRPC; allowed: none, kubernetes.io/h2c, grpc";
            ("UnsupportedProtocol", format!("port {port} of Service {namespace}/{name}: appProtocol {found:?} {why}"))
        }
        BackendFault::TlsPolicy(policy) => {
            let why = "is not served by this version of Transom; it is not reached in plaintext instead";
            (
                "UnsupportedProtocol",
                format!("Service {namespace}/{name} is targeted by BackendTLSPolicy {policy}, which {why}"),
            )
        }
    };
    let (field, message) = match place {
        RefPlace::Backend { rule, index } => (format!("spec.rules[{rule}].backendRefs[{index}]"), message),
        RefPlace::Mirror { list, index } => {
            (format!("{list}[{index}].requestMirror.backendRef"), format!("{message}; the mirror is left out"))
        }
    };
    Telling::no(RESOLVED_REFS, reason, field, message)
}

/// What has no condition.
pub fn remark(remark: &Remark<'_>, controller: &str) -> Telling {
    use Severity::{Note, Problem};
    match remark {
        Remark::ClassNotFound(class) => {
            let message =
                format!("GatewayClass {class} not found in the files; add one with controllerName {controller}");
            Telling::only(Problem, "ClassNotFound", "spec.gatewayClassName", message)
        }
        Remark::ForeignClass(found) => {
            let message = format!("{found} is another controller; Gateways of this class are left to it");
            Telling::only(Note, "ForeignController", "spec.controllerName", message)
        }
        Remark::NoParents => Telling::only(
            Note,
            "NoParents",
            "spec.parentRefs",
            "the route attaches to nothing and is not served".to_owned(),
        ),
        Remark::ParentNotFound { index, parent } => {
            let namespace = parent.namespace.as_deref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
            let message = format!("Gateway {namespace}{} not found in the files", parent.name);
            Telling::only(Problem, "ParentNotFound", format!("spec.parentRefs[{index}]"), message)
        }
        Remark::ParentKind { index, parent } => {
            let what = named(&parent.group, &parent.kind);
            let ours = Kind::find(&parent.group, &parent.kind) == Some(Kind::ListenerSet);
            let (severity, why) = if ours {
                (Problem, "is not served by this version of Transom")
            } else {
                (Note, "is no parent that Transom serves; allowed: Gateway")
            };
            let message = format!("{what} {} {why}", parent.name);
            Telling::only(severity, "ParentKind", format!("spec.parentRefs[{index}]"), message)
        }
        Remark::DefaultGateways(found) => {
            let message =
                format!("{found:?} is not served by this version of Transom; routes attach by parentRefs only");
            Telling::only(Problem, "UnsupportedValue", "spec.useDefaultGateways", message)
        }
        Remark::KindNotServed(kind) => Telling::only(Problem, "NotServed", "", not_served(*kind)),
        Remark::RepeatedHeader { place, list, index, name } => {
            let message = format!("{name:?} stands in {} before; the first one counts", list.field());
            Telling::only(Note, "RepeatedHeader", filter::header_field(place, *list, *index), message)
        }
        Remark::AppProtocol { port, found, taken } => {
            let taken = match taken {
                UpstreamProtocol::Http1 => "HTTP/1.1",
                UpstreamProtocol::H2c => "HTTP/2, since a GRPCRoute refers to it",
            };
            let message = format!("port {port}: appProtocol {found:?} is not known and is taken as {taken}");
            Telling::only(Note, "AppProtocol", "spec.ports", message)
        }
        Remark::NoEndpoints { port, name } => {
            let named = if name.is_empty() { "an unnamed port".to_owned() } else { format!("a port named {name}") };
            let message = format!(
                "port {port} has no ready endpoint, so requests get 503; endpoints come from EndpointSlices with the \
                 label kubernetes.io/service-name and {named}"
            );
            Telling::only(Note, "NoEndpoints", "spec.ports", message)
        }
        Remark::FqdnSlice => {
            let message = "addressType FQDN is not used: names are not resolved; allowed: IPv4, IPv6".to_owned();
            Telling::only(Note, "AddressType", "addressType", message)
        }
        Remark::SliceAddressType(found) => {
            let message = format!("addressType {found:?} is not known and not used; allowed: IPv4, IPv6");
            Telling::only(Note, "AddressType", "addressType", message)
        }
    }
}

/// What is said of a kind that is not served.
pub fn not_served(kind: Kind) -> String {
    format!("{kind} is not served by this version of Transom")
}
