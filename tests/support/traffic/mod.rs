//! What the traffic tests stand on: a running data plane, snapshots built by hand, upstreams that answer over real
//! sockets, and clients down to the raw byte. Loopback only; ports are free ones.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::format_push_string,
    clippy::missing_panics_doc,
    missing_docs,
    reason = "what the tests stand on fails as they do"
)]

pub mod client;
pub mod config;
pub mod edge;
pub mod frames;
pub mod h2c;
pub mod hello;
#[path = "../http1.rs"]
pub mod http1;
pub mod recording;
pub mod script;
pub mod stage;
pub mod tls;
pub mod upstream;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::Request;
use transom::lifecycle::Readiness;
use transom::proxy::{BindState, Proxy, Settings};
use transom::snapshot::{Publisher, Snapshot};
use transom::telemetry::{AccessLog, BuildLabels, Telemetry};

/// A data plane and the end that feeds it.
pub struct Gateway {
    pub publisher: Publisher,
    pub proxy: Proxy,
    pub readiness: Readiness,
    pub telemetry: Telemetry,
}

impl Gateway {
    /// Two workers, serving nothing.
    pub fn start() -> Gateway {
        Gateway::with(Settings::default())
    }

    /// With settings of one's own; two workers unless they say otherwise.
    pub fn with(settings: Settings) -> Gateway {
        Gateway::recorded(settings, Telemetry::new(BuildLabels::default(), AccessLog::off()))
    }

    /// And with an access log.
    pub fn logging(settings: Settings, log: AccessLog) -> Gateway {
        Gateway::recorded(settings, Telemetry::new(BuildLabels::default(), log))
    }

    /// With a telemetry of one's own, too.
    pub fn recorded(mut settings: Settings, telemetry: Telemetry) -> Gateway {
        settings.workers = settings.workers.or(std::num::NonZeroUsize::new(2));
        settings.bind_retry = Duration::from_millis(50);
        let (publisher, reader) = Publisher::new();
        let readiness = Readiness::new();
        let ready = readiness.task("proxy");
        let proxy = transom::proxy::start(settings, reader, &telemetry, ready).unwrap();
        Gateway { publisher, proxy, readiness, telemetry }
    }

    /// Publishes and waits until every address is bound.
    pub async fn serve(&mut self, snapshot: Snapshot) {
        let wanted: Vec<SocketAddr> = snapshot.binds.keys().copied().collect();
        self.publisher.publish(snapshot);
        self.wait_bound(move |bound| {
            bound.len() == wanted.len() && wanted.iter().all(|address| bound.get(address) == Some(&BindState::Bound))
        })
        .await;
    }

    /// Waits until the report of addresses is as asked.
    pub async fn wait_bound(&self, is: impl FnMut(&BTreeMap<SocketAddr, BindState>) -> bool) {
        let mut bound = self.proxy.bound();
        tokio::time::timeout(Duration::from_secs(10), bound.wait_for(is)).await.expect("addresses in time").unwrap();
    }
}

/// A loopback address that nobody listens on just now.
pub fn free_address() -> SocketAddr {
    free_on(Ipv4Addr::LOCALHOST)
}

/// The same on another address of the loopback network.
pub fn free_on(ip: Ipv4Addr) -> SocketAddr {
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

/// Polls until `check` gives something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Which endpoint each of the users `0..count` meets, by `header`.
pub async fn meet(
    client: &mut client::Client,
    count: usize,
    header: &str,
    value: impl Fn(usize) -> String,
) -> Vec<String> {
    let mut met = Vec::new();
    for user in 0..count {
        let request = Request::get("http://a.com/").header(header, value(user)).body(Full::default()).unwrap();
        met.push(client.send(request).await.unwrap().summary());
    }
    met
}

/// The same, once the ring is there: it is built beside the workers and comes a moment after the snapshot.
pub async fn settled(address: SocketAddr, count: usize, header: &str, value: impl Fn(usize) -> String) -> Vec<String> {
    eventually("every key has its endpoint", || async {
        let mut client = client::Client::h1(address).await;
        let first = meet(&mut client, count, header, &value).await;
        (first == meet(&mut client, count, header, &value).await).then_some(first)
    })
    .await
}
