//! TLS over real sockets: which listener and certificate a server name finds, what is spoken, what is misdirected,
//! and what a change of certificates does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use std::net::SocketAddr;

use rustls::{AlertDescription, SignatureScheme};
use support::client::Client;
use support::config::{Config, ListenerSpec};
use support::tls::{self, connect, presented, resumed};
use support::upstream::Echo;
use support::{Gateway, free_address};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use transom::snapshot::Snapshot;
use transom::snapshot::tls::{Certificate, ListenerTls};

/// Listeners by hostname, each with certificates and one route that its name leads to.
fn snapshot(echo: SocketAddr, address: SocketAddr, specs: Vec<(Option<&'static str>, Vec<Certificate>)>) -> Snapshot {
    let mut config = Config::default();
    let rule = config.to("a", echo);
    let names = ["first", "second", "third", "fourth"];
    let specs = specs.into_iter().zip(names).map(|((hostname, certificates), name)| ListenerSpec {
        name,
        hostname,
        tls: Some(ListenerTls { certificates }),
        routes: vec![(hostname, "/", rule)],
    });
    config.https(address, specs.collect()).build()
}

fn alert(error: &std::io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

#[tokio::test]
async fn alpn_decides_what_is_spoken() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let address = free_address();
    gateway.serve(snapshot(echo.address, address, vec![(None, vec![tls::certificate(&["a.com"])])])).await;

    for (alpn, http2) in [(vec!["h2", "http/1.1"], true), (vec!["http/1.1"], false), (vec![], false)] {
        let stream = connect(address, "a.com", &tls::client(&alpn)).await.unwrap();
        let mut client =
            if http2 { Client::h2_over(stream).await.unwrap() } else { Client::h1_over(stream).await.unwrap() };
        let answer = client.get("https://a.com/x").await.unwrap();
        assert_eq!(answer.summary(), "200 a");
        assert_eq!(answer.fact("x-forwarded-proto"), Some("https"));
        assert_eq!(answer.fact("host"), Some("a.com"));
    }
    let error = connect(address, "a.com", &tls::client(&["h3"])).await.unwrap_err();
    assert_eq!(alert(&error), Some(AlertDescription::NoApplicationProtocol));
}

#[tokio::test]
async fn answers_of_every_size_arrive_whole_over_every_way() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let (plain, secure) = (free_address(), free_address());
    let mut config = Config::default();
    let rule = config.to("a", echo.address);
    let spec = |tls| ListenerSpec { name: "l", hostname: None, tls, routes: vec![(None, "/", rule)] };
    let certificates = ListenerTls { certificates: vec![tls::certificate(&["a.com"])] };
    let config = config.http(plain, vec![spec(None)]).https(secure, vec![spec(Some(certificates))]);
    gateway.serve(config.build()).await;

    let h1 = connect(secure, "a.com", &tls::client(&["http/1.1"])).await.unwrap();
    let h2 = connect(secure, "a.com", &tls::client(&["h2"])).await.unwrap();
    let mut clients = [
        Client::h1(plain).await,
        Client::h2(plain).await,
        Client::h1_over(h1).await.unwrap(),
        Client::h2_over(h2).await.unwrap(),
    ];
    for client in &mut clients {
        for size in [0, 1, 3_000, 4_096, 4_097, 16_384, 70_000, 3_000_000] {
            let answer = client.get(&format!("https://a.com/bytes/{size}")).await.unwrap();
            assert_eq!(answer.status, 200);
            assert!(answer.body.as_bytes() == support::upstream::pattern(size), "{size}: {}", answer.body.len());
        }
    }
}

#[tokio::test]
async fn tls12_is_still_spoken() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let address = free_address();
    gateway.serve(snapshot(echo.address, address, vec![(None, vec![tls::certificate(&["a.com"])])])).await;
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let roots = rustls::RootCertStore::empty();
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.dangerous().set_certificate_verifier(tls::takes_all());
    let stream = connect(address, "a.com", &std::sync::Arc::new(config)).await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
    let answer = Client::h1_over(stream).await.unwrap().get("https://a.com/").await.unwrap();
    assert_eq!(answer.summary(), "200 a");
}

