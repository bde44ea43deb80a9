//! `retry` of a rule (gateway-api.md 6.4, Retry; 3.3, Retry…): what is sent again, how often, and what is not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;
#[path = "support/tries.rs"]
mod tries;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use support::client::{Answer, Client};
use support::config::Config;
use support::upstream::Echo;
use support::{Gateway, eventually, free_address};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use transom::snapshot::{Retry, Timeouts, UpstreamProtocol};
use tries::{Act, Endpoint, Log, assert_took, counter, failing_server, gateway, retry, timeouts};

const QUICK: Duration = Duration::ZERO;
const RETRIES: &str = "transom_http_retries_total";
const SKIPPED: &str = "transom_http_retries_skipped_total";

async fn to(
    endpoints: &[SocketAddr],
    h2c: bool,
    timeouts: Timeouts,
    retry: Option<Retry>,
) -> (Gateway, Log, SocketAddr) {
    let protocol = if h2c { UpstreamProtocol::H2c } else { UpstreamProtocol::Http1 };
    let rule = |config: &mut Config| {
        let to = config.upstream_over("a", protocol, endpoints);
        config.forward("a", to)
    };
    gateway(rule, timeouts, retry).await
}

async fn clients(address: SocketAddr) -> [(&'static str, Client); 2] {
    [("h1", Client::h1(address).await), ("h2", Client::h2(address).await)]
}

fn request(method: &str, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(format!("http://a.com{path}"));
    request.body(Full::from(body.into())).unwrap()
}

async fn send(address: SocketAddr, method: &str, body: &'static str) -> Answer {
    Client::h1(address).await.send(request(method, "/", body)).await.unwrap()
}

#[tokio::test]
async fn listed_codes_are_tried_again_and_when_tries_are_used_up_the_original_answer_stays() {
    let server = failing_server(QUICK).await;
    // HTTPRouteRetry: (codes, attempts), (code, failures, expected)
    let all = [500, 502, 503, 504];
    type Outcomes = &'static [(u16, u32, u16)];
    let cases: [(u32, &[u16], Outcomes); 3] = [
        (3, &[500], &[(500, 2, 200), (500, 3, 200), (500, 4, 500), (503, 1, 503)]),
        (2, &all, &[(500, 1, 200), (502, 2, 200), (503, 1, 200), (504, 2, 200)]),
        (0, &all, &[(500, 1, 500), (502, 1, 502), (503, 1, 503), (504, 1, 504)]),
    ];
    for h2c in [false, true] {
        for (attempts, codes, expected) in cases {
            let (_gateway, log, address) = to(&[server], h2c, Timeouts::default(), retry(attempts, codes)).await;
            for (name, mut client) in clients(address).await {
                for (code, failures, outcome) in expected {
                    let path = format!("/{code}/{failures}/{name}-{h2c}-{attempts}");
                    let answer = client.get(&format!("http://a.com{path}")).await.unwrap();
                    assert_eq!(answer.body, format!("endpoint {outcome} 0"), "{path}");
                    assert_eq!(answer.status.as_u16(), *outcome, "{path}");
                    let line = log.line("the log", |line| line["path"] == path).await;
                    assert_eq!((&line["reason"], &line["status"]), (&"none".into(), &(*outcome).into()), "{line}");
                }
            }
        }
    }
}

#[tokio::test]
async fn used_up_codes_leave_each_original_answer() {
    for code in [500, 502, 503, 504] {
        let endpoint = Endpoint::h1(move |_| Act::Answer(code, QUICK)).await;
        let retry = retry(2, &[500, 502, 503, 504]);
        let (gateway, _, address) = to(&[endpoint.address], false, Timeouts::default(), retry).await;
        assert_eq!(send(address, "GET", "").await.body, format!("endpoint {code} 0"));
        assert_eq!(endpoint.requests(), 3);
        assert_eq!(counter(&gateway, RETRIES, &["cause=\"status\""]), 2);
    }
}

#[tokio::test]
async fn an_endpoint_that_refuses_connections_costs_nothing() {
    // HTTPRouteRetryConnectionError: attempts 100, no codes, no timeouts, one of two endpoints refuses.
    let echo = Echo::start("a").await;
    // A pause would show: an endpoint that was not tried is not waited for.
    let retry = Some(Retry { codes: [].into(), attempts: 100, backoff: Duration::from_secs(30) });
    let (gateway, _, address) = to(&[free_address(), echo.address], false, Timeouts::default(), retry).await;
    for (name, mut client) in clients(address).await {
        for method in ["GET", "POST"] {
            let begun = Instant::now();
            for _ in 0..20 {
                let answer = client.send(request(method, "/", "hello")).await.unwrap();
                assert_eq!((answer.status.as_u16(), answer.fact("body")), (200, Some("5")), "{name}");
            }
            assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
        }
    }
    assert!(counter(&gateway, RETRIES, &["cause=\"connect_failed\""]) > 10);
}

#[tokio::test]
async fn a_hundred_attempts_are_a_hundred_and_one_tries() {
    let endpoint = Endpoint::h1(|_| Act::Answer(503, QUICK)).await;
    let retry = Some(Retry { codes: [503].into(), attempts: 100, backoff: Duration::from_millis(1) });
    let (_gateway, _, address) = to(&[endpoint.address], false, Timeouts::default(), retry).await;
    assert_eq!(send(address, "GET", "").await.status, 503);
    assert_eq!(endpoint.requests(), 101);
}

#[tokio::test]
async fn the_request_timeout_bounds_tries_that_fail_in_time() {
    // HTTPRouteRetryWithRequestTimeout: codes [500], attempts 5, request 500 ms
    let quick = failing_server(QUICK).await;
    let (_gateway, _, address) = to(&[quick], false, timeouts(500, 0), retry(5, &[500])).await;
    for (name, mut client) in clients(address).await {
        let answer = client.get(&format!("http://a.com/500/1/{name}")).await.unwrap();
        assert_eq!(answer.status, 200, "{name}");
    }
    let slow = failing_server(Duration::from_millis(300)).await;
    let (_gateway, _, address) = to(&[slow], false, timeouts(500, 0), retry(5, &[500])).await;
    for (name, mut client) in clients(address).await {
        let begun = Instant::now();
        let answer = client.get(&format!("http://a.com/500/2/{name}")).await.unwrap();
        assert_eq!(answer.summary(), "504 request_timeout", "{name}");
        assert_took(begun, 500, name);
    }
}

#[tokio::test]
async fn the_backend_timeout_bounds_each_try_and_not_their_sum() {
    // HTTPRouteRetryWithBackendTimeout: codes [500], attempts 3, backendRequest 500 ms, request 15 s
    let server = failing_server(Duration::from_millis(300)).await;
    let (_gateway, _, address) = to(&[server], false, timeouts(15_000, 500), retry(3, &[500])).await;
    for (name, mut client) in clients(address).await {
        let answer = client.get(&format!("http://a.com/500/2/{name}")).await.unwrap();
        assert_eq!(answer.status, 200, "{name}");
    }
}

#[tokio::test]
async fn a_pause_that_reaches_the_deadline_ends_in_504_at_the_deadline() {
    let endpoint = Endpoint::h1(|_| Act::Answer(500, QUICK)).await;
    let retry = Some(Retry { codes: [500].into(), attempts: 3, backoff: Duration::from_secs(5) });
    let (gateway, log, address) = to(&[endpoint.address], false, timeouts(400, 0), retry).await;
    for (name, mut client) in clients(address).await {
        let begun = Instant::now();
        assert_eq!(client.get("http://a.com/").await.unwrap().summary(), "504 request_timeout", "{name}");
        assert_took(begun, 400, name);
    }
    assert_eq!(endpoint.requests(), 2);
    assert_eq!(counter(&gateway, SKIPPED, &["cause=\"deadline\""]), 2);
    assert_eq!(counter(&gateway, RETRIES, &[]), 0);
    log.line("the log", |line| line["reason"] == "request_timeout").await;
}

#[tokio::test]
async fn a_client_that_leaves_during_a_pause_ends_it() {
    let endpoint = Endpoint::h1(|_| Act::Answer(500, QUICK)).await;
    let retry = Some(Retry { codes: [500].into(), attempts: 3, backoff: Duration::from_secs(20) });
    let (_gateway, log, address) = to(&[endpoint.address], false, Timeouts::default(), retry).await;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n").await.unwrap();
    // An answer that is given up costs its connection; then comes the pause.
    eventually("the end of the first try", || async { (endpoint.ended() == 1).then_some(()) }).await;
    drop(tcp);
    let line = log.line("the log", |line| line["reason"] == "client_abort").await;
    assert!(line["error"].as_str().unwrap().contains(" 500"), "{line}");
}

#[tokio::test]
async fn a_small_body_is_sent_again_and_a_large_one_is_not() {
    let codes = [503];
    for h2c in [false, true] {
        let act = |number: usize| Act::Answer(if number % 3 == 2 { 200 } else { 503 }, QUICK);
        let endpoint = Endpoint::over(h2c, act).await;
        let (gateway, _, address) = to(&[endpoint.address], h2c, Timeouts::default(), retry(3, &codes)).await;
        for (name, mut client) in clients(address).await {
            let answer = client.send(request("POST", "/", vec![b'x'; 60_000])).await.unwrap();
            assert_eq!(answer.body, "endpoint 200 60000", "{name}");
        }
        assert_eq!(endpoint.requests(), 6);
        let endpoint = Endpoint::over(h2c, |_| Act::Answer(503, QUICK)).await;
        let (large, _, address) = to(&[endpoint.address], h2c, Timeouts::default(), retry(3, &codes)).await;
        for (name, mut client) in clients(address).await {
            let answer = client.send(request("POST", "/", vec![b'x'; 200_000])).await.unwrap();
            assert_eq!(answer.body, "endpoint 503 200000", "{name}");
        }
        assert_eq!(endpoint.requests(), 2);
        assert_eq!(counter(&large, SKIPPED, &["cause=\"body_too_large\""]), 2);
        assert_eq!(counter(&gateway, SKIPPED, &[]), 0);
    }
}

#[tokio::test]
async fn a_reset_after_sending_is_tried_again_for_idempotent_methods_only() {
    for h2c in [false, true] {
        let endpoint =
            Endpoint::over(h2c, |number| if number % 2 == 0 { Act::Reset } else { Act::Answer(200, QUICK) }).await;
        let (gateway, log, address) = to(&[endpoint.address], h2c, Timeouts::default(), retry(3, &[503])).await;
        for method in ["GET", "PUT", "DELETE"] {
            let answer = send(address, method, "hello").await;
            assert_eq!(answer.status, 200, "{method}: {}", answer.body);
        }
        assert_eq!(send(address, "POST", "hello").await.summary(), "502 upstream_reset");
        assert_eq!(endpoint.requests(), 7);
        assert_eq!(counter(&gateway, SKIPPED, &["cause=\"not_idempotent\""]), 1);
        // An endpoint that resets a connection that was kept looks like one that has closed it for being idle.
        let causes = ["cause=\"upstream_reset\"", "cause=\"connection_ended\""];
        assert_eq!(causes.map(|cause| counter(&gateway, RETRIES, &[cause])).iter().sum::<u64>(), 3);
        let line = log.line("the log", |line| line["method"] == "GET").await;
        assert_eq!(line["error"], format!("tried {} upstream_reset", endpoint.address), "{line}");
    }
}

#[tokio::test]
async fn a_try_that_takes_too_long_is_cancelled_and_tried_again_for_idempotent_methods_only() {
    for h2c in [false, true] {
        let endpoint =
            Endpoint::over(h2c, |number| if number % 2 == 0 { Act::Hang } else { Act::Answer(200, QUICK) }).await;
        let (_gateway, _, address) = to(&[endpoint.address], h2c, timeouts(0, 200), retry(3, &[503])).await;
        for (name, mut client) in clients(address).await {
            let begun = Instant::now();
            let answer = client.send(request("PUT", "/", "hello")).await.unwrap();
            assert_eq!(answer.body, "endpoint 200 5", "{name} to h2c: {h2c}");
            assert_took(begun, 200, name);
        }
        endpoint.sees_a_cut().await;
        assert_eq!(send(address, "POST", "hello").await.summary(), "504 backend_timeout");
        assert_eq!(endpoint.requests(), 5);
    }
}

#[tokio::test]
async fn tries_that_all_fail_are_named_in_the_log_and_leave_the_last_status() {
    let reset = Endpoint::h1(|_| Act::Reset).await;
    let (gateway, log, address) = to(&[reset.address], false, Timeouts::default(), retry(2, &[503])).await;
    assert_eq!(send(address, "GET", "").await.summary(), "502 retry_exhausted");
    let line = log.line("the log", |line| line["reason"] == "retry_exhausted").await;
    let tried = format!("tried {0} upstream_reset, {0} upstream_reset, {0} upstream_reset: ", reset.address);
    assert!(line["error"].as_str().unwrap().starts_with(&tried), "{line}");
    assert_eq!(counter(&gateway, "transom_http_requests_total", &["reason=\"retry_exhausted\"", "code=\"502\""]), 1);

    let (_gateway, _, address) =
        to(&[free_address(), free_address()], false, Timeouts::default(), retry(3, &[503])).await;
    assert_eq!(send(address, "POST", "x").await.summary(), "503 retry_exhausted");

    let hanging = Endpoint::h1(|_| Act::Hang).await;
    let (_gateway, _, address) = to(&[hanging.address], false, timeouts(0, 100), retry(1, &[503])).await;
    assert_eq!(send(address, "GET", "").await.summary(), "504 retry_exhausted");
    assert_eq!(hanging.requests(), 2);

    // A gRPC client is told UNAVAILABLE or DEADLINE_EXCEEDED.
    for (act, limits, status) in [(Act::Reset, timeouts(0, 0), "14"), (Act::Hang, timeouts(0, 100), "4")] {
        let endpoint = Endpoint::h2c(move |_| act).await;
        let (_gateway, _, address) = to(&[endpoint.address], true, limits, retry(1, &[503])).await;
        let request = Request::put("http://a.com/").header("content-type", "application/grpc");
        let answer = Client::h2(address).await.send(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.headers["grpc-status"].to_str().unwrap()), (200, status));
    }
}

