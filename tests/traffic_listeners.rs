//! Listeners come and go at run time: nobody else is disturbed, what is in flight ends well, and a port that
//! cannot be had is told, not fatal.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::client::{Client, get, read_all};
use support::config::{Config, listener};
use support::upstream::Echo;
use support::{Gateway, eventually, free_address};
use tokio::net::TcpStream;
use transom::proxy::BindState;
use transom::snapshot::Snapshot;

fn snapshot(echo: SocketAddr, addresses: &[SocketAddr]) -> Snapshot {
    let mut config = Config::default();
    let rule = config.to("a", echo);
    for address in addresses {
        config = config.http(*address, vec![listener("l", None, rule)]);
    }
    config.build()
}

async fn is_refused(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_comes_and_goes_disturbs_no_other() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let (stays, comes) = (free_address(), free_address());
    gateway.serve(snapshot(echo.address, &[stays])).await;

    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let mut load = tokio::task::JoinSet::new();
    for number in 0..6 {
        let (stop, answered) = (stop.clone(), answered.clone());
        load.spawn(async move {
            let mut kept = match number {
                0 | 1 => Some(Client::h1(stays).await),
                2 | 3 => Some(Client::h2(stays).await),
                _ => None, // a connection for each request
            };
            while !stop.load(Ordering::Relaxed) {
                let answer = match &mut kept {
                    Some(client) => client.get("http://a.com/").await.unwrap(),
                    None => get(stays, "http://a.com/").await,
                };
                assert_eq!(answer.summary(), "200 a");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for _ in 0..20 {
        gateway.serve(snapshot(echo.address, &[stays, comes])).await;
        assert_eq!(get(comes, "http://a.com/").await.summary(), "200 a");
        gateway.serve(snapshot(echo.address, &[stays])).await;
        assert!(is_refused(comes).await, "a listener that is gone accepts nothing");
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(outcome) = load.join_next().await {
        outcome.unwrap();
    }
    assert!(answered.load(Ordering::Relaxed) > 50);
}

#[tokio::test]
async fn what_is_in_flight_on_a_listener_that_goes_is_finished() {
    let echo = Echo::held("a", 1).await;
    let mut gateway = Gateway::start();
    let (stays, goes) = (free_address(), free_address());
    gateway.serve(snapshot(echo.address, &[stays, goes])).await;

    let (mut idle, mut h1, mut h2) = (Client::h1(goes).await, Client::h1(goes).await, Client::h2(goes).await);
    assert_eq!(idle.get("http://a.com/").await.unwrap().summary(), "200 a");
    let one = tokio::spawn(async move { (h1.get("http://a.com/").await, h1) });
    let two = tokio::spawn(async move { (h2.get("http://a.com/").await, h2) });
    eventually("the requests to be in flight", || async { (echo.requests() == 3).then_some(()) }).await;
    gateway.serve(snapshot(echo.address, &[stays])).await;
    assert!(is_refused(goes).await);

    echo.release();
    let (answer, h1) = one.await.unwrap();
    let answer = answer.unwrap();
    assert_eq!(answer.summary(), "200 a");
    assert_eq!(answer.headers["connection"], "close");
    let (answer, h2) = two.await.unwrap();
    assert_eq!(answer.unwrap().summary(), "200 a");
    eventually("the connections to end", || async {
        (h1.is_closed() && h2.is_closed() && idle.is_closed()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_and_bound_once_it_is_free() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let (good, taken) = (free_address(), free_address());
    let stranger = StdListener::bind(taken).unwrap();
    gateway.publisher.publish(snapshot(echo.address, &[good, taken]));
    gateway
        .wait_bound(|bound| {
            let told = matches!(bound.get(&taken), Some(BindState::Failed(why)) if why.contains("address in use"));
            told && bound.get(&good) == Some(&BindState::Bound)
        })
        .await;
    assert_eq!(get(good, "http://a.com/").await.summary(), "200 a");
    assert!(!gateway.readiness.is_ready(), "not ready until it binds or goes");

    drop(stranger);
    gateway.wait_bound(|bound| bound.get(&taken) == Some(&BindState::Bound)).await;
    assert_eq!(get(taken, "http://a.com/").await.summary(), "200 a");
    eventually("readiness", || async { gateway.readiness.is_ready().then_some(()) }).await;
}

#[tokio::test]
async fn a_port_that_is_taken_and_no_longer_wanted_holds_nothing_up() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let (good, taken) = (free_address(), free_address());
    let _stranger = StdListener::bind(taken).unwrap();
    assert_eq!(gateway.readiness.pending(), ["proxy"], "not ready before the first snapshot");
    gateway.publisher.publish(snapshot(echo.address, &[good, taken]));
    gateway.wait_bound(|bound| bound.len() == 2).await;
    gateway.serve(snapshot(echo.address, &[good])).await;
    eventually("readiness", || async { gateway.readiness.is_ready().then_some(()) }).await;
}

#[tokio::test]
async fn two_data_planes_never_share_a_port_in_silence() {
    let echo = Echo::start("a").await;
    let (mut one, mut two) = (Gateway::start(), Gateway::start());
    let address = free_address();
    one.serve(snapshot(echo.address, &[address])).await;
    two.publisher.publish(snapshot(echo.address, &[address]));
    two.wait_bound(|bound| matches!(bound.get(&address), Some(BindState::Failed(_)))).await;
    drop(one);
    two.wait_bound(|bound| bound.get(&address) == Some(&BindState::Bound)).await;
    assert_eq!(get(address, "http://a.com/").await.summary(), "200 a");
}

#[tokio::test]
async fn a_drain_accepts_for_its_grace_and_finishes_what_is_in_flight() {
    let echo = Echo::held("a", 1).await;
    let mut gateway = Gateway::start();
    let address = free_address();
    gateway.serve(snapshot(echo.address, &[address])).await;

    let mut idle = Client::h1(address).await;
    assert_eq!(idle.get("http://a.com/").await.unwrap().summary(), "200 a");
    let mut silent = TcpStream::connect(address).await.unwrap();
    let in_flight: Vec<_> = [Client::h1(address).await, Client::h2(address).await]
        .into_iter()
        .map(|mut client| tokio::spawn(async move { client.get("http://a.com/").await }))
        .collect();
    eventually("the requests to be in flight", || async { (echo.requests() == 3).then_some(()) }).await;

    let drain = tokio::spawn(gateway.proxy.drain(Duration::from_millis(2500), Duration::from_secs(10)));
    echo.release();
    // What comes during the grace is still served, and asked to leave with its answer.
    eventually("the drain to begin", || async {
        let answer = get(address, "http://a.com/").await;
        assert_eq!(answer.summary(), "200 a");
        (answer.headers["connection"] == "close").then_some(())
    })
    .await;
    assert_eq!(Client::h2(address).await.get("http://a.com/").await.unwrap().summary(), "200 a");
    assert!(!idle.is_closed());
    let answer = idle.get("http://a.com/").await.unwrap();
    assert_eq!(answer.summary(), "200 a");
    assert_eq!(answer.headers["connection"], "close");
    for request in in_flight {
        assert_eq!(request.await.unwrap().unwrap().summary(), "200 a");
    }
    assert_eq!(drain.await.unwrap().cut, 0);
    assert!(is_refused(address).await);
    assert_eq!(read_all(&mut silent).await, "");
}

#[tokio::test]
async fn a_drain_cuts_what_does_not_end() {
    let echo = Echo::held("a", 0).await;
    let mut gateway = Gateway::start();
    let address = free_address();
    gateway.serve(snapshot(echo.address, &[address])).await;
    let request = tokio::spawn(async move { Client::h1(address).await.get("http://a.com/").await });
    eventually("the request to be in flight", || async { (echo.requests() == 1).then_some(()) }).await;

    let begun = Instant::now();
    let drained = gateway.proxy.drain(Duration::ZERO, Duration::from_millis(200)).await;
    assert_eq!(drained.cut, 1);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(request.await.unwrap().is_err());
}

#[tokio::test]
async fn connections_are_counted_by_what_they_do() {
    let echo = Echo::held("a", 0).await;
    let mut gateway = Gateway::start();
    let address = free_address();
    gateway.serve(snapshot(echo.address, &[address])).await;
    let counts = |expected: [usize; 5]| {
        let kinds =
            [("tcp", "opening"), ("http1", "idle"), ("http1", "active"), ("http2", "idle"), ("http2", "active")];
        let lines: Vec<String> = kinds
            .iter()
            .zip(expected)
            .map(|((protocol, state), count)| {
                let labels = format!("listener=\"{address}\",protocol=\"{protocol}\",state=\"{state}\"");
                format!("transom_connections{{{labels}}} {count}\n")
            })
            .collect();
        let telemetry = gateway.telemetry.clone();
        async move {
            eventually(&format!("{lines:?}"), || async {
                let text = telemetry.metrics_text();
                lines.iter().all(|line| text.contains(line)).then_some(())
            })
            .await;
        }
    };
    let silent = TcpStream::connect(address).await.unwrap();
    let (mut h1, mut h2) = (Client::h1(address).await, Client::h2(address).await);
    counts([2, 0, 0, 1, 0]).await; // over HTTP/1 nothing was said yet
    let one = tokio::spawn(async move { (h1.get("http://a.com/").await, h1) });
    let two = tokio::spawn(async move { (h2.get("http://a.com/").await, h2) });
    counts([1, 0, 1, 0, 1]).await;
    echo.release();
    let (one, two) = (one.await.unwrap(), two.await.unwrap());
    assert!(one.0.is_ok() && two.0.is_ok());
    counts([1, 1, 0, 1, 0]).await;
    drop((silent, one, two));
    counts([0; 5]).await;
    gateway.serve(snapshot(echo.address, &[])).await;
    let gone = format!("listener=\"{address}\"");
    eventually("nothing of it", || async { (!gateway.telemetry.metrics_text().contains(&gone)).then_some(()) }).await;
}
