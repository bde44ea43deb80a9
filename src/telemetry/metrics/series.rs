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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesLabels<'a> {
    /// Namespace of the Gateway.
    pub gateway_namespace: &'a str,
    /// Name of the Gateway.
    pub gateway: &'a str,
    /// Name of the listener.
    pub listener: &'a str,
    /// Kind of the route.
    pub route_kind: &'static str,
    /// Namespace of the route.
    pub route_namespace: &'a str,
    /// Name of the route.
    pub route: &'a str,
    /// Status code sent; 0 if none was.
    pub code: u16,
    /// Why the answer is the gateway's own.
    pub reason: Reason,
}

/// Counters of one series, written by one thread only.
#[derive(Debug)]
pub(in crate::telemetry) struct Series {
    names: Names,
    route_kind: &'static str,
    code: u16,
    reason: Reason,
    removed: AtomicBool,
    pub(super) durations: Durations,
}

/// The five names of a series in one piece: with many routes none is in a cache, and each piece is a wait for memory.
#[derive(Debug)]
struct Names {
    text: Box<str>,
    /// Where all but the last one end.
    ends: [usize; 4],
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

impl<'a> SeriesLabels<'a> {
    pub(in crate::telemetry) fn record(record: &RequestRecord<'a>) -> Self {
        let listener = record.listener.as_ref();
        let route = record.route.as_ref();
        SeriesLabels {
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

    pub(in crate::telemetry) fn hash_with(&self, mut hasher: impl Hasher) -> u64 {
        self.hash(&mut hasher);
        hasher.finish()
    }
}

impl Names {
    fn of(labels: &SeriesLabels<'_>) -> Self {
        let SeriesLabels { gateway_namespace, gateway, listener, route_namespace, route, .. } = labels;
        let mut text = String::new();
        let ends = [gateway_namespace, gateway, listener, route_namespace].map(|name| {
            text.push_str(name);
            text.len()
        });
        text.push_str(route);
        Names { text: text.into(), ends }
    }

    fn slice(&self, from: usize, to: usize) -> &str {
        self.text.get(from..to).unwrap_or_default()
    }
}

impl Series {
    pub(in crate::telemetry) fn new(labels: SeriesLabels<'_>) -> Self {
        Series {
            names: Names::of(&labels),
            route_kind: labels.route_kind,
            code: labels.code,
            reason: labels.reason,
            removed: AtomicBool::new(false),
            durations: Durations::default(),
        }
    }

    /// Their hash is the one that [`SeriesLabels::record`]'s result has.
    pub(in crate::telemetry) fn labels(&self) -> SeriesLabels<'_> {
        let [gateway_namespace, gateway, listener, route_namespace] = self.names.ends;
        SeriesLabels {
            gateway_namespace: self.names.slice(0, gateway_namespace),
            gateway: self.names.slice(gateway_namespace, gateway),
            listener: self.names.slice(gateway, listener),
            route_kind: self.route_kind,
            route_namespace: self.names.slice(listener, route_namespace),
            route: self.names.slice(route_namespace, self.names.text.len()),
            code: self.code,
            reason: self.reason,
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
