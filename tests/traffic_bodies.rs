//! Requests and answers that overlap: interim answers, `Expect: 100-continue`, answers that come before the request
//! is whole, and uploads and downloads that are broken off.

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
use support::script::{Actor, End, Step, say};
use support::stage::{FRESH, Stage, again};

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const EXPECT: &str = "POST /1 HTTP/1.1\r\nHost: a.com\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

#[tokio::test]
async fn the_upstream_is_told_what_the_client_expects_and_its_100_is_passed_on() {
    let steps = vec![say("HTTP/1.1 100 Continue\r\n\r\n"), Step::Hear("inhal"), say(HELLO)];
    let stage = Stage::first(steps).await;
    let mut client = Wire::connect(stage.address).await;
    client.send(EXPECT).await;
    assert_eq!(client.head().await.unwrap(), "http/1.1 100 continue\r\n\r\n");
    assert!(stage.actor.heard(0).to_lowercase().contains("expect: 100-continue\r\n"));
    client.send("inhal").await;
    let answer = client.answer("POST").await.unwrap();
    assert_eq!(answer.summary(), "200 hello");
    let next = client.ask("GET", "/2").await;
    assert_eq!(next.map(|next| next.summary()), Ok("200 reused".to_owned()), "{answer:?}");
}

#[tokio::test]
async fn a_refusal_instead_of_a_100_comes_without_the_body_and_spoils_nothing() {
    for close in ["", "Connection: close\r\n"] {
        let refusal = format!("HTTP/1.1 413 Too Large\r\n{close}Content-Length: 3\r\n\r\nno!");
        let stage = Stage::first(vec![say(&refusal)]).await;
        let mut client = Wire::connect(stage.address).await;
        client.send(EXPECT).await;
        let answer = client.answer("POST").await.unwrap();
        assert_eq!(answer.summary(), "413 no!");
        assert_eq!(stage.actor.heard(0).split("\r\n\r\n").nth(1), Some(""), "no body was sent");
        // The body never came: neither connection can be used for anything else, and the client is told.
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(client.end().await, End::Closed);
        let mut client = Wire::connect(stage.address).await;
        assert_eq!(client.ask("GET", "/2").await.unwrap().summary(), "200 fresh");
    }
}

#[tokio::test]
async fn a_client_that_gives_up_waiting_for_a_100_is_served() {
    let stage = Stage::first(vec![Step::Hear("inhal"), say(HELLO)]).await;
    let mut client = Wire::connect(stage.address).await;
    client.send(EXPECT).await;
    stage.actor.wait_heard(0, "\r\n\r\n").await;
    client.send("inhal").await;
    assert_eq!(client.answer("POST").await.unwrap().summary(), "200 hello");
    assert_eq!(client.ask("GET", "/2").await.unwrap().summary(), "200 reused");
}

#[tokio::test]
async fn early_hints_are_passed_on_over_http11_and_left_out_elsewhere() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    for bytes in [format!("{hints}{HELLO}"), format!("{hints}{hints}{HELLO}")] {
        for steps in [vec![say(&bytes)], vec![say(hints), Step::Wait, say(&bytes[hints.len()..])]] {
            let stage = Stage::first(steps.clone()).await;
            stage.actor.release();
            let mut client = Wire::connect(stage.address).await;
            let answer = client.ask("GET", "/1").await.unwrap();
            assert_eq!(answer.summary(), "200 hello");
            assert_eq!(answer.interim.len(), bytes.matches(" 103 ").count());
            let interim = "http/1.1 103 early hints\r\nlink: </a.css>; rel=preload\r\n\r\n";
            assert!(answer.interim.iter().all(|hints| hints == interim), "{answer:?}");
            assert_eq!(client.ask("GET", "/2").await.unwrap().summary(), "200 reused");

            // Pingora's HTTP/2 server can send no 1xx: they are left out, which a server may always do.
            let stage = Stage::first(steps.clone()).await;
            stage.actor.release();
            let mut client = Client::h2(stage.address).await;
            assert_eq!(client.get("http://a.com/1").await.unwrap().body, "hello");
            assert_eq!(client.get("http://a.com/2").await.unwrap().body, "reused");

            // RFC 9110, 15.2: "a server MUST NOT send a 1xx response to an HTTP/1.0 client".
            let stage = Stage::first(steps).await;
            stage.actor.release();
            let mut client = Wire::connect(stage.address).await;
            client.send("GET /1 HTTP/1.0\r\nHost: a.com\r\n\r\n").await;
            let answer = client.answer("GET").await.unwrap();
            assert_eq!((answer.summary().as_str(), answer.interim.len()), ("200 hello", 0));
        }
    }
}

