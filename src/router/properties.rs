//! The table against the reference matcher, over random tables and requests. The alphabets are small, so that
//! most requests fit several entries.
#![cfg(test)]

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{
    CallMatch, HeaderMatch, Hostname, Outcome, PathMatch, Pattern, Precedence, QueryMatch, RequestParts, RouteEntry,
    RouteMatch, RouteOrder, RouteTable, ValueMatch, Why, path,
};

#[path = "../../tests/support/reference_matcher.rs"]
mod reference;

const HOSTS: &[&str] = &["a.b.c", "x.b.c", "x.a.b.c", "y.x.a.b.c", "b.c", "c", "b.d", "[::1]"];
const HOSTNAMES: &[&str] = &["a.b.c", "x.a.b.c", "b.c", "*.c", "*.b.c", "*.a.b.c", "*.d"];
const PATHS: &[&str] = &["/", "/a", "/a/", "/a/b", "/ab", "/a/b/c", "/a/b/c/", "/b"];
/// Services and methods, which are segments of the paths of requests; the last ones are none.
const NAMES: &[&str] = &["a", "b", "ab", "c", "A", "a/b", ""];
/// Compiled once, as that is what takes time.
static PATTERNS: LazyLock<Vec<Pattern>> =
    LazyLock::new(|| compiled(&["/a.*", "/[ab]", "/a/.*", ".*", "/a|/a/b", "/a/b"]));
static NAME_PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| compiled(&["[ab]", ".*", "a|b", "ab?"]));
static VALUE_PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| compiled(&["[12]", "1|1 .*", ".* b"]));
const VALUES: &[&str] = &["1", "2", "a b"];

#[derive(Debug, Clone)]
struct Request {
    host: &'static str,
    method: Method,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
}

impl Request {
    fn parts(&self) -> RequestParts<'_> {
        RequestParts {
            host: self.host,
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
        }
    }
}

fn compiled(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(text).unwrap()).collect()
}

fn method() -> impl Strategy<Value = Method> {
    select(&[Method::GET, Method::POST, Method::OPTIONS][..])
}

fn value() -> impl Strategy<Value = ValueMatch> {
    prop_oneof![
        3 => select(VALUES).prop_map(|value| ValueMatch::Exact(value.to_owned())),
        1 => select(&VALUE_PATTERNS[..]).prop_map(ValueMatch::Regex),
    ]
}

fn name() -> impl Strategy<Value = Option<ValueMatch>> {
    prop_oneof![
        4 => select(NAMES).prop_map(|name| Some(ValueMatch::Exact(name.to_owned()))),
        1 => select(&NAME_PATTERNS[..]).prop_map(|pattern| Some(ValueMatch::Regex(pattern))),
        2 => Just(None),
    ]
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        3 => (name(), name()).prop_map(|(service, method)| PathMatch::Call(CallMatch { service, method })),
        2 => select(PATHS).prop_map(|path| PathMatch::Exact(path.to_owned())),
        3 => select(PATHS).prop_map(|path| PathMatch::Prefix(path.to_owned())),
        1 => select(&PATTERNS[..]).prop_map(PathMatch::Regex),
    ]
}

/// A few names, each once, each with a value.
fn named() -> impl Strategy<Value = Vec<(&'static str, ValueMatch)>> {
    (subsequence(vec!["x-a", "x-b"], 0..=2), vec(value(), 2))
        .prop_map(|(names, values)| names.into_iter().zip(values).collect())
}

fn route_match() -> impl Strategy<Value = RouteMatch> {
    let some = |p| prop_oneof![2 => Just(Vec::new()), p => named()];
    (path_match(), option::weighted(0.3, method()), some(1), some(1)).prop_map(|(path, method, headers, query)| {
        RouteMatch {
            path,
            method,
            headers: headers
                .into_iter()
                .map(|(name, value)| HeaderMatch { name: HeaderName::from_static(name), value })
                .collect(),
            query: query.into_iter().map(|(name, value)| QueryMatch { name: name.to_owned(), value }).collect(),
        }
    })
}

