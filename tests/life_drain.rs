//! The end of the process: what was accepted is answered whole, whatever kind of client asked, and the process ends
//! with 0 within its bounds. With the real binary and real signals.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::format_push_string,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/process.rs"]
mod process;
#[path = "support/traffic/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;
use process::{Transom, free_port, manifest};
use support::client::{Client, Wire};
use support::script::End;
use support::upstream::{Echo, pattern};
use support::{eventually, h2c};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const GRACE: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(15);
/// New connections stop this long after the signal, as those of a load balancer do that has seen /readyz.
const BALANCER: Duration = Duration::from_millis(2500);

struct Served {
    transom: Transom,
    address: SocketAddr,
    logs: [PathBuf; 2],
    _space: tempfile::TempDir,
}

fn serve(grace: &str, limit: &str, upstreams: &[(&str, SocketAddr)]) -> Served {
    let port = free_port();
    let space = tempfile::tempdir().unwrap();
    let file = space.path().join("all.yaml");
    std::fs::write(&file, manifest(port, upstreams)).unwrap();
    let logs = ["requests", "log"].map(|name| space.path().join(name));
    let settings = ["--workers", "2", "--access-log", "json", "--drain-grace", grace, "--drain-limit", limit];
    let arguments = [&["-f", file.to_str().unwrap()], &settings[..]].concat();
    let transom = Transom::logging(&arguments, &logs[0], &logs[1]);
    let transom = transom.ready(Duration::from_secs(30));
    Served { transom, address: ([127, 0, 0, 1], port).into(), logs, _space: space }
}

/// A server of WebSockets that answers each message of eleven bytes, five of them its content.
async fn websockets() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(tcp.read_u8().await?);
                }
                let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                                 Sec-WebSocket-Accept: y\r\n\r\n";
                tcp.write_all(switching.as_bytes()).await?;
                let mut frame = [0; 11];
                loop {
                    tcp.read_exact(&mut frame[..2]).await?;
                    if frame[0] == 0x88 {
                        return std::io::Result::Ok(()); // Close: it is over
                    }
                    tcp.read_exact(&mut frame[2..]).await?;
                    tcp.write_all(b"\x82\x05hello").await?;
                }
            });
        }
    });
    address
}

