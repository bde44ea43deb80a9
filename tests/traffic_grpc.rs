//! HTTP/2 to the upstream (appProtocol `kubernetes.io/h2c`), and gRPC, which cannot do without its trailers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use bytes::Bytes;
use h2::Reason;
use http::{Method, Request};
use http_body_util::Full;
use support::client::{Client, Wire};
use support::config::{Config, listener};
use support::h2c::{H2c, Outcome, ask, call, connect, reply, send};
use support::script::{Actor, say};
use support::stage::{FRESH, again};
use support::upstream::{Echo, pattern};
use support::{Gateway, eventually, free_address};
use transom::proxy::Settings;
use transom::snapshot::UpstreamProtocol;

/// A gateway of one worker that speaks HTTP/2 to its upstream.
async fn gateway(endpoint: SocketAddr) -> (Gateway, SocketAddr) {
    gateway_over(UpstreamProtocol::H2c, endpoint).await
}

async fn gateway_over(protocol: UpstreamProtocol, endpoint: SocketAddr) -> (Gateway, SocketAddr) {
    let mut gateway = Gateway::with(Settings { workers: NonZeroUsize::new(1), ..Settings::default() });
    let mut config = Config::default();
    let upstream = config.upstream_over("a", protocol, &[endpoint]);
    let rule = config.forward("a", upstream);
    let address = free_address();
    gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;
    (gateway, address)
}

async fn counted(gateway: &Gateway, reason: &str) {
    let label = format!("reason=\"{reason}\"");
    eventually(&label, || async { gateway.telemetry.metrics_text().contains(&label).then_some(()) }).await;
}

#[tokio::test]
async fn an_h2c_upstream_is_spoken_to_by_prior_knowledge_whatever_the_client_speaks() {
    let echo = Echo::start("a").await;
    let (_gateway, address) = gateway(echo.address).await;
    for mut client in [Client::h1(address).await, Client::h2(address).await] {
        for path in ["/x?y=1", "/z"] {
            let request = Request::put(format!("http://a.com{path}")).header("connection", "x-hop");
            let request = request.header("x-hop", "1").body(Bytes::from_static(b"hello").into()).unwrap();
            // HTTP/2 has no Connection header: hyper's client takes none.
            let request = if matches!(client, Client::H2(_)) {
                Request::put(format!("http://a.com{path}")).body(Bytes::from_static(b"hello").into()).unwrap()
            } else {
                request
            };
            let answer = client.send(request).await.unwrap();
            assert_eq!(answer.summary(), "200 a");
            for (fact, value) in
                [("version", "HTTP/2.0"), ("method", "PUT"), ("target", path), ("authority", "a.com"), ("body", "5")]
            {
                assert_eq!(answer.fact(fact), Some(value), "{fact}: {}", answer.body);
            }
            for name in ["host", "connection", "x-hop", "transfer-encoding", "upgrade", "te"] {
                assert_eq!(answer.fact(name), None, "{name}: {}", answer.body);
            }
        }
    }
    assert_eq!(echo.connections(), 1, "one connection carries all");
}

#[tokio::test]
async fn an_upstream_that_does_not_speak_h2c_is_a_502() {
    for bytes in [FRESH, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"] {
        let actor = Actor::always([vec![support::script::Step::Head, say(bytes)], again(FRESH)].concat()).await;
        let (gateway, address) = gateway(actor.address).await;
        for mut client in [Client::h1(address).await, Client::h2(address).await] {
            let answer = client.get("http://a.com/").await.unwrap();
            assert_eq!(answer.status, 502, "{}", answer.body);
        }
        counted(&gateway, "upstream_reset").await;
    }
}

#[tokio::test]
async fn a_plain_upstream_is_never_spoken_to_in_http2() {
    let echo = Echo::start("a").await;
    let (_gateway, address) = gateway_over(UpstreamProtocol::Http1, echo.address).await;
    let mut client = Client::h2(address).await;
    let request = Request::get("http://a.com/").header("te", "trailers").body(Full::default()).unwrap();
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.fact("version"), Some("HTTP/1.1"));
    assert_eq!(answer.fact("host"), Some("a.com"));
    assert_eq!(answer.fact("te"), None, "no trailers could be passed on: {}", answer.body);
}

