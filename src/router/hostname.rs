//! Hostnames as the Gateway API has them: exact (`a.example.com`), or a wildcard for one or more labels on the
//! left (`*.example.com`, never the apex). Always lower case.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

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
        let lower = text.to_ascii_lowercase();
        if lower.len() > 253 {
            return None;
        }
        let (wildcard, rest) = match lower.strip_prefix("*.") {
            Some(rest) => (true, rest.to_owned()),
            None => (false, lower),
        };
        let label = |l: &str| {
            !l.is_empty() && l.len() <= 253 && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if !rest.split('.').all(label) {
            return None;
        }
        Some(if wildcard { Hostname::Wildcard(rest) } else { Hostname::Exact(rest) })
    }

    /// Whether a request for `host` (lower case, no port) is one for this hostname.
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

/// From a host to the value of the most specific hostname that takes it: exact, wildcards by length, none.
#[derive(Debug, Clone)]
pub struct HostMap<V> {
    exact: HashMap<String, V, foldhash::quality::RandomState>,
    /// By suffix, without `*.`.
    wildcard: HashMap<String, V, foldhash::quality::RandomState>,
    any: Option<V>,
}

impl<V> Default for HostMap<V> {
    fn default() -> Self {
        HostMap { exact: HashMap::default(), wildcard: HashMap::default(), any: None }
    }
}

impl<V> HostMap<V> {
    /// Adds a value; `None` takes every host. Gives back the value that stood there.
    pub fn insert(&mut self, hostname: Option<&Hostname>, value: V) -> Option<V> {
        match hostname {
            Some(Hostname::Exact(name)) => self.exact.insert(name.clone(), value),
            Some(Hostname::Wildcard(suffix)) => self.wildcard.insert(suffix.clone(), value),
            None => self.any.replace(value),
        }
    }

    /// The value of exactly this hostname.
    pub fn entry(&mut self, hostname: Option<&Hostname>) -> Option<&mut V> {
        match hostname {
            Some(Hostname::Exact(name)) => self.exact.get_mut(name),
            Some(Hostname::Wildcard(suffix)) => self.wildcard.get_mut(suffix),
            None => self.any.as_mut(),
        }
    }

    /// The values of every hostname that takes `host` (lower case, no port), most specific first.
    pub fn walk<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a V> {
        let exact = self.exact.get(host).into_iter();
        let suffixes = host.match_indices('.').map(|(dot, _)| &host[dot + 1..]);
        exact.chain(suffixes.filter_map(|suffix| self.wildcard.get(suffix))).chain(self.any.as_ref())
    }

    /// The value of the most specific hostname that takes `host`.
    #[must_use]
    pub fn find<'a>(&'a self, host: &'a str) -> Option<&'a V> {
        self.walk(host).next()
    }

    /// Every hostname and its value, sorted.
    pub fn sorted(&self) -> Vec<(Option<Hostname>, &V)> {
        let exact = self.exact.iter().map(|(name, v)| (Some(Hostname::Exact(name.clone())), v));
        let wild = self.wildcard.iter().map(|(suffix, v)| (Some(Hostname::Wildcard(suffix.clone())), v));
        let mut all: Vec<_> = exact.chain(wild).chain(self.any.iter().map(|v| (None, v))).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

impl<V: Serialize> Serialize for HostMap<V> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.sorted().into_iter().map(|(host, value)| (host.map_or("*".to_owned(), |h| h.to_string()), value)),
        )
    }
}