#[tokio::test]
async fn a_server_name_finds_exact_then_wildcard_then_the_listener_without_hostname() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let address = free_address();
    let [exact, wildcard, any] = [["a.example.com"], ["*.example.com"], ["other.org"]].map(|n| tls::certificate(&n));
    let specs = vec![
        (Some("a.example.com"), vec![exact.clone()]),
        (Some("*.example.com"), vec![wildcard.clone()]),
        (None, vec![any.clone()]),
    ];
    gateway.serve(snapshot(echo.address, address, specs)).await;

    for (name, expected) in [
        ("a.example.com", &exact),
        ("A.EXAMPLE.com", &exact),
        ("b.example.com", &wildcard),
        ("x.y.example.com", &wildcard),
        ("example.com", &any),
        ("unknown.org", &any),
        ("127.0.0.1", &any), // sends no server name
    ] {
        let stream = connect(address, name, &tls::client(&[])).await.unwrap();
        assert!(presented(&stream, expected), "{name}");
    }
}

#[tokio::test]
async fn a_server_name_that_no_listener_takes_is_refused_by_alert() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let address = free_address();
    gateway.serve(snapshot(echo.address, address, vec![(Some("a.com"), vec![tls::certificate(&["a.com"])])])).await;

    let unknown = connect(address, "b.com", &tls::client(&[])).await.unwrap_err();
    assert_eq!(alert(&unknown), Some(AlertDescription::UnrecognisedName));
    let none = connect(address, "127.0.0.1", &tls::client(&[])).await.unwrap_err();
    assert_eq!(alert(&none), Some(AlertDescription::HandshakeFailure));
    assert!(connect(address, "a.com", &tls::client(&[])).await.is_ok());
}

#[tokio::test]
async fn a_host_of_another_listener_than_the_server_names_is_misdirected() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let address = free_address();
    let one = tls::certificate(&["a.com"]);
    let specs = vec![
        (None, vec![one.clone()]),
        (Some("second-example.org"), vec![one.clone()]),
        (Some("*.wildcard.org"), vec![one.clone()]),
        (Some("fourth-example.wildcard.org"), vec![one]),
    ];
    let mut snapshot = snapshot(echo.address, address, specs);
    // the catch-all listener's route is for example.org alone
    let bind = snapshot.binds.get_mut(&address).unwrap();
    let mut entries: Vec<_> = bind.listeners[0].routes.entries().cloned().collect();
    entries[0].hostname = transom::router::Hostname::parse("example.org");
    bind.listeners[0].routes = transom::router::RouteTable::build(entries);
    gateway.serve(snapshot).await;

    // gateway-api.md 3.4
    for (name, host, expected) in [
        ("example.org", "example.org", "200 a"),
        ("example.org", "second-example.org", "421 misdirected"),
        ("example.org", "unknown-example.org", "404 no_route"),
        ("second-example.org", "second-example.org", "200 a"),
        ("second-example.org", "example.org", "421 misdirected"),
        ("third-example.wildcard.org", "third-example.wildcard.org", "200 a"),
        ("third-example.wildcard.org", "fith-example.wildcard.org", "200 a"),
        ("third-example.wildcard.org", "fourth-example.wildcard.org", "421 misdirected"),
        ("third-example.wildcard.org", "second-example.org", "421 misdirected"),
        ("fourth-example.wildcard.org", "fith-example.wildcard.org", "421 misdirected"),
    ] {
        let stream = connect(address, name, &tls::client(&["h2"])).await.unwrap();
        let mut client = Client::h2_over(stream).await.unwrap();
        assert_eq!(client.get(&format!("https://{host}/")).await.unwrap().summary(), expected, "{name} {host} h2");
        let stream = connect(address, name, &tls::client(&[])).await.unwrap();
        let mut client = Client::h1_over(stream).await.unwrap();
        assert_eq!(client.get(&format!("https://{host}/")).await.unwrap().summary(), expected, "{name} {host} h1");
    }
}

