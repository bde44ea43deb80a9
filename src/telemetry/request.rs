//! One finished request, as metrics and the access log are told of it.

use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderMap;

use super::Reason;

/// All that is recorded of one request. Built on the stack by the data worker; nothing in it is cloned.
#[derive(Debug)]
pub struct RequestRecord<'a> {
    /// The listener that took it, if any did.
    pub listener: Option<ListenerLabels<'a>>,
    /// The rule that matched, if any did.
    pub route: Option<RouteLabels<'a>>,
    /// Method as received.
    pub method: &'a str,
    /// Host as matched.
    pub host: &'a str,
    /// Path as matched and forwarded, without query.
    pub path: &'a str,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'static str,
    /// Whether the client came over TLS.
    pub tls: bool,
    /// Status code sent; 0 if none was.
    pub code: u16,
    /// Why the answer is the gateway's own.
    pub reason: Reason,
    /// The client; port 0 where it is not known.
    pub client: Option<SocketAddr>,
    /// Its id; empty if it has none.
    pub request_id: &'a str,
    /// The endpoint that answered or was tried last.
    pub upstream: Option<SocketAddr>,
    /// From the first byte of the request to the last of the answer.
    pub duration: Duration,
    /// Part of it from the choice of an endpoint to the last byte that came from one.
    pub upstream_duration: Duration,
    /// Bytes of the request's body.
    pub bytes_received: u64,
    /// Bytes of the answer's body.
    pub bytes_sent: u64,
    /// The trace that it is recorded in.
    pub trace_id: Option<u128>,
    /// What went wrong, for a person; never a secret.
    pub error: Option<&'a str>,
    /// Of these the access log shows what it is told to.
    pub headers: Headers<'a>,
}

/// The headers of a request and of its answer, as far as they are known when it ends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers<'a> {
    /// As received.
    pub request: Option<&'a HeaderMap>,
    /// As sent.
    pub response: Option<&'a HeaderMap>,
}

impl<'a> RequestRecord<'a> {
    /// The path alone: a query may hold a token.
    #[must_use]
    pub fn bare_path(&self) -> &'a str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// Time in the gateway; of a request that an endpoint answered, and whose answer has an end.
    #[must_use]
    pub fn overhead(&self) -> Option<Duration> {
        let answered = self.upstream.is_some() && self.reason == Reason::None && self.code != 101;
        answered.then(|| self.duration.saturating_sub(self.upstream_duration))
    }
}

/// Whose listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerLabels<'a> {
    /// Namespace of the Gateway.
    pub namespace: &'a str,
    /// Name of the Gateway.
    pub gateway: &'a str,
    /// Name of the listener.
    pub listener: &'a str,
}

/// Whose rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteLabels<'a> {
    /// Kind of route.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Position of the rule.
    pub rule: u32,
}

/// A request of which nothing is known.
#[cfg(test)]
pub(super) fn sample() -> RequestRecord<'static> {
    RequestRecord {
        listener: None,
        route: None,
        method: "GET",
        host: "a.example",
        path: "/",
        protocol: "HTTP/1.1",
        tls: false,
        code: 200,
        reason: Reason::None,
        client: None,
        request_id: "",
        upstream: None,
        duration: Duration::from_millis(1),
        upstream_duration: Duration::ZERO,
        bytes_received: 0,
        trace_id: None,
        bytes_sent: 0,
        error: None,
        headers: Headers::default(),
    }
}
