//! Lines to try: a request for each rule that is served, as curl is told it.
//!
//! Every line is tried against the snapshot before it is shown, so a line that is printed leads to the rule that it
//! stands for. A rule for which no request can be told (a regular expression) has no line.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::header::{CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TE, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::router::{
    CallMatch, HeaderMatch, Hostname, PathMatch, Pattern, RequestParts, RouteEntry, RouteMatch, ValueMatch,
};
use crate::snapshot::{Action, Bind, BindProtocol, Choice, Listener, Rule, RuleIndex, Snapshot};

/// One line a rule, on the first listener that serves it, and at least one line an HTTPS listener.
#[must_use]
pub fn lines(snapshot: &Snapshot) -> Vec<String> {
    let mut seen: BTreeSet<RuleIndex> = BTreeSet::new();
    let mut lines = Vec::new();
    for (address, bind) in &snapshot.binds {
        for listener in &bind.listeners {
            let before = lines.len();
            for entry in listener.routes.entries() {
                if !seen.contains(&entry.value)
                    && let Some(line) = line(snapshot, *address, bind, listener, entry)
                {
                    seen.insert(entry.value);
                    lines.push(line);
                }
            }
            if bind.protocol == BindProtocol::Https && lines.len() == before {
                lines.extend(
                    listener.routes.entries().find_map(|entry| line(snapshot, *address, bind, listener, entry)),
                );
            }
        }
    }
    lines
}

/// What a WebSocket client says beside `Upgrade: websocket` (RFC 6455, 4.1). The key is the RFC's own.
const WEBSOCKET: [(HeaderName, &str); 3] =
    [(CONNECTION, "Upgrade"), (SEC_WEBSOCKET_VERSION, "13"), (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==")];

/// What a gRPC client says (gRPC over HTTP/2). The call has no message, which is enough to see who answers.
const GRPC: [(HeaderName, &str); 2] = [(CONTENT_TYPE, "application/grpc"), (TE, "trailers")];

/// A request that an entry was made for.
struct Example {
    host: String,
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    headers: HeaderMap,
}

fn line(
    snapshot: &Snapshot,
    address: SocketAddr,
    bind: &Bind,
    listener: &Listener,
    entry: &RouteEntry<RuleIndex>,
) -> Option<String> {
    let shows = Shows::of(snapshot, entry);
    // a name below the wildcard may be taken by a more specific hostname: then the next one is tried
    ["demo", "any", "some-host"].iter().find_map(|label| {
        let example = Example::of(address, listener, entry, label, shows)?;
        example.leads_to(bind, listener, entry.value).then(|| example.line(address, bind.protocol, shows))
    })
}

/// What of an answer says most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    /// The body.
    Body,
    /// The header: of a redirect.
    Header,
    /// The header of an answer that does not end: of a WebSocket.
    Upgrade,
    /// The header, with the status of a gRPC call.
    Call,
}

impl Shows {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Shows::Body => &[],
            Shows::Header | Shows::Call => &["-i"],
            Shows::Upgrade => &["-i", "-N", "--max-time", "2"],
        }
    }

    fn of(snapshot: &Snapshot, entry: &RouteEntry<RuleIndex>) -> Shows {
        let redirects = |rule: &Rule| matches!(rule.action, Action::Redirect(_));
        let is_upgrade = |header: &HeaderMatch| {
            header.name == UPGRADE && value(&header.value).is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
        };
        if matches!(entry.matches.path, PathMatch::Call(_)) {
            Shows::Call
        } else if snapshot.rule(entry.value).is_some_and(redirects) {
            Shows::Header
        } else if entry.matches.headers.iter().any(is_upgrade) {
            Shows::Upgrade
        } else {
            Shows::Body
        }
    }
}

impl Example {
    fn of(
        address: SocketAddr,
        listener: &Listener,
        entry: &RouteEntry<RuleIndex>,
        label: &str,
        shows: Shows,
    ) -> Option<Example> {
        let hostname = match (&entry.hostname, &listener.hostname) {
            (Some(route), Some(own)) => Some(route.intersection(own)?),
            (route, own) => route.as_ref().or(own.as_ref()).cloned(),
        };
        let host = match hostname {
            Some(Hostname::Exact(name)) => name,
            Some(Hostname::Wildcard(suffix)) => format!("{label}.{suffix}"),
            None if is_here(address.ip()) => "localhost".to_owned(),
            None if address.is_ipv6() => format!("[{}]", address.ip()),
            None => address.ip().to_string(),
        };
        let RouteMatch { path, method, headers, query } = &entry.matches;
        let path = match path {
            PathMatch::Exact(path) | PathMatch::Prefix(path) => path.clone(),
            PathMatch::Regex(pattern) => literal(pattern)?,
            PathMatch::Call(CallMatch { service, method }) => {
                let name = |wanted: &Option<ValueMatch>, any: &str| match wanted {
                    Some(wanted) => value(wanted),
                    None => Some(any.to_owned()),
                };
                format!("/{}/{}", name(service, "any.Service")?, name(method, "Any")?)
            }
        };
        let mut sent = HeaderMap::new();
        for header in headers {
            sent.insert(header.name.clone(), HeaderValue::from_str(&value(&header.value)?).ok()?);
        }
        if shows == Shows::Upgrade {
            sent.extend(WEBSOCKET.map(|(name, value)| (name, HeaderValue::from_static(value))));
        }
        if shows == Shows::Call {
            sent.extend(GRPC.map(|(name, value)| (name, HeaderValue::from_static(value))));
        }
        let query = query.iter().map(|q| Some((q.name.clone(), value(&q.value)?))).collect::<Option<Vec<_>>>()?;
        let usual = if shows == Shows::Call { Method::POST } else { Method::GET };
        Some(Example { host, method: method.clone().unwrap_or(usual), path, query, headers: sent })
    }

