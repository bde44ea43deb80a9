//! Time: what a client may take for a header, for a body, for taking its answer, between two requests, and after it has
//! closed its side.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use support::client::{Wire, read_all, read_answer};
use support::config::{Config, ListenerSpec, listener};
use support::edge::{BEHIND, Edge};
use support::script::{Actor, End, Step, say};
use support::stage::{FRESH, Stage, again};
use support::tls;
use support::upstream::Echo;
use support::{Gateway, free_address};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use transom::proxy::Settings;
use transom::snapshot::tls::ListenerTls;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a.com\r\n\r\n";
const SHORT: Duration = Duration::from_millis(300);
/// Far beyond what a machine under load adds to a short time.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_header_that_stalls_is_given_up_wherever_it_stands() {
    let edge = Edge::with(Settings { header_timeout: SHORT, ..Settings::default() }).await;
    let half = "GET /half HTTP/1.1\r\nHost: a.c";
    let begun = Instant::now();
    let answers = edge.say(half).await;
    assert_eq!((answers.len(), answers[0].status, answers[0].body.as_str()), (1, 408, "408 request_invalid\n"));
    assert_eq!(answers[0].header("connection"), Some("close"));
    // On a connection that was used before.
    let mut client = Wire::connect(edge.address).await;
    assert_eq!(client.ask("GET", "/x").await.unwrap().status(), 200);
    client.send("G").await;
    assert_eq!(client.answer("GET").await.unwrap().summary(), "408 408 request_invalid");
    assert_eq!(client.end().await, End::Closed);
    assert!(begun.elapsed() < SOON);
    assert_eq!(edge.upstream.take(), ["GET /x"]);
    edge.counts(408, "request_invalid").await;
}

#[tokio::test]
async fn a_header_that_stalls_behind_a_request_that_is_being_answered_is_given_up() {
    let echo = Echo::held("a", 0).await;
    let mut gateway = Gateway::with(Settings { header_timeout: SHORT, ..Settings::default() });
    let mut config = Config::default();
    let rule = config.to("a", echo.address);
    let address = free_address();
    gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(GET.as_bytes()).await.unwrap();
    support::eventually("the request", || async { (echo.requests() == 1).then_some(()) }).await;
    tcp.write_all(b"GET /half HTTP/1.1\r\nHost: a.c").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await; // for the first bytes of it to be read before the answer
    echo.release();
    assert!(read_answer(&mut tcp).await.starts_with("HTTP/1.1 200 "));
    let begun = Instant::now();
    assert!(read_all(&mut tcp).await.starts_with("HTTP/1.1 408 "));
    assert!(begun.elapsed() < SOON);
    assert_eq!(echo.requests(), 1);
}

/// Nobody knows that it has begun before its next byte: until then the connection is idle.
#[tokio::test]
async fn one_that_came_half_together_with_the_request_before_it_is_given_up() {
    let settings = Settings { header_timeout: SHORT, keepalive_timeout: Duration::from_secs(1), ..Settings::default() };
    let edge = Edge::with(settings).await;
    for (more, expected) in [("", None), ("m", Some(408))] {
        let mut client = Wire::connect(edge.address).await;
        client.send(format!("{GET}GET /half HTTP/1.1\r\nHost: a.c")).await;
        assert_eq!(client.answer("GET").await.unwrap().status(), 200);
        let begun = Instant::now();
        client.send(more).await;
        assert_eq!(client.answer("GET").await.ok().map(|answer| answer.status()), expected);
        assert_eq!(client.end().await, End::Closed);
        assert!(begun.elapsed() < SOON);
        assert_eq!(edge.upstream.take(), ["GET /x"]);
    }
}

