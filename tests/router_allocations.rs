//! A lookup allocates nothing, however large the table and whatever the outcome; neither do the readers of host and
//! path that stand before it.
#![allow(unsafe_code, reason = "only an allocator can count allocations")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use transom::router::{
    CallMatch, HeaderMatch, Hostname, PathMatch, Pattern, QueryMatch, RequestParts, RouteEntry, RouteMatch, RouteOrder,
    RouteTable, ValueMatch, normalise_host, path,
};

/// The system's allocator, with a count for each thread, as tests run side by side.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is handed on as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// Name, host, method, path, query, headers, and what is found.
type Case<'a> = (&'a str, &'a str, &'a Method, &'a str, Option<&'a str>, &'a HeaderMap, Option<usize>);

fn table(size: usize) -> RouteTable<usize> {
    let header = |value: &str| HeaderMatch {
        name: HeaderName::from_static("x-version"),
        value: ValueMatch::Exact(value.to_owned()),
    };
    let query = QueryMatch { name: "q".to_owned(), value: ValueMatch::Exact("a b".to_owned()) };
    let exact = |name: &str| Some(ValueMatch::Exact(name.to_owned()));
    let call = |service, method| PathMatch::Call(CallMatch { service, method });
    let pattern = Pattern::new("Get.*").unwrap();
    let entry = |number: usize| {
        let host = number / 8;
        let name = format!("h{host}.example.com");
        let mut matches = RouteMatch { path: PathMatch::Prefix("/api".to_owned()), ..RouteMatch::default() };
        match number % 8 {
            0 => matches.path = PathMatch::Exact("/exact".to_owned()),
            1 => matches.headers.push(header("two")),
            2 => matches.query.push(query.clone()),
            3 => matches.method = Some(Method::POST),
            5 => matches.path = call(exact("s.S"), exact("M")),
            6 => matches.path = call(exact("s.S"), None),
            7 => matches.path = call(None, Some(ValueMatch::Regex(pattern.clone()))),
            _ => {}
        }
        RouteEntry {
            hostname: Some(if host.is_multiple_of(2) { Hostname::Exact(name) } else { Hostname::Wildcard(name) }),
            matches,
            order: RouteOrder { created: 0, route: format!("ns/r{host}"), rule: 0, index: 0 },
            value: number % 8,
        }
    };
    RouteTable::build((0..size).map(entry).collect())
}

#[test]
fn no_lookup_allocates() {
    let with_header: HeaderMap =
        [(HeaderName::from_static("x-version"), HeaderValue::from_static("two"))].into_iter().collect();
    let none = HeaderMap::new();
    let grpc: HeaderMap =
        [(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"))].into_iter().collect();
    let deep_host = format!("{}h1.example.com", "a.".repeat(110));
    let deep_path = format!("/api{}", "/a".repeat(5_000));
    let long_query = format!("{}&q=a%20b", "x=%41".repeat(3_000));
    let (get, post) = (Method::GET, Method::POST);
    let cases: [Case<'_>; 16] = [
        ("exact path", "h0.example.com", &get, "/exact", None, &none, Some(0)),
        ("prefix", "h0.example.com", &get, "/api/x", None, &none, Some(4)),
        ("header", "h0.example.com", &get, "/api/x", None, &with_header, Some(1)),
        ("query", "h0.example.com", &get, "/api", Some("a=1&q=a+b"), &none, Some(2)),
        ("method", "h0.example.com", &post, "/api", Some("q=b"), &none, Some(3)),
        ("wildcard", "a.b.h1.example.com", &get, "/api", None, &none, Some(4)),
        ("miss by path", "h0.example.com", &get, "/none", None, &with_header, None),
        ("miss by host", "none.example.org", &get, "/api", None, &none, None),
        ("apex", "h1.example.com", &get, "/api", None, &none, None),
        ("many labels, deep path", &deep_host, &get, &deep_path, None, &none, Some(4)),
        ("call", "h0.example.com", &post, "/s.S/M", None, &grpc, Some(5)),
        ("call by service", "h0.example.com", &post, "/s.S/N", None, &grpc, Some(6)),
        ("call by expression", "h0.example.com", &post, "/t.T/GetAll", None, &grpc, Some(7)),
        ("miss by call", "h0.example.com", &post, "/t.T/N", None, &grpc, None),
        ("no call", "h0.example.com", &post, "/s.S/M", None, &none, None),
        ("long query", &deep_host, &get, "/api", Some(&long_query), &none, Some(2)),
    ];
    for size in [16, 100_000] {
        let table = table(size);
        for (name, host, method, path, query, headers, expected) in &cases {
            let request = RequestParts { host, method, path, query: *query, headers };
            assert_eq!(table.value_for(&request).copied(), *expected, "{name} of {size}");
            let count = allocations(|| {
                black_box(table.value_for(black_box(&request)));
                black_box(table.find(black_box(&request)));
            });
            assert_eq!(count, 0, "{name} of {size}");
        }
    }
}

#[test]
fn reading_host_and_path_allocates_only_to_change_them() {
    for host in ["example.com", "example.com:8080", "[::1]:80", "a_b.c."] {
        assert_eq!(allocations(|| drop(black_box(normalise_host(host)))), 0, "{host}");
    }
    for sent in ["/", "", "/api/v1/users/17", "/a%2Fb/", "*"] {
        assert_eq!(allocations(|| drop(black_box(path::normalise(sent)))), 0, "{sent}");
    }
    assert_eq!(allocations(|| drop(black_box(path::normalise("/a/../b")))), 1);
    assert_eq!(allocations(|| drop(black_box(normalise_host("Example.com")))), 1);
}