    fn leads_to(&self, bind: &Bind, listener: &Listener, rule: RuleIndex) -> bool {
        let name = if self.host.starts_with('[') { "" } else { self.host.as_str() };
        let sni = (name.parse::<IpAddr>().is_err() && !name.is_empty()).then_some(name);
        let by_sni = (bind.protocol == BindProtocol::Https).then(|| bind.listener_for_sni(sni));
        if by_sni == Some(None) {
            return false;
        }
        let query = self.query();
        let parts = RequestParts {
            host: &self.host,
            method: &self.method,
            path: &self.path,
            query: query.as_deref(),
            headers: &self.headers,
        };
        match bind.choose(by_sni.flatten(), &self.host) {
            Choice::Listener(chosen) if std::ptr::eq(chosen, listener) => {
                listener.routes.find(&parts).is_some_and(|entry| entry.value == rule)
            }
            _ => false,
        }
    }

    fn query(&self) -> Option<String> {
        let pair = |(name, value): &(String, String)| format!("{}={}", encode(name), encode(value));
        (!self.query.is_empty()).then(|| self.query.iter().map(pair).collect::<Vec<_>>().join("&"))
    }

    fn line(&self, address: SocketAddr, protocol: BindProtocol, shows: Shows) -> String {
        let mut words = vec!["curl".to_owned()];
        words.extend(shows.flags().iter().map(|flag| (*flag).to_owned()));
        if protocol == BindProtocol::Https {
            words.push("-k".to_owned());
            if shows == Shows::Upgrade {
                words.push("--http1.1".to_owned()); // HTTP/2 has no such upgrade
            }
        }
        if protocol == BindProtocol::Http && shows == Shows::Call {
            words.push("--http2-prior-knowledge".to_owned());
        }
        match self.method {
            Method::GET => {}
            Method::HEAD => words.push("-I".to_owned()),
            ref method => words.extend(["-X".to_owned(), quote(method.as_str())]),
        }
        for (name, value) in &self.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            words.extend(["-H".to_owned(), quote(&format!("{name}: {value}"))]);
        }
        if let Some(ip) = self.connect(address.ip()) {
            let ip = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
            words.extend(["--resolve".to_owned(), quote(&format!("{}:{}:{ip}", self.host, address.port()))]);
        }
        let scheme = if protocol == BindProtocol::Https { "https" } else { "http" };
        let query = self.query().map_or_else(String::new, |query| format!("?{query}"));
        let host = &self.host;
        words.push(quote(&format!("{scheme}://{host}{}{}{query}", port(scheme, address.port()), self.path)));
        words.join(" ")
    }

    /// Where to connect, if the host's name does not lead there: curl finds `localhost` and all below it by itself.
    fn connect(&self, ip: IpAddr) -> Option<IpAddr> {
        let local = self.host == "localhost" || self.host.ends_with(".localhost");
        let is_address = self.host.starts_with('[') || self.host.parse::<IpAddr>().is_ok();
        if is_address || (local && is_here(ip)) {
            return None;
        }
        Some(if ip.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { ip })
    }
}

/// Whether `localhost` leads to the address.
fn is_here(ip: IpAddr) -> bool {
    ip.is_unspecified() || ip == IpAddr::V4(Ipv4Addr::LOCALHOST)
}

fn port(scheme: &str, port: u16) -> String {
    match (scheme, port) {
        ("http", 80) | ("https", 443) => String::new(),
        (_, port) => format!(":{port}"),
    }
}

fn value(of: &ValueMatch) -> Option<String> {
    match of {
        ValueMatch::Exact(value) => Some(value.clone()),
        ValueMatch::Regex(pattern) => literal(pattern),
    }
}

