//! An upstream and a client of HTTP/2 without TLS, frame by frame: trailers, resets and refusals are said and seen.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response, request};
use tokio::net::{TcpListener, TcpStream};

use super::eventually;

/// An upstream that does what the path of a request says.
///
/// | path | |
/// |---|---|
/// | `/unary` | reads the request and answers with its body, then trailers |
/// | `/trailers-only` | answers with a header block that ends the stream |
/// | `/stream` | answers at once, sends back every piece as it comes, then trailers |
/// | `/early` | answers and ends before it has read the request |
/// | `/refuse-once` | refuses the stream the first time, as not processed |
/// | `/reset` | begins an answer and resets it |
/// | `/reset-at-once` | resets without an answer |
/// | `/goaway` | closes with a GOAWAY that counts the stream among those that may have been processed |
/// | `/forever` | reads to the end and never answers: its outcome is how it was given up |
pub struct H2c {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub head: Arc<request::Parts>,
    pub connection: usize,
    pub body: usize,
    pub outcome: Option<Outcome>,
}

/// How a request's stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Whole(HeaderMap),
    Broken(Option<Reason>),
}

impl H2c {
    pub async fn start() -> H2c {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let upstream = H2c { address, seen: seen.clone(), connections: connections.clone() };
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let number = {
                    let mut connections = connections.lock().unwrap();
                    *connections += 1;
                    *connections
                };
                tokio::spawn(serve(tcp, number, seen.clone()));
            }
        });
        upstream
    }

    /// Requests so far, in the order in which they came.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    /// Waits for the end of a request.
    pub async fn wait_outcome(&self, number: usize) -> Outcome {
        eventually("the request's end", || async { self.seen().get(number)?.outcome.clone() }).await
    }
}

async fn serve(tcp: TcpStream, connection: usize, seen: Arc<Mutex<Vec<Seen>>>) {
    let mut server = h2::server::Builder::new();
    server.initial_window_size(1 << 20).initial_connection_window_size(8 << 20);
    let Ok(mut server) = server.handshake::<_, Bytes>(tcp).await else { return };
    while let Some(Ok((request, respond))) = server.accept().await {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(Seen { head: Arc::new(head), connection, body: 0, outcome: None });
            seen.len() - 1
        };
        if path == "/goaway" {
            server.abrupt_shutdown(Reason::NO_ERROR);
            continue;
        }
        tokio::spawn(answer(path, number, body, respond, seen.clone()));
    }
}

fn ok() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    trailers.insert("grpc-message", "fine".parse().unwrap());
    trailers
}

async fn answer(
    path: String,
    number: usize,
    mut body: RecvStream,
    mut respond: SendResponse<Bytes>,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    match path.as_str() {
        "/trailers-only" => {
            let _ = read(&mut body, number, &seen, None).await;
            let mut response = ok();
            response.headers_mut().extend([
                ("grpc-status".parse().unwrap(), "5".parse().unwrap()),
                ("grpc-message".parse::<http::HeaderName>().unwrap(), "none".parse().unwrap()),
            ]);
            respond.send_response(response, true).unwrap();
        }
        "/stream" => {
            let mut answer = respond.send_response(ok(), false).unwrap();
            if read(&mut body, number, &seen, Some(&mut answer)).await.is_some() {
                let _ = answer.send_trailers(trailers());
            }
        }
        "/early" => {
            let mut answer = respond.send_response(ok(), false).unwrap();
            send(&mut answer, "early".into()).await;
            let _ = answer.send_trailers(trailers());
        }
        "/refuse-once" if number == 0 => respond.send_reset(Reason::REFUSED_STREAM),
        "/reset-at-once" => respond.send_reset(Reason::INTERNAL_ERROR),
        "/reset" => {
            let mut answer = respond.send_response(ok(), false).unwrap();
            send(&mut answer, "half".into()).await;
            tokio::time::sleep(Duration::from_millis(50)).await; // so that the half is on its way
            answer.send_reset(Reason::INTERNAL_ERROR);
        }
        "/forever" => {
            while let Some(Ok(piece)) = body.data().await {
                seen.lock().unwrap()[number].body += piece.len();
            }
            let reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            seen.lock().unwrap()[number].outcome = Some(Outcome::Broken(reset.ok()));
        }
        _ => {
            if let Some(body) = read(&mut body, number, &seen, None).await {
                let mut answer = respond.send_response(ok(), false).unwrap();
                send(&mut answer, body.into()).await;
                let _ = answer.send_trailers(trailers());
            }
        }
    }
}

