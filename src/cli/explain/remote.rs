//! The same question, put to a running Transom: `GET /explain` of its admin server.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Explanation;
use crate::cli::{Failure, curl};

/// For the whole of question and answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of an answer.
const MOST: usize = 64 << 20;

/// Asks the admin server at `admin`, as `http://127.0.0.1:15000` or `127.0.0.1:15000`.
///
/// # Errors
/// An address that is none, a server that cannot be reached (exit code 3), or one that refuses the question.
pub fn ask(admin: &str, method: &str, url: &str, headers: &[String]) -> Result<Explanation, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Unavailable(format!("threads: {error}")))?;
    let whole = if admin.contains("://") { admin.to_owned() } else { format!("http://{admin}") };
    let uri: Uri = whole.parse().map_err(|_| wrong(admin, "is no URL"))?;
    if uri.scheme_str() != Some("http") {
        return Err(wrong(admin, "has another scheme than http"));
    }
    let authority = uri.authority().ok_or_else(|| wrong(admin, "has no host"))?;
    let (host, port) = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
    let mut path = format!("/explain?method={}&url={}", curl::encode(method), curl::encode(url));
    for header in headers {
        path.push_str("&header=");
        path.push_str(&curl::encode(header));
    }
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, fetch(host, port, &path)).await });
    let (status, body) = match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => return Err(Failure::Unavailable(format!("{admin}: {why}"))),
        Err(_) => return Err(Failure::Unavailable(format!("{admin}: no answer in {} s", PATIENCE.as_secs()))),
    };
    match status {
        StatusCode::OK => serde_json::from_slice(&body)
            .map_err(|error| Failure::Unavailable(format!("{admin}: the answer is not an explanation: {error}"))),
        StatusCode::BAD_REQUEST => Err(Failure::WrongUse(String::from_utf8_lossy(&body).trim().to_owned())),
        other => Err(Failure::Unavailable(format!("{admin}: answered {other} to /explain"))),
    }
}

async fn fetch(host: &str, port: u16, path: &str) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error>> {
    let stream = TcpStream::connect((host, port)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path).header(header::HOST, format!("{host}:{port}")).body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST).collect().await.map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    };
    tokio::select! {
        biased;
        answer = exchange => answer,
        ended = connection => Err(ended.err().map_or_else(|| "no answer".into(), Into::into)),
    }
}

fn wrong(admin: &str, why: &str) -> Failure {
    Failure::WrongUse(format!("--admin: found {admin:?}, which {why}; allowed: http://HOST:PORT"))
}
