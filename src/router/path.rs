//! The one rule for paths. What it gives is what routes are matched against *and* what is forwarded, so that a
//! backend never sees another path than the one that was judged.
//!
//! In comes the path of the request line, without query; out goes the normalised path, or a [`PathProblem`] that
//! the data plane answers with 400:
//!
//! 1. An empty path is `/`; every other begins with `/`. The one exception is `*` (RFC 9112 3.2.4), which only
//!    OPTIONS may ask for: it is kept, and only what takes every path (the prefix `/`) matches it.
//! 2. Runs of `/` are merged into one.
//! 3. Dot segments are removed as in RFC 3986 5.2.4, the spellings `%2e` and `%2E` of the dot included. A `..`
//!    above the root is refused, not swallowed.
//! 4. All else is kept to the letter: case, trailing slash, percent triplets (`%41` is not `A`, `%2F` is no
//!    separator, a malformed `%zz` stays), bytes above 127.
//! 5. Control characters, spaces, `?` and `#` cannot stand in a path and are refused.
//!
//! The query is not looked at. A path that is normalised already is given back as it is, without a copy.

use std::borrow::Cow;

use http::Method;
use thiserror::Error;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PathProblem {
    /// Neither empty nor `*`, and the first character is no `/`.
    #[error("the path does not begin with '/'")]
    NotAbsolute,
    /// More `..` than segments before it.
    #[error("the path climbs above the root with '..'")]
    AboveRoot,
    /// A byte that no path has.
    #[error("the path has the byte {0:#04x}, which must be percent-encoded")]
    BadByte(u8),
    /// `*` with another method than OPTIONS.
    #[error("the path '*' is for OPTIONS only")]
    Asterisk,
}

/// The path of a request: [`normalise`], and `*` for OPTIONS only.
///
/// # Errors
/// See [`PathProblem`]; the request is to be answered with 400.
pub fn normalise_for<'p>(method: &Method, path: &'p str) -> Result<Cow<'p, str>, PathProblem> {
    if path == "*" && method != Method::OPTIONS {
        return Err(PathProblem::Asterisk);
    }
    normalise(path)
}

/// The path in the form that is matched and forwarded; see the rule above. Normalising twice changes nothing.
///
/// # Errors
/// All but [`PathProblem::Asterisk`], as the method is not known here.
pub fn normalise(path: &str) -> Result<Cow<'_, str>, PathProblem> {
    match path {
        "" => return Ok(Cow::Borrowed("/")),
        "*" => return Ok(Cow::Borrowed(path)),
        _ if !path.starts_with('/') => return Err(PathProblem::NotAbsolute),
        _ => {}
    }
    if let Some(byte) = path.bytes().find(|b| matches!(b, 0..=b' ' | 0x7f | b'?' | b'#')) {
        return Err(PathProblem::BadByte(byte));
    }
    if is_normal(path) { Ok(Cow::Borrowed(path)) } else { rewrite(path).map(Cow::Owned) }
}

/// Whether there is nothing to do: no segment but the last is empty, and none is a dot segment.
fn is_normal(path: &str) -> bool {
    let is_name = |segment: &str| Segment::of(segment) == Segment::Name;
    let segments = path.strip_prefix('/').unwrap_or(path);
    let (before, last) = segments.rsplit_once('/').unzip();
    before.is_none_or(|before| before.split('/').all(|segment| !segment.is_empty() && is_name(segment)))
        && is_name(last.unwrap_or(segments))
}