/// Reads a request to its end, and sends back each piece; nothing if it broke off.
async fn read(
    body: &mut RecvStream,
    number: usize,
    seen: &Mutex<Vec<Seen>>,
    mut echo: Option<&mut SendStream<Bytes>>,
) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    let outcome = loop {
        match body.data().await {
            Some(Ok(piece)) => {
                let _ = body.flow_control().release_capacity(piece.len());
                seen.lock().unwrap()[number].body += piece.len();
                match &mut echo {
                    Some(echo) => send(echo, piece).await,
                    None => whole.extend(piece),
                }
            }
            Some(Err(error)) => break Outcome::Broken(error.reason()),
            None => match body.trailers().await {
                Ok(trailers) => break Outcome::Whole(trailers.unwrap_or_default()),
                Err(error) => break Outcome::Broken(error.reason()),
            },
        }
    };
    let is_whole = matches!(outcome, Outcome::Whole(_));
    seen.lock().unwrap()[number].outcome = Some(outcome);
    is_whole.then_some(whole)
}

/// Sends a piece as the other side has room for it; what cannot be sent is let go.
pub async fn send(stream: &mut SendStream<Bytes>, mut piece: Bytes) {
    while !piece.is_empty() {
        stream.reserve_capacity(piece.len());
        let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
        let some = piece.split_to(room.min(piece.len()));
        if stream.send_data(some, false).is_err() {
            return;
        }
    }
}

/// A client's connection.
pub async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let mut client = h2::client::Builder::new();
    client.initial_window_size(1 << 20).initial_connection_window_size(8 << 20);
    let (sender, connection) = client.handshake(TcpStream::connect(address).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A gRPC request's header.
pub fn call(path: &str) -> Request<()> {
    let request = Request::post(format!("http://a.com{path}"));
    request.header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap()
}

/// What came back: header, body, and trailers unless the header ended it.
#[derive(Debug)]
pub struct Reply {
    pub head: http::response::Parts,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
    /// Whether the header block ended the stream: what gRPC calls an answer of trailers only.
    pub header_ended: bool,
}

impl Reply {
    /// A trailer's value.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.as_ref()?.get(name)?.to_str().ok()
    }
}

/// Reads an answer to its end.
pub async fn reply(response: h2::client::ResponseFuture) -> Result<Reply, h2::Error> {
    let (head, mut body) =
        tokio::time::timeout(Duration::from_secs(15), response).await.expect("in time")?.into_parts();
    let header_ended = body.is_end_stream();
    let mut whole = Vec::new();
    while let Some(piece) = tokio::time::timeout(Duration::from_secs(15), body.data()).await.expect("in time") {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        whole.extend(piece);
    }
    let trailers = body.trailers().await?;
    Ok(Reply { head, body: whole, trailers, header_ended })
}

/// A call with a body in one piece.
pub async fn ask(client: &mut SendRequest<Bytes>, path: &str, body: impl Into<Bytes>) -> Result<Reply, h2::Error> {
    let mut ready = client.clone().ready().await?;
    let (response, mut stream) = ready.send_request(call(path), false)?;
    let body = body.into();
    // At once: who echoes stops reading while nobody reads the echo.
    let sent = async {
        send(&mut stream, body).await;
        let _ = stream.send_data(Bytes::new(), true);
    };
    tokio::join!(sent, reply(response)).1
}
