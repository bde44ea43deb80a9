//! One series of requests: its labels, and the counters that a single thread writes and a scrape reads.

use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::family::Family;
use super::text::{Labels, sample};
use crate::telemetry::{Reason, RequestRecord};

/// Upper bounds of the duration buckets, microseconds: OpenTelemetry's for HTTP, and 0.5, 1 and 2.5 ms below them.
pub(super) const BOUNDS_MICROS: [u64; 17] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000, 2_500_000,
    5_000_000, 7_500_000, 10_000_000,
];

/// Writes a histogram over these bounds. `buckets` is not cumulative; `micros` is the sum of what was counted.
pub(super) fn histogram(
    out: &mut dyn Write,
    family: &Family,
    labels: &mut Labels,
    buckets: &[u64; BOUNDS_MICROS.len() + 1],
    micros: u64,
) -> io::Result<()> {
    let mut below = 0;
    for (bound, count) in BOUNDS_MICROS.iter().zip(buckets) {
        below += count;
        labels.with("le", seconds(*bound), |labels| sample(out, family, "_bucket", labels, below))?;
    }
    let count: u64 = buckets.iter().sum();
    labels.with("le", "+Inf", |labels| sample(out, family, "_bucket", labels, count))?;
    sample(out, family, "_sum", labels, seconds(micros))?;
    sample(out, family, "_count", labels, count)
}

#[allow(clippy::cast_precision_loss, reason = "Prometheus has no other numbers; exact up to 285 years")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// The labels of a request series. Empty text stands for "none": no listener took the request, or no rule matched.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesLabels {
    /// Namespace of the Gateway.
    pub gateway_namespace: Box<str>,
    /// Name of the Gateway.
    pub gateway: Box<str>,
    /// Name of the listener.
    pub listener: Box<str>,
    /// Kind of the route.
    pub route_kind: &'static str,
    /// Namespace of the route.
    pub route_namespace: Box<str>,
    /// Name of the route.
    pub route: Box<str>,
    /// Status code sent; 0 if none was.
    pub code: u16,
    /// Why the answer is the gateway's own.
    pub reason: Reason,
}

/// The same labels, borrowed from a record: hashed and compared without an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::telemetry) struct LabelsOf<'a> {
    gateway_namespace: &'a str,
    gateway: &'a str,
    listener: &'a str,
    route_kind: &'static str,
    route_namespace: &'a str,
    route: &'a str,
    code: u16,
    reason: Reason,
}

/// Counters of one series, written by one thread only.
#[derive(Debug)]
pub(in crate::telemetry) struct Series {
    pub(super) labels: SeriesLabels,
    removed: AtomicBool,
    pub(super) durations: Durations,
}

/// Durations in buckets, written by one thread only.
#[derive(Debug, Default)]
pub(super) struct Durations {
    micros: AtomicU64,
    /// Not cumulative; the last one is above every bound.
    buckets: [AtomicU64; BOUNDS_MICROS.len() + 1],
}

/// What several threads counted for one series, added up.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    pub(super) micros: u64,
    pub(super) buckets: [u64; BOUNDS_MICROS.len() + 1],
}

impl<'a> LabelsOf<'a> {
    pub(in crate::telemetry) fn record(record: &RequestRecord<'a>) -> Self {
        let listener = record.listener.as_ref();
        let route = record.route.as_ref();
        LabelsOf {
            gateway_namespace: listener.map_or("", |l| l.namespace),
            gateway: listener.map_or("", |l| l.gateway),
            listener: listener.map_or("", |l| l.listener),
            route_kind: route.map_or("", |r| r.kind),
            route_namespace: route.map_or("", |r| r.namespace),
            route: route.map_or("", |r| r.name),
            // RFC 9110, section 15: "values outside of the range 100..599 are invalid"; an upstream must not be
            // able to make series at will.
            code: if matches!(record.code, 100..=599) { record.code } else { 0 },
            reason: record.reason,
        }
    }

    fn owned(self) -> SeriesLabels {
        SeriesLabels {
            gateway_namespace: self.gateway_namespace.into(),
            gateway: self.gateway.into(),
            listener: self.listener.into(),
            route_kind: self.route_kind,
            route_namespace: self.route_namespace.into(),
            route: self.route.into(),
            code: self.code,
            reason: self.reason,
        }
    }
}

impl Series {
    pub(in crate::telemetry) fn new(labels: LabelsOf<'_>) -> Self {
        Series { labels: labels.owned(), removed: AtomicBool::new(false), durations: Durations::default() }
    }

    /// Borrowed labels: their hash is the one that [`LabelsOf::record`]'s result has.
    pub(in crate::telemetry) fn labels(&self) -> LabelsOf<'_> {
        LabelsOf {
            gateway_namespace: &self.labels.gateway_namespace,
            gateway: &self.labels.gateway,
            listener: &self.labels.listener,
            route_kind: self.labels.route_kind,
            route_namespace: &self.labels.route_namespace,
            route: &self.labels.route,
            code: self.labels.code,
            reason: self.labels.reason,
        }
    }

    /// Counts one request. Only the owning thread calls this.
    pub(in crate::telemetry) fn count(&self, duration: Duration) {
        self.durations.count(duration);
    }

    pub(super) fn mark_removed(&self) {
        self.removed.store(true, Relaxed);
    }

    pub(in crate::telemetry) fn is_removed(&self) -> bool {
        self.removed.load(Relaxed)
    }
}

impl Durations {
    pub(super) fn count(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        add(&self.micros, micros);
        if let Some(cell) = self.buckets.get(BOUNDS_MICROS.partition_point(|bound| *bound < micros)) {
            add(cell, 1);
        }
    }

    /// Adds what another thread counted, which does so no more.
    pub(super) fn absorb(&self, other: &Durations) {
        add(&self.micros, other.micros.load(Relaxed));
        for (cell, more) in self.buckets.iter().zip(&other.buckets) {
            add(cell, more.load(Relaxed));
        }
    }
}

impl Totals {
    pub(super) fn add(&mut self, durations: &Durations) {
        self.micros = self.micros.wrapping_add(durations.micros.load(Relaxed));
        for (total, cell) in self.buckets.iter_mut().zip(&durations.buckets) {
            *total += cell.load(Relaxed);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// Adds to a counter that no other thread writes: a load and a store, cheaper than a locked addition.
pub(in crate::telemetry) fn add(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(amount), Relaxed);
}

/// The hash of borrowed labels.
impl LabelsOf<'_> {
    pub(in crate::telemetry) fn hash_with(&self, mut hasher: impl Hasher) -> u64 {
        self.hash(&mut hasher);
        hasher.finish()
    }
}
