//! The pipeline: what a rule, and the share that was drawn, do to a request and to its answer. In come compiled
//! filters and Pingora's headers; out go changed headers, or an [`Answer`](super::respond::Answer) of the gateway's
//! own. Which rule matched and where a request goes is decided elsewhere; nothing here waits.
//!
//! The order, whatever the order in which a route lists kinds of filters:
//!
//! 1. A CORS preflight is answered or refused ([`cors::preflight`]), even where no backend could be reached.
//! 2. A redirect is answered ([`redirect::answer`]).
//! 3. A share is drawn, and each try sends a fresh copy of the client's request through [`on_request`].
//! 4. The upstream's answer passes [`on_answer`]. Redirects do, too ([`on_own_answer`]); errors of the gateway's own
//!    are changed by CORS alone, so that a page may read them.
//!
//! Filters of the rule come first, those of the share after them, and where both say the same thing the share's
//! holds. CORS is last of all: it alone says who may read an answer.

pub mod cors;
pub mod header;
pub mod redirect;
pub mod rewrite;

use std::borrow::Cow;

use pingora::http::{RequestHeader, ResponseHeader};

use super::context::{Level, Matched};
use crate::router::PathMatch;
use crate::snapshot::{Filter, Filters};
use crate::telemetry::Reason;

/// Whether the filters ask for the prefix of the match that won.
pub fn need_prefix(filters: &Filters) -> bool {
    filters.iter().any(|filter| matches!(filter, Filter::Rewrite(rewrite) if rewrite::needs_prefix(rewrite)))
}

/// Length of the prefix that a match has, without a slash at its end: "/foo/" matches as "/foo" does.
pub fn prefix_length(path: &PathMatch) -> Option<usize> {
    match path {
        PathMatch::Prefix(prefix) => Some(prefix.trim_end_matches('/').len()),
        PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Call(_) => None,
    }
}

/// The path of a match as a person would write it, for a trace.
pub fn pattern(path: &PathMatch) -> Cow<'_, str> {
    match path {
        PathMatch::Exact(path) | PathMatch::Prefix(path) => Cow::Borrowed(path),
        PathMatch::Regex(pattern) => Cow::Owned(pattern.to_string()),
        PathMatch::Call(_) => Cow::Borrowed("grpc"),
    }
}

/// Changes what is sent upstream: a copy of the client's request, made for one try, or for a mirror. Spec,
/// `HTTPBackendRef.filters`: "Filters defined at this level should be executed if and only if the request is being
/// forwarded to the backend defined here", hence not for a mirror of the rule's.
///
/// # Errors
/// A path that Pingora cannot take; what the translator lets through makes none.
pub fn on_request(request: &mut RequestHeader, matched: &Matched, level: Level) -> pingora::Result<()> {
    if !matched.is_filtered() {
        return Ok(());
    }
    change_request(request, matched.filters_to(level), matched.prefix())
}

/// Changes a request by filters in their order. `prefix` is the length of the prefix that won.
///
/// # Errors
/// As [`on_request`].
pub fn change_request<'a>(
    request: &mut RequestHeader,
    filters: impl Iterator<Item = &'a Filter>,
    prefix: Option<usize>,
) -> pingora::Result<()> {
    let mut path = None;
    for filter in filters {
        match filter {
            Filter::RequestHeaders(changes) => header::change(request, changes)?,
            Filter::Rewrite(rewrite) => {
                rewrite::host(request, rewrite)?;
                path = rewrite.path.as_ref().or(path);
            }
            Filter::ResponseHeaders(_) | Filter::Mirror(_) | Filter::Cors(_) => {}
        }
    }
    path.map_or(Ok(()), |path| rewrite::path(request, path, prefix))
}

/// Changes an upstream's answer on its way to the client. Informational ones pass as they are; a 101 is final.
///
/// # Errors
/// More headers than Pingora can take.
pub fn on_answer(request: &RequestHeader, response: &mut ResponseHeader, matched: &Matched) -> pingora::Result<()> {
    if !matched.is_filtered() || (response.status.is_informational() && response.status.as_u16() != 101) {
        return Ok(());
    }
    change_answer(response, matched)?;
    match matched.cors() {
        Some(cors) => cors::allow(cors, &request.headers, response),
        None => Ok(()),
    }
}

/// Changes an answer of the gateway's own.
///
/// # Errors
/// More headers than Pingora can take.
pub fn on_own_answer(
    request: &RequestHeader,
    response: &mut ResponseHeader,
    reason: Reason,
    matched: &Matched,
) -> pingora::Result<()> {
    if !matched.is_filtered() {
        return Ok(());
    }
    if reason == Reason::Redirect {
        change_answer(response, matched)?;
    }
    match matched.cors() {
        Some(cors) if !matches!(reason, Reason::CorsPreflight | Reason::CorsRefused) => {
            cors::allow(cors, &request.headers, response)
        }
        _ => Ok(()),
    }
}

fn change_answer(response: &mut ResponseHeader, matched: &Matched) -> pingora::Result<()> {
    for filter in matched.filters() {
        if let Filter::ResponseHeaders(changes) = filter {
            header::change(response, changes)?;
        }
    }
    Ok(())
}
