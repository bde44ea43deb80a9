//! Parts of a snapshot as people and scripts read them: the same words in `routes`, `explain` and `run`.

pub mod backend;
pub mod filter;
pub mod policy;
pub mod timing;

use std::borrow::Cow;
use std::net::SocketAddr;

use http::HeaderMap;
use http::header::LOCATION;
use serde::{Deserialize, Deserializer, Serialize};

use crate::proxy::preview::{self, Foreseen};
use crate::router::{CallMatch, PathMatch, RouteMatch, ValueMatch};
use crate::snapshot::{Action, Rule};
use crate::telemetry::Reason;

pub use backend::{BackendView, ForwardedView, cell, endpoints};
pub use filter::{FilterView, HeaderView};
pub use policy::PolicyView;
pub use timing::{RetryView, TimeoutsView};

/// What a request must be like, field by field as the Gateway API has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MatchView {
    /// None in a match of gRPC calls.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    path: Option<ValueView>,
    method: Option<MethodView>,
    headers: Vec<NamedView>,
    query_params: Vec<NamedView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ValueView {
    #[serde(rename = "type")]
    kind: Cow<'static, str>,
    value: String,
}

/// Of an HTTPRoute its name; of a GRPCRoute service and method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum MethodView {
    Http(String),
    Grpc {
        #[serde(rename = "type")]
        kind: Cow<'static, str>,
        service: Option<String>,
        method: Option<String>,
    },
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

/// What the gateway answers by itself; no status where an upstream answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerView {
    /// Status code; none where an upstream answers, or where the connection ends without an answer.
    pub status: Option<u16>,
    /// Why; `none` where an upstream answers.
    #[serde(deserialize_with = "reason")]
    pub reason: Reason,
    /// `grpc-status`, where the request that is looked at is a gRPC call and is told one; the status is then 200.
    #[serde(rename = "grpcStatus", skip_serializing_if = "Option::is_none", default)]
    pub grpc_status: Option<u8>,
    /// Where a redirect leads to, where one request is looked at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub location: Option<String>,
    /// What a preflight is told.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub headers: Vec<HeaderView>,
}

impl MatchView {
    /// The view of a match.
    #[must_use]
    pub fn of(matches: &RouteMatch) -> MatchView {
        let value = |value: &ValueMatch| match value {
            ValueMatch::Exact(value) => ("Exact", value.clone()),
            ValueMatch::Regex(pattern) => ("RegularExpression", pattern.to_string()),
        };
        let named = |name: &str, wanted: &ValueMatch| {
            let (kind, value) = value(wanted);
            NamedView { kind: kind.into(), name: name.to_owned(), value }
        };
        let (path, method) = match &matches.path {
            PathMatch::Exact(path) => (Some(("Exact", path.clone())), None),
            PathMatch::Prefix(path) => (Some(("PathPrefix", path.clone())), None),
            PathMatch::Regex(pattern) => (Some(("RegularExpression", pattern.to_string())), None),
            PathMatch::Call(call) => (None, Some(call)),
        };
        let grpc = method.and_then(|CallMatch { service, method }| {
            let (kind, _) = value(service.as_ref().or(method.as_ref())?);
            let text = |wanted: &Option<ValueMatch>| wanted.as_ref().map(|wanted| value(wanted).1);
            Some(MethodView::Grpc { kind: kind.into(), service: text(service), method: text(method) })
        });
        let http = matches.method.as_ref().map(|method| MethodView::Http(method.to_string()));
        MatchView {
            path: path.map(|(kind, value)| ValueView { kind: kind.into(), value }),
            method: grpc.or(http),
            headers: matches.headers.iter().map(|h| named(h.name.as_str(), &h.value)).collect(),
            query_params: matches.query.iter().map(|q| named(&q.name, &q.value)).collect(),
        }
    }

