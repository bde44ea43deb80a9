//! What raw bytes meet: malformed requests, slow and large headers, pipelines, upgrades, and answers that break
//! off.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use support::client::{Client, get, raw, read_all, read_answer};
use support::config::{Config, listener};
use support::script::{Script, upstream};
use support::upstream::Echo;
use support::{Gateway, free_address};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use transom::proxy::Settings;

async fn gateway_to(endpoint: SocketAddr, settings: Settings) -> (Gateway, SocketAddr) {
    let mut gateway = Gateway::with(settings);
    let mut config = Config::default();
    let rule = config.to("a", endpoint);
    let address = free_address();
    gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;
    (gateway, address)
}

#[tokio::test]
async fn a_malformed_request_is_refused_in_our_own_words() {
    let echo = Echo::start("a").await;
    let (_gateway, address) = gateway_to(echo.address, Settings::default()).await;
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.com\r\nHost: a.com\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.com, b.com\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a.com\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.com:b\r\n\r\n",
        "GET http://b.com/ HTTP/1.1\r\nHost: a.com\r\n\r\n",
        "GET /../x HTTP/1.1\r\nHost: a.com\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a.com\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.com\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nHost: a.com\r\nContent-Length: 3, 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a.com\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a.com\r\nTransfer-Encoding: gzip\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a.com\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.com\r\nConnection: x-forwarded-for\r\n\r\n",
        "nonsense\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03\r\n\r\n",
    ] {
        // The end of the connection ends an answer that would be kept alive.
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(request.as_bytes()).await.unwrap();
        let text = read_answer(&mut tcp).await;
        assert!(text.starts_with("HTTP/1.1 400 "), "{request:?}: {text}");
        assert!(text.ends_with("400 request_invalid\n"), "{request:?}: {text}");
        assert!(!text.to_lowercase().contains("pingora"), "{text}");
    }
    assert_eq!(echo.requests(), 0);
    assert_eq!(get(address, "http://a.com/").await.summary(), "200 a");
}

#[tokio::test]
async fn http10_without_host_goes_to_the_listener_without_hostname() {
    let echo = Echo::start("a").await;
    let (_gateway, address) = gateway_to(echo.address, Settings::default()).await;
    let text = raw(address, "GET /x HTTP/1.0\r\n\r\n").await;
    assert!(text.contains("name: a\n") && text.contains("target: /x\n"), "{text}");
}

#[tokio::test]
async fn an_absolute_target_of_http10_names_the_host() {
    let (one, two) = (Echo::start("one").await, Echo::start("two").await);
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let (to_one, to_two) = (config.to("one", one.address), config.to("two", two.address));
    let address = free_address();
    let listeners = vec![listener("one", Some("one.com"), to_one), listener("all", None, to_two)];
    gateway.serve(config.http(address, listeners).build()).await;
    let text = raw(address, "GET http://one.com/x?y HTTP/1.0\r\n\r\n").await;
    assert!(text.contains("name: one\n") && text.contains("target: /x?y\n"), "{text}");
    assert!(text.contains("host: one.com\n"), "{text}");
}

#[tokio::test]
async fn connect_is_refused() {
    let echo = Echo::start("a").await;
    let (_gateway, address) = gateway_to(echo.address, Settings::default()).await;
    let text = raw(address, "CONNECT a.com:443 HTTP/1.1\r\nHost: a.com:443\r\nConnection: close\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 405 "), "{text}");
    assert!(!text.to_lowercase().contains("pingora"), "{text}");
    assert_eq!(echo.requests(), 0);
}