#[tokio::test]
async fn an_upstream_that_breaks_off_after_an_interim_answer_is_a_502() {
    for bytes in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200"] {
        let stage = Stage::first(vec![say(bytes), Step::Finish]).await;
        let mut client = Wire::connect(stage.address).await;
        let answer = client.ask("GET", "/1").await.unwrap();
        assert_eq!(answer.summary(), "502 502 upstream_reset");
        stage.counted(502, "upstream_reset").await;
        let stage = Stage::first(vec![say(bytes), Step::Finish]).await;
        let mut client = Client::h2(stage.address).await;
        assert_eq!(client.get("http://a.com/1").await.unwrap().summary(), "502 upstream_reset");
    }
}

#[tokio::test]
async fn an_endless_number_of_interim_answers_is_given_up() {
    let flood = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n".repeat(10_000);
    for over_h2 in [false, true] {
        let stage = Stage::first(std::iter::repeat_n(say(&flood), 100).collect()).await;
        if over_h2 {
            let mut client = Client::h2(stage.address).await;
            assert_eq!(client.get("http://a.com/1").await.unwrap().summary(), "502 upstream_reset");
        } else {
            let mut client = Wire::connect(stage.address).await;
            let answer = client.ask("GET", "/1").await.unwrap();
            assert_eq!(answer.summary(), "502 502 upstream_reset");
        }
        stage.counted(502, "upstream_reset").await;
    }
}

/// What an upstream says before the request is whole is the answer, whatever it then does with the rest.
#[tokio::test]
async fn an_answer_before_the_request_is_whole_is_passed_on_and_spoils_nothing() {
    let ends = [vec![], vec![Step::Finish], vec![Step::Drop], vec![Step::Reset]];
    for (end, framing) in ends.iter().flat_map(|end| [(end, false), (end, true)]) {
        let what = format!("{end:?}, chunked: {framing}");
        let steps = [vec![Step::Hear("begin"), say(HELLO)], end.clone()].concat();
        let stage = Stage::first(steps).await;
        let mut client = Wire::connect(stage.address).await;
        let (head, begin) = if framing {
            ("Transfer-Encoding: chunked", "5\r\nbegin\r\n")
        } else {
            ("Content-Length: 10000000", "begin")
        };
        client.send(format!("POST /1 HTTP/1.1\r\nHost: a.com\r\n{head}\r\n\r\n{begin}")).await;
        let answer = client.answer("POST").await.unwrap_or_else(|broken| panic!("{what}: {broken:?}"));
        assert_eq!(answer.summary(), "200 hello", "{what}");
        assert_eq!(answer.header("connection"), Some("close"), "{what}");
        let heard = stage.actor.heard(0);
        assert!(!heard.contains("\r\n0\r\n\r\n"), "{what}: the request was not whole: {heard}");
        drop(client);
        stage.actor.wait_end(0).await;
        let mut client = Wire::connect(stage.address).await;
        assert_eq!(client.ask("GET", "/2").await.unwrap().summary(), "200 fresh", "{what}");
    }
}

#[tokio::test]
async fn a_request_that_is_finished_after_its_answer_reaches_the_upstream_whole() {
    let steps = vec![Step::Hear("begin"), say(HELLO), Step::Hear("end!!")];
    let stage = Stage::first(steps.clone()).await;
    let mut client = Wire::connect(stage.address).await;
    client.send("POST /1 HTTP/1.1\r\nHost: a.com\r\nContent-Length: 10\r\n\r\nbegin").await;
    assert_eq!(client.answer("POST").await.unwrap().summary(), "200 hello");
    client.send("end!!").await;
    stage.actor.wait_heard(0, "beginend!!").await;
    assert_eq!(client.end().await, End::Closed);
    // Both sides are done with the exchange: the upstream's connection is as good as any.
    let mut client = Wire::connect(stage.address).await;
    assert_eq!(client.ask("GET", "/2").await.unwrap().summary(), "200 reused");
}

/// A big upload to an upstream that refuses it at once: the client still sends when the answer comes.
#[tokio::test]
async fn a_refusal_of_a_large_upload_reaches_the_client() {
    let refusal = "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!";
    for end in [Step::Finish, Step::Drop] {
        let stage = Stage::first(vec![say(refusal), end.clone()]).await;
        let mut client = Wire::connect(stage.address).await;
        client.send("POST /1 HTTP/1.1\r\nHost: a.com\r\nContent-Length: 3000000\r\n\r\n").await;
        client.send(vec![b'x'; 3_000_000]).await;
        let answer = client.answer("POST").await.unwrap_or_else(|broken| panic!("{end:?}: {broken:?}"));
        assert_eq!(answer.summary(), "413 no!", "{end:?}");

        let stage = Stage::first(vec![say(refusal), end.clone()]).await;
        let mut client = Client::h2(stage.address).await;
        let request = hyper::Request::post("http://a.com/1").body(vec![b'x'; 3_000_000].into()).unwrap();
        let answer = client.send(request).await.unwrap_or_else(|error| panic!("{end:?}: {error:?}"));
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (413, "no!"), "{end:?}");
        assert_eq!(client.get("http://a.com/2").await.unwrap().body, "fresh", "{end:?}");
    }
}

