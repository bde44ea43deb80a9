//! Parts of a snapshot as people and scripts read them: the same words in `routes`, `explain` and `run`.

use std::fmt::Write;
use std::net::SocketAddr;

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};

use super::sources;
use crate::router::{PathMatch, RouteMatch, ValueMatch};
use crate::snapshot::{Action, LocalAnswer, Rule, Share, Snapshot};
use crate::telemetry::Reason;

/// What a request must be like, field by field as the Gateway API has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MatchView {
    path: ValueView,
    method: Option<String>,
    headers: Vec<NamedView>,
    query_params: Vec<NamedView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ValueView {
    #[serde(rename = "type")]
    kind: Cow<'static, str>,
    value: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct NamedView {
    #[serde(rename = "type")]
    kind: Cow<'static, str>,
    name: String,
    value: String,
}

/// A route, by kind and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteView {
    kind: Cow<'static, str>,
    namespace: String,
    name: String,
}

/// A rule, by its place in the route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleView {
    index: u32,
    name: Option<String>,
}

/// A backend's share and the addresses behind it now. A share that no backend takes has no name, and is answered
/// with 500.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendView {
    kind: Cow<'static, str>,
    namespace: Option<String>,
    name: Option<String>,
    port: Option<u16>,
    weight: u32,
    endpoints: Vec<String>,
}

/// What the gateway answers by itself; no status where an upstream answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerView {
    /// Status code; none where an upstream answers, or where the connection ends without an answer.
    pub status: Option<u16>,
    /// Why; `none` where an upstream answers.
    #[serde(deserialize_with = "reason")]
    pub reason: Reason,
}

impl MatchView {
    /// The view of a match.
    #[must_use]
    pub fn of(matches: &RouteMatch) -> MatchView {
        let (kind, value) = match &matches.path {
            PathMatch::Exact(path) => ("Exact", path.clone()),
            PathMatch::Prefix(path) => ("PathPrefix", path.clone()),
            PathMatch::Regex(pattern) => ("RegularExpression", pattern.to_string()),
        };
        let named = |name: &str, value: &ValueMatch| {
            let (kind, value) = match value {
                ValueMatch::Exact(value) => ("Exact", value.clone()),
                ValueMatch::Regex(pattern) => ("RegularExpression", pattern.to_string()),
            };
            NamedView { kind: kind.into(), name: name.to_owned(), value }
        };
        MatchView {
            path: ValueView { kind: kind.into(), value },
            method: matches.method.as_ref().map(ToString::to_string),
            headers: matches.headers.iter().map(|h| named(h.name.as_str(), &h.value)).collect(),
            query_params: matches.query.iter().map(|q| named(&q.name, &q.value)).collect(),
        }
    }

    /// The path, in one cell.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{} {}", self.path.kind, self.path.value)
    }

    /// Everything else that must hold, in one cell; empty if nothing must.
    #[must_use]
    pub fn rest(&self) -> String {
        let said = |of: &NamedView, sign: &str| {
            let sign = if of.kind == "Exact" { sign } else { " ~ " };
            format!("{}{sign}{}", of.name, of.value)
        };
        let headers = self.headers.iter().map(|header| said(header, ": "));
        let query = self.query_params.iter().map(|param| format!("?{}", said(param, "=")));
        self.method.iter().cloned().chain(headers).chain(query).collect::<Vec<_>>().join(", ")
    }
}

impl RouteView {
    /// The view of a rule's route.
    #[must_use]
    pub fn of(rule: &Rule) -> RouteView {
        let route = &rule.route;
        RouteView { kind: route.kind.into(), namespace: route.namespace.clone(), name: route.name.clone() }
    }
}

impl std::fmt::Display for RouteView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl RuleView {
    /// The view of a rule's place.
    #[must_use]
    pub fn of(rule: &Rule) -> RuleView {
        RuleView { index: rule.index, name: rule.name.clone() }
    }
}

impl std::fmt::Display for RuleView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => write!(f, "rule {} ({name})", self.index),
            None => write!(f, "rule {}", self.index),
        }
    }
}

impl BackendView {
    /// The shares of a rule; none if the gateway answers by itself.
    #[must_use]
    pub fn all(snapshot: &Snapshot, rule: &Rule) -> Vec<BackendView> {
        match &rule.action {
            Action::Forward(shares) => shares.shares().iter().map(|share| BackendView::of(snapshot, share)).collect(),
            Action::Answer(_) | Action::Redirect(_) => Vec::new(),
        }
    }

