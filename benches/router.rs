//! Route lookup at 10, 1,000 and 100,000 routes, beside a linear scan and `matchit`.
//!
//! `cargo bench --bench router`. Each iteration looks up the next of 16,384 requests that were drawn at random from
//! the whole table beforehand, and reads the value that was found: no hot key is measured, and the table competes
//! for the caches as it does in life. A table has ten entries a host: a prefix `/`, five prefixes below `/api`, two
//! exact paths, and two that differ from another in a header; every tenth hostname is a wildcard.
#![allow(missing_docs, reason = "criterion's macros make functions without")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark stops at the first surprise")]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use transom::router::{
    HeaderMatch, Hostname, PathMatch, RequestParts, RouteEntry, RouteMatch, RouteOrder, RouteTable, ValueMatch,
};

#[path = "../tests/support/reference_matcher.rs"]
mod reference;

const SIZES: [usize; 3] = [10, 1_000, 100_000];
const REQUESTS: usize = 16_384;
const PER_HOST: usize = 10;

/// Laid out one after the other, so that reading it costs no more than reading a request just parsed.
struct Request {
    host: &'static str,
    path: &'static str,
    headers: &'static HeaderMap,
}

impl Request {
    fn parts(&self) -> RequestParts<'_> {
        RequestParts { host: self.host, method: &Method::GET, path: self.path, query: None, headers: self.headers }
    }
}

/// Hosts, paths, and the value of `x-version` if it is sent.
fn requests(drawn: impl Iterator<Item = (String, String, Option<&'static str>)>) -> Vec<Request> {
    let headers = |version: Option<&'static str>| -> &'static HeaderMap {
        let sent = [("user-agent", Some("curl/8")), ("accept", Some("*/*")), ("x-version", version)];
        let sent = sent.into_iter().filter_map(|(name, value)| Some((HeaderName::from_static(name), value?)));
        Box::leak(Box::new(sent.map(|(name, value)| (name, HeaderValue::from_static(value))).collect()))
    };
    let known = [None, Some("one"), Some("two")].map(|version| (version, headers(version)));
    let drawn: Vec<_> = drawn.collect();
    let mut rest: &'static str = drawn.iter().flat_map(|(host, path, _)| [&**host, &**path]).collect::<String>().leak();
    let mut cut = |length: usize| {
        let (text, after) = rest.split_at(length);
        rest = after;
        text
    };
    let request = |(host, path, version): &(String, String, Option<&'static str>)| Request {
        host: cut(host.len()),
        path: cut(path.len()),
        headers: known.iter().find(|(known, _)| known == version).unwrap().1,
    };
    drawn.iter().map(request).collect()
}

/// A small generator of its own, so that every run measures the same requests.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

fn is_wildcard(host: usize) -> bool {
    host % 10 == 9
}

fn host_name(host: usize) -> String {
    format!("app-{host}.team-{}.example.com", host % 7)
}

fn path_of(host: usize, slot: usize) -> String {
    let name = ["", "users", "orders", "carts", "items", "bills", "health", "login"][slot];
    match slot {
        0 => "/".to_owned(),
        1..=3 => format!("/api/{name}-{host}"),
        4 | 5 => format!("/api/v2/{name}-{host}"),
        _ => format!("/{name}"),
    }
}

fn entries(size: usize) -> Vec<RouteEntry<u32>> {
    (0..size).map(|number| entry(number / PER_HOST, number % PER_HOST, number)).collect()
}

fn entry(host: usize, slot: usize, number: usize) -> RouteEntry<u32> {
    let name = host_name(host);
    let hostname = if is_wildcard(host) { Hostname::Wildcard(name) } else { Hostname::Exact(name) };
    let version = |value: &str| HeaderMatch {
        name: HeaderName::from_static("x-version"),
        value: ValueMatch::Exact(value.to_owned()),
    };
    let (path, headers) = match slot {
        8 => (PathMatch::Prefix(path_of(host, 1)), vec![version("two")]),
        9 => (PathMatch::Prefix(path_of(host, 1)), vec![version("three")]),
        6 | 7 => (PathMatch::Exact(path_of(host, slot)), Vec::new()),
        _ => (PathMatch::Prefix(path_of(host, slot)), Vec::new()),
    };
    let number = u32::try_from(number).unwrap();
    RouteEntry {
        hostname: Some(hostname),
        matches: RouteMatch { path, headers, ..RouteMatch::default() },
        order: RouteOrder { created: 0, route: format!("ns-{}/route-{host}", host % 13), rule: number, index: 0 },
        value: number,
    }
}

/// Many header rules at one path of a deep wildcard, none of which fits the worst request.
fn worst_entries() -> impl Iterator<Item = RouteEntry<u32>> {
    let at = |hostname: &str, path: String, header: Option<u32>| RouteEntry {
        hostname: Hostname::parse(hostname),
        matches: RouteMatch {
            path: PathMatch::Prefix(path),
            headers: header
                .map(|value| HeaderMatch {
                    name: HeaderName::from_static("x-tenant"),
                    value: ValueMatch::Exact(format!("tenant-{value}")),
                })
                .into_iter()
                .collect(),
            ..RouteMatch::default()
        },
        order: RouteOrder { created: 0, route: "ns/worst".into(), rule: header.unwrap_or(99), index: 0 },
        value: 0,
    };
    let falling = (1..=4).flat_map(move |depth| (0..4).map(move |n| at("*.b.worst.test", "/a".repeat(depth), Some(n))));
    falling.chain([at("*.worst.test", "/a/a/a".into(), Some(9)), at("*.test", "/".into(), None)])
}

fn worst_request() -> Vec<Request> {
    requests(std::iter::once((format!("{}b.worst.test", "a.".repeat(115)), "/a".repeat(2_000), Some("one"))))
}

fn hits(size: usize) -> Vec<Request> {
    let mut draw = Draw(1);
    requests((0..REQUESTS).map(|_| {
        let (host, slot) = (draw.below(size.div_ceil(PER_HOST)), draw.below(PER_HOST));
        let name = if is_wildcard(host) { format!("w.{}", host_name(host)) } else { host_name(host) };
        match slot {
            8 => (name, format!("{}/17", path_of(host, 1)), Some("two")),
            9 => (name, format!("{}/17", path_of(host, 1)), Some("one")),
            6 | 7 => (name, path_of(host, slot), None),
            0 => (name, "/index.html".to_owned(), None),
            _ => (name, format!("{}/17", path_of(host, slot)), None),
        }
    }))
}

/// Half of them to hosts that nobody has, half to paths that a host does not have.
fn misses(size: usize) -> Vec<Request> {
    let mut draw = Draw(2);
    requests((0..REQUESTS).map(|number| {
        let host = host_name(draw.below(size.div_ceil(PER_HOST)));
        if number % 2 == 0 {
            (format!("no-{host}"), "/api/users/17".to_owned(), None)
        } else {
            (host, "/api/none/17".to_owned(), None)
        }
    }))
}

fn wildcards(size: usize) -> Vec<Request> {
    let mut draw = Draw(3);
    requests((0..REQUESTS).map(|_| {
        let host = draw.below((size / 100).max(1)) * 10 + 9;
        (format!("a.b.{}", host_name(host)), format!("{}/17", path_of(host, 4)), None)
    }))
}

fn each<'r>(requests: &'r [Request]) -> impl FnMut() -> &'r Request {
    let mut next = 0;
    move || {
        next = (next + 1) % requests.len();
        &requests[next]
    }
}

