//! How an endpoint is chosen, over real sockets: in turn, by a key, by weight; while endpoints come and go, and
//! while policies change.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use support::client::{Client, get};
use support::config::{Config, endpoints, listener, upstream_id};
use support::upstream::Echo;
use support::{Gateway, eventually, free_address, meet, settled};
use transom::proxy::Settings;
use transom::snapshot::policy::{Balance, HashKey};
use transom::snapshot::{Policy, Snapshot, UpstreamProtocol};

fn one_worker() -> Settings {
    Settings { workers: NonZeroUsize::new(1), ..Settings::default() }
}

/// A bind whose every request goes to one upstream under `policy`.
fn under(policy: Policy, address: SocketAddr, name: &'static str, to: &[SocketAddr]) -> Snapshot {
    let mut config = Config::default();
    let upstream = config.upstream(name, to);
    let rule = config.forward(name, upstream);
    let mut snapshot = config.http(address, vec![listener("l", None, rule)]).build();
    snapshot.upstreams[0].policy = policy;
    snapshot
}

fn hashed(key: HashKey) -> Policy {
    Policy { balance: Balance::ConsistentHash(key), ..Policy::default() }
}

async fn echoes() -> Vec<Echo> {
    let mut echoes = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        echoes.push(Echo::start(name).await);
    }
    echoes
}

fn addresses(echoes: &[Echo]) -> Vec<SocketAddr> {
    echoes.iter().map(|echo| echo.address).collect()
}

#[tokio::test]
async fn in_turn_each_endpoint_of_a_worker_has_exactly_its_turns() {
    let echoes = echoes().await;
    let mut gateway = Gateway::with(one_worker());
    let address = free_address();
    let policy = Policy { balance: Balance::RoundRobin, ..Policy::default() };
    gateway.serve(under(policy, address, "turns", &addresses(&echoes))).await;
    let (mut one, mut two) = (Client::h1(address).await, Client::h2(address).await);
    let mut order = Vec::new();
    for _ in 0..25 {
        for client in [&mut one, &mut two] {
            order.push(client.get("http://a.com/").await.unwrap().summary());
        }
    }
    assert!(order.chunks(5).all(|round| round == &order[..5]), "{order:?}");
    assert!(echoes.iter().all(|echo| echo.requests() == 10));
}

fn moved(before: &[String], after: &[String]) -> usize {
    before.iter().zip(after).filter(|(before, after)| before != after).count()
}

