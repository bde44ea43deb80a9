//! From a host to the value of the most specific hostname that takes it, and on to the less specific ones.
//!
//! Hostnames and values go in one by one; a host (lower case, no port) comes, and values go out: the exact
//! hostname's, then the wildcards' from the longest, then that of no hostname. A lookup allocates nothing. However
//! many labels a host has, only suffixes with as many labels as some wildcard has are looked up.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use serde::Serialize;

use super::hostname::Hostname;
use super::slots::Slots;

/// From a host to the value of the most specific hostname that takes it: exact, wildcards by length, none.
#[derive(Debug, Clone)]
pub struct HostMap<V> {
    nodes: Vec<Node<V>>,
    slots: Slots,
    hashing: RandomState,
    /// Bit *n*: some wildcard's suffix has *n* labels. A hostname has at most 127.
    wildcard_labels: u128,
    /// Length of the longest exact hostname.
    longest_exact: usize,
    any: Option<V>,
}

#[derive(Debug, Clone)]
struct Node<V> {
    hostname: Hostname,
    value: V,
}

/// The hostnames that take a host, most specific first: the hash of each, and its value.
#[derive(Debug)]
pub(super) struct Walk<'a, V> {
    map: &'a HostMap<V>,
    host: &'a str,
    next: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Exact,
    Wildcards,
    /// A suffix that may be a wildcard's, and how many labels it has.
    Wildcard(&'a str, u32),
    Any,
    Done,
}

impl<V> Default for HostMap<V> {
    fn default() -> Self {
        HostMap {
            nodes: Vec::new(),
            slots: Slots::default(),
            hashing: RandomState::default(),
            wildcard_labels: 0,
            longest_exact: 0,
            any: None,
        }
    }
}

impl<V> HostMap<V> {
    /// Adds a value; `None` takes every host. Gives back the value that stood there.
    pub fn insert(&mut self, hostname: Option<&Hostname>, value: V) -> Option<V> {
        let Some(hostname) = hostname else {
            return self.any.replace(value);
        };
        if let Some(standing) = self.entry(Some(hostname)) {
            return Some(std::mem::replace(standing, value));
        }
        match hostname {
            Hostname::Exact(name) => self.longest_exact = self.longest_exact.max(name.len()),
            Hostname::Wildcard(suffix) => self.wildcard_labels |= label_bit(labels(suffix)),
        }
        let position = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.nodes.push(Node { hostname: hostname.clone(), value });
        let HostMap { nodes, slots, hashing, .. } = self;
        slots.insert(hash(hashing, hostname), position, |p| {
            nodes.get(p as usize).map_or(0, |node| hash(hashing, &node.hostname))
        });
        None
    }

    /// The value of exactly this hostname.
    pub fn entry(&mut self, hostname: Option<&Hostname>) -> Option<&mut V> {
        let Some(hostname) = hostname else {
            return self.any.as_mut();
        };
        let position = self.slots.find(hash(&self.hashing, hostname), |p| {
            self.nodes.get(p as usize).is_some_and(|node| node.hostname == *hostname)
        })?;
        self.nodes.get_mut(position as usize).map(|node| &mut node.value)
    }

    /// The values of every hostname that takes `host` (lower case, no port), most specific first.
    pub fn walk<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a V> {
        self.walk_hashed(host).map(|(_, value)| value)
    }

    /// The same, with the hash of each hostname: keys below a hostname can begin with it.
    #[inline]
    pub(super) fn walk_hashed<'a>(&'a self, host: &'a str) -> Walk<'a, V> {
        Walk { map: self, host, next: Step::Exact }
    }

    /// The hash under which a walk meets a hostname.
    pub(super) fn hash(&self, hostname: Option<&Hostname>) -> u64 {
        hostname.map_or(0, |hostname| hash(&self.hashing, hostname))
    }

    /// The value of the most specific hostname that takes `host`.
    #[must_use]
    pub fn find<'a>(&'a self, host: &'a str) -> Option<&'a V> {
        self.walk(host).next()
    }

    /// Every hostname and its value, sorted: none, exact, wildcards.
    pub fn sorted(&self) -> Vec<(Option<Hostname>, &V)> {
        let named = self.nodes.iter().map(|node| (Some(node.hostname.clone()), &node.value));
        let mut all: Vec<_> = named.chain(self.any.iter().map(|value| (None, value))).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// How many hostnames there are; no hostname counts as one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len() + usize::from(self.any.is_some())
    }