/// What the clients have in common.
#[derive(Clone)]
struct Load {
    address: SocketAddr,
    no_more_connections: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.no_more_connections.load(SeqCst)
    }

    fn count(&self) {
        self.answered.fetch_add(1, SeqCst);
    }

    /// One request after the other, until an answer says that it is the last.
    async fn kept(self) {
        while self.goes_on() {
            let mut wire = Wire::connect(self.address).await;
            loop {
                let answer = wire.ask("GET", "/bytes/2000").await.expect("a whole answer");
                assert_eq!((answer.status(), answer.body.len()), (200, 2000));
                self.count();
                if answer.header("connection") == Some("close") {
                    break;
                }
            }
            assert_eq!(wire.end().await, End::Closed);
        }
    }

    /// A connection for each request.
    async fn fresh(self) {
        while self.goes_on() {
            let answer = Wire::connect(self.address).await.ask("GET", "/bytes/2000").await.expect("a whole answer");
            assert_eq!((answer.status(), answer.body.len()), (200, 2000));
            self.count();
        }
    }

    /// Eight streams at a time, until the connection takes no more.
    async fn h2(self) {
        while self.goes_on() {
            let client = h2c::connect(self.address).await;
            let mut streams = JoinSet::new();
            for _ in 0..8 {
                let (client, load) = (client.clone(), self.clone());
                streams.spawn(async move {
                    // After GOAWAY the connection is not ready any more: nothing was asked.
                    while let Ok(mut ready) = client.clone().ready().await {
                        let request = http::Request::get("http://a.com/bytes/2000").body(()).unwrap();
                        let Ok((response, _)) = ready.send_request(request, true) else { break };
                        match h2c::reply(response).await {
                            Ok(reply) => assert_eq!((reply.head.status.as_u16(), reply.body.len()), (200, 2000)),
                            // RFC 9113, 6.8: streams above the last that GOAWAY names "were not or might not be processed".
                            Err(error) if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) => break,
                            Err(error) => panic!("{error}"),
                        }
                        load.count();
                    }
                });
            }
            while let Some(stream) = streams.join_next().await {
                stream.unwrap();
            }
        }
    }

    /// Messages back and forth, until the other side says goodbye.
    async fn websocket(self) {
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        let asked = "GET /ws HTTP/1.1\r\nHost: a.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n";
        tcp.write_all(asked.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tcp.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"));
        loop {
            tcp.write_all(b"\x82\x85\0\0\0\0howdy").await.unwrap();
            let mut start = [0; 2];
            tcp.read_exact(&mut start).await.expect("a frame");
            let mut content = vec![0; usize::from(start[1])];
            tcp.read_exact(&mut content).await.expect("a whole frame");
            if start[0] == 0x88 {
                assert_eq!(content, 1001u16.to_be_bytes(), "going away");
                tcp.write_all(b"\x88\x82\0\0\0\0\x03\xe9").await.unwrap();
                return;
            }
            assert_eq!((start[0], &content[..]), (0x82, &b"hello"[..]));
            self.count();
        }
    }

    /// Long answers, read slowly.
    async fn streaming(self) {
        const SIZE: usize = 3_000_000;
        let expected = pattern(SIZE);
        while self.goes_on() {
            let mut tcp = TcpStream::connect(self.address).await.unwrap();
            let asked = format!("GET /bytes/{SIZE} HTTP/1.1\r\nHost: a.com\r\n\r\n");
            tcp.write_all(asked.as_bytes()).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(tcp.read_u8().await.unwrap());
            }
            assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
            let mut body = vec![0; SIZE];
            for part in body.chunks_mut(SIZE / 40) {
                tcp.read_exact(part).await.expect("all of the body");
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
            assert!(body == expected);
            self.count();
        }
    }

    /// Bodies, sent slowly.
    async fn uploading(self) {
        while self.goes_on() {
            let mut wire = Wire::connect(self.address).await;
            wire.send("POST / HTTP/1.1\r\nHost: a.com\r\nContent-Length: 40000\r\n\r\n").await;
            for _ in 0..40 {
                wire.send(Bytes::from_static(&[b'x'; 1000])).await;
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
            let answer = wire.answer("POST").await.expect("a whole answer");
            assert_eq!(answer.status(), 200, "{answer:?}");
            self.count();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_of_every_kind_whatever_was_accepted_is_answered_whole() {
    let echo = Echo::start("a").await;
    let upstreams = [("/", echo.address), ("/ws", websockets().await)];
    let Served { transom, address, logs, _space } = serve("3s", "15s", &upstreams);
    let load = |_| Load { address, no_more_connections: Arc::default(), answered: Arc::default() };
    let kinds = ["kept", "fresh", "h2", "websocket", "streaming", "uploading"].map(|kind| (kind, load(())));
    let mut clients = JoinSet::new();
    for (kind, load) in &kinds {
        for _ in 0..2 {
            let load = load.clone();
            match *kind {
                "kept" => clients.spawn(load.kept()),
                "fresh" => clients.spawn(load.fresh()),
                "h2" => clients.spawn(load.h2()),
                "websocket" => clients.spawn(load.websocket()),
                "streaming" => clients.spawn(load.streaming()),
                _ => clients.spawn(load.uploading()),
            };
        }
    }
    let all = |least: usize| kinds.iter().all(|(_, load)| load.answered.load(SeqCst) >= least);
    eventually("answers to all kinds", || async { all(2).then_some(()) }).await;

    transom.signal("TERM");
    let begun = Instant::now();
    eventually("/readyz to say no", || async {
        let answer = transom.get("/readyz").unwrap();
        answer.starts_with("HTTP/1.1 503").then_some(())
    })
    .await;
    assert!(begun.elapsed() < GRACE, "at once, not at the end: {:?}", begun.elapsed());
    assert_eq!(Client::h1(address).await.get("http://a.com/").await.unwrap().summary(), "200 a", "still accepted");
    let at_signal: Vec<usize> = kinds.iter().map(|(_, load)| load.answered.load(SeqCst)).collect();
    tokio::time::sleep_until(tokio::time::Instant::from_std(begun + BALANCER)).await;
    for (_, load) in &kinds {
        load.no_more_connections.store(true, SeqCst);
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    for ((kind, load), before) in kinds.iter().zip(at_signal) {
        assert!(load.answered.load(SeqCst) > before, "{kind} went on after the signal");
    }
    assert!(transom.wait(GRACE + LIMIT).success());
    assert!(begun.elapsed() >= GRACE);
    assert!(TcpStream::connect(address).await.is_err());
    let log = logs.map(|log| std::fs::read_to_string(log).unwrap()).concat();
    assert!(log.contains("drained") && log.contains("cut=0"), "{}", log.lines().last().unwrap_or_default());
    let ours = log.lines().filter(|line| line.starts_with('{') && !line.contains("\"reason\":\"none\""));
    assert_eq!(ours.collect::<Vec<_>>(), Vec::<&str>::new(), "no answer was our own");
}

#[tokio::test]
async fn what_was_let_in_just_before_the_end_is_still_heard() {
    let echo = Echo::start("a").await;
    let Served { transom, address, .. } = serve("300ms", "10s", &[("/", echo.address)]);
    transom.signal("TERM");
    let mut late = Wire::connect(address).await;
    eventually("the sockets to be closed", || async { TcpStream::connect(address).await.is_err().then_some(()) }).await;
    let answer = late.ask("GET", "/").await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(late.end().await, End::Closed);
    assert!(transom.wait(Duration::from_secs(10)).success());
}

#[tokio::test]
async fn what_does_not_end_is_cut_at_the_limit_and_stands_in_the_access_log() {
    let echo = Echo::held("a", 0).await;
    for signal in ["TERM", "INT"] {
        let asked_before = echo.requests();
        let Served { transom, address, logs, _space } = serve("0s", "1s", &[("/", echo.address)]);
        let mut h1 = Wire::connect(address).await;
        h1.send("GET /held-h1 HTTP/1.1\r\nHost: a.com\r\n\r\n").await;
        let mut h2 = Client::h2(address).await;
        let h2 = tokio::spawn(async move { h2.get("http://a.com/held-h2").await });
        eventually("both in flight", || async { (echo.requests() == asked_before + 2).then_some(()) }).await;
        let begun = Instant::now();
        transom.signal(signal);
        assert_eq!(transom.wait(Duration::from_secs(15)).code(), Some(0), "{signal}");
        assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
        assert!(h1.answer("GET").await.is_err() && h2.await.unwrap().is_err());
        let log = logs.map(|log| std::fs::read_to_string(log).unwrap()).concat();
        for path in ["/held-h1", "/held-h2"] {
            let line = log.lines().find(|line| line.contains(path)).unwrap_or_else(|| panic!("{path}: {log}"));
            assert!(line.contains("\"reason\":\"draining\""), "{line}");
        }
        assert!(log.contains("cut=2"), "{log}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let echo = Echo::held("a", 0).await;
    for (first, second) in [("TERM", "TERM"), ("TERM", "INT")] {
        let asked_before = echo.requests();
        let Served { transom, address, logs, _space } = serve("60s", "60s", &[("/", echo.address)]);
        let mut wire = Wire::connect(address).await;
        wire.send("GET /held HTTP/1.1\r\nHost: a.com\r\n\r\n").await;
        eventually("in flight", || async { (echo.requests() > asked_before).then_some(()) }).await;
        transom.signal(first);
        eventually("the drain", || async {
            std::fs::read_to_string(&logs[1]).unwrap().contains("draining").then_some(())
        })
        .await;
        transom.signal(second);
        assert_eq!(transom.wait(Duration::from_secs(15)).code(), Some(0));
        assert!(std::fs::read_to_string(&logs[1]).unwrap().contains("second signal"));
        assert!(wire.answer("GET").await.is_err());
    }
}
