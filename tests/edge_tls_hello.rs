//! ClientHellos as strangers send them: cut into pieces, too long, too old, against the rules, or no TLS at all. Each is
//! answered as TLS says, counted under one word, and costs nobody else anything.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/client_hello.rs"]
mod checks;
#[path = "support/traffic/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use checks::{Outcome, check_client_hello};
use support::client::Client;
use support::config::{Config, ListenerSpec};
use support::hello::{Hello, Reply, SERVER_NAME, SUPPORTED_VERSIONS, read_reply, records, reply_to, server_name};
use support::tls::{self, connect};
use support::upstream::Echo;
use support::{Gateway, eventually, free_address};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use transom::proxy::Settings;
use transom::snapshot::tls::ListenerTls;

const HANDSHAKE_FAILURE: u8 = 40;
const ILLEGAL_PARAMETER: u8 = 47;
const DECODE_ERROR: u8 = 50;
const PROTOCOL_VERSION: u8 = 70;
const UNRECOGNIZED_NAME: u8 = 112;

/// `a.com` and `*.w.com` are served, nothing else is.
async fn start(settings: Settings) -> (Gateway, SocketAddr, Echo) {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::with(settings);
    let address = free_address();
    let mut config = Config::default();
    let rule = config.to("a", echo.address);
    let listener = |name, hostname| ListenerSpec {
        name,
        hostname: Some(hostname),
        tls: Some(ListenerTls { certificates: vec![tls::certificate(&[hostname])] }),
        routes: vec![(None, "/", rule)],
    };
    gateway.serve(config.https(address, vec![listener("one", "a.com"), listener("any", "*.w.com")]).build()).await;
    (gateway, address, echo)
}

fn handshakes(gateway: &Gateway, result: &str) -> u64 {
    let end = format!("result=\"{result}\"}} ");
    let text = gateway.telemetry.metrics_text();
    let lines = text.lines().filter(|line| line.starts_with("transom_tls_handshakes_total{"));
    lines.filter_map(|line| line.split_once(&end)?.1.parse::<u64>().ok()).sum()
}

async fn counted(gateway: &Gateway, result: &str, count: u64) {
    eventually(&format!("{count} handshakes {result}"), || async {
        (handshakes(gateway, result) == count).then_some(())
    })
    .await;
}

async fn still_serves(address: SocketAddr) {
    let stream = connect(address, "a.com", &tls::client(&[])).await.unwrap();
    assert_eq!(Client::h1_over(stream).await.unwrap().get("https://a.com/").await.unwrap().summary(), "200 a");
}

#[tokio::test]
async fn how_a_hello_is_cut_makes_no_difference() {
    let (gateway, address, _echo) = start(Settings::default()).await;
    let hello = Hello::to("a.com");
    assert_eq!(reply_to(address, [hello.bytes()]).await, Reply::ServerHello);
    assert_eq!(reply_to(address, hello.bytes().chunks(1)).await, Reply::ServerHello, "byte by byte");
    assert_eq!(reply_to(address, [records(&hello.message(), 1)]).await, Reply::ServerHello, "a record for each byte");
    let long = hello.clone().with(21, vec![0; 60_000]); // padding (RFC 7685)
    assert_eq!(reply_to(address, [long.bytes()]).await, Reply::ServerHello, "60 kB in four records");
    still_serves(address).await;
    counted(&gateway, "ok", 1).await;
}

#[tokio::test]
async fn the_name_that_is_asked_for_decides() {
    let (gateway, address, echo) = start(Settings::default()).await;
    for (name, reply) in [
        ("a.com", Reply::ServerHello),
        ("A.Com", Reply::ServerHello),
        ("a.com.", Reply::ServerHello), // against RFC 6066, and sent all the same
        ("x.w.com", Reply::ServerHello),
        ("w.com", Reply::Alert(UNRECOGNIZED_NAME)),
        ("b.com", Reply::Alert(UNRECOGNIZED_NAME)),
        ("a.com.b.com", Reply::Alert(UNRECOGNIZED_NAME)),
        ("localhost", Reply::Alert(UNRECOGNIZED_NAME)),
    ] {
        assert_eq!(reply_to(address, [Hello::to(name).bytes()]).await, reply, "{name}");
    }
    counted(&gateway, "unknown_name", 4).await;
    assert_eq!(reply_to(address, [Hello::new().bytes()]).await, Reply::Alert(HANDSHAKE_FAILURE), "no name");
    // RFC 6066, 3: "Literal IPv4 and IPv6 addresses are not permitted in HostName": no name, either.
    assert_eq!(reply_to(address, [Hello::to("127.0.0.1").bytes()]).await, Reply::Alert(HANDSHAKE_FAILURE));
    counted(&gateway, "no_name", 2).await;
    assert_eq!(echo.requests(), 0);
}

