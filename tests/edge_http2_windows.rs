//! HTTP/2 clients that read or send slowly: each stream is bounded in time, the memory of a connection in bytes, and
//! windows are wide enough for big bodies.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "parts of tests fail as tests do")]

#[path = "support/traffic/mod.rs"]
mod support;
#[path = "support/tries.rs"]
mod tries;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use support::config::{Config, listener};
use support::frames::{
    CANCEL, DATA, END, Fate, Frames, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, get, headers, request,
    window_update,
};
use support::upstream::{Echo, pattern};
use support::{Gateway, eventually, free_address};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use transom::proxy::Settings;
use transom::snapshot::UpstreamProtocol;
use tries::{Act, Endpoint, Log};

async fn before(to: SocketAddr, protocol: UpstreamProtocol, settings: Settings) -> (Gateway, Log, SocketAddr) {
    let (mut gateway, log) = tries::logged(settings);
    let mut config = Config::default();
    let upstream = config.upstream_over("a", protocol, &[to]);
    let rule = config.forward("a", upstream);
    let address = free_address();
    gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;
    (gateway, log, address)
}

fn hasty() -> Settings {
    let (body_timeout, send_timeout) = (Duration::from_millis(500), Duration::from_millis(500));
    Settings { body_timeout, send_timeout, ..Settings::default() }
}

#[tokio::test]
async fn a_stream_whose_window_stays_shut_is_reset_in_time_and_its_siblings_are_served() {
    let echo = Echo::start("a").await;
    let (_gateway, log, address) = before(echo.address, UpstreamProtocol::Http1, hasty()).await;
    // no window at all, and one that is used up
    for window in [0, 1000] {
        let mut client = Frames::connect(address, &[(4, window)]).await;
        client.send([get(1, "/bytes/5000"), get(3, "/bytes/5000"), window_update(3, 10_000)].concat()).await;
        let mut sibling = 0;
        let reset = loop {
            let got = client.next().await.expect("the connection stands");
            match (got.stream, got.kind) {
                (3, DATA) => sibling += got.payload.len(),
                (1, DATA) => assert!(got.payload.len() <= window as usize),
                (1, RST_STREAM) => break got.code(),
                _ => {}
            }
        };
        assert_eq!((reset, sibling), (CANCEL, 5000), "window {window}");
        assert_eq!(client.lives().await, Ok(()));
        let line = log.line("the one that was cut", |line| line["reason"] == "client_abort").await;
        assert_eq!(line["status"], 200, "{line}");
        log.clear();
    }
    // who opens it by and by has as long as it takes
    let mut slow = Frames::connect(address, &[(4, 1000)]).await;
    slow.send(get(1, "/bytes/5000")).await;
    let begun = Instant::now();
    let mut read = 0;
    while let Some(got) = slow.next().await {
        if got.stream == 1 && got.kind == DATA {
            read += got.payload.len();
            tokio::time::sleep(Duration::from_millis(100)).await;
            slow.send(window_update(1, 1000)).await;
        }
        assert!(got.kind != RST_STREAM, "after {read} bytes in {:?}", begun.elapsed());
        if got.stream == 1 && got.ends() {
            break;
        }
    }
    assert_eq!(read, 5000);
}

#[tokio::test]
async fn a_client_that_reads_nothing_of_its_socket_loses_its_streams_in_time() {
    let endpoint = Endpoint::h1(|_| Act::Flood).await;
    let (_gateway, log, address) = before(endpoint.address, UpstreamProtocol::Http1, hasty()).await;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let settings = support::frames::settings(&[(4, 0x7fff_ffff)]);
    let mut bytes = [PREFACE, &settings, &window_update(0, 0x7fff_0000)].concat();
    bytes.extend((0..10).flat_map(|number| get(2 * number + 1, "/")));
    tcp.write_all(&bytes).await.unwrap();
    eventually("the end of every answer", || async {
        let cut = log.lines().iter().filter(|line| line["reason"] == "client_abort").count();
        (cut == 10).then_some(())
    })
    .await;
    drop(tcp);
}