/// The entries of a few routes: every match of every rule, under every hostname.
fn entries() -> impl Strategy<Value = Vec<RouteEntry<usize>>> {
    let hostnames = subsequence(HOSTNAMES.to_vec(), 0..=3);
    let route = (0..3_i128, hostnames, vec(vec(route_match(), 1..3), 1..3));
    vec(route, 0..8).prop_map(|routes| {
        let mut entries = Vec::new();
        for (number, (created, hostnames, rules)) in routes.into_iter().enumerate() {
            let hostnames: Vec<_> = match hostnames.as_slice() {
                [] => vec![None],
                names => names.iter().map(|name| Hostname::parse(name)).collect(),
            };
            for hostname in &hostnames {
                for (rule, matches) in (0..).zip(&rules) {
                    for (index, matches) in (0..).zip(matches) {
                        let route = format!("ns/{}", 9 - number);
                        let order = RouteOrder { created, route, rule, index };
                        let (hostname, matches, value) = (hostname.clone(), matches.clone(), entries.len());
                        entries.push(RouteEntry { hostname, matches, order, value });
                    }
                }
            }
        }
        entries
    })
}

fn request() -> impl Strategy<Value = Request> {
    let segments =
        vec(select(&["a", "b", "ab", "c", "A", ""][..]), 0..5).prop_map(|segments| format!("/{}", segments.join("/")));
    let path = prop_oneof![8 => segments, 4 => select(PATHS).prop_map(str::to_owned), 1 => Just("*".to_owned())];
    let pairs = select(
        &["x-a=1", "x-a=2", "x-a=%31", "x-b=1", "x-b=a+b", "x-b=a%20b", "x-a", "X-A=1", "%78-a=2", "", "=1"][..],
    );
    let query = option::of(vec(pairs, 0..4).prop_map(|pairs| pairs.join("&")));
    let headers = vec((select(&["x-a", "x-b", "x-c"][..]), select(VALUES)), 0..4);
    let kind = select(&["application/grpc", "application/grpc+proto; a=b", "application/grpc-web", "text/plain"][..]);
    (select(HOSTS), method(), path, query, headers, option::of(kind)).prop_map(
        |(host, method, path, query, headers, kind)| Request {
            host,
            method,
            path: path::normalise(&path).unwrap().into_owned(),
            query,
            headers: headers
                .into_iter()
                .chain(kind.map(|kind| ("content-type", kind)))
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_winner_is_the_one_of_the_specification(entries in entries(), requests in vec(request(), 1..12)) {
        let table = RouteTable::build(entries.clone());
        for request in &requests {
            let expected = reference::best(&entries, &request.parts()).map(|entry| entry.value);
            prop_assert_eq!(table.find(&request.parts()).map(|entry| entry.value), expected, "{:?}", request);
        }
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(
        (entries, shuffled) in entries().prop_flat_map(|entries| (Just(entries.clone()), Just(entries).prop_shuffle())),
        requests in vec(request(), 1..12),
    ) {
        let (one, other) = (RouteTable::build(entries), RouteTable::build(shuffled));
        for request in &requests {
            let winner = |table: &RouteTable<usize>| table.find(&request.parts()).map(|entry| entry.value);
            prop_assert_eq!(winner(&one), winner(&other));
        }
        let order = |table: &RouteTable<usize>| table.entries().map(|entry| entry.value).collect::<Vec<_>>();
        prop_assert_eq!(order(&one), order(&other));
    }

    #[test]
    fn entries_stand_in_order_of_precedence(entries in entries()) {
        let table = RouteTable::build(entries);
        prop_assert!(table.entries().is_sorted_by_key(Precedence::of));
    }

    #[test]
    fn the_trace_agrees_with_the_search_and_gives_true_reasons(entries in entries(), request in request()) {
        let table = RouteTable::build(entries);
        let parts = request.parts();
        let winner = table.find(&parts).map(|entry| entry.value);
        let trials = table.trace(&parts);
        let won: Vec<_> = trials.iter().filter(|trial| trial.outcome == Outcome::Won).map(|trial| trial.entry.value).collect();
        prop_assert_eq!(won, winner.into_iter().collect::<Vec<_>>());
        prop_assert!(trials.iter().map(|trial| trial.entry).is_sorted_by_key(Precedence::of));
        let mut after_winner = false;
        for trial in &trials {
            let takes = reference::takes(trial.entry, &parts);
            match &trial.outcome {
                Outcome::Won => { prop_assert!(takes); after_winner = true; }
                Outcome::Lost(Why::Outranked { .. }) => prop_assert!(takes && after_winner),
                Outcome::Lost(_) => prop_assert!(!takes, "{:?}", trial),
            }
        }
        // Nobody who could answer is left out.
        let able = table.entries().filter(|entry| reference::takes(entry, &parts)).count();
        prop_assert_eq!(trials.iter().filter(|trial| reference::takes(trial.entry, &parts)).count(), able);
    }
}
