//! UDP: every datagram goes back to its sender.

use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

/// No datagram is longer, bytes.
const LARGEST: usize = 65_535;

/// Echoes datagrams on `socket` until `shutdown`.
pub async fn serve_udp(socket: UdpSocket, shutdown: CancellationToken) {
    let mut buffer = vec![0; LARGEST];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            () = shutdown.cancelled() => return,
        };
        // An error is an earlier datagram's: its sender's port was closed. The socket is as good as before.
        let Ok((length, sender)) = received else { continue };
        if let Some(datagram) = buffer.get(..length) {
            let _ = socket.send_to(datagram, sender).await;
        }
    }
}
