//! A server that remembers every request that reached it, body and all, and behaves as told.
#![allow(dead_code, reason = "each test file uses a part")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::support::eventually;

/// What is done with a request.
#[derive(Debug, Clone, Copy)]
pub enum Behaviour {
    /// Reads it and answers 200.
    Answer,
    /// Waits before it reads, and before it answers.
    AnswerAfter(Duration, Duration),
    /// Accepts, and reads nothing for a while, not even the header.
    ReadAfter(Duration),
    /// Sends the body back while it comes.
    Stream,
    /// Reads it and answers with a status, and no body.
    Status(u16),
    /// Answers with a status before it has read the body, and closes.
    AnswerAndClose(u16),
    /// Accepts and does nothing more.
    Hang,
    /// Resets once something comes.
    Reset,
    /// Answers what is not HTTP.
    Nonsense,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub version: String,
    /// `Host`, or what stands for it.
    pub host: String,
    /// Sorted.
    pub headers: Vec<(String, String)>,
    /// The body, or why it is not whole.
    pub body: Result<Bytes, String>,
}

/// The server.
pub struct Witness {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
}

impl Witness {
    /// Speaks HTTP/1.1 and h2c.
    pub async fn start(behaviour: Behaviour) -> Witness {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let witness =
            Witness { address: listener.local_addr().unwrap(), seen: Arc::default(), connections: Arc::default() };
        let (seen, connections) = (witness.seen.clone(), witness.connections.clone());
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(tcp, behaviour, seen.clone()));
            }
        });
        witness
    }

    /// Waits for `count` requests that came to their end, one way or the other; all of them.
    pub async fn seen(&self, count: usize) -> Vec<Seen> {
        eventually(&format!("{count} requests"), || async {
            let seen = self.all();
            assert!(seen.len() <= count, "{} requests instead of {count}", seen.len());
            (seen.len() == count).then_some(seen)
        })
        .await
    }

    /// What came until now.
    pub fn all(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many that is.
    pub fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Connections that were accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(mut tcp: TcpStream, behaviour: Behaviour, seen: Arc<Mutex<Vec<Seen>>>) {
    match behaviour {
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Reset => {
            let _ = tcp.read(&mut [0; 1024]).await;
            let _ = socket2::SockRef::from(&tcp).set_linger(Some(Duration::ZERO));
            return;
        }
        Behaviour::Nonsense => {
            let _ = tcp.read(&mut [0; 1024]).await;
            let _ = tcp.write_all(b"220 smtp.example.com ESMTP\r\n\r\n").await;
            return;
        }
        Behaviour::ReadAfter(pause) => tokio::time::sleep(pause).await,
        _ => {}
    }
    tcp.set_nodelay(true).unwrap();
    let service = service_fn(move |request| answer(request, behaviour, seen.clone()));
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(tcp), service).await;
}

async fn answer(
    request: Request<Incoming>,
    behaviour: Behaviour,
    all: Arc<Mutex<Vec<Seen>>>,
) -> Result<Response<UnsyncBoxBody<Bytes, hyper::Error>>, Infallible> {
    let (parts, body) = request.into_parts();
    let text = |body: &str| Full::new(Bytes::from(body.to_owned())).map_err(|never| match never {}).boxed_unsync();
    let status = match behaviour {
        Behaviour::Stream => return Ok(Response::new(body.boxed_unsync())),
        Behaviour::AnswerAndClose(status) => {
            let answer = Response::builder().status(status).header("connection", "close");
            return Ok(answer.body(text("")).unwrap());
        }
        Behaviour::AnswerAfter(pause, _) => {
            tokio::time::sleep(pause).await;
            200
        }
        Behaviour::Status(status) => status,
        _ => 200,
    };
    let mut headers: Vec<_> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    headers.sort();
    let host = parts.uri.authority().map(ToString::to_string);
    let host = host.or_else(|| headers.iter().find(|(name, _)| name == "host").map(|(_, value)| value.clone()));
    let seen = Seen {
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        version: format!("{:?}", parts.version),
        host: host.unwrap_or_default(),
        headers,
        body: Err("unread".to_owned()),
    };
    // If the connection goes, this is dropped where it stands, and remembered all the same.
    let mut remembered = Remembered { seen: Some(seen), all };
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string());
    if let Some(seen) = &mut remembered.seen {
        seen.body = body;
    }
    drop(remembered);
    if let Behaviour::AnswerAfter(_, pause) = behaviour {
        tokio::time::sleep(pause).await;
    }
    Ok(Response::builder().status(status).body(text(if status == 200 { "witnessed" } else { "" })).unwrap())
}

struct Remembered {
    seen: Option<Seen>,
    all: Arc<Mutex<Vec<Seen>>>,
}

impl Drop for Remembered {
    fn drop(&mut self) {
        self.all.lock().unwrap().extend(self.seen.take());
    }
}
