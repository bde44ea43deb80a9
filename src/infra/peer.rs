//! Asking another data plane what it serves: `GET /applied?after=N` of its admin server, answered once that is no
//! longer what it was.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::fleet::Generations;
use crate::translate::Applied;

/// For a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// For an answer, which may take ten seconds to come.
const ANSWER: Duration = Duration::from_secs(15);
/// Most bytes of an answer.
const MOST: usize = 16 << 20;
/// Between two questions, so that a storm of changes is not one of questions.
const PAUSE: Duration = Duration::from_millis(25);
/// First wait after a fault; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Longest wait after a fault.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// What a data plane told.
#[derive(Debug)]
pub struct Heard {
    /// Uid of its pod.
    pub uid: String,
    /// What it serves, or why that is not known.
    pub told: Result<Generations, String>,
}

/// Asks again and again, until nobody listens.
pub async fn listen(uid: String, admin: SocketAddr, heard: mpsc::Sender<Heard>) {
    let (mut after, mut wait) = (0, FIRST_WAIT);
    loop {
        let told = timeout(ANSWER, ask(admin, after)).await;
        let (told, pause) = match told.unwrap_or_else(|_| Err(format!("{admin}: no answer in {ANSWER:?}"))) {
            Ok(applied) => {
                (after, wait) = (applied.version, FIRST_WAIT);
                (Ok(applied.gateways), PAUSE)
            }
            Err(why) => {
                let pause = wait;
                (after, wait) = (0, (wait * 2).min(LONGEST_WAIT));
                (Err(why), pause)
            }
        };
        if heard.send(Heard { uid: uid.clone(), told }).await.is_err() {
            return;
        }
        sleep(pause).await;
    }
}

async fn ask(admin: SocketAddr, after: u64) -> Result<Applied, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{admin}: {error}");
    let stream = timeout(CONNECT, TcpStream::connect(admin)).await;
    let stream =
        stream.map_err(|_| format!("{admin}: no connection in {CONNECT:?}"))?.map_err(|error| wrong(&error))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| wrong(&error))?;
    let request = Request::get(format!("/applied?after={after}")).header(header::HOST, admin.to_string());
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| wrong(&error))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| wrong(&error))?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(format!("{admin}: answered {status} to /applied"));
        }
        let body = Limited::new(response.into_body(), MOST).collect().await.map_err(|error| wrong(&error))?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| wrong(&error))
    };
    tokio::select! {
        biased;
        answer = exchange => answer,
        ended = connection => Err(ended.err().map_or_else(|| format!("{admin}: no answer"), |error| wrong(&error))),
    }
}
