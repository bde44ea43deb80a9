//! Upstreams: small hyper servers that say what reached them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A server that answers with `name` and what it was asked, one fact a line: `name: …`, `method: …`, `target: …`,
/// `version: …`, then every header. Each `x-answer: name=value` that it is sent becomes a header of its answer.
pub struct Echo {
    pub address: SocketAddr,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    answers: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Echo {
    /// Speaks HTTP/1.1 and h2c.
    pub async fn start(name: &'static str) -> Echo {
        Echo::slow(name, Duration::ZERO).await
    }

    /// Waits before each answer.
    pub async fn slow(name: &'static str, pause: Duration) -> Echo {
        Echo::serve(name, pause, Semaphore::MAX_PERMITS).await
    }

    /// Answers no more than `answers` requests before it is [released](Self::release).
    pub async fn held(name: &'static str, answers: usize) -> Echo {
        Echo::serve(name, Duration::ZERO, answers).await
    }

    async fn serve(name: &'static str, pause: Duration, answers: usize) -> Echo {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let connections = Arc::new(AtomicUsize::new(0));
        let stop = CancellationToken::new();
        let answers = Arc::new(Semaphore::new(answers));
        let echo = Echo {
            address,
            requests: requests.clone(),
            connections: connections.clone(),
            answers: answers.clone(),
            stop: stop.clone(),
        };
        tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            loop {
                let tcp = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    () = stop.cancelled() => break,
                };
                tcp.set_nodelay(true).unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let requests = requests.clone();
                let stop = stop.clone();
                let answers = answers.clone();
                tasks.spawn(async move {
                    let service = service_fn(move |request| {
                        requests.fetch_add(1, Ordering::SeqCst);
                        let answers = answers.clone();
                        async move {
                            answers.acquire().await.unwrap().forget();
                            answer(name, pause, request).await
                        }
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let connection = builder.serve_connection(TokioIo::new(tcp), service);
                    tokio::pin!(connection);
                    tokio::select! {
                        _ = connection.as_mut() => return,
                        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
                    }
                    let _ = connection.await;
                });
            }
            drop(listener);
            while tasks.join_next().await.is_some() {}
        });
        echo
    }

    /// Requests that reached it.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Connections that reached it.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Answers all that waits and all that comes.
    pub fn release(&self) {
        self.answers.add_permits(100_000);
    }

    /// Stops accepting and finishes what is in flight.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

/// What `/bytes/N` answers: no two places of it look the same for long.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| b"abcdefghijklmnopqrstuvwxyz"[(at ^ (at >> 8) ^ (at >> 16)) % 26]).collect()
}

async fn answer(
    name: &'static str,
    pause: Duration,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let received = body.collect().await.map_or(0, |body| body.to_bytes().len());
    tokio::time::sleep(pause).await;
    let target = parts.uri.path_and_query().map_or(String::new(), ToString::to_string);
    if let Some(length) = target.strip_prefix("/bytes/") {
        let body = pattern(length.parse().unwrap());
        return Ok(Response::new(Full::from(body)));
    }
    let mut text = format!(
        "name: {name}\nmethod: {}\ntarget: {target}\nversion: {:?}\nauthority: {}\nbody: {received}\n",
        parts.method,
        parts.version,
        parts.uri.authority().map_or("", |authority| authority.as_str()),
    );
    for (header, value) in &parts.headers {
        text.push_str(&format!("{header}: {}\n", value.to_str().unwrap()));
    }
    let mut response = Response::builder().header("x-upstream", name);
    for (header, value) in parts.headers.get_all("x-answer").iter().filter_map(|v| v.to_str().ok()?.split_once('=')) {
        response = response.header(header, value);
    }
    Ok(response.body(Full::from(text)).unwrap())
}
