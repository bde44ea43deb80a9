//! What a request costs our side of Pingora in memory: allocations on the worker's thread for each request of a
//! connection that is kept, less those of a bare Pingora proxy that is run the same way in the same process. In a
//! binary of its own: the allocator is one per process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(unsafe_code, reason = "a global allocator that counts is an unsafe trait")]

#[path = "support/traffic/mod.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderName, HeaderValue};
use pingora::apps::ServerApp;
use pingora::protocols::l4::stream::Stream;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use pingora_proxy::{HttpProxy, ProxyHttp, Session};
use support::config::{Config, listener};
use support::{Gateway, free_address};
use transom::proxy::Settings;
use transom::snapshot::filter::{Filter, HeaderChanges, PathChange, Retry, UrlRewrite};
use transom::snapshot::{Rule, Snapshot, Timeouts};

/// The system's allocator, with counts for the threads that serve.
struct Counting;

/// Our one data worker, and the thread of the bare proxy beside it.
static WORKER: Counter = Counter::new();
static BARE: Counter = Counter::new();

struct Counter {
    allocations: AtomicI64,
    bytes: AtomicI64,
}

/// Whose thread this is.
#[derive(Clone, Copy)]
enum Thread {
    /// Not known yet: its name is set after it starts. So many allocations were looked at.
    Unknown(u8),
    Worker,
    Bare,
    Other,
}

thread_local! {
    static THREAD: Cell<Thread> = const { Cell::new(Thread::Unknown(0)) };
}

impl Counter {
    const fn new() -> Self {
        Counter { allocations: AtomicI64::new(0), bytes: AtomicI64::new(0) }
    }

    /// Waits until the thread has done all that an answer leaves to do and rests, and reads: a request that finds it
    /// still busy takes a shorter way, with other allocations.
    fn settle(&self) -> Cost {
        let mut before = self.read();
        loop {
            std::thread::sleep(Duration::from_micros(200));
            let now = self.read();
            if now == before {
                return now;
            }
            before = now;
        }
    }

    fn read(&self) -> Cost {
        Cost { allocations: self.allocations.load(Ordering::SeqCst), bytes: self.bytes.load(Ordering::SeqCst) }
    }
}

fn count(size: usize) {
    let thread = THREAD.try_with(|cell| {
        if let Thread::Unknown(looks) = cell.get() {
            let mut name = [0u8; 16];
            // SAFETY: `name` has the 16 bytes that PR_GET_NAME may write (prctl(2)).
            unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
            cell.set(match () {
                () if name.starts_with(b"data-0\0") => Thread::Worker,
                () if name.starts_with(b"bare\0") => Thread::Bare,
                () if looks == 100 => Thread::Other,
                () => Thread::Unknown(looks + 1),
            });
        }
        cell.get()
    });
    let counter = match thread {
        Ok(Thread::Worker) => &WORKER,
        Ok(Thread::Bare) => &BARE,
        _ => return,
    };
    counter.allocations.fetch_add(1, Ordering::Relaxed);
    counter.bytes.fetch_add(size.try_into().unwrap_or(i64::MAX), Ordering::Relaxed);
}

// SAFETY: every call is handed on as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What one request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost {
    allocations: i64,
    /// Asked for.
    bytes: i64,
}

impl std::ops::Sub for Cost {
    type Output = Cost;

    fn sub(self, other: Cost) -> Cost {
        Cost { allocations: self.allocations - other.allocations, bytes: self.bytes - other.bytes }
    }
}

const WARM_UP: usize = 100;
const REQUESTS: usize = 1_000;

/// The cost of a request on a connection that is kept, towards an upstream whose connection is kept. Everything
/// beside the thread that is counted is a thread of its own, blocking.
///
/// Of the requests, from the cheapest to the dearest, the one at a quarter is taken. An average would tell how busy
/// the machine is: some cost more by time (a timer of Pingora's takes memory once for all that begin within 10 ms),
/// and where the thread was held up, what was left of one request is counted with the next.
fn cost(address: SocketAddr, counter: &Counter) -> Cost {
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut ask = || {
        let request = b"GET /products/17?view=full HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: test\r\n\
                        Accept: */*\r\n\r\n";
        tcp.write_all(request).unwrap();
        let mut answer = [0; 4096];
        let mut length = 0;
        let head = loop {
            length += tcp.read(&mut answer[length..]).unwrap();
            if let Some(end) = answer[..length].windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer[..length]));
        tcp.read_exact(&mut answer[length..head + 1024]).unwrap();
        counter.settle()
    };
    let readings: Vec<Cost> = (0..WARM_UP + REQUESTS).map(|_| ask()).collect();
    let mut costs: Vec<Cost> = readings[WARM_UP - 1..].windows(2).map(|two| two[1] - two[0]).collect();
    costs.sort_by_key(|cost| cost.allocations);
    costs[REQUESTS / 4]
}

