//! Upstreams that do to a connection what no proper server does.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What is done to each connection once a request's header has come.
#[derive(Clone, Copy)]
pub enum Script {
    /// Sends these bytes and closes.
    Say(&'static [u8]),
    /// Sends these bytes and resets.
    SayAndReset(&'static [u8]),
    /// Sends a 101, and what comes then comes back.
    Upgrade,
    /// Closes without a word.
    Hang,
}

/// Runs a script for every connection.
pub async fn upstream(script: Script) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(play(tcp, script));
        }
    });
    address
}

async fn play(mut tcp: TcpStream, script: Script) {
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        if tcp.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    match script {
        Script::Say(bytes) => {
            let _ = tcp.write_all(bytes).await;
            let _ = tcp.shutdown().await;
            // let the other side close first, so that nothing is lost to a reset
            let _ = tokio::time::timeout(Duration::from_secs(5), tcp.read(&mut [0; 64])).await;
        }
        Script::SayAndReset(bytes) => {
            let _ = tcp.write_all(bytes).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            let _ = socket2::SockRef::from(&tcp).set_linger(Some(Duration::ZERO));
        }
        Script::Upgrade => {
            let head = String::from_utf8_lossy(&head).to_lowercase();
            assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
            assert!(head.contains("sec-websocket-key: x"), "{head}");
            let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
            let _ = tcp.write_all(answer).await;
            let (mut reader, mut writer) = tcp.split();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        }
        Script::Hang => {}
    }
}