/// Time between two requests is not time for a header.
#[tokio::test]
async fn a_connection_may_be_idle_for_longer_than_a_header_may_take() {
    let settings = Settings { header_timeout: SHORT, keepalive_timeout: Duration::from_secs(2), ..Settings::default() };
    let edge = Edge::with(settings).await;
    let mut client = Wire::connect(edge.address).await;
    for pause in [0, 2, 2] {
        tokio::time::sleep(SHORT * pause).await;
        assert_eq!(client.ask("GET", "/x").await.unwrap().status(), 200);
    }
    let begun = Instant::now();
    assert_eq!(client.end().await, End::Closed, "and no word of it");
    assert!(begun.elapsed() > Duration::from_secs(1) && begun.elapsed() < 2 * SOON, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up() {
    let edge = Edge::with(Settings { body_timeout: SHORT, ..Settings::default() }).await;
    let cases = [
        "Content-Length: 10\r\n\r\nhello",
        "Content-Length: 10\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n",
        "Transfer-Encoding: chunked\r\n\r\n",
    ];
    for case in cases {
        let begun = Instant::now();
        let answers = edge.say(format!("POST /x HTTP/1.1\r\nHost: a.com\r\n{case}")).await;
        assert_eq!((answers.len(), answers[0].status, answers[0].body.as_str()), (1, 408, "408 request_invalid\n"));
        assert_eq!(answers[0].header("connection"), Some("close"));
        assert!(begun.elapsed() < SOON);
        assert_eq!(edge.upstream.take(), [""; 0], "{case:?}");
    }
    // Nor is what nobody needs waited for as long as it comes.
    let begun = Instant::now();
    let answers = edge.say("POST /none HTTP/1.1\r\nHost: a.com\r\nContent-Length: 10\r\n\r\nhello").await;
    assert_eq!((answers.len(), answers[0].status), (1, 500));
    assert!(begun.elapsed() < SOON);
}

#[tokio::test]
async fn a_body_that_comes_slowly_is_not() {
    let time = Duration::from_secs(2);
    let edge = Edge::with(Settings { body_timeout: time, ..Settings::default() }).await;
    let mut client = Wire::connect(edge.address).await;
    client.send("POST /x HTTP/1.1\r\nHost: a.com\r\nContent-Length: 10\r\n\r\n").await;
    for _ in 0..10 {
        tokio::time::sleep(time / 8).await;
        client.send("x").await;
    }
    assert_eq!(client.answer("POST").await.unwrap().status(), 200);
}

/// Sends more than all buffers on the way hold, for as long as something is taken.
fn endless(head: &str) -> Vec<Step> {
    let mut steps = vec![Step::Head, say(head)];
    steps.extend(std::iter::repeat_n(say(vec![b'x'; 1 << 20]), 90));
    steps
}

async fn sending_ends(stage: &Stage, what: &str) {
    let begun = Instant::now();
    stage.actor.wait_end(0).await;
    assert!(begun.elapsed() < 2 * SOON, "{what}: {:?}", begun.elapsed());
    stage.counted_any("client_abort").await;
}

#[tokio::test]
async fn a_client_that_stops_taking_its_answer_is_dropped_and_frees_the_upstream() {
    let settings = Settings { send_timeout: SHORT, workers: NonZeroUsize::new(1), ..Settings::default() };
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n", // up to its end
    ] {
        let actor = Actor::play(vec![endless(head), again(FRESH)]).await;
        let stage = Stage::with_settings(actor, settings.clone()).await;
        let mut tcp = TcpStream::connect(stage.address).await.unwrap();
        tcp.write_all(GET.as_bytes()).await.unwrap();
        sending_ends(&stage, head).await;
        // What had been sent before is cut, not ended.
        let mut seen = Vec::new();
        let end = tokio::time::timeout(SOON, tcp.read_to_end(&mut seen)).await.unwrap();
        assert!(end.is_err(), "{} bytes", seen.len());
        let mut client = Wire::connect(stage.address).await;
        assert_eq!(client.ask("GET", "/2").await.unwrap().summary(), "200 fresh");
    }
}

#[tokio::test]
async fn so_is_one_over_tls_and_one_of_a_websocket() {
    let settings = Settings { send_timeout: SHORT, workers: NonZeroUsize::new(1), ..Settings::default() };
    let actor = Actor::always(endless("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")).await;
    let mut gateway = Gateway::with(settings.clone());
    let mut config = Config::default();
    let rule = config.to("a", actor.address);
    let address = free_address();
    let certificates = ListenerTls { certificates: vec![tls::certificate(&["a.com"])] };
    let spec = ListenerSpec { name: "l", hostname: None, tls: Some(certificates), routes: vec![(None, "/", rule)] };
    gateway.serve(config.https(address, vec![spec]).build()).await;
    let stage = Stage { gateway, address, actor };
    let mut client = tls::connect(address, "a.com", &tls::client(&[])).await.unwrap();
    client.write_all(GET.as_bytes()).await.unwrap();
    sending_ends(&stage, "tls").await;

    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let stage = Stage::with_settings(Actor::always(endless(head)).await, settings).await;
    let mut tcp = TcpStream::connect(stage.address).await.unwrap();
    let ask = "GET /x HTTP/1.1\r\nHost: a.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
               Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n";
    tcp.write_all(ask.as_bytes()).await.unwrap();
    sending_ends(&stage, "websocket").await;
}

/// Reads slowly, but all of it.
async fn sip(reader: &mut (impl AsyncRead + Unpin), total: usize) {
    let mut sip = vec![0; 128 * 1024];
    let mut seen = 0;
    while seen < total {
        let count = reader.read(&mut sip).await.unwrap();
        assert_ne!(count, 0, "cut after {seen}");
        seen += count;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

#[tokio::test]
async fn a_client_that_takes_its_answer_slowly_gets_all_of_it() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::with(Settings { send_timeout: Duration::from_secs(3), ..Settings::default() });
    let mut config = Config::default();
    let rule = config.to("a", echo.address);
    let address = free_address();
    gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let begun = Instant::now();
    tcp.write_all(b"GET /bytes/20000000 HTTP/1.1\r\nHost: a.com\r\n\r\n").await.unwrap();
    sip(&mut tcp, 20_000_000).await;
    assert!(begun.elapsed() > Duration::from_secs(3), "longer than it may take nothing");
}

/// `nc -N` and some health checkers do.
#[tokio::test]
async fn a_client_that_closes_its_side_behind_its_request_gets_its_answer() {
    let post = "POST /x HTTP/1.1\r\nHost: a.com\r\nContent-Length: 5\r\n\r\nhello";
    let chunked = "POST /x HTTP/1.1\r\nHost: a.com\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let settings = Settings { half_close_timeout: 2 * SOON, workers: NonZeroUsize::new(1), ..Settings::default() };
    for request in [GET.to_owned(), post.to_owned(), chunked.to_owned(), format!("{GET}{BEHIND}")] {
        for waits in [false, true] {
            let steps =
                if waits { vec![Step::Head, Step::Wait, say(FRESH), Step::Head, say(FRESH)] } else { again(FRESH) };
            let stage = Stage::with_settings(Actor::always(steps).await, settings.clone()).await;
            let mut tcp = TcpStream::connect(stage.address).await.unwrap();
            tcp.write_all(request.as_bytes()).await.unwrap();
            tcp.shutdown().await.unwrap();
            stage.actor.wait_heard(0, "\r\n\r\n").await;
            if waits {
                tokio::time::sleep(Duration::from_millis(50)).await; // for its end to be seen
                stage.actor.release();
            }
            let text = read_all(&mut tcp).await;
            let count = request.matches("HTTP/1.1").count();
            assert_eq!(text.matches("HTTP/1.1 200 ").count(), count, "{request:?}: {text}");
            assert_eq!(text.matches("fresh").count(), count, "{request:?}: {text}");
        }
    }
}

#[tokio::test]
async fn one_that_is_not_answered_in_that_time_frees_the_upstream() {
    for half_close_timeout in [Duration::ZERO, SHORT] {
        let settings = Settings { half_close_timeout, workers: NonZeroUsize::new(1), ..Settings::default() };
        let actor = Actor::play(vec![vec![Step::Head], again(FRESH)]).await;
        let stage = Stage::with_settings(actor, settings).await;
        let mut tcp = TcpStream::connect(stage.address).await.unwrap();
        tcp.write_all(GET.as_bytes()).await.unwrap();
        stage.actor.wait_heard(0, "\r\n\r\n").await;
        let begun = Instant::now();
        tcp.shutdown().await.unwrap();
        stage.actor.wait_end(0).await;
        assert!(begun.elapsed() >= half_close_timeout && begun.elapsed() < SOON, "{:?}", begun.elapsed());
        assert_eq!(read_all(&mut tcp).await, "");
        stage.counted_any("client_abort").await;
    }
}

/// Nobody waits for the rest of a request that has an end.
#[tokio::test]
async fn a_client_that_closes_its_side_within_its_request_is_gone() {
    let settings = Settings { half_close_timeout: 10 * SOON, workers: NonZeroUsize::new(1), ..Settings::default() };
    for half in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        let stage = Stage::with_settings(Actor::always(vec![Step::Head]).await, settings.clone()).await;
        let mut tcp = TcpStream::connect(stage.address).await.unwrap();
        tcp.write_all(format!("POST /x HTTP/1.1\r\nHost: a.com\r\n{half}").as_bytes()).await.unwrap();
        stage.actor.wait_heard(0, "hello").await;
        let begun = Instant::now();
        tcp.shutdown().await.unwrap();
        stage.actor.wait_end(0).await;
        assert!(begun.elapsed() < 2 * SOON);
        stage.counted_any("client_abort").await;
    }
}