/// Answers every request with 1 KiB, header and body in one write.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut tcp, _)) = listener.accept() {
            std::thread::spawn(move || {
                tcp.set_nodelay(true).unwrap();
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n";
                let answer = format!("{head}{}", "x".repeat(1024));
                let mut seen = [0; 4096];
                let mut length = 0;
                while let Ok(count @ 1..) = tcp.read(&mut seen[length..]) {
                    length += count;
                    if seen[..length].ends_with(b"\r\n\r\n") {
                        length = 0;
                        tcp.write_all(answer.as_bytes()).unwrap();
                    }
                }
            });
        }
    });
    address
}

/// A gateway with one worker, and the address on which it serves the snapshot that is made of a listener's address
/// and an upstream's.
async fn gateway(snapshot: impl FnOnce(SocketAddr) -> Snapshot) -> (Gateway, SocketAddr) {
    let settings = Settings { workers: NonZeroUsize::new(1), ..Settings::default() };
    let mut gateway = Gateway::with(settings);
    let address = free_address();
    gateway.serve(snapshot(address)).await;
    (gateway, address)
}

/// One rule that forwards to `endpoint`, and no more.
fn plain(address: SocketAddr, endpoint: SocketAddr) -> Snapshot {
    let mut config = Config::default();
    let rule = config.to("plain", endpoint);
    config.http(address, vec![listener("l", None, rule)]).build()
}

/// The least that a proxy does: one fixed peer.
struct Bare(SocketAddr);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.0, false, String::new());
        peer.options.set_http_version(1, 1);
        Ok(Box::new(peer))
    }
}

/// Bare Pingora on a thread of its own, in the way of our workers: a current-thread runtime that accepts.
fn bare(endpoint: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let serve = async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let conf = ServerConf { threads: 1, ..ServerConf::default() };
        let proxy: Arc<HttpProxy<Bare>> = Arc::new(pingora_proxy::http_proxy(&Arc::new(conf), Bare(endpoint)));
        let (_end, shutdown) = tokio::sync::watch::channel(false);
        while let Ok((tcp, _)) = listener.accept().await {
            tcp.set_nodelay(true).unwrap();
            let (proxy, shutdown) = (proxy.clone(), shutdown.clone());
            tokio::spawn(async move {
                let mut stream = Some(Box::new(Stream::from(tcp)) as pingora::protocols::Stream);
                while let Some(again) = stream {
                    stream = proxy.process_new(again, &shutdown).await;
                }
            });
        }
    };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::Builder::new().name("bare".to_owned()).spawn(move || runtime().block_on(serve)).unwrap();
    address
}

/// Allocations of our own for a request to a rule without filters, beyond the 77 (107,464 bytes) of bare Pingora. Before
/// there were filters, timeouts, retries and policies it was 25 (commit 51e97c8), with the request id 28; most were those of
/// Pingora's second map of header names.
const OURS: i64 = 7;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_without_filters_costs_no_more_allocations_than_before_there_were_filters() {
    let endpoint = upstream();
    let bare = cost(bare(endpoint), &BARE);
    println!("{:24} {bare:?}", "bare Pingora");
    let plain = ours("no filter", endpoint, bare, |_| {}).await;
    assert!(plain.allocations <= OURS, "{plain:?}");

    // What is used has its price, which is told and not judged.
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    ours("timeouts", endpoint, bare, |rule| {
        rule.timeouts = Timeouts { request: seconds(10), backend: seconds(5) };
    })
    .await;
    ours("retry", endpoint, bare, |rule| {
        rule.retry = Some(Retry { codes: [503].into(), attempts: 2, backoff: Duration::from_millis(10) });
    })
    .await;
    let changes = || HeaderChanges {
        set: [(HeaderName::from_static("x-set"), HeaderValue::from_static("1"))].into(),
        add: [(HeaderName::from_static("x-add"), HeaderValue::from_static("2"))].into(),
        remove: [HeaderName::from_static("user-agent")].into(),
    };
    ours("request headers", endpoint, bare, |rule| {
        rule.filters = [Filter::RequestHeaders(changes())].into_iter().collect();
    })
    .await;
    ours("response headers", endpoint, bare, |rule| {
        rule.filters = [Filter::ResponseHeaders(changes())].into_iter().collect();
    })
    .await;
    ours("rewrite", endpoint, bare, |rule| {
        let rewrite = UrlRewrite { host: Some("other.com".into()), path: Some(PathChange::Full("/other".into())) };
        rule.filters = [Filter::Rewrite(rewrite)].into_iter().collect();
    })
    .await;
}

/// Our own cost of a request to a rule that was changed like this, which is also printed.
async fn ours(name: &str, endpoint: SocketAddr, bare: Cost, change: impl FnOnce(&mut Rule)) -> Cost {
    let (_gateway, address) = gateway(|address| {
        let mut snapshot = plain(address, endpoint);
        change(&mut snapshot.rules[0]);
        snapshot
    })
    .await;
    let ours = cost(address, &WORKER) - bare;
    println!("{name:24} {ours:?}");
    ours
}
