//! Endpoints that fail in one way each, and a gateway whose access log is read. For the tests of timeouts and retries.
#![allow(dead_code, reason = "each test file uses a part")]

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use transom::lifecycle::Readiness;
use transom::proxy::Settings;
use transom::snapshot::{Publisher, Retry, Timeouts};
use transom::telemetry::access_log::Format;
use transom::telemetry::{AccessLog, BuildLabels, Telemetry};

use crate::support::config::{Config, listener};
use crate::support::{Gateway, eventually, free_address};

/// What an endpoint does with a request whose header it has read.
#[derive(Clone, Copy)]
pub enum Act {
    /// Says nothing, reads all.
    Hang,
    /// Says nothing, reads nothing.
    Deaf,
    /// A header, then a little body every 20 ms, without an end. HTTP/1: chunked, or until the connection closes.
    Drip { until_close: bool },
    /// A header and the beginning of a body, then nothing.
    Stall { until_close: bool },
    /// A header, then more than anybody takes (HTTP/1).
    Flood,
    /// Resets: the connection, or the stream.
    Reset,
    /// Refuses the stream (HTTP/2).
    Refuse,
    /// `100 Continue`, then as [`Act::Hang`].
    Continue,
    /// An answer of this status, after a while.
    Answer(u16, Duration),
}

/// An endpoint that acts for each request by its number.
pub struct Endpoint {
    pub address: SocketAddr,
    requests: Arc<AtomicUsize>,
    cut: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

/// Lines of an access log.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Endpoint {
    /// Speaks HTTP/1.1.
    pub async fn h1(act: impl Fn(usize) -> Act + Send + Sync + 'static) -> Endpoint {
        let (endpoint, listener) = Endpoint::bind().await;
        let (requests, cut, act) = (endpoint.requests.clone(), endpoint.cut.clone(), Arc::new(act));
        let ended = endpoint.ended.clone();
        tokio::spawn(async move {
            loop {
                let (mut tcp, _) = listener.accept().await.unwrap();
                tcp.set_nodelay(true).unwrap();
                let (requests, cut, act) = (requests.clone(), cut.clone(), act.clone());
                let ended = ended.clone();
                tokio::spawn(async move {
                    while let Some(length) = read_head(&mut tcp).await {
                        let number = requests.fetch_add(1, Ordering::SeqCst);
                        if play_h1(&mut tcp, act(number), length).await.is_none() {
                            cut.fetch_add(1, Ordering::SeqCst);
                            break;
                        }
                    }
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        endpoint
    }

    /// Speaks HTTP/2 by prior knowledge.
    pub async fn h2c(act: impl Fn(usize) -> Act + Send + Sync + 'static) -> Endpoint {
        let (endpoint, listener) = Endpoint::bind().await;
        let (requests, cut, act) = (endpoint.requests.clone(), endpoint.cut.clone(), Arc::new(act));
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (requests, cut, act) = (requests.clone(), cut.clone(), act.clone());
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(tcp).await.unwrap();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        let number = requests.fetch_add(1, Ordering::SeqCst);
                        let (cut, act) = (cut.clone(), act(number));
                        tokio::spawn(async move {
                            if play_h2(request, respond, act).await.is_none() {
                                cut.fetch_add(1, Ordering::SeqCst);
                            }
                        });
                    }
                });
            }
        });
        endpoint
    }

    /// Either.
    pub async fn over(h2c: bool, act: impl Fn(usize) -> Act + Send + Sync + 'static) -> Endpoint {
        if h2c { Endpoint::h2c(act).await } else { Endpoint::h1(act).await }
    }

    async fn bind() -> (Endpoint, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Endpoint { address, requests: Arc::default(), cut: Arc::default(), ended: Arc::default() }, listener)
    }

    /// Requests that reached it.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Connections that have ended (HTTP/1).
    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    /// Waits until the other side has ended a request that was not answered to its end.
    pub async fn sees_a_cut(&self) {
        eventually("the endpoint sees the end of the try", || async {
            (self.cut.load(Ordering::SeqCst) > 0).then_some(())
        })
        .await;
    }
}

