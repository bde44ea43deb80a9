//! What must hold for any bytes that a client sends to an HTTP/1 listener: the fuzz target `http1_head` calls it with
//! what the fuzzer makes up, `tests/edge_http1_seeds.rs` with the seeds that are kept. A real gateway listens, and a
//! real upstream keeps what reaches it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test stops at the first surprise"
)]

#[path = "traffic/config.rs"]
#[allow(dead_code, reason = "each test file uses a part")]
mod config;
#[path = "http1.rs"]
mod http1;
#[path = "traffic/recording.rs"]
#[allow(dead_code, reason = "each test file uses a part")]
mod recording;

use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use transom::lifecycle::Readiness;
use transom::proxy::{Proxy, Settings};
use transom::snapshot::Publisher;
use transom::telemetry::{AccessLog, BuildLabels, Telemetry};

use config::{Config, listener};
use http1::responses_to;
use recording::Recording;

struct Stand {
    runtime: Runtime,
    address: SocketAddr,
    upstream: Recording,
    telemetry: Telemetry,
    _proxy: Proxy,
    _publisher: Publisher,
}

fn stand() -> &'static Stand {
    static STAND: OnceLock<Stand> = OnceLock::new();
    STAND.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (upstream, telemetry, proxy, publisher) = runtime.block_on(async {
            let upstream = Recording::start().await;
            let (mut publisher, reader) = Publisher::new();
            let telemetry = Telemetry::new(BuildLabels::default(), AccessLog::off());
            let settings = Settings { workers: NonZeroUsize::new(1), ..Settings::default() };
            let proxy = transom::proxy::start(settings, reader, &telemetry, Readiness::new().task("proxy")).unwrap();
            let mut config = Config::default();
            let rule = config.to("a", upstream.address);
            publisher.publish(config.http(address, vec![listener("l", None, rule)]).build());
            proxy.bound().wait_for(|bound| !bound.is_empty()).await.unwrap();
            (upstream, telemetry, proxy, publisher)
        });
        Stand { runtime, address, upstream, telemetry, _proxy: proxy, _publisher: publisher }
    })
}

/// A client says this and closes its side. It is answered in whole answers, or not at all, and soon; nothing but whole
/// well-formed requests reaches the upstream, each of which is answered; and nothing panics.
///
/// # Panics
/// If it is not so.
pub fn check_head(bytes: &[u8]) {
    static ONE: Mutex<()> = Mutex::new(()); // at a time, so that what reaches the upstream is of this one
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let stand = stand();
    let said = bytes.escape_ascii();
    let whole = || -> usize {
        stand
            .upstream
            .read()
            .unwrap_or_else(|error| panic!("{said}: {error}"))
            .iter()
            .map(|read| read.whole.len())
            .sum()
    };
    stand.upstream.forget();
    let before = whole();
    let seen = stand.runtime.block_on(async {
        let mut tcp = TcpStream::connect(stand.address).await.unwrap();
        let _ = tcp.write_all(bytes).await;
        let _ = tcp.shutdown().await;
        let mut seen = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(20), tcp.read_to_end(&mut seen)).await;
        end.unwrap_or_else(|_| panic!("{said}: no end")).map(|_| seen)
    });
    let reached = whole() - before;
    // An answer that a reset has cut is none; over HTTP/2 there are frames.
    if let Ok(seen) = seen
        && !bytes.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    {
        let head_asked = bytes.windows(4).any(|four| four == b"HEAD");
        let answers = responses_to(&seen, head_asked).unwrap_or_else(|error| panic!("{said}: {error}"));
        let answered = answers.iter().filter(|answer| answer.status == 200).count();
        assert!(reached <= answered, "{said}: {reached} requests reached the upstream, {answered} were answered");
    }
    let metrics = stand.telemetry.metrics_text();
    assert!(!metrics.contains("reason=\"internal\""), "{said}: a fault of our own");
}
