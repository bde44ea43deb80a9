//! How answers are framed: what a whole one is, what is broken and must not look whole, and that neither spoils the
//! next request, on the client's connection or on the one to the upstream. Upstreams answer byte by byte.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use http_body_util::Full;
use support::client::{Client, Wire};
use support::script::{Step, say};
use support::stage::Stage;

#[tokio::test]
async fn a_whole_answer_passes_and_its_connection_is_used_again() {
    let cases = [
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "200 hello"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200 "),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", "200 hello"),
        // RFC 9112, 5.1 and 5.2: spaces before a colon and folded lines are mended, not refused, in answers.
        ("GET", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length : 5\r\n\r\nhello", "200 hello"),
        ("GET", "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", "200 hello"),
        ("GET", "HTTP/1.1 299 Odd\r\nContent-Length: 5\r\n\r\nhello", "299 hello"),
        ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "200 hello"),
        (
            "GET",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nhe\r\n03\r\nllo\r\n000\r\n\r\n",
            "200 hello",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n",
            "200 hello",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
            "200 hello",
        ),
        ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "200 "),
        ("GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", "200 hello"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", "204 "),
        ("GET", "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", "205 "),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 999\r\n\r\n", "304 "),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", "304 "),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", "200 "),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "200 "),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n", "200 "),
        ("HEAD", "HTTP/1.1 404 Not Found\r\nContent-Length: 999\r\n\r\n", "404 "),
    ];
    for (method, bytes, expected) in cases {
        let stage = Stage::answers(bytes).await;
        let mut client = Wire::connect(stage.address).await;
        let answer = client.ask(method, "/1").await.unwrap_or_else(|broken| panic!("{bytes:?}: {broken:?}"));
        assert_eq!(answer.summary().trim_end(), expected.trim_end(), "{bytes:?}: {answer:?}");
        let next = client.ask("GET", "/2").await.unwrap();
        assert_eq!(next.summary(), "200 reused", "{bytes:?}");
        stage.counted(answer.status(), "none").await;
    }
}

#[tokio::test]
async fn the_length_of_a_body_that_is_not_sent_is_told() {
    let cases = [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 999\r\n\r\n"),
    ];
    for (method, bytes) in cases {
        let stage = Stage::answers(bytes).await;
        let answer = Wire::connect(stage.address).await.ask(method, "/1").await.unwrap();
        assert_eq!(answer.header("content-length"), Some("999"), "{bytes:?}: {answer:?}");
        assert_eq!(answer.header("transfer-encoding"), None, "{bytes:?}: {answer:?}");

        let stage = Stage::answers(bytes).await;
        let request = hyper::Request::builder().method(method).uri("http://a.com/").body(Full::default()).unwrap();
        let answer = Client::h2(stage.address).await.send(request).await.unwrap();
        assert_eq!(answer.headers["content-length"], "999", "{bytes:?}");
    }
}

