//! Versions and suites by setting, and sessions: resumed where they were made, in both versions, and nowhere else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, NamedGroup, SupportedProtocolVersion};
use support::config::{Config, ListenerSpec};
use support::tls::{self, client_of_versions, connect, resumed};
use support::upstream::Echo;
use support::{Gateway, free_address};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use transom::proxy::{Settings, TlsSettings, TlsVersion};
use transom::snapshot::Snapshot;
use transom::snapshot::tls::{Certificate, ListenerTls};

const BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

fn alert(error: &std::io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

fn with_suites(
    config: &Arc<ClientConfig>,
    suites: &[u16],
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut provider = rustls::crypto::ring::default_provider();
    let find = |number: &u16| provider.cipher_suites.iter().copied().find(|suite| u16::from(suite.suite()) == *number);
    provider.cipher_suites = suites.iter().filter_map(find).collect();
    let mut with = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(tls::takes_all())
        .with_no_client_auth();
    with.alpn_protocols.clone_from(&config.alpn_protocols);
    Arc::new(with)
}

fn snapshot(echo: SocketAddr, addresses: &[SocketAddr], hostnames: &[(&'static str, &Certificate)]) -> Snapshot {
    let mut config = Config::default();
    let rule = config.to("a", echo);
    for address in addresses {
        let names = ["first", "second", "third"];
        let specs = hostnames.iter().zip(names).map(|((hostname, certificate), name)| ListenerSpec {
            name,
            hostname: Some(hostname),
            tls: Some(ListenerTls { certificates: vec![(*certificate).clone()] }),
            routes: vec![(None, "/", rule)],
        });
        config = config.https(*address, specs.collect());
    }
    config.build()
}

async fn gateway(tls: TlsSettings) -> (Gateway, SocketAddr, Echo) {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::with(Settings { tls, ..Settings::default() });
    let address = free_address();
    gateway.serve(snapshot(echo.address, &[address], &[("a.com", &tls::certificate(&["a.com"]))])).await;
    (gateway, address, echo)
}

#[tokio::test]
async fn the_oldest_version_is_a_setting() {
    let (_gateway, address, _echo) = gateway(TlsSettings { min_version: TlsVersion::V13, suites: vec![] }).await;
    let refused = connect(address, "a.com", &client_of_versions(&[], &[&TLS12])).await.unwrap_err();
    assert_eq!(alert(&refused), Some(AlertDescription::ProtocolVersion));
    for versions in [&[&TLS13][..], &BOTH] {
        let stream = connect(address, "a.com", &client_of_versions(&[], versions)).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    }

    let (_gateway, address, _echo) = gateway(TlsSettings::default()).await;
    let stream = connect(address, "a.com", &client_of_versions(&[], &[&TLS12])).await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
}

const CHACHA_13: u16 = 0x1303;
const AES_13: u16 = 0x1301;
const AES_256_13: u16 = 0x1302;
const CHACHA_12: u16 = 0xcca9;
const AES_12: u16 = 0xc02b;
const AES_256_12: u16 = 0xc02c;

#[tokio::test]
async fn suites_are_chosen_in_our_order_unless_the_client_has_no_instructions_for_aes() {
    let all_13 = [AES_256_13, AES_13, CHACHA_13];
    let all_12 = [AES_256_12, AES_12, CHACHA_12];
    let phone_13 = [CHACHA_13, AES_13, AES_256_13];
    let phone_12 = [CHACHA_12, AES_12, AES_256_12];
    let named = vec![AES_256_13, CHACHA_13, AES_256_12, CHACHA_12];
    let cases = [
        (vec![], &TLS13, all_13, AES_13),
        (vec![], &TLS12, all_12, AES_12),
        (vec![], &TLS13, phone_13, CHACHA_13),
        (vec![], &TLS12, phone_12, CHACHA_12),
        (named.clone(), &TLS13, all_13, AES_256_13),
        (named.clone(), &TLS12, all_12, AES_256_12),
        (named.into_iter().rev().collect(), &TLS13, all_13, CHACHA_13),
    ];
    for (suites, version, asked, spoken) in cases {
        let (_gateway, address, _echo) = gateway(TlsSettings { min_version: TlsVersion::V12, suites }).await;
        let client = with_suites(&client_of_versions(&[], &[version]), &asked, &[version]);
        let stream = connect(address, "a.com", &client).await.unwrap();
        let suite = stream.get_ref().1.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(u16::from(suite), spoken, "{asked:x?}");
    }
}

#[tokio::test]
async fn only_suites_that_are_named_are_spoken() {
    let suites = vec![CHACHA_13, CHACHA_12];
    let (_gateway, address, _echo) = gateway(TlsSettings { min_version: TlsVersion::V12, suites }).await;
    for (version, spoken, unspoken) in [(&TLS13, CHACHA_13, AES_13), (&TLS12, CHACHA_12, AES_12)] {
        let any = client_of_versions(&[], &[version]);
        let stream = connect(address, "a.com", &any).await.unwrap();
        assert_eq!(u16::from(stream.get_ref().1.negotiated_cipher_suite().unwrap().suite()), spoken);
        let refused = connect(address, "a.com", &with_suites(&any, &[unspoken], &[version])).await.unwrap_err();
        assert_eq!(alert(&refused), Some(AlertDescription::HandshakeFailure), "{version:?}");
    }
}

/// Sessions of one server, offered to all.
#[derive(Debug)]
struct Promiscuous(ClientSessionMemoryCache);

fn anybody() -> ServerName<'static> {
    ServerName::try_from("anybody").unwrap()
}

impl ClientSessionStore for Promiscuous {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(anybody(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&anybody())
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(anybody(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&anybody())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&anybody());
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(anybody(), value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&anybody())
    }
}

/// Whether the handshake resumed a session.
async fn handshake(address: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> bool {
    let mut stream = connect(address, name, config).await.unwrap();
    let was_resumed = resumed(&stream);
    // an answer brings the tickets of TLS 1.3 along
    let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    was_resumed
}

/// A client of one version that offers whatever session it has. Each call of what is given starts without any.
fn promiscuous(version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut config = ClientConfig::clone(&client_of_versions(&[], &[version]));
    config.resumption = Resumption::store(Arc::new(Promiscuous(ClientSessionMemoryCache::new(64))));
    config.enable_early_data = true;
    Arc::new(config)
}

#[tokio::test]
async fn a_session_is_resumed_under_its_own_name_listener_and_port_and_nowhere_else() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let (here, there) = (free_address(), free_address());
    let one = tls::certificate(&["one.com", "*.w.com"]); // the same for all: only the name tells them apart
    gateway
        .serve(snapshot(echo.address, &[here, there], &[("one.com", &one), ("two.com", &one), ("*.w.com", &one)]))
        .await;
    for version in BOTH {
        for (first, second, is_resumed) in [
            ((here, "one.com"), (here, "one.com"), true),
            ((here, "a.w.com"), (here, "a.w.com"), true),
            ((here, "one.com"), (here, "two.com"), false),
            ((here, "one.com"), (there, "one.com"), false),
            ((here, "a.w.com"), (here, "b.w.com"), false), // of one listener
        ] {
            let config = promiscuous(version);
            assert!(!handshake(first.0, first.1, &config).await);
            assert_eq!(handshake(second.0, second.1, &config).await, is_resumed, "{version:?} {first:?} {second:?}");
        }
    }
}

#[tokio::test]
async fn a_change_costs_the_sessions_of_the_listener_it_concerns_alone() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let address = free_address();
    let (one, two) = (tls::certificate(&["one.com"]), tls::certificate(&["two.com"]));
    for version in BOTH {
        gateway.serve(snapshot(echo.address, &[address], &[("one.com", &one), ("two.com", &two)])).await;
        let (stays, changes) = (promiscuous(version), promiscuous(version));
        assert!(!handshake(address, "one.com", &stays).await);
        assert!(!handshake(address, "two.com", &changes).await);
        let renewed = tls::certificate(&["two.com"]);
        gateway.serve(snapshot(echo.address, &[address], &[("one.com", &one), ("two.com", &renewed)])).await;
        support::eventually("the renewed certificate", || async {
            let stream = connect(address, "two.com", &client_of_versions(&[], &[version])).await.unwrap();
            tls::presented(&stream, &renewed).then_some(())
        })
        .await;
        assert!(handshake(address, "one.com", &stays).await, "{version:?}");
        assert!(!handshake(address, "two.com", &changes).await, "{version:?}");
    }
}

#[tokio::test]
async fn nothing_is_taken_before_the_handshake_is_done() {
    let (_gateway, address, _echo) = gateway(TlsSettings::default()).await;
    let config = promiscuous(&TLS13);
    assert!(!handshake(address, "a.com", &config).await);
    // a client with a session, that would send early data if the ticket allowed any
    let mut client = rustls::ClientConnection::new(config, ServerName::try_from("a.com").unwrap()).unwrap();
    assert!(client.early_data().is_none());
}
