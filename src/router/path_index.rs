//! From a host and a path to the entries that take that very path, or a prefix of it.
//!
//! In come the runs of entries that share a host and a path; out go [`Run`]s again. Exact paths and prefixes have
//! an index each. Prefixes are found by whole segments: the hash of a path grows segment by segment, and is looked
//! up only at depths where the host has prefixes, the deepest first. Each run knows the next shorter prefix of its
//! host, so that falling through costs no further search. Headers and methods are not known here.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use super::slots::Slots;
use super::text::{Span, Text};

/// Depths from here on share a bit.
const LAST_BIT: u32 = 63;
/// How many depths are hashed ahead before the deepest of them is looked up.
const WINDOW: usize = 8;

/// All exact paths, or all prefixes, of all hosts.
#[derive(Debug, Default)]
pub(super) struct PathIndex {
    runs: Vec<Run>,
    slots: Slots,
    text: Text,
    hashing: RandomState,
}

/// Entries of one host and path, in order of precedence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    host: u32,
    path: Span,
    /// Position of the first entry.
    pub(super) first: u32,
    /// Position after the last entry. The same as `first` if that takes every method, header and query: then the
    /// rest never matters.
    pub(super) end: u32,
    /// The run of the next shorter prefix of the host, plus one; zero is none.
    broader: u32,
}

/// A hostname: its number in the order of precedence, and the hash that keys below it begin with.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HostKey {
    pub(super) number: u32,
    pub(super) hash: u64,
}

/// Which depths a host has prefixes at; `/a/b` has depth 2.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Depths {
    bits: u64,
    deepest: u32,
    /// Length of the longest prefix.
    longest: u32,
    /// The run of the prefix `/`, plus one; zero is none.
    root: u32,
}

/// Ends and hashes of the leading segments of a path.
#[derive(Default)]
struct Window {
    ends: [(u32, u64); WINDOW],
    length: usize,
}

impl PathIndex {
    pub(super) fn with_room(runs: usize) -> Self {
        PathIndex { runs: Vec::with_capacity(runs), slots: Slots::with_room(runs), ..PathIndex::default() }
    }

    /// Adds a run under an exact path.
    pub(super) fn push_exact(&mut self, host: HostKey, path: &str, entries: std::ops::Range<u32>) {
        let hash = hash_whole(&self.hashing, host, path);
        self.push(host, path, entries, hash, 0);
    }

    /// Adds a run under a prefix (without trailing slash), shorter ones of the host first.
    pub(super) fn push_prefix(
        &mut self,
        host: HostKey,
        depths: &mut Depths,
        prefix: &str,
        entries: std::ops::Range<u32>,
    ) {
        let broader = self.longest_prefix(host, depths, prefix).map_or(0, |(place, _)| place + 1);
        let hash = hash_segments(&self.hashing, host, prefix);
        let place = self.push(host, prefix, entries, hash, broader);
        if prefix.is_empty() {
            depths.root = place + 1;
            return;
        }
        let depth = u32::try_from(prefix.split('/').skip(1).count()).unwrap_or(u32::MAX);
        depths.bits |= 1 << depth.min(LAST_BIT);
        depths.deepest = depths.deepest.max(depth);
        depths.longest = depths.longest.max(u32::try_from(prefix.len()).unwrap_or(u32::MAX));
    }

    fn push(&mut self, host: HostKey, path: &str, entries: std::ops::Range<u32>, hash: u64, broader: u32) -> u32 {
        let place = u32::try_from(self.runs.len()).unwrap_or(u32::MAX);
        let path = self.text.push(path);
        self.runs.push(Run { host: host.number, path, first: entries.start, end: entries.end, broader });
        // Room was made for all of them, so nothing is ever hashed again.
        self.slots.insert(hash, place, |_| 0);
        place
    }

    /// No run is added any more.
    pub(super) fn close(&mut self) {
        self.text.close();
    }