    /// The path, or the gRPC calls, in one cell.
    #[must_use]
    pub fn path(&self) -> String {
        match (&self.path, &self.method) {
            (Some(path), _) => format!("{} {}", path.kind, path.value),
            (None, Some(MethodView::Grpc { kind, service, method })) => {
                let sign = if kind == "Exact" { "" } else { "~ " };
                let part = |part: &Option<String>| part.as_deref().unwrap_or("*").to_owned();
                format!("gRPC {sign}{}/{}", part(service), part(method))
            }
            (None, _) => "gRPC */*".to_owned(),
        }
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
        let method = match &self.method {
            Some(MethodView::Http(method)) => Some(method.clone()),
            Some(MethodView::Grpc { .. }) | None => None,
        };
        method.into_iter().chain(headers).chain(query).collect::<Vec<_>>().join(", ")
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

impl AnswerView {
    /// An upstream answers.
    pub const PROXIED: AnswerView =
        AnswerView { status: None, reason: Reason::None, grpc_status: None, location: None, headers: Vec::new() };

    /// The gateway answers.
    #[must_use]
    pub fn own(status: u16, reason: Reason) -> AnswerView {
        AnswerView { status: Some(status), reason, ..AnswerView::PROXIED }
    }

    /// Nobody answers: the connection ends.
    #[must_use]
    pub fn none(reason: Reason) -> AnswerView {
        AnswerView { reason, ..AnswerView::PROXIED }
    }

    /// The gateway answers this very request.
    #[must_use]
    pub fn foreseen(answer: &Foreseen) -> AnswerView {
        let (location, others): (Vec<_>, Vec<_>) = answer.headers.iter().partition(|(name, _)| *name == LOCATION);
        AnswerView {
            location: location.first().map(|(_, value)| String::from_utf8_lossy(value.as_bytes()).into_owned()),
            headers: others.iter().map(|(name, value)| HeaderView::of((name, value))).collect(),
            ..AnswerView::own(answer.status, answer.reason)
        }
    }

    /// The same, as a request with these headers is told it.
    #[must_use]
    pub fn told(self, request: &HeaderMap) -> AnswerView {
        match self.status.and_then(|status| preview::grpc_status(request, status, self.reason)) {
            Some(code) => AnswerView { status: Some(200), grpc_status: Some(code), ..self },
            None => self,
        }
    }

    /// What a rule comes to. Where only some of the shares are answered by the gateway itself, the others count.
    #[must_use]
    pub fn of(rule: &Rule, backends: &[BackendView]) -> AnswerView {
        match &rule.action {
            Action::Answer(answer) => AnswerView::own(500, backend::reason(*answer)),
            Action::Redirect(redirect) => AnswerView::own(redirect.status, Reason::Redirect),
            Action::Forward(_) => {
                let Some(mut answers) = backends.iter().map(|b| b.answer.as_ref()).collect::<Option<Vec<_>>>() else {
                    return AnswerView::PROXIED;
                };
                answers.sort_by_key(|answer| answer.reason != Reason::NoEndpoints);
                answers.first().map_or(AnswerView::PROXIED, |answer| (*answer).clone())
            }
        }
    }
}

impl std::fmt::Display for AnswerView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.status {
            Some(status) => {
                write!(f, "{status} {}", self.reason)?;
                self.grpc_status.map_or(Ok(()), |code| write!(f, " (grpc-status {code})"))
            }
            None => write!(f, "{}", self.reason),
        }
    }
}

fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Reason, D::Error> {
    let word = Cow::<'de, str>::deserialize(deserializer)?;
    let known = Reason::ALL.iter().find(|reason| reason.as_str() == word);
    known.copied().ok_or_else(|| serde::de::Error::custom(format!("unknown reason {word:?}")))
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

/// An address as people write it: `*:80` for every address of both families.
#[must_use]
pub fn address(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("*:{}", address.port()) } else { address.to_string() }
}

#[cfg(test)]
mod tests;
