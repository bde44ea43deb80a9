//! `timeouts` of a rule: the time of a request over all its tries and bodies, and the time of one try.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;
#[path = "support/tries.rs"]
mod tries;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::client::{Client, read_answer};
use support::script::{Script, upstream};
use support::{Gateway, free_address};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use transom::snapshot::{Timeouts, UpstreamProtocol};
use tries::{Act, Endpoint, Log, assert_took, counter, gateway, retry, timeouts};

const QUICK: Duration = Duration::ZERO;

async fn to(endpoint: SocketAddr, h2c: bool, timeouts: Timeouts) -> (Gateway, Log, SocketAddr) {
    let protocol = if h2c { UpstreamProtocol::H2c } else { UpstreamProtocol::Http1 };
    let rule = |config: &mut support::config::Config| {
        let to = config.upstream_over("a", protocol, &[endpoint]);
        config.forward("a", to)
    };
    gateway(rule, timeouts, None).await
}

async fn clients(address: SocketAddr) -> [(&'static str, Client); 2] {
    [("h1", Client::h1(address).await), ("h2", Client::h2(address).await)]
}

#[tokio::test]
async fn a_request_whose_time_is_over_is_answered_504_and_its_try_is_cancelled() {
    for (limits, expected) in [
        (timeouts(300, 0), "504 request_timeout"),
        (timeouts(0, 300), "504 backend_timeout"),
        (timeouts(300, 200), "504 backend_timeout"),
        (timeouts(300, 300), "504 request_timeout"),
    ] {
        let millis = if limits == timeouts(300, 200) { 200 } else { 300 };
        for h2c in [false, true] {
            for client in 0..2 {
                let endpoint = Endpoint::over(h2c, |_| Act::Hang).await;
                let (gateway, log, address) = to(endpoint.address, h2c, limits).await;
                let (name, mut client) = clients(address).await.into_iter().nth(client).unwrap();
                let begun = Instant::now();
                let answer = client.get("http://a.com/").await.unwrap();
                assert_took(begun, millis, name);
                assert_eq!(answer.summary(), expected, "{name} to h2c: {h2c}");
                endpoint.sees_a_cut().await;
                let word = expected.split(' ').nth(1).unwrap();
                let line = log.line("the log", |line| line["reason"] == word).await;
                assert_eq!(line["status"], 504, "{line}");
                assert_eq!(line["upstream"], endpoint.address.to_string(), "{line}");
                let labels = [&format!("reason=\"{word}\"") as &str, "code=\"504\""];
                assert_eq!(counter(&gateway, "transom_http_requests_total", &labels), 1);
            }
        }
    }
}

#[tokio::test]
async fn a_grpc_client_is_told_deadline_exceeded() {
    let endpoint = Endpoint::h2c(|_| Act::Hang).await;
    let (_gateway, _, address) = to(endpoint.address, true, timeouts(200, 0)).await;
    let request = Request::post("http://a.com/s/m").header("content-type", "application/grpc").header("te", "trailers");
    let answer = Client::h2(address).await.send(request.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.headers["grpc-status"].as_bytes()), (200, &b"4"[..]));
    endpoint.sees_a_cut().await;
}

#[tokio::test]
async fn an_answer_in_time_passes_and_no_time_is_no_limit() {
    let late = Duration::from_millis(300);
    for h2c in [false, true] {
        let endpoint = Endpoint::over(h2c, move |_| Act::Answer(200, late)).await;
        for limits in [Timeouts::default(), timeouts(2000, 0), timeouts(0, 2000), timeouts(3000, 2000)] {
            let (_gateway, log, address) = to(endpoint.address, h2c, limits).await;
            for (name, mut client) in clients(address).await {
                for _ in 0..2 {
                    let answer = client.get("http://a.com/").await.unwrap();
                    assert_eq!(answer.body, "endpoint 200 0", "{name}");
                }
            }
            let line = log.line("the log", |line| line["status"] == 200).await;
            assert_eq!((&line["reason"], &line["error"]), (&"none".into(), &serde_json::Value::Null));
        }
    }
}