#[tokio::test]
async fn a_header_that_drips_is_given_up() {
    let echo = Echo::start("a").await;
    let settings = Settings { header_timeout: Duration::from_millis(300), ..Settings::default() };
    let (_gateway, address) = gateway_to(echo.address, settings).await;

    let mut tcp = TcpStream::connect(address).await.unwrap();
    // The bound holds for a later request of the connection as well.
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n").await.unwrap();
    assert!(read_answer(&mut tcp).await.contains("name: a"));

    let (mut reader, mut writer) = tcp.into_split();
    let drip = tokio::spawn(async move {
        for byte in b"GET / HTTP/1.1\r\nHost: a.com\r\nX: ".iter().chain(std::iter::repeat(&b'x')) {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let begun = Instant::now();
    let text = read_all(&mut reader).await;
    assert!(text.starts_with("HTTP/1.1 408 "), "{text:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    drip.abort();
}

#[tokio::test]
async fn a_connection_that_says_nothing_or_half_a_preface_is_given_up() {
    let echo = Echo::start("a").await;
    let settings = Settings { first_byte_timeout: Duration::from_millis(200), ..Settings::default() };
    let (_gateway, address) = gateway_to(echo.address, settings).await;
    for begun in [&b""[..], b"PRI * HTTP/2.0\r\n"] {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(begun).await.unwrap();
        assert_eq!(read_all(&mut tcp).await, "");
    }
}

#[tokio::test]
async fn a_header_block_beyond_the_limit_is_refused() {
    let echo = Echo::start("a").await;
    let (_gateway, address) = gateway_to(echo.address, Settings::default()).await;
    let large = |bytes: usize| format!("GET / HTTP/1.1\r\nHost: a.com\r\nX: {}\r\n\r\n", "x".repeat(bytes));

    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(large(63 * 1024).as_bytes()).await.unwrap();
    assert!(read_answer(&mut tcp).await.contains("name: a"));

    for bytes in [64 * 1024, 70 * 1024, 512 * 1024] {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let _ = tcp.write_all(large(bytes).as_bytes()).await;
        let text = read_answer(&mut tcp).await;
        assert!(text.starts_with("HTTP/1.1 431 ") && text.ends_with("431 header_too_large\n"), "{bytes}: {text}");
    }
    assert_eq!(echo.requests(), 1);
}

#[tokio::test]
async fn a_target_or_a_number_of_fields_beyond_the_limit_is_refused() {
    let echo = Echo::start("a").await;
    let (_gateway, address) = gateway_to(echo.address, Settings::default()).await;
    for over_h2 in [false, true] {
        let connect = || async { if over_h2 { Client::h2(address).await } else { Client::h1(address).await } };
        let mut client = connect().await;
        let long = client.get(&format!("http://a.com/{}", "x".repeat(17 * 1024))).await.unwrap();
        assert_eq!(long.summary(), "414 header_too_large");
        let mut request = hyper::Request::get("http://a.com/");
        for number in 0..140 {
            request = request.header(format!("x-{number}"), "1");
        }
        let mut client = connect().await;
        let many = client.send(request.body(http_body_util::Full::default()).unwrap()).await.unwrap();
        assert_eq!(many.summary(), "431 header_too_large");
    }
    assert_eq!(echo.requests(), 0);
}

#[tokio::test]
async fn a_client_that_is_still_sending_does_not_lose_its_answer() {
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let dead = config.to("dead", free_address());
    let address = free_address();
    let spec =
        support::config::ListenerSpec { name: "l", hostname: None, tls: None, routes: vec![(None, "/dead", dead)] };
    gateway.serve(config.http(address, vec![spec]).build()).await;
    for (path, expected) in [("/", "404 no_route"), ("/dead", "503 connect_failed")] {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: a.com\r\nContent-Length: 3000000\r\n\r\n");
        tcp.write_all(head.as_bytes()).await.unwrap();
        tcp.write_all(&vec![b'x'; 3_000_000]).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        let answer = read_all(&mut tcp).await;
        assert!(answer.ends_with(&format!("{expected}\n")), "{answer}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let echo = Echo::start("a").await;
    let (_gateway, address) = gateway_to(echo.address, Settings::default()).await;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let two = "GET /1 HTTP/1.1\r\nHost: a.com\r\n\r\nGET /2 HTTP/1.1\r\nHost: a.com\r\n\r\n";
    tcp.write_all(two.as_bytes()).await.unwrap();
    assert!(read_answer(&mut tcp).await.contains("target: /1\n"));
    assert!(read_answer(&mut tcp).await.contains("target: /2\n"));
}

#[tokio::test]
async fn what_follows_a_pipelined_request_and_is_none_is_refused_in_our_own_words() {
    let echo = Echo::start("a").await;
    let (gateway, address) = gateway_to(echo.address, Settings::default()).await;
    for garbage in ["nonsense\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let head = "POST / HTTP/1.1\r\nHost: a.com\r\nContent-Length: 5\r\n\r\nhello";
        tcp.write_all(format!("{head}{garbage}").as_bytes()).await.unwrap();
        assert!(read_answer(&mut tcp).await.contains("body: 5\n"));
        let text = read_answer(&mut tcp).await;
        assert!(text.starts_with("HTTP/1.1 400 ") && text.ends_with("400 request_invalid\n"), "{text}");
        assert!(!text.to_lowercase().contains("pingora"), "{text}");
    }
    support::eventually("both in the metrics", || async {
        let text = gateway.telemetry.metrics_text();
        let counted = |line: &str| line.contains("reason=\"request_invalid\"") && line.ends_with(" 2");
        text.lines().any(counted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_wants_to_close_is_let_go() {
    let echo = Echo::start("a").await;
    let (_gateway, address) = gateway_to(echo.address, Settings::default()).await;
    let text = raw(address, "GET / HTTP/1.1\r\nHost: a.com\r\nConnection: close\r\n\r\n").await;
    assert!(text.to_lowercase().contains("connection: close\r\n"), "{text}");
    assert!(text.contains("name: a\n"));
}

#[tokio::test]
async fn a_request_body_reaches_the_upstream_whole() {
    let echo = Echo::start("a").await;
    let (_gateway, address) = gateway_to(echo.address, Settings::default()).await;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let body = "x".repeat(300_000);
    let head = "POST / HTTP/1.1\r\nHost: a.com\r\nContent-Length: 300000\r\n\r\n";
    tcp.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    assert!(read_answer(&mut tcp).await.contains("body: 300000\n"));
    let chunked = "POST / HTTP/1.1\r\nHost: a.com\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    tcp.write_all(chunked.as_bytes()).await.unwrap();
    assert!(read_answer(&mut tcp).await.contains("body: 5\n"));
}

#[tokio::test]
async fn a_client_that_expects_100_continue_gets_it() {
    let echo = Echo::start("a").await;
    let (_gateway, address) = gateway_to(echo.address, Settings::default()).await;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: a.com\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    tcp.write_all(head.as_bytes()).await.unwrap();
    let interim = read_answer(&mut tcp).await;
    assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
    tcp.write_all(b"hello").await.unwrap();
    assert!(read_answer(&mut tcp).await.contains("body: 5\n"));
}

#[tokio::test]
async fn a_websocket_passes_both_ways() {
    let (_gateway, address) = gateway_to(upstream(Script::Upgrade).await, Settings::default()).await;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let head = "GET /ws HTTP/1.1\r\nHost: a.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n";
    tcp.write_all(head.as_bytes()).await.unwrap();
    let answer = read_answer(&mut tcp).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    for message in [&b"\x81\x05hello"[..], b"\x82\x03\x00\xff\x7f"] {
        tcp.write_all(message).await.unwrap();
        let mut back = vec![0; message.len()];
        tcp.read_exact(&mut back).await.unwrap();
        assert_eq!(back, message);
    }
}

#[tokio::test]
async fn an_upgrade_to_h2c_is_not_honoured() {
    let echo = Echo::start("a").await;
    let (_gateway, address) = gateway_to(echo.address, Settings::default()).await;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let head = "GET / HTTP/1.1\r\nHost: a.com\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n";
    tcp.write_all(head.as_bytes()).await.unwrap();
    let answer = read_answer(&mut tcp).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(!answer.contains("\nupgrade: ") && !answer.contains("\nhttp2-settings: "), "{answer}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_look_whole() {
    let cases: [&'static [u8]; 3] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nhalf",
    ];
    for bytes in cases {
        let (_gateway, address) = gateway_to(upstream(Script::Say(bytes)).await, Settings::default()).await;
        let h1 = Client::h1(address).await.get("http://a.com/").await;
        assert!(h1.is_err(), "{h1:?}");
        let h2 = Client::h2(address).await.get("http://a.com/").await;
        assert!(h2.is_err(), "{h2:?}");

        // To an HTTP/1.0 client only the end of the connection says that an answer is whole.
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(b"GET / HTTP/1.0\r\nHost: a.com\r\n\r\n").await.unwrap();
        let mut seen = Vec::new();
        let outcome = tcp.read_to_end(&mut seen).await;
        let whole_by_length = String::from_utf8_lossy(&seen).to_lowercase().contains("content-length: 100");
        assert!(outcome.is_err() || whole_by_length, "{:?}", String::from_utf8_lossy(&seen));
    }
}

#[tokio::test]
async fn an_upstream_that_answers_nothing_or_no_http_is_a_502() {
    for script in [
        Script::Hang,
        Script::Say(b"nonsense\r\n\r\n"),
        Script::SayAndReset(b""),
        Script::Say(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
    ] {
        let (_gateway, address) = gateway_to(upstream(script).await, Settings::default()).await;
        for mut client in [Client::h1(address).await, Client::h2(address).await] {
            let answer = client.get("http://a.com/").await.unwrap();
            assert_eq!(answer.summary(), "502 upstream_reset");
            assert_eq!(answer.headers.get("server"), None);
        }
    }
}

#[tokio::test]
async fn what_concerned_the_upstreams_connection_stays_there() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\n\
                  Keep-Alive: timeout=5\r\nTrailer: X-T\r\nServer: theirs\r\n\r\nhi";
    let (_gateway, address) = gateway_to(upstream(Script::Say(bytes)).await, Settings::default()).await;
    for mut client in [Client::h1(address).await, Client::h2(address).await] {
        let answer = client.get("http://a.com/").await.unwrap();
        assert_eq!(answer.body, "hi");
        assert_eq!(answer.headers["server"], "theirs");
        for name in ["x-hop", "keep-alive", "trailer"] {
            assert_eq!(answer.headers.get(name), None, "{name}");
        }
        assert!(answer.headers.get("connection").is_none_or(|value| value == "keep-alive"));
    }
}