    /// Whether no host is taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn exact(&self, host: &str) -> Option<(u64, &V)> {
        if host.len() > self.longest_exact {
            return None;
        }
        let hash = hash_exact(&self.hashing, host);
        let position = self.slots.find(hash, |p| {
            matches!(self.nodes.get(p as usize), Some(Node { hostname: Hostname::Exact(name), .. }) if name == host)
        })?;
        self.nodes.get(position as usize).map(|node| (hash, &node.value))
    }

    #[inline]
    fn wildcard(&self, suffix: &str) -> Option<(u64, &V)> {
        let hash = hash_wildcard(&self.hashing, suffix);
        let position = self.slots.find(hash, |p| {
            matches!(self.nodes.get(p as usize), Some(Node { hostname: Hostname::Wildcard(name), .. }) if name == suffix)
        })?;
        self.nodes.get(position as usize).map(|node| (hash, &node.value))
    }

    /// The longest proper suffix with as many labels as some wildcard has. Only as much of the host is read, from the
    /// right, as the deepest wildcard is deep.
    fn longest_suffix<'h>(&self, host: &'h str) -> Option<(&'h str, u32)> {
        let deepest = 127 - self.wildcard_labels.leading_zeros().min(127);
        let mut best = None;
        let mut count = 0;
        for (dot, _) in host.bytes().enumerate().rev().filter(|(_, byte)| *byte == b'.') {
            count += 1;
            if count > deepest {
                break;
            }
            if self.has_wildcard(count) && dot > 0 {
                best = Some((dot + 1, count));
            }
        }
        let (start, count) = best?;
        host.get(start..).map(|suffix| (suffix, count))
    }

    /// The next shorter one.
    fn shorter_suffix<'h>(&self, suffix: &'h str, count: u32) -> Option<(&'h str, u32)> {
        let mut left = (suffix, count);
        loop {
            left = (left.0.split_once('.')?.1, left.1.checked_sub(1)?);
            if self.has_wildcard(left.1) {
                return Some(left);
            }
        }
    }

    fn has_wildcard(&self, labels: u32) -> bool {
        self.wildcard_labels & label_bit(labels) != 0
    }
}

