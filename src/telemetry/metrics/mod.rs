//! The metrics: a registry for what the configuration and the build say, and the request counters beside it, which
//! each data worker keeps for itself.
//!
//! Only metrics that something feeds stand here. Names and labels are those of product.md section 3.

/// The words of a closed list, in its order.
macro_rules! words {
    ($all:expr) => {{
        let all = $all;
        let mut words = [""; _];
        let mut at = 0;
        while at < words.len() {
            #[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
            {
                words[at] = all[at].as_str();
            }
            at += 1;
        }
        words
    }};
}

mod access_log;
mod build;
mod cluster;
mod config;
mod connections;
mod family;
mod mirrors;
mod panics;
mod requests;
mod retries;
mod series;
mod spans;
mod text;
mod upstream;

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::core::Collector;
use prometheus::{Encoder, Registry, TextEncoder};

use super::AccessLog;

pub use build::BuildLabels;
pub use cluster::{ClusterMetrics, InfrastructureWrite, StatusWrite, WatchRestart};
pub use config::{ConfigMetrics, ProblemStage};
pub(super) use connections::Connections;
pub use connections::{
    AddressMeter, CertificateLabels, ConnectionMeter, Counted, Doing, HandshakeResult, Shed, TlsVersion,
};
pub use family::{FAMILIES, Family, Kind, LABELS, reference};
pub(super) use mirrors::Mirrors;
pub use mirrors::{MirrorLabels, MirrorMeter, MirrorResult};
pub(super) use requests::{Requests, Shard};
pub use retries::{RetryCause, RetryMetrics, RetrySkip};
pub use series::SeriesLabels;
pub(super) use series::{Series, add};
pub(super) use spans::SpanCounts;
pub(super) use upstream::Upstreams;
pub use upstream::{AttemptResult, ConnectResult, EndpointCounts, UpstreamLabels, UpstreamSeries};

/// Content type of the text format.
pub const TEXT_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that a scrape shows.
#[derive(Debug)]
pub(super) struct Metrics {
    /// What changes with the configuration, or never.
    registry: Registry,
    access_log: AccessLog,
    pub(super) requests: Requests,
    pub(super) connections: Connections,
    pub(super) mirrors: Mirrors,
    pub(super) upstreams: Upstreams,
    pub(super) config: ConfigMetrics,
    pub(super) cluster: ClusterMetrics,
    pub(super) retries: RetryMetrics,
}

impl Metrics {
    pub(super) fn new(build: BuildLabels<'_>, access_log: AccessLog, spans: Option<&SpanCounts>) -> Self {
        let registry = Registry::new();
        build.register(&registry);
        let config = ConfigMetrics::new();
        config.register(&registry);
        let cluster = ClusterMetrics::new();
        cluster.register(&registry);
        let retries = RetryMetrics::new();
        retries.register(&registry);
        if let Some(spans) = spans {
            spans.register(&registry);
        }
        let (requests, mirrors, upstreams) = (Requests::default(), Mirrors::default(), Upstreams::default());
        let connections = Connections::default();
        Metrics { registry, access_log, requests, connections, mirrors, upstreams, config, cluster, retries }
    }

    /// Writes all of them, in pieces.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        TextEncoder::new().encode(&self.registry.gather(), &mut &mut *out).map_err(io::Error::other)?;
        access_log::write(&self.access_log, out)?;
        panics::write(out)?;
        self.connections.write(out)?;
        self.mirrors.write(out)?;
        self.upstreams.write(out)?;
        self.requests.write(out)
    }
}

/// Registers what could be made. Names are constants and each is registered once; `tests/metrics.rs` sees them all.
fn register<C: Collector + 'static>(registry: &Registry, collector: Option<C>) {
    if let Some(collector) = collector {
        let _ = registry.register(Box::new(collector));
    }
}

/// The lists behind these locks are whole at any time, also where a thread panicked that held one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