/// Reads a request's header; the length of the body that follows.
async fn read_head(tcp: &mut TcpStream) -> Option<usize> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if tcp.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    Some(head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap()))
}

/// `None` if the other side ended it, or nothing is to follow.
async fn play_h1(tcp: &mut TcpStream, act: Act, length: usize) -> Option<()> {
    match act {
        Act::Hang => hang(tcp).await,
        Act::Continue => {
            tcp.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
            hang(tcp).await
        }
        Act::Deaf => {
            tokio::time::sleep(Duration::from_secs(20)).await;
            None
        }
        Act::Drip { until_close } | Act::Stall { until_close } => {
            let (head, body): (&[u8], &[u8]) = if until_close {
                (b"HTTP/1.1 200 OK\r\n\r\n", b"drip")
            } else {
                (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\ndrip\r\n")
            };
            tcp.write_all(head).await.ok()?;
            tcp.write_all(body).await.ok()?;
            let (mut reader, mut writer) = tcp.split();
            if matches!(act, Act::Stall { .. }) {
                while reader.read(&mut [0; 4096]).await.ok()? > 0 {}
                return None;
            }
            let drip = async {
                while writer.write_all(body).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let read = async { while reader.read(&mut [0; 4096]).await.is_ok_and(|count| count > 0) {} };
            tokio::select! { () = drip => {}, () = read => {} }
            None
        }
        Act::Flood => {
            tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n").await.ok()?;
            while tcp.write_all(&vec![b'x'; 65536]).await.is_ok() {}
            None
        }
        Act::Reset | Act::Refuse => {
            let _ = socket2::SockRef::from(&*tcp).set_linger(Some(Duration::ZERO));
            None
        }
        Act::Answer(status, pause) => {
            let mut body = vec![0; length];
            tcp.read_exact(&mut body).await.ok()?;
            tokio::time::sleep(pause).await;
            let text = format!("endpoint {status} {length}");
            let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\n{text}", text.len());
            tcp.write_all(head.as_bytes()).await.ok()
        }
    }
}

async fn hang(tcp: &mut TcpStream) -> Option<()> {
    while tcp.read(&mut [0; 4096]).await.ok()? > 0 {}
    None
}

async fn play_h2(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    act: Act,
) -> Option<()> {
    let mut body = request.into_body();
    let headers = |status: u16| Response::builder().status(status).body(()).unwrap();
    match act {
        Act::Hang | Act::Continue => {
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
            }
            std::future::poll_fn(|cx| respond.poll_reset(cx)).await.ok().and(None)
        }
        Act::Deaf => std::future::poll_fn(|cx| respond.poll_reset(cx)).await.ok().and(None),
        Act::Drip { .. } | Act::Stall { .. } | Act::Flood => {
            let mut stream = respond.send_response(headers(200), false).ok()?;
            stream.send_data(Bytes::from_static(b"drip"), false).ok()?;
            if matches!(act, Act::Stall { .. }) {
                return std::future::poll_fn(|cx| stream.poll_reset(cx)).await.ok().and(None);
            }
            while stream.send_data(Bytes::from_static(b"drip"), false).is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            None
        }
        Act::Reset => {
            respond.send_reset(h2::Reason::INTERNAL_ERROR);
            None
        }
        Act::Refuse => {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            None
        }
        Act::Answer(status, pause) => {
            let mut length = 0;
            while let Some(Ok(data)) = body.data().await {
                length += data.len();
                let _ = body.flow_control().release_capacity(data.len());
            }
            tokio::time::sleep(pause).await;
            let mut stream = respond.send_response(headers(status), false).ok()?;
            stream.send_data(Bytes::from(format!("endpoint {status} {length}")), true).ok()
        }
    }
}

/// A proper server: answers each request with what `status` says of its path.
pub async fn server(status: impl Fn(&str) -> (u16, Duration) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let status = Arc::new(status);
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tcp.set_nodelay(true).unwrap();
            let status = status.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let status = status.clone();
                async move {
                    let (code, pause) = status(request.uri().path());
                    let length = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
                    tokio::time::sleep(pause).await;
                    let body = Full::<Bytes>::from(format!("endpoint {code} {length}"));
                    Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
                }
            });
            tokio::spawn(async move {
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(tcp), service).await;
            });
        }
    });
    address
}

