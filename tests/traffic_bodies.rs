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
