//! What is no request over HTTP/2 is refused, alone if it can be and with its connection if it must, and reaches nobody.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "parts of tests fail as tests do")]

#[path = "support/traffic/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use support::config::{Config, listener};
use support::frames::{
    CALM, CONTINUATION, DATA, END, END_HEADERS, Fate, Frames, GOAWAY, HEADERS, NO_ERROR, PING, PREFACE, PROTOCOL_ERROR,
    PUSH_PROMISE, SETTINGS, block, frame, get, headers, request, reset, settings, window_update,
};
use support::h2c::H2c;
use support::upstream::Echo;
use support::{Gateway, eventually, free_address, tls};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use transom::proxy::Settings;
use transom::snapshot::UpstreamProtocol;
use transom::snapshot::tls::ListenerTls;

/// RFC 9113, 7.
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;

/// What is made of bytes that a client sends on stream 1.
#[derive(Clone, Copy)]
enum Made {
    /// A request that is served.
    Served,
    /// An answer of ours; the connection stands.
    Answered(u16),
    /// A reset of the stream; the connection stands.
    Reset(u32),
    /// The end of the connection.
    GoAway(u32),
}
use Made::{Answered, GoAway, Reset, Served};

const BROKEN: Made = Reset(PROTOCOL_ERROR);
const FATAL: Made = GoAway(PROTOCOL_ERROR);

async fn before(to: SocketAddr, protocol: UpstreamProtocol, settings: Settings) -> (Gateway, SocketAddr) {
    let mut gateway = Gateway::with(settings);
    let mut config = Config::default();
    let upstream = config.upstream_over("a", protocol, &[to]);
    let rule = config.forward("a", upstream);
    let address = free_address();
    gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;
    (gateway, address)
}

/// Sends each case on a connection of its own, checks what is made of it, and whether it reached the upstream.
async fn check(cases: Vec<(&str, Vec<u8>, Made)>) {
    let echo = Echo::start("a").await;
    let (_gateway, address) = before(echo.address, UpstreamProtocol::Http1, Settings::default()).await;
    for (name, bytes, made) in cases {
        let before = echo.requests();
        let mut client = Frames::connect(address, &[]).await;
        client.send(bytes).await;
        let expected = match made {
            Served => Fate::Status(200),
            Answered(status) => Fate::Status(status),
            Reset(code) => Fate::Reset(code),
            GoAway(code) => Fate::GoAway(code, String::new()),
        };
        match (client.fate(1).await, &expected) {
            (Fate::GoAway(code, _), Fate::GoAway(asked, _)) => assert_eq!(code, *asked, "{name}"),
            (seen, _) => assert_eq!(seen, expected, "{name}"),
        }
        if !matches!(made, GoAway(_)) {
            // the next request on the connection is none the worse
            client.send(get(11, "/next")).await;
            assert_eq!(client.fate(11).await, Fate::Status(200), "{name}: the next one");
        }
        let reached = match made {
            Served => 2,
            Answered(_) | Reset(_) => 1,
            GoAway(_) => 0,
        };
        assert_eq!(echo.requests() - before, reached, "{name}: reached the upstream");
    }
}

#[tokio::test]
async fn pseudo_headers_are_whole_single_and_first() {
    let of = |fields: &[(&str, &str)]| headers(1, END, fields);
    let (method, scheme, authority, path) =
        ((":method", "GET"), (":scheme", "http"), (":authority", "a.com"), (":path", "/"));
    check(vec![
        ("all four", of(&[method, scheme, authority, path]), Served),
        ("in another order", of(&[path, authority, method, scheme]), Served),
        ("no method", of(&[scheme, authority, path]), BROKEN),
        ("no scheme", of(&[method, authority, path]), BROKEN),
        ("no path", of(&[method, scheme, authority]), BROKEN),
        ("no authority", of(&[method, scheme, path]), Answered(400)),
        ("a host instead of an authority", of(&[method, scheme, path, ("host", "a.com")]), Served),
        ("a host that agrees", of(&[method, scheme, authority, path, ("host", "a.com")]), Served),
        ("a host that differs", of(&[method, scheme, authority, path, ("host", "b.com")]), Answered(400)),
        ("two hosts", of(&[method, scheme, authority, path, ("host", "a.com"), ("host", "a.com")]), Answered(400)),
        ("user and password", of(&[method, scheme, (":authority", "u:p@a.com"), path]), Answered(400)),
        ("an empty authority", of(&[method, scheme, (":authority", ""), path]), BROKEN),
        ("an empty path", of(&[method, scheme, authority, (":path", "")]), BROKEN),
        ("a path without its slash", of(&[method, scheme, authority, (":path", "x")]), BROKEN),
        ("a path with a host", of(&[method, scheme, authority, (":path", "http://b.com/")]), BROKEN),
        ("a path with a space", of(&[method, scheme, authority, (":path", "/a b")]), BROKEN),
        ("a path with a line feed", of(&[method, scheme, authority, (":path", "/a\r\nx: y")]), BROKEN),
        ("a star", of(&[method, scheme, authority, (":path", "*")]), Answered(400)),
        ("an empty method", of(&[(":method", ""), scheme, authority, path]), FATAL),
        ("a method with a space", of(&[(":method", "GET /x"), scheme, authority, path]), FATAL),
        ("two paths", of(&[method, scheme, authority, path, path]), BROKEN),
        ("two authorities", of(&[method, scheme, authority, authority, path]), BROKEN),
        ("two methods", of(&[method, method, scheme, authority, path]), BROKEN),
        ("behind a field", of(&[method, scheme, authority, ("x", "y"), path]), BROKEN),
        ("one of answers", of(&[method, scheme, authority, path, (":status", "200")]), BROKEN),
        ("one that is not known", of(&[method, scheme, authority, path, (":foo", "x")]), FATAL),
        (
            "extended CONNECT",
            of(&[(":method", "CONNECT"), scheme, authority, path, (":protocol", "websocket")]),
            BROKEN,
        ),
        ("CONNECT", of(&[(":method", "CONNECT"), (":authority", "a.com:443")]), Answered(405)),
    ])
    .await;
}