    /// The run of this very path.
    #[inline]
    pub(super) fn exact(&self, host: HostKey, path: &str) -> Option<&Run> {
        let place = self.place(host, path.as_bytes(), hash_whole(&self.hashing, host, path))?;
        self.runs.get(place as usize)
    }

    /// The run of the longest prefix, by whole segments.
    #[inline]
    pub(super) fn prefix(&self, host: HostKey, depths: &Depths, path: &str) -> Option<&Run> {
        self.longest_prefix(host, depths, path).map(|(_, run)| run)
    }

    /// The run of the prefix `/`.
    pub(super) fn root(&self, depths: &Depths) -> Option<&Run> {
        self.runs.get(depths.root.checked_sub(1)? as usize)
    }

    /// The run of the next shorter prefix that takes all the same paths.
    #[inline]
    pub(super) fn broader(&self, run: &Run) -> Option<&Run> {
        self.runs.get(run.broader.checked_sub(1)? as usize)
    }

    #[inline]
    fn longest_prefix(&self, host: HostKey, depths: &Depths, path: &str) -> Option<(u32, &Run)> {
        let mut best = depths.root.checked_sub(1);
        if depths.bits != 0 {
            best = self.longest_named(host, depths, path).or(best);
        }
        let place = best?;
        self.runs.get(place as usize).map(|run| (place, run))
    }

    /// Looks no further into the path than the longest prefix of the host is long and deep.
    fn longest_named(&self, host: HostKey, depths: &Depths, path: &str) -> Option<u32> {
        let bytes = path.as_bytes();
        let mut best = None;
        let mut window = Window::default();
        let mut hasher = hasher(&self.hashing, host);
        let mut depth = 0;
        let mut start = 1;
        while depth < depths.deepest && start <= depths.longest as usize {
            let Some(rest) = bytes.get(start..).filter(|rest| !rest.is_empty()) else {
                break;
            };
            let length = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
            let Some(segment) = rest.get(..length) else {
                break;
            };
            hasher.write(segment);
            depth += 1;
            let end = start + length;
            if depths.bits & (1 << depth.min(LAST_BIT)) != 0 {
                if window.length == WINDOW {
                    best = self.deepest_of(host, bytes, &window).or(best);
                    window.length = 0;
                }
                window.push(end, hasher.finish());
            }
            start = end + 1;
        }
        self.deepest_of(host, bytes, &window).or(best)
    }

    #[inline]
    fn deepest_of(&self, host: HostKey, path: &[u8], window: &Window) -> Option<u32> {
        let ends = window.ends.get(..window.length)?;
        ends.iter().rev().find_map(|(end, hash)| self.place(host, path.get(..*end as usize)?, *hash))
    }

    #[inline]
    fn place(&self, host: HostKey, path: &[u8], hash: u64) -> Option<u32> {
        self.slots.find(hash, |place| {
            let run = self.runs.get(place as usize);
            run.is_some_and(|run| run.host == host.number && self.text.of(run.path) == Some(path))
        })
    }
}

impl Window {
    #[inline]
    fn push(&mut self, end: usize, hash: u64) {
        if let (Some(slot), Ok(end)) = (self.ends.get_mut(self.length), u32::try_from(end)) {
            *slot = (end, hash);
            self.length += 1;
        }
    }
}

#[inline]
fn hasher(hashing: &RandomState, host: HostKey) -> foldhash::fast::FoldHasher<'static> {
    let mut hasher = hashing.build_hasher();
    hasher.write_u64(host.hash);
    hasher
}

#[inline]
fn hash_whole(hashing: &RandomState, host: HostKey, path: &str) -> u64 {
    let mut hasher = hasher(hashing, host);
    hasher.write(path.as_bytes());
    hasher.finish()
}

/// As the search does: segment by segment, without slashes.
fn hash_segments(hashing: &RandomState, host: HostKey, prefix: &str) -> u64 {
    let mut hasher = hasher(hashing, host);
    prefix.split('/').skip(1).for_each(|segment| hasher.write(segment.as_bytes()));
    hasher.finish()
}