#[tokio::test]
async fn a_stream_that_was_refused_is_sent_again_with_every_method() {
    // REFUSED_STREAM: nothing was processed, with or without a rule.
    for retry in [None, retry(1, &[])] {
        let endpoint =
            Endpoint::h2c(|number| if number % 2 == 0 { Act::Refuse } else { Act::Answer(200, QUICK) }).await;
        let (_gateway, _, address) = to(&[endpoint.address], true, Timeouts::default(), retry).await;
        for (name, mut client) in clients(address).await {
            let answer = client.send(request("POST", "/", "hello")).await.unwrap();
            assert_eq!(answer.body, "endpoint 200 5", "{name}");
        }
    }
    let endpoint = Endpoint::h2c(|_| Act::Refuse).await;
    let (_gateway, _, address) = to(&[endpoint.address], true, Timeouts::default(), None).await;
    assert_eq!(send(address, "POST", "hello").await.summary(), "502 upstream_reset");
    assert_eq!(endpoint.requests(), 6);
}

#[tokio::test]
async fn each_try_goes_to_an_endpoint_that_was_not_tried() {
    let endpoints = [
        Endpoint::h1(|_| Act::Answer(503, QUICK)).await,
        Endpoint::h1(|_| Act::Answer(503, QUICK)).await,
        Endpoint::h1(|_| Act::Answer(503, QUICK)).await,
    ];
    let addresses = endpoints.each_ref().map(|endpoint| endpoint.address);
    let (_gateway, _, address) = to(&addresses, false, Timeouts::default(), retry(2, &[503])).await;
    for _ in 0..10 {
        assert_eq!(send(address, "GET", "").await.status, 503);
    }
    assert_eq!(endpoints.each_ref().map(Endpoint::requests), [10, 10, 10]);
    // Over and over, but never the same one twice in a row.
    let (_gateway, log, address) = to(&addresses[..2], false, Timeouts::default(), retry(5, &[503])).await;
    assert_eq!(send(address, "GET", "").await.status, 503);
    let line = log.line("the log", |line| line["status"] == 503).await;
    let tried = line["error"].as_str().unwrap().trim_start_matches("tried ").to_owned();
    let tried: Vec<&str> = tried.split(", ").collect();
    assert_eq!(tried.len(), 5, "{tried:?}");
    assert!(tried.windows(2).all(|two| two[0] != two[1]), "{tried:?}");
}

