//! Clients: hyper over any stream, and raw bytes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Request, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    /// A fact of an echo answer.
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Every value of a fact, joined with a comma.
    pub fn facts(&self, name: &str) -> String {
        let values = self.body.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        values.collect::<Vec<_>>().join(",")
    }

    /// Every value of a header, joined with a comma.
    pub fn header(&self, name: &str) -> String {
        let values = self.headers.get_all(name).iter().map(|value| value.to_str().unwrap());
        values.collect::<Vec<_>>().join(",")
    }

    /// Status and the name of the upstream, or the gateway's own words: `200 a`, `404 no_route`.
    pub fn summary(&self) -> String {
        match self.fact("name") {
            Some(name) => format!("{} {name}", self.status.as_u16()),
            None => self.body.trim().to_owned(),
        }
    }
}

/// A connection that can be asked again and again.
pub enum Client {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    /// HTTP/1.1 over TCP.
    pub async fn h1(address: SocketAddr) -> Client {
        Client::h1_over(TcpStream::connect(address).await.unwrap()).await.unwrap()
    }

    /// h2c by prior knowledge.
    pub async fn h2(address: SocketAddr) -> Client {
        Client::h2_over(TcpStream::connect(address).await.unwrap()).await.unwrap()
    }

    /// HTTP/1.1 over a stream.
    pub async fn h1_over<S>(stream: S) -> hyper::Result<Client>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Client::H1(sender))
    }

    /// HTTP/2 over a stream.
    pub async fn h2_over<S>(stream: S) -> hyper::Result<Client>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Client::H2(sender))
    }

    /// Sends a request. Its URI names the host: `http://host/path`.
    pub async fn send(&mut self, mut request: Request<Full<Bytes>>) -> hyper::Result<Answer> {
        let response = match self {
            Client::H1(sender) => {
                if let Some(authority) = request.uri().authority().cloned() {
                    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
                    *request.uri_mut() = path.parse().unwrap();
                    if !request.headers().contains_key("host") {
                        request.headers_mut().insert("host", authority.as_str().parse().unwrap());
                    }
                }
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Client::H2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer {
            status: parts.status,
            version: parts.version,
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    /// A GET.
    pub async fn get(&mut self, url: &str) -> hyper::Result<Answer> {
        self.send(Request::get(url).body(Full::default()).unwrap()).await
    }

    /// Whether the other side has ended the connection.
    pub fn is_closed(&self) -> bool {
        match self {
            Client::H1(sender) => sender.is_closed(),
            Client::H2(sender) => sender.is_closed(),
        }
    }
}

/// A GET over a connection of its own.
pub async fn get(address: SocketAddr, url: &str) -> Answer {
    Client::h1(address).await.get(url).await.unwrap()
}

/// Sends bytes and reads until the other side closes, or is silent for long.
pub async fn raw(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(bytes.as_ref()).await.unwrap();
    read_all(&mut tcp).await
}

/// Reads until the other side closes.
pub async fn read_all(reader: &mut (impl AsyncRead + Unpin)) -> String {
    let mut seen = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), reader.read_to_end(&mut seen)).await.expect("closed in time");
    String::from_utf8_lossy(&seen).into_owned()
}

/// Reads one answer with a `Content-Length` off a connection that stays open.
pub async fn read_answer(reader: &mut (impl AsyncRead + Unpin)) -> String {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") {
        let count =
            tokio::time::timeout(Duration::from_secs(10), reader.read(&mut byte)).await.expect("in time").unwrap();
        assert_ne!(count, 0, "closed after {:?}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&seen).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.unwrap();
    seen.extend(body);
    String::from_utf8_lossy(&seen).into_owned()
}