#[tokio::test]
async fn an_upload_that_is_broken_off_never_looks_whole_to_the_upstream() {
    let cases = [
        ("Content-Length: 100", "half", "half"),
        ("Transfer-Encoding: chunked", "4\r\nhalf\r\n", "half"),
        ("Transfer-Encoding: chunked", "40\r\nhalf", "half"),
        ("Transfer-Encoding: chunked", "4\r\nhalf\r\n0\r\n", "half"),
        ("Transfer-Encoding: chunked", "4\r\nhalf\r\nnonsense\r\n", "\r\n\r\n"),
        ("Content-Length: 100\r\nExpect: 100-continue", "", "\r\n\r\n"),
    ];
    for (framing, sent, heard) in cases {
        for reset in [false, true] {
            let what = format!("{framing:?} {sent:?} {reset}");
            let stage = Stage::first(vec![Step::Wait, say(FRESH)]).await;
            let mut client = Wire::connect(stage.address).await;
            client.send(format!("POST /1 HTTP/1.1\r\nHost: a.com\r\n{framing}\r\n\r\n{sent}")).await;
            stage.actor.wait_heard(0, heard).await;
            if reset {
                let _ = socket2::SockRef::from(&client.tcp).set_linger(Some(std::time::Duration::ZERO));
            }
            drop(client);
            stage.counted_any(if sent.contains("nonsense") { "request_invalid" } else { "client_abort" }).await;
            stage.actor.release();
            stage.actor.wait_end(0).await;
            let text = stage.actor.heard(0);
            let body = text.split_once("\r\n\r\n").unwrap().1;
            assert!(!body.contains("0\r\n\r\n") && body.len() < 100, "{what}: {text}");
            let mut client = Wire::connect(stage.address).await;
            assert_eq!(client.ask("GET", "/2").await.unwrap().summary(), "200 fresh", "{what}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_its_answer_leaves_no_connection_behind() {
    let download = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    for steps in [vec![Step::Wait, say(HELLO)], vec![say(download), Step::Wait]] {
        let stage = Stage::first(steps.clone()).await;
        let mut client = Wire::connect(stage.address).await;
        client.send("GET /1 HTTP/1.1\r\nHost: a.com\r\n\r\n").await;
        stage.actor.wait_heard(0, "GET /1").await;
        drop(client);
        stage.counted_any("client_abort").await;
        stage.actor.release();
        stage.actor.wait_end(0).await;
        let mut client = Wire::connect(stage.address).await;
        assert_eq!(client.ask("GET", "/2").await.unwrap().summary(), "200 fresh");
    }
}

#[tokio::test]
async fn a_request_reaches_the_upstream_in_one_framing() {
    let cases = [
        ("Content-Length: 5", "hello", "content-length: 5\r\n", "hello"),
        (
            "Transfer-Encoding: chunked",
            "5\r\nhello\r\n0\r\n\r\n",
            "transfer-encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            "Transfer-Encoding: chunked",
            "5;a=b\r\nhello\r\n0;c\r\n\r\n",
            "transfer-encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        // HTTP/1 trailers are dropped, and the announcement with them (product.md, section 6).
        (
            "Trailer: X-T\r\nTransfer-Encoding: chunked",
            "5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
            "transfer-encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        ("Content-Length: 0", "", "content-length: 0\r\n", ""),
    ];
    for (framing, sent, head, body) in cases {
        let actor = Actor::always(vec![Step::Head, Step::Hear(body), say(HELLO)]).await;
        let stage = Stage::with(actor).await;
        let mut client = Wire::connect(stage.address).await;
        client.send(format!("POST /1 HTTP/1.1\r\nHost: a.com\r\n{framing}\r\n\r\n{sent}")).await;
        assert_eq!(client.answer("POST").await.unwrap().summary(), "200 hello", "{framing}");
        let heard = stage.actor.heard(0);
        let (before, after) = heard.split_once("\r\n\r\n").unwrap();
        let before = format!("{}\r\n", before.to_lowercase());
        assert!(before.contains(head), "{framing}: {before}");
        let lines = before.lines().filter(|line| line.starts_with("content-length") || line.starts_with("transfer-"));
        assert_eq!(lines.count(), 1, "{framing}: {before}");
        assert!(!before.contains("trailer") && !before.contains("\nte:"), "{before}");
        assert_eq!(after, body, "{framing}");
    }
    // A request without a body has no framing at all.
    let stage = Stage::with(Actor::always(again(HELLO)).await).await;
    for mut client in [Client::h1(stage.address).await, Client::h2(stage.address).await] {
        client.get("http://a.com/1").await.unwrap();
    }
    let heard = stage.actor.heard(0).to_lowercase();
    assert_eq!(heard.matches("get /1 ").count(), 2, "{heard}");
    assert!(!heard.contains("content-length") && !heard.contains("transfer-encoding"), "{heard}");
}