#[tokio::test]
async fn a_name_that_is_none_is_refused() {
    let (gateway, address, _echo) = start(Settings::default()).await;
    let long = "a".repeat(60_000);
    let two = [server_name(b"a.com"), server_name(b"b.com")].concat();
    for (what, hello) in [
        ("a NUL", Hello::to(b"a.com\0.b.com")),
        ("nothing", Hello::to("")),
        ("a space", Hello::to("a .com")),
        ("no ASCII", Hello::to("\u{e4}.com")),
        ("60 kB", Hello::to(long)),
        ("two lists", Hello::new().with(SERVER_NAME, two)),
        ("half a list", Hello::new().with(SERVER_NAME, vec![0, 9, 0, 0, 200, 97])),
    ] {
        match reply_to(address, [hello.bytes()]).await {
            Reply::Alert(DECODE_ERROR | ILLEGAL_PARAMETER | UNRECOGNIZED_NAME | HANDSHAKE_FAILURE) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
    still_serves(address).await;
    counted(&gateway, "ok", 1).await;
}

#[tokio::test]
async fn what_has_nothing_in_common_is_told_so() {
    let (gateway, address, _echo) = start(Settings::default()).await;
    let old = Hello { version: 0x0302, ..Hello::to("a.com") };
    let ssl3 = Hello { version: 0x0300, ..Hello::to("a.com") };
    let draft = Hello::to("a.com").with(SUPPORTED_VERSIONS, vec![2, 0x7f, 0x1c]);
    let tls11 = Hello::to("a.com").with(SUPPORTED_VERSIONS, vec![2, 0x03, 0x02]);
    for hello in [old, ssl3, draft, tls11] {
        assert_eq!(reply_to(address, [hello.bytes()]).await, Reply::Alert(PROTOCOL_VERSION), "{hello:?}");
    }
    // TLS_RSA_WITH_AES_128_CBC_SHA, and one that nobody has
    let suites = Hello { suites: vec![0x002f, 0xfefe], ..Hello::to("a.com") };
    assert_eq!(reply_to(address, [suites.bytes()]).await, Reply::Alert(HANDSHAKE_FAILURE));
    counted(&gateway, "incompatible", 5).await;
    still_serves(address).await;
}

#[tokio::test]
async fn what_breaks_the_rules_is_refused() {
    let (gateway, address, echo) = start(Settings::default()).await;
    let twice = Hello::to("a.com").with(23, vec![]);
    let ssl2: &[u8] = &[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10, 1, 0, 0x80, 2, 0, 0x80];
    let finished = records(&[20, 0, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], 16_384);
    let empty = [22, 3, 1, 0, 0].repeat(4000);
    let huge = [[1, 0x0f, 0xff, 0xff].to_vec(), vec![0; 80_000]].concat();
    let mut cut = Hello::to("a.com").message();
    cut[3] -= 9; // the message ends before its extensions do
    for (what, bytes) in [
        ("an extension twice", twice.bytes()),
        ("SSL 2", ssl2.to_vec()),
        ("garbage", vec![0xff; 600]),
        ("zeros", vec![0; 600]),
        ("another message first", finished),
        ("records of nothing", empty),
        ("beyond 64 KiB", records(&huge, 16_384)),
        ("a length that lies", records(&cut, 16_384)),
        ("a record too long", vec![22, 3, 1, 0xff, 0xff]),
        ("application data", vec![23, 3, 3, 0, 3, 1, 2, 3]),
    ] {
        let reply = reply_to(address, [bytes]).await;
        assert!(matches!(reply, Reply::Alert(_) | Reply::Closed), "{what}: {reply:?}");
    }
    counted(&gateway, "protocol", 10).await;
    assert_eq!(echo.requests(), 0);
    still_serves(address).await;
}

#[tokio::test]
async fn http_on_a_port_of_tls_is_told_so() {
    let (gateway, address, echo) = start(Settings::default()).await;
    for asked in [
        "GET / HTTP/1.1\r\nHost: a.com\r\n\r\n".to_owned(),
        format!("POST / HTTP/1.1\r\nHost: a.com\r\nContent-Length: 40000\r\n\r\n{}", "x".repeat(40_000)),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ] {
        let Reply::Text(answer) = reply_to(address, [&asked]).await else { panic!("no answer to {asked}") };
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.ends_with("connection: close\r\n\r\n400 client_tls\n"), "{answer}");
    }
    counted(&gateway, "plaintext", 3).await;
    let text = gateway.telemetry.metrics_text();
    let recorded = text.lines().any(|line| line.contains("code=\"400\",reason=\"client_tls\"} 3"));
    assert!(recorded, "{text}");
    assert_eq!(echo.requests(), 0);
}

#[tokio::test]
async fn a_client_that_refuses_or_leaves_in_the_middle_is_counted_as_such() {
    let (gateway, address, _echo) = start(Settings::default()).await;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(&Hello::to("a.com").bytes()).await.unwrap();
    assert_eq!(read_reply(&mut tcp).await, Reply::ServerHello);
    tcp.write_all(&[21, 3, 3, 0, 2, 2, 42]).await.unwrap(); // bad_certificate
    counted(&gateway, "client_alert", 1).await;

    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(&Hello::to("a.com").bytes()[..40]).await.unwrap();
    drop(half);
    let mut after = TcpStream::connect(address).await.unwrap();
    after.write_all(&Hello::to("a.com").bytes()).await.unwrap();
    assert_eq!(read_reply(&mut after).await, Reply::ServerHello);
    drop(after);
    drop(TcpStream::connect(address).await.unwrap()); // as health checks of ports do
    counted(&gateway, "closed", 3).await;

    let text = gateway.telemetry.metrics_text();
    let recorded = text.lines().any(|line| line.contains("code=\"0\",reason=\"client_tls\"} 3"));
    assert!(recorded, "what said nothing at all is no request: {text}");
}

#[tokio::test]
async fn the_time_for_a_handshake_is_one_for_all_of_it() {
    let limit = Duration::from_millis(600);
    let (gateway, address, _echo) = start(Settings { handshake_timeout: limit, ..Settings::default() }).await;
    let begun = Instant::now();
    let bytes = Hello::to("a.com").bytes();
    let silent = TcpStream::connect(address).await.unwrap();
    let mut half_done = TcpStream::connect(address).await.unwrap();
    half_done.write_all(&bytes).await.unwrap();
    assert_eq!(read_reply(&mut half_done).await, Reply::ServerHello);
    let mut dripping = TcpStream::connect(address).await.unwrap();
    let drip = tokio::spawn(async move {
        for byte in bytes.chunks(1) {
            if dripping.write_all(byte).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        read_reply(&mut dripping).await
    });
    assert_eq!(drip.await.unwrap(), Reply::Closed);
    counted(&gateway, "timeout", 3).await;
    assert!(begun.elapsed() >= limit);
    let gauge = format!("transom_connections{{listener=\"{address}\",protocol=\"tls\",state=\"opening\"}} 0");
    eventually("nothing left", || async { gateway.telemetry.metrics_text().contains(&gauge).then_some(()) }).await;
    drop((silent, half_done));
    still_serves(address).await;
    let text = gateway.telemetry.metrics_text();
    let recorded = text.lines().any(|line| line.contains("code=\"0\",reason=\"client_tls\"} 2"));
    assert!(recorded, "what said nothing at all is no request: {text}");
}

/// Hellos as rustls sends them: one for each of its kinds of clients.
fn of_rustls() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for (version, versions) in [("12", &[&rustls::version::TLS12][..]), ("13", &[&rustls::version::TLS13][..])] {
        for (name, alpn) in [("a.com", vec![]), ("x.w.com", vec!["h2", "http/1.1"]), ("127.0.0.1", vec!["http/1.1"])] {
            let config = tls::client_of_versions(&alpn, versions);
            let mut client = rustls::ClientConnection::new(config, name.try_into().unwrap()).unwrap();
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            all.push((format!("rustls-{version}-{name}"), bytes));
        }
    }
    all
}

#[test]
fn every_seed_is_decided_or_asks_for_more() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/client_hello");
    if std::env::var_os("UPDATE_SEEDS").is_some() {
        for (name, bytes) in of_rustls() {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
    let seeds: Vec<_> = folder.read_dir().unwrap().map(|seed| seed.unwrap().path()).collect();
    assert!(seeds.len() >= 20, "{} seeds", seeds.len());
    for seed in seeds {
        let outcome = check_client_hello(&std::fs::read(&seed).unwrap());
        let name = seed.file_name().unwrap().to_str().unwrap().to_owned();
        let real = name.starts_with("rustls") || name.starts_with("openssl") || name.starts_with("curl");
        assert_eq!(real, matches!(outcome, Outcome::Hello(_)), "{name}: {outcome:?}");
    }
}

#[test]
fn a_hello_that_is_damaged_anywhere_is_decided_or_asks_for_more() {
    for (name, bytes) in of_rustls() {
        assert!(matches!(check_client_hello(&bytes), Outcome::Hello(_)), "{name}");
        for at in 0..bytes.len() {
            assert_eq!(check_client_hello(&bytes[..at]), Outcome::Refused, "{name} cut at {at}");
            for damage in [0x00, 0x01, 0x7f, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= damage;
                check_client_hello(&damaged);
            }
        }
    }
}
