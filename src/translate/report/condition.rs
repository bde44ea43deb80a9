//! The one table: from a problem to the condition that says it (type, status, reason) and the words for people.
//!
//! Reasons are those of the specification (gateway-api.md 6.8); which of several possible ones was chosen, and
//! why, stands beside the choice. A message names what was found and what is allowed; the field stands before it.

use std::collections::HashSet;

use crate::api::Condition;
use crate::api::common::{LocalObjectReference, ObjectReference};
use crate::translate::graph::listener::HTTP_KINDS;
use crate::translate::graph::problem::{
    AttachProblem, CertificateFault, ClassProblem, GatewayProblem, Holder, ListenerProblem, PortClash, RefusalReason,
    SelectorFault,
};

use super::{Severity, wording};

/// A problem, as it is told.
#[derive(Debug, Clone)]
pub struct Telling {
    /// Type of the condition; `None` is a finding only.
    pub condition: Option<&'static str>,
    /// Its status.
    pub status: &'static str,
    /// Its reason.
    pub reason: &'static str,
    /// Path of the field.
    pub field: String,
    /// For people.
    pub message: String,
    /// How bad it is.
    pub severity: Severity,
}

/// The condition types.
pub const ACCEPTED: &str = "Accepted";
/// Whether every reference resolves.
pub const RESOLVED_REFS: &str = "ResolvedRefs";
/// Whether the data plane has it.
pub const PROGRAMMED: &str = "Programmed";
/// Whether every address that is asked for is there (GEP-5093).
pub const ADDRESSES_ASSIGNED: &str = "AddressesAssigned";
/// Whether listeners cannot be told apart; only ever `True`.
pub const CONFLICTED: &str = "Conflicted";
/// Whether some rules are not served; only ever `True`.
pub const PARTIALLY_INVALID: &str = "PartiallyInvalid";
/// Whether the TLS of listeners overlaps; only ever `True`.
pub const OVERLAPPING_TLS: &str = "OverlappingTLSConfig";

/// `True`.
pub const TRUE: &str = "True";
/// `False`.
pub const FALSE: &str = "False";

impl Telling {
    /// A condition that is `False` for this reason.
    pub fn no(condition: &'static str, reason: &'static str, field: impl Into<String>, message: String) -> Self {
        Telling {
            condition: Some(condition),
            status: FALSE,
            reason,
            field: field.into(),
            message,
            severity: Severity::Problem,
        }
    }

    /// A finding without a condition.
    pub fn only(severity: Severity, reason: &'static str, field: impl Into<String>, message: String) -> Self {
        Telling { condition: None, status: "", reason, field: field.into(), message, severity }
    }

    /// Whether it makes this condition what it says.
    pub fn is(&self, condition: &str) -> bool {
        self.condition == Some(condition)
    }
}

/// A condition, judged on this generation.
pub fn condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: impl Into<String>,
    observed_generation: Option<i64>,
) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.into(),
        observed_generation,
    }
}

