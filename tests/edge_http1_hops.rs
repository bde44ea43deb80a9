//! What concerns one hop only stays there: hop-by-hop fields, those that `Connection` names, and upgrades.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use support::edge::Edge;
use support::http1::Request;

async fn reached(edge: &Edge, fields: &str) -> Request {
    let request = format!("GET /x HTTP/1.1\r\nHost: a.com\r\n{fields}\r\n");
    let (answers, served) = edge.say_and_more(&request, usize::MAX).await;
    assert!(answers.len() == 1 && answers[0].status == 200 && served, "{fields:?}: {answers:?}");
    let whole = edge.upstream.whole();
    edge.upstream.take();
    assert_eq!(whole.len(), 2, "{whole:?}");
    whole.into_iter().next().unwrap()
}

#[tokio::test]
async fn hop_by_hop_fields_do_not_reach_the_upstream() {
    let edge = Edge::start().await;
    let sent = "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers, deflate\r\nTrailer: X-T\r\n\
                Upgrade: foo\r\nProxy-Authenticate: Basic\r\nProxy-Authorization: Basic c2VjcmV0\r\n\
                Connection: X-Hop, TE\r\nConnection: x-other\r\nX-Hop: 1\r\nX-Other: 1\r\nX-End: 1\r\n\
                HTTP2-Settings: AAMAAABk\r\n";
    let request = reached(&edge, sent).await;
    for name in [
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "proxy-authenticate",
        "proxy-authorization",
        "connection",
        "x-hop",
        "x-other",
        "http2-settings",
        "transfer-encoding",
        "content-length",
    ] {
        assert_eq!(request.values(name), [""; 0], "{name}");
    }
    assert_eq!(request.values("x-end"), ["1"]);
}

#[tokio::test]
async fn what_is_named_by_connection_goes_but_not_what_we_add() {
    let edge = Edge::start().await;
    let request = reached(&edge, "Connection: x-real-ip, x-forwarded-port, X-Mine\r\nX-Mine: 1\r\n").await;
    assert_eq!(request.values("x-mine"), [""; 0]);
    assert_eq!(request.values("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(request.values("x-forwarded-port").len(), 1);
    assert_eq!(request.values("connection"), [""; 0]);
}

/// Pingora refuses these; who sends them wants the upstream to see another client, or another host, than there is.
#[tokio::test]
async fn connection_must_not_name_what_tells_whose_request_it_is() {
    let edge = Edge::start().await;
    let many = (0..10).map(|number| format!("x-{number}")).collect::<Vec<_>>().join(", ");
    let values = [
        "host",
        "Host",
        "x-forwarded-for",
        "X-Forwarded-Host",
        "x-forwarded-proto",
        ":authority",
        "\"x\"",
        "x y",
        &many,
    ];
    let request = |value: &str| format!("GET /x HTTP/1.1\r\nHost: a.com\r\nConnection: {value}\r\n\r\n");
    edge.refuses(400, "request_invalid", &values.map(request)).await;
}

#[tokio::test]
async fn no_upgrade_but_to_websocket_reaches_the_upstream() {
    let edge = Edge::start().await;
    for upgrade in ["h2c", "TLS/1.3", "websocket, h2c", "h2c, websocket", "websocket/13", "foo"] {
        let fields = format!(
            "Upgrade: {upgrade}\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
        );
        let request = reached(&edge, &fields).await;
        for name in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(request.values(name), [""; 0], "{upgrade}: {request:?}");
        }
    }
    // One that the upstream does not take is an ordinary request, and what is behind it is another one.
    let request = reached(&edge, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n").await;
    assert_eq!((request.values("upgrade"), request.values("connection")), (vec!["websocket"], vec!["Upgrade"]));
    // It is one of HTTP/1.1.
    let answers = edge.say("GET /x HTTP/1.0\r\nHost: a.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n").await;
    assert_eq!(answers.len(), 1);
    assert_eq!(edge.upstream.whole()[0].values("upgrade"), [""; 0]);
}

/// Not before the upstream has said 101 is anything but HTTP spoken: what a client sends ahead is its next request.
#[tokio::test]
async fn a_request_behind_an_upgrade_that_is_not_taken_is_seen_as_one() {
    let edge = Edge::start().await;
    let upgrade = "GET /ws HTTP/1.1\r\nHost: a.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let hidden = "GET /none HTTP/1.1\r\nHost: a.com\r\n\r\n";
    let (answers, served) = edge.say_and_more(format!("{upgrade}{hidden}"), usize::MAX).await;
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 500]);
    assert!(served);
    assert_eq!(edge.upstream.take(), ["GET /ws", "GET /behind"]);
}
