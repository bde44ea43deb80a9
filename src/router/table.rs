//! The table of one listener: built once, searched by every request.
//!
//! Entries are sorted by [`Precedence`], which puts those of a host together, and in it exact paths, regular
//! expressions and prefixes, and in those the entries of one path. A lookup goes through the hostnames that take
//! the host, from the most specific on; in each through the exact path, the regular expressions, and the prefixes
//! from the longest on; and of the entries found there takes the first whose method, headers and query fit. A gRPC
//! call goes through the matches of calls before: those of its service and method, of its service, and the others.
//!
//! Cost: a few cache lines for hosts and paths, however many there are; the regular expressions of a host, the
//! matches of calls without service, and the entries of one host and path, are lists. A table without matches of calls
//! does not ask whether a request is one.

use std::collections::HashMap;
use std::ops::Range;

use serde::Serialize;

use super::RouteEntry;
use super::call::Call;
use super::call_index::CallIndex;
use super::condition::{Conditions, Facts, Packer};
use super::host_map::HostMap;
use super::hostname::Hostname;
use super::path_index::{Depths, HostKey, PathIndex, Run};
use super::precedence::{HostnameRank, NameRank, PathRank, Precedence};
use super::route_match::{PathMatch, RequestParts};

/// Every match of a listener, ready to be searched.
#[derive(Debug)]
pub struct RouteTable<T> {
    /// In order of precedence.
    entries: Vec<RouteEntry<T>>,
    /// Of the entries: a request needs no more of them, and what it touches must be small to stay in the caches.
    values: Vec<T>,
    hosts: HostMap<HostPaths>,
    exact: PathIndex,
    prefixes: PathIndex,
    calls: CallIndex,
    conditions: Conditions,
}

/// What one hostname has.
#[derive(Debug, Clone, Copy, Default)]
struct HostPaths {
    /// Which of the hostnames it is, in order of precedence.
    number: u32,
    /// Bit *n*: some exact path is *n* bytes long, modulo 64.
    exact_lengths: u64,
    /// Positions of the entries with regular expressions: from, to.
    regexes: (u32, u32),
    prefixes: Depths,
}

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        RouteTable {
            entries: Vec::new(),
            values: Vec::new(),
            hosts: HostMap::default(),
            exact: PathIndex::default(),
            prefixes: PathIndex::default(),
            calls: CallIndex::default(),
            conditions: Conditions::default(),
        }
    }
}

impl<T: Clone> RouteTable<T> {
    /// Builds the table of one listener. A request that gets here has a host that the listener takes, so entries
    /// need no intersection with the listener's hostname: they rank by the route's own.
    ///
    /// The order of `entries` does not matter, unless two are equal in all of [`RouteOrder`](super::RouteOrder)
    /// too: then the first stays first. A name that a match repeats in its headers or query counts once
    /// ([`RouteMatch::drop_repeated_names`](super::RouteMatch::drop_repeated_names)). A path that does not begin
    /// with `/` is kept and never matches.
    #[must_use]
    pub fn build(mut entries: Vec<RouteEntry<T>>) -> Self {
        for entry in &mut entries {
            entry.matches.drop_repeated_names();
        }
        let entries = sort(entries);

        let mut packer = Packer::with_room(entries.len());
        for entry in &entries {
            packer.push(&entry.matches);
        }
        let conditions = packer.finish();

        let runs = |kind: fn(PathRank<'_>) -> bool| {
            let of_host = entries.chunk_by(|a, b| a.hostname == b.hostname);
            let runs = of_host.flat_map(|of_host| of_host.chunk_by(same_path)).filter_map(|run| run.first());
            runs.filter(|first| kind(PathRank::of(&first.matches.path))).count()
        };
        let exact = PathIndex::with_room(runs(|path| matches!(path, PathRank::Exact(..))));
        let prefixes = PathIndex::with_room(runs(|path| matches!(path, PathRank::Prefix(..))));
        let calls = CallIndex::with_room(runs(|path| matches!(path, PathRank::Call(NameRank::Exact(..), _))));

        let values = entries.iter().map(|entry| entry.value.clone()).collect();
        let hosts = HostMap::default();
        let mut table = RouteTable { entries: Vec::new(), values, hosts, exact, prefixes, calls, conditions };
        table.index(&entries);
        table.exact.close();
        table.prefixes.close();
        table.calls.close();
        table.entries = entries;
        table
    }
}