/// The condition of `kind` that follows from what is told: the first reason, everyone's words; else `good`.
pub fn conclude(
    kind: &'static str,
    told: &[Telling],
    good: (&'static str, &str),
    observed_generation: Option<i64>,
) -> Condition {
    let against: Vec<&Telling> = told.iter().filter(|telling| telling.is(kind)).collect();
    match against.first() {
        None => condition(kind, TRUE, good.0, good.1, observed_generation),
        Some(first) => condition(kind, first.status, first.reason, wording::list(&against), observed_generation),
    }
}

/// Of a GatewayClass.
pub fn class(problem: &ClassProblem<'_>) -> Telling {
    let ClassProblem::Parameters(ObjectReference { group, kind, name, .. }) = problem;
    let message = format!("parameters of kind {} ({name}) are not supported; allowed: none", named(group, kind));
    Telling::no(ACCEPTED, "InvalidParameters", "spec.parametersRef", message)
}

/// Of a Gateway as a whole.
pub fn gateway(problem: &GatewayProblem<'_>) -> Telling {
    match problem {
        // The class's parameters are what is invalid, so the reason of parameters is the nearest one.
        GatewayProblem::ClassNotAccepted(class) => Telling::no(
            ACCEPTED,
            "InvalidParameters",
            "spec.gatewayClassName",
            format!("GatewayClass {class} is not accepted, see its status"),
        ),
        GatewayProblem::Parameters(LocalObjectReference { group, kind, name }) => Telling::no(
            ACCEPTED,
            "InvalidParameters",
            "spec.infrastructure.parametersRef",
            format!("parameters of kind {} ({name}) are not supported; allowed: none", named(group, kind)),
        ),
        GatewayProblem::AddressType { index, found } => Telling::no(
            ACCEPTED,
            "UnsupportedAddress",
            format!("spec.addresses[{index}].type"),
            format!("address type {found:?} is not supported; allowed: IPAddress"),
        ),
        GatewayProblem::Routability { index, found } => Telling::no(
            ACCEPTED,
            "UnsupportedAddress",
            format!("spec.addresses[{index}].routability"),
            format!("routability {found:?} cannot be had where listeners are bound on the host; allowed: none given"),
        ),
        GatewayProblem::AddressNotIp { index, found } => Telling::no(
            PROGRAMMED,
            "AddressNotUsable",
            format!("spec.addresses[{index}].value"),
            format!("{found:?} is not an IP address"),
        ),
        GatewayProblem::NoListeners => Telling::no(
            ACCEPTED,
            "ListenersNotValid",
            "spec.listeners",
            "no listener is given, so nothing is served; allowed: 1 to 64".to_owned(),
        ),
        GatewayProblem::ListenerNameTwice { index, name } => Telling::only(
            Severity::Problem,
            "ListenersNotValid",
            format!("spec.listeners[{index}].name"),
            format!("listener name {name:?} is taken by an earlier listener of this Gateway; this one is ignored"),
        ),
        GatewayProblem::BackendClientCertificate => Telling::no(
            RESOLVED_REFS,
            "InvalidClientCertificateRef",
            "spec.tls.backend.clientCertificateRef",
            "a client certificate towards backends is not served by this version of Transom; none is presented"
                .to_owned(),
        ),
        GatewayProblem::AllowedListeners => Telling::only(
            Severity::Problem,
            "UnsupportedValue",
            "spec.allowedListeners",
            "ListenerSet is not served by this version of Transom; no ListenerSet adds listeners here".to_owned(),
        ),
        GatewayProblem::DefaultScope(found) => Telling::only(
            Severity::Problem,
            "UnsupportedValue",
            "spec.defaultScope",
            format!("{found:?} is not served by this version of Transom; routes attach by parentRefs only"),
        ),
        GatewayProblem::InfrastructureUnused => Telling::only(
            Severity::Note,
            "Unused",
            "spec.infrastructure",
            "labels and annotations have no effect where listeners are bound on the host: nothing is created for the Gateway".to_owned(),
        ),
    }
}

/// Of the listener at this position.
pub fn listener(position: usize, problem: &ListenerProblem<'_>) -> Telling {
    let at = |field: &str| format!("spec.listeners[{position}].{field}");
    match problem {
        ListenerProblem::Protocol { found, known } => {
            let why = if *known { "is not served by this version of Transom" } else { "is not known" };
            let message = format!("protocol {:?} {why}; allowed: HTTP, HTTPS", found.as_str());
            Telling::no(ACCEPTED, "UnsupportedProtocol", at("protocol"), message)
        }
        ListenerProblem::Port(found) => {
            let message = format!("{found} cannot be bound; allowed: 1 to 65535, with the port offset added");
            Telling::no(ACCEPTED, "PortUnavailable", at("port"), message)
        }
        ListenerProblem::Hostname(found) => {
            let message =
                format!("{found:?} is not a hostname; allowed: a DNS name such as a.example.com, or *.example.com");
            Telling::no(ACCEPTED, "UnsupportedValue", at("hostname"), message)
        }
        ListenerProblem::Filters => {
            let message = "listener filters are not served by this version of Transom, so the listener does not serve";
            Telling::no(ACCEPTED, "UnsupportedValue", at("filters"), message.to_owned())
        }
        // Not NoValidCACertificate: the certificates may be fine.
        ListenerProblem::ClientValidation => {
            let message = "spec.tls.frontend asks for client certificates, which this version of Transom does not \
                           validate, so the listener does not serve";
            Telling::no(ACCEPTED, "UnsupportedValue", at("tls"), message.to_owned())
        }
        ListenerProblem::TlsMode(found) => {
            let message = format!("mode {:?} is not for HTTPS; allowed: Terminate", found.as_str());
            Telling::no(ACCEPTED, "UnsupportedValue", at("tls.mode"), message)
        }
        ListenerProblem::TlsUnused => {
            let message = "an HTTP listener is cleartext and takes no tls; use protocol HTTPS".to_owned();
            Telling::no(ACCEPTED, "UnsupportedValue", at("tls"), message)
        }
        ListenerProblem::TlsOption(found) => {
            let message = format!("option {found:?} is not known; allowed: none of transom.dev/ yet");
            Telling::no(ACCEPTED, "UnsupportedValue", at("tls.options"), message)
        }
        ListenerProblem::ForeignTlsOption(found) => {
            let message = format!("option {found:?} is of another implementation and has no effect");
            Telling::only(Severity::Note, "Unused", at("tls.options"), message)
        }
        // Implementer's guide: insufficient TLS configuration is Programmed=False with this reason.
        ListenerProblem::NoCertificate => {
            let message = "an HTTPS listener needs at least one certificate in tls.certificateRefs".to_owned();
            Telling::no(PROGRAMMED, "InvalidTLSConfig", at("tls.certificateRefs"), message)
        }
        ListenerProblem::NamespacesFrom(found) => {
            let message = format!("{found:?} is not known, so no route may attach; allowed: All, Same, Selector, None");
            Telling::no(ACCEPTED, "UnsupportedValue", at("allowedRoutes.namespaces.from"), message)
        }
        ListenerProblem::NamespaceSelector(fault) => {
            let why = match fault {
                SelectorFault::Missing => "from: Selector needs a selector".to_owned(),
                SelectorFault::Operator(found) => {
                    format!("operator {found:?} is not known; allowed: In, NotIn, Exists, DoesNotExist")
                }
                SelectorFault::NoValues(key) => format!("the expression on {key:?} needs values"),
                SelectorFault::SomeValues(key) => format!("the expression on {key:?} takes no values"),
            };
            let message = format!("{why}; until then no route may attach");
            Telling::no(ACCEPTED, "UnsupportedValue", at("allowedRoutes.namespaces.selector"), message)
        }
        ListenerProblem::HostnameConflict(with) => {
            let message = format!("same port and hostname as {}; none of them serves", wording::names(with));
            Telling::no(ACCEPTED, "HostnameConflict", at("hostname"), message)
        }
        ListenerProblem::ProtocolConflict(with) => {
            let message = format!("other protocol on the same port than {}; none of them serves", wording::names(with));
            Telling::no(ACCEPTED, "ProtocolConflict", at("protocol"), message)
        }
        ListenerProblem::PortHeld { address, by, why } => {
            let why = match why {
                PortClash::Hostname => "with the same hostname",
                PortClash::Protocol => "with another protocol",
            };
            let who = match by {
                Holder::Same(name) => format!("listener {name} of this Gateway"),
                Holder::Older(id) => {
                    format!(
                        "listener {} of Gateway {}/{}, which is older or first by name,",
                        id.listener, id.namespace, id.gateway
                    )
                }
            };
            let message = format!("{address} is held by {who} {why}");
            Telling::no(ACCEPTED, "PortUnavailable", at("port"), message)
        }
        ListenerProblem::RouteKind { index, group, kind } => {
            let field = at(&format!("allowedRoutes.kinds[{index}]"));
            let allowed = HTTP_KINDS.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
            let message = format!("{} is not served on this listener; allowed: {allowed}", named(group, kind));
            Telling::no(RESOLVED_REFS, "InvalidRouteKinds", field, message)
        }
        ListenerProblem::CertificateRef { index, namespace, reference, fault } => {
            let field = at(&format!("tls.certificateRefs[{index}]"));
            let (reason, why) = certificate(fault);
            let what = named(&reference.group, &reference.kind);
            Telling::no(RESOLVED_REFS, reason, field, format!("{what} {namespace}/{} {why}", reference.name))
        }
    }
}

fn certificate(fault: &CertificateFault<'_>) -> (&'static str, String) {
    let why = match fault {
        CertificateFault::NotPermitted => {
            let why = "is in another namespace, and no ReferenceGrant there permits a Gateway of this one";
            return ("RefNotPermitted", why.to_owned());
        }
        CertificateFault::Kind => "cannot hold a certificate; allowed: a Secret of the core group".to_owned(),
        CertificateFault::NotFound => "does not exist".to_owned(),
        CertificateFault::Type(found) => format!("is of type {found:?}; allowed: kubernetes.io/tls"),
        CertificateFault::KeyMissing(key) => format!("has no {key}"),
        CertificateFault::Malformed(problem) => format!("cannot be used: {problem}"),
    };
    ("InvalidCertificateRef", why)
}

/// Of a route towards one parent.
pub fn attach(position: usize, problem: &AttachProblem<'_>) -> Telling {
    let at = |field: &str| format!("spec.parentRefs[{position}]{field}");
    match problem {
        AttachProblem::NoMatchingParent { section, port, listeners } => {
            let message = no_such_listener(section.as_deref(), *port, listeners);
            // The field that is wrong, where only one can be.
            let field = match (section, port) {
                (Some(_), None) => ".sectionName",
                (None, Some(_)) => ".port",
                _ => "",
            };
            Telling::no(ACCEPTED, "NoMatchingParent", at(field), message)
        }
        AttachProblem::NotAllowed(refusals) => {
            let told: Vec<String> = refusals
                .iter()
                .map(|refusal| {
                    let why = match refusal.why {
                        RefusalReason::Listener => "is itself not valid",
                        RefusalReason::Kind => "does not take this kind of route",
                        RefusalReason::Namespace => "does not take routes from this namespace",
                    };
                    format!("listener {} {why}", refusal.listener)
                })
                .collect();
            Telling::no(ACCEPTED, "NotAllowedByListeners", at(""), wording::sentences(&told))
        }
        AttachProblem::NoMatchingHostname(listeners) => {
            let message = format!("none of the hostnames is taken by these listeners: {}", wording::names(listeners));
            Telling::no(ACCEPTED, "NoMatchingListenerHostname", "spec.hostnames", message)
        }
    }
}

/// What a parentRef asks for, and what the Gateway has of it.
fn no_such_listener(section: Option<&str>, port: Option<i32>, listeners: &[(&str, i32)]) -> String {
    if listeners.is_empty() {
        return "the Gateway has no listener".to_owned();
    }
    let found = match (section, port) {
        (Some(name), Some(port)) => format!("sectionName {name:?} and port {port}"),
        (None, Some(port)) => format!("port {port}"),
        (name, None) => format!("sectionName {:?}", name.unwrap_or_default()),
    };
    let tell = |(name, there): &(&str, i32)| match (section, port) {
        (Some(_), Some(_)) => format!("{name} on port {there}"),
        (None, Some(_)) => there.to_string(),
        (_, None) => (*name).to_owned(),
    };
    let mut known: Vec<String> = listeners.iter().map(tell).collect();
    let mut seen = HashSet::new();
    known.retain(|one| seen.insert(one.clone()));
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    format!("no listener of the Gateway has {found}; there are: {}", wording::names(&known))
}

/// A group and kind as people write them.
pub fn named(group: &str, kind: &str) -> String {
    if group.is_empty() { kind.to_owned() } else { format!("{group}/{kind}") }
}
