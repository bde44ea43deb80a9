//! TLS of the listeners: one `ServerConfig` for each, found by server name, so that neither certificates nor
//! tickets nor sessions cross from one listener to another. A config stays the same object while its
//! certificates stay the same: a change elsewhere costs nobody his session.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ServerConfig, SignatureScheme, SupportedCipherSuite};

use super::hello::server_name;
use crate::proxy::settings::{TlsSettings, TlsVersion};
use crate::router::{HostMap, Hostname};
use crate::snapshot::tls::{Certificate, ListenerTls};
use crate::snapshot::{BindProtocol, ListenerId, Snapshot};

/// The configs that are in use.
#[derive(Debug)]
pub struct TlsConfigs {
    settings: TlsSettings,
    known: BTreeMap<Key, (Vec<String>, Arc<ServerConfig>)>,
}

type Key = (SocketAddr, ListenerId, Option<Hostname>);

/// The certificates of a listener.
#[derive(Debug)]
struct Certificates(Vec<Named>);

#[derive(Debug)]
struct Named {
    names: Vec<Hostname>,
    certified: Arc<CertifiedKey>,
}

impl TlsConfigs {
    /// None is in use yet.
    pub fn new(settings: TlsSettings) -> Self {
        TlsConfigs { settings, known: BTreeMap::new() }
    }

    /// The configs of a snapshot, by bind and server name. What the snapshot no longer has is forgotten.
    pub fn of(&mut self, snapshot: &Snapshot) -> BTreeMap<SocketAddr, HostMap<Arc<ServerConfig>>> {
        let mut known = BTreeMap::new();
        let mut binds = BTreeMap::new();
        for (address, bind) in &snapshot.binds {
            if bind.protocol != BindProtocol::Https {
                continue;
            }
            let mut by_name = HostMap::default();
            for listener in &bind.listeners {
                let Some(tls) = &listener.tls else { continue };
                let fingerprints: Vec<_> = tls.certificates.iter().map(|one| one.fingerprint.clone()).collect();
                let key = (*address, listener.id.clone(), listener.hostname.clone());
                let config = match self.known.remove(&key) {
                    Some((before, config)) if before == fingerprints => config,
                    _ => match config(tls, &self.settings) {
                        Ok(config) => Arc::new(config),
                        Err(error) => {
                            tracing::error!(listener = ?listener.id, %error, "TLS cannot be set up");
                            continue;
                        }
                    },
                };
                by_name.insert(listener.hostname.as_ref(), config.clone());
                known.insert(key, (fingerprints, config));
            }
            binds.insert(*address, by_name);
        }
        self.known = known;
        binds
    }
}

fn config(tls: &ListenerTls, settings: &TlsSettings) -> Result<ServerConfig, rustls::Error> {
    let mut provider = rustls::crypto::ring::default_provider();
    let known = &mut provider.cipher_suites;
    if settings.suites.is_empty() {
        known.sort_by_key(|suite| place(suite.suite()));
    } else {
        let find = |number: &u16| known.iter().copied().find(|suite| u16::from(suite.suite()) == *number);
        *known = settings.suites.iter().filter_map(find).collect();
    }
    let versions: &[_] = match settings.min_version {
        TlsVersion::V12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V13 => &[&rustls::version::TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Certificates::new(&tls.certificates)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ignore_client_order = true;
    // Its keys are replaced every six hours and forgotten after twelve.
    config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    Ok(config)
}

/// Where a suite stands if none was named. AES-128 first, which is as good for what lasts no longer than a session, and
/// whose handshakes hash with SHA-256, for which processors have instructions.
fn place(suite: CipherSuite) -> u8 {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 0,
        suite if is_chacha(suite) => 2,
        _ => 1,
    }
}

fn is_chacha(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

/// The config for a client. One that asks for ChaCha20 first has no instructions for AES and has its own way.
pub fn for_client(config: Arc<ServerConfig>, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
    if !prefers_chacha(hello.cipher_suites(), &config.crypto_provider().cipher_suites) {
        return config;
    }
    let mut theirs = ServerConfig::clone(&config);
    theirs.ignore_client_order = false;
    Arc::new(theirs)
}

/// Of those that we have: browsers begin their lists with a number that is none (GREASE, RFC 8701).
fn prefers_chacha(theirs: &[CipherSuite], ours: &[SupportedCipherSuite]) -> bool {
    theirs.iter().find(|suite| ours.iter().any(|our| our.suite() == **suite)).copied().is_some_and(is_chacha)
}

impl Certificates {
    fn new(certificates: &[Certificate]) -> Self {
        let named = |certificate: &Certificate| Named {
            names: certificate.names.iter().filter_map(|name| Hostname::parse(name)).collect(),
            certified: certificate.certified().clone(),
        };
        Certificates(certificates.iter().map(named).collect())
    }

    /// One that names the server and that the client can verify; else one that it can verify; else the first.
    fn choose(&self, server_name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Named> {
        let verifiable = || self.0.iter().filter(|one| one.certified.key.choose_scheme(schemes).is_some());
        let named = server_name.and_then(|name| verifiable().find(|one| one.covers(name)));
        named.or_else(|| verifiable().next()).or_else(|| self.0.first())
    }
}

impl Named {
    fn covers(&self, server_name: &str) -> bool {
        self.names.iter().any(|name| match name {
            Hostname::Exact(name) => name == server_name,
            // RFC 6125, 6.4.3: a wildcard of a certificate stands for one label, unlike that of a listener.
            Hostname::Wildcard(suffix) => {
                server_name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == suffix)
            }
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = server_name(&hello);
        self.choose(name.as_deref(), hello.signature_schemes()).map(|one| one.certified.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_instructions_for_aes_is_known_by_the_first_suite_that_is_one() {
        const GREASE: CipherSuite = CipherSuite::Unknown(0x2a2a);
        const AES: CipherSuite = CipherSuite::TLS13_AES_128_GCM_SHA256;
        const CHACHA: CipherSuite = CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
        let ours = rustls::crypto::ring::default_provider().cipher_suites;
        for (theirs, expected) in [
            (&[GREASE, CHACHA, AES][..], true),
            (&[CHACHA, AES], true),
            (&[GREASE, AES, CHACHA], false),
            (&[AES, CHACHA], false),
            (&[GREASE], false),
            (&[], false),
        ] {
            assert_eq!(prefers_chacha(theirs, &ours), expected, "{theirs:?}");
        }
    }
}
