//! Forwarding headers: of a stranger they are replaced, of a trusted peer they are kept, and by them the client is found
//! whom logs, hashing and redirects go by.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use support::client::{Answer, Client};
use support::config::{Config, ListenerSpec, listener, rule};
use support::upstream::Echo;
use support::{Gateway, eventually, free_address, settled};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use transom::proxy::{AddressRanges, PortSettings, ProxyProtocol, Settings};
use transom::snapshot::filter::Scheme;
use transom::snapshot::policy::{Balance, HashKey};
use transom::snapshot::{Action, Policy, Redirect, Retry};
use transom::telemetry::{AccessLog, access_log};

fn ranges(texts: &[&str]) -> AddressRanges {
    AddressRanges(texts.iter().map(|text| text.parse().unwrap()).collect())
}

/// Peers on loopback and two networks behind them are trusted.
fn trusting(port: u16) -> Settings {
    let forwarders = ranges(&["127.0.0.0/8", "10.0.0.0/8", "2001:db8::/32"]);
    let settings = PortSettings { forwarders, ..PortSettings::default() };
    Settings { ports: [(port, settings)].into(), ..Settings::default() }
}

async fn serve(settings: Settings, address: SocketAddr) -> (Gateway, Echo) {
    let mut gateway = Gateway::with(settings);
    let echo = Echo::start("a").await;
    let mut config = Config::default();
    let rule = config.to("a", echo.address);
    gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;
    (gateway, echo)
}

fn request(fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let request = Request::get("http://shop.example:81/");
    fields.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(Full::default()).unwrap()
}

async fn ask(address: SocketAddr, fields: &[(&str, &str)]) -> [Answer; 2] {
    let mut answers = Vec::new();
    for mut client in [Client::h1(address).await, Client::h2(address).await] {
        answers.push(client.send(request(fields)).await.unwrap());
    }
    answers.try_into().unwrap()
}