fn rewrite(path: &str) -> Result<String, PathProblem> {
    let mut out = String::with_capacity(path.len());
    for segment in path.split('/').skip(1) {
        match Segment::of(segment) {
            Segment::Name if segment.is_empty() => {}
            Segment::Name => {
                out.push('/');
                out.push_str(segment);
            }
            Segment::Here => {}
            // RFC 3986 5.2.4 C: "remove the last segment and its preceding "/" (if any) from the output buffer"
            Segment::Up => out.truncate(out.rfind('/').ok_or(PathProblem::AboveRoot)?),
        }
    }
    // RFC 3986 5.2.4 B and C: a dot segment at the end is replaced by "/".
    let last = path.rsplit('/').next().unwrap_or_default();
    if out.is_empty() || last.is_empty() || Segment::of(last) != Segment::Name {
        out.push('/');
    }
    Ok(out)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment {
    Name,
    Here,
    Up,
}

impl Segment {
    #[inline]
    fn of(segment: &str) -> Segment {
        match segment.as_bytes().first() {
            Some(b'.' | b'%') => Self::of_dots(segment),
            _ => Segment::Name,
        }
    }

    fn of_dots(segment: &str) -> Segment {
        match strip_dot(segment) {
            Some("") => Segment::Here,
            Some(rest) if strip_dot(rest) == Some("") => Segment::Up,
            _ => Segment::Name,
        }
    }
}

/// What follows a dot, however it is spelt.
fn strip_dot(text: &str) -> Option<&str> {
    [".", "%2e", "%2E"].iter().find_map(|dot| text.strip_prefix(dot))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cases: &[(&str, &str)]) {
        for (sent, expected) in cases {
            assert_eq!(normalise(sent).as_deref(), Ok(*expected), "{sent}");
        }
    }

    #[test]
    fn the_empty_path_is_the_root() {
        check(&[("", "/"), ("/", "/")]);
    }

    #[test]
    fn runs_of_slashes_are_merged() {
        check(&[("//", "/"), ("///a", "/a"), ("/a//b", "/a/b"), ("/a//", "/a/"), ("/a/b///c//", "/a/b/c/")]);
    }

    #[test]
    fn dot_segments_are_removed_as_in_rfc_3986() {
        check(&[
            ("/a/b/c/./../../g", "/a/g"),
            ("/mid/content=5/../6", "/mid/6"),
            ("/.", "/"),
            ("/./", "/"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/../", "/"),
            ("/a/b/..", "/a/"),
            ("/a/b/../", "/a/"),
            ("/a/./b", "/a/b"),
            ("/a//../b", "/b"),
            ("/a/..//b", "/b"),
        ]);
    }

    #[test]
    fn encoded_dots_are_dots_in_a_dot_segment() {
        check(&[("/a/%2e%2e/b", "/b"), ("/a/%2E./b", "/b"), ("/a/.%2e", "/"), ("/a/%2e", "/a/"), ("/%2e/a", "/a")]);
    }

    #[test]
    fn dots_in_names_are_kept_to_the_letter() {
        check(&[
            ("/...", "/..."),
            ("/.a", "/.a"),
            ("/a.", "/a."),
            ("/..a/b", "/..a/b"),
            ("/%2e%2e%2e", "/%2e%2e%2e"),
            ("/a%2eb", "/a%2eb"),
            ("/%2", "/%2"),
            ("/.%2", "/.%2"),
            ("/%252e%252e/a", "/%252e%252e/a"),
        ]);
    }

    #[test]
    fn an_encoded_slash_is_no_separator() {
        check(&[
            ("/a%2Fb", "/a%2Fb"),
            ("/a%2f..%2fb", "/a%2f..%2fb"),
            ("/a/..%2Fb", "/a/..%2Fb"),
            ("/%2F%2F", "/%2F%2F"),
        ]);
    }

    #[test]
    fn triplets_case_and_high_bytes_are_kept_to_the_letter() {
        check(&[
            ("/%41%zz%", "/%41%zz%"),
            ("/A/a", "/A/a"),
            ("/ä", "/ä"),
            ("/a;b=c,d", "/a;b=c,d"),
            ("/a\\b", "/a\\b"),
        ]);
    }

    #[test]
    fn climbing_above_the_root_is_refused() {
        for sent in ["/..", "/../a", "/a/../..", "/a/../../b", "/%2e%2e/", "//..", "/./.."] {
            assert_eq!(normalise(sent), Err(PathProblem::AboveRoot), "{sent}");
        }
    }

    #[test]
    fn what_cannot_stand_in_a_path_is_refused() {
        for sent in ["a", "http://a/", "**", "*/", "?a"] {
            assert_eq!(normalise(sent), Err(PathProblem::NotAbsolute), "{sent}");
        }
        for (sent, byte) in
            [("/a b", b' '), ("/a#b", b'#'), ("/a?b", b'?'), ("/a\0", 0), ("/\r\n", b'\r'), ("/\x7f", 0x7f)]
        {
            assert_eq!(normalise(sent), Err(PathProblem::BadByte(byte)), "{sent:?}");
        }
    }

    #[test]
    fn the_asterisk_is_for_options_only() {
        assert_eq!(normalise_for(&Method::OPTIONS, "*").as_deref(), Ok("*"));
        assert_eq!(normalise_for(&Method::GET, "*"), Err(PathProblem::Asterisk));
        assert_eq!(normalise_for(&Method::GET, "/*").as_deref(), Ok("/*"));
    }

    #[test]
    fn nothing_is_copied_when_nothing_changes() {
        for sent in ["", "/", "/a/b", "/a/", "/a%2Fb", "/.well-known/x", "/ä"] {
            assert!(matches!(normalise(sent), Ok(Cow::Borrowed(_))), "{sent}");
        }
    }
}
