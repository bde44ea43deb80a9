//! Endpoints that fail, over real sockets: active checks, ejection, recovery, and what the metrics say of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use support::client::{Client, get};
use support::config::{Config, endpoints, listener, upstream_id};
use support::{Gateway, eventually, free_address};
use tokio::net::TcpListener;
use transom::snapshot::policy::{Ejection, HealthCheck, Probe};
use transom::snapshot::{Policy, Snapshot, UpstreamProtocol};

const INTERVAL: Duration = Duration::from_millis(100);
/// What a machine that is busy with other tests may take longer.
const SLACK: Duration = Duration::from_secs(3);

/// A server whose health is as the test sets it. It answers a request of a client with 200 while it is well, and
/// with 500 while it is not; one in a bad way breaks the connection instead.
#[derive(Clone)]
struct Backend {
    address: SocketAddr,
    /// Status of its health.
    health: Arc<AtomicU16>,
    breaks: Arc<AtomicBool>,
    /// Requests of clients.
    requests: Arc<AtomicUsize>,
    /// Health checks, as they came: `GET /healthz HTTP/1.1 host=… agent=…`.
    checks: Arc<Mutex<Vec<String>>>,
}

impl Backend {
    async fn start(name: &'static str) -> Backend {
        Backend::on("127.0.0.1:0".parse().unwrap(), name).await
    }

