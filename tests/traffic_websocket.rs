//! WebSocket through the gateway: the upgrade, data both ways, both ways to end, refusals, what is not honoured, and
//! how a drain ends it. Frames are opaque but for that, so that plain words stand for them.

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

use http_body_util::Full;
use support::client::{Client, Wire};
use support::config::{Config, listener};
use support::script::{Actor, End, Step, say};
use support::stage::{FRESH, REUSED, Stage, again};
use support::upstream::pattern;
use support::{Gateway, free_address};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use transom::proxy::{Drained, Settings};

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

const TEXT: u8 = 1;
const CLOSE: u8 = 8;

/// A frame of a server: whole, not masked.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..126 => bytes.push(u8::try_from(short).unwrap()),
        long => {
            bytes.push(126);
            bytes.extend(u16::try_from(long).unwrap().to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

/// A client's answer to a Close, masked with a key of zeros and with a reason that the upstream can look for.
const ANSWER: &[u8] = b"\x88\x86\0\0\0\0\x03\xe9gone";

/// Reads one frame of a server.
async fn read_frame(client: &mut Wire) -> Result<(u8, Vec<u8>), End> {
    let head = client.exactly(2).await?;
    assert_eq!(head[0] & 0xf0, 0x80, "{head:?}");
    let length = match head[1] {
        126 => {
            let long = client.exactly(2).await?;
            usize::from(u16::from_be_bytes([long[0], long[1]]))
        }
        short => usize::from(short),
    };
    Ok((head[0] & 0xf, client.exactly(length).await?))
}

/// RFC 6455, 7.4.1: 1001 is "going away".
fn going_away() -> Result<(u8, Vec<u8>), End> {
    Ok((CLOSE, 1001u16.to_be_bytes().to_vec()))
}

/// Another client that is let through.
async fn switched(address: std::net::SocketAddr) -> Wire {
    let mut client = Wire::connect(address).await;
    client.send(asking("websocket")).await;
    assert_eq!(client.answer("GET").await.unwrap().status(), 101);
    client
}

/// An endpoint's side: the handshake, these steps, and what an endpoint does about a Close.
fn endpoint(steps: Vec<Step>) -> Vec<Step> {
    let close = frame(CLOSE, &1001u16.to_be_bytes());
    [vec![Step::Head, say(SWITCHING)], steps, vec![Step::Hear("gone"), say(close), Step::Finish]].concat()
}

const LONG: Duration = Duration::from_secs(60);

fn drain(gateway: Gateway, limit: Duration) -> JoinHandle<Drained> {
    tokio::spawn(gateway.proxy.drain(Duration::ZERO, limit))
}

#[tokio::test]
async fn a_drain_says_goodbye_at_once_where_nothing_but_websockets_is_left() {
    let Stage { gateway, address, actor } =
        Stage::with(Actor::always(endpoint(vec![say(frame(TEXT, b"hello"))])).await).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = switched(address).await;
        assert_eq!(read_frame(&mut client).await, Ok((TEXT, b"hello".to_vec())));
        clients.push(client);
    }
    let begun = Instant::now();
    let drain = drain(gateway, LONG);
    for client in &mut clients {
        assert_eq!(read_frame(client).await, going_away());
        // Until it answers, its words are heard.
        client.send("last words").await;
        client.send(ANSWER).await;
    }
    for (number, client) in clients.iter_mut().enumerate() {
        // The endpoint's own Close is one too many.
        assert_eq!(read_frame(client).await, Err(End::Closed));
        client.tcp.shutdown().await.unwrap();
        actor.wait_heard(number, "last words").await;
        actor.wait_heard(number, "gone").await;
    }
    assert_eq!(drain.await.unwrap().cut, 0);
    assert!(begun.elapsed() < LONG / 4, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_client_that_does_not_answer_is_left_in_order_all_the_same() {
    let Stage { gateway, address, actor } = Stage::with(Actor::always(endpoint(vec![])).await).await;
    let mut silent = switched(address).await;
    let mut talks_on = switched(address).await;
    let drain = drain(gateway, LONG);
    assert_eq!(read_frame(&mut silent).await, going_away());
    assert_eq!(read_frame(&mut talks_on).await, going_away());
    talks_on.send("x".repeat(100_000)).await;
    assert_eq!(read_frame(&mut silent).await, Err(End::Closed));
    assert_eq!(read_frame(&mut talks_on).await, Err(End::Closed));
    actor.wait_end(0).await;
    actor.wait_end(1).await;
    assert_eq!(drain.await.unwrap().cut, 0);
}

#[tokio::test]
async fn a_goodbye_never_tears_a_frame() {
    let half = frame(TEXT, &[b'x'; 300]);
    let rest = [&half[200..], &frame(TEXT, b"may be lost")].concat();
    let actor = Actor::play(vec![
        endpoint(vec![]),
        endpoint(vec![say(&half[..200]), Step::Wait, say(rest)]),
        endpoint(vec![say(&half[..200])]),
    ])
    .await;
    let Stage { gateway, address, actor } = Stage::with(actor).await;
    let mut idle = switched(address).await;
    let mut torn = switched(address).await;
    let mut stuck = switched(address).await;
    let drain = drain(gateway, LONG);
    assert_eq!(read_frame(&mut idle).await, going_away());
    idle.send(ANSWER).await;
    actor.release();
    assert_eq!(read_frame(&mut torn).await, Ok((TEXT, vec![b'x'; 300])));
    let mut last = read_frame(&mut torn).await;
    if last == Ok((TEXT, b"may be lost".to_vec())) {
        last = read_frame(&mut torn).await; // it came before this one was told
    }
    assert_eq!(last, going_away());
    torn.send(ANSWER).await;
    assert_eq!(read_frame(&mut torn).await, Err(End::Closed));
    // A frame that does not end is not waited for.
    assert_eq!(stuck.exactly(200).await.unwrap(), &half[..200]);
    assert_eq!(stuck.exactly(1).await, Err(End::Closed));
    assert_eq!(drain.await.unwrap().cut, 0);
}

/// An endpoint that sends frames without a pause, in pieces that no frame ends with.
async fn streaming() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert!(tcp.read_buf(&mut head).await.unwrap() > 0);
        }
        tcp.write_all(SWITCHING.as_bytes()).await.unwrap();
        let frames: Vec<u8> = (0u16..1000).flat_map(|size| frame(TEXT, &pattern(usize::from(size)))).collect();
        let mut seen = Vec::new();
        let (mut reader, mut writer) = tcp.split();
        let write = async {
            loop {
                for piece in frames.chunks(1777) {
                    if writer.write_all(piece).await.is_err() {
                        return;
                    }
                }
            }
        };
        let hear = async { while !seen.ends_with(b"gone") && reader.read_buf(&mut seen).await.unwrap_or(0) > 0 {} };
        tokio::select! {
            () = write => {}
            () = hear => {}
        }
    });
    address
}

