//! The record of a request, made exactly once: at its end, or, where it is dropped without one, when its context goes.
//! So are requests whose answer was cut at their limit or at the end of a drain, and those that panicked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, Uri, Version};
use pingora_proxy::Session;

use super::connection;
use super::context::RequestContext;
use super::deadline::{self, Bound};
use super::forwarding::Forwarding;
use super::listener::connection::Connection;
use crate::telemetry::{ActiveRequest, Headers, Reason, Recorder, RequestRecord};

/// What keeps a request from going unrecorded.
#[derive(Debug)]
pub struct Unrecorded {
    recorder: Arc<Recorder>,
    recorded: bool,
    /// Known once the request is forwarded.
    facts: Option<Facts>,
    /// Bytes of the answer's body that came from the endpoint.
    pub sent: u64,
    /// Counts it as long as it lasts.
    _active: ActiveRequest,
}

/// What a context must know to speak for its session.
#[derive(Debug)]
struct Facts {
    method: Method,
    uri: Uri,
    version: Version,
    /// Those that the access log may show.
    headers: HeaderMap,
    connection: Arc<Connection>,
}

/// What the client's side of a request comes to.
struct Seen<'a> {
    method: &'a str,
    path: &'a str,
    version: Version,
    connection: Option<&'a Connection>,
    code: u16,
    received: u64,
    sent: u64,
    headers: Headers<'a>,
}

impl Unrecorded {
    /// A request begins.
    pub fn new(recorder: Arc<Recorder>) -> Self {
        let active = recorder.begin();
        Unrecorded { recorder, recorded: false, facts: None, sent: 0, _active: active }
    }
}

impl RequestContext {
    /// Notes whose request it is, for as long as the session cannot be asked.
    pub fn note(&mut self, session: &Session) {
        if self.unrecorded.facts.is_some() {
            return;
        }
        let Ok(connection) = connection(session) else { return };
        let request = session.req_header();
        self.unrecorded.facts = Some(Facts {
            method: request.method.clone(),
            uri: request.uri.clone(),
            version: request.version,
            headers: self.unrecorded.recorder.kept_headers(&request.headers),
            connection: connection.clone(),
        });
    }

    /// Records a request that has ended.
    pub fn record(&mut self, session: &Session) {
        let request = session.req_header();
        let seen = Seen {
            method: request.method.as_str(),
            path: request.uri.path(),
            version: request.version,
            connection: connection(session).ok().map(|connection| &**connection),
            code: session.response_written().map_or(0, |response| response.status.as_u16()),
            received: session.body_bytes_read() as u64,
            sent: session.body_bytes_sent() as u64,
            headers: Headers {
                request: Some(&request.headers),
                response: session.response_written().map(|response| &response.headers),
            },
        };
        if self.error.is_none() {
            self.error = self.forwarding.as_ref().and_then(Forwarding::account);
        }
        self.record_once(&seen);
        self.unrecorded.recorded = true;
    }

    fn record_once(&self, seen: &Seen<'_>) {
        let end = self.ended.unwrap_or_else(Instant::now);
        let record = RequestRecord {
            listener: self.listener_labels(),
            route: self.route_labels(),
            method: seen.method,
            host: &self.host,
            path: seen.path,
            protocol: match seen.version {
                Version::HTTP_2 => "HTTP/2",
                Version::HTTP_10 => "HTTP/1.0",
                _ => "HTTP/1.1",
            },
            tls: seen.connection.is_some_and(Connection::is_tls),
            code: seen.code,
            reason: self.reason,
            client: self.client.map(|client| client.address).or(seen.connection.map(|connection| connection.peer)),
            request_id: self.request_id.as_str(),
            upstream: self.forwarding.as_ref().and_then(Forwarding::last_endpoint),
            duration: end.saturating_duration_since(self.started),
            upstream_duration: self.forwarding.as_ref().map_or(Duration::ZERO, |way| way.elapsed(end)),
            bytes_received: seen.received,
            bytes_sent: seen.sent,
            trace_id: self.traced.as_ref().and_then(|traced| traced.trace_id()),
            error: self.error.as_deref(),
            headers: seen.headers,
        };
        self.unrecorded.recorder.record(&record);
        if let (Some(traced), Some(tracer)) = (&self.traced, self.unrecorded.recorder.tracer()) {
            tracer.end(traced, &record);
        }
    }
}

impl Drop for RequestContext {
    fn drop(&mut self) {
        if self.unrecorded.recorded {
            return;
        }
        self.reason = match deadline::expired() {
            // Not in a phase of ours, which would have been an error: this request's task ends (decision 12).
            _ if std::thread::panicking() => Reason::Internal,
            Some(Bound::Request) => Reason::RequestTimeout,
            Some(Bound::Try) => Reason::BackendTimeout,
            Some(Bound::Body) => Reason::RequestInvalid,
            None => Reason::Draining,
        };
        let facts = self.unrecorded.facts.take();
        let version = facts.as_ref().map_or(Version::HTTP_11, |facts| facts.version);
        let code = match self.code {
            // what the stream then says in the request's stead
            0 if std::thread::panicking() && version != Version::HTTP_2 => 500,
            code => code,
        };
        self.record_once(&Seen {
            method: facts.as_ref().map_or("", |facts| facts.method.as_str()),
            path: facts.as_ref().map_or("", |facts| facts.uri.path()),
            version,
            connection: facts.as_ref().map(|facts| &*facts.connection),
            code,
            received: 0,
            sent: self.unrecorded.sent,
            headers: Headers { request: facts.as_ref().map(|facts| &facts.headers), response: None },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{AccessLog, BuildLabels, Telemetry};

    fn reasons(end: impl FnOnce(RequestContext) + std::panic::UnwindSafe) -> Vec<String> {
        let telemetry = Telemetry::new(BuildLabels::default(), AccessLog::off());
        let recorder = Arc::new(telemetry.recorder(0));
        let context = std::panic::AssertUnwindSafe(RequestContext::new(recorder));
        let _ = std::panic::catch_unwind(move || {
            let std::panic::AssertUnwindSafe(context) = { context };
            end(context);
        });
        let text = telemetry.metrics_text();
        let requests = text.lines().filter(|line| line.starts_with("transom_http_requests_total{"));
        let reason = |line: &str| line.split("reason=\"").nth(1).unwrap().replace("\"}", "");
        requests.map(reason).collect()
    }

    #[test]
    fn a_request_that_panics_is_recorded_as_our_fault() {
        assert_eq!(reasons(|_context| panic!("on purpose")), ["internal 1"]);
    }

    #[test]
    fn a_request_that_is_dropped_is_recorded_once() {
        assert_eq!(reasons(drop), ["draining 1"]);
    }
}