    fn of(snapshot: &Snapshot, share: &Share) -> BackendView {
        let upstream = share.target.upstream().and_then(|index| snapshot.upstream(index));
        BackendView {
            kind: "Service".into(),
            namespace: upstream.map(|u| u.id.namespace.clone()),
            name: upstream.map(|u| u.id.service.clone()),
            port: upstream.map(|u| u.id.port),
            weight: share.weight,
            endpoints: upstream
                .map(|u| u.endpoints.load().endpoints.iter().map(|endpoint| told(endpoint.address)).collect())
                .unwrap_or_default(),
        }
    }

    /// Whether a request that falls on this share reaches somebody.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        !self.endpoints.is_empty()
    }

    /// Its part of the traffic.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// The addresses behind it, or what is answered for want of them.
    #[must_use]
    pub fn behind(&self) -> String {
        match (&self.name, self.endpoints.as_slice()) {
            (None, _) => format!("500 {}", Reason::InvalidBackend),
            (_, []) => format!("503 {}", Reason::NoEndpoints),
            (_, endpoints) => endpoints.join(", "),
        }
    }

    /// Name and port; with the namespace if it is not `home`.
    #[must_use]
    pub fn name(&self, home: &str) -> String {
        let (Some(namespace), Some(name), Some(port)) = (&self.namespace, &self.name, self.port) else {
            return "(invalid)".to_owned();
        };
        if namespace == home { format!("{name}:{port}") } else { format!("{namespace}/{name}:{port}") }
    }
}

impl AnswerView {
    /// An upstream answers.
    pub const PROXIED: AnswerView = AnswerView { status: None, reason: Reason::None };

    /// What a rule comes to. Where only some of the shares are answered by the gateway itself, the others count.
    #[must_use]
    pub fn of(rule: &Rule, backends: &[BackendView]) -> AnswerView {
        let reason = match &rule.action {
            Action::Answer(LocalAnswer::FilterFailed) => Reason::FilterFailed,
            Action::Redirect(redirect) => {
                return AnswerView { status: Some(redirect.status), reason: Reason::Redirect };
            }
            Action::Forward(_) if backends.iter().any(BackendView::is_reachable) => return AnswerView::PROXIED,
            // "when a Service has no ready endpoints … 503" (gateway-api.md 6.4)
            Action::Forward(_) if backends.iter().any(|b| b.name.is_some()) => {
                return AnswerView { status: Some(503), reason: Reason::NoEndpoints };
            }
            Action::Answer(LocalAnswer::InvalidBackend) | Action::Forward(_) => Reason::InvalidBackend,
        };
        AnswerView { status: Some(500), reason }
    }
}

fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Reason, D::Error> {
    let word = Cow::<'de, str>::deserialize(deserializer)?;
    let known = Reason::ALL.iter().find(|reason| reason.as_str() == word);
    known.copied().ok_or_else(|| serde::de::Error::custom(format!("unknown reason {word:?}")))
}

/// The backends of a rule in one cell, or what the gateway answers.
#[must_use]
pub fn backends_cell(snapshot: &Snapshot, rule: &Rule) -> String {
    if let Action::Answer(_) | Action::Redirect(_) = rule.action {
        let answer = AnswerView::of(rule, &[]);
        return format!("{} {}", answer.status.unwrap_or(500), answer.reason);
    }
    let backends = BackendView::all(snapshot, rule);
    let total: u64 = backends.iter().map(|backend| u64::from(backend.weight)).sum();
    let cell = |backend: &BackendView| {
        let mut text = backend.name(&rule.route.namespace);
        if backends.len() > 1 {
            let _ = write!(text, " {}", percent(backend.weight, total));
        }
        if backend.name.is_some() && !backend.is_reachable() {
            text.push_str(" (no endpoints)");
        }
        text
    };
    backends.iter().map(cell).collect::<Vec<_>>().join(", ")
}

/// A share in percent, with one digit after the point where it is not a whole number; never 0% for what is not 0.
#[must_use]
pub fn percent(weight: u32, total: u64) -> String {
    let tenths = (u64::from(weight) * 1000 + total / 2).checked_div(total).unwrap_or(0);
    match (tenths / 10, tenths % 10) {
        (0, 0) if weight > 0 => "<0.1%".to_owned(),
        (whole, 0) => format!("{whole}%"),
        (whole, tenth) => format!("{whole}.{tenth}%"),
    }
}

/// An endpoint; an echo backend that is not running has no address to tell.
fn told(endpoint: SocketAddr) -> String {
    if endpoint == sources::UNSTARTED { "echo backend".to_owned() } else { endpoint.to_string() }
}

/// An address as people write it: `*:80` for every address of both families.
#[must_use]
pub fn address(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("*:{}", address.port()) } else { address.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_in_percent_and_no_share_vanishes() {
        assert_eq!(percent(90, 100), "90%");
        assert_eq!(percent(1, 3), "33.3%");
        assert_eq!(percent(1, 1_000_001), "<0.1%");
        assert_eq!(percent(1, 1), "100%");
    }
}
