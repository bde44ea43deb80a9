//! Recording a request takes no memory once a worker has seen its labels. In a binary of its own: the allocator is
//! one per process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "a global allocator that counts is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};
use transom::telemetry::access_log::{Filter, Format, HeaderRules, Options, Treatment};
use transom::telemetry::{
    AccessLog, BuildLabels, Headers, ListenerLabels, Reason, RequestRecord, RouteLabels, Telemetry,
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|cell| {
            let (count, bytes) = cell.get();
            cell.set((count + 1, bytes + layout.size() as u64));
        });
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn record(route: &str, code: u16) -> RequestRecord<'_> {
    RequestRecord {
        listener: Some(ListenerLabels { namespace: "infra", gateway: "edge", listener: "web" }),
        route: Some(RouteLabels { kind: "HTTPRoute", namespace: "shop", name: route, rule: 3 }),
        method: "GET",
        host: "shop.example.com",
        path: "/cart/items?id=7",
        protocol: "HTTP/1.1",
        tls: true,
        code,
        reason: Reason::None,
        client: "192.0.2.1:4711".parse().ok(),
        request_id: "",
        upstream: "[2001:db8::1]:8080".parse().ok(),
        duration: Duration::from_micros(1_234),
        upstream_duration: Duration::from_micros(1_111),
        bytes_received: 0,
        bytes_sent: 5_120,
        trace_id: None,
        error: Some("upstream \"reset\""),
        headers: Headers::default(),
    }
}

fn allocations(act: impl FnOnce()) -> (u64, u64) {
    let (count, bytes) = ALLOCATIONS.get();
    act();
    let (count_after, bytes_after) = ALLOCATIONS.get();
    (count_after - count, bytes_after - bytes)
}

#[test]
fn a_warm_worker_records_without_an_allocation() {
    let map: HeaderMap = [("user-agent", "curl/8.0"), ("cookie", "a=\"b\""), ("referer", "https://a.example/?token=1")]
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .into_iter()
        .collect();
    let shown = Headers { request: Some(&map), response: Some(&map) };
    let filter = Filter { codes: vec![200..=599], duration: None, sample: 0.5 };
    let headers = HeaderRules::new(vec![(HeaderName::from_static("cookie"), Treatment::Keep)], Treatment::Careful);
    let all = Options { format: Format::Json, filter: filter.clone(), headers: headers.clone() };
    let plain = [Format::Json, Format::Common, Format::Text, Format::Off].map(Options::from);
    for options in plain.into_iter().chain([all.clone(), Options { format: Format::Text, ..all }]) {
        let format = options.clone();
        let telemetry = Telemetry::new(BuildLabels::default(), AccessLog::start(options, io::sink()).unwrap());
        let recorder = telemetry.recorder(0);
        let routes: Vec<String> = (0..100).map(|n| format!("route-{n}")).collect();
        let all = || {
            for route in &routes {
                for code in [200, 404, 503] {
                    let active = recorder.begin();
                    recorder.record(&RequestRecord { headers: shown, ..record(route, code) });
                    drop(active);
                }
            }
        };
        all();
        let (count, _) = allocations(all);
        assert_eq!(count, 0, "{format:?}");
        let begun = Instant::now();
        (0..100).for_each(|_| all());
        println!("{format:?}: {} ns a request, unoptimised unless --release", begun.elapsed().as_nanos() / 30_000);
    }
}

#[test]
fn a_series_takes_less_than_half_a_kibibyte() {
    let telemetry = Telemetry::new(BuildLabels::default(), AccessLog::off());
    let recorder = telemetry.recorder(0);
    let names: Vec<String> = (0..10_000).map(|n| format!("route-{n}")).collect();
    let (_, bytes) = allocations(|| names.iter().for_each(|name| recorder.record(&record(name, 200))));
    println!("{} bytes allocated a series", bytes / 10_000);
    assert!(bytes / 10_000 < 512, "{} bytes", bytes / 10_000);
}
