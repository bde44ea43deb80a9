//! TCP: every byte comes back.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::connection::{Tasks, accept};

/// Without a byte for this long, the connection is closed.
const IDLE: Duration = Duration::from_mins(5);

/// Echoes bytes on `listener` until `shutdown`, which ends open connections too.
pub async fn serve_tcp(listener: TcpListener, shutdown: CancellationToken) {
    let tasks = Tasks::new(shutdown.child_token());
    while let Some((stream, _, place)) = accept(&listener, &tasks).await {
        let stop = shutdown.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = echo(stream) => {}
                () = stop.cancelled() => {}
            }
            drop(place);
        });
    }
    tasks.finish().await;
}

async fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(Ok(length)) = tokio::time::timeout(IDLE, stream.read(&mut buffer)).await else { return };
        let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
        if !matches!(tokio::time::timeout(IDLE, stream.write_all(bytes)).await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = stream.shutdown().await;
}
