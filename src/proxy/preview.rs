//! What a rule would do to a request, with nothing sent: for `transom explain`. In come a rule, the match that won
//! and the request; out goes the answer that the gateway would give by itself, or what a backend would be asked
//! for, and how an endpoint is doing. Every answer is made by the functions that serve traffic; which rule wins is for
//! the router to say.

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use pingora::http::RequestHeader;

use super::elsewhere;
use super::filter::{self, redirect::Asked};
use super::port::Redirection;
use super::respond;
use super::upstream::seat;
use crate::router::{RequestParts, RouteMatch};
use crate::snapshot::health::Standing;
use crate::snapshot::{Action, Endpoint, Filters, Listener, Rule};
use crate::telemetry::Reason;

/// A request to a listener, and the match that it won by.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// Whether over TLS.
    pub tls: bool,
    /// The listener's port.
    pub port: u16,
    /// By how much ports below 1024 are bound higher than listeners say.
    pub port_offset: u16,
    /// The `Host` header, as sent.
    pub authority: &'a str,
    /// The host that was matched: lower case, without port.
    pub host: &'a str,
    /// Method.
    pub method: &'a Method,
    /// The path that was matched.
    pub path: &'a str,
    /// Query, without `?`.
    pub query: Option<&'a str>,
    /// Headers, without `Host`.
    pub headers: &'a HeaderMap,
    /// The match that won.
    pub matches: &'a RouteMatch,
}

/// An answer of the gateway's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    /// The status.
    pub status: u16,
    /// The word for it.
    pub reason: Reason,
    /// `Location`, or what a preflight is told.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// What a backend would be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarded {
    /// The `Host` header.
    pub host: String,
    /// Path and query.
    pub target: String,
}

/// How an endpoint is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointState {
    /// It takes part.
    Healthy,
    /// Active checks hold it for ill.
    Unhealthy,
    /// It failed too often, and is left out for a while; or its time is over and one request may try it.
    Ejected,
}

/// How an endpoint is doing, as far as this process knows.
#[must_use]
pub fn state(endpoint: &Endpoint) -> EndpointState {
    if !endpoint.health.is_healthy() {
        return EndpointState::Unhealthy;
    }
    match endpoint.health.standing(seat::now) {
        Standing::Admitted => EndpointState::Healthy,
        Standing::Due | Standing::Ejected => EndpointState::Ejected,
    }
}

/// What the rule's filters answer by themselves: a preflight or a redirect; `None` where they let the request pass.
#[must_use]
pub fn answer(rule: &Rule, incoming: &Incoming<'_>) -> Option<Foreseen> {
    let preflight = |cors| filter::cors::preflight(cors, &incoming.header()?);
    let answer = match (rule.filters.cors().and_then(preflight), &rule.action) {
        (Some(answer), _) => answer,
        (None, Action::Redirect(redirect)) => filter::redirect::answer(redirect, incoming.asked()),
        (None, Action::Forward(_) | Action::Answer(_)) => return None,
    };
    Some(Foreseen { status: answer.status, reason: answer.reason, headers: answer.headers })
}

/// What a port that sends its requests elsewhere answers; `None` for what a route of the listener takes nevertheless.
#[must_use]
pub fn elsewhere(
    to: Redirection,
    listener: Option<&Listener>,
    parts: &RequestParts<'_>,
    port_offset: u16,
) -> Option<Foreseen> {
    if listener.is_some_and(|listener| elsewhere::takes_challenge(listener, parts)) {
        return None;
    }
    let answer = elsewhere::answer(to, parts, port_offset);
    Some(Foreseen { status: answer.status, reason: answer.reason, headers: answer.headers })
}

/// The gRPC status by which a client is told an answer of the gateway's own, if its request is a gRPC call.
#[must_use]
pub fn grpc_status(request: &HeaderMap, status: u16, reason: Reason) -> Option<u8> {
    respond::grpc_status(request, status, reason)
}

/// What a backend would be asked for behind the rule's filters and those of its share; `None` where they fail.
#[must_use]
pub fn forwarded(rule: &Rule, share: &Filters, incoming: &Incoming<'_>) -> Option<Forwarded> {
    let mut request = incoming.header()?;
    let prefix = filter::prefix_length(&incoming.matches.path);
    filter::change_request(&mut request, rule.filters.iter().chain(share), prefix).ok()?;
    let host = request.headers.get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let target = String::from_utf8_lossy(request.raw_path()).into_owned();
    Some(Forwarded { host: host.unwrap_or_default(), target })
}

impl Incoming<'_> {
    /// As Pingora has it when the request has been admitted.
    fn header(&self) -> Option<RequestHeader> {
        let target = match self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.to_owned(),
        };
        let mut request = RequestHeader::build(self.method.clone(), target.as_bytes(), None).ok()?;
        request.insert_header(HOST, self.authority).ok()?;
        for (name, value) in self.headers {
            request.append_header(name, value.clone()).ok()?;
        }
        Some(request)
    }

    fn asked(&self) -> Asked<'_> {
        Asked {
            tls: self.tls,
            host: self.host,
            port: self.port,
            port_offset: self.port_offset,
            path: self.path,
            query: self.query,
            prefix: filter::prefix_length(&self.matches.path),
        }
    }
}