#[tokio::test]
async fn a_unary_call_passes_with_its_trailers() {
    let upstream = H2c::start().await;
    let (_gateway, address) = gateway(upstream.address).await;
    let mut client = connect(address).await;
    for body in [&b""[..], b"\0\0\0\0\x05hello"] {
        let reply = ask(&mut client, "/unary", body.to_vec()).await.unwrap();
        assert_eq!(reply.head.status, 200);
        assert_eq!(reply.head.headers["content-type"], "application/grpc");
        assert_eq!(reply.head.headers.get("grpc-status"), None);
        assert_eq!(reply.body, body);
        assert_eq!(reply.trailer("grpc-status"), Some("0"));
        assert_eq!(reply.trailer("grpc-message"), Some("fine"));
    }
    let seen = upstream.seen();
    assert_eq!(seen[0].head.headers["te"], "trailers");
    assert_eq!(seen[0].head.headers["content-type"], "application/grpc");
    assert_eq!(seen[0].head.uri.authority().unwrap(), "a.com");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn an_answer_of_trailers_only_stays_one() {
    let upstream = H2c::start().await;
    let (_gateway, address) = gateway(upstream.address).await;
    let mut client = connect(address).await;
    let reply = ask(&mut client, "/trailers-only", "").await.unwrap();
    assert_eq!(reply.head.headers["grpc-status"], "5");
    assert_eq!(reply.head.headers["grpc-message"], "none");
    assert!(reply.header_ended && reply.body.is_empty() && reply.trailers.is_none(), "{reply:?}");
    assert_eq!(reply.head.headers.get("content-length"), None);
}

#[tokio::test]
async fn a_stream_passes_piece_by_piece_both_ways() {
    let upstream = H2c::start().await;
    let (_gateway, address) = gateway(upstream.address).await;
    let mut client = connect(address).await;
    let (response, mut stream) = client.send_request(call("/stream"), false).unwrap();
    // The answer begins before the request has a body.
    let mut answer = response.await.unwrap().into_body();
    for number in 0..20 {
        let piece = Bytes::from(format!("piece {number}"));
        send(&mut stream, piece.clone()).await;
        let mut back = Vec::new();
        while back.len() < piece.len() {
            let some = answer.data().await.unwrap().unwrap();
            answer.flow_control().release_capacity(some.len()).unwrap();
            back.extend(some);
        }
        assert_eq!(back, piece);
    }
    stream.send_data(Bytes::new(), true).unwrap();
    assert!(answer.data().await.is_none());
    assert_eq!(answer.trailers().await.unwrap().unwrap()["grpc-status"], "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_and_many_streams_pass_at_once() {
    let upstream = H2c::start().await;
    let (_gateway, address) = gateway(upstream.address).await;
    let client = connect(address).await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..100usize {
        let mut client = client.clone();
        calls.spawn(async move {
            // Some of 4 MiB among many small ones, which must not wait for them for ever.
            let body = if number % 25 == 0 { pattern(4 << 20) } else { pattern(1000 + number) };
            let path = if number % 2 == 0 { "/unary" } else { "/stream" };
            let reply = ask(&mut client, path, body.clone()).await.unwrap();
            assert!(reply.body == body, "{number}: {} of {} bytes", reply.body.len(), body.len());
            assert_eq!(reply.trailer("grpc-status"), Some("0"), "{number}");
        });
    }
    while let Some(outcome) = calls.join_next().await {
        outcome.unwrap();
    }
    assert_eq!(upstream.seen().len(), 100);
}

/// gRPC cannot do without trailers and HTTP/1 has none here: the call is refused before the upstream acts on it,
/// not answered without a status after.
#[tokio::test]
async fn grpc_over_http1_is_refused_before_it_is_forwarded() {
    let upstream = H2c::start().await;
    let (gateway, address) = gateway(upstream.address).await;
    let mut client = Wire::connect(address).await;
    for kind in ["application/grpc", "application/grpc+proto"] {
        let head = format!("POST /unary HTTP/1.1\r\nHost: a.com\r\nContent-Type: {kind}\r\nContent-Length: 5\r\n\r\n");
        client.send(format!("{head}\0\0\0\0\0")).await;
        assert_eq!(client.answer("POST").await.unwrap().summary(), "505 505 request_invalid");
    }
    assert!(upstream.seen().is_empty());
    counted(&gateway, "request_invalid").await;
    // gRPC-web carries its trailers in the body.
    let head = "POST /unary HTTP/1.1\r\nHost: a.com\r\nContent-Type: application/grpc-web\r\nContent-Length: 5\r\n\r\n";
    client.send(format!("{head}\0\0\0\0\0")).await;
    let answer = client.answer("POST").await.unwrap();
    assert_eq!((answer.status(), answer.body.as_str()), (200, "\0\0\0\0\0"));
}

#[tokio::test]
async fn a_stream_that_the_upstream_resets_is_reset_and_no_other() {
    let upstream = H2c::start().await;
    let (gateway, address) = gateway(upstream.address).await;
    let mut client = connect(address).await;
    let (other, mut other_stream) = client.send_request(call("/stream"), false).unwrap();
    let mut other = other.await.unwrap().into_body();

    let broken = ask(&mut client, "/reset", "").await;
    assert!(broken.is_err(), "{broken:?}");
    counted(&gateway, "upstream_reset").await;
    // Before an answer began there is still one to give, in the client's terms.
    let refused = ask(&mut client, "/reset-at-once", "").await.unwrap();
    assert_eq!(refused.head.status, 200);
    assert_eq!(refused.head.headers["grpc-status"], "14");
    let mut h1 = Wire::connect(address).await;
    assert_eq!(h1.ask("GET", "/reset-at-once").await.unwrap().summary(), "502 502 upstream_reset");
    let mut h1 = Wire::connect(address).await;
    assert!(h1.ask("GET", "/reset").await.is_err());

    send(&mut other_stream, "alive".into()).await;
    assert_eq!(other.data().await.unwrap().unwrap(), "alive");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_stream_that_was_refused_unprocessed_is_sent_again_whatever_its_method() {
    let upstream = H2c::start().await;
    let (_gateway, address) = gateway(upstream.address).await;
    let reply = ask(&mut connect(address).await, "/refuse-once", "once").await.unwrap();
    assert_eq!(reply.head.status, 200, "{reply:?}");
    assert_eq!((reply.body.as_slice(), reply.trailer("grpc-status")), (&b"once"[..], Some("0")));
    let seen = upstream.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[1].head.method, Method::POST);
}

#[tokio::test]
async fn a_stream_that_may_have_been_processed_is_not_sent_again() {
    let upstream = H2c::start().await;
    let (gateway, address) = gateway(upstream.address).await;
    let mut client = connect(address).await;
    let reply = ask(&mut client, "/goaway", "once").await.unwrap();
    assert_eq!(reply.head.headers["grpc-status"], "14", "{reply:?}");
    assert_eq!(upstream.seen().len(), 1);
    counted(&gateway, "upstream_reset").await;
    // That connection is done with; the next call has one of its own.
    assert_eq!(ask(&mut client, "/unary", "next").await.unwrap().body, b"next");
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn an_answer_that_ends_before_the_request_is_passed_on_whole() {
    let upstream = H2c::start().await;
    let (_gateway, address) = gateway(upstream.address).await;
    let mut client = connect(address).await;
    let (response, mut stream) = client.send_request(call("/early"), false).unwrap();
    send(&mut stream, "begin".into()).await;
    let reply = reply(response).await.unwrap();
    assert_eq!((reply.body.as_slice(), reply.trailer("grpc-status")), (&b"early"[..], Some("0")));
    drop(stream);
    assert_eq!(ask(&mut client, "/unary", "next").await.unwrap().body, b"next");
}

#[tokio::test]
async fn a_call_that_the_client_gives_up_is_reset_at_the_upstream_and_never_looks_whole() {
    let upstream = H2c::start().await;
    let (gateway, address) = gateway(upstream.address).await;
    let mut client = connect(address).await;
    // In the middle of the request.
    let (response, mut stream) = client.send_request(call("/unary"), false).unwrap();
    send(&mut stream, "half".into()).await;
    eventually("half of it", || async { upstream.seen().first().filter(|seen| seen.body == 4).map(drop) }).await;
    stream.send_reset(Reason::CANCEL);
    assert_eq!(upstream.wait_outcome(0).await, Outcome::Broken(Some(Reason::CANCEL)));
    assert!(response.await.is_err());
    counted(&gateway, "client_abort").await;
    // While it waits for the answer to what it sent whole; over HTTP/1.1 with its connection.
    let (response, _) = client.send_request(call("/forever"), true).unwrap();
    eventually("the call", || async { upstream.seen().get(1).map(drop) }).await;
    drop(response);
    assert_eq!(upstream.wait_outcome(1).await, Outcome::Broken(Some(Reason::CANCEL)));
    let mut wire = Wire::connect(address).await;
    wire.send("POST /forever HTTP/1.1\r\nHost: a.com\r\nContent-Length: 5\r\n\r\nwhole").await;
    eventually("the request", || async { upstream.seen().get(2).filter(|seen| seen.body == 5).map(drop) }).await;
    drop(wire);
    assert_eq!(upstream.wait_outcome(2).await, Outcome::Broken(Some(Reason::CANCEL)));
    // And the upstream's connection serves on.
    assert_eq!(ask(&mut client, "/unary", "next").await.unwrap().body, b"next");
    assert_eq!(upstream.connections(), 1);

    // A broken upload over HTTP/1.1 is a broken stream over HTTP/2.
    let mut wire = Wire::connect(address).await;
    wire.send("POST /unary HTTP/1.1\r\nHost: a.com\r\nContent-Length: 100\r\n\r\nhalf").await;
    let number = upstream.seen().len();
    eventually("half of it", || async { upstream.seen().get(number).filter(|seen| seen.body == 4).map(drop) }).await;
    drop(wire);
    assert!(matches!(upstream.wait_outcome(number).await, Outcome::Broken(_)));
}

/// RFC 9113, 8.1.1: a request whose body is not as long as it says is malformed.
#[tokio::test]
async fn a_length_that_does_not_hold_never_reaches_the_upstream_as_whole() {
    for (length, body) in [("10", &b"half"[..]), ("2", b"too long")] {
        let h2c = H2c::start().await;
        let (_gateway, address) = gateway(h2c.address).await;
        let mut client = connect(address).await;
        let mut request = call("/unary");
        request.headers_mut().insert("content-length", length.parse().unwrap());
        let (response, mut stream) = client.send_request(request, false).unwrap();
        let _ = stream.send_data(Bytes::copy_from_slice(body), true);
        let answer = reply(response).await;
        assert!(answer.as_ref().map_or(true, |reply| reply.head.status == 400), "{length}: {answer:?}");
        for (number, _) in h2c.seen().iter().enumerate() {
            assert!(matches!(h2c.wait_outcome(number).await, Outcome::Broken(_)), "{length}");
        }

        let actor = Actor::always(vec![support::script::Step::Head, support::script::Step::Wait]).await;
        let (_gateway, address) = gateway_over(UpstreamProtocol::Http1, actor.address).await;
        let mut client = connect(address).await;
        let mut request = call("/unary");
        request.headers_mut().insert("content-length", length.parse().unwrap());
        let (response, mut stream) = client.send_request(request, false).unwrap();
        let _ = stream.send_data(Bytes::copy_from_slice(body), true);
        let _ = reply(response).await;
        if actor.connections() > 0 {
            actor.wait_end(0).await;
            let heard = actor.heard(0);
            let sent = heard.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            assert!(sent.len() < length.parse().unwrap() || length == "2" && sent.is_empty(), "{length}: {heard}");
        }
    }
}
