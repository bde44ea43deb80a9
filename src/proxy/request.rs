//! From a request that was read to where it goes: host and path in their one form, listener, rule, share, endpoint;
//! or to the answer that it gets here.
//! Synchronous: nothing here waits.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{ALLOW, EXPECT, HOST};
use http::{HeaderValue, Method, Uri, Version};
use pingora::http::RequestHeader;

use super::client::Client;
use super::context::{Forwarding, Matched, RequestContext};
use super::elsewhere;
use super::filter::{self, redirect::Asked};
use super::listener::connection::{Connection, Security};
use super::respond::Answer;
use super::serving::{ListenerIndex, View, WorkerState};
use super::upstream::{Nobody, Pick, Ticket, headers, key};
use crate::router::{RequestParts, normalise_host, path};
use crate::snapshot::{
    Action, Bind, Choice, Filters, Listener, LocalAnswer, Share, Target, UpstreamIndex, UpstreamProtocol,
    WeightedUpstreams,
};
use crate::telemetry::Reason;

/// What a refused method is told that it could be. Which of them a backend takes, it says itself.
const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

const INVALID: Answer = Answer::new(400, Reason::RequestInvalid);

/// Finds where a request goes and notes it in the context. Host and path of the request are brought into the one
/// form that is matched and forwarded alike.
///
/// # Errors
/// What to answer instead of forwarding.
pub fn admit(
    request: &mut RequestHeader,
    connection: &Connection,
    client: Client,
    state: &WorkerState,
    context: &mut RequestContext,
) -> Result<(), Answer> {
    // TRACE would show a script what the browser or a proxy adds to its requests, cookies and credentials first of all.
    if matches!(request.method, Method::CONNECT | Method::TRACE) {
        // RFC 9110, 15.5.6: "The origin server MUST generate an Allow header field in a 405 response".
        return Err(Answer::new(405, Reason::RequestInvalid).with(ALLOW, ALLOWED));
    }
    if request.version == Version::HTTP_10 {
        // RFC 9110, 10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore that
        // expectation"; the upstream is asked in HTTP/1.1.
        request.remove_header(&EXPECT);
    }
    context.host = settle_host(request)?;
    settle_path(request)?;
    let parts = RequestParts {
        host: &context.host,
        method: &request.method,
        path: request.uri.path(),
        query: request.uri.query(),
        headers: &request.headers,
    };
    let elsewhere = elsewhere::redirection(connection, &client);
    let view = state.view();
    let bind = view.bind(&connection.bind).ok_or(Answer::new(404, Reason::NoListener))?;
    let at = |index| ListenerIndex { bind: connection.bind, index };
    let at = match listener(bind, &connection.security, &context.host) {
        Ok(index) => at(index),
        Err((whose, refusal)) => {
            context.matched = whose.map(|index| Matched::new(view.clone(), at(index)));
            let elsewhere = elsewhere.filter(|_| refusal.reason == Reason::NoListener);
            return Err(elsewhere.map_or(refusal, |to| elsewhere::answer(to, &parts, port_offset(&client, &view))));
        }
    };
    let listener = view.listener(at).ok_or(Answer::new(404, Reason::NoListener))?;
    let matched = context.matched.insert(Matched::new(view.clone(), at));
    if let Some(to) = elsewhere
        && !elsewhere::takes_challenge(listener, &parts)
    {
        return Err(elsewhere::answer(to, &parts, port_offset(&client, &view)));
    }
    let rule = listener.routes.value_for(&parts).copied().ok_or(Answer::new(404, Reason::NoRoute))?;
    matched.found(rule);
    if let Some(traced) = context.traced.as_mut().filter(|traced| traced.is_sampled())
        && let Some(entry) = listener.routes.find(&parts)
    {
        traced.matched(&filter::pattern(&entry.matches.path));
    }
    let rule = view.rule(rule).ok_or(Answer::new(500, Reason::Internal))?;
    if let Some(answer) = rule.filters.cors().and_then(|cors| filter::cors::preflight(cors, request)) {
        return Err(answer);
    }
    let prefix = || won_prefix(listener, &parts);
    match &rule.action {
        Action::Forward(shares) => {
            let drawn = draw(shares, state.random())?;
            if filter::need_prefix(&rule.filters) || filter::need_prefix(drawn.filters) {
                matched.won_by(prefix()?);
            }
            if !drawn.filters.is_empty() {
                matched.drew(drawn.position);
            }
            let forwarding = forwarding(&view, drawn.upstream, state, request, client.address.ip())?;
            if forwarding.upstream.protocol() == UpstreamProtocol::H2c && headers::is_grpc_without_trailers(request) {
                return Err(Answer::new(505, Reason::RequestInvalid));
            }
            context.forwarding = Some(forwarding);
            Ok(())
        }
        Action::Redirect(redirect) => {
            let asked = Asked {
                tls: client.tls,
                host: parts.host,
                port: client.port.unwrap_or(listener.port),
                port_offset: port_offset(&client, &view),
                path: parts.path,
                query: parts.query,
                prefix: if filter::redirect::needs_prefix(redirect) { Some(prefix()?) } else { None },
            };
            Err(filter::redirect::answer(redirect, asked))
        }
        Action::Answer(answer) => Err(invalid(*answer)),
    }
}

