//! Method, headers and query of all matches of a table, packed for the request path.
//!
//! In come [`RouteMatch`]es in the order of their entries; then a position and a request, and out goes whether
//! they fit. Hosts and paths are not known here. Names are stored once for the whole table, and a request's value
//! under a name is looked up once for a run of candidates that ask for it: routes that differ only in the value
//! of one header cost a comparison each.

use std::collections::HashMap;
use std::ops::Range;

use http::{HeaderName, HeaderValue, Method};

use super::pattern::Pattern;
use super::query;
use super::route_match::{RequestParts, RouteMatch, ValueMatch};
use super::text::{Span, Text};

/// What each entry asks for beside host and path, by position of the entry.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    candidates: Vec<Candidate>,
    conditions: Vec<Condition>,
    methods: Vec<Method>,
    headers: Vec<HeaderName>,
    queries: Vec<String>,
    patterns: Vec<Pattern>,
    values: Text,
}

/// Eight bytes an entry.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// Into `conditions`; they end where those of the next begin.
    first: u32,
    length: u16,
    /// Into `methods`, plus one; zero is any.
    method: u16,
}

/// Names are positions in the lists of names.
#[derive(Debug, Clone, Copy)]
enum Condition {
    Header { name: u32, value: Span },
    HeaderPattern { name: u32, pattern: u32 },
    Query { name: u32, value: Span },
    QueryPattern { name: u32, pattern: u32 },
}