#[tokio::test]
async fn an_upgraded_connection_is_not_sent_again() {
    let endpoint = support::script::upstream(support::script::Script::Upgrade).await;
    let (gateway, _, address) = to(&[endpoint], false, Timeouts::default(), retry(3, &[101, 503])).await;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let head = "GET /ws HTTP/1.1\r\nHost: a.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n";
    tcp.write_all(head.as_bytes()).await.unwrap();
    assert!(support::client::read_answer(&mut tcp).await.starts_with("HTTP/1.1 101 "));
    assert_eq!(counter(&gateway, RETRIES, &[]), 0);
}

/// Sends `total` requests over many connections; how often each outcome came.
async fn load(address: SocketAddr, method: &'static str, total: usize) -> BTreeMap<String, usize> {
    const CLIENTS: usize = 32;
    let mut tasks = JoinSet::new();
    for number in 0..CLIENTS {
        tasks.spawn(async move {
            let mut seen = BTreeMap::new();
            let mut client = None;
            for _ in 0..total.div_ceil(CLIENTS) {
                if client.as_ref().is_none_or(Client::is_closed) {
                    client = Some(if number % 2 == 0 { Client::h1(address).await } else { Client::h2(address).await });
                }
                let outcome = match client.as_mut().unwrap().send(request(method, "/", "hello")).await {
                    Ok(answer) if answer.status == 200 => "200".to_owned(),
                    Ok(answer) => answer.summary(),
                    Err(error) if error.is_canceled() => {
                        client = None; // the connection was closed as the request was about to go out
                        continue;
                    }
                    Err(error) => error.to_string(),
                };
                *seen.entry(outcome).or_insert(0) += 1;
            }
            seen
        });
    }
    let mut all = BTreeMap::new();
    while let Some(seen) = tasks.join_next().await {
        for (outcome, count) in seen.unwrap() {
            *all.entry(outcome).or_insert(0) += count;
        }
    }
    all
}

