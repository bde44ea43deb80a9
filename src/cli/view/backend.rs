//! The shares of a rule as people and scripts read them: where each goes, what is done on the way, how it is doing.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::filter::FilterView;
use super::policy::PolicyView;
use super::{AnswerView, percent};
use crate::cli::sources;
use crate::proxy::preview::{self, EndpointState};
use crate::router::RouteMatch;
use crate::snapshot::{Action, Endpoint, LocalAnswer, Rule, Share, Snapshot, Target, Upstream};
use crate::telemetry::Reason;

/// A backend's share, and the addresses behind it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendView {
    kind: String,
    namespace: Option<String>,
    name: Option<String>,
    port: Option<u16>,
    weight: u32,
    endpoints: Vec<String>,
    /// Those of the endpoints that health checks hold for ill; known to a running process alone.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    unhealthy: Vec<String>,
    /// Those that are left out for a while because requests failed on them; known to a running process alone.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    ejected: Vec<String>,
    /// What is done after the rule's filters, if the share is drawn.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub filters: Vec<FilterView>,
    /// How the upstream is treated, where a policy says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy: Option<PolicyView>,
    /// What the backend is asked for, where one request is looked at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub forwarded: Option<ForwardedView>,
    /// What the gateway answers in its place.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub answer: Option<AnswerView>,
}

/// What a backend is asked for, after all filters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardedView {
    /// The `Host` header, or `:authority`.
    pub host: String,
    /// Path and query.
    pub path: String,
}

impl BackendView {
    /// The shares of a rule for the match that fitted; none if the gateway answers by itself.
    #[must_use]
    pub fn all(snapshot: &Snapshot, rule: &Rule, matches: &RouteMatch) -> Vec<BackendView> {
        let Action::Forward(shares) = &rule.action else { return Vec::new() };
        shares.shares().iter().map(|share| BackendView::of(snapshot, rule, share, matches)).collect()
    }

    fn of(snapshot: &Snapshot, rule: &Rule, share: &Share, matches: &RouteMatch) -> BackendView {
        match &share.target {
            Target::Upstream(index, filters) => {
                let upstream = snapshot.upstream(*index);
                let endpoints = upstream.map(endpoints).unwrap_or_default();
                BackendView {
                    kind: "Service".to_owned(),
                    namespace: upstream.map(|u| u.id.namespace.clone()),
                    name: upstream.map(|u| u.id.service.clone()),
                    port: upstream.map(|u| u.id.port),
                    weight: share.weight,
                    unhealthy: upstream.map(|u| those(u, EndpointState::Unhealthy)).unwrap_or_default(),
                    ejected: upstream.map(|u| those(u, EndpointState::Ejected)).unwrap_or_default(),
                    filters: FilterView::list(snapshot, filters, matches),
                    policy: upstream.and_then(|u| PolicyView::of(&u.policy)),
                    forwarded: None,
                    // "when a Service has no ready endpoints … 503" (gateway-api.md 6.4)
                    answer: endpoints.is_empty().then(|| AnswerView::own(503, Reason::NoEndpoints)),
                    endpoints,
                }
            }
            Target::Invalid { backend, answer } => {
                let (namespace, name, port) = parts(backend, &rule.route.namespace);
                BackendView {
                    kind: "Service".to_owned(),
                    namespace: Some(namespace),
                    name: Some(name),
                    port,
                    weight: share.weight,
                    endpoints: Vec::new(),
                    unhealthy: Vec::new(),
                    ejected: Vec::new(),
                    filters: Vec::new(),
                    policy: None,
                    forwarded: None,
                    answer: Some(AnswerView::own(500, reason(*answer))),
                }
            }
        }
    }

    /// Whether a request that falls on this share reaches somebody.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.answer.is_none()
    }

    /// Its part of the traffic.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// The addresses behind it, each with its state if that is bad, or what is answered for want of them.
    #[must_use]
    pub fn behind(&self) -> String {
        if let Some(answer) = &self.answer {
            return answer.to_string();
        }
        let said = |address: &String| {
            if self.unhealthy.contains(address) {
                format!("{address} (unhealthy)")
            } else if self.ejected.contains(address) {
                format!("{address} (ejected)")
            } else {
                address.clone()
            }
        };
        self.endpoints.iter().map(said).collect::<Vec<_>>().join(", ")
    }

    /// Name and port; with the namespace if it is not `home`.
    #[must_use]
    pub fn name(&self, home: &str) -> String {
        let mut text = String::new();
        if let Some(namespace) = self.namespace.as_ref().filter(|namespace| *namespace != home) {
            let _ = write!(text, "{namespace}/");
        }
        text.push_str(self.name.as_deref().unwrap_or_default());
        if let Some(port) = self.port {
            let _ = write!(text, ":{port}");
        }
        text
    }
}

/// The endpoints of an upstream; an echo backend that is not running has no address to tell.
#[must_use]
pub fn endpoints(upstream: &Upstream) -> Vec<String> {
    upstream.endpoints.load().endpoints.iter().map(told).collect()
}

/// The endpoints in a state.
fn those(upstream: &Upstream, wanted: EndpointState) -> Vec<String> {
    upstream.endpoints.load().endpoints.iter().filter(|endpoint| preview::state(endpoint) == wanted).map(told).collect()
}

fn told(endpoint: &Endpoint) -> String {
    if endpoint.address == sources::UNSTARTED { "echo backend".to_owned() } else { endpoint.address.to_string() }
}

/// The word for why a rule or share is answered here.
#[must_use]
pub fn reason(answer: LocalAnswer) -> Reason {
    match answer {
        LocalAnswer::InvalidBackend => Reason::InvalidBackend,
        LocalAnswer::FilterFailed => Reason::FilterFailed,
    }
}

/// A backend as it is named, `namespace/name:port` or less, in its parts.
fn parts(named: &str, home: &str) -> (String, String, Option<u16>) {
    let (namespace, rest) = named.split_once('/').unwrap_or((home, named));
    let (name, port) = match rest.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().ok()),
        None => (rest, None),
    };
    (namespace.to_owned(), name.to_owned(), port)
}

/// The backends of a rule in one cell, or what the gateway answers.
#[must_use]
pub fn cell(backends: &[BackendView], answer: &AnswerView, home: &str) -> String {
    if backends.is_empty() {
        return answer.to_string();
    }
    let total: u64 = backends.iter().map(|backend| u64::from(backend.weight)).sum();
    let one = |backend: &BackendView| {
        let mut text = backend.name(home);
        if backends.len() > 1 {
            let _ = write!(text, " {}", percent(backend.weight, total));
        }
        match &backend.answer {
            Some(AnswerView { reason: Reason::NoEndpoints, .. }) => text.push_str(" (no endpoints)"),
            Some(answer) => {
                let _ = write!(text, " ({answer})");
            }
            None => {}
        }
        text
    };
    backends.iter().map(one).collect::<Vec<_>>().join(", ")
}
