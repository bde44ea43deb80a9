//! Which upstream and which endpoint: weights, endpoints that come, go or cannot be reached, and connections that
//! are kept apart.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use support::client::{Client, get};
use support::config::{Config, endpoints, listener, upstream_id};
use support::script::{Script, upstream};
use support::upstream::Echo;
use support::{Gateway, eventually, free_address};
use transom::snapshot::UpstreamProtocol;

#[tokio::test]
async fn traffic_is_split_by_weight_and_an_invalid_share_is_answered_500() {
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let (to_a, to_b) = (config.upstream("a", &[a.address]), config.upstream("b", &[b.address]));
    let rule = config.split("split", &[(5, Some(to_a)), (3, Some(to_b)), (2, None)]);
    let address = free_address();
    gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;

    let total = 2000u32;
    let mut client = Client::h1(address).await;
    let mut seen = BTreeMap::new();
    for _ in 0..total {
        *seen.entry(client.get("http://a.com/").await.unwrap().summary()).or_insert(0u32) += 1;
    }
    for (summary, share) in [("200 a", 0.5), ("200 b", 0.3), ("500 invalid_backend", 0.2)] {
        let expected = f64::from(total) * share;
        let sigma = (f64::from(total) * share * (1.0 - share)).sqrt();
        let count = f64::from(seen[summary]);
        assert!((count - expected).abs() < 4.0 * sigma, "{summary}: {count}, not {expected}");
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[tokio::test]
async fn every_endpoint_gets_its_part() {
    let echoes = [Echo::start("a").await, Echo::start("b").await, Echo::start("c").await];
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let to = config.upstream("all", &echoes.each_ref().map(|echo| echo.address));
    let rule = config.forward("all", to);
    let address = free_address();
    gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;
    let mut client = Client::h1(address).await;
    for _ in 0..300 {
        client.get("http://a.com/").await.unwrap();
    }
    for echo in &echoes {
        assert!((60..=140).contains(&echo.requests()), "{}", echo.requests());
    }
}

#[tokio::test]
async fn a_busy_endpoint_is_spared() {
    let (slow, fast) = (Echo::slow("slow", Duration::from_millis(300)).await, Echo::start("fast").await);
    let settings =
        transom::proxy::Settings { workers: std::num::NonZeroUsize::new(1), ..transom::proxy::Settings::default() };
    let mut gateway = Gateway::with(settings);
    let mut config = Config::default();
    let to = config.upstream("both", &[slow.address, fast.address]);
    let rule = config.forward("both", to);
    let address = free_address();
    gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..8 {
        load.spawn(async move {
            let mut client = Client::h1(address).await;
            for _ in 0..40 {
                client.get("http://a.com/").await.unwrap();
            }
        });
    }
    while let Some(outcome) = load.join_next().await {
        outcome.unwrap();
    }
    assert!(slow.requests() * 3 < fast.requests(), "{} to {}", slow.requests(), fast.requests());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_that_come_and_go_under_load_cost_no_request() {
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let stays = Echo::start("stays").await;
    let protocols = [UpstreamProtocol::Http1, UpstreamProtocol::H2c];
    let rules = protocols.map(|protocol| {
        let to = config.upstream_over("churn", protocol, &[stays.address]);
        config.forward("churn", to)
    });
    let addresses = [free_address(), free_address()];
    let config = config
        .http(addresses[0], vec![listener("one", None, rules[0])])
        .http(addresses[1], vec![listener("two", None, rules[1])]);
    gateway.serve(config.build()).await;

    let stop = Arc::new(AtomicBool::new(false));
    let mut load = tokio::task::JoinSet::new();
    for number in 0..8 {
        let stop = stop.clone();
        load.spawn(async move {
            let address = addresses[number % 2];
            let mut client = if number < 4 { Client::h1(address).await } else { Client::h2(address).await };
            let mut count = 0u32;
            while !stop.load(Ordering::Relaxed) {
                let request = Request::post("http://a.com/").body(Full::from(Bytes::from_static(b"body"))).unwrap();
                let answer = client.send(request).await.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.body);
                count += 1;
            }
            count
        });
    }
    let publish = |gateway: &Gateway, all: &[SocketAddr]| {
        for protocol in protocols {
            gateway.publisher.publish_endpoints(&upstream_id("churn", protocol), endpoints(all));
        }
    };
    for _ in 0..15 {
        let comes = Echo::start("comes").await;
        publish(&gateway, &[stays.address, comes.address]);
        eventually("the new endpoint's traffic", || async { (comes.requests() > 20).then_some(()) }).await;
        // As a pod goes: out of the endpoints first, then it ends what it has.
        publish(&gateway, &[stays.address]);
        tokio::time::sleep(Duration::from_millis(20)).await;
        comes.stop();
    }
    stop.store(true, Ordering::Relaxed);
    let mut total = 0;
    while let Some(count) = load.join_next().await {
        total += count.unwrap();
    }
    assert!(total > 300, "{total}");
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_passed_over() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let to = config.upstream("a", &[free_address(), echo.address, free_address()]);
    let rule = config.forward("a", to);
    let address = free_address();
    gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;
    for mut client in [Client::h1(address).await, Client::h2(address).await] {
        for _ in 0..40 {
            let request = Request::post("http://a.com/").body(Full::from(Bytes::from_static(b"hello"))).unwrap();
            let answer = client.send(request).await.unwrap();
            assert_eq!(answer.summary(), "200 a");
            assert_eq!(answer.fact("body"), Some("5"));
        }
    }
}

#[tokio::test]
async fn where_no_endpoint_takes_a_connection_the_answer_is_503() {
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let to = config.upstream("a", &[free_address(), free_address()]);
    let rule = config.forward("a", to);
    let address = free_address();
    gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;
    for mut client in [Client::h1(address).await, Client::h2(address).await] {
        let answer = client.get("http://a.com/").await.unwrap();
        assert_eq!(answer.summary(), "503 connect_failed");
        assert_eq!(answer.headers.get("server"), None);
    }
    let text = gateway.telemetry.metrics_text();
    assert!(text.contains("reason=\"connect_failed\"") && text.contains("code=\"503\""), "{text}");
}

#[tokio::test]
async fn endpoints_move_without_a_snapshot_and_none_is_a_503() {
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let rule = config.to("a", a.address);
    let address = free_address();
    gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;
    let id = upstream_id("a", UpstreamProtocol::Http1);
    assert_eq!(get(address, "http://a.com/").await.summary(), "200 a");
    gateway.publisher.publish_endpoints(&id, endpoints(&[b.address]));
    assert_eq!(get(address, "http://a.com/").await.summary(), "200 b");
    gateway.publisher.publish_endpoints(&id, endpoints(&[]));
    assert_eq!(get(address, "http://a.com/").await.summary(), "503 no_endpoints");
    gateway.publisher.publish_endpoints(&id, endpoints(&[a.address]));
    assert_eq!(get(address, "http://a.com/").await.summary(), "200 a");
}

#[tokio::test]
async fn two_upstreams_with_one_endpoint_share_no_connection() {
    let echo = Echo::start("a").await;
    let settings =
        transom::proxy::Settings { workers: std::num::NonZeroUsize::new(1), ..transom::proxy::Settings::default() };
    let mut gateway = Gateway::with(settings);
    let mut config = Config::default();
    let (one, two) = (config.to("one", echo.address), config.to("two", echo.address));
    let address = free_address();
    let listeners = vec![listener("one", Some("one.com"), one), listener("two", Some("two.com"), two)];
    gateway.serve(config.http(address, listeners).build()).await;
    let mut client = Client::h1(address).await;
    for _ in 0..5 {
        for host in ["one.com", "two.com"] {
            assert_eq!(client.get(&format!("http://{host}/")).await.unwrap().summary(), "200 a");
        }
    }
    assert_eq!(echo.requests(), 10);
    assert_eq!(echo.connections(), 2);
}

#[tokio::test]
async fn a_request_that_a_fresh_connection_ended_on_is_not_sent_elsewhere() {
    let echo = Echo::start("a").await;
    let broken = upstream(Script::Hang).await;
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let to = config.upstream("both", &[broken, echo.address]);
    let rule = config.forward("both", to);
    let address = free_address();
    let mut snapshot = config.http(address, vec![listener("l", None, rule)]).build();
    snapshot.upstreams[0].policy.ejection.consecutive_failures = None; // the broken one stays
    gateway.serve(snapshot).await;
    for method in ["GET", "PUT", "POST"] {
        let mut seen = BTreeMap::new();
        for _ in 0..40 {
            let request = Request::builder().method(method).uri("http://a.com/");
            let request = request.body(Full::from(Bytes::from_static(b"once"))).unwrap();
            let answer = Client::h1(address).await.send(request).await.unwrap();
            *seen.entry(answer.summary()).or_insert(0) += 1;
        }
        // Half of them met the broken endpoint, and ended there.
        let count = |summary: &str| seen.get(summary).copied().unwrap_or_default();
        assert!(count("502 upstream_reset") > 5 && count("200 a") > 5 && seen.len() == 2, "{method}: {seen:?}");
    }
}

#[tokio::test]
async fn a_proxied_answer_and_a_local_one_are_counted_with_their_reason() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let rule = config.to("route-a", echo.address);
    let address = free_address();
    gateway.serve(config.http(address, vec![listener("web", Some("a.com"), rule)]).build()).await;
    let mut client = Client::h1(address).await;
    client.get("http://a.com/").await.unwrap();
    client.get("http://b.com/").await.unwrap();
    eventually("both in the metrics", || async {
        let text = gateway.telemetry.metrics_text();
        let proxied = text.lines().any(|line| {
            line.starts_with("transom_http_requests_total{")
                && ["code=\"200\"", "reason=\"none\"", "route=\"route-a\"", "listener=\"web\"", "gateway=\"gateway\""]
                    .iter()
                    .all(|label| line.contains(label))
        });
        let local = text.contains("reason=\"no_listener\"");
        (proxied && local).then_some(())
    })
    .await;
}
