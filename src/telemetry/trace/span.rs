//! What a span says: names and attributes of OpenTelemetry's semantic conventions for HTTP, and our own words beside
//! them under `transom.`. The query of a request is left out: it may hold a token.

use std::net::SocketAddr;
use std::time::SystemTime;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::{Traced, new_span_id};
use crate::telemetry::{Reason, RequestRecord};

/// Most tries of one request that have a span.
const MOST_TRIES: usize = 32;

/// A try at an endpoint.
#[derive(Debug)]
pub(super) struct Try {
    pub(super) id: SpanId,
    endpoint: SocketAddr,
    began: SystemTime,
    ended: Option<SystemTime>,
    outcome: Option<Outcome>,
}

/// What became of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer of this status.
    Answered(u16),
    /// None, in one word.
    Failed(Reason),
}

impl Traced {
    /// A try at `endpoint` begins. What is still open of an earlier one ends.
    pub fn begin_try(&mut self, endpoint: SocketAddr) {
        self.close(None);
        if self.sampled && self.tries.len() < MOST_TRIES {
            let (id, began) = (new_span_id(), SystemTime::now());
            self.tries.push(Try { id, endpoint, began, ended: None, outcome: None });
        }
    }

    /// The endpoint has answered; the answer's body may still come.
    pub fn answered(&mut self, status: u16) {
        if let Some(running) = self.tries.last_mut().filter(|running| running.ended.is_none()) {
            running.outcome = Some(Outcome::Answered(status));
        }
    }

    /// The running try has ended, with nothing or with an answer that is given up.
    pub fn close(&mut self, outcome: Option<Outcome>) {
        if let Some(running) = self.tries.last_mut().filter(|running| running.ended.is_none()) {
            running.outcome = outcome.or(running.outcome);
            running.ended = Some(SystemTime::now());
        }
    }

    /// The spans of a request that ended as `record` says: its own, then one for each try.
    pub(super) fn spans<'a>(&'a self, record: &'a RequestRecord<'_>) -> impl Iterator<Item = SpanData> + 'a {
        let end = self.began + record.duration;
        let own = std::iter::once_with(move || self.request(record, end));
        own.chain(self.tries.iter().enumerate().map(move |(number, one)| self.one_try(number, one, record, end)))
    }

    fn request(&self, record: &RequestRecord<'_>, end: SystemTime) -> SpanData {
        let method = known_method(record.method);
        let mut attributes = vec![
            text("http.request.method", method.unwrap_or("_OTHER")),
            text("url.scheme", if record.tls { "https" } else { "http" }),
            text("url.path", record.bare_path()),
            text("server.address", record.host),
            text("network.protocol.version", protocol_version(record)),
            text("transom.reason", record.reason.as_str()),
        ];
        let mut add = |attribute: Option<KeyValue>| attributes.extend(attribute);
        add(method.is_none().then(|| text("http.request.method_original", record.method)));
        add((record.code != 0).then(|| KeyValue::new("http.response.status_code", i64::from(record.code))));
        add(self.route.as_deref().map(|route| text("http.route", route)));
        add(self.user_agent.as_deref().map(|agent| text("user_agent.original", agent)));
        if let Some(client) = record.client {
            add(Some(KeyValue::new("client.address", client.ip().to_string())));
            add(Some(KeyValue::new("client.port", i64::from(client.port()))));
        }
        if let Some(listener) = &record.listener {
            add(Some(KeyValue::new("transom.gateway", format!("{}/{}", listener.namespace, listener.gateway))));
            add(Some(text("transom.listener", listener.listener)));
        }
        if let Some(route) = &record.route {
            let name = format!("{}/{}/{}", route.kind, route.namespace, route.name);
            add(Some(KeyValue::new("transom.route", name)));
            add(Some(KeyValue::new("transom.rule", i64::from(route.rule))));
        }
        // Semantic conventions, HTTP server spans: an error is a 5xx, or no answer at all.
        let failed = record.code >= 500 || record.code == 0;
        let error = failed.then(|| error_word(record.reason, record.code));
        let name = match (method, &self.route) {
            (method, Some(route)) => format!("{} {route}", method.unwrap_or("HTTP")),
            (method, None) => method.unwrap_or("HTTP").to_owned(),
        };
        self.span(self.span, SpanKind::Server, name, (self.began, end), attributes, error)
    }

    fn one_try(&self, number: usize, one: &Try, record: &RequestRecord<'_>, end: SystemTime) -> SpanData {
        let method = known_method(record.method);
        let mut attributes = vec![
            text("http.request.method", method.unwrap_or("_OTHER")),
            KeyValue::new("server.address", one.endpoint.ip().to_string()),
            KeyValue::new("server.port", i64::from(one.endpoint.port())),
            KeyValue::new("url.full", format!("http://{}{}", one.endpoint, record.bare_path())),
        ];
        if number > 0 {
            attributes.push(KeyValue::new("http.request.resend_count", i64::try_from(number).unwrap_or(i64::MAX)));
        }
        let error = match one.outcome {
            Some(Outcome::Answered(status)) => {
                attributes.push(KeyValue::new("http.response.status_code", i64::from(status)));
                (status >= 400).then(|| status.to_string())
            }
            Some(Outcome::Failed(reason)) => Some(reason.as_str().to_owned()),
            None => Some(error_word(record.reason, record.code)),
        };
        let time = (one.began, one.ended.unwrap_or(end).max(one.began));
        self.span(one.id, SpanKind::Client, method.unwrap_or("HTTP").to_owned(), time, attributes, error)
    }

    fn span(
        &self,
        id: SpanId,
        kind: SpanKind,
        name: String,
        (start_time, end_time): (SystemTime, SystemTime),
        mut attributes: Vec<KeyValue>,
        error: Option<String>,
    ) -> SpanData {
        let is_own = id == self.span;
        let status = if error.is_some() { Status::error("") } else { Status::Unset };
        attributes.extend(error.map(|error| KeyValue::new("error.type", error)));
        SpanData {
            span_context: SpanContext::new(self.trace, id, TraceFlags::SAMPLED, false, self.state.clone()),
            parent_span_id: if is_own { self.parent.unwrap_or(SpanId::INVALID) } else { self.span },
            parent_span_is_remote: is_own && self.parent.is_some(),
            span_kind: kind,
            name: name.into(),
            start_time,
            end_time,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: InstrumentationScope::builder("transom").build(),
        }
    }
}

fn text(key: &'static str, value: &str) -> KeyValue {
    KeyValue::new(key, value.to_owned())
}

fn protocol_version(record: &RequestRecord<'_>) -> &'static str {
    record.protocol.strip_prefix("HTTP/").unwrap_or(record.protocol)
}

/// One of the methods that the conventions know; a client must not make names at will.
fn known_method(method: &str) -> Option<&'static str> {
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"]
        .into_iter()
        .find(|known| *known == method)
}

fn error_word(reason: Reason, code: u16) -> String {
    if reason == Reason::None { code.to_string() } else { reason.as_str().to_owned() }
}
