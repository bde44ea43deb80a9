//! Redirects and URL rewrites: hosts are names, ports are ports, and a path that is put in is one that a request
//! can have.

use std::num::NonZeroU16;

use super::asked::MatchesAsked;
use super::filter_fault::{FilterFault, FilterPlace};
use super::listener::parse_hostname;
use super::reading::Reading;
use crate::api::http_route::{HttpPathMatch, PathMatchType};
use crate::api::http_route::{HttpPathModifier, HttpRequestRedirectFilter, HttpUrlRewriteFilter};
use crate::router::{Hostname, path};
use crate::snapshot::Redirect;
use crate::snapshot::filter::{PathChange, Scheme, UrlRewrite};

/// What the matches of a rule let a path modifier do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefixes {
    /// Every match has a prefix, so there is always one to replace.
    All,
    /// Some match has none.
    NotAll,
}

impl Prefixes {
    /// Of these matches. None given is the prefix `/`, and so is a match without path. Calls have none.
    pub fn of(matches: MatchesAsked<'_>) -> Prefixes {
        let MatchesAsked::Http(matches) = matches else { return Prefixes::NotAll };
        let prefix = |path: &HttpPathMatch| path.kind == PathMatchType::PathPrefix;
        let all = matches.iter().all(|one| one.path.as_ref().is_none_or(prefix));
        if all { Prefixes::All } else { Prefixes::NotAll }
    }
}

/// Reads a redirect.
pub fn redirect<'a>(
    asked: &'a HttpRequestRedirectFilter,
    prefixes: Prefixes,
    place: FilterPlace<'a>,
    reading: &mut Reading<'_, 'a>,
) -> Redirect {
    let scheme = match asked.scheme.as_deref() {
        None => None,
        Some("http") => Some(Scheme::Http),
        Some("https") => Some(Scheme::Https),
        Some(found) => {
            reading.fault(place, FilterFault::Scheme(found));
            None
        }
    };
    let port = asked.port.and_then(|found| {
        let port = u16::try_from(found).ok().and_then(NonZeroU16::new);
        if port.is_none() {
            reading.fault(place, FilterFault::Port(found));
        }
        port
    });
    let code = asked.status_code.unwrap_or(302);
    let status = u16::try_from(code).ok().filter(|code| matches!(code, 301 | 302 | 303 | 307 | 308));
    if status.is_none() {
        reading.fault(place, FilterFault::StatusCode(code));
    }
    Redirect {
        scheme,
        host: host(asked.hostname.as_deref(), place, reading),
        port,
        path: asked.path.as_ref().and_then(|path| change(path, prefixes, &REDIRECT, place, reading)),
        status: status.unwrap_or(302),
    }
}

/// Reads a rewrite.
pub fn rewrite<'a>(
    asked: &'a HttpUrlRewriteFilter,
    prefixes: Prefixes,
    place: FilterPlace<'a>,
    reading: &mut Reading<'_, 'a>,
) -> UrlRewrite {
    UrlRewrite {
        host: host(asked.hostname.as_deref(), place, reading),
        path: asked.path.as_ref().and_then(|path| change(path, prefixes, &REWRITE, place, reading)),
    }
}

/// `PreciseHostname`: no wildcard, and "numeric IP addresses are not allowed".
fn host<'a>(asked: Option<&'a str>, place: FilterPlace<'a>, reading: &mut Reading<'_, 'a>) -> Option<Box<str>> {
    let found = asked?;
    if let Some(Hostname::Exact(name)) = parse_hostname(found) {
        return Some(name.into());
    }
    reading.fault(place, FilterFault::Hostname(found));
    None
}

/// Names of the fields of a path modifier, from the filter down.
struct Fields {
    full: &'static str,
    prefix: &'static str,
}

const REDIRECT: Fields =
    Fields { full: "requestRedirect.path.replaceFullPath", prefix: "requestRedirect.path.replacePrefixMatch" };
const REWRITE: Fields =
    Fields { full: "urlRewrite.path.replaceFullPath", prefix: "urlRewrite.path.replacePrefixMatch" };

fn change<'a>(
    asked: &'a HttpPathModifier,
    prefixes: Prefixes,
    fields: &Fields,
    place: FilterPlace<'a>,
    reading: &mut Reading<'_, 'a>,
) -> Option<PathChange> {
    let full = (fields.full, asked.replace_full_path.as_deref());
    let prefix = (fields.prefix, asked.replace_prefix_match.as_deref());
    let ((field, value), other) = match asked.kind.as_str() {
        "ReplaceFullPath" => (full, prefix),
        "ReplacePrefixMatch" => (prefix, full),
        found => {
            reading.fault(place, FilterFault::PathType(found));
            return None;
        }
    };
    if other.1.is_some() {
        reading.fault(place, FilterFault::Stray(other.0));
    }
    let Some(found) = value else {
        reading.fault(place, FilterFault::Missing(field));
        return None;
    };
    let is_prefix = field == fields.prefix;
    // "ReplacePrefixMatch is only compatible with a `PathPrefix` HTTPRouteMatch."
    if is_prefix && prefixes == Prefixes::NotAll {
        reading.fault(place, FilterFault::NoPrefix);
    }
    let Some(path) = absolute(found) else {
        reading.fault(place, FilterFault::Path { field, found });
        return None;
    };
    Some(if is_prefix {
        // "When specified, a trailing `/` is ignored": `/` is no more than nothing before what follows the prefix.
        PathChange::Prefix(path.strip_suffix('/').unwrap_or(&path).into())
    } else {
        PathChange::Full(path.into())
    })
}

/// The path in the form that is forwarded; nothing is `/`. Not ASCII, or `*`, is none.
fn absolute(found: &str) -> Option<std::borrow::Cow<'_, str>> {
    path::normalise(found).ok().filter(|path| path.starts_with('/') && path.is_ascii())
}
