//! What a rule asks for beside matching and forwarding. Nothing of it is served yet, so a rule that asks is
//! dropped: it answers 500 and its route's status says why. Never ignored.

use super::problem::RouteProblem;
use crate::api::http_route::{HttpRouteFilter, HttpRouteFilterType, HttpRouteRule, HttpRouteTimeouts};

/// Filters that may stand once in a list.
const ONCE: &[HttpRouteFilterType] = &[
    HttpRouteFilterType::RequestHeaderModifier,
    HttpRouteFilterType::ResponseHeaderModifier,
    HttpRouteFilterType::RequestRedirect,
    HttpRouteFilterType::UrlRewrite,
    HttpRouteFilterType::Cors,
];

/// Reads filters, timeouts, retry and session persistence of a rule and of its backendRefs.
pub fn read<'a>(rule: usize, asked: &'a HttpRouteRule, problems: &mut Vec<RouteProblem<'a>>) {
    if let Some((first, second)) = incompatible(&asked.filters, !asked.backend_refs.is_empty()) {
        problems.push(RouteProblem::IncompatibleFilters { rule, first, second });
    }
    for (index, filter) in asked.filters.iter().enumerate() {
        problems.push(RouteProblem::Filter { rule, index, kind: &filter.kind });
    }
    for (backend, reference) in asked.backend_refs.iter().enumerate() {
        if let Some((first, second)) = incompatible(&reference.filters, false) {
            problems.push(RouteProblem::IncompatibleFilters { rule, first, second });
        }
        for filter in &reference.filters {
            problems.push(RouteProblem::BackendFilter { rule, backend, kind: &filter.kind });
        }
    }
    if let Some(timeouts) = &asked.timeouts {
        read_timeouts(rule, timeouts, problems);
    }
    if asked.retry.is_some() {
        problems.push(RouteProblem::Field { rule, field: "retry" });
    }
    if asked.session_persistence.is_some() {
        problems.push(RouteProblem::Field { rule, field: "sessionPersistence" });
    }
}

/// "0s disables" (gateway-api.md 6.4): that much is served, since there is no timeout to disable.
fn read_timeouts<'a>(rule: usize, timeouts: &'a HttpRouteTimeouts, problems: &mut Vec<RouteProblem<'a>>) {
    let fields = [("timeouts.request", &timeouts.request), ("timeouts.backendRequest", &timeouts.backend_request)];
    for (field, value) in fields {
        let Some(found) = value.as_deref() else { continue };
        match milliseconds(found) {
            Some(0) => {}
            Some(_) => problems.push(RouteProblem::Field { rule, field }),
            None => problems.push(RouteProblem::Duration { rule, field, found }),
        }
    }
}

/// A duration of GEP-2257, `^([0-9]{1,5}(h|m|s|ms)){1,4}$`.
fn milliseconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0u64;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = rest.split_at_checked(digits).filter(|_| (1..=5).contains(&digits))?;
        let units = [("ms", 1u64), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
        let (name, factor) = units.into_iter().find(|(name, _)| unit.starts_with(name))?;
        total += number.parse::<u64>().ok()? * factor;
        rest = unit.strip_prefix(name)?;
        if rest.is_empty() {
            return Some(total);
        }
    }
    None
}

/// Two filters that cannot stand together, or a redirect where there is a backend.
fn incompatible(filters: &[HttpRouteFilter], backends: bool) -> Option<(&str, &str)> {
    let has = |kind: &HttpRouteFilterType| filters.iter().filter(|filter| filter.kind == *kind).count();
    let redirect = HttpRouteFilterType::RequestRedirect;
    if has(&redirect) > 0 && has(&HttpRouteFilterType::UrlRewrite) > 0 {
        return Some(("RequestRedirect", "URLRewrite"));
    }
    if has(&redirect) > 0 && backends {
        return Some(("RequestRedirect", "backendRefs"));
    }
    let twice = ONCE.iter().find(|kind| has(kind) > 1)?;
    Some((twice.as_str(), twice.as_str()))
}
