//! ClientHellos by hand, right or wrong, and what comes back to them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// RFC 6066, 3: the extension of the server name.
pub const SERVER_NAME: u16 = 0;
/// RFC 8446, 4.2.1.
pub const SUPPORTED_VERSIONS: u16 = 43;

/// A ClientHello that is being made: what rustls takes, unless it is changed.
#[derive(Debug, Clone)]
pub struct Hello {
    pub version: u16,
    pub suites: Vec<u16>,
    pub extensions: Vec<(u16, Vec<u8>)>,
}

impl Hello {
    /// One of TLS 1.2 without a server name.
    pub fn new() -> Hello {
        let signatures = vec![0, 6, 0x04, 0x03, 0x08, 0x04, 0x08, 0x07];
        let groups = vec![0, 4, 0x00, 0x1d, 0x00, 0x17];
        let extensions = vec![(13, signatures), (10, groups), (11, vec![1, 0]), (23, vec![])];
        Hello { version: 0x0303, suites: vec![0xc02b, 0xc02f], extensions }
    }

    /// One that names a server.
    pub fn to(name: impl AsRef<[u8]>) -> Hello {
        Hello::new().with(SERVER_NAME, server_name(name.as_ref()))
    }

    /// With one more extension.
    pub fn with(mut self, kind: u16, content: Vec<u8>) -> Hello {
        self.extensions.push((kind, content));
        self
    }

    /// The handshake message.
    pub fn message(&self) -> Vec<u8> {
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend([7; 32]); // random
        body.push(0); // no session
        body.extend(counted(&self.suites.iter().flat_map(|suite| suite.to_be_bytes()).collect::<Vec<_>>()));
        body.extend([1, 0]); // no compression
        let mut extensions = Vec::new();
        for (kind, content) in &self.extensions {
            extensions.extend(kind.to_be_bytes());
            extensions.extend(counted(content));
        }
        body.extend(counted(&extensions));
        let mut message = vec![1];
        message.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
        message.extend(body);
        message
    }

    /// The same in one record.
    pub fn bytes(&self) -> Vec<u8> {
        records(&self.message(), 16_384)
    }
}

/// The content of the extension that names a server.
pub fn server_name(name: &[u8]) -> Vec<u8> {
    let mut entry = vec![0];
    entry.extend(counted(name));
    counted(&entry)
}

/// A message in handshake records of no more than `size` bytes each.
pub fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|part| [&[22, 3, 1][..], &counted(part)].concat()).collect()
}

/// With its length in two bytes before it.
fn counted(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// What comes back to a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The handshake goes on.
    ServerHello,
    /// A fatal alert, and the end.
    Alert(u8),
    /// Something else, and the end.
    Text(String),
    /// The end.
    Closed,
}

/// Sends bytes and reads what comes back. The connection is closed for writing only if nothing came.
pub async fn reply_to(address: SocketAddr, pieces: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Reply {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    for piece in pieces {
        // The answer may come, and the connection end, before all was sent.
        if tcp.write_all(piece.as_ref()).await.is_err() {
            break;
        }
    }
    read_reply(&mut tcp).await
}

/// Reads what comes back.
pub async fn read_reply(tcp: &mut TcpStream) -> Reply {
    let mut seen = Vec::new();
    while seen.first() != Some(&22) {
        let read = tokio::time::timeout(Duration::from_secs(15), tcp.read_buf(&mut seen)).await.expect("in time");
        if read.is_err() || read.is_ok_and(|count| count == 0) {
            break;
        }
    }
    match seen[..] {
        [] => Reply::Closed,
        [22, ..] => Reply::ServerHello,
        [21, _, _, 0, 2, 2, alert] => Reply::Alert(alert),
        _ => Reply::Text(String::from_utf8_lossy(&seen).into_owned()),
    }
}
