//! The metrics: one registry, filled by the request counters, the configuration's gauges and what never changes.
//!
//! Only metrics that something feeds stand here. Names and labels are those of product.md section 3.

mod config;
mod family;
mod requests;
mod series;

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Metric, MetricFamily, MetricType};
use prometheus::{IntGauge, Opts, Registry, TextEncoder};

use super::AccessLog;
use family::{counter_of, description, family};

pub use config::{ConfigMetrics, ProblemStage};
pub(super) use requests::{Requests, Shard};
pub use series::SeriesLabels;
pub(super) use series::{LabelsOf, Series, add};

/// Content type of the text format.
pub const TEXT_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const DROPPED: &str = "transom_access_log_dropped_total";
const DROPPED_HELP: &str = "Access log lines dropped because the writer could not keep up or the output was closed.";

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
    registry: Registry,
    pub(super) requests: Arc<Requests>,
    pub(super) config: ConfigMetrics,
}

impl Metrics {
    pub(super) fn new(build: BuildLabels<'_>, access_log: AccessLog) -> Self {
        let registry = Registry::new();
        let requests = Arc::new(Requests::new());
        register(&registry, Some(requests::RequestCollector::new(Arc::clone(&requests))));

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

        register(&registry, DroppedCollector::new(access_log));
        let config = ConfigMetrics::new();
        config.register(&registry);
        Metrics { registry, requests, config }
    }

    pub(super) fn text(&self) -> String {
        // The encoder fails only on families without samples or name, which the registry leaves out.
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

/// Shows the lines that the access log dropped; nothing if it is off.
struct DroppedCollector {
    access_log: AccessLog,
    description: Desc,
}

impl DroppedCollector {
    fn new(access_log: AccessLog) -> Option<Self> {
        description(DROPPED, DROPPED_HELP, &[]).map(|description| DroppedCollector { access_log, description })
    }
}

impl Collector for DroppedCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let metrics = self.access_log.dropped().map(|dropped| {
            let mut metric = Metric::default();
            metric.set_counter(counter_of(dropped));
            metric
        });
        vec![family(DROPPED, DROPPED_HELP, MetricType::COUNTER, metrics.into_iter().collect())]
    }
}

/// Registers what could be made. Names are constants and each is registered once; `tests/metrics.rs` sees them all.
fn register<C: Collector + 'static>(registry: &Registry, collector: Option<C>) {
    if let Some(collector) = collector {
        let _ = registry.register(Box::new(collector));
    }
}
