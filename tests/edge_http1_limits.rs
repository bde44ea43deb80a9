//! Sizes and counts, exactly at their bound and one above: of a first request, of one behind another, of a pipelined one,
//! and in pieces.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use support::client::{Client, Wire};
use support::config::{Config, listener};
use support::edge::Edge;
use support::script::End;
use support::upstream::Echo;
use support::{Gateway, free_address};
use transom::proxy::Settings;

const FIRST: &str = "GET /first HTTP/1.1\r\nHost: a.com\r\n\r\n";

/// A request whose header block has so many bytes.
fn block(bytes: usize) -> String {
    let (before, after) = ("GET /x HTTP/1.1\r\nHost: a.com\r\nX: ", "\r\n\r\n");
    format!("{before}{}{after}", "x".repeat(bytes - before.len() - after.len()))
}

/// One whose request line has so many.
fn line(bytes: usize) -> String {
    format!("GET /{} HTTP/1.1\r\nHost: a.com\r\n\r\n", "x".repeat(bytes - "GET / HTTP/1.1".len()))
}

/// One with so many fields.
fn fields(count: usize) -> String {
    format!("GET /x HTTP/1.1\r\nHost: a.com\r\n{}\r\n", "X: 1\r\n".repeat(count - 1))
}

#[tokio::test]
async fn a_limit_is_met_to_the_byte_wherever_the_request_stands() {
    let edge = Edge::start().await;
    type Made = fn(usize) -> String;
    let cases: [(Made, usize, u16, &str); 3] = [
        (block, 64 * 1024, 431, "header_too_large"),
        (line, 16 * 1024, 414, "header_too_large"),
        (fields, 128, 431, "header_too_large"),
    ];
    for (made, bound, status, word) in cases {
        for (bytes, within) in [(bound, true), (bound + 1, false)] {
            for (before, pieces) in [("", usize::MAX), (FIRST, usize::MAX), ("", 1000), (FIRST, 1000)] {
                let what = format!("{status} {bytes} behind {before:?} in {pieces}");
                let (answers, served) = edge.say_and_more(format!("{before}{}", made(bytes)), pieces).await;
                let first = if before.is_empty() { vec![] } else { vec![200] };
                let expected = [first.clone(), vec![if within { 200 } else { status }]].concat();
                assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), expected, "{what}");
                assert_eq!(served, within, "{what}");
                let last = answers.last().unwrap();
                assert!(within || last.body == format!("{status} {word}\n"), "{what}: {last:?}");
                let reached = edge.upstream.take().len();
                assert_eq!(reached, first.len() + usize::from(within) * 2, "{what}");
            }
            // Behind a first request that is through, on a connection that was kept.
            let mut client = Wire::connect(edge.address).await;
            assert_eq!(client.ask("GET", "/first").await.unwrap().status(), 200);
            let _ = tokio::io::AsyncWriteExt::write_all(&mut client.tcp, made(bytes).as_bytes()).await;
            assert_eq!(client.answer("GET").await.unwrap().status(), if within { 200 } else { status });
            if !within {
                assert_eq!(client.end().await, End::Closed);
            }
            edge.upstream.take();
        }
    }
}

#[tokio::test]
async fn limits_are_settings() {
    let settings = Settings { header_limit: 4096, request_line_limit: 1024, header_fields: 10, ..Settings::default() };
    let edge = Edge::with(settings).await;
    for (within, beyond, status) in
        [(block(4096), block(4097), 431), (line(1024), line(1025), 414), (fields(10), fields(11), 431)]
    {
        assert!(edge.say_and_more(within, usize::MAX).await.1);
        edge.upstream.take();
        edge.refuses(status, "header_too_large", &[beyond]).await;
    }
}

/// More than Pingora reads: no limit of ours, but a limit.
#[tokio::test]
async fn fields_beyond_any_limit_are_refused() {
    let edge = Edge::start().await;
    edge.refuses(400, "request_invalid", &[fields(257), fields(3000)]).await;
}

fn upload(path: &str, length: usize, chunked: bool) -> Vec<u8> {
    let body = "x".repeat(length);
    let text = if chunked {
        let chunks: String =
            body.as_bytes().chunks(1000).map(|c| format!("{:x}\r\n{}\r\n", c.len(), &body[..c.len()])).collect();
        format!("POST {path} HTTP/1.1\r\nHost: a.com\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
    } else {
        format!("POST {path} HTTP/1.1\r\nHost: a.com\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    text.into_bytes()
}

#[tokio::test]
async fn a_body_beyond_its_limit_is_refused_and_never_reaches_the_upstream_whole() {
    let limit = 100_000;
    let edge = Edge::with(Settings { body_limit: Some(limit as u64), ..Settings::default() }).await;
    for chunked in [false, true] {
        for piece in [usize::MAX, 5000] {
            let (answers, served) = edge.say_and_more(upload("/x", limit, chunked), piece).await;
            assert!(answers[0].status == 200 && served, "{answers:?}");
            assert_eq!(edge.upstream.take().len(), 2);
            for beyond in [limit + 1, 3 * limit] {
                let (answers, served) = edge.say_and_more(upload("/x", beyond, chunked), piece).await;
                assert_eq!(
                    (answers.len(), answers[0].status, answers[0].body.as_str()),
                    (1, 413, "413 body_too_large\n")
                );
                assert_eq!(answers[0].header("connection"), Some("close"));
                assert!(!served);
                if !chunked {
                    assert!(edge.upstream.bytes().is_empty(), "it was refused by its length");
                }
                assert_eq!(edge.upstream.take(), [""; 0]);
            }
        }
    }
    edge.counts(413, "body_too_large").await;
    // Who asks whether to send it is told before.
    let expecting = "POST /x HTTP/1.1\r\nHost: a.com\r\nContent-Length: 100001\r\nExpect: 100-continue\r\n\r\n";
    let answers = edge.say(expecting).await;
    assert_eq!((answers.len(), answers[0].status), (1, 413));

    let mut client = Client::h2(edge.address).await;
    for (length, status) in [(limit, 200), (limit + 1, 413), (10, 200)] {
        let request = hyper::Request::post("http://a.com/x").body(vec![b'x'; length].into()).unwrap();
        assert_eq!(client.send(request).await.unwrap().status, status, "{length}");
    }
    let lengths: Vec<_> = edge.upstream.whole().iter().map(|request| request.body.len()).collect();
    assert_eq!(lengths, [limit, 10]);
}

/// Pitfall 64: "a hidden 10 MB body cap".
#[tokio::test]
async fn there_is_no_limit_to_a_body_unless_one_is_set() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let rule = config.to("a", echo.address);
    let address = free_address();
    gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;
    let request = hyper::Request::post("http://a.com/x").body(vec![b'x'; 11_000_000].into()).unwrap();
    let answer = Client::h1(address).await.send(request).await.unwrap();
    assert_eq!(answer.fact("body"), Some("11000000"));
}