/// A request, and what was looked up in it last.
pub(super) struct Facts<'r> {
    request: &'r RequestParts<'r>,
    header: Option<(u32, Option<&'r HeaderValue>, bool)>,
    query: Option<(u32, Option<&'r str>)>,
}

impl<'r> Facts<'r> {
    #[inline]
    pub(super) fn of(request: &'r RequestParts<'r>) -> Self {
        Facts { request, header: None, query: None }
    }

    pub(super) fn is_options(&self) -> bool {
        self.request.method == Method::OPTIONS
    }
}

/// Packs matches one by one.
#[derive(Debug, Default)]
pub(super) struct Packer {
    packed: Conditions,
    methods: HashMap<Method, u16>,
    headers: HashMap<HeaderName, u32>,
    queries: HashMap<String, u32>,
}

impl Packer {
    pub(super) fn with_room(entries: usize) -> Self {
        let packed = Conditions { candidates: Vec::with_capacity(entries), ..Conditions::default() };
        Packer { packed, ..Packer::default() }
    }

    /// Adds the match of the next entry. What does not fit the numbers above (65,535 different methods, or that many
    /// conditions in a match) leaves the match without a counterpart: it never matches.
    pub(super) fn push(&mut self, matches: &RouteMatch) {
        let first = position(self.packed.conditions.len());
        let method = matches.method.as_ref().map_or(Some(0), |method| self.method(method));
        for header in &matches.headers {
            let name = intern(&mut self.headers, &mut self.packed.headers, &header.name);
            let condition = match &header.value {
                ValueMatch::Exact(value) => Condition::Header { name, value: self.packed.values.push(value) },
                ValueMatch::Regex(pattern) => Condition::HeaderPattern { name, pattern: self.pattern(pattern) },
            };
            self.packed.conditions.push(condition);
        }
        for parameter in &matches.query {
            let name = intern(&mut self.queries, &mut self.packed.queries, &parameter.name);
            let condition = match &parameter.value {
                ValueMatch::Exact(value) => Condition::Query { name, value: self.packed.values.push(value) },
                ValueMatch::Regex(pattern) => Condition::QueryPattern { name, pattern: self.pattern(pattern) },
            };
            self.packed.conditions.push(condition);
        }
        let length = u16::try_from(matches.headers.len() + matches.query.len()).ok();
        self.packed.candidates.push(match (method, length) {
            (Some(method), Some(length)) => Candidate { first, length, method },
            _ => Candidate { first: 0, length: 0, method: u16::MAX },
        });
    }

    pub(super) fn finish(mut self) -> Conditions {
        self.packed.conditions.shrink_to_fit();
        self.packed.patterns.shrink_to_fit();
        self.packed.values.close();
        self.packed
    }

    fn method(&mut self, method: &Method) -> Option<u16> {
        if let Some(known) = self.methods.get(method) {
            return Some(*known);
        }
        let number = u16::try_from(self.packed.methods.len() + 1).ok().filter(|number| *number < u16::MAX)?;
        self.packed.methods.push(method.clone());
        self.methods.insert(method.clone(), number);
        Some(number)
    }

    fn pattern(&mut self, pattern: &Pattern) -> u32 {
        self.packed.patterns.push(pattern.clone());
        position(self.packed.patterns.len() - 1)
    }
}

impl Conditions {
    /// Whether an entry takes every method, header and query.
    pub(super) fn is_free(&self, entry: u32) -> bool {
        matches!(self.candidates.get(entry as usize), Some(Candidate { length: 0, method: 0, .. }))
    }

    /// The first of some entries that asks, beside host and path, for what the request is.
    #[inline]
    pub(super) fn first_fit(&self, entries: Range<u32>, facts: &mut Facts<'_>) -> Option<u32> {
        let candidates = self.candidates.get(entries.start as usize..entries.end as usize)?;
        let at = candidates.iter().position(|candidate| self.fits(*candidate, facts))?;
        entries.start.checked_add(u32::try_from(at).ok()?)
    }

    #[inline]
    fn fits(&self, candidate: Candidate, facts: &mut Facts<'_>) -> bool {
        let by_method = match candidate.method.checked_sub(1) {
            None => true,
            Some(at) => self.methods.get(usize::from(at)).is_some_and(|method| method == facts.request.method),
        };
        let first = candidate.first as usize;
        let conditions = self.conditions.get(first..first + usize::from(candidate.length));
        by_method && conditions.is_some_and(|all| all.iter().all(|condition| self.holds(*condition, facts)))
    }

    #[inline]
    fn holds(&self, condition: Condition, facts: &mut Facts<'_>) -> bool {
        match condition {
            Condition::Header { name, value } => {
                self.any_header(name, facts, |sent| Some(sent.as_bytes()) == self.values.of(value))
            }
            Condition::HeaderPattern { name, pattern } => self.patterns.get(pattern as usize).is_some_and(|pattern| {
                let is_match = |sent: &HeaderValue| pattern.is_match_bytes(sent.as_bytes());
                self.any_header(name, facts, is_match)
            }),
            Condition::Query { name, value } => match (self.query(name, facts), self.values.of(value)) {
                (Some(raw), Some(wanted)) => query::is_equal(raw, wanted),
                _ => false,
            },
            Condition::QueryPattern { name, pattern } => {
                match (self.query(name, facts), self.patterns.get(pattern as usize)) {
                    (Some(raw), Some(pattern)) => query::is_taken(raw, |value| pattern.is_match(value)),
                    _ => false,
                }
            }
        }
    }

    /// Whether any one of the header's values is wanted.
    #[inline]
    fn any_header(&self, name: u32, facts: &mut Facts<'_>, is_wanted: impl Fn(&HeaderValue) -> bool) -> bool {
        let (first, has_more) = match facts.header {
            Some((known, first, has_more)) if known == name => (first, has_more),
            _ => self.look_up(name, facts),
        };
        first.is_some_and(&is_wanted)
            || has_more
                && self
                    .headers
                    .get(name as usize)
                    .is_some_and(|name| facts.request.headers.get_all(name).iter().skip(1).any(is_wanted))
    }

    /// The first value of a header, and whether there are more, which is rare.
    fn look_up<'r>(&self, name: u32, facts: &mut Facts<'r>) -> (Option<&'r HeaderValue>, bool) {
        let Some(wanted) = self.headers.get(name as usize) else {
            return (None, false);
        };
        let mut values = facts.request.headers.get_all(wanted).iter();
        let (first, has_more) = (values.next(), values.next().is_some());
        facts.header = Some((name, first, has_more));
        (first, has_more)
    }

    #[inline]
    fn query<'r>(&self, name: u32, facts: &mut Facts<'r>) -> Option<&'r str> {
        if let Some((known, value)) = facts.query
            && known == name
        {
            return value;
        }
        let wanted = self.queries.get(name as usize)?;
        let value = facts.request.query.and_then(|query| query::first_value(query, wanted));
        facts.query = Some((name, value));
        value
    }
}

fn intern<N: Clone + Eq + std::hash::Hash>(known: &mut HashMap<N, u32>, names: &mut Vec<N>, name: &N) -> u32 {
    if let Some(at) = known.get(name) {
        return *at;
    }
    let at = position(names.len());
    names.push(name.clone());
    known.insert(name.clone(), at);
    at
}

/// Beyond four thousand million it is a position that nothing stands at.
fn position(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