#[tokio::test]
async fn of_several_certificates_the_one_that_fits_name_and_client_is_presented() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let address = free_address();
    let first = tls::certificate(&["first.com"]);
    let p256 = tls::certificate(&["a.com", "*.b.com"]);
    let ed25519 = tls::certificate_with(&["a.com"], &rcgen::PKCS_ED25519);
    gateway
        .serve(snapshot(echo.address, address, vec![(None, vec![first.clone(), p256.clone(), ed25519.clone()])]))
        .await;

    let ecdsa = vec![SignatureScheme::ECDSA_NISTP256_SHA256];
    let edwards = vec![SignatureScheme::ED25519];
    for (name, schemes, expected) in [
        ("a.com", &ecdsa, &p256),
        ("a.com", &edwards, &ed25519),
        ("x.b.com", &ecdsa, &p256),
        ("x.y.b.com", &ecdsa, &first), // a wildcard of a certificate stands for one label
        ("unknown.com", &ecdsa, &first),
        ("first.com", &edwards, &ed25519),
    ] {
        let config = tls::client_of_schemes(&[], schemes.clone());
        let stream = connect(address, name, &config).await.unwrap();
        assert!(presented(&stream, expected), "{name} {schemes:?}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_presented_from_the_next_handshake_on_and_breaks_no_connection() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let address = free_address();
    let (before, after) = (tls::certificate(&["a.com"]), tls::certificate(&["a.com"]));
    gateway.serve(snapshot(echo.address, address, vec![(None, vec![before.clone()])])).await;
    let stream = connect(address, "a.com", &tls::client(&[])).await.unwrap();
    assert!(presented(&stream, &before));
    let mut client = Client::h1_over(stream).await.unwrap();
    assert_eq!(client.get("https://a.com/").await.unwrap().summary(), "200 a");

    gateway.serve(snapshot(echo.address, address, vec![(None, vec![after.clone()])])).await;
    support::eventually("the new certificate", || async {
        let stream = connect(address, "a.com", &tls::client(&[])).await.unwrap();
        presented(&stream, &after).then_some(())
    })
    .await;
    assert_eq!(client.get("https://a.com/").await.unwrap().summary(), "200 a");
}

#[tokio::test]
async fn sessions_survive_a_change_elsewhere_and_never_cross_listeners() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let address = free_address();
    let [one, two, three] = ["one.com", "two.com", "three.com"].map(|name| tls::certificate(&[name]));
    let with = |third: &Certificate| {
        vec![
            (Some("one.com"), vec![one.clone()]),
            (Some("two.com"), vec![two.clone()]),
            (Some("three.com"), vec![third.clone()]),
        ]
    };
    gateway.serve(snapshot(echo.address, address, with(&three))).await;

    let config = tls::client(&[]);
    let handshake = |name: &'static str| {
        let config = config.clone();
        async move {
            let mut stream = connect(address, name, &config).await.unwrap();
            let was_resumed = resumed(&stream);
            // an answer brings the tickets of TLS 1.3 along
            let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
            was_resumed
        }
    };
    assert!(!handshake("one.com").await);
    assert!(handshake("one.com").await);
    assert!(!handshake("two.com").await, "another listener's ticket is nothing here");

    gateway.serve(snapshot(echo.address, address, with(&tls::certificate(&["three.com"])))).await;
    assert!(handshake("one.com").await, "a change of another listener costs no session");
}

#[tokio::test]
async fn a_hello_in_many_segments_is_read_to_its_end() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let address = free_address();
    gateway.serve(snapshot(echo.address, address, vec![(Some("a.com"), vec![tls::certificate(&["a.com"])])])).await;
    let tcp = TcpStream::connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let stream = tls::connect_over(tls::Dribble(tcp), "a.com", &tls::client(&[])).await.unwrap();
    assert_eq!(Client::h1_over(stream).await.unwrap().get("https://a.com/").await.unwrap().summary(), "200 a");
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_given_up() {
    let echo = Echo::start("a").await;
    let settings = transom::proxy::Settings {
        handshake_timeout: std::time::Duration::from_millis(200),
        ..transom::proxy::Settings::default()
    };
    let mut gateway = Gateway::with(settings);
    let address = free_address();
    gateway.serve(snapshot(echo.address, address, vec![(None, vec![tls::certificate(&["a.com"])])])).await;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(&[22, 3, 1, 2, 0, 1, 0]).await.unwrap();
    assert_eq!(support::client::read_all(&mut tcp).await, "");
}

#[tokio::test]
async fn cleartext_connections_do_not_outlive_a_change_of_their_port_to_tls() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let address = free_address();
    let mut config = Config::default();
    let rule = config.to("a", echo.address);
    gateway.serve(config.http(address, vec![support::config::listener("l", None, rule)]).build()).await;
    let mut clients = [Client::h1(address).await, Client::h2(address).await];
    for client in &mut clients {
        assert_eq!(client.get("http://a.com/").await.unwrap().summary(), "200 a");
    }
    gateway.publisher.publish(snapshot(echo.address, address, vec![(None, vec![tls::certificate(&["a.com"])])]));
    for client in &clients {
        support::eventually("the end of the old connection", || async { client.is_closed().then_some(()) }).await;
    }
    let over_tls = support::eventually("TLS on the port", || async {
        let stream = connect(address, "a.com", &tls::client(&["http/1.1"])).await.ok()?;
        Client::h1_over(stream).await.ok()?.get("https://a.com/").await.ok()
    })
    .await;
    assert_eq!(over_tls.summary(), "200 a");
}
