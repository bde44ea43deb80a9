//! Certificates: parsed, checked, and redacted wherever they are printed.

use std::fmt::Write;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::Serialize;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// TLS of one listener.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListenerTls {
    /// Never empty. The one whose names and key type fit the client's hello is presented; else the first.
    pub certificates: Vec<Certificate>,
}

/// A certificate chain and its key. Prints and serialises as fingerprint and names only.
#[derive(Clone, Serialize)]
pub struct Certificate {
    /// SHA-256 of chain and key, hex: two certificates are equal if this is.
    pub fingerprint: String,
    /// DNS names and addresses of the leaf, lower case.
    pub names: Vec<String>,
    /// Beginning of the leaf's validity, seconds since 1970.
    pub not_before: i64,
    /// End of the leaf's validity, seconds since 1970.
    pub not_after: i64,
    #[serde(skip)]
    certified: Arc<CertifiedKey>,
}

/// Why a pair of PEM texts is no certificate to present. Never contains key material.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CertificateProblem {
    /// No certificate in the chain.
    #[error("tls.crt holds no PEM certificate")]
    NoCertificate,
    /// The chain does not parse.
    #[error("tls.crt is not valid PEM or holds a certificate that cannot be read")]
    BadCertificate,
    /// No key.
    #[error("tls.key holds no PEM private key (PKCS#1, PKCS#8 or SEC1)")]
    NoKey,
    /// A key of a kind that cannot sign.
    #[error("tls.key holds a key that is not RSA, ECDSA (P-256, P-384) or Ed25519")]
    BadKey,
    /// The key is another certificate's.
    #[error("tls.key does not belong to the first certificate of tls.crt")]
    Mismatch,
}

impl Certificate {
    /// Reads a chain (leaf first) and its key from PEM.
    ///
    /// # Errors
    /// The first thing that makes the pair unusable.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Certificate, CertificateProblem> {
        let ders = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| CertificateProblem::BadCertificate)?;
        let leaf = ders.first().ok_or(CertificateProblem::NoCertificate)?;
        let (names, not_before, not_after) = leaf_facts(leaf).ok_or(CertificateProblem::BadCertificate)?;
        let key_der = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertificateProblem::NoKey)?;

        let mut hash = Sha256::new();
        for der in &ders {
            hash.update(der);
        }
        hash.update(key_der.secret_der());
        let fingerprint = hex(&hash.finalize());

        let signing =
            rustls::crypto::ring::sign::any_supported_type(&key_der).map_err(|_| CertificateProblem::BadKey)?;
        let certified = CertifiedKey::new(ders, signing);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(_) => return Err(CertificateProblem::Mismatch),
        }
        Ok(Certificate { fingerprint, names, not_before, not_after, certified: Arc::new(certified) })
    }

    /// What rustls presents.
    #[must_use]
    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("fingerprint", &self.fingerprint)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn leaf_facts(der: &[u8]) -> Option<(Vec<String>, i64, i64)> {
    use x509_parser::prelude::*;
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let mut names = Vec::new();
    if let Ok(Some(san)) = certificate.subject_alternative_name() {
        for name in &san.value.general_names {
            match name {
                GeneralName::DNSName(dns) => names.push(dns.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => names.extend(address(bytes)),
                _ => {}
            }
        }
    }
    let validity = certificate.validity();
    Some((names, validity.not_before.timestamp(), validity.not_after.timestamp()))
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| std::net::Ipv6Addr::from(v6).to_string())
}
