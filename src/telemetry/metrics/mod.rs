//! The metrics: a registry for what the configuration and the build say, and the request counters beside it, which
//! each data worker keeps for itself.
//!
//! Only metrics that something feeds stand here. Names and labels are those of product.md section 3.

mod cluster;
mod config;
mod mirrors;
mod requests;
mod retries;
mod series;
mod text;
mod upstream;

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::core::Collector;
use prometheus::{Encoder, IntGauge, Opts, Registry, TextEncoder};

use super::AccessLog;

pub use cluster::{ClusterMetrics, InfrastructureWrite, StatusWrite, WatchRestart};
pub use config::{ConfigMetrics, ProblemStage};
pub(super) use mirrors::Mirrors;
pub use mirrors::{MirrorLabels, MirrorMeter, MirrorResult};
pub(super) use requests::{Requests, Shard};
pub use retries::{RetryCause, RetryMetrics, RetrySkip};
pub use series::SeriesLabels;
pub(super) use series::{LabelsOf, Series, add};
pub(super) use upstream::Upstreams;
pub use upstream::{AttemptResult, ConnectResult, EndpointCounts, UpstreamLabels, UpstreamSeries};

/// Content type of the text format.
pub const TEXT_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const DROPPED: &str = "transom_access_log_dropped_total";

/// What this binary is: the labels of `transom_build_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BuildLabels<'a> {
    /// Transom's version.
    pub version: &'a str,
    /// Git commit, empty if unknown.
    pub commit: &'a str,
    /// Version of the Gateway API that is served.
    pub gateway_api: &'a str,
}

/// Everything that a scrape shows.
#[derive(Debug)]
pub(super) struct Metrics {
    /// What changes with the configuration, or never.
    registry: Registry,
    access_log: AccessLog,
    pub(super) requests: Requests,
    pub(super) mirrors: Mirrors,
    pub(super) upstreams: Upstreams,
    pub(super) config: ConfigMetrics,
    pub(super) cluster: ClusterMetrics,
    pub(super) retries: RetryMetrics,
}

impl Metrics {
    pub(super) fn new(build: BuildLabels<'_>, access_log: AccessLog) -> Self {
        let registry = Registry::new();
        let build_info = IntGauge::with_opts(
            Opts::new("transom_build_info", "Always 1; the labels say what this binary is.")
                .const_label("version", build.version)
                .const_label("commit", build.commit)
                .const_label("gateway_api", build.gateway_api),
        )
        .ok();
        if let Some(gauge) = &build_info {
            gauge.set(1);
        }
        register(&registry, build_info);

        let config = ConfigMetrics::new();
        config.register(&registry);
        let cluster = ClusterMetrics::new();
        cluster.register(&registry);
        let retries = RetryMetrics::new();
        retries.register(&registry);
        let (requests, mirrors, upstreams) = (Requests::default(), Mirrors::default(), Upstreams::default());
        Metrics { registry, access_log, requests, mirrors, upstreams, config, cluster, retries }
    }

    /// Writes all of them, in pieces.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        TextEncoder::new().encode(&self.registry.gather(), &mut &mut *out).map_err(io::Error::other)?;
        if let Some(dropped) = self.access_log.dropped() {
            let help = "Access log lines dropped because the writer could not keep up or the output was closed.";
            text::family(out, DROPPED, text::Kind::Counter, help)?;
            text::sample(out, DROPPED, "", &text::Labels::default(), dropped)?;
        }
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