impl<T> RouteTable<T> {
    /// The value of the best entry for a request: [`RouteTable::find`] without a look at the entry, for the data
    /// plane. No lock, no allocation.
    #[must_use]
    #[inline]
    pub fn value_for(&self, request: &RequestParts<'_>) -> Option<&T> {
        self.values.get(self.position(request)? as usize)
    }

    /// The best entry for a request. No lock, no allocation.
    #[must_use]
    #[inline]
    pub fn find(&self, request: &RequestParts<'_>) -> Option<&RouteEntry<T>> {
        self.entries.get(self.position(request)? as usize)
    }

    /// Every entry, in order of precedence.
    pub fn entries(&self) -> impl Iterator<Item = &RouteEntry<T>> {
        self.entries.iter()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is routed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[inline]
    fn position(&self, request: &RequestParts<'_>) -> Option<u32> {
        let mut facts = Facts::of(request);
        let call = if self.calls.is_empty() { None } else { Call::of(request) };
        let mut hosts = self.hosts.walk_hashed(request.host);
        hosts.find_map(|(hash, host)| {
            let key = HostKey { number: host.number, hash };
            call.and_then(|call| self.position_of_call(key, call, request.path, &mut facts))
                .or_else(|| self.position_under(key, host, request.path, &mut facts))
        })
    }

    fn position_of_call(&self, key: HostKey, call: Call<'_>, path: &str, facts: &mut Facts<'_>) -> Option<u32> {
        let by_method = self.calls.method(key, call, path).and_then(|run| self.first_that_fits(run, facts));
        let takes = |matches: &PathMatch| matches!(matches, PathMatch::Call(wanted) if wanted.takes(call));
        by_method
            .or_else(|| self.first_listed(self.calls.service(key, call, path)?, takes, facts))
            .or_else(|| self.first_listed(self.calls.unnamed(key)?, takes, facts))
    }

    #[inline]
    fn position_under(&self, key: HostKey, host: &HostPaths, path: &str, facts: &mut Facts<'_>) -> Option<u32> {
        if !path.starts_with('/') {
            // OPTIONS * is about the server, not about a path: only what takes every path takes it.
            let root = self.prefixes.root(&host.prefixes).filter(|_| path == "*" && facts.is_options())?;
            return self.first_that_fits(root, facts);
        }
        if host.exact_lengths & length_bit(path) != 0
            && let Some(run) = self.exact.exact(key, path)
            && let Some(position) = self.first_that_fits(run, facts)
        {
            return Some(position);
        }
        let takes = |matches: &PathMatch| matches!(matches, PathMatch::Regex(pattern) if pattern.is_match(path));
        let (first, end) = host.regexes;
        if first < end
            && let Some(position) = self.first_listed(first..end, takes, facts)
        {
            return Some(position);
        }
        let mut next = self.prefixes.prefix(key, &host.prefixes, path);
        while let Some(run) = next {
            if let Some(position) = self.first_that_fits(run, facts) {
                return Some(position);
            }
            next = self.prefixes.broader(run);
        }
        None
    }

    #[inline]
    fn first_that_fits(&self, run: &Run, facts: &mut Facts<'_>) -> Option<u32> {
        if run.first == run.end {
            return Some(run.first);
        }
        self.conditions.first_fit(run.first..run.end, facts)
    }

    /// The first of a list whose path, method, headers and query fit.
    fn first_listed(
        &self,
        mut entries: Range<u32>,
        takes: impl Fn(&PathMatch) -> bool,
        facts: &mut Facts<'_>,
    ) -> Option<u32> {
        entries.find(|position| {
            // Method and headers first: they are cheaper than an expression.
            self.conditions.first_fit(*position..position.saturating_add(1), facts).is_some()
                && self.entries.get(*position as usize).is_some_and(|entry| takes(&entry.matches.path))
        })
    }

    /// Notes where the runs of the sorted entries lie.
    fn index(&mut self, entries: &[RouteEntry<T>]) {
        let mut position = 0_u32;
        for (number, of_host) in (0..).zip(entries.chunk_by(|a, b| a.hostname == b.hostname)) {
            let hostname = of_host.first().and_then(|entry| entry.hostname.as_ref());
            let key = HostKey { number, hash: self.hosts.hash(hostname) };
            let mut host = HostPaths { number, ..HostPaths::default() };
            let mut prefixes = Vec::new();
            for run in of_host.chunk_by(same_path) {
                let start = position;
                position = start.saturating_add(u32::try_from(run.len()).unwrap_or(u32::MAX));
                let end = if self.conditions.is_free(start) { start } else { position };
                match run.first().map(|entry| PathRank::of(&entry.matches.path)) {
                    Some(PathRank::Exact(_, path)) => {
                        host.exact_lengths |= length_bit(path);
                        self.exact.push_exact(key, path, start..end);
                    }
                    Some(PathRank::Regex(_)) => {
                        host.regexes = (start, position);
                    }
                    Some(PathRank::Prefix(_, prefix)) => prefixes.push((prefix, start..end)),
                    Some(PathRank::Call(service, method)) => {
                        self.calls.push(key, (service, method), start..position, end == start);
                    }
                    Some(PathRank::Nowhere) | None => {}
                }
            }
            for (prefix, run) in prefixes.into_iter().rev() {
                self.prefixes.push_prefix(key, &mut host.prefixes, prefix, run);
            }
            self.hosts.insert(hostname, host);
        }
    }
}

/// In order of precedence. Most pairs are told apart by two numbers, so that sorting seldom looks at texts.
fn sort<T>(entries: Vec<RouteEntry<T>>) -> Vec<RouteEntry<T>> {
    let numbers = host_numbers(&entries);
    let mut keys: Vec<(u32, u32, u32)> = (0..)
        .zip(&entries)
        .map(|(position, entry)| {
            let host = entry.hostname.as_ref().and_then(|hostname| numbers.get(hostname));
            (host.copied().unwrap_or(u32::MAX), path_class(PathRank::of(&entry.matches.path)), position)
        })
        .collect();
    let precedence = |position: u32| entries.get(position as usize).map(Precedence::of);
    keys.sort_unstable_by(|a, b| {
        (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| precedence(a.2).cmp(&precedence(b.2))).then(a.2.cmp(&b.2))
    });
    let mut places: Vec<Option<RouteEntry<T>>> = entries.into_iter().map(Some).collect();
    let mut sorted = Vec::with_capacity(places.len()); // exactly: a filter does not tell how much it leaves
    sorted.extend(keys.into_iter().filter_map(|key| places.get_mut(key.2 as usize)?.take()));
    sorted
}

/// Every hostname, numbered in order of precedence.
fn host_numbers<T>(entries: &[RouteEntry<T>]) -> HashMap<&Hostname, u32, foldhash::fast::RandomState> {
    let mut numbers: HashMap<&Hostname, u32, foldhash::fast::RandomState> = HashMap::default();
    for entry in entries {
        if let Some(hostname) = &entry.hostname {
            numbers.insert(hostname, 0);
        }
    }
    let mut hostnames: Vec<&Hostname> = numbers.keys().copied().collect();
    hostnames.sort_unstable_by_key(|hostname| HostnameRank::of(Some(hostname)));
    for (number, hostname) in (0..).zip(hostnames) {
        numbers.insert(hostname, number);
    }
    numbers
}

/// Kind and length of a path as one number, in the same order.
fn path_class(path: PathRank<'_>) -> u32 {
    let (kind, length) = match path {
        PathRank::Call(NameRank::Exact(length, _), _) => (0, length.0),
        PathRank::Call(..) => (0, 0),
        PathRank::Exact(length, _) => (1, length.0),
        PathRank::Regex(length) => (2, length.0),
        PathRank::Prefix(length, _) => (3, length.0),
        PathRank::Nowhere => (4, 0),
    };
    let longest = (1 << 29) - 1;
    let length = u32::try_from(length).unwrap_or(longest).min(longest);
    kind << 29 | (longest - length)
}

/// Whether two entries of one host stand under the same path; expressions are one list, as are the calls of a service
/// without exact method, and those without exact service.
fn same_path<T>(a: &RouteEntry<T>, b: &RouteEntry<T>) -> bool {
    let exact = |name| if let NameRank::Exact(_, name) = name { Some(name) } else { None };
    match (PathRank::of(&a.matches.path), PathRank::of(&b.matches.path)) {
        (PathRank::Regex(_), PathRank::Regex(_)) => true,
        (PathRank::Call(service_a, a), PathRank::Call(service_b, b)) => match (exact(service_a), exact(service_b)) {
            (None, None) => true,
            (service_a, service_b) => service_a == service_b && exact(a) == exact(b),
        },
        (a, b) => a == b,
    }
}

fn length_bit(path: &str) -> u64 {
    1 << (path.len() % 64)
}

impl<T: Serialize> Serialize for RouteTable<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.entries())
    }
}