fn find(bencher: &mut criterion::Bencher<'_>, table: &RouteTable<u32>, requests: &[Request]) {
    let mut next = each(requests);
    bencher.iter(|| table.value_for(black_box(&next().parts())).copied());
}

fn lookup(criterion: &mut Criterion) {
    println!(
        "route lookup: `cargo bench --bench router`, {REQUESTS} requests drawn from the whole table beforehand, 1 thread"
    );
    let mut group = criterion.benchmark_group("router");
    group.throughput(Throughput::Elements(1));
    for size in SIZES {
        let table = RouteTable::build(entries(size).into_iter().chain(worst_entries()).collect());
        group.bench_function(BenchmarkId::new("hit", size), |b| find(b, &table, &hits(size)));
        let closed = entries(size).into_iter().filter(|entry| entry.matches.path != RouteMatch::default().path);
        let closed = RouteTable::build(closed.collect());
        group.bench_function(BenchmarkId::new("miss", size), |b| find(b, &closed, &misses(size)));
        let mut wild = entries(size.max(100));
        wild.truncate(size.max(100));
        let wild = RouteTable::build(wild);
        group.bench_function(BenchmarkId::new("wildcard", size), |b| find(b, &wild, &wildcards(size)));
        group.bench_function(BenchmarkId::new("worst", size), |b| find(b, &table, &worst_request()));
    }
    group.finish();
}

fn comparison(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("comparison");
    group.throughput(Throughput::Elements(1));
    for size in SIZES {
        let requests = hits(size);
        let all = entries(size);
        let mut scan = each(&requests);
        group.sample_size(10);
        group.bench_function(BenchmarkId::new("linear scan", size), |bencher| {
            bencher.iter(|| reference::best(&all, black_box(&scan().parts())).map(|entry| entry.value));
        });
        // By host and path alone: it knows neither wildcard hosts nor headers, so those hosts are left out.
        let mut tree = matchit::Router::new();
        for entry in all.iter().filter(|entry| entry.matches.headers.is_empty()) {
            let Some(Hostname::Exact(host)) = &entry.hostname else { continue };
            match &entry.matches.path {
                PathMatch::Prefix(path) => {
                    let path = path.trim_end_matches('/');
                    tree.insert(format!("{host}{path}/{{*rest}}"), entry.value).unwrap();
                }
                PathMatch::Exact(path) => tree.insert(format!("{host}{path}"), entry.value).unwrap(),
                PathMatch::Regex(_) | PathMatch::Call(_) => {}
            }
        }
        let keys: Vec<String> = requests
            .iter()
            .filter(|request| !request.host.starts_with("w."))
            .map(|request| format!("{}{}", request.host, request.path))
            .collect();
        let mut next = 0;
        group.sample_size(100);
        group.bench_function(BenchmarkId::new("matchit", size), |bencher| {
            bencher.iter(|| {
                next = (next + 1) % keys.len();
                tree.at(black_box(&keys[next])).map(|found| *found.value).ok()
            });
        });
    }
    group.finish();
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build");
    group.sample_size(20);
    for size in [5_000, 100_000] {
        let all = entries(size);
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_batched(|| all.clone(), RouteTable::build, BatchSize::LargeInput);
        });
    }
    group.finish();
}

criterion_group!(benches, lookup, comparison, build);
criterion_main!(benches);