#[tokio::test]
async fn a_header_binds_users_to_endpoints_and_few_move_when_one_goes() {
    let echoes = echoes().await;
    let all = addresses(&echoes);
    let address = free_address();
    let mut gateway = Gateway::start();
    let policy = || hashed(HashKey::Header("x-user".parse().unwrap()));
    gateway.serve(under(policy(), address, "users", &all)).await;
    let user = |number: usize| format!("user-{number}");
    let before = settled(address, 200, "x-user", user).await;
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 5, "all endpoints have users");
    // Both kinds of client, every worker, and another gateway: all send a user to the same place.
    for _ in 0..4 {
        assert_eq!(meet(&mut Client::h2(address).await, 200, "x-user", user).await, before);
    }
    let (mut replica, there) = (Gateway::start(), free_address());
    replica.serve(under(policy(), there, "users", &all)).await;
    assert_eq!(settled(there, 200, "x-user", user).await, before);

    let gone = before.iter().filter(|summary| *summary == "200 c").count();
    let id = upstream_id("users", UpstreamProtocol::Http1);
    let four: Vec<SocketAddr> = all.iter().copied().filter(|one| *one != echoes[2].address).collect();
    gateway.publisher.publish_endpoints(&id, endpoints(&four));
    let without = settled(address, 200, "x-user", user).await;
    assert_eq!(moved(&before, &without), gone, "none but those that have to");
    assert!(gone <= 2 * 200 / 5, "{gone}");
    gateway.publisher.publish_endpoints(&id, endpoints(&all));
    eventually("the users come back", || async {
        (meet(&mut Client::h1(address).await, 200, "x-user", user).await == before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_cookie_binds_users_wherever_it_stands_in_its_header() {
    let echoes = echoes().await;
    let address = free_address();
    let mut gateway = Gateway::start();
    gateway.serve(under(hashed(HashKey::Cookie("sid".into())), address, "cookies", &addresses(&echoes))).await;
    let before = settled(address, 60, "cookie", |user| format!("theme=dark; sid={user}; lang=en")).await;
    assert!(before.iter().collect::<BTreeSet<_>>().len() > 2);
    let mut client = Client::h2(address).await;
    assert_eq!(meet(&mut client, 60, "cookie", |user| format!("sid={user}")).await, before);
    // Without the cookie it is any endpoint.
    let without = meet(&mut client, 60, "cookie", |_| "theme=dark".to_owned()).await;
    assert!(without.iter().collect::<BTreeSet<_>>().len() > 2);
}

async fn from(client: Ipv4Addr, to: SocketAddr) -> String {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((client, 0).into()).unwrap();
    let mut client = Client::h1_over(socket.connect(to).await.unwrap()).await.unwrap();
    client.get("http://a.com/").await.unwrap().summary()
}

#[tokio::test]
async fn a_client_address_is_bound_to_an_endpoint_over_all_of_its_connections() {
    let echoes = echoes().await;
    let address = free_address();
    let mut gateway = Gateway::start();
    gateway.serve(under(hashed(HashKey::ClientAddress), address, "clients", &addresses(&echoes))).await;
    let clients = || (1..=20).map(|host| Ipv4Addr::new(127, 0, 1, host));
    let all = || async {
        let mut met = Vec::new();
        for client in clients() {
            met.push(from(client, address).await);
        }
        met
    };
    let before = eventually("every client has its endpoint", || async {
        let first = all().await;
        (first == all().await).then_some(first)
    })
    .await;
    assert!(before.iter().collect::<BTreeSet<_>>().len() > 2, "{before:?}");
    assert_eq!(all().await, before);
}

/// Sends `total` requests over eight connections; how often each answer came.
async fn tally(address: SocketAddr, total: u32) -> BTreeMap<String, u32> {
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..8 {
        load.spawn(async move {
            let mut client = Client::h1(address).await;
            let mut seen = BTreeMap::new();
            for _ in 0..total / 8 {
                *seen.entry(client.get("http://a.com/").await.unwrap().summary()).or_insert(0u32) += 1;
            }
            seen
        });
    }
    let mut all = BTreeMap::new();
    while let Some(seen) = load.join_next().await {
        seen.unwrap().into_iter().for_each(|(summary, count)| *all.entry(summary).or_default() += count);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_are_split_within_three_sigma_with_invalid_and_empty_shares() {
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let (to_a, to_b) = (config.upstream("a", &[a.address]), config.upstream("b", &[b.address]));
    let empty = config.upstream("empty", &[]);
    let shares = [(50, Some(to_a)), (1, Some(to_b)), (0, Some(to_b)), (20, None), (29, Some(empty))];
    let rule = config.split("split", &shares);
    let address = free_address();
    gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;

    let total = 10_000u32;
    let expected = [("200 a", 0.50), ("200 b", 0.01), ("500 invalid_backend", 0.20), ("503 no_endpoints", 0.29)];
    let wrong = |seen: &BTreeMap<String, u32>| {
        expected.into_iter().find(|(summary, share)| {
            let sigma = (f64::from(total) * share * (1.0 - share)).sqrt();
            let count = seen.get(*summary).copied().unwrap_or_default();
            (f64::from(count) - f64::from(total) * share).abs() > 3.0 * sigma
        })
    };
    // A fair split misses three sigma in one run of a hundred; three in a row are not chance.
    let mut runs = Vec::new();
    while runs.len() < 3 {
        let seen = tally(address, total).await;
        assert_eq!(seen.len(), 4, "{seen:?}");
        if wrong(&seen).is_none() {
            return;
        }
        runs.push(seen);
    }
    panic!("{:?} is not as asked: {runs:?}", wrong(&runs[2]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_changes_of_endpoints_and_policies_under_load_lose_no_request() {
    let echoes = echoes().await;
    let all = addresses(&echoes);
    let address = free_address();
    let mut gateway = Gateway::start();
    let policies = [
        Policy::default(),
        Policy { balance: Balance::RoundRobin, ..Policy::default() },
        hashed(HashKey::Header("x-user".parse().unwrap())),
        Policy { max_connections: NonZeroU32::new(100), ..Policy::default() },
    ];
    gateway.serve(under(policies[0].clone(), address, "churn", &all)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = tokio::task::JoinSet::new();
    for number in 0..6 {
        let stop = stop.clone();
        load.spawn(async move {
            let mut client = if number % 2 == 0 { Client::h1(address).await } else { Client::h2(address).await };
            let mut count = 0u32;
            while !stop.load(Ordering::Relaxed) {
                let request = Request::post("http://a.com/").header("x-user", count.to_string());
                let answer = client.send(request.body(Full::from(Bytes::from_static(b"body"))).unwrap()).await.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.body);
                count += 1;
            }
            count
        });
    }
    let id = upstream_id("churn", UpstreamProtocol::Http1);
    for change in 0..200 {
        let stays = 1 + change % 5;
        let some: Vec<SocketAddr> = all.iter().cycle().skip(change % 3).take(stays).copied().collect();
        if change % 10 == 9 {
            gateway.publisher.publish(under(policies[change / 10 % 4].clone(), address, "churn", &some));
        } else {
            gateway.publisher.publish_endpoints(&id, endpoints(&some));
        }
        // The next change comes when this one has been served.
        get(address, "http://a.com/").await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut total = 0;
    while let Some(count) = load.join_next().await {
        total += count.unwrap();
    }
    assert!(total > 200, "{total}");
}

#[tokio::test]
async fn a_policy_that_changes_keeps_connections() {
    let echo = Echo::start("a").await;
    let address = free_address();
    let mut gateway = Gateway::with(one_worker());
    gateway.serve(under(Policy::default(), address, "kept", &[echo.address])).await;
    let mut client = Client::h1(address).await;
    client.get("http://a.com/").await.unwrap();
    let limited = Policy { max_connections: NonZeroU32::new(1), ..Policy::default() };
    for policy in [limited, hashed(HashKey::ClientAddress), Policy::default()] {
        gateway.serve(under(policy, address, "kept", &[echo.address])).await;
        client.get("http://a.com/").await.unwrap();
    }
    assert_eq!(echo.connections(), 1);
}

#[tokio::test]
async fn at_the_limit_the_answer_is_503_overloaded_and_a_connection_that_ends_frees_one() {
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::H2c] {
        let echo = Echo::held("a", 0).await;
        let address = free_address();
        let mut gateway = Gateway::with(Settings { upstream_h2_streams: 1, ..Settings::default() });
        let mut config = Config::default();
        let upstream = config.upstream_over("held", protocol, &[echo.address]);
        let rule = config.forward("held", upstream);
        let mut snapshot = config.http(address, vec![listener("l", None, rule)]).build();
        snapshot.upstreams[0].policy.max_connections = NonZeroU32::new(3);
        gateway.serve(snapshot).await;
        let held: Vec<_> = (0..3).map(|_| tokio::spawn(get(address, "http://a.com/"))).collect();
        eventually("three in flight", || async { (echo.requests() == 3).then_some(()) }).await;
        for mut client in [Client::h1(address).await, Client::h2(address).await] {
            for _ in 0..4 {
                assert_eq!(client.get("http://a.com/").await.unwrap().summary(), "503 overloaded");
            }
        }
        assert_eq!(echo.requests(), 3, "nothing was queued");
        echo.release();
        for one in held {
            assert_eq!(one.await.unwrap().summary(), "200 a");
        }
        for _ in 0..8 {
            assert_eq!(get(address, "http://a.com/").await.summary(), "200 a");
        }
        let text = gateway.telemetry.metrics_text();
        assert!(text.contains("code=\"503\",reason=\"overloaded\"} 8"), "{text}");
    }
}
