//! What an operator sees: logs, metrics, and the one vocabulary of local answers. Imports nothing of ours.
//!
//! In come finished requests ([`RequestRecord`]) from the data workers and facts about the configuration from the
//! controller; out go the text that Prometheus scrapes and the lines of the access log. A data worker takes no
//! lock and shares no cache line with another: each counts for itself ([`Recorder`]), and a scrape adds them up.

pub mod access_log;
mod few;
pub mod log;
pub mod metrics;
pub mod panics;
pub mod reason;
mod recorder;
pub mod request;
pub mod trace;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

pub use access_log::AccessLog;
pub use few::few;
pub use metrics::{
    AddressMeter, CertificateLabels, ConnectionMeter, Counted, Doing, HandshakeResult, Shed, TlsVersion,
};
pub use metrics::{AttemptResult, ConnectResult, EndpointCounts, UpstreamLabels, UpstreamSeries};
pub use metrics::{
    BuildLabels, ClusterMetrics, ConfigMetrics, InfrastructureWrite, MirrorLabels, MirrorMeter, MirrorResult,
    ProblemStage, RetryCause, RetryMetrics, RetrySkip, SeriesLabels, StatusWrite, WatchRestart,
};
pub use reason::Reason;
pub use recorder::{ActiveRequest, Recorder};
pub use request::{Headers, ListenerLabels, RequestRecord, RouteLabels};

use metrics::Metrics;
pub use trace::{Traced, Tracer};

/// Metrics and access log of one process. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Telemetry {
    core: Arc<Core>,
}

#[derive(Debug)]
struct Core {
    /// Tells the parts that a thread keeps for one `Telemetry` from those it keeps for another.
    id: u64,
    metrics: Metrics,
    access_log: AccessLog,
    tracer: Option<Tracer>,
}

impl Telemetry {
    /// Metrics for this build, and the access log that requests are written to.
    #[must_use]
    pub fn new(build: BuildLabels<'_>, access_log: AccessLog) -> Self {
        Telemetry::traced(build, access_log, None)
    }

    /// The same, and what begins the spans of requests, if anything does.
    #[must_use]
    pub fn traced(build: BuildLabels<'_>, access_log: AccessLog, tracer: Option<Tracer>) -> Self {
        let metrics = Metrics::new(build, access_log.clone(), tracer.as_ref().map(Tracer::counts));
        Telemetry { core: Arc::new(Core { id: recorder::next_id(), metrics, access_log, tracer }) }
    }

    /// What data worker `worker` (0, 1, …) records its requests with. It may be cloned and used from any thread:
    /// what is counted belongs to the thread that counts.
    #[must_use]
    pub fn recorder(&self, worker: usize) -> Recorder {
        Recorder::new(Arc::clone(&self.core), worker)
    }

    /// What the controller reports the state of the configuration to.
    #[must_use]
    pub fn config(&self) -> &ConfigMetrics {
        &self.core.metrics.config
    }

    /// What watches of a cluster and the writer of statuses report to.
    #[must_use]
    pub fn cluster(&self) -> &ClusterMetrics {
        &self.core.metrics.cluster
    }

    /// Drops every request series whose listener or route is gone: `still_exists` is asked once per series. Called
    /// by the controller's side after a snapshot; a request still in flight then may bring its series back, until
    /// the next call. An empty label stands for "none" and says nothing about existence.
    pub fn retain_series(&self, still_exists: impl Fn(&SeriesLabels<'_>) -> bool) {
        self.core.metrics.requests.retain(still_exists);
    }

    /// Drops every upstream series that is not among the `existing` ones, which are asked for once no worker can
    /// add another.
    pub fn retain_upstreams(&self, existing: impl FnOnce() -> BTreeSet<UpstreamLabels>) {
        self.core.metrics.upstreams.retain(existing);
    }

    /// Sets which certificates are served, and until when each is valid (seconds since 1970).
    pub fn certificates(&self, served: impl Iterator<Item = (CertificateLabels, i64)>) {
        self.core.metrics.connections.certificates(served);
    }

    /// Sets whom a scrape asks how endpoints are.
    pub fn ask_endpoints(&self, source: impl Fn() -> Vec<EndpointCounts> + Send + Sync + 'static) {
        self.core.metrics.upstreams.ask_endpoints(Box::new(source));
    }

    /// Writes all metrics in Prometheus' text format, version 0.0.4, piece by piece: with many routes the whole is
    /// tens of MiB.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_metrics(&self, out: &mut dyn Write) -> io::Result<()> {
        self.core.metrics.write(out)
    }

    /// All metrics as one text.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        let mut text = Vec::new();
        // A `Vec` takes everything.
        let _ = self.write_metrics(&mut text);
        String::from_utf8(text).unwrap_or_default()
    }

    /// Ends the access log: what was recorded before is written, for at most `patience`. What is recorded later is
    /// lost. Blocks; returns whether everything was written.
    pub fn close(&self, patience: Duration) -> bool {
        self.core.access_log.close(patience)
    }
}