impl<'a, V> Iterator for Walk<'a, V> {
    type Item = (u64, &'a V);

    #[inline]
    fn next(&mut self) -> Option<(u64, &'a V)> {
        loop {
            match self.next {
                Step::Exact => {
                    self.next = if self.map.wildcard_labels == 0 { Step::Any } else { Step::Wildcards };
                    if let Some(found) = self.map.exact(self.host) {
                        return Some(found);
                    }
                }
                Step::Wildcards => self.next = Step::of(self.map.longest_suffix(self.host)),
                Step::Wildcard(suffix, labels) => {
                    self.next = Step::of(self.map.shorter_suffix(suffix, labels));
                    if let Some(found) = self.map.wildcard(suffix) {
                        return Some(found);
                    }
                }
                Step::Any => {
                    self.next = Step::Done;
                    return self.map.any.as_ref().map(|value| (0, value));
                }
                Step::Done => return None,
            }
        }
    }
}

impl<'a> Step<'a> {
    fn of(suffix: Option<(&'a str, u32)>) -> Self {
        suffix.map_or(Step::Any, |(suffix, labels)| Step::Wildcard(suffix, labels))
    }
}

fn hash(hashing: &RandomState, hostname: &Hostname) -> u64 {
    match hostname {
        Hostname::Exact(name) => hash_exact(hashing, name),
        Hostname::Wildcard(suffix) => hash_wildcard(hashing, suffix),
    }
}

fn hash_exact(hashing: &RandomState, name: &str) -> u64 {
    let mut hasher = hashing.build_hasher();
    hasher.write(name.as_bytes());
    hasher.finish()
}

fn hash_wildcard(hashing: &RandomState, suffix: &str) -> u64 {
    let mut hasher = hashing.build_hasher();
    hasher.write_u8(b'*');
    hasher.write(suffix.as_bytes());
    hasher.finish()
}

/// At least 1.
fn labels(host: &str) -> u32 {
    let dots = host.bytes().filter(|b| *b == b'.').count();
    u32::try_from(dots).unwrap_or(u32::MAX).saturating_add(1)
}

/// No bit for more labels than a hostname can have.
fn label_bit(labels: u32) -> u128 {
    1_u128.checked_shl(labels).unwrap_or(0)
}

impl<V: Serialize> Serialize for HostMap<V> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.sorted().into_iter().map(|(host, value)| (host.map_or("*".to_owned(), |h| h.to_string()), value)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(names: &[&'static str]) -> HostMap<&'static str> {
        let mut map = HostMap::default();
        for name in names {
            let hostname = (*name != "*").then(|| Hostname::parse(name).unwrap());
            assert_eq!(map.insert(hostname.as_ref(), *name), None);
        }
        map
    }

    fn walk(map: &HostMap<&'static str>, host: &str) -> Vec<&'static str> {
        map.walk(host).copied().collect()
    }

    #[test]
    fn a_host_is_walked_from_the_exact_name_over_wildcards_by_length_to_none() {
        let map = map(&["*", "*.c", "a.b.c", "*.b.c", "*.x.a.b.c", "b.c"]);
        assert_eq!(walk(&map, "a.b.c"), ["a.b.c", "*.b.c", "*.c", "*"]);
        assert_eq!(walk(&map, "y.x.a.b.c"), ["*.x.a.b.c", "*.b.c", "*.c", "*"]);
        assert_eq!(walk(&map, "x.a.b.c"), ["*.b.c", "*.c", "*"]);
        assert_eq!(walk(&map, "b.c"), ["b.c", "*.c", "*"]);
        assert_eq!(walk(&map, "c"), ["*"]);
        assert_eq!(walk(&map, ""), ["*"]);
        assert_eq!(map.find("q.c"), Some(&"*.c"));
    }

    #[test]
    fn an_exact_name_and_a_wildcard_of_the_same_text_are_two() {
        let map = map(&["a.b", "*.a.b"]);
        assert_eq!(walk(&map, "a.b"), ["a.b"]);
        assert_eq!(walk(&map, "x.a.b"), ["*.a.b"]);
    }

    #[test]
    fn hosts_that_are_no_hosts_find_nothing_but_end() {
        let map = map(&["*.b", "*.a.b", "a.b"]);
        for host in ["", ".", ".b", "..b", "b.", "a.b.", "[::1]"] {
            assert!(!walk(&map, host).contains(&"a.b"), "{host}");
        }
        assert_eq!(walk(&map, ".b"), [""; 0]);
        assert_eq!(walk(&map, &"a.".repeat(100_000)), [""; 0]);
    }

    #[test]
    fn inserting_again_replaces_and_gives_back() {
        let mut map = map(&["*", "a.b"]);
        let name = Hostname::parse("a.b").unwrap();
        assert_eq!(map.insert(Some(&name), "new"), Some("a.b"));
        assert_eq!(map.insert(None, "newer"), Some("*"));
        *map.entry(Some(&name)).unwrap() = "newest";
        assert_eq!((walk(&map, "a.b"), map.len(), map.is_empty()), (vec!["newest", "newer"], 2, false));
        assert_eq!(map.entry(Hostname::parse("b.b").as_ref()), None);
    }

    #[test]
    fn thousands_of_hostnames_are_found_again_and_printed_in_order() {
        let mut map = HostMap::default();
        for number in 0..5_000 {
            map.insert(Hostname::parse(&format!("h{number}.example.com")).as_ref(), number);
            map.insert(Hostname::parse(&format!("*.h{number}.example.com")).as_ref(), number + 5_000);
        }
        for number in 0..5_000 {
            assert_eq!(map.find(&format!("h{number}.example.com")), Some(&number));
            assert_eq!(map.find(&format!("x.y.h{number}.example.com")), Some(&(number + 5_000)));
        }
        assert_eq!(map.find("h5000.example.com"), None);
        assert!(map.sorted().is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn it_serialises_as_a_map_by_hostname() {
        let json = serde_json::to_string(&map(&["a.b", "*.c", "*"])).unwrap();
        assert_eq!(json, r#"{"*":"*","a.b":"a.b","*.c":"*.c"}"#);
    }
}
