//! Hostnames as the Gateway API has them: exact (`a.example.com`), or a wildcard for one or more labels on the
//! left (`*.example.com`, never the apex). Always lower case.
//!
//! In comes text of an object, out goes a [`Hostname`]. What a client sends as `Host` is read in
//! [`authority`](super::authority); the map from hosts to values is a [`HostMap`].

use std::fmt;

use serde::Serialize;

pub use super::authority::{HostProblem, normalise_host};
pub use super::host_map::HostMap;

/// Longest hostname, in bytes.
pub const MAX_HOST_LENGTH: usize = 253;

/// A parsed hostname.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hostname {
    /// Just this host.
    Exact(String),
    /// Every host below this suffix, which is kept without `*.`.
    Wildcard(String),
}

impl Hostname {
    /// Reads `a.example.com` or `*.example.com`; case is folded.
    ///
    /// Returns `None` for what is neither: empty labels, a `*` elsewhere, characters outside letters, digits,
    /// `-` and `_`, more than 253 characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Hostname> {
        if text.len() > MAX_HOST_LENGTH {
            return None;
        }
        let (name, wildcard) = text.strip_prefix("*.").map_or((text, false), |suffix| (suffix, true));
        let lower = name.to_ascii_lowercase();
        if !lower.split('.').all(is_label) {
            return None;
        }
        Some(if wildcard { Hostname::Wildcard(lower) } else { Hostname::Exact(lower) })
    }

    /// Whether a request for `host` (lower case, no port) is one for this hostname.
    ///
    /// "A wildcard label matches one or more labels on the left" and so never the suffix itself.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Hostname::Exact(name) => name == host,
            Hostname::Wildcard(suffix) => {
                host.strip_suffix(suffix.as_str()).is_some_and(|left| left.len() > 1 && left.ends_with('.'))
            }
        }
    }

    /// The hosts that are in both, or `None` if there are none. A wildcard covers narrower wildcards and exact hosts.
    #[must_use]
    pub fn intersection(&self, other: &Hostname) -> Option<Hostname> {
        match (self, other) {
            (Hostname::Exact(name), pattern) | (pattern, Hostname::Exact(name)) => {
                pattern.matches(name).then(|| Hostname::Exact(name.clone()))
            }
            (Hostname::Wildcard(a), Hostname::Wildcard(b)) => {
                let (narrow, wide) = if a.len() >= b.len() { (a, b) } else { (b, a) };
                let below =
                    narrow == wide || narrow.strip_suffix(wide.as_str()).is_some_and(|left| left.ends_with('.'));
                below.then(|| Hostname::Wildcard(narrow.clone()))
            }
        }
    }
}

/// One part of a name between dots. Underscores are not DNS's, but are sent and configured.
pub(super) fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hostname::Exact(name) => f.write_str(name),
            Hostname::Wildcard(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

impl Serialize for Hostname {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Hostname {
        Hostname::parse(text).expect(text)
    }

    #[test]
    fn hostnames_are_read_and_folded() {
        assert_eq!(name("A.Example.COM"), Hostname::Exact("a.example.com".into()));
        assert_eq!(name("*.Example.com"), Hostname::Wildcard("example.com".into()));
        assert_eq!(name("my_service.local"), Hostname::Exact("my_service.local".into()));
        assert_eq!(name(&"a".repeat(253)).to_string().len(), 253);
    }

    #[test]
    fn what_is_no_hostname_is_none() {
        for text in
            ["", ".", "a..b", ".a", "a.", "*", "*.", "a.*.b", "*a.b", "**.a", "a b", "ä.de", "a:80", "[::1]", "a/b"]
        {
            assert_eq!(Hostname::parse(text), None, "{text:?}");
        }
        assert_eq!(Hostname::parse(&"a".repeat(254)), None);
    }

    #[test]
    fn wildcard_spans_several_labels() {
        assert!(name("*.example.com").matches("a.example.com"));
        assert!(name("*.example.com").matches("a.b.c.example.com"));
    }

    #[test]
    fn wildcard_never_matches_the_apex() {
        assert!(!name("*.example.com").matches("example.com"));
        assert!(!name("*.example.com").matches(".example.com"));
        assert!(!name("*.example.com").matches("badexample.com"));
    }

    #[test]
    fn intersection_is_the_narrower_of_two_that_overlap() {
        let cases = [
            ("a.com", "a.com", Some("a.com")),
            ("a.com", "b.com", None),
            ("*.com", "a.com", Some("a.com")),
            ("*.com", "com", None),
            ("*.com", "*.a.com", Some("*.a.com")),
            ("*.a.com", "*.a.com", Some("*.a.com")),
            ("*.a.com", "*.b.com", None),
            ("*.a.com", "*.aa.com", None),
            ("*.a.com", "x.y.a.com", Some("x.y.a.com")),
            ("*.a.com", "a.com", None),
        ];
        for (a, b, expected) in cases {
            let expected = expected.map(name);
            assert_eq!(name(a).intersection(&name(b)), expected, "{a} with {b}");
            assert_eq!(name(b).intersection(&name(a)), expected, "{b} with {a}");
        }
    }
}