#[tokio::test]
async fn a_body_that_stalls_is_answered_408_or_reset() {
    // The answer, or the reset, and what the endpoint sees.
    for (protocol, fates) in [
        (UpstreamProtocol::Http1, vec![Fate::Status(408)]),
        (UpstreamProtocol::H2c, vec![Fate::Status(408), Fate::Reset(CANCEL)]),
    ] {
        let endpoint = Endpoint::over(protocol == UpstreamProtocol::H2c, |_| Act::Hang).await;
        let (_gateway, log, address) = before(endpoint.address, protocol, hasty()).await;
        let mut client = Frames::connect(address, &[]).await;
        let begun = Instant::now();
        client.send([headers(1, 0, &request("POST", "/", &[])), frame(DATA, 0, 1, b"begun")].concat()).await;
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            client.send(frame(DATA, 0, 1, b"more")).await; // each piece has its own time
        }
        let fate = client.fate(1).await;
        assert!(fates.contains(&fate), "{protocol:?}: {fate:?}");
        assert!(begun.elapsed() > Duration::from_millis(1600), "{:?}", begun.elapsed());
        assert_eq!(client.lives().await, Ok(()));
        endpoint.sees_a_cut().await;
        let line = log.line("the log", |line| line["reason"] == "request_invalid").await;
        assert_eq!(line["protocol"], "HTTP/2", "{line}");
    }
}

#[tokio::test]
async fn a_call_of_grpc_may_be_silent_and_a_whole_body_may_wait_for_its_answer() {
    let echo = Echo::slow("a", Duration::from_millis(1500)).await;
    let (_gateway, _, address) = before(echo.address, UpstreamProtocol::H2c, hasty()).await;
    let mut client = Frames::connect(address, &[]).await;
    let call = request("POST", "/s/m", &[("content-type", "application/grpc"), ("te", "trailers")]);
    client
        .send([headers(1, 0, &call), headers(3, 0, &request("POST", "/", &[])), frame(DATA, END, 3, b"x")].concat())
        .await;
    assert_eq!(client.fate(3).await, Fate::Status(200));
    client.send(frame(DATA, END, 1, b"x")).await;
    assert_eq!(client.fate(1).await, Fate::Status(200));
}

#[tokio::test]
async fn an_endpoint_that_takes_nothing_of_a_body_is_to_blame_for_it_and_not_the_client() {
    let endpoint = Endpoint::h1(|_| Act::Deaf).await;
    let (_gateway, log, address) = before(endpoint.address, UpstreamProtocol::Http1, hasty()).await;
    let mut client = support::h2c::connect(address).await;
    let request = http::Request::post("http://a.com/").body(()).unwrap();
    let (response, mut stream) = client.send_request(request, false).unwrap();
    tokio::spawn(async move { support::h2c::send(&mut stream, Bytes::from(vec![0; 64 << 20])).await });
    let head = tokio::time::timeout(Duration::from_secs(15), response).await.unwrap().unwrap();
    assert_eq!(head.status(), 504);
    log.line("the log", |line| line["reason"] == "backend_timeout").await;
}

#[tokio::test]
async fn windows_carry_big_bodies_both_ways() {
    const LENGTH: usize = 64 << 20;
    let echo = Echo::start("a").await;
    let (_gateway, _, address) = before(echo.address, UpstreamProtocol::Http1, Settings::default()).await;
    let mut raw = Frames::connect(address, &[]).await;
    let told = raw.next_of(SETTINGS, 0).await.unwrap().payload;
    let setting =
        |id: u16, value: u32| told.chunks(6).any(|pair| pair == [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
    assert!(setting(3, 128) && setting(4, 1 << 20) && setting(6, 64 << 10), "{told:?}");
    let more = raw.next_of(WINDOW_UPDATE, 0).await.unwrap().payload;
    assert_eq!(more, ((4u32 << 20) - 65_535).to_be_bytes(), "the window of the connection");

    let mut client = support::h2c::connect(address).await;
    let (response, mut stream) =
        client.send_request(http::Request::post("http://a.com/").body(()).unwrap(), false).unwrap();
    support::h2c::send(&mut stream, Bytes::from(vec![b'x'; LENGTH])).await;
    stream.send_data(Bytes::new(), true).unwrap();
    let reply = support::h2c::reply(response).await.unwrap();
    assert!(String::from_utf8_lossy(&reply.body).contains(&format!("body: {LENGTH}\n")));

    let download = http::Request::get(format!("http://a.com/bytes/{LENGTH}")).body(()).unwrap();
    let (response, _) = client.send_request(download, true).unwrap();
    let reply = support::h2c::reply(response).await.unwrap();
    assert_eq!(reply.body.len(), LENGTH);
    assert!(reply.body == pattern(LENGTH), "every byte in its place");
}
