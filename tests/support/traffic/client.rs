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

use super::script::End;

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: String,
    pub trailers: Option<HeaderMap>,
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
        let body = body.collect().await?;
        let trailers = body.trailers().cloned();
        let body = body.to_bytes();
        Ok(Answer {
            status: parts.status,
            version: parts.version,
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
            trailers,
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

/// A connection on which bytes are sent and answers are read by their framing, nothing forgiven.
pub struct Wire {
    pub tcp: TcpStream,
    seen: Vec<u8>,
}

/// An answer as it came: the header block in lower case, status line first, and the body without its framing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireAnswer {
    /// Header blocks of 1xx that came before it.
    pub interim: Vec<String>,
    pub head: String,
    pub body: String,
}

/// An answer that ended before it was whole: what had come, and how the connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub seen: String,
    pub end: End,
}

impl WireAnswer {
    /// The status.
    pub fn status(&self) -> u16 {
        status(&self.head)
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Status and body.
    pub fn summary(&self) -> String {
        format!("{} {}", self.status(), self.body.trim_end())
    }
}

impl Wire {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Wire {
        let tcp = TcpStream::connect(address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        Wire { tcp, seen: Vec::new() }
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.tcp.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends a request without a body and reads its answer.
    pub async fn ask(&mut self, method: &str, path: &str) -> Result<WireAnswer, Broken> {
        // An answer may come, and the connection end, before the request was sent.
        let _ = self.tcp.write_all(format!("{method} {path} HTTP/1.1\r\nHost: a.com\r\n\r\n").as_bytes()).await;
        self.answer(method).await
    }

    /// Reads the answer to a request of this method; what comes after it stays for the next one. Where only the end
    /// of the connection ends the body, a reset breaks it.
    pub async fn answer(&mut self, method: &str) -> Result<WireAnswer, Broken> {
        let mut interim = Vec::new();
        let head = loop {
            let head = self.head().await?;
            if !(100..200).contains(&status(&head)) || status(&head) == 101 {
                break head;
            }
            interim.push(head);
        };
        let mut answer = WireAnswer { interim, head, body: String::new() };
        let bodiless = method == "HEAD" || matches!(answer.status(), 101 | 204 | 304);
        let body = if bodiless {
            Vec::new()
        } else if answer.header("transfer-encoding") == Some("chunked") {
            assert_eq!(answer.header("content-length"), None, "{}", answer.head);
            self.chunks().await.map_err(|end| self.broken(&answer.head, end))?
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().unwrap();
            self.exactly(length).await.map_err(|end| self.broken(&answer.head, end))?
        } else {
            match self.end().await {
                End::Closed => std::mem::take(&mut self.seen),
                End::Reset => return Err(self.broken(&answer.head, End::Reset)),
            }
        };
        answer.body = String::from_utf8_lossy(&body).into_owned();
        Ok(answer)
    }

    /// Reads a header block.
    pub async fn head(&mut self) -> Result<String, Broken> {
        loop {
            if let Some(at) = self.seen.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.seen.drain(..at + 4).collect();
                return Ok(String::from_utf8_lossy(&head).to_lowercase());
            }
            self.more().await.map_err(|end| self.broken("", end))?;
        }
    }

    /// Reads so many bytes.
    pub async fn exactly(&mut self, length: usize) -> Result<Vec<u8>, End> {
        while self.seen.len() < length {
            self.more().await?;
        }
        Ok(self.seen.drain(..length).collect())
    }

    /// Reads to the end of the connection.
    pub async fn end(&mut self) -> End {
        loop {
            if let Err(end) = self.more().await {
                return end;
            }
        }
    }

    /// Whether the connection has ended or not yet, as far as can be seen: a request on it is answered.
    pub async fn is_kept(&mut self) -> bool {
        assert!(self.seen.is_empty(), "{:?}", String::from_utf8_lossy(&self.seen));
        self.ask("GET", "/kept").await.is_ok()
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, End> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = usize::from_str_radix(line.split(';').next().unwrap().trim(), 16).unwrap();
            if size == 0 {
                break;
            }
            body.extend(self.exactly(size).await?);
            assert_eq!(self.exactly(2).await?, b"\r\n");
        }
        while !self.line().await?.is_empty() {} // trailers
        Ok(body)
    }

    async fn line(&mut self) -> Result<String, End> {
        loop {
            if let Some(at) = self.seen.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.seen.drain(..at + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), End> {
        let read = self.tcp.read_buf(&mut self.seen);
        match tokio::time::timeout(Duration::from_secs(15), read).await.expect("in time") {
            Ok(0) => Err(End::Closed),
            Ok(_) => Ok(()),
            Err(_) => Err(End::Reset),
        }
    }

    fn broken(&self, head: &str, end: End) -> Broken {
        Broken { seen: format!("{head}{}", String::from_utf8_lossy(&self.seen)), end }
    }
}

fn status(head: &str) -> u16 {
    let rest = head.strip_prefix("http/1.1 ").or(head.strip_prefix("http/1.0 "));
    let code = rest.and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    code.unwrap_or_else(|| panic!("no status line: {head:?}"))
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
