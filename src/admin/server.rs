//! Connections: few, short, and bounded in bytes and time, so that nobody keeps a probe from being answered.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 128;
/// For a request's header, idle time included.
const HEADER: Duration = Duration::from_secs(15);
/// A connection takes no new request after this …
const LIFE: Duration = Duration::from_mins(1);
/// … and is cut this much later, however slowly its answer is read.
const GRACE: Duration = Duration::from_secs(30);
/// For what is in flight when the server is told to stop.
const DRAIN: Duration = Duration::from_secs(2);
/// Bytes of a header block.
const HEADER_BYTES: usize = 16 * 1024;

pub(super) async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let tracker = TaskTracker::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let next = async || {
        let place = Arc::clone(&places).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, place)),
                // Out of descriptors, or the peer has gone already: neither ends the server.
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        }
    };
    while let Some((stream, place)) = shutdown.run_until_cancelled(next()).await.flatten() {
        let (router, shutdown) = (router.clone(), shutdown.clone());
        tracker.spawn(async move {
            talk(stream, router, shutdown).await;
            drop(place);
        });
    }
    drop(listener);
    tracker.close();
    // Each connection keeps its own deadline after `shutdown`; this one is for the runtime's sake.
    let _ = timeout(DRAIN + DRAIN, tracker.wait()).await;
}

async fn talk(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER).max_buf_size(HEADER_BYTES);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let patience = tokio::select! {
        _ = connection.as_mut() => return,
        () = sleep(LIFE) => GRACE,
        () = shutdown.cancelled() => DRAIN,
    };
    connection.as_mut().graceful_shutdown();
    let rest = async {
        tokio::select! {
            _ = timeout(patience, connection) => {}
            () = async { shutdown.cancelled().await; sleep(DRAIN).await } => {}
        }
    };
    rest.await;
}
