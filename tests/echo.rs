//! The echo server over real sockets, by every protocol it speaks.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::sync::CancellationToken;
use transom::echo::{self, Echo};

const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

async fn start(echo: Echo) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(echo::serve(listener, echo, shutdown.clone()));
    Running { address, shutdown, server }
}

fn named() -> Echo {
    Echo { namespace: "shop".into(), pod: "cart-0".into(), service: "cart".into(), tls: None }
}

async fn send(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    h2: bool,
    request: Request<Full<Bytes>>,
) -> Response<Bytes> {
    let io = TokioIo::new(io);
    let response = if h2 {
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    };
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

async fn ask(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
    let mut request = Request::get(target).header("host", "a.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(TcpStream::connect(address).await.unwrap(), false, request.body(Full::default()).unwrap()).await
}

fn json_of(response: &Response<Bytes>) -> Value {
    assert_eq!(response.headers()["content-type"], "application/json");
    serde_json::from_slice(response.body()).unwrap()
}

#[tokio::test]
async fn http1_answers_with_what_it_saw() {
    let running = start(named()).await;
    let response = ask(running.address, "/a/b?c=d&e", &[("x-many", "1"), ("x-many", "2")]).await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut seen = json_of(&response);
    assert!(seen["client"].take().as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(
        seen,
        json!({
            "method": "GET", "path": "/a/b?c=d&e", "host": "a.example", "proto": "HTTP/1.1",
            "headers": {"host": ["a.example"], "x-many": ["1", "2"]},
            "namespace": "shop", "service": "cart", "pod": "cart-0", "client": null,
        })
    );
}

#[tokio::test]
async fn h2c_by_prior_knowledge_is_served_on_the_same_port() {
    let running = start(named()).await;
    let stream = TcpStream::connect(running.address).await.unwrap();
    let request = Request::get("http://b.example/x").body(Full::default()).unwrap();
    let response = send(stream, true, request).await;
    let seen = json_of(&response);
    assert_eq!((&seen["proto"], &seen["host"], &seen["path"]), (&json!("HTTP/2.0"), &json!("b.example"), &json!("/x")));
    assert_eq!(json_of(&ask(running.address, "/", &[]).await)["proto"], "HTTP/1.1");
}

#[tokio::test]
async fn a_body_comes_back_with_length_and_digest() {
    let running = start(named()).await;
    let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let bytes = "ea5dbf9596d187e9500f23e9a680109475341cf4e81f7e043f7d97152c10772f";
    for (body, digest, text) in [(&b"hello"[..], hello, json!("hello")), (b"\xff\x00", bytes, Value::Null)] {
        let stream = TcpStream::connect(running.address).await.unwrap();
        let request = Request::post("/").header("host", "a").body(Full::from(body)).unwrap();
        let seen = json_of(&send(stream, false, request).await);
        assert_eq!(seen["body"]["length"], body.len());
        assert_eq!(seen["body"]["sha256"], digest);
        assert_eq!(seen["body"]["text"], text);
        assert_eq!(seen["method"], "POST");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let running = start(named()).await;
    let stream = TcpStream::connect(running.address).await.unwrap();
    let request = Request::put("/").header("host", "a").body(Full::from(vec![b'x'; 16 * 1024 * 1024 + 1])).unwrap();
    let refused = send(stream, true, request).await;
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(json_of(&refused)["error"].as_str().unwrap().contains("16 MiB"));
}

#[tokio::test]
async fn the_client_steers_status_delay_and_headers() {
    let running = start(named()).await;
    assert_eq!(ask(running.address, "/status/503", &[]).await.status(), 503);
    let empty = ask(running.address, "/status/204", &[]).await;
    assert_eq!((empty.status(), empty.body().len()), (StatusCode::NO_CONTENT, 0));

    let begun = Instant::now();
    ask(running.address, "/?delay=60ms", &[]).await;
    assert!(begun.elapsed() >= Duration::from_millis(60));

    let set = [
        ("x-echo-set-header", "X-A: 1"),
        ("x-echo-set-header", "content-type: text/x"),
        ("x-echo-set-header", "X-A: 2"),
    ];
    let response = ask(running.address, "/", &set).await;
    assert_eq!(response.headers().get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(response.headers()["content-type"], "text/x");
}

#[tokio::test]
async fn a_wish_that_makes_no_sense_is_a_400_that_says_so() {
    let running = start(named()).await;
    for (target, header) in [("/status/999", None), ("/?delay=soon", None), ("/", Some("content-length: 3"))] {
        let headers: Vec<_> = header.map(|value| ("x-echo-set-header", value)).into_iter().collect();
        let response = ask(running.address, target, &headers).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{target}");
        assert!(json_of(&response)["error"].is_string(), "{target}");
    }
}

#[tokio::test]
async fn several_run_in_one_process_under_their_own_names() {
    let blue = start(Echo { pod: "blue".into(), ..Echo::default() }).await;
    let green = start(Echo { pod: "green".into(), ..Echo::default() }).await;
    assert_eq!(json_of(&ask(blue.address, "/", &[]).await)["pod"], "blue");
    assert_eq!(json_of(&ask(green.address, "/", &[]).await)["pod"], "green");
}

#[tokio::test]
async fn websocket_echoes_text_and_binary_answers_pings_and_closes() {
    let running = start(named()).await;
    let stream = TcpStream::connect(running.address).await.unwrap();
    let request = Request::get("ws://a.example/any/path")
        .header("host", "a.example")
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "WebSocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", "chat, other")
        .body(())
        .unwrap();
    let (mut socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    // The example of RFC 6455, section 1.3.
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    assert_eq!(response.headers()["x-echo-pod"], "cart-0");
    for message in [Message::text("grüße"), Message::binary(vec![0, 255, 7]), Message::text("x".repeat(100_000))] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap(), message);
    }
    socket.send(Message::Ping(Bytes::from_static(b"are you there"))).await.unwrap();
    let pong = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(pong, Message::Pong(Bytes::from_static(b"are you there")));
    socket.close(None).await.unwrap();
    assert!(matches!(timeout(PATIENCE, socket.next()).await.unwrap(), Some(Ok(Message::Close(_)))));
    assert!(timeout(PATIENCE, socket.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn shutdown_says_goodbye_to_websockets_and_ends() {
    let running = start(named()).await;
    let stream = TcpStream::connect(running.address).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("ws://a/", stream).await.unwrap();
    socket.send(Message::text("up")).await.unwrap();
    timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    running.shutdown.cancel();
    let goodbye = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(goodbye, Message::Close(Some(frame)) if frame.code == CloseCode::Away));
    assert!(timeout(PATIENCE, socket.next()).await.unwrap().is_none());
    timeout(PATIENCE, running.server).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_websocket_handshake_that_is_none_is_refused() {
    let running = start(named()).await;
    let common = [("connection", "upgrade"), ("upgrade", "websocket")];
    let old = ask(running.address, "/", &[common[0], common[1], ("sec-websocket-version", "8")]).await;
    assert_eq!(old.status(), StatusCode::UPGRADE_REQUIRED);
    assert_eq!(old.headers()["sec-websocket-version"], "13");
    let keyless = ask(running.address, "/", &[common[0], common[1], ("sec-websocket-version", "13")]).await;
    assert_eq!(keyless.status(), StatusCode::BAD_REQUEST);
}

fn grpc_message(bytes: &[u8]) -> Bytes {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(bytes.len()).unwrap());
    framed.put_slice(bytes);
    framed.freeze()
}

async fn call(address: SocketAddr, body: Bytes) -> (http::response::Parts, Bytes, HeaderMap) {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://a.example/echo.Echo/Say")
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .body(Full::new(body))
        .unwrap();
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().unwrap().clone();
    (parts, collected.to_bytes(), trailers)
}

#[tokio::test]
async fn grpc_gives_back_the_message_and_status_ok() {
    let running = start(named()).await;
    for size in [0, 11, 200_000] {
        let message = grpc_message(&vec![b'm'; size]);
        let (parts, body, trailers) = call(running.address, message.clone()).await;
        assert_eq!((parts.status, parts.version), (StatusCode::OK, Version::HTTP_2));
        assert_eq!(parts.headers["content-type"], "application/grpc+proto");
        assert_eq!(parts.headers["x-echo-pod"], "cart-0");
        assert_eq!(body, message);
        assert_eq!(trailers["grpc-status"], "0");
    }
}

#[tokio::test]
async fn grpc_with_a_broken_frame_ends_with_status_internal() {
    let running = start(named()).await;
    let (_, _, trailers) = call(running.address, Bytes::from_static(b"\0\0\0\0\x09abc")).await;
    assert_eq!(trailers["grpc-status"], "13");
    assert!(trailers.contains_key("grpc-message"));
}

#[tokio::test]
async fn tcp_gives_back_every_byte() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(echo::serve_tcp(listener, shutdown.clone()));
    let (mut reading, mut writing) = TcpStream::connect(address).await.unwrap().into_split();
    let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let expected = sent.clone();
    let sending = tokio::spawn(async move {
        writing.write_all(&sent).await.unwrap();
        writing.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    timeout(PATIENCE, reading.read_to_end(&mut received)).await.unwrap().unwrap();
    sending.await.unwrap();
    assert!(received == expected);

    let mut open = TcpStream::connect(address).await.unwrap();
    open.write_all(b"x").await.unwrap();
    open.read_exact(&mut [0; 1]).await.unwrap();
    shutdown.cancel();
    assert_eq!(timeout(PATIENCE, open.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    timeout(PATIENCE, server).await.unwrap().unwrap();
}

#[tokio::test]
async fn udp_gives_back_every_datagram_to_its_sender() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(echo::serve_udp(socket, shutdown.clone()));
    let clients = [UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap()];
    for (n, client) in (0_u8..).zip(&clients) {
        for length in [0, 1, 9_000] {
            let datagram = vec![n; length];
            client.send_to(&datagram, address).await.unwrap();
            let mut buffer = vec![0; 65_535];
            let (received, from) = timeout(PATIENCE, client.recv_from(&mut buffer)).await.unwrap().unwrap();
            assert_eq!((&buffer[..received], from), (&datagram[..], address));
        }
    }
    shutdown.cancel();
    timeout(PATIENCE, server).await.unwrap().unwrap();
}

#[tokio::test]
async fn over_tls_the_answer_says_what_was_negotiated() {
    let issued = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    let certificate = issued.cert.der().clone();
    let key = rustls_pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let running = start(Echo { tls: Some(Arc::new(server)), ..named() }).await;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    for (alpn, h2) in [("h2", true), ("http/1.1", false)] {
        client.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client.clone()));
        let stream = TcpStream::connect(running.address).await.unwrap();
        let stream = connector.connect("a.example".try_into().unwrap(), stream).await.unwrap();
        let request = Request::get("https://a.example/").header("host", "a.example").body(Full::default()).unwrap();
        let seen = json_of(&send(stream, h2, request).await);
        assert_eq!(seen["tls"]["version"], "TLSv1.3");
        assert_eq!(seen["tls"]["serverName"], "a.example");
        assert_eq!(seen["tls"]["negotiatedProtocol"], alpn);
        assert_eq!(seen["tls"]["peerCertificates"], json!([]));
    }
}

#[tokio::test]
async fn work_in_flight_is_finished_and_idle_connections_end_at_shutdown() {
    let running = start(named()).await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    let mut busy = TcpStream::connect(running.address).await.unwrap();
    busy.write_all(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n").await.unwrap();
    // The 100 proves that the request is in the server's hands.
    let mut interim = [0; 25];
    timeout(PATIENCE, busy.read_exact(&mut interim)).await.unwrap().unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    running.shutdown.cancel();
    assert_eq!(timeout(PATIENCE, idle.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    busy.write_all(b"body").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, busy.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\"text\": \"body\""), "{answer}");
    timeout(PATIENCE, running.server).await.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_nothing_is_let_go() {
    let running = start(named()).await;
    for opening in [&b""[..], b"PRI", b"GET / HTTP/1.1\r\n"] {
        let mut silent = TcpStream::connect(running.address).await.unwrap();
        silent.write_all(opening).await.unwrap();
        let mut rest = Vec::new();
        // Time is paused: the runtime moves it on when everybody waits.
        let _ = timeout(Duration::from_mins(10), silent.read_to_end(&mut rest)).await.unwrap();
    }
}

#[tokio::test]
async fn head_and_options_are_answered_like_any_method() {
    let running = start(named()).await;
    for (method, has_body) in [(Method::HEAD, false), (Method::OPTIONS, true), (Method::DELETE, true)] {
        let stream = TcpStream::connect(running.address).await.unwrap();
        let request = Request::builder().method(&method).uri("/").header("host", "a").body(Full::default()).unwrap();
        let response = send(stream, false, request).await;
        assert_eq!(response.status(), StatusCode::OK, "{method}");
        assert_eq!(!response.body().is_empty(), has_body, "{method}");
    }
}