/// The text that a pattern stands for, if it stands for one.
fn literal(pattern: &Pattern) -> Option<String> {
    let text = pattern.to_string();
    (!text.contains(|c: char| r".+*?()|[]{}^$\".contains(c)) && !text.is_empty()).then_some(text)
}

/// A text as one part of a query.
pub(super) fn encode(text: &str) -> String {
    let byte = |b: u8| {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) { char::from(b).to_string() } else { format!("%{b:02X}") }
    };
    text.bytes().map(byte).collect()
}

/// A word as a shell reads it back.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture;

    const GATEWAY: &str = "
kind: GatewayClass
metadata: {name: c}
spec: {controllerName: transom.dev/gateway-controller}
---
kind: Service
metadata: {name: s, annotations: {transom.dev/echo: s}}
spec: {ports: [{port: 80}]}
---
";

    fn lines_of(rest: &str) -> Vec<String> {
        lines(&fixture::translate(&format!("{GATEWAY}{rest}"), 0).snapshot)
    }

    #[test]
    fn the_quick_start_has_a_line_for_each_rule_and_one_for_each_https_listener() {
        let mut lines = lines(&fixture::quickstart().snapshot);
        lines.sort();
        assert_eq!(
            lines,
            [
                "curl 'http://api.localhost:8080/orders?preview=true'",
                "curl -H 'x-version: v2' http://shop.localhost:8080/",
                "curl -X POST http://api.localhost:8080/orders",
                "curl -i -N --max-time 2 -H 'upgrade: websocket' -H 'connection: Upgrade' -H 'sec-websocket-version: 13' \
                 -H 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==' http://chat.localhost:8080/chat",
                "curl -i http://store.localhost:8080/",
                "curl -k https://demo.apps.localhost:8443/",
                "curl http://api.localhost:8080/orders",
                "curl http://api.localhost:8080/v1",
                "curl http://chat.localhost:8080/chat",
                "curl http://localhost:8080/",
                "curl http://shop.localhost:8080/",
            ]
        );
    }

    #[test]
    fn a_host_that_no_name_server_knows_is_led_to_the_listener() {
        let lines = lines_of(
            "
kind: Gateway
metadata: {name: g}
spec:
  gatewayClassName: c
  addresses: [{value: 127.0.0.9}]
  listeners: [{name: l, protocol: HTTP, port: 80, hostname: '*.example.com'}]
---
kind: HTTPRoute
metadata: {name: r}
spec: {parentRefs: [{name: g}], rules: [{backendRefs: [{name: s, port: 80}]}]}
",
        );
        assert_eq!(lines, ["curl --resolve demo.example.com:80:127.0.0.9 http://demo.example.com/"]);
    }

    #[test]
    fn a_rule_that_no_request_can_be_told_for_has_no_line() {
        let lines = lines_of(
            "
kind: Gateway
metadata: {name: g}
spec: {gatewayClassName: c, listeners: [{name: l, protocol: HTTP, port: 8080}]}
---
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: g}]
  hostnames: [a.localhost]
  rules:
  - {matches: [{path: {type: RegularExpression, value: '/v[0-9]+'}}], backendRefs: [{name: s, port: 80}]}
  - {matches: [{path: {type: Exact, value: /it}, headers: [{name: x-a, value: it's}]}], backendRefs: [{name: s, port: 80}]}
",
        );
        assert_eq!(lines, [r"curl -H 'x-a: it'\''s' http://a.localhost:8080/it"]);
    }

    #[test]
    fn a_name_below_a_wildcard_is_chosen_so_that_no_other_route_takes_it() {
        let lines = lines_of(
            "
kind: Gateway
metadata: {name: g}
spec: {gatewayClassName: c, listeners: [{name: l, protocol: HTTP, port: 8080}]}
---
kind: HTTPRoute
metadata: {name: exact}
spec: {parentRefs: [{name: g}], hostnames: [demo.localhost], rules: [{backendRefs: [{name: s, port: 80}]}]}
---
kind: HTTPRoute
metadata: {name: wild}
spec: {parentRefs: [{name: g}], hostnames: ['*.localhost'], rules: [{backendRefs: [{name: s, port: 80}]}]}
",
        );
        assert_eq!(lines, ["curl http://demo.localhost:8080/", "curl http://any.localhost:8080/"]);
    }

    #[test]
    fn a_grpc_route_has_a_call_without_a_message() {
        let lines = lines_of(
            "
kind: Gateway
metadata: {name: g}
spec: {gatewayClassName: c, listeners: [{name: l, protocol: HTTP, port: 8080}]}
---
kind: GRPCRoute
metadata: {name: r}
spec:
  parentRefs: [{name: g}]
  hostnames: [a.localhost]
  rules:
  - {matches: [{method: {service: shop.Cart, method: Add}, headers: [{name: x-a, value: b}]}], backendRefs: [{name: s, port: 80}]}
  - {matches: [{method: {type: RegularExpression, method: 'Get.*'}}], backendRefs: [{name: s, port: 80}]}
  - {backendRefs: [{name: s, port: 80}]}
",
        );
        let call = "curl -i --http2-prior-knowledge -X POST";
        let headers = "-H 'content-type: application/grpc' -H 'te: trailers'";
        let first = format!("{call} -H 'x-a: b' {headers} http://a.localhost:8080/shop.Cart/Add");
        assert_eq!(lines, [first, format!("{call} {headers} http://a.localhost:8080/any.Service/Any")]);
    }
}
