//! TLS handshakes: the hello finds a listener by the server it names, and the listener's config does the rest. In
//! comes an accepted connection; out goes an encrypted one, or in a word why there is none, which the client was told
//! as far as TLS has words for it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::server::{Accepted, AcceptedAlert};
use rustls::{AlertDescription, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use super::hello::{self, NoHello, fatal};
use super::last_word::last_word;
use super::leaving::{Signals, unheard};
use super::tls;
use crate::proxy::serving::WorkerState;
use crate::telemetry::{HandshakeResult, Reason, TlsVersion};

/// For how long and for how many bytes a client is listened to that was answered in cleartext, so that the answer is
/// not lost to a reset.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 * 1024;

/// A handshake that came to nothing.
#[derive(Debug)]
pub struct Failed {
    /// How.
    pub result: HandshakeResult,
    /// What happened, for the log.
    pub error: String,
    /// The status that was answered in cleartext; 0 if none.
    pub code: u16,
    /// Nothing at all came from the client: a probe of the port is no request.
    pub silent: bool,
}

/// What came of a handshake.
pub struct Handshaken {
    /// What is read and written from now on.
    pub tls: TlsStream<TcpStream>,
    /// The server that the client named, lower case.
    pub sni: Option<String>,
}

/// Does the handshake, until `deadline`. `began_otherwise`: what was read of it already is not how TLS begins.
///
/// # Errors
/// It came to nothing.
pub async fn run(
    mut tcp: TcpStream,
    began_otherwise: bool,
    bind: SocketAddr,
    deadline: Instant,
    state: &WorkerState,
    signals: &Signals,
) -> Result<Handshaken, Failed> {
    let mut reader = hello::Reader::default();
    let hello = tokio::select! {
        biased;
        () = std::future::ready(()), if began_otherwise => Err(NoHello::Plaintext),
        hello = timeout_at(deadline, reader.read(&mut tcp)) => hello.unwrap_or(Err(NoHello::Late)),
        () = unheard(signals) => Err(NoHello::Ended),
    };
    let accepted = match hello {
        Ok(accepted) => accepted,
        Err(why) => return Err(Failed { silent: !began_otherwise && reader.is_silent(), ..refuse(tcp, why).await }),
    };
    let sni = hello::server_name(&accepted.client_hello());
    let config = {
        let view = state.glance();
        view.tls(&bind).and_then(|tls| tls.find(sni.as_deref().unwrap_or_default())).cloned()
    };
    let Some(config) = config else { return Err(unknown(tcp, sni).await) };
    let config = tls::for_client(config, &accepted.client_hello());
    match timeout_at(deadline, accept(accepted, tcp, config)).await {
        Ok(Ok(tls)) => Ok(Handshaken { tls, sni }),
        Ok(Err(error)) => Err(Failed::from(&error)),
        Err(_) => Err(Failed::new(HandshakeResult::Timeout, "not in time")),
    }
}

async fn accept(
    accepted: Accepted,
    tcp: TcpStream,
    config: std::sync::Arc<rustls::ServerConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    StartHandshake::from_parts(accepted, tcp).into_stream(config).await
}

/// The version that was agreed on.
pub fn version(tls: &TlsStream<TcpStream>) -> TlsVersion {
    match tls.get_ref().1.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => TlsVersion::V13,
        Some(rustls::ProtocolVersion::TLSv1_2) => TlsVersion::V12,
        _ => TlsVersion::None,
    }
}

async fn refuse(mut tcp: TcpStream, why: NoHello) -> Failed {
    let failed = Failed::new;
    match why {
        NoHello::Closed => failed(HandshakeResult::Closed, "the client left"),
        NoHello::Ended => failed(HandshakeResult::Closed, "the listener is closed"),
        NoHello::Late => failed(HandshakeResult::Timeout, "not in time"),
        NoHello::Unreadable(error) => failed(HandshakeResult::Closed, &error.to_string()),
        NoHello::Plaintext => {
            say(&mut tcp, &last_word(400, Reason::ClientTls)).await;
            let (mut rest, mut sink) = (tcp.take(LINGER_BYTES), tokio::io::sink());
            let _ = timeout(LINGER_TIME, tokio::io::copy(&mut rest, &mut sink)).await;
            Failed { code: 400, ..failed(HandshakeResult::Plaintext, "HTTP in cleartext on a port of TLS") }
        }
        NoHello::TooLong => {
            say(&mut tcp, &fatal(u8::from(AlertDescription::DecodeError))).await;
            failed(HandshakeResult::Protocol, "a hello beyond 64 KiB")
        }
        NoHello::Invalid(error, alert) => {
            say(&mut tcp, &written(alert)).await;
            failed(result_of(&error), &error.to_string())
        }
    }
}

async fn unknown(mut tcp: TcpStream, sni: Option<String>) -> Failed {
    // RFC 6066, 3: "the server SHOULD take one of two actions: either abort the handshake by sending a fatal-level
    // unrecognized_name(112) alert or continue the handshake."
    let (alert, result, error) = match sni {
        Some(name) => {
            (AlertDescription::UnrecognisedName, HandshakeResult::UnknownName, format!("no listener for {name:?}"))
        }
        None => (AlertDescription::HandshakeFailure, HandshakeResult::NoName, "no server name".to_owned()),
    };
    say(&mut tcp, &fatal(u8::from(alert))).await;
    Failed::new(result, &error)
}

/// The last that is said. A client that does not listen any more misses nothing.
async fn say(tcp: &mut TcpStream, bytes: &[u8]) {
    let _ = tcp.write_all(bytes).await;
    let _ = tcp.shutdown().await;
}

fn written(mut alert: AcceptedAlert) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A `Vec` takes everything.
    let _ = alert.write_all(&mut bytes);
    bytes
}

impl Failed {
    fn new(result: HandshakeResult, error: &str) -> Self {
        Failed { result, error: error.to_owned(), code: 0, silent: false }
    }
}

impl From<&io::Error> for Failed {
    fn from(error: &io::Error) -> Self {
        let result = match error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) {
            Some(error) => result_of(error),
            None => HandshakeResult::Closed,
        };
        Failed::new(result, &error.to_string())
    }
}

fn result_of(error: &Error) -> HandshakeResult {
    match error {
        Error::AlertReceived(_) => HandshakeResult::ClientAlert,
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => HandshakeResult::Incompatible,
        _ => HandshakeResult::Protocol,
    }
}