#[tokio::test]
async fn a_busy_websocket_ends_behind_a_whole_frame() {
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let rule = config.to("a", streaming().await);
    let address = free_address();
    gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;
    let mut client = switched(address).await;
    for size in 0..500 {
        assert_eq!(read_frame(&mut client).await, Ok((TEXT, pattern(size))));
    }
    let drain = drain(gateway, LONG);
    let mut count = 500;
    let last = loop {
        match read_frame(&mut client).await {
            Ok((TEXT, payload)) => assert_eq!(payload, pattern(count % 1000)),
            last => break last,
        }
        count += 1;
    };
    assert_eq!(last, going_away());
    client.send(ANSWER).await;
    assert_eq!(client.exactly(1).await, Err(End::Closed));
    assert_eq!(drain.await.unwrap().cut, 0);
}

#[tokio::test]
async fn an_endpoint_that_closes_by_itself_is_not_interrupted() {
    let close = frame(CLOSE, &1000u16.to_be_bytes());
    let closing = vec![Step::Head, say(SWITCHING), say(&close), Step::Wait, Step::Hear("gone"), Step::Finish];
    let actor = Actor::play(vec![closing, endpoint(vec![])]).await;
    let Stage { gateway, address, actor } = Stage::with(actor).await;
    let mut client = switched(address).await;
    let mut other = switched(address).await;
    assert_eq!(read_frame(&mut client).await, Ok((CLOSE, 1000u16.to_be_bytes().to_vec())));
    let drain = drain(gateway, LONG);
    assert_eq!(read_frame(&mut other).await, going_away());
    other.send(ANSWER).await;
    actor.release();
    client.send(ANSWER).await;
    assert_eq!(read_frame(&mut client).await, Err(End::Closed));
    assert_eq!(drain.await.unwrap().cut, 0);
}

#[tokio::test]
async fn while_requests_are_in_flight_websockets_live_on_to_the_end_of_the_drain() {
    for is_answered in [true, false] {
        let slow = vec![Step::Head, Step::Wait, say(FRESH)];
        let echo = vec![Step::Hear("ping"), say(frame(TEXT, b"pong"))];
        let Stage { gateway, address, actor } = Stage::with(Actor::play(vec![endpoint(echo), slow]).await).await;
        let mut client = switched(address).await;
        let mut slow = Wire::connect(address).await;
        slow.send("GET /slow HTTP/1.1\r\nHost: a.com\r\n\r\n").await;
        actor.wait_heard(1, "/slow").await;

        let begun = Instant::now();
        let limit = if is_answered { LONG } else { Duration::from_secs(4) };
        let drain = drain(gateway, limit);
        let quiet = tokio::time::timeout(Duration::from_millis(500), client.exactly(1)).await;
        assert!(quiet.is_err(), "{quiet:?}");
        client.send("ping").await;
        assert_eq!(read_frame(&mut client).await, Ok((TEXT, b"pong".to_vec())));
        if is_answered {
            actor.release();
            assert_eq!(slow.answer("GET").await.unwrap().summary(), "200 fresh");
        }
        assert_eq!(read_frame(&mut client).await, going_away());
        client.send(ANSWER).await;
        assert_eq!(read_frame(&mut client).await, Err(End::Closed));
        client.tcp.shutdown().await.unwrap();
        assert_eq!(drain.await.unwrap().cut, usize::from(!is_answered));
        assert!(begun.elapsed() < LONG / 4, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_listener_that_goes_says_goodbye_too() {
    let Stage { mut gateway, address, .. } = Stage::with(Actor::always(endpoint(vec![])).await).await;
    let mut client = switched(address).await;
    gateway.publisher.publish(Config::default().build());
    assert_eq!(read_frame(&mut client).await, going_away());
    client.send(ANSWER).await;
    assert_eq!(read_frame(&mut client).await, Err(End::Closed));
}