/// By how much ports of this host are bound higher: whom a proxy before us was reached by, does not see ours.
fn port_offset(client: &Client, view: &View) -> u16 {
    if client.port.is_some() { 0 } else { view.port_offset() }
}

/// A share that was drawn.
struct Drawn<'a> {
    upstream: UpstreamIndex,
    filters: &'a Filters,
    /// Which one it is.
    position: usize,
}

/// Draws a share by weight.
fn draw(shares: &WeightedUpstreams, ticket: Ticket) -> Result<Drawn<'_>, Answer> {
    let share = shares.pick(ticket.0).ok_or_else(|| invalid(LocalAnswer::InvalidBackend))?;
    match &share.target {
        Target::Upstream(upstream, filters) => {
            let is_it = |other: &Share| std::ptr::eq(other, share);
            let position = if filters.is_empty() { None } else { shares.shares().iter().position(is_it) };
            Ok(Drawn { upstream: *upstream, filters, position: position.unwrap_or_default() })
        }
        Target::Invalid { answer, .. } => Err(invalid(*answer)),
    }
}

/// Length of the prefix of the match that won.
fn won_prefix(listener: &Listener, parts: &RequestParts<'_>) -> Result<usize, Answer> {
    let won = listener.routes.find(parts).and_then(|entry| filter::prefix_length(&entry.matches.path));
    // The translator takes no such rule; another path than the one asked for must not be guessed.
    won.ok_or_else(|| invalid(LocalAnswer::FilterFailed))
}

/// "Matching rule without usable backend 500, never fall through to another rule" (gateway-api.md 6.1).
fn invalid(answer: LocalAnswer) -> Answer {
    match answer {
        LocalAnswer::InvalidBackend => Answer::new(500, Reason::InvalidBackend),
        LocalAnswer::FilterFailed => Answer::new(500, Reason::FilterFailed),
    }
}

fn forwarding(
    view: &Arc<View>,
    upstream: UpstreamIndex,
    state: &WorkerState,
    request: &RequestHeader,
    client: IpAddr,
) -> Result<Forwarding, Answer> {
    let upstream = view.upstream(upstream).ok_or_else(|| invalid(LocalAnswer::InvalidBackend))?;
    let hash = key(&upstream.policy().balance, request, client);
    let choice = upstream.choose(Pick { ticket: state.random(), hash, tried: &[] }).map_err(|nobody| match nobody {
        Nobody::AtLimit => Answer::new(503, Reason::Overloaded),
        Nobody::NoEndpoints | Nobody::AllTried => Answer::new(503, Reason::NoEndpoints),
    })?;
    Ok(Forwarding::new(upstream.clone(), choice, hash))
}

