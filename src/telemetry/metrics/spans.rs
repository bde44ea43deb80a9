//! What became of recorded spans. Only sampled requests are counted here, so that one counter for all workers does.

use prometheus::{IntCounterVec, Registry};

use super::family::Family;
use super::register;

const SPANS: Family = Family::counter(
    "transom_trace_spans_total",
    &["result"],
    "Spans of traces: taken by the collector, dropped because too many waited, or lost because it did not take them.",
)
.of(&["exported", "dropped", "failed"]);

pub(super) const FAMILIES: &[Family] = &[SPANS];

/// Counts spans by what became of them.
#[derive(Debug, Clone)]
pub struct SpanCounts {
    spans: Option<IntCounterVec>,
}

impl SpanCounts {
    pub(in crate::telemetry) fn new() -> Self {
        SpanCounts { spans: IntCounterVec::new(SPANS.opts(), SPANS.labels).ok() }
    }

    pub(super) fn register(&self, registry: &Registry) {
        register(registry, self.spans.clone());
        for result in SPANS.values {
            self.add(result, 0);
        }
    }

    /// A collector took some.
    pub(in crate::telemetry) fn exported(&self, count: u64) {
        self.add("exported", count);
    }

    /// The queue was full.
    pub(in crate::telemetry) fn dropped(&self) {
        self.add("dropped", 1);
    }

    /// A collector did not take some.
    pub(in crate::telemetry) fn failed(&self, count: u64) {
        self.add("failed", count);
    }

    #[cfg(test)]
    pub(in crate::telemetry) fn of(&self, result: &str) -> u64 {
        self.spans.as_ref().map_or(0, |spans| spans.with_label_values(&[result]).get())
    }

    fn add(&self, result: &str, count: u64) {
        if let Some(spans) = &self.spans {
            spans.with_label_values(&[result]).inc_by(count);
        }
    }
}