#[tokio::test]
async fn an_answer_that_the_end_of_the_connection_ends_is_whole_and_keeps_the_client() {
    let cases = [
        "HTTP/1.1 200 OK\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ];
    for bytes in cases {
        let stage = Stage::first(vec![say(bytes), Step::Finish]).await;
        let mut client = Wire::connect(stage.address).await;
        let answer = client.ask("GET", "/1").await.unwrap_or_else(|broken| panic!("{bytes:?}: {broken:?}"));
        assert_eq!(answer.summary(), "200 hello", "{bytes:?}");
        assert_ne!(answer.header("connection"), Some("close"), "{bytes:?}");
        let next = client.ask("GET", "/2").await.unwrap();
        assert_eq!(next.summary(), "200 fresh", "{bytes:?}");

        // Over HTTP/1.0 it ends as it began: with the connection, and without chunks.
        let stage = Stage::first(vec![say(bytes), Step::Finish]).await;
        let mut client = Wire::connect(stage.address).await;
        client.send("GET /1 HTTP/1.0\r\nHost: a.com\r\n\r\n").await;
        let answer = client.answer("GET").await.unwrap_or_else(|broken| panic!("{bytes:?}: {broken:?}"));
        assert_eq!(answer.summary(), "200 hello", "{bytes:?}");
        assert_eq!(answer.header("transfer-encoding"), None, "{bytes:?}");

        let stage = Stage::first(vec![say(bytes), Step::Finish]).await;
        let mut client = Client::h2(stage.address).await;
        assert_eq!(client.get("http://a.com/1").await.unwrap().body, "hello", "{bytes:?}");
        assert_eq!(client.get("http://a.com/2").await.unwrap().body, "fresh", "{bytes:?}");
    }
}

#[tokio::test]
async fn an_answer_over_http10_is_one_over_http11_here() {
    let stage = Stage::answers("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
    let answer = Wire::connect(stage.address).await.ask("GET", "/1").await.unwrap();
    assert!(answer.head.starts_with("http/1.1 200 ok\r\n"), "{answer:?}");
    assert_eq!(answer.header("content-length"), Some("5"));
}

/// RFC 9110, 8.6: a length that is said twice is passed on once.
#[tokio::test]
async fn a_length_is_passed_on_once() {
    for twice in ["Content-Length: 5, 5", "Content-Length: 5\r\nContent-Length: 5"] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{twice}\r\n\r\nhello");
        let stage = Stage::answers(&bytes).await;
        let answer = Wire::connect(stage.address).await.ask("GET", "/1").await.unwrap();
        assert_eq!(answer.head.matches("content-length: 5\r\n").count(), 1, "{answer:?}");
        assert_eq!(answer.body, "hello");
        let stage = Stage::answers(&bytes).await;
        let answer = Client::h2(stage.address).await.get("http://a.com/1").await.unwrap();
        assert_eq!(answer.headers.get_all("content-length").iter().collect::<Vec<_>>(), ["5"]);
    }
}

/// What breaks off after its header came: nobody may take it for whole, and the connection it came on is not used
/// again.
#[tokio::test]
async fn a_broken_answer_does_not_look_whole_and_its_connection_is_not_used_again() {
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let old = "HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\n";
    let cases = [
        (length, "", Step::Finish),
        (length, "half", Step::Finish),
        (length, "half", Step::Reset),
        (old, "half", Step::Finish),
        (chunked, "", Step::Finish),
        (chunked, "4\r\nhalf\r\n", Step::Finish),
        (chunked, "4\r\nhalf\r\n", Step::Reset),
        (chunked, "40\r\nhalf", Step::Finish),
        (chunked, "4\r\nhalf\r\n0\r\n", Step::Finish),
        (chunked, "4\r\nhalf\r\n0\r\nX-T: 1\r\n", Step::Finish),
        (chunked, "4\r\nhalf\r\nnonsense\r\n", Step::Wait),
        (chunked, "4\r\nhalf4\r\nhalf\r\n", Step::Wait),
        (chunked, "-4\r\nhalf\r\n0\r\n\r\n", Step::Wait),
        (chunked, "FFFFFFFFFFFFFFFFF\r\nhalf\r\n0\r\n\r\n", Step::Wait),
        ("HTTP/1.1 200 OK\r\n\r\n", "half", Step::Reset),
    ];
    for (head, body, end) in cases {
        let what = format!("{head:?} {body:?} {end:?}");
        // Apart, so that the header is sent on before the break is seen.
        let steps = || vec![say(head), Step::Wait, say(body), end.clone()];
        let stage = Stage::first(steps()).await;
        let mut client = Wire::connect(stage.address).await;
        client.send("GET /1 HTTP/1.1\r\nHost: a.com\r\n\r\n").await;
        stage.actor.wait_heard(0, "GET /1 ").await;
        stage.actor.release();
        let broken = client.answer("GET").await.expect_err(&what);
        assert!(broken.seen.is_empty() || broken.seen.starts_with("http/1.1 "), "{what}: {broken:?}");
        stage.counted_any("upstream_reset").await;
        let mut client = Wire::connect(stage.address).await;
        assert_eq!(client.ask("GET", "/2").await.unwrap().summary(), "200 fresh", "{what}");

        let stage = Stage::first(steps()).await;
        stage.actor.release();
        let mut client = Client::h2(stage.address).await;
        let answer = client.get("http://a.com/1").await;
        assert!(answer.is_err(), "{what}: {answer:?}");
        assert!(!client.is_closed(), "{what}: only the stream is reset");
        assert_eq!(client.get("http://a.com/2").await.unwrap().body, "fresh", "{what}");

        // To an HTTP/1.0 client only the way the connection ends says it.
        let stage = Stage::first(steps()).await;
        stage.actor.release();
        let mut client = Wire::connect(stage.address).await;
        client.send("GET /1 HTTP/1.0\r\nHost: a.com\r\n\r\n").await;
        let answer = client.answer("GET").await;
        assert!(answer.is_err(), "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_a_502_and_its_connection_is_not_used_again() {
    let many = "X: 1\r\n".repeat(400);
    let cases = [
        "nonsense\r\n\r\n".to_owned(),
        "HTTP/1.1\r\n\r\n".to_owned(),
        "HTTP/1.1 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
        "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
        "HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
        "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
        "HTTP/3 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
        "ICY 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
        "HTTP/1.1 200 OK\r\nX\0Y: 1\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nhi!".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nhi".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nhi".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nhi".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhi".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\nhi".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi".to_owned(),
        "HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi".to_owned(),
        format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nhi", "x".repeat(2 << 20)),
        format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 2\r\n\r\nhi"),
    ];
    let mut wrong = Vec::new();
    for bytes in cases {
        let what = bytes.chars().take(120).collect::<String>();
        let stage = Stage::answers(&bytes).await;
        let mut client = Wire::connect(stage.address).await;
        match client.ask("GET", "/1").await {
            Ok(answer) if answer.summary() == "502 502 upstream_reset" => {}
            other => {
                let seen = format!("{other:?}");
                wrong.push(format!("{what:?}: {}", seen.chars().take(400).collect::<String>()));
                continue;
            }
        }
        stage.counted(502, "upstream_reset").await;
        let mut client = Wire::connect(stage.address).await;
        assert_eq!(client.ask("GET", "/2").await.unwrap().summary(), "200 fresh", "{what:?}");

        let stage = Stage::answers(&bytes).await;
        let mut client = Client::h2(stage.address).await;
        assert_eq!(client.get("http://a.com/1").await.unwrap().summary(), "502 upstream_reset", "{what:?}");
        assert_eq!(client.get("http://a.com/2").await.unwrap().body, "fresh", "{what:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What comes after the end of an answer is nobody's: not the next answer on this connection, whoever asks.
#[tokio::test]
async fn what_comes_after_an_answer_is_never_the_answer_to_the_next_request() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let cases = [
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "200 hello"),
        ("GET", chunked, "200 hello"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", "204"),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "204"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 48\r\n\r\n", "304"),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 48\r\n\r\n", "200"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "200"),
    ];
    for (method, bytes, expected) in cases {
        // In one piece with the answer, just after it, and when the connection is in the pool.
        let pieces =
            [vec![say(format!("{bytes}{evil}"))], vec![say(bytes), say(evil)], vec![say(bytes), Step::Wait, say(evil)]];
        for steps in pieces {
            let what = format!("{bytes:?} {steps:?}");
            let stage = Stage::first(steps).await;
            let mut client = Wire::connect(stage.address).await;
            let answer = client.ask(method, "/1").await.unwrap_or_else(|broken| panic!("{what}: {broken:?}"));
            assert_eq!(answer.summary().trim_end(), expected, "{what}");
            stage.actor.release();
            stage.actor.wait_end(0).await;
            let next = client.ask("GET", "/2").await.unwrap();
            assert_eq!(next.summary(), "200 fresh", "{what}");
        }
    }
}
