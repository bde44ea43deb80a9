//! A panic in one request ends that request alone: it is answered with a 500 where its answer has not begun, counted,
//! and told without a word of what the client sent.
//!
//! Nothing in Transom panics on demand. The panics come from what it logs to: a logger that panics at what Pingora
//! says of some requests, and a subscriber that panics when an endpoint is ejected, which happens in a phase of ours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use std::fmt::Write;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, Once};

use bytes::Bytes;
use support::client::{Client, Wire};
use support::config::{Config, ListenerSpec, listener};
use support::script::{Actor, End, Step, say};
use support::tls;
use support::upstream::Echo;
use support::{Gateway, eventually, free_address, h2c};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use transom::snapshot::policy::Ejection;
use transom::snapshot::tls::ListenerTls;
use transom::snapshot::{Policy, Snapshot};

const SECRET: &str = "token-4711";

/// What was logged by us.
static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target().starts_with("pingora_proxy") {
            let text = record.args().to_string();
            let first = text.starts_with("Sending header to upstream") && text.contains("/panic-early");
            let later = text.starts_with("upstream event") && text.contains("panic-late");
            assert!(!(first || later), "in Pingora: {text}");
        }
    }

    fn flush(&self) {}
}

struct Listens;

struct Words(String);

impl tracing::field::Visit for Words {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

impl tracing::Subscriber for Listens {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN && metadata.target().starts_with("transom")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut words = Words(String::new());
        event.record(&mut words);
        assert!(!words.0.contains("endpoint ejected"), "in a phase of ours, {SECRET}");
        TOLD.lock().unwrap().push(words.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Of the process: the tests of this file share it.
fn set_up() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_boxed_logger(Box::new(Logger)).unwrap();
        log::set_max_level(log::LevelFilter::Debug);
        tracing::subscriber::set_global_default(Listens).unwrap();
        let printing = std::panic::take_hook();
        transom::telemetry::panics::catch();
        let telling = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            telling(panic);
            printing(panic); // those of the tests themselves
        }));
    });
}

fn panics(gateway: &Gateway) -> u64 {
    let text = gateway.telemetry.metrics_text();
    text.lines().find_map(|line| line.strip_prefix("transom_panics_total ")).unwrap().parse().unwrap()
}

async fn counted(gateway: &Gateway, words: &str) {
    eventually(words, || async {
        let text = gateway.telemetry.metrics_text();
        let mut lines = text.lines().filter(|line| line.starts_with("transom_http_requests_total{"));
        lines.any(|line| line.contains(words)).then_some(())
    })
    .await;
}

/// In cleartext and over TLS, before one upstream.
fn snapshot(plain: SocketAddr, secure: SocketAddr, upstream: SocketAddr) -> Snapshot {
    let mut config = Config::default();
    let rule = config.to("a", upstream);
    let tls = Some(ListenerTls { certificates: vec![tls::certificate(&["a.com"])] });
    let spec = ListenerSpec { name: "s", hostname: None, tls, routes: vec![(None, "/", rule)] };
    config.http(plain, vec![listener("l", None, rule)]).https(secure, vec![spec]).build()
}

#[tokio::test]
async fn a_panic_in_a_phase_of_ours_is_a_500_and_the_connection_goes_on() {
    set_up();
    let echo = Echo::start("a").await;
    for http2 in [false, true] {
        let mut gateway = Gateway::start();
        let address = free_address();
        let mut config = Config::default();
        // of two endpoints one accepts nobody: the first request that meets it has it ejected
        let upstream = config.upstream("a", &[echo.address, free_address()]);
        let rule = config.forward("a", upstream);
        let mut snapshot = config.http(address, vec![listener("l", None, rule)]).build();
        let ejection = Ejection { consecutive_failures: NonZeroU32::new(1), ..Ejection::default() };
        snapshot.upstreams[0].policy = Policy { ejection, ..Policy::default() };
        gateway.serve(snapshot).await;
        let before = panics(&gateway);

        let mut client = if http2 { Client::h2(address).await } else { Client::h1(address).await };
        let mut answers = Vec::new();
        while !answers.contains(&"500 internal".to_owned()) {
            assert!(answers.len() < 200, "{answers:?}");
            if client.is_closed() {
                client = Client::h1(address).await;
            }
            answers.push(client.get("http://a.com/").await.unwrap().summary());
        }
        let mut good = if http2 { client } else { Client::h1(address).await };
        assert_eq!(good.get("http://a.com/").await.unwrap().summary(), "200 a", "the same connection over HTTP/2");
        assert!(answers[..answers.len() - 1].iter().all(|answer| answer == "200 a"), "{answers:?}");
        assert!(panics(&gateway) > before);
        counted(&gateway, "code=\"500\",reason=\"internal\"").await;
    }
    let told = TOLD.lock().unwrap().clone();
    let ours: Vec<_> = told.iter().filter(|line| line.contains("life_panic.rs")).collect();
    assert!(ours.len() >= 2, "{told:?}");
    assert!(ours.iter().all(|line| line.contains("withheld") && line.contains("data-")), "{ours:?}");
    assert!(!told.concat().contains(SECRET), "{told:?}");
}

