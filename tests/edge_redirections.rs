//! Redirections of a port: every request that comes there is sent elsewhere, before any route is asked, save for those
//! that must be answered there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::num::NonZeroU16;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use support::client::{Client, Wire, raw};
use support::config::{Config, ListenerSpec};
use support::upstream::Echo;
use support::{Gateway, eventually, free_address, tls};
use transom::proxy::{AddressRanges, PortSettings, Redirection, Settings};
use transom::snapshot::filter::Scheme;
use transom::snapshot::tls::ListenerTls;

const TO_HTTPS: Redirection =
    Redirection { port: NonZeroU16::new(443).unwrap(), scheme: Scheme::Https, permanent: true };

struct Stage {
    gateway: Gateway,
    echo: Echo,
    address: SocketAddr,
}

impl Stage {
    /// A listener for `*.example` on a port with this redirection, and a route for these prefixes.
    async fn new(redirection: Redirection, prefixes: &[&'static str], offset: u16) -> Stage {
        let address = free_address();
        let trusted = AddressRanges(vec!["127.0.0.0/8".parse().unwrap()]);
        let port = PortSettings { redirection: Some(redirection), forwarders: trusted, ..PortSettings::default() };
        let settings = Settings { ports: [(address.port(), port)].into(), ..Settings::default() };
        let mut gateway = Gateway::with(settings);
        let echo = Echo::start("a").await;
        let mut config = Config::default();
        let rule = config.to("a", echo.address);
        let routes = prefixes.iter().map(|prefix| (None, *prefix, rule)).collect();
        let spec = ListenerSpec { name: "l", hostname: Some("*.example"), tls: None, routes };
        let mut snapshot = config.http(address, vec![spec]).build();
        snapshot.port_offset = offset;
        gateway.serve(snapshot).await;
        Stage { gateway, echo, address }
    }

    /// Status and `Location` of the answer.
    async fn ask(&self, request: http::request::Builder) -> String {
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let mut answers = Vec::new();
        for mut client in [Client::h1(self.address).await, Client::h2(self.address).await] {
            let answer = client.send(request.clone()).await.unwrap();
            answers.push(match answer.header("location").as_str() {
                "" => answer.summary(),
                location => format!("{} {location}", answer.status.as_u16()),
            });
        }
        assert_eq!(answers[0], answers[1]);
        answers.remove(0)
    }

    async fn get(&self, url: &str) -> String {
        self.ask(Request::get(url)).await
    }
}

#[tokio::test]
async fn every_request_of_the_port_is_sent_to_the_other_one() {
    let stage = Stage::new(TO_HTTPS, &["/"], 0).await;
    for (url, location) in [
        ("http://shop.example/", "301 https://shop.example/"),
        ("http://shop.example:8080/a%20b//./c?d=e&f=%2F", "301 https://shop.example/a%20b/c?d=e&f=%2F"),
        // No route and no listener is asked.
        ("http://nobody.org/", "301 https://nobody.org/"),
    ] {
        assert_eq!(stage.get(url).await, location);
    }
    assert_eq!(stage.echo.requests(), 0);
    eventually("redirects in the metrics", || async {
        let text = stage.gateway.telemetry.metrics_text();
        let mut lines = text.lines().filter(|line| line.starts_with("transom_http_requests_total"));
        lines.any(|l| l.contains("listener=\"l\"") && l.contains("reason=\"redirect\"")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_method_with_a_body_is_kept() {
    for (permanent, get, post) in [(true, "301", "308"), (false, "302", "307")] {
        let stage = Stage::new(Redirection { permanent, ..TO_HTTPS }, &["/"], 0).await;
        assert_eq!(stage.get("http://a.example/").await, format!("{get} https://a.example/"));
        assert_eq!(stage.ask(Request::head("http://a.example/")).await, format!("{get} https://a.example/"));
        assert_eq!(stage.ask(Request::post("http://a.example/")).await, format!("{post} https://a.example/"));
    }
}

#[tokio::test]
async fn a_connection_is_kept_and_a_body_is_passed_over() {
    let stage = Stage::new(TO_HTTPS, &["/"], 0).await;
    let mut wire = Wire::connect(stage.address).await;
    wire.send("POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(wire.answer("POST").await.unwrap().header("location"), Some("https://a.example/x"));
    assert_eq!(wire.ask("GET", "/y").await.unwrap().header("location"), Some("https://a.com/y"));
    assert_eq!(stage.echo.requests(), 0);
}

#[tokio::test]
async fn the_port_is_the_one_that_the_client_can_reach() {
    let to = |port, scheme| Redirection { port: NonZeroU16::new(port).unwrap(), scheme, permanent: true };
    for (redirection, offset, location) in [
        (to(443, Scheme::Https), 8000, "301 https://a.example:8443/"),
        (to(8443, Scheme::Https), 0, "301 https://a.example:8443/"),
        (to(9443, Scheme::Https), 8000, "301 https://a.example:9443/"),
        (to(80, Scheme::Http), 0, "301 http://a.example/"),
        (to(8080, Scheme::Http), 0, "301 http://a.example:8080/"),
    ] {
        assert_eq!(Stage::new(redirection, &["/"], offset).await.get("http://a.example/").await, location);
    }
}

/// cert-manager's solver is a route of its own beside all others.
#[tokio::test]
async fn a_route_for_acme_challenges_is_asked() {
    let stage = Stage::new(TO_HTTPS, &["/", "/.well-known/acme-challenge/token"], 0).await;
    for (path, answer) in [
        ("/.well-known/acme-challenge/token", "200 a"),
        ("/.well-known/acme-challenge/other", "301 https://a.example/.well-known/acme-challenge/other"),
        ("/.well-known/acme-challenge", "301 https://a.example/.well-known/acme-challenge"),
        ("/.well-known/security.txt", "301 https://a.example/.well-known/security.txt"),
    ] {
        assert_eq!(stage.get(&format!("http://a.example{path}")).await, answer);
    }
    let prefix = Stage::new(TO_HTTPS, &["/.well-known/acme-challenge/"], 0).await;
    assert_eq!(prefix.get("http://a.example/.well-known/acme-challenge/any").await, "200 a");
    let wider = Stage::new(TO_HTTPS, &["/.well-known"], 0).await;
    assert!(wider.get("http://a.example/.well-known/acme-challenge/any").await.starts_with("301 "));
}

#[tokio::test]
async fn a_client_that_a_trusted_peer_has_by_https_is_not_sent_in_circles() {
    let stage = Stage::new(TO_HTTPS, &["/"], 0).await;
    let by = |scheme| Request::get("http://a.example/").header("x-forwarded-proto", scheme);
    assert_eq!(stage.ask(by("https")).await, "200 a");
    assert_eq!(stage.ask(by("http")).await, "301 https://a.example/");
    assert_eq!(stage.ask(by("nonsense")).await, "301 https://a.example/");
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_not_redirected() {
    let stage = Stage::new(TO_HTTPS, &["/"], 0).await;
    for request in ["GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a b\r\n", "GET / HTTP/1.0\r\n"] {
        let answer = raw(stage.address, format!("{request}Connection: close\r\n\r\n")).await;
        assert!(answer.contains(" 400 "), "{request}: {answer}");
    }
    let answer =
        raw(stage.address, "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains(" 405 "), "{answer}");
}

#[tokio::test]
async fn a_port_with_tls_can_be_redirected_too_and_misdirected_requests_stay_refused() {
    let address = free_address();
    let redirection = Redirection { port: NonZeroU16::new(8443).unwrap(), ..TO_HTTPS };
    let port = PortSettings { redirection: Some(redirection), ..PortSettings::default() };
    let mut gateway = Gateway::with(Settings { ports: [(address.port(), port)].into(), ..Settings::default() });
    let echo = Echo::start("a").await;
    let mut config = Config::default();
    let rule = config.to("a", echo.address);
    let spec = |name, hostname: &'static str| ListenerSpec {
        name,
        hostname: Some(hostname),
        tls: Some(ListenerTls { certificates: vec![tls::certificate(&[hostname])] }),
        routes: vec![(None, "/", rule)],
    };
    gateway.serve(config.https(address, vec![spec("a", "a.org"), spec("b", "b.org")]).build()).await;
    let stream = tls::connect(address, "a.org", &tls::client(&["h2"])).await.unwrap();
    let mut client = Client::h2_over(stream).await.unwrap();
    let answer = client.get("https://a.org/x").await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("location").as_str()), (301, "https://a.org:8443/x"));
    assert_eq!(client.get("https://b.org/x").await.unwrap().status.as_u16(), 421);
    assert_eq!(echo.requests(), 0);
}
