//! Certificates made on the spot, and TLS clients that report what they were shown.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use transom::snapshot::tls::Certificate;

/// A certificate for some names, with a P-256 key.
pub fn certificate(names: &[&str]) -> Certificate {
    certificate_with(names, &rcgen::PKCS_ECDSA_P256_SHA256)
}

/// A certificate for some names, with a key of a kind.
pub fn certificate_with(names: &[&str], kind: &'static SignatureAlgorithm) -> Certificate {
    let key = KeyPair::generate_for(kind).unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    Certificate::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
}

/// A client that takes any certificate and remembers sessions.
pub fn client(alpn: &[&str]) -> Arc<ClientConfig> {
    client_of_schemes(
        alpn,
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes(),
    )
}

/// A client that can verify only some signatures.
pub fn client_of_schemes(alpn: &[&str], schemes: Vec<SignatureScheme>) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakesAll(schemes)))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A client that takes any certificate and speaks only these versions.
pub fn client_of_versions(alpn: &[&str], versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(takes_all())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A handshake. `name` is the SNI; an IP address sends none.
pub async fn connect(address: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    TlsConnector::from(config.clone()).connect(ServerName::try_from(name.to_owned()).unwrap(), tcp).await
}

/// A handshake over any stream.
pub async fn connect_over<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    name: &str,
    config: &Arc<ClientConfig>,
) -> io::Result<TlsStream<S>> {
    TlsConnector::from(config.clone()).connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await
}

/// Whether the leaf that the server presented is this certificate's.
pub fn presented<S>(stream: &TlsStream<S>, certificate: &Certificate) -> bool {
    let leaf = stream.get_ref().1.peer_certificates().unwrap().first().unwrap().clone();
    Some(&leaf) == certificate.certified().cert.first()
}

/// Whether the handshake resumed a session.
pub fn resumed<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
}

#[derive(Debug)]
struct TakesAll(Vec<SignatureScheme>);

impl ServerCertVerifier for TakesAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

/// A stream that writes a few bytes at a time, each in a segment of its own.
pub struct Dribble(pub TcpStream);

impl AsyncRead for Dribble {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Dribble {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let few = data.len().min(11);
        let written = std::task::ready!(Pin::new(&mut self.0).poll_write(cx, &data[..few]))?;
        std::thread::sleep(std::time::Duration::from_millis(1)); // the server reads in between
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A verifier that takes any certificate.
pub fn takes_all() -> Arc<dyn ServerCertVerifier> {
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    Arc::new(TakesAll(algorithms.supported_schemes()))
}
