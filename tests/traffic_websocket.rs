//! WebSocket through the gateway: the upgrade, data both ways, both ways to end, refusals, and what is not honoured.
//! Frames are opaque here, so that plain words stand for them.

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
use std::time::Duration;

use http_body_util::Full;
use support::client::{Client, Wire};
use support::script::{Actor, End, Step, say};
use support::stage::{FRESH, REUSED, Stage, again};
use support::upstream::pattern;
use tokio::io::AsyncWriteExt;
use transom::proxy::Settings;

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Accept: y\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

fn asking(token: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: a.com\r\nUpgrade: {token}\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    )
}

/// A client that was let through, and the stage whose upstream goes on with these steps.
async fn open(steps: Vec<Step>) -> (Stage, Wire) {
    let stage = Stage::first([vec![say(SWITCHING)], steps].concat()).await;
    let mut client = Wire::connect(stage.address).await;
    client.send(asking("websocket")).await;
    let answer = client.answer("GET").await.unwrap();
    assert_eq!(answer.status(), 101, "{answer:?}");
    (stage, client)
}

#[tokio::test]
async fn the_handshake_passes_whole() {
    let (stage, client) = open(vec![]).await;
    let heard = stage.actor.heard(0).to_lowercase();
    for field in [
        "get /ws http/1.1\r\n",
        "\r\nhost: a.com\r\n",
        "\r\nupgrade: websocket\r\n",
        "\r\nconnection: upgrade\r\n",
        "\r\nsec-websocket-key: x\r\n",
        "\r\nsec-websocket-version: 13\r\n",
        "\r\nsec-websocket-protocol: chat\r\n",
    ] {
        assert!(heard.contains(field), "{field:?} in {heard}");
    }
    assert!(!heard.contains("transfer-encoding") && !heard.contains("content-length"), "{heard}");
    drop(client);

    let stage = Stage::answers(SWITCHING).await;
    let mut client = Wire::connect(stage.address).await;
    // The token's case is the client's (RFC 6455, 4.2.1); other connection options are not its business.
    client.send(asking("WebSocket").replace("Connection: Upgrade", "Connection: keep-alive, Upgrade")).await;
    let answer = client.answer("GET").await.unwrap();
    for (name, value) in [
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-accept", "y"),
        ("sec-websocket-protocol", "chat"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{answer:?}");
    }
    assert_eq!(answer.header("content-length").or(answer.header("transfer-encoding")), None, "{answer:?}");
}

#[tokio::test]
async fn data_passes_both_ways_in_any_order_and_size() {
    let large = String::from_utf8(pattern(1 << 20)).unwrap();
    let steps = vec![
        say("server first"),
        Step::Hear("client second"),
        say(&large),
        Step::Hear("the last of it"),
        say("HTTP/1.1 200 OK\r\n\r\n"),
    ];
    let (stage, mut client) = open(steps).await;
    assert_eq!(client.exactly(12).await.unwrap(), b"server first");
    client.send("client second").await;
    assert_eq!(client.exactly(large.len()).await.unwrap(), large.as_bytes());
    client.send(&large).await;
    client.send("the last of it").await;
    assert_eq!(client.exactly(19).await.unwrap(), b"HTTP/1.1 200 OK\r\n\r\n");
    let heard = stage.actor.heard(0);
    let data = heard.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(data, format!("client second{large}the last of it"));
}

#[tokio::test]
async fn words_that_came_with_the_handshake_are_passed_on() {
    // RFC 6455, 4.1: a client waits for the 101. What one sends that does not wait is held until then.
    let stage =
        Stage::first(vec![Step::Wait, say(format!("{SWITCHING}welcome")), Step::Hear("early"), say("got it")]).await;
    let mut client = Wire::connect(stage.address).await;
    client.send(format!("{}early", asking("websocket"))).await;
    stage.actor.wait_heard(0, "/ws").await;
    assert!(!stage.actor.heard(0).contains("early"));
    stage.actor.release();
    assert_eq!(client.answer("GET").await.unwrap().status(), 101);
    assert_eq!(client.exactly(13).await.unwrap(), b"welcomegot it");

    let (stage, mut client) = open(vec![say("welcome"), Step::Hear("thanks")]).await;
    assert_eq!(client.exactly(7).await.unwrap(), b"welcome");
    client.send("thanks").await;
    stage.actor.wait_heard(0, "thanks").await;
}

#[tokio::test]
async fn either_side_may_end_it_and_the_connection_is_never_used_again() {
    // The upstream: what it said before reaches the client.
    let large = String::from_utf8(pattern(300_000)).unwrap();
    let (stage, mut client) = open(vec![say(&large), say("bye"), Step::Finish]).await;
    assert_eq!(client.exactly(large.len()).await.unwrap(), large.as_bytes());
    assert_eq!(client.exactly(3).await.unwrap(), b"bye");
    assert_eq!(client.end().await, End::Closed);
    stage.actor.wait_end(0).await;
    stage.counted(101, "none").await;
    assert_eq!(Wire::connect(stage.address).await.ask("GET", "/2").await.unwrap().summary(), "200 fresh");

    // The client, in the same way.
    let (stage, mut client) = open(vec![]).await;
    client.send(&large).await;
    client.send("bye").await;
    client.tcp.shutdown().await.unwrap();
    stage.actor.wait_end(0).await;
    assert!(stage.actor.heard(0).ends_with("bye"));
    stage.counted(101, "none").await;
    assert_eq!(Wire::connect(stage.address).await.ask("GET", "/2").await.unwrap().summary(), "200 fresh");

    // With a reset.
    let (stage, mut client) = open(vec![say("hi"), Step::Wait, Step::Reset]).await;
    assert_eq!(client.exactly(2).await.unwrap(), b"hi");
    stage.actor.release();
    client.end().await;
    stage.counted_any("upstream_reset").await;
    assert_eq!(Wire::connect(stage.address).await.ask("GET", "/2").await.unwrap().summary(), "200 fresh");

    let (stage, client) = open(vec![]).await;
    let _ = socket2::SockRef::from(&client.tcp).set_linger(Some(Duration::ZERO));
    drop(client);
    stage.actor.wait_end(0).await;
    stage.counted_any("client_abort").await;
    assert_eq!(Wire::connect(stage.address).await.ask("GET", "/2").await.unwrap().summary(), "200 fresh");
}

#[tokio::test]
async fn a_refused_upgrade_is_an_answer_like_any_other() {
    let cases = [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!", "403 no!", "200 reused"),
        (
            "HTTP/1.1 426 Upgrade Required\r\nUpgrade: other\r\nConnection: Upgrade\r\nContent-Length: 3\r\n\r\nno!",
            "426 no!",
            "200 reused",
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "200 ok", "200 reused"),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404", "200 reused"),
        ("HTTP/1.1 500 Oops\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhm", "500 hm", "200 fresh"),
    ];
    for (bytes, expected, next) in cases {
        let stage = Stage::answers(bytes).await;
        let mut client = Wire::connect(stage.address).await;
        client.send(asking("websocket")).await;
        let answer = client.answer("GET").await.unwrap();
        assert_eq!(answer.summary().trim_end(), expected, "{bytes:?}");
        assert_eq!(client.ask("GET", "/2").await.unwrap().summary(), next, "{bytes:?}");
        stage.counted(answer.status(), "none").await;
    }
}

/// What a client sends behind its handshake is not forwarded behind it: if the upgrade is refused, it is the next
/// request, and goes through routing like any other.
#[tokio::test]
async fn what_stands_behind_a_refused_handshake_is_a_request_of_its_own() {
    let stage = Stage::first(vec![Step::Wait, say("HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!")]).await;
    let mut client = Wire::connect(stage.address).await;
    client.send(format!("{}GET /hidden HTTP/1.1\r\nHost: a.com\r\n\r\n", asking("websocket"))).await;
    stage.actor.wait_heard(0, "/ws").await;
    stage.actor.release();
    assert_eq!(client.answer("GET").await.unwrap().summary(), "403 no!");
    assert_eq!(client.answer("GET").await.unwrap().summary(), "200 reused");
    let heard = stage.actor.heard(0).to_lowercase();
    let hidden = heard.split("get /hidden").nth(1).unwrap();
    assert!(hidden.contains("x-forwarded-for: 127.0.0.1"), "it passed the gateway's own road: {heard}");
}

#[tokio::test]
async fn no_other_protocol_is_switched_to() {
    let old = asking("websocket").replace("HTTP/1.1", "HTTP/1.0");
    let requests =
        [asking("h2c"), asking("TLS/1.0"), asking("foo"), asking("websocket, foo"), asking("websocket/13"), old];
    for request in requests {
        let stage = Stage::with(Actor::always(again(FRESH)).await).await;
        let mut client = Wire::connect(stage.address).await;
        client.send(&request).await;
        assert_eq!(client.answer("GET").await.unwrap().summary(), "200 fresh", "{request}");
        let heard = stage.actor.heard(0).to_lowercase();
        assert!(!heard.contains("\nupgrade:") && !heard.contains("\nconnection: upgrade"), "{heard}");

        // An upstream that switches all the same is not followed.
        let stage = Stage::answers(format!("{SWITCHING}{REUSED}")).await;
        let mut client = Wire::connect(stage.address).await;
        client.send(&request).await;
        assert_eq!(client.answer("GET").await.unwrap().summary(), "502 502 upstream_reset", "{request}");
        assert_eq!(Wire::connect(stage.address).await.ask("GET", "/2").await.unwrap().summary(), "200 fresh");
    }
    // RFC 8441 is not served: `:protocol` is unknown here, and CONNECT is refused.
    let stage = Stage::with(Actor::always(again(FRESH)).await).await;
    let mut client = Client::h2(stage.address).await;
    let connect = hyper::Request::builder().method("CONNECT").uri("a.com:80").body(Full::default()).unwrap();
    assert_eq!(client.send(connect).await.unwrap().status, 405);
    assert_eq!(stage.actor.connections(), 0);
}

/// No timeout of an idle connection, and none of a header, holds for a connection that was switched.
#[tokio::test]
async fn a_quiet_websocket_lives_on() {
    let short = Duration::from_millis(300);
    let settings = Settings {
        workers: NonZeroUsize::new(1),
        first_byte_timeout: short,
        header_timeout: short,
        keepalive_timeout: Duration::from_secs(1),
        upstream_idle_timeout: short,
        ..Settings::default()
    };
    let steps = vec![Step::Head, say(SWITCHING), Step::Hear("ping"), say("pong")];
    let stage = Stage::with_settings(Actor::always(steps).await, settings).await;
    let mut client = Wire::connect(stage.address).await;
    client.send(asking("websocket")).await;
    assert_eq!(client.answer("GET").await.unwrap().status(), 101);
    let quiet = tokio::time::timeout(Duration::from_millis(2500), client.exactly(1)).await;
    assert!(quiet.is_err(), "{quiet:?}");
    client.send("ping").await;
    assert_eq!(client.exactly(4).await.unwrap(), b"pong");
}
