//! The PROXY protocol on the way in: who is believed, what is refused, and that not a byte of what follows is lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/proxy_checks.rs"]
mod checks;
#[path = "support/traffic/mod.rs"]
mod support;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use support::client::{Client, Wire, read_all};
use support::config::{Config, ListenerSpec, listener};
use support::script::End;
use support::upstream::Echo;
use support::{Gateway, eventually, free_address, tls};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use transom::proxy::{AddressRanges, PortSettings, ProxyProtocol, Settings};
use transom::snapshot::tls::ListenerTls;

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a.com\r\nConnection: close\r\n\r\n";

/// Version 2: the command, the family and what follows.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[command, family], &length, block].concat()
}

fn v2_from(client: SocketAddr) -> Vec<u8> {
    let (family, octets) = match client.ip() {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    v2(0x21, family, &[&octets, &octets, &client.port().to_be_bytes()[..], &[0, 80]].concat())
}

struct Stage {
    gateway: Gateway,
    echo: Echo,
    http: SocketAddr,
    https: SocketAddr,
}

impl Stage {
    /// A cleartext and a TLS port on which this network is trusted.
    async fn new(trusted: &str, required: bool) -> Stage {
        Stage::with(trusted, required, Settings::default()).await
    }

    async fn with(trusted: &str, required: bool, mut settings: Settings) -> Stage {
        let (http, https) = (free_address(), free_address());
        let port = PortSettings {
            proxy_protocol: Some(ProxyProtocol { trusted: AddressRanges(vec![trusted.parse().unwrap()]), required }),
            ..PortSettings::default()
        };
        settings.ports = [http, https].map(|address| (address.port(), port.clone())).into();
        let mut gateway = Gateway::with(settings);
        let echo = Echo::start("a").await;
        let mut config = Config::default();
        let rule = config.to("a", echo.address);
        let tls = Some(ListenerTls { certificates: vec![tls::certificate(&["a.com"])] });
        let secure = ListenerSpec { name: "s", hostname: None, tls, routes: vec![(None, "/", rule)] };
        let config = config.http(http, vec![listener("l", None, rule)]).https(https, vec![secure]);
        gateway.serve(config.build()).await;
        Stage { gateway, echo, http, https }
    }

    /// What the upstream was told of the client of a request that came behind these bytes.
    async fn client(&self, header: &[u8]) -> String {
        let text = support::client::raw(self.http, [header, GET].concat()).await;
        text.lines().find_map(|line| line.strip_prefix("x-forwarded-for: ")).unwrap_or(&text).to_owned()
    }

    /// Waits until so many connections were refused.
    async fn refused(&self, count: usize) {
        eventually("refused connections in the metrics", || async {
            let text = self.gateway.telemetry.metrics_text();
            let lines = text.lines().filter(|line| line.starts_with("transom_http_requests_total"));
            let mut refused = lines.filter(|l| l.contains("code=\"0\"") && l.contains("reason=\"request_invalid\""));
            refused.any(|line| line.ends_with(&format!(" {count}"))).then_some(())
        })
        .await;
    }
}

/// What becomes of a connection on which these bytes are sent.
async fn end(address: SocketAddr, bytes: &[u8]) -> (End, Wire) {
    let mut wire = Wire::connect(address).await;
    let _ = wire.tcp.write_all(bytes).await; // it may be gone by then
    (wire.end().await, wire)
}

#[tokio::test]
async fn the_client_is_who_a_trusted_peer_says() {
    for required in [false, true] {
        let stage = Stage::new("127.0.0.0/8", required).await;
        for (header, client) in [
            (V1.to_vec(), "192.0.2.7"),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n".to_vec(), "2001:db8::7"),
            (b"PROXY TCP6 ::ffff:192.0.2.8 ::1 4711 443\r\n".to_vec(), "192.0.2.8"),
            (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
            (b"PROXY UNKNOWN 6.6.6.6 6.6.6.6 1 2\r\n".to_vec(), "127.0.0.1"),
            (v2_from("192.0.2.9:1".parse().unwrap()), "192.0.2.9"),
            (v2_from("[2001:db8::9]:1".parse().unwrap()), "2001:db8::9"),
            (v2(0x21, 0x11, &[&[192, 0, 2, 9, 6, 6, 6, 6, 0, 1, 0, 2], &[0x04; 4000][..]].concat()), "192.0.2.9"),
            (v2(0x20, 0x11, &[6; 12]), "127.0.0.1"),
            (v2(0x20, 0x00, &[]), "127.0.0.1"),
            (v2(0x21, 0x31, &[b'/'; 216]), "127.0.0.1"),
        ] {
            assert_eq!(stage.client(&header).await, client, "{:?}", String::from_utf8_lossy(&header));
        }
    }
}

#[tokio::test]
async fn every_request_of_the_connection_is_the_clients() {
    let stage = Stage::new("127.0.0.0/8", true).await;
    let mut wire = Wire::connect(stage.http).await;
    wire.send(V1).await;
    for _ in 0..3 {
        let answer = wire.ask("GET", "/").await.unwrap();
        assert!(answer.body.contains("x-forwarded-for: 192.0.2.7\nx-forwarded-host"), "{answer:?}");
    }
}

#[tokio::test]
async fn the_header_stands_before_tls_and_before_http2() {
    let stage = Stage::new("127.0.0.0/8", true).await;
    let header = v2_from("192.0.2.9:1".parse().unwrap());
    for alpn in ["h2", "http/1.1"] {
        let mut tcp = TcpStream::connect(stage.https).await.unwrap();
        tcp.write_all(&header).await.unwrap();
        let tls = tls::connect_over(tcp, "a.com", &tls::client(&[alpn])).await.unwrap();
        let mut client = if alpn == "h2" { Client::h2_over(tls).await } else { Client::h1_over(tls).await }.unwrap();
        let answer = client.get("https://a.com/").await.unwrap();
        assert_eq!(answer.fact("x-real-ip"), Some("192.0.2.9"));
        assert_eq!(answer.fact("x-forwarded-proto"), Some("https"));
    }
    let mut tcp = TcpStream::connect(stage.http).await.unwrap();
    tcp.write_all(&header).await.unwrap();
    let answer = Client::h2_over(tcp).await.unwrap().get("http://a.com/").await.unwrap();
    assert_eq!(answer.fact("x-real-ip"), Some("192.0.2.9"));
}

/// Hands on what it writes only behind the header, in one segment with it.
async fn hello_behind(header: &[u8], address: SocketAddr) -> TcpStream {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let mut handshake = tokio::spawn(async move { tls::connect_over(near, "a.com", &tls::client(&[])).await });
    let mut hello = vec![0; 16 * 1024];
    let count = tokio::select! {
        count = tokio::io::AsyncReadExt::read(&mut far, &mut hello) => count.unwrap(),
        _ = &mut handshake => panic!("no handshake without an answer"),
    };
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(&[header, &hello[..count]].concat()).await.unwrap();
    handshake.abort();
    tcp
}

#[tokio::test]
async fn header_and_hello_in_one_segment_are_both_read() {
    let stage = Stage::new("127.0.0.0/8", true).await;
    for header in [V1.to_vec(), v2_from("[2001:db8::9]:1".parse().unwrap())] {
        let tcp = hello_behind(&header, stage.https).await;
        let mut first = [0; 1];
        let read = tcp.peek(&mut first);
        tokio::time::timeout(Duration::from_secs(10), read).await.unwrap().unwrap();
        assert_eq!(first, [22], "a record of the handshake, not an alert");
    }
}

#[tokio::test]
async fn a_header_that_comes_byte_by_byte_is_one() {
    let stage = Stage::new("127.0.0.0/8", true).await;
    for header in [V1.to_vec(), v2_from("192.0.2.7:1".parse().unwrap())] {
        let mut wire = Wire::connect(stage.http).await;
        for byte in [&header, GET].concat() {
            wire.send([byte]).await;
            tokio::task::yield_now().await;
        }
        let answer = wire.answer("GET").await.unwrap();
        assert!(answer.body.contains("x-real-ip: 192.0.2.7\n"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_stranger_is_refused_where_the_header_is_required() {
    let stage = Stage::new("192.0.2.0/24", true).await;
    let header = v2_from("192.0.2.9:1".parse().unwrap());
    for (count, bytes) in (1..).zip([V1, &header, GET, b""]) {
        let (_, wire) = end(stage.http, bytes).await;
        drop(wire);
        stage.refused(count).await;
    }
    end(stage.https, V1).await;
    stage.refused(5).await;
    assert_eq!(stage.echo.requests(), 0);
}

#[tokio::test]
async fn a_strangers_header_is_no_header_where_it_is_optional() {
    let stage = Stage::new("192.0.2.0/24", false).await;
    assert_eq!(stage.client(b"").await, "127.0.0.1");
    for header in [V1.to_vec(), v2_from("192.0.2.9:1".parse().unwrap())] {
        let text = support::client::raw(stage.http, [&header, GET].concat()).await;
        assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
    }
    assert_eq!(stage.echo.requests(), 1, "what follows a header that is none is no request either");
    let mut tcp = TcpStream::connect(stage.https).await.unwrap();
    tcp.write_all(V1).await.unwrap();
    assert!(tls::connect_over(tcp, "a.com", &tls::client(&[])).await.is_err());
}

#[tokio::test]
async fn a_trusted_peer_without_the_header_is_served_where_it_is_optional_alone() {
    let optional = Stage::new("127.0.0.0/8", false).await;
    assert_eq!(optional.client(b"").await, "127.0.0.1");
    // What begins as a header does, and is none, is not lost.
    for method in ["POST", "PATCH", "PROPFIND", "PROXY"] {
        let mut wire = Wire::connect(optional.http).await;
        for byte in method.bytes() {
            wire.send([byte]).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if method == "PROXY" {
            wire.send("ING").await;
        }
        wire.send(" / HTTP/1.1\r\nHost: a.com\r\nContent-Length: 0\r\n\r\n").await;
        let answer = wire.answer(method).await.unwrap();
        assert!(answer.body.contains(&format!("method: {method}")), "{answer:?}");
    }
    let mut h2 = Client::h2(optional.http).await;
    assert_eq!(h2.get("http://a.com/").await.unwrap().fact("x-real-ip"), Some("127.0.0.1"));
    let tls = tls::connect(optional.https, "a.com", &tls::client(&["http/1.1"])).await.unwrap();
    let answer = Client::h1_over(tls).await.unwrap().get("https://a.com/").await.unwrap();
    assert_eq!(answer.fact("x-real-ip"), Some("127.0.0.1"));

    let required = Stage::new("127.0.0.0/8", true).await;
    end(required.http, GET).await;
    required.refused(1).await;
    assert!(tls::connect(required.https, "a.com", &tls::client(&[])).await.is_err());
    required.refused(2).await;
    // A check of the port alone is no event.
    drop(TcpStream::connect(required.http).await.unwrap());
    end(required.http, GET).await;
    required.refused(3).await;
    assert_eq!(required.echo.requests(), 0);
}

#[tokio::test]
async fn a_malformed_header_ends_the_connection() {
    for required in [false, true] {
        let stage = Stage::new("127.0.0.0/8", required).await;
        let too_long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200], b"\r\n"].concat();
        let mut count = 0;
        for header in [
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 2001:db8::1 4711 443\r\n".to_vec(),
            too_long,
            v2(0x11, 0x11, &[1; 12]),
            v2(0x21, 0x11, &[1; 11]),
            v2(0x21, 0x55, &[1; 12]),
            v2(0x20, 0x00, &[0; 4097]),
        ] {
            let (_, wire) = end(stage.http, &[&header, GET].concat()).await;
            drop(wire);
            count += 1;
            stage.refused(count).await;
        }
        assert_eq!(stage.echo.requests(), 0);
        assert_eq!(stage.client(V1).await, "192.0.2.7");
    }
}

#[tokio::test]
async fn a_header_that_does_not_end_is_given_up_in_time() {
    let settings = Settings {
        first_byte_timeout: Duration::from_millis(300),
        handshake_timeout: Duration::from_millis(300),
        ..Settings::default()
    };
    let stage = Stage::with("127.0.0.0/8", false, settings).await;
    for address in [stage.http, stage.https] {
        for part in [b"".as_slice(), b"PROXY TCP4 192", b"\r\n\r\n\0\r\nQUIT\n\x21"] {
            let mut tcp = TcpStream::connect(address).await.unwrap();
            tcp.write_all(part).await.unwrap();
            let began = Instant::now();
            assert_eq!(read_all(&mut tcp).await, "");
            assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
        }
    }
    // Once it is there, the time of the next step runs.
    assert_eq!(stage.client(V1).await, "192.0.2.7");
}

fn for_each_seed(target: &str, check: impl Fn(&[u8])) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let seeds: Vec<_> = folder.read_dir().unwrap().map(|seed| seed.unwrap().path()).collect();
    assert!(seeds.len() >= 10, "{} seeds in {}", seeds.len(), folder.display());
    for seed in seeds {
        check(&std::fs::read(&seed).unwrap());
    }
}

#[test]
fn every_seed_is_judged_by_its_own_bytes_alone() {
    for_each_seed("proxy_header", checks::check_proxy_header);
    for_each_seed("forwarded_address", checks::check_forwarded_address);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_beginning_is_judged_by_its_own_bytes_alone(
        signature in any::<bool>(),
        line in r"PROXY( TCP4| TCP6| UNKNOWN| 10\.0\.0\.1| ::1| 0| 80| |\r|\n|\r\n|x){0,8}",
        bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(0x11), Just(0x20), Just(0x21), any::<u8>()], 0..40),
    ) {
        let begin = if signature { b"\r\n\r\n\0\r\nQUIT\n".to_vec() } else { line.into_bytes() };
        checks::check_proxy_header(&[begin, bytes].concat());
    }

    #[test]
    fn any_address_is_read_as_it_is_written(text in r"(\[|\]|:|\.|[0-9]{1,3}|[a-f]{1,2}|%|ffff|::|,){0,12}") {
        checks::check_forwarded_address(text.as_bytes());
    }
}