#[tokio::test]
async fn a_limit_of_one_request_is_none_of_the_next_on_its_connection() {
    let endpoint =
        Endpoint::h1(|number| Act::Answer(200, Duration::from_millis(if number < 8 { 120 } else { 0 }))).await;
    let (_gateway, _, address) = to(endpoint.address, false, timeouts(400, 0)).await;
    let mut client = Client::h1(address).await;
    for _ in 0..8 {
        assert_eq!(client.get("http://a.com/").await.unwrap().status, 200);
    }
    tokio::time::sleep(Duration::from_millis(600)).await; // a limit long over by now
    assert_eq!(client.get("http://a.com/").await.unwrap().status, 200);
}

#[tokio::test]
async fn an_answer_whose_time_is_over_is_cut_and_never_looks_whole() {
    for limits in [timeouts(300, 0), timeouts(0, 300)] {
        for act in [Act::Drip { until_close: false }, Act::Stall { until_close: false }] {
            for h2c in [false, true] {
                for client in 0..2 {
                    let endpoint = Endpoint::over(h2c, move |_| act).await;
                    let (gateway, log, address) = to(endpoint.address, h2c, limits).await;
                    let (name, mut client) = clients(address).await.into_iter().nth(client).unwrap();
                    let begun = Instant::now();
                    let outcome = client.get("http://a.com/").await;
                    assert!(outcome.is_err(), "{name} to h2c: {h2c}: {outcome:?}");
                    assert_took(begun, 300, name);
                    endpoint.sees_a_cut().await;
                    let word = if limits.request.is_some() { "request_timeout" } else { "backend_timeout" };
                    let line = log.line("the log", |line| line["reason"] == word).await;
                    assert_eq!(
                        (&line["status"], &line["path"], &line["method"]),
                        (&200.into(), &"/".into(), &"GET".into())
                    );
                    assert!(line["bytes"].as_u64().unwrap() >= 4, "{line}");
                    assert_eq!(log.lines().len(), 1);
                    let labels = [&format!("reason=\"{word}\"") as &str, "code=\"200\""];
                    assert_eq!(counter(&gateway, "transom_http_requests_total", &labels), 1);
                }
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_reset_when_its_time_is_over() {
    for act in [Act::Drip { until_close: true }, Act::Stall { until_close: true }] {
        for h2c in [false, true] {
            let endpoint = Endpoint::over(h2c, move |_| act).await;
            let (_gateway, _, address) = to(endpoint.address, h2c, timeouts(300, 0)).await;
            let mut tcp = TcpStream::connect(address).await.unwrap();
            tcp.write_all(b"GET / HTTP/1.0\r\nHost: a.com\r\n\r\n").await.unwrap();
            let mut seen = Vec::new();
            let begun = Instant::now();
            let outcome = tcp.read_to_end(&mut seen).await;
            assert_took(begun, 300, "HTTP/1.0");
            assert!(outcome.is_err(), "{:?}", String::from_utf8_lossy(&seen));
            assert!(seen.starts_with(b"HTTP/1."), "{:?}", String::from_utf8_lossy(&seen));
            // The same to a client that knows chunks.
            for (name, mut client) in clients(address).await {
                assert!(client.get("http://a.com/").await.is_err(), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_sends_in_drips_is_answered_504_when_its_time_is_over() {
    for h2c in [false, true] {
        let endpoint = Endpoint::over(h2c, |_| Act::Hang).await;
        let (_gateway, _, address) = to(endpoint.address, h2c, timeouts(400, 0)).await;
        // HTTP/1
        let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
        let begun = Instant::now();
        writer.write_all(b"POST / HTTP/1.1\r\nHost: a.com\r\nContent-Length: 100000\r\n\r\n").await.unwrap();
        let drip = tokio::spawn(async move {
            while writer.write_all(b"drip").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let answer = read_answer(&mut reader).await;
        assert!(answer.ends_with("504 request_timeout\n"), "{answer}");
        assert_took(begun, 400, "h1");
        drip.abort();
        // HTTP/2
        for pause in [20, 150, 1_000_000] {
            let begun = Instant::now();
            let answer = upload(address, pause).await;
            assert_eq!(answer, "504 request_timeout", "h2 to h2c: {h2c}, every {pause} ms");
            assert_took(begun, 400, "h2");
        }
        endpoint.sees_a_cut().await;
    }
}

/// Sends a body over HTTP/2 that has no end, a piece at a time.
async fn upload(address: SocketAddr, pause: u64) -> String {
    let tcp = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(connection);
    let body = futures_util::stream::unfold(0, move |number| async move {
        tokio::time::sleep(Duration::from_millis(if number == 0 { 0 } else { pause })).await;
        Some((Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(b"drip"))), number + 1))
    });
    let body = StreamBody::new(Box::pin(body));
    match sender.send_request(Request::post("http://a.com/").body(body).unwrap()).await {
        Ok(answer) => {
            String::from_utf8_lossy(&answer.into_body().collect().await.unwrap().to_bytes()).trim().to_owned()
        }
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn an_upload_that_the_endpoint_does_not_read_is_answered_504_when_its_time_is_over() {
    for h2c in [false, true] {
        let endpoint = Endpoint::over(h2c, |_| Act::Deaf).await;
        let (_gateway, _, address) = to(endpoint.address, h2c, timeouts(500, 0)).await;
        let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
        let begun = Instant::now();
        writer.write_all(b"POST / HTTP/1.1\r\nHost: a.com\r\nContent-Length: 100000000\r\n\r\n").await.unwrap();
        let flood = tokio::spawn(async move { while writer.write_all(&vec![b'x'; 65536]).await.is_ok() {} });
        let answer = read_answer(&mut reader).await;
        assert!(answer.ends_with("504 request_timeout\n"), "{answer}");
        assert_took(begun, 500, "h1");
        flood.abort();

        let begun = Instant::now();
        let body = Full::from(vec![b'x'; 30_000_000]);
        let answer = Client::h2(address).await.send(Request::post("http://a.com/").body(body).unwrap()).await.unwrap();
        assert_eq!(answer.summary(), "504 request_timeout", "h2 to h2c: {h2c}");
        assert_took(begun, 500, "h2");
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_cut_when_its_time_is_over() {
    for limits in [timeouts(400, 0), timeouts(0, 400)] {
        let endpoint = Endpoint::h1(|_| Act::Flood).await;
        let (_gateway, log, address) = to(endpoint.address, false, limits).await;
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n").await.unwrap();
        let begun = Instant::now();
        let line = log.line("the log", |line| line["status"] == 200).await;
        assert_took(begun, 400, "h1");
        let word = if limits.request.is_some() { "request_timeout" } else { "backend_timeout" };
        assert_eq!(line["reason"], word, "{line}");
        endpoint.sees_a_cut().await;
        let mut seen = Vec::new();
        let _ = tcp.read_to_end(&mut seen).await; // what had been sent before, and the end

        // HTTP/2: the client's window is full, nobody reads.
        let tcp = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(tcp).await.unwrap();
        tokio::spawn(connection);
        let begun = Instant::now();
        let (answer, _) = sender.send_request(Request::get("http://a.com/").body(()).unwrap(), true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        let end = loop {
            // What comes is read, but its window is never given back.
            match body.data().await.expect("an end that does not look whole") {
                Ok(_) => {}
                Err(end) => break end,
            }
        };
        assert!(end.is_reset(), "{end}");
        assert_took(begun, 400, "h2");
        log.line("the log", |line| line["protocol"] == "HTTP/2" && line["reason"] == word).await;
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_leaves_its_neighbours_alone() {
    let endpoint =
        Endpoint::h2c(|number| if number == 0 { Act::Drip { until_close: false } } else { Act::Answer(200, QUICK) })
            .await;
    let (_gateway, _, address) = to(endpoint.address, true, timeouts(400, 0)).await;
    let tcp = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(connection);
    let get = || Request::get("http://a.com/").body(Full::<Bytes>::default()).unwrap();
    let first = sender.send_request(get()).await.unwrap();
    let first = tokio::spawn(first.into_body().collect());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(700) {
        let answer = sender.send_request(get()).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "endpoint 200 0");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(first.await.unwrap().is_err());
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_is_answered_504() {
    for (act, interim) in [(Act::Hang, false), (Act::Continue, true)] {
        let endpoint = Endpoint::h1(move |_| act).await;
        let (_gateway, _, address) = to(endpoint.address, false, timeouts(300, 0)).await;
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let begun = Instant::now();
        let head = "POST / HTTP/1.1\r\nHost: a.com\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
        tcp.write_all(head.as_bytes()).await.unwrap();
        if interim {
            let text = read_answer(&mut tcp).await;
            assert!(text.starts_with("HTTP/1.1 100 "), "{text}");
        }
        let answer = read_answer(&mut tcp).await;
        assert!(answer.ends_with("504 request_timeout\n"), "{answer}");
        assert_took(begun, 300, "h1");
        endpoint.sees_a_cut().await;
    }
}

#[tokio::test]
async fn what_was_pipelined_behind_an_answer_that_was_cut_is_not_answered() {
    let endpoint =
        Endpoint::h1(|number| if number == 0 { Act::Drip { until_close: false } } else { Act::Answer(200, QUICK) })
            .await;
    let (_gateway, _, address) = to(endpoint.address, false, timeouts(300, 0)).await;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let two = "GET /1 HTTP/1.1\r\nHost: a.com\r\n\r\nGET /2 HTTP/1.1\r\nHost: a.com\r\n\r\n";
    tcp.write_all(two.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    let _ = tcp.read_to_end(&mut seen).await;
    let seen = String::from_utf8_lossy(&seen);
    assert_eq!(seen.matches("HTTP/1.1 ").count(), 1, "{seen}");
    assert!(!seen.ends_with("0\r\n\r\n"), "{seen}");
    assert_eq!(endpoint.requests(), 1);
}

#[tokio::test]
async fn a_websocket_outlives_both_times() {
    let (_gateway, _, address) = to(upstream(Script::Upgrade).await, false, timeouts(200, 150)).await;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let head = "GET /ws HTTP/1.1\r\nHost: a.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n";
    tcp.write_all(head.as_bytes()).await.unwrap();
    assert!(read_answer(&mut tcp).await.starts_with("HTTP/1.1 101 "));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        tcp.write_all(b"\x81\x05hello").await.unwrap();
        let mut back = [0; 7];
        tcp.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"\x81\x05hello");
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_take_a_connection_is_waited_for_no_longer() {
    // A queue that is full takes no more connections: they are not refused, they wait.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let endpoint = socket.local_addr().unwrap().as_socket().unwrap();
    let connect = || tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(endpoint));
    let mut held = Vec::new();
    while let Ok(Ok(tcp)) = connect().await {
        held.push(tcp);
    }
    for (limits, expected) in [(timeouts(300, 0), "504 request_timeout"), (timeouts(0, 300), "504 backend_timeout")] {
        for h2c in [false, true] {
            let (_gateway, _, address) = to(endpoint, h2c, limits).await;
            for (name, mut client) in clients(address).await {
                let begun = Instant::now();
                assert_eq!(client.get("http://a.com/").await.unwrap().summary(), expected, "{name}");
                assert_took(begun, 300, name);
            }
        }
    }
}

#[tokio::test]
async fn the_time_of_a_request_spans_all_its_tries() {
    let endpoint = Endpoint::h1(|_| Act::Answer(500, Duration::from_millis(200))).await;
    let rule = |config: &mut support::config::Config| config.to("a", endpoint.address);
    let (_gateway, log, address) = gateway(rule, timeouts(500, 0), retry(10, &[500])).await;
    for (name, mut client) in clients(address).await {
        let begun = Instant::now();
        assert_eq!(client.get("http://a.com/").await.unwrap().summary(), "504 request_timeout", "{name}");
        assert_took(begun, 500, name);
    }
    let line = log.line("the log", |line| line["status"] == 504).await;
    assert!(line["error"].as_str().unwrap().contains(&format!("{} 500, ", endpoint.address)), "{line}");
}

#[tokio::test]
async fn a_request_that_is_cut_at_the_end_of_a_drain_has_its_line() {
    let endpoint = Endpoint::h1(|_| Act::Hang).await;
    let (gateway, log, address) = to(endpoint.address, false, Timeouts::default()).await;
    let telemetry = gateway.telemetry.clone();
    let mut requests = Vec::new();
    for mut client in [Client::h1(address).await, Client::h2(address).await] {
        requests.push(tokio::spawn(async move { client.get("http://a.com/x").await.is_err() }));
    }
    support::eventually("both at the endpoint", || async { (endpoint.requests() == 2).then_some(()) }).await;
    gateway.proxy.drain(Duration::ZERO, Duration::from_millis(200)).await;
    for request in requests {
        assert!(request.await.unwrap());
    }
    assert!(telemetry.close(Duration::from_secs(5)));
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        assert_eq!((&line["reason"], &line["status"], &line["path"]), (&"draining".into(), &0.into(), &"/x".into()));
    }
    let _ = free_address();
}