/// Index of the listener of a bind that takes the request.
///
/// In cleartext it is the one whose hostname takes the host best, and only that one (listener isolation). Over TLS
/// the server name has chosen already; where the host would have chosen another one, the request is misdirected,
/// and is counted for the listener of the server name.
fn listener(bind: &Bind, security: &Security, host: &str) -> Result<u32, (Option<u32>, Answer)> {
    const NO_LISTENER: (Option<u32>, Answer) = (None, Answer::new(404, Reason::NoListener));
    let by_sni = match security {
        Security::Plain => None,
        // The listener may have gone since the handshake.
        Security::Tls { sni } => Some(bind.listener_for_sni(sni.as_deref()).ok_or(NO_LISTENER)?),
    };
    match bind.choose(by_sni, host) {
        Choice::Listener(_) => by_sni.or_else(|| bind.by_host.find(host).copied()).ok_or(NO_LISTENER),
        Choice::NoListener => Err(NO_LISTENER),
        Choice::Misdirected(_) => Err((by_sni, Answer::new(421, Reason::Misdirected))),
    }
}

/// The host that is matched. HTTP/2's `:authority`, and the host of an HTTP/1.0 client's absolute target, become
/// `Host`, which is what an HTTP/1 upstream is told.
fn settle_host(request: &mut RequestHeader) -> Result<String, Answer> {
    let authority = match request.version {
        Version::HTTP_2 => request.uri.authority().map(|authority| authority.as_str().to_owned()),
        Version::HTTP_10 => absolute_authority(request),
        _ => None, // has both, and Pingora has seen to it that they agree
    };
    if let Some(authority) = authority {
        // Pingora has refused what contradicts: userinfo, two hosts, a Host that differs.
        let value = HeaderValue::from_str(&authority).map_err(|_| INVALID)?;
        request.insert_header(HOST, value).map_err(|_| INVALID)?;
    }
    let mut hosts = request.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().map_err(|_| INVALID)?,
        (None, _) if request.version == Version::HTTP_10 => return Ok(String::new()),
        // RFC 9112, 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request
        // message that lacks a Host header field and to any request message that contains more than one".
        _ => return Err(INVALID),
    };
    normalise_host(host).map(Cow::into_owned).map_err(|_| INVALID)
}

/// RFC 9112, 3.2.2: of an absolute target a proxy "MUST replace the received Host field-value (if any) with the host
/// information of the request-target". HTTP/1.0 clients need not send `Host` at all.
fn absolute_authority(request: &RequestHeader) -> Option<String> {
    let target = std::str::from_utf8(request.raw_path()).ok().filter(|target| !target.starts_with('/'))?;
    Some(target.parse::<Uri>().ok()?.into_parts().authority?.as_str().to_owned())
}

/// Whether it is an absolute target of a scheme that is served here.
fn is_web(target: &str) -> bool {
    let scheme = target.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web)))
}

/// The path that is matched and forwarded. An absolute target is forwarded in its short form.
fn settle_path(request: &mut RequestHeader) -> Result<(), Answer> {
    let raw = std::str::from_utf8(request.raw_path()).map_err(|_| INVALID)?;
    if !raw.starts_with('/') && raw != "*" && !is_web(raw) {
        return Err(INVALID);
    }
    let sent = request.uri.path();
    let normal = path::normalise_for(&request.method, sent).map_err(|_| INVALID)?;
    if raw.starts_with('/') && normal == sent || raw == "*" {
        return Ok(());
    }
    let target = match request.uri.query() {
        Some(query) => format!("{normal}?{query}"),
        None => normal.into_owned(),
    };
    request.set_raw_path(target.as_bytes()).map_err(|_| INVALID)
}