#[tokio::test]
async fn a_panic_within_pingora_is_answered_with_500_on_http1() {
    set_up();
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let (plain, secure) = (free_address(), free_address());
    gateway.serve(snapshot(plain, secure, echo.address)).await;
    let mut other = Client::h1(plain).await;
    assert_eq!(other.get("http://a.com/").await.unwrap().summary(), "200 a");
    let before = panics(&gateway);

    let asked = format!("GET /panic-early HTTP/1.1\r\nHost: a.com\r\nAuthorization: {SECRET}\r\n\r\n");
    // also on a connection that has been answered before
    let mut kept = Wire::connect(plain).await;
    assert_eq!(kept.ask("GET", "/").await.unwrap().status(), 200);
    kept.send(&asked).await;
    let answer = kept.answer("GET").await.unwrap();
    assert_eq!(answer.summary(), "500 500 internal");
    assert_eq!(kept.end().await, End::Closed);

    let mut stream = tls::connect(secure, "a.com", &tls::client(&["http/1.1"])).await.unwrap();
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    let _ = stream.read_to_end(&mut seen).await; // without close_notify
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.starts_with("HTTP/1.1 500 Internal Server Error\r\n"), "{seen}");
    assert!(seen.ends_with("connection: close\r\n\r\n500 internal\n"), "{seen}");

    assert_eq!(echo.requests(), 2, "nothing of it reached the upstream");
    assert_eq!(other.get("http://a.com/").await.unwrap().summary(), "200 a");
    assert!(panics(&gateway) >= before + 2);
    for listener in ["l", "s"] {
        let words = format!("listener=\"{listener}\",route_kind=\"HTTPRoute\"");
        counted(&gateway, &words).await;
        let series = |line: &&str| line.contains(&words) && line.contains("code=\"500\",reason=\"internal\"} 1");
        eventually("its record", || async { gateway.telemetry.metrics_text().lines().find(series).map(drop) }).await;
    }
    assert!(!TOLD.lock().unwrap().concat().contains(SECRET));
}

#[tokio::test]
async fn a_panic_within_pingora_ends_one_stream_of_http2() {
    set_up();
    let echo = Echo::held("a", 1).await;
    let mut gateway = Gateway::start();
    let (plain, secure) = (free_address(), free_address());
    gateway.serve(snapshot(plain, secure, echo.address)).await;
    let mut client = h2c::connect(plain).await;
    let request = |path: &str| http::Request::get(format!("http://a.com{path}")).body(()).unwrap();
    let (first, _) = client.send_request(request("/"), true).unwrap();
    assert_eq!(h2c::reply(first).await.unwrap().head.status, 200);
    let (in_flight, _) = client.send_request(request("/held"), true).unwrap();
    eventually("the request in flight", || async { (echo.requests() == 2).then_some(()) }).await;

    let (panicked, _) = client.send_request(request("/panic-early"), true).unwrap();
    let error = h2c::reply(panicked).await.unwrap_err();
    assert!(error.is_reset(), "{error}");
    echo.release();
    assert_eq!(h2c::reply(in_flight).await.unwrap().head.status, 200);
    let (next, _) = client.send_request(request("/"), true).unwrap();
    assert_eq!(h2c::reply(next).await.unwrap().head.status, 200);
    counted(&gateway, "reason=\"internal\"} 1").await;
    let active = "transom_http_active_requests 0";
    eventually(active, || async { gateway.telemetry.metrics_text().contains(active).then_some(()) }).await;
}

#[tokio::test]
async fn an_answer_that_has_begun_is_cut_by_a_panic_and_nothing_is_put_after_it() {
    set_up();
    let begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n";
    let actor = Actor::always(vec![Step::Head, say(begun), Step::Wait, say("a\r\npanic-late\r\n")]).await;
    let mut gateway = Gateway::start();
    let (plain, secure) = (free_address(), free_address());
    gateway.serve(snapshot(plain, secure, actor.address)).await;
    let mut client = Wire::connect(plain).await;
    client.send("GET / HTTP/1.1\r\nHost: a.com\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(client.exactly(10).await.unwrap(), Bytes::from_static(b"5\r\nbegun\r\n"));
    actor.release();
    assert!(client.exactly(1).await.is_err());
    counted(&gateway, "code=\"200\",reason=\"internal\"").await;
}
