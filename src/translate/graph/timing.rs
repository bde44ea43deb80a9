//! Timeouts and retry of a rule. What is no duration, or out of range, is a problem of the rule, which then
//! answers 500: a route without its bound would be one that waits for ever.

use std::time::Duration;

use super::duration;
use super::problem::RouteProblem;
use crate::api::http_route::{HttpRouteRetry, HttpRouteTimeouts};
use crate::snapshot::{Retry, Timeouts};

/// Base interval where a route gives none: small, since a refused connection costs nothing and the spec's own
/// users ask for up to 100 attempts. The data plane doubles it with jitter up to its cap.
const DEFAULT_BACKOFF: Duration = Duration::from_millis(25);

/// Reads `timeouts`. "Setting a timeout to the zero duration (e.g. "0s") SHOULD disable the timeout completely".
pub fn timeouts<'a>(
    rule: usize,
    asked: Option<&'a HttpRouteTimeouts>,
    problems: &mut Vec<RouteProblem<'a>>,
) -> Timeouts {
    let Some(asked) = asked else { return Timeouts::default() };
    let mut read = |field: &'static str, text: Option<&'a str>| {
        let found = text?;
        match duration::parse(found) {
            None => problems.push(RouteProblem::Duration { rule, field, found }),
            Some(Duration::ZERO) => {}
            Some(duration) => return Some((duration, found)),
        }
        None
    };
    let request = read("timeouts.request", asked.request.as_deref());
    let backend = read("timeouts.backendRequest", asked.backend_request.as_deref());
    // "the value of BackendRequest must be no more than the value of the Request timeout"
    if let (Some((whole, request)), Some((one, backend))) = (request, backend)
        && one > whole
    {
        problems.push(RouteProblem::BackendTimeout { rule, request, backend });
    }
    Timeouts { request: request.map(|(whole, _)| whole), backend: backend.map(|(one, _)| one) }
}

/// Reads `retry`. "An explicit zero value MUST disable retries": it stays, as 0 attempts, and so differs from a
/// route that says nothing, for which connecting may be tried on another endpoint.
pub fn retry<'a>(
    rule: usize,
    asked: Option<&'a HttpRouteRetry>,
    problems: &mut Vec<RouteProblem<'a>>,
) -> Option<Retry> {
    let asked = asked?;
    let mut codes = Vec::with_capacity(asked.codes.len());
    for (index, &found) in asked.codes.iter().enumerate() {
        match u16::try_from(found).ok().filter(|code| (400..=599).contains(code)) {
            Some(code) => codes.push(code),
            None => problems.push(RouteProblem::RetryCode { rule, index, found }),
        }
    }
    codes.sort_unstable();
    codes.dedup();
    let attempts = asked.attempts.unwrap_or(1);
    if attempts < 0 {
        problems.push(RouteProblem::RetryAttempts { rule, found: attempts });
    }
    let backoff = asked.backoff.as_deref().map_or(Some(DEFAULT_BACKOFF), |found| {
        let read = duration::parse(found);
        if read.is_none() {
            problems.push(RouteProblem::Duration { rule, field: "retry.backoff", found });
        }
        read
    });
    Some(Retry { codes: codes.into(), attempts: u32::try_from(attempts).unwrap_or(0), backoff: backoff? })
}