    async fn on(address: SocketAddr, name: &'static str) -> Backend {
        let listener = TcpListener::bind(address).await.unwrap();
        let backend = Backend {
            address: listener.local_addr().unwrap(),
            health: Arc::new(AtomicU16::new(200)),
            breaks: Arc::default(),
            requests: Arc::default(),
            checks: Arc::default(),
        };
        let server = backend.clone();
        tokio::spawn(async move {
            loop {
                let Ok((tcp, _)) = listener.accept().await else { return };
                let server = server.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| std::future::ready(server.answer(name, &request)));
                    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(tcp), service).await;
                });
            }
        });
        backend
    }

    fn answer(&self, name: &str, request: &Request<Incoming>) -> Result<Response<Full<Bytes>>, Broken> {
        let health = self.health.load(Ordering::SeqCst);
        if request.uri().path().starts_with("/healthz") {
            let text = |header: &str| {
                request.headers().get(header).map_or(String::new(), |value| value.to_str().unwrap().to_owned())
            };
            let (uri, host) = (request.uri(), text("host"));
            let host = uri.authority().map_or(host, |authority| format!("{authority} over {:?}", uri.scheme_str()));
            let target = uri.path_and_query().unwrap();
            let seen = format!(
                "{} {target} {:?} host={host} agent={}",
                request.method(),
                request.version(),
                text("user-agent")
            );
            self.checks.lock().unwrap().push(seen);
            return Ok(Response::builder().status(health).body(Full::from("checked")).unwrap());
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        if self.breaks.load(Ordering::SeqCst) {
            return Err(Broken);
        }
        let status = if health == 200 { 200 } else { 500 };
        Ok(Response::builder().status(status).body(Full::from(format!("name: {name}\n"))).unwrap())
    }

    fn turn(&self, status: u16) {
        self.health.store(status, Ordering::SeqCst);
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn checks(&self) -> Vec<String> {
        self.checks.lock().unwrap().clone()
    }
}

#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

impl From<Infallible> for Broken {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

fn check(probe: Probe) -> HealthCheck {
    let once = NonZeroU32::MIN;
    HealthCheck { probe, interval: INTERVAL, timeout: SLACK, healthy_threshold: once, unhealthy_threshold: once }
}

fn http(path: &str, host: Option<&str>, expected: &[(u16, u16)]) -> Probe {
    Probe::Http { path: path.into(), host: host.map(Into::into), expected: expected.into() }
}

fn checked(probe: Probe) -> Policy {
    Policy { health: Some(check(probe)), ..Policy::default() }
}

fn healthz() -> Policy {
    checked(http("/healthz", None, &[(200, 299)]))
}

struct World {
    gateway: Gateway,
    address: SocketAddr,
    protocol: UpstreamProtocol,
}

impl World {
    async fn new(policy: Policy, to: &[SocketAddr]) -> World {
        World::over(UpstreamProtocol::Http1, policy, to).await
    }

    async fn over(protocol: UpstreamProtocol, policy: Policy, to: &[SocketAddr]) -> World {
        let mut world = World { gateway: Gateway::start(), address: free_address(), protocol };
        world.serve(policy, to).await;
        world
    }

    async fn serve(&mut self, policy: Policy, to: &[SocketAddr]) {
        let mut config = Config::default();
        let upstream = config.upstream_over("app", self.protocol, to);
        let rule = config.forward("app", upstream);
        let mut snapshot = config.http(self.address, vec![listener("l", None, rule)]).build();
        snapshot.upstreams[0].policy = policy;
        self.gateway.serve(snapshot).await;
    }

    fn metric(&self, name: &str, label: &str) -> Option<u64> {
        let text = self.gateway.telemetry.metrics_text();
        let of = |line: &&str| line.starts_with(name) && line.contains("service=\"app\"") && line.contains(label);
        text.lines().find(of).map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    async fn endpoints(&self, state: &str, count: u64) {
        let label = format!("state=\"{state}\"");
        eventually(&format!("{count} {state}"), || async {
            (self.metric("transom_upstream_endpoints{", &label) == Some(count)).then_some(())
        })
        .await;
    }

    async fn seen(&self, times: usize) -> BTreeMap<String, usize> {
        let mut seen = BTreeMap::new();
        for _ in 0..times {
            *seen.entry(get(self.address, "http://a.com/").await.summary()).or_default() += 1;
        }
        seen
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_turns_unhealthy_under_load_is_out_within_its_interval_and_back_after_recovery() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let world = World::new(healthz(), &[a.address, b.address]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = tokio::task::JoinSet::new();
    for number in 0..4 {
        let (stop, address) = (stop.clone(), world.address);
        load.spawn(async move {
            let mut client = if number % 2 == 0 { Client::h1(address).await } else { Client::h2(address).await };
            let mut answers = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                let summary = client.get("http://a.com/").await.unwrap().summary();
                answers.push((began, Instant::now(), summary));
            }
            answers
        });
    }
    eventually("traffic to both", || async { (a.requests() > 20 && b.requests() > 20).then_some(()) }).await;
    let turned = Instant::now();
    a.turn(503);
    world.endpoints("unhealthy", 1).await;
    let out = Instant::now();
    assert!(out - turned < INTERVAL + SLACK, "{:?}", out - turned);
    let so_far = b.requests();
    eventually("more traffic to the other", || async { (b.requests() > so_far + 100).then_some(()) }).await;
    let well = Instant::now();
    a.turn(200);
    let before = a.requests();
    eventually("traffic to it again", || async { (a.requests() > before + 20).then_some(()) }).await;
    stop.store(true, Ordering::Relaxed);
    let mut answers = Vec::new();
    while let Some(more) = load.join_next().await {
        answers.extend(more.unwrap());
    }
    let well_served = |summary: &str| summary.starts_with("200");
    let late = |began: &Instant| *began > out;
    assert!(answers.iter().all(|(began, _, summary)| !late(began) || well_served(summary)), "none fails any more");
    assert!(answers.iter().all(|(began, _, summary)| !late(began) || *began > well || summary == "200 b"));
    assert!(answers.iter().all(|(_, ended, summary)| *ended > turned || well_served(summary)));
}

#[tokio::test]
async fn a_check_asks_what_the_policy_says_and_takes_the_codes_it_says() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    b.turn(418);
    let probe = http("/healthz?full=1", Some("app.example:8443"), &[(200, 204), (401, 401)]);
    let mut world = World::new(checked(probe), &[a.address, b.address]).await;
    world.endpoints("unhealthy", 1).await;
    assert_eq!(world.seen(20).await, BTreeMap::from([("200 a".to_owned(), 20)]));
    let expected = "GET /healthz?full=1 HTTP/1.1 host=app.example:8443 agent=transom-health-check";
    assert!(a.checks().iter().all(|seen| seen == expected), "{:?}", a.checks());
    b.turn(401);
    world.endpoints("healthy", 2).await;

    // Without a host it is the endpoint's address; the new check replaces the old one.
    world.serve(healthz(), &[a.address, b.address]).await;
    world.endpoints("unhealthy", 1).await;
    for backend in [&a, &b] {
        let expected = format!("GET /healthz HTTP/1.1 host={} agent=transom-health-check", backend.address);
        eventually("the new check", || async { (backend.checks().last() == Some(&expected)).then_some(()) }).await;
    }
    b.turn(200);
    world.endpoints("healthy", 2).await;
    let old = a.checks().iter().filter(|seen| seen.contains("full=1")).count();
    let more = a.checks().len() + 5;
    eventually("five more checks", || async { (a.checks().len() > more).then_some(()) }).await;
    assert_eq!(a.checks().iter().filter(|seen| seen.contains("full=1")).count(), old, "the old one has stopped");
}

#[tokio::test]
async fn an_h2c_upstream_is_checked_over_h2c() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    b.turn(500);
    let world = World::over(UpstreamProtocol::H2c, healthz(), &[a.address, b.address]).await;
    world.endpoints("unhealthy", 1).await;
    b.turn(204);
    world.endpoints("healthy", 2).await;
    let expected = format!("GET /healthz HTTP/2.0 host={} over Some(\"http\") agent=transom-health-check", a.address);
    assert!(a.checks().iter().all(|seen| *seen == expected), "{:?}", a.checks());
}

#[tokio::test]
async fn a_tcp_check_finds_who_does_not_listen_and_who_does_again() {
    let a = Backend::start("a").await;
    let gone = free_address();
    let world = World::new(checked(Probe::Tcp), &[a.address, gone]).await;
    world.endpoints("unhealthy", 1).await;
    assert_eq!(world.seen(20).await, BTreeMap::from([("200 a".to_owned(), 20)]));
    let _b = Backend::on(gone, "b").await;
    world.endpoints("healthy", 2).await;
    assert_eq!(world.seen(100).await.len(), 2);
    assert!(a.checks().is_empty(), "nothing is asked");
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_its_check_in_time_is_unhealthy() {
    let a = Backend::start("a").await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut policy = healthz();
    policy.health.as_mut().unwrap().timeout = Duration::from_millis(300);
    // It accepts, and that is all.
    let world = World::new(policy, &[a.address, silent.local_addr().unwrap()]).await;
    world.endpoints("unhealthy", 1).await;
    assert_eq!(world.seen(20).await, BTreeMap::from([("200 a".to_owned(), 20)]));
}

#[tokio::test]
async fn a_wrong_check_does_not_take_a_service_down() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let world = World::new(checked(http("/healthz", None, &[(204, 204)])), &[a.address, b.address]).await;
    world.endpoints("unhealthy", 2).await;
    let seen = world.seen(100).await;
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["200 a", "200 b"]);
}

#[tokio::test]
async fn health_outlives_moves_and_snapshots_and_ends_with_its_check() {
    let (a, b, c) = (Backend::start("a").await, Backend::start("b").await, Backend::start("c").await);
    b.turn(500);
    let mut world = World::new(healthz(), &[a.address, b.address]).await;
    world.endpoints("unhealthy", 1).await;
    let id = upstream_id("app", UpstreamProtocol::Http1);
    for round in 0..20 {
        let (two, three) = ([a.address, b.address], [a.address, b.address, c.address]);
        if round % 2 == 0 {
            world.gateway.publisher.publish_endpoints(&id, endpoints(&three));
        } else {
            world.serve(healthz(), &two).await;
        }
        assert_eq!(world.metric("transom_upstream_endpoints{", "state=\"unhealthy\""), Some(1));
        assert_eq!(get(world.address, "http://a.com/").await.status, 200);
    }
    // One that comes is checked, too.
    c.turn(500);
    world.gateway.publisher.publish_endpoints(&id, endpoints(&[a.address, b.address, c.address]));
    world.endpoints("unhealthy", 2).await;
    // Without checks all are healthy, and nobody asks.
    world.serve(Policy::default(), &[a.address, b.address, c.address]).await;
    world.endpoints("healthy", 3).await;
    let asked = b.checks().len();
    assert!(world.seen(60).await.contains_key("500 b"));
    assert_eq!(b.checks().len(), asked);
    // Nor does anybody once the upstream is gone.
    world.serve(healthz(), &[a.address, b.address]).await;
    world.endpoints("unhealthy", 1).await;
    world.gateway.serve(Snapshot::default()).await;
    eventually("checks stop", || async {
        let before = b.checks().len();
        tokio::time::sleep(3 * INTERVAL).await;
        (b.checks().len() == before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_breaks_off_again_and_again_is_ejected_and_seen_to_recover() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    b.breaks.store(true, Ordering::SeqCst);
    let ejection = Ejection { base_time: Duration::from_millis(300), ..Ejection::default() };
    let world = World::new(Policy { ejection, ..Policy::default() }, &[a.address, b.address]).await;
    let mut failed = 0;
    while world.metric("transom_upstream_ejections_total", "").unwrap_or(0) == 0 {
        failed += usize::from(!get(world.address, "http://a.com/").await.summary().starts_with("200"));
    }
    assert_eq!((failed, b.requests()), (5, 5), "five in a row, and no more");
    // It goes on failing: what it gets is one try each time, and the times grow.
    let (began, mut failed, mut count) = (Instant::now(), 0, 0);
    while began.elapsed() < Duration::from_secs(2) {
        let answer = get(world.address, "http://a.com/").await.summary();
        assert!(["200 a", "502 upstream_reset"].contains(&answer.as_str()), "{answer}");
        failed += usize::from(answer != "200 a");
        count += 1;
    }
    // After 300, 600 and 1200 ms; it may be later, but not sooner.
    assert!(failed <= 3 && count > 10, "{failed} of {count}");
    b.breaks.store(false, Ordering::SeqCst);
    eventually("its traffic again", || async {
        let seen = world.seen(20).await;
        (seen.get("200 b").copied().unwrap_or(0) > 3).then_some(())
    })
    .await;
    assert_eq!(world.metric("transom_upstream_endpoints{", "state=\"ejected\""), Some(0));
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_ejected_without_a_failed_request() {
    let a = Backend::start("a").await;
    let ejection = Ejection { base_time: Duration::from_mins(1), ..Ejection::default() };
    let world = World::new(Policy { ejection, ..Policy::default() }, &[a.address, free_address()]).await;
    assert_eq!(world.seen(200).await, BTreeMap::from([("200 a".to_owned(), 200)]));
    assert_eq!(world.metric("transom_upstream_ejections_total", ""), Some(1));
    assert_eq!(world.metric("transom_upstream_endpoints{", "state=\"ejected\""), Some(1));
    assert_eq!(world.metric("transom_upstream_connects_total", "result=\"failed\""), Some(5));
    assert_eq!(world.metric("transom_upstream_attempts_total", "result=\"failed\""), Some(5));
    eventually("all counted", || async {
        (world.metric("transom_upstream_attempts_total", "result=\"answered\"") == Some(200)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_last_endpoint_is_never_ejected_and_a_bad_status_is_no_failure() {
    let a = Backend::start("a").await;
    let world = World::new(Policy::default(), &[a.address]).await;
    a.breaks.store(true, Ordering::SeqCst);
    assert_eq!(world.seen(20).await, BTreeMap::from([("502 upstream_reset".to_owned(), 20)]));
    assert_eq!(a.requests(), 20, "each was tried");
    a.breaks.store(false, Ordering::SeqCst);
    assert_eq!(world.seen(20).await, BTreeMap::from([("200 a".to_owned(), 20)]));
    assert_eq!(world.metric("transom_upstream_ejections_total", ""), Some(0));

    let b = Backend::start("b").await;
    a.turn(500);
    let world = World::new(Policy::default(), &[a.address, b.address]).await;
    let seen = world.seen(100).await;
    assert!(seen["500 a"] > 20, "{seen:?}");
}

#[tokio::test]
async fn what_an_upstream_met_is_counted_and_forgotten_with_it() {
    let a = Backend::start("a").await;
    let mut world = World::new(Policy::default(), &[a.address]).await;
    let mut client = Client::h1(world.address).await;
    for _ in 0..10 {
        assert_eq!(client.get("http://a.com/").await.unwrap().summary(), "200 a");
    }
    eventually("ten attempts", || async {
        (world.metric("transom_upstream_attempts_total", "result=\"answered\"") == Some(10)).then_some(())
    })
    .await;
    assert_eq!(world.metric("transom_upstream_connects_total", "result=\"connected\""), Some(1), "and then reused");
    assert_eq!(world.metric("transom_upstream_connect_duration_seconds_count", ""), Some(1));
    assert_eq!(world.metric("transom_upstream_endpoints{", "state=\"healthy\""), Some(1));
    let labels = "transom_upstream_ejections_total{namespace=\"test\",service=\"app\",port=\"80\"} 0";
    assert!(world.gateway.telemetry.metrics_text().contains(labels));
    world.gateway.serve(Snapshot::default()).await;
    eventually("its series go", || async {
        (!world.gateway.telemetry.metrics_text().contains("service=\"app\"")).then_some(())
    })
    .await;
}
