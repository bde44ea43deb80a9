//! Rewrites of host and path. In comes the copy of a request that is about to go upstream; out goes the same with
//! another `Host` or target. The query, and the spelling of what is kept of the path, stay to the letter.
//!
//! A rule and a backendRef of it may both rewrite. The backendRef's path counts, and it starts from the path that
//! the client asked for, not from what the rule has made of it: its prefix is that of the rule's match, which the
//! rewritten path need not have any more.

use std::borrow::Cow;

use http::header::HOST;
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType};

use crate::snapshot::filter::{PathChange, UrlRewrite};

/// Whether the prefix of the match that won must be known.
pub fn needs_prefix(rewrite: &UrlRewrite) -> bool {
    matches!(rewrite.path, Some(PathChange::Prefix(_)))
}

/// Rewrites the host, if asked to. Pingora makes `:authority` of it for an HTTP/2 endpoint.
///
/// # Errors
/// The host is none.
pub fn host(request: &mut RequestHeader, rewrite: &UrlRewrite) -> pingora::Result<()> {
    rewrite.host.as_deref().map_or(Ok(()), |host| request.insert_header(HOST, host))
}

/// Rewrites the path. `prefix` is the length of the prefix that won.
///
/// # Errors
/// The new path is none, or there is no prefix to replace.
pub fn path(request: &mut RequestHeader, change: &PathChange, prefix: Option<usize>) -> pingora::Result<()> {
    let before = request.uri.path();
    let after = changed(change, before, prefix)
        .ok_or_else(|| Error::explain(ErrorType::InternalError, "no prefix to replace"))?;
    if after == before {
        return Ok(());
    }
    let target = match request.uri.query() {
        Some(query) => Cow::Owned(format!("{after}?{query}")),
        None => after,
    };
    let target = target.into_owned();
    request.set_raw_path(target.as_bytes())
}

/// The new path; `None` if there is no prefix where one is to be replaced. The `*` of OPTIONS is no path and stays.
pub fn changed<'a>(change: &'a PathChange, path: &'a str, prefix: Option<usize>) -> Option<Cow<'a, str>> {
    if !path.starts_with('/') {
        return Some(Cow::Borrowed(path));
    }
    match change {
        PathChange::Full(full) => Some(Cow::Borrowed(or_root(full))),
        PathChange::Prefix(replacement) => {
            // The table of `HTTPPathModifier`: elements are replaced, so that a slash at the end of either prefix
            // means nothing, and "/foo/" becomes "/xyz/".
            let rest = path.get(prefix?..).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
            let replacement = replacement.trim_end_matches('/');
            Some(match (replacement, rest) {
                ("", rest) => Cow::Borrowed(or_root(rest)),
                (replacement, "") => Cow::Borrowed(replacement),
                (replacement, rest) => Cow::Owned([replacement, rest].concat()),
            })
        }
    }
}

fn or_root(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(path: &str, prefix: &str, replacement: &str) -> String {
        let change = PathChange::Prefix(replacement.into());
        changed(&change, path, Some(prefix.trim_end_matches('/').len())).unwrap().into_owned()
    }

    #[test]
    fn prefixes_are_replaced_by_elements() {
        for (path, prefix, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/bar", "/foo", "/", "/bar"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/bar", "/", "/xyz", "/xyz/bar"),
            ("/", "/", "/xyz", "/xyz/"),
            ("/", "/", "", "/"),
            ("/bar", "/", "/", "/bar"),
            ("/foo/a%2Fb/%41/", "/foo", "/x", "/x/a%2Fb/%41/"),
            ("/foo/foo", "/foo", "/", "/foo"),
        ] {
            assert_eq!(replaced(path, prefix, replacement), expected, "{path} {prefix} {replacement}");
        }
    }

    #[test]
    fn the_asterisk_of_options_stays() {
        assert_eq!(replaced("*", "/", "/xyz"), "*");
        assert_eq!(changed(&PathChange::Full("/x".into()), "*", None).as_deref(), Some("*"));
    }

    #[test]
    fn without_the_prefix_there_is_no_path() {
        let change = PathChange::Prefix("/x".into());
        assert_eq!(changed(&change, "/foo", None), None);
        assert_eq!(changed(&change, "/foobar", Some(4)), None);
        assert_eq!(changed(&change, "/f", Some(4)), None);
    }

    #[test]
    fn the_query_is_kept() {
        for (target, expected) in
            [("/foo/a?b=c&d", "/x/a?b=c&d"), ("/foo?", "/x?"), ("/foo", "/x"), ("/foo?/foo", "/x?/foo")]
        {
            let mut request = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
            path(&mut request, &PathChange::Prefix("/x".into()), Some(4)).unwrap();
            assert_eq!(std::str::from_utf8(request.raw_path()), Ok(expected));
        }
    }
}