#[tokio::test]
async fn fields_of_the_connection_and_bytes_that_would_be_more_in_http_1_are_refused() {
    let with = |name: &str, value: &str| headers(1, END, &request("GET", "/", &[(name, value)]));
    check(vec![
        ("Connection", with("connection", "close"), BROKEN),
        ("Keep-Alive", with("keep-alive", "timeout=5"), BROKEN),
        ("Proxy-Connection", with("proxy-connection", "keep-alive"), BROKEN),
        ("Transfer-Encoding", with("transfer-encoding", "chunked"), BROKEN),
        ("Upgrade", with("upgrade", "h2c"), BROKEN),
        ("TE", with("te", "gzip"), BROKEN),
        ("TE with trailers", with("te", "trailers"), Served),
        ("an upper case name", with("X-Up", "1"), FATAL),
        ("an empty name", with("", "1"), FATAL),
        ("a name with a space", with("a b", "1"), FATAL),
        ("a name with a colon", with("a:b", "1"), FATAL),
        ("a value with a line end", with("a", "1\r\nb: 2"), FATAL),
        ("a value with a line feed", with("a", "1\n2"), FATAL),
        ("a value with a NUL", with("a", "1\0"), FATAL),
    ])
    .await;
}

#[tokio::test]
async fn the_length_of_a_body_is_what_is_said() {
    let post = |lengths: &[&str]| {
        let fields: Vec<_> = lengths.iter().map(|length| ("content-length", *length)).collect();
        headers(1, 0, &request("POST", "/", &fields))
    };
    let data = |bytes: &[u8]| frame(DATA, END, 1, bytes);
    check(vec![
        ("as said", [post(&["5"]), data(b"12345")].concat(), Served),
        ("not said", [post(&[]), data(b"12345")].concat(), Served),
        ("said twice", [post(&["5", "5"]), data(b"12345")].concat(), Answered(400)),
        ("said in two ways", post(&["5", "6"]), BROKEN),
        ("said as nobody counts", post(&["+5"]), BROKEN),
        ("a body that never comes", headers(1, END, &request("POST", "/", &[("content-length", "5")])), BROKEN),
    ])
    .await;
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_said_is_whole_to_nobody() {
    let upstream = H2c::start().await;
    let (_gateway, address) = before(upstream.address, UpstreamProtocol::H2c, Settings::default()).await;
    let ends = [frame(DATA, END, 1, b"123"), frame(DATA, END, 1, b"1234567"), headers(1, 0, &[("x", "trailer")])];
    for (number, end) in ends.into_iter().enumerate() {
        let mut client = Frames::connect(address, &[]).await;
        client.send(headers(1, 0, &request("POST", "/unary", &[("content-length", "5")]))).await;
        eventually("the request", || async { upstream.seen().get(number).map(drop) }).await;
        client.send(end).await;
        assert_eq!(client.fate(1).await, Fate::Reset(PROTOCOL_ERROR));
        let outcome = upstream.wait_outcome(number).await;
        assert!(matches!(outcome, support::h2c::Outcome::Broken(_)), "{outcome:?}");
    }
}

#[tokio::test]
async fn header_lists_are_bounded_packed_or_not() {
    let long = |length: usize| block(&[("a", &"v".repeat(length))]);
    let first = |more: &[u8]| frame(HEADERS, END, 1, &[&block(&request("GET", "/", &[])), more].concat());
    let piece = |flags: u8, length: usize| frame(CONTINUATION, flags, 1, &long(length));
    // one entry of 4,000 bytes in the table of the client's making, and references to it
    let mut entry = [&block(&request("GET", "/", &[]))[..], &[0x40, 1, b'x', 0x7f, 0xa1, 0x1e]].concat();
    entry.extend([b'v'; 4000]);
    let bomb = |count: usize| frame(HEADERS, END | END_HEADERS, 1, &[&entry[..], &vec![0xbe; count]].concat());
    check(vec![
        ("within the limit", [first(&long(9000)), piece(0, 9000), piece(END_HEADERS, 9000)].concat(), Served),
        (
            "beyond it",
            [first(&long(16_000)), piece(0, 16_000).repeat(3), piece(END_HEADERS, 9000)].concat(),
            Answered(431),
        ),
        ("more fields than are taken", headers(1, END, &request("GET", "/", &[("a", "b"); 129])), Answered(431)),
        (
            "a target beyond its limit",
            headers(1, END, &request("GET", &format!("/{}", "v".repeat(16_384)), &[])),
            GoAway(FRAME_SIZE_ERROR),
        ),
        ("beyond it, by references", bomb(20), Answered(431)),
        ("far beyond it, by references", bomb(3000), GoAway(CALM)),
        ("an index of nothing", frame(HEADERS, END | END_HEADERS, 1, &[0xff, 0xff, 0x7f]), FATAL),
        ("a table beyond its limit", frame(HEADERS, END | END_HEADERS, 1, &[0x3f, 0xe1, 0xff, 0x7f]), FATAL),
    ])
    .await;
}

#[tokio::test]
async fn frames_out_of_place_end_the_connection() {
    let refused = |stream| headers(stream, 0, &[(":method", "POST")]); // no request, and so nothing that is forwarded
    check(vec![
        ("data of the connection", frame(DATA, 0, 0, b"x"), FATAL),
        ("data of no stream", frame(DATA, 0, 1, b"x"), FATAL),
        ("a stream of the server's", get(2, "/"), FATAL),
        ("a stream that is behind", [refused(5), get(3, "/")].concat(), FATAL),
        ("a push", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]), FATAL),
        ("a frame beyond the size", frame(HEADERS, END | END_HEADERS, 1, &[0; 16_385]), GoAway(FRAME_SIZE_ERROR)),
        ("settings cut short", frame(SETTINGS, 0, 0, &[0; 5]), FATAL),
        ("a window beyond all", settings(&[(4, 0x8000_0000)]), FATAL),
        ("a ping cut short", frame(PING, 0, 0, &[0; 7]), FATAL),
        ("no more room for the connection", window_update(0, 0), FATAL),
        ("more room than can be counted", window_update(0, 0x7fff_ffff), GoAway(FLOW_CONTROL_ERROR)),
        ("a reset of no stream", reset(1, 0), FATAL),
        (
            "a stream that depends on itself",
            frame(HEADERS, 0x25, 1, &[&[0, 0, 0, 1, 1], &block(&request("GET", "/", &[]))[..]].concat()),
            BROKEN,
        ),
        ("padding beyond the frame", [refused(3), frame(DATA, 8, 3, &[9, 1])].concat(), FATAL),
        (
            "another frame within a header block",
            [frame(HEADERS, 0, 1, &block(&request("GET", "/", &[]))), frame(PING, 0, 0, &[0; 8])].concat(),
            FATAL,
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_preface_that_stalls_or_is_another_ends_in_time_and_is_noted() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::with(Settings {
        first_byte_timeout: Duration::from_millis(300),
        header_timeout: Duration::from_millis(300),
        ..Settings::default()
    });
    let mut config = Config::default();
    let rule = config.to("a", echo.address);
    let (plain, secure) = (free_address(), free_address());
    let mut over_tls = listener("s", None, rule);
    over_tls.tls = Some(ListenerTls { certificates: vec![tls::certificate(&["a.com"])] });
    let config = config.http(plain, vec![listener("l", None, rule)]).https(secure, vec![over_tls]);
    gateway.serve(config.build()).await;
    let config = tls::client(&["h2"]);
    for half in [&PREFACE[..1], &PREFACE[..23]] {
        let mut tcp = TcpStream::connect(plain).await.unwrap();
        tcp.write_all(half).await.unwrap();
        assert!(Frames::over(tcp).ends_within(Duration::from_secs(5)).await, "{half:?} in cleartext");
        let mut stream = tls::connect(secure, "a.com", &config).await.unwrap();
        stream.write_all(half).await.unwrap();
        assert!(Frames::over(stream).ends_within(Duration::from_secs(5)).await, "{half:?} over TLS");
    }
    let mut stream = tls::connect(secure, "a.com", &config).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n").await.unwrap();
    assert!(Frames::over(stream).ends_within(Duration::from_secs(5)).await, "HTTP/1 where h2 was agreed on");
    eventually("three records", || async {
        let text = gateway.telemetry.metrics_text();
        let mut lines = text.lines().filter(|line| line.contains("code=\"0\",reason=\"request_invalid\""));
        lines.any(|line| line.ends_with(" 3")).then_some(())
    })
    .await;
    assert_eq!(echo.requests(), 0);
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_after_its_idle_time_and_not_sooner() {
    let echo = Echo::slow("a", Duration::from_millis(1600)).await;
    let settings = Settings { keepalive_timeout: Duration::from_secs(1), ..Settings::default() };
    let (_gateway, address) = before(echo.address, UpstreamProtocol::Http1, settings).await;
    let mut idle = Frames::connect(address, &[]).await;
    let mut half_a_header = Frames::connect(address, &[]).await;
    half_a_header.send(&get(1, "/")[..20]).await;
    let mut busy = Frames::connect(address, &[]).await;
    busy.send(get(1, "/")).await;
    assert_eq!(busy.fate(1).await, Fate::Status(200), "a request may take longer than the idle time");
    for (name, client) in [("idle", &mut idle), ("half a header", &mut half_a_header), ("busy", &mut busy)] {
        assert!(client.ends_within(Duration::from_secs(10)).await, "{name}");
    }
}

#[tokio::test]
async fn a_drain_says_goaway_and_finishes_what_is_in_flight() {
    let echo = Echo::held("a", 0).await;
    let (gateway, address) = before(echo.address, UpstreamProtocol::Http1, Settings::default()).await;
    let mut client = Frames::connect(address, &[]).await;
    client.send([get(1, "/"), headers(3, 0, &request("POST", "/", &[]))].concat()).await;
    eventually("a request in flight", || async { (echo.requests() == 2).then_some(()) }).await;
    let drain = tokio::spawn(gateway.proxy.drain(Duration::ZERO, Duration::from_secs(20)));
    let goaway = client.next_of(GOAWAY, 0).await.unwrap();
    assert_eq!(goaway.code(), NO_ERROR);
    client.send(frame(DATA, END, 3, b"body")).await;
    let ping = client.next_of(PING, 0).await.unwrap();
    client.send(frame(PING, END, 0, &ping.payload)).await;
    echo.release();
    let mut statuses = vec![client.fate(1).await, client.fate(3).await];
    statuses.dedup();
    assert_eq!(statuses, [Fate::Status(200)]);
    assert!(client.ends_within(Duration::from_secs(10)).await);
    assert_eq!(drain.await.unwrap().cut, 0);
}

#[tokio::test]
async fn a_client_that_does_not_follow_a_goaway_holds_no_drain_up() {
    let echo = Echo::start("a").await;
    let (gateway, address) = before(echo.address, UpstreamProtocol::Http1, Settings::default()).await;
    let mut client = Frames::connect(address, &[]).await;
    client.send(get(1, "/")).await;
    assert_eq!(client.fate(1).await, Fate::Status(200));
    let begun = Instant::now();
    assert_eq!(gateway.proxy.drain(Duration::ZERO, Duration::from_secs(30)).await.cut, 0);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(client.ends_within(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn trailers_pass_both_ways_and_the_next_request_is_none_the_worse() {
    let upstream = H2c::start().await;
    let (_gateway, address) = before(upstream.address, UpstreamProtocol::H2c, Settings::default()).await;
    let mut client = support::h2c::connect(address).await;
    for _ in 0..2 {
        let reply = support::h2c::ask(&mut client, "/unary", "body").await.unwrap();
        assert_eq!((reply.body.as_slice(), reply.trailer("grpc-status")), (&b"body"[..], Some("0")));
    }
    // Pingora hands no trailers of requests on; the request is whole all the same.
    let mut raw = Frames::connect(address, &[]).await;
    let fields = request("POST", "/unary", &[("te", "trailers"), ("trailer", "x-sum")]);
    raw.send([headers(1, 0, &fields), frame(DATA, 0, 1, b"abc"), headers(1, END, &[("x-sum", "6")])].concat()).await;
    assert_eq!(raw.answer(1).await.unwrap(), (200, b"abc".to_vec()));
    assert_eq!(upstream.seen()[2].outcome, Some(support::h2c::Outcome::Whole(http::HeaderMap::new())));
}