/// A server that fails each path so many times with the code its path names, `/<code>/<failures>/<anything>`, before
/// it answers 200; `delay` holds each failure up.
pub async fn failing_server(delay: Duration) -> SocketAddr {
    let seen = Mutex::new(std::collections::HashMap::new());
    server(move |path| {
        let mut parts = path.trim_start_matches('/').split('/');
        let (code, failures) = (parts.next().unwrap().parse().unwrap(), parts.next().unwrap().parse::<u32>().unwrap());
        let mut seen = seen.lock().unwrap();
        let count = seen.entry(path.to_owned()).or_insert(0);
        *count += 1;
        if *count <= failures { (code, delay) } else { (200, Duration::ZERO) }
    })
    .await
}

impl Log {
    /// Waits until the log has a line that `is` finds, and gives it.
    pub async fn line(&self, what: &str, is: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let begun = Instant::now();
        loop {
            if let Some(line) = self.lines().into_iter().find(|line| is(line)) {
                return line;
            }
            assert!(begun.elapsed() < Duration::from_secs(15), "not in time: {what}, only {:#?}", self.lines());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Forgets all lines by now.
    pub fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    /// All lines by now.
    pub fn lines(&self) -> Vec<serde_json::Value> {
        let bytes = self.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A gateway, its log, and the address of its one listener, whose one rule has these timeouts and this retry.
pub async fn gateway(
    config: impl FnOnce(&mut Config) -> transom::snapshot::RuleIndex,
    timeouts: Timeouts,
    retry: Option<Retry>,
) -> (Gateway, Log, SocketAddr) {
    let mut built = Config::default();
    let rule = config(&mut built);
    let address = free_address();
    let mut snapshot = built.http(address, vec![listener("web", None, rule)]).build();
    for rule in &mut snapshot.rules {
        rule.timeouts = timeouts;
        rule.retry.clone_from(&retry);
    }
    for upstream in &mut snapshot.upstreams {
        upstream.policy.ejection.consecutive_failures = None; // each failure is to be met
    }
    let (mut gateway, log) = logged(Settings::default());
    gateway.serve(snapshot).await;
    (gateway, log, address)
}

/// A gateway that serves nothing yet, with two workers unless the settings say otherwise, and its log.
pub fn logged(mut settings: Settings) -> (Gateway, Log) {
    settings.workers = settings.workers.or(std::num::NonZeroUsize::new(2));
    let log = Log::default();
    let (publisher, reader) = Publisher::new();
    let readiness = Readiness::new();
    let ready = readiness.task("proxy");
    let access_log = AccessLog::start(Format::Json, log.clone()).unwrap();
    let telemetry = Telemetry::new(BuildLabels::default(), access_log);
    let proxy = transom::proxy::start(settings, reader, &telemetry, ready).unwrap();
    (Gateway { publisher, proxy, readiness, telemetry }, log)
}

/// `request` and `backend`, in milliseconds; 0 is none.
pub fn timeouts(request: u64, backend: u64) -> Timeouts {
    let some = |millis| Some(Duration::from_millis(millis)).filter(|time| !time.is_zero());
    Timeouts { request: some(request), backend: some(backend) }
}

/// A retry with a base interval of 10 ms.
pub fn retry(attempts: u32, codes: &[u16]) -> Option<Retry> {
    Some(Retry { codes: codes.into(), attempts, backoff: Duration::from_millis(10) })
}

/// The value of a counter, over all series whose line has all of `labels`.
pub fn counter(gateway: &Gateway, name: &str, labels: &[&str]) -> u64 {
    let text = gateway.telemetry.metrics_text();
    text.lines()
        .filter(|line| line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label)))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// What is late is wrong, but a machine may be busy.
pub fn assert_took(begun: Instant, millis: u64, what: &str) {
    let took = u64::try_from(begun.elapsed().as_millis()).unwrap();
    // Pingora's clock ticks every 10 ms, and rounds to it.
    assert!(took + 12 >= millis && took < millis + 1500, "{what}: took {took} ms, not {millis}");
}