/// Endpoints that fail in one way each: refuses, resets, hangs. The last does so only now and then, since each time
/// costs that of a try.
async fn bad_endpoints() -> [SocketAddr; 3] {
    let resets = Endpoint::h1(|_| Act::Reset).await;
    let hangs = Endpoint::h1(|number| if number % 50 == 0 { Act::Hang } else { Act::Answer(200, QUICK) }).await;
    [free_address(), resets.address, hangs.address]
}

/// Only the one that hangs needs a limit, which is far from what the good one takes on a busy machine.
const LIMITS: [fn() -> Timeouts; 3] = [Timeouts::default, Timeouts::default, || timeouts(0, 2000)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_retry_no_idempotent_request_fails_whatever_an_endpoint_does() {
    let echo = Endpoint::h1(|_| Act::Answer(200, QUICK)).await;
    let mut total = 0;
    for (bad, limits) in bad_endpoints().await.into_iter().zip(LIMITS) {
        let retry = retry(5, &[502, 503, 504]);
        let (_gateway, _, address) = to(&[bad, echo.address], false, limits(), retry).await;
        let seen = load(address, "GET", 3400).await;
        assert_eq!(seen.keys().collect::<Vec<_>>(), ["200"], "{seen:?}");
        total += seen["200"];
    }
    assert!(total >= 10_000, "{total}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_retry_only_requests_that_were_processed_fail_each_with_its_reason() {
    let echo = Endpoint::h1(|_| Act::Answer(200, QUICK)).await;
    let [refuses, resets, hangs] = bad_endpoints().await;
    let cases = [(refuses, None), (resets, Some("502 upstream_reset")), (hangs, Some("504 backend_timeout"))];
    for ((bad, expected), limits) in cases.into_iter().zip(LIMITS) {
        let (gateway, log, address) = to(&[bad, echo.address], false, limits(), None).await;
        for method in ["GET", "POST"] {
            let seen = load(address, method, 500).await;
            let failed = expected.map_or(0, |expected| seen.get(expected).copied().unwrap_or_default());
            assert_eq!(failed > 0, expected.is_some(), "{method}: {seen:?}");
            assert_eq!(seen.len(), 1 + usize::from(expected.is_some()), "{method}: {seen:?}");
            let Some((code, reason)) = expected.and_then(|expected| expected.split_once(' ')) else { continue };
            let counted = || {
                let of = |line: &&serde_json::Value| line["reason"] == reason && line["method"] == method;
                log.lines().iter().filter(of).count()
            };
            eventually("a line for each", || async { (counted() == failed).then_some(()) }).await;
            let labels = [&format!("reason=\"{reason}\"") as &str, &format!("code=\"{code}\"")];
            assert!(counter(&gateway, "transom_http_requests_total", &labels) >= failed as u64);
        }
    }
}