const CLAIMS: &[(&str, &str)] = &[
    ("forwarded", "for=6.6.6.6;proto=https"),
    ("x-forwarded-for", "6.6.6.6, 192.0.2.1"),
    ("x-forwarded-for", "10.1.1.1:5678, [2001:db8::5]"),
    ("x-forwarded-host", "www.shop.example"),
    ("x-forwarded-port", "8443"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-client-cert", "told"),
    ("x-real-ip", "6.6.6.6"),
    ("x-request-id", "5f0c11"),
];

#[tokio::test]
async fn a_trusted_peer_is_believed() {
    let address = free_address();
    let (_gateway, _echo) = serve(trusting(address.port()), address).await;
    for answer in ask(address, CLAIMS).await {
        for (name, value) in [
            ("forwarded", "for=6.6.6.6;proto=https"),
            ("x-forwarded-for", "6.6.6.6, 192.0.2.1, 10.1.1.1:5678, [2001:db8::5], 127.0.0.1"),
            ("x-real-ip", "192.0.2.1"),
            ("x-forwarded-host", "www.shop.example"),
            ("x-forwarded-port", "8443"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-client-cert", "told"),
            ("x-request-id", "5f0c11"),
        ] {
            assert_eq!(answer.facts(name), value, "{name}");
        }
    }
}

#[tokio::test]
async fn a_stranger_is_not_and_neither_is_a_peer_that_is_trusted_on_another_port() {
    let (address, other) = (free_address(), free_address());
    let (_gateway, _echo) = serve(trusting(other.port()), address).await;
    for answer in ask(address, CLAIMS).await {
        for (name, value) in [
            ("forwarded", ""),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-real-ip", "127.0.0.1"),
            ("x-forwarded-host", "shop.example:81"),
            ("x-forwarded-port", &address.port().to_string()),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-client-cert", ""),
        ] {
            assert_eq!(answer.facts(name), value, "{name}");
        }
        assert_ne!(answer.facts("x-request-id"), "5f0c11");
        assert!(!answer.body.contains("6.6.6.6"));
    }
}

#[tokio::test]
async fn no_route_matches_by_what_a_stranger_says_of_the_way() {
    let address = free_address();
    for (settings, taken) in [(Settings::default(), "404 no_route"), (trusting(address.port()), "200 a")] {
        let mut gateway = Gateway::with(settings);
        let echo = Echo::start("a").await;
        let mut config = Config::default();
        let rule = config.to("a", echo.address);
        let mut snapshot = config.http(address, vec![listener("l", None, rule)]).build();
        let told = [("X-Forwarded-Proto", "https")];
        snapshot.binds.get_mut(&address).unwrap().listeners[0].routes = support::config::routes_by_header(&told, rule);
        gateway.serve(snapshot).await;
        for answer in ask(address, &[("x-forwarded-proto", "https")]).await {
            assert_eq!(answer.summary(), taken);
        }
        gateway.proxy.drain(Duration::ZERO, Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn whom_the_proxy_protocol_names_is_who_must_be_trusted() {
    let address = free_address();
    let mut settings = trusting(address.port());
    let port = settings.ports.get_mut(&address.port()).unwrap();
    port.forwarders = ranges(&["192.0.2.0/24"]);
    port.proxy_protocol = Some(ProxyProtocol { trusted: ranges(&["127.0.0.0/8"]), required: true });
    let (_gateway, _echo) = serve(settings, address).await;
    for (header, client, way) in [
        ("PROXY TCP4 192.0.2.7 1.1.1.1 1 2\r\n", "198.51.100.9", "198.51.100.9, 192.0.2.7"),
        ("PROXY TCP4 203.0.113.7 1.1.1.1 1 2\r\n", "203.0.113.7", "203.0.113.7"),
        ("PROXY UNKNOWN\r\n", "127.0.0.1", "127.0.0.1"),
    ] {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(header.as_bytes()).await.unwrap();
        let mut client_of = Client::h1_over(tcp).await.unwrap();
        let answer = client_of.send(request(&[("x-forwarded-for", "198.51.100.9")])).await.unwrap();
        assert_eq!(answer.facts("x-real-ip"), client, "{header}");
        assert_eq!(answer.facts("x-forwarded-for"), way, "{header}");
    }
}

#[tokio::test]
async fn consistent_hashing_goes_by_the_client_that_was_found() {
    let address = free_address();
    let mut gateway = Gateway::with(trusting(address.port()));
    let mut echoes = Vec::new();
    for name in ["a", "b", "c", "d"] {
        echoes.push(Echo::start(name).await);
    }
    let mut config = Config::default();
    let endpoints: Vec<SocketAddr> = echoes.iter().map(|echo| echo.address).collect();
    let upstream = config.upstream("u", &endpoints);
    let rule = config.forward("r", upstream);
    let mut snapshot = config.http(address, vec![listener("l", None, rule)]).build();
    snapshot.upstreams[0].policy =
        Policy { balance: Balance::ConsistentHash(HashKey::ClientAddress), ..Policy::default() };
    gateway.serve(snapshot).await;
    let ways = ["", ", 10.0.0.1", ", 10.0.0.2"];
    let way = |number: usize| format!("192.0.2.{}{}", number / ways.len(), ways[number % ways.len()]);
    let met = settled(address, 32 * ways.len(), "x-forwarded-for", way).await;
    for of_one in met.chunks(ways.len()) {
        assert!(of_one.iter().all(|endpoint| *endpoint == of_one[0]), "one client, one endpoint: {of_one:?}");
    }
    let taken: BTreeSet<String> = met.into_iter().collect();
    assert!(taken.len() > 1, "{taken:?}");
}

/// "redirect scheme [...] empty: the scheme of the request": that of the client, as far as it is known.
#[tokio::test]
async fn a_redirect_keeps_the_scheme_and_port_that_the_client_used() {
    let address = free_address();
    let mut gateway = Gateway::with(trusting(address.port()));
    let mut config = Config::default();
    let plain = Redirect { scheme: None, host: None, port: None, path: None, status: 302 };
    let keep = config.rule_with(rule("keep", Action::Redirect(plain.clone())));
    let secure = Redirect { scheme: Some(Scheme::Https), ..plain };
    let https = config.rule_with(rule("https", Action::Redirect(secure)));
    let routes = vec![(None, "/keep", keep), (None, "/https", https)];
    let spec = ListenerSpec { name: "l", hostname: None, tls: None, routes };
    let mut snapshot = config.http(address, vec![spec]).build();
    snapshot.port_offset = 8000;
    gateway.serve(snapshot).await;
    let own = format!("http://shop.example:{}/keep", address.port());
    let mut client = Client::h1(address).await;
    for (path, fields, location) in [
        ("/keep", &[][..], own.as_str()),
        ("/keep", &[("x-forwarded-proto", "http")], &own),
        ("/keep", &[("x-forwarded-proto", "https")], "https://shop.example/keep"),
        ("/keep", &[("x-forwarded-proto", "https"), ("x-forwarded-port", "9443")], "https://shop.example:9443/keep"),
        ("/keep", &[("x-forwarded-port", "80")], "http://shop.example/keep"),
        // What a rule says is done: it has nowhere else to go.
        ("/https", &[("x-forwarded-proto", "https")], "https://shop.example/https"),
        ("/https", &[], "https://shop.example:8443/https"),
    ] {
        let mut asked = request(fields);
        *asked.uri_mut() = format!("http://shop.example{path}").parse().unwrap();
        let answer = client.send(asked).await.unwrap();
        assert_eq!(answer.header("location"), location, "{path} {fields:?}");
    }
}

/// What was written, for all to see.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sink {
    async fn line(&self, number: usize) -> serde_json::Value {
        eventually("a line of the access log", || async {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            let line = text.split_inclusive('\n').nth(number).filter(|line| line.ends_with('\n'))?;
            Some(serde_json::from_str(line).unwrap())
        })
        .await
    }
}

#[tokio::test]
async fn the_log_names_the_client_and_the_id_that_the_upstream_was_told() {
    let address = free_address();
    let sink = Sink::default();
    let log = AccessLog::start(access_log::Format::Json, sink.clone()).unwrap();
    let mut gateway = Gateway::logging(trusting(address.port()), log);
    let echo = Echo::start("a").await;
    let mut config = Config::default();
    let rule = config.to("a", echo.address);
    let spec = ListenerSpec { name: "l", hostname: None, tls: None, routes: vec![(None, "/a", rule)] };
    gateway.serve(config.http(address, vec![spec]).build()).await;
    let mut client = Client::h1(address).await;
    let mut ids = BTreeSet::new();
    for (number, (path, fields, from, kept)) in [
        ("/a", &[("x-forwarded-for", "192.0.2.1, 10.0.0.1"), ("x-request-id", "kept-1")][..], "192.0.2.1", "kept-1"),
        ("/a", &[("x-forwarded-for", "192.0.2.1:99")], "192.0.2.1:99", ""),
        ("/a", &[("x-request-id", "too long ".repeat(30).as_str())], "127.0.0.1:", ""),
        // An answer of the gateway's own has them, too.
        ("/none", &[("x-forwarded-for", "2001:dead::1"), ("x-request-id", "kept-2")], "2001:dead::1", "kept-2"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut asked = request(fields);
        *asked.uri_mut() = format!("http://shop.example{path}").parse().unwrap();
        let answer = client.send(asked).await.unwrap();
        let line = sink.line(number).await;
        let client = line["client"].as_str().unwrap();
        assert!(if from.ends_with(':') { client.starts_with(from) } else { client == from }, "{client} {from}");
        let id = line["request_id"].as_str().unwrap().to_owned();
        if path == "/a" {
            assert_eq!(answer.facts("x-request-id"), id);
        }
        assert_eq!(answer.header("x-request-id"), "", "the client is not told");
        if kept.is_empty() {
            let parts: Vec<usize> = id.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
        } else {
            assert_eq!(id, kept);
        }
        assert!(ids.insert(id), "each request has its own");
    }
}

#[tokio::test]
async fn every_try_of_a_request_has_its_id() {
    use support::script::{Actor, Step, say};
    let address = free_address();
    let actor = Actor::always(vec![Step::Head, say("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")]).await;
    let mut gateway = Gateway::with(trusting(address.port()));
    let mut config = Config::default();
    let upstream = config.upstream("u", &[actor.address]);
    let rule = config.forward("r", upstream);
    let mut snapshot = config.http(address, vec![listener("l", None, rule)]).build();
    snapshot.rules[0].retry = Some(Retry { codes: [503].into(), attempts: 2, backoff: Duration::from_millis(1) });
    gateway.serve(snapshot).await;
    Client::h1(address).await.send(request(&[])).await.unwrap();
    let heard: Vec<String> = (0..actor.connections()).map(|number| actor.heard(number).to_lowercase()).collect();
    let heard = heard.join("");
    let ids: Vec<&str> = heard.lines().filter_map(|line| line.strip_prefix("x-request-id: ")).collect();
    assert!(ids.len() > 1, "{heard}");
    assert!(ids.iter().all(|id| *id == ids[0] && id.len() == 36), "{ids:?}");
}
