//! WebSocket (RFC 6455): every text and binary message comes back; pings are answered, a close is returned.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;

use super::body::{self, Body};
use super::connection::Tasks;
use super::request::{Peer, refusal};

/// The largest message, bytes.
const LARGEST: usize = 16 * 1024 * 1024;
/// Without a message for this long, the connection is closed.
const IDLE: Duration = Duration::from_mins(5);

/// Whether the client asks to speak WebSocket.
pub(super) fn is_asked(request: &Request<Incoming>) -> bool {
    request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && lists(request.headers(), &UPGRADE, "websocket")
        && lists(request.headers(), &CONNECTION, "upgrade")
}

/// Switches protocols and echoes, as a task of its own.
pub(super) fn accept(mut request: Request<Incoming>, peer: &Arc<Peer>, tasks: &Tasks) -> Response<Body> {
    let headers = request.headers();
    // RFC 6455, 4.4: a server that does not speak the version answers 426 with the versions it speaks.
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let mut response = refusal(StatusCode::UPGRADE_REQUIRED, "Sec-WebSocket-Version must be 13");
        response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return response;
    }
    // RFC 6455, 4.1: the key is "a randomly selected 16-byte value that has been base64-encoded": 24 characters.
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    let accept = key.and_then(|key| HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok());
    let Some(accept) = accept else {
        return refusal(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key must be 16 bytes in base64");
    };
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    // A browser that offered subprotocols drops the connection unless one is chosen: the first is as good as any.
    let offered = headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|offered| offered.to_str().ok());
    let chosen = offered.and_then(|offered| HeaderValue::try_from(offered.split(',').next()?.trim()).ok());
    if let Some(chosen) = chosen {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, chosen);
    }
    peer.echo.name_headers(answer);

    let upgrade = hyper::upgrade::on(&mut request);
    let stop = tasks.draining().clone();
    let peer = Arc::clone(peer);
    tasks.spawn(async move {
        converse(upgrade, stop).await;
        // Only now is the connection's place free.
        drop(peer);
    });
    response
}

async fn converse(upgrade: OnUpgrade, stop: CancellationToken) {
    let Ok(upgraded) = upgrade.await else { return };
    let config = WebSocketConfig::default().max_message_size(Some(LARGEST)).max_frame_size(Some(LARGEST));
    let io = TokioIo::new(upgraded);
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let goodbye = tokio::select! {
        goodbye = echo_messages(&mut socket) => goodbye,
        () = stop.cancelled() => Some((CloseCode::Away, "the echo server is going down")),
    };
    if let Some((code, reason)) = goodbye {
        let _ = socket.close(Some(CloseFrame { code, reason: reason.into() })).await;
        // RFC 6455, 7.1.1: the peer's close frame is awaited before TCP is closed.
        let answered = async { while let Some(Ok(_)) = socket.next().await {} };
        let _ = tokio::time::timeout(Duration::from_secs(1), answered).await;
    }
}

/// Until the peer closes (`None`: nothing more is to be said) or there is a reason to close.
async fn echo_messages(socket: &mut WebSocketStream<TokioIo<Upgraded>>) -> Option<(CloseCode, &'static str)> {
    loop {
        match tokio::time::timeout(IDLE, socket.next()).await {
            Err(_) => return Some((CloseCode::Away, "no message for five minutes")),
            Ok(Some(Ok(message @ (Message::Text(_) | Message::Binary(_))))) => {
                let sent = tokio::time::timeout(IDLE, socket.send(message)).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return None;
                }
            }
            // Pings and closes are answered by the library as it is polled on.
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(tokio_tungstenite::tungstenite::Error::Capacity(_)))) => {
                return Some((CloseCode::Size, "messages are limited to 16 MiB"));
            }
            Ok(Some(Err(_))) => return Some((CloseCode::Protocol, "not a WebSocket frame")),
            Ok(None) => return None,
        }
    }
}

/// Whether a header that holds a list of tokens holds `token`, in any case.
fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}
