//! Every request series of every thread, and the collector that adds them up when Prometheus asks.
//!
//! A thread registers its shard and each new series here (rare: a lock is fine) and then writes counters that are
//! its own. The scrape copies the lists of series under the lock and reads the counters outside of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::family::{counter_of, description, family, pair, to_f64};
use super::series::{BOUNDS_MICROS, Series, SeriesLabels, Totals, add};

const REQUESTS: &str = "transom_http_requests_total";
const REQUESTS_HELP: &str = "Requests answered, by route, status code and reason.";
const DURATION: &str = "transom_http_request_duration_seconds";
const DURATION_HELP: &str = "Time from the first byte of a request to the last byte of its answer.";
const ACTIVE: &str = "transom_http_active_requests";
const ACTIVE_HELP: &str = "Requests that are being served now.";
const WORKER: &str = "transom_worker_requests_total";
const WORKER_HELP: &str = "Requests by data worker: how evenly the kernel spreads connections.";
const LABELS: [&str; 8] =
    ["gateway_namespace", "gateway", "listener", "route_kind", "route_namespace", "route", "code", "reason"];

/// The shards of all threads that ever recorded a request. Data workers live as long as the process, so shards are
/// kept: a counter must not run backwards.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct Requests {
    shards: Mutex<Vec<Arc<Shard>>>,
    /// Moves when series were removed; a thread that sees it moved forgets the removed ones.
    generation: AtomicU64,
}

/// What one thread counts.
#[derive(Debug)]
pub(in crate::telemetry) struct Shard {
    worker: usize,
    requests: AtomicU64,
    active: AtomicI64,
    series: Mutex<Vec<Arc<Series>>>,
}

impl Requests {
    pub(super) fn new() -> Self {
        Requests::default()
    }

    pub(in crate::telemetry) fn add_shard(&self, worker: usize) -> Arc<Shard> {
        let shard = Arc::new(Shard {
            worker,
            requests: AtomicU64::new(0),
            active: AtomicI64::new(0),
            series: Mutex::new(Vec::new()),
        });
        lock(&self.shards).push(Arc::clone(&shard));
        shard
    }

    pub(in crate::telemetry) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(in crate::telemetry) fn retain(&self, still_exists: impl Fn(&SeriesLabels) -> bool) {
        for shard in self.shards() {
            let mut removed = false;
            for series in shard.series() {
                if !still_exists(&series.labels) {
                    series.mark_removed();
                    removed = true;
                }
            }
            if removed {
                lock(&shard.series).retain(|series| !series.is_removed());
                self.generation.fetch_add(1, Ordering::Release);
            }
        }
    }

    fn shards(&self) -> Vec<Arc<Shard>> {
        lock(&self.shards).clone()
    }
}

impl Shard {
    pub(in crate::telemetry) fn register(&self, series: Arc<Series>) {
        lock(&self.series).push(series);
    }

    /// Counts a request of any labels. Only the owning thread calls this.
    pub(in crate::telemetry) fn count(&self) {
        add(&self.requests, 1);
    }

    /// A request may end on another thread than it began on (a runtime that is torn down), hence a true addition;
    /// the line is this thread's own all the same.
    pub(in crate::telemetry) fn add_active(&self, amount: i64) {
        self.active.fetch_add(amount, Ordering::Relaxed);
    }

    fn series(&self) -> Vec<Arc<Series>> {
        lock(&self.series).clone()
    }
}

/// Shows the request series to the registry.
pub(super) struct RequestCollector {
    requests: Arc<Requests>,
    descriptions: Vec<Desc>,
}

impl RequestCollector {
    pub(super) fn new(requests: Arc<Requests>) -> Self {
        let descriptions = [
            (REQUESTS, REQUESTS_HELP, &LABELS[..]),
            (DURATION, DURATION_HELP, &LABELS[..]),
            (ACTIVE, ACTIVE_HELP, &[]),
            (WORKER, WORKER_HELP, &["worker"]),
        ]
        .into_iter()
        .filter_map(|(name, help, labels)| description(name, help, labels))
        .collect();
        RequestCollector { requests, descriptions }
    }
}

impl Collector for RequestCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let shards = self.requests.shards();
        let series: Vec<Arc<Series>> = shards.iter().flat_map(|shard| shard.series()).collect();
        let mut totals: HashMap<&SeriesLabels, Totals> = HashMap::with_capacity(series.len());
        for one in &series {
            totals.entry(&one.labels).or_default().add(one);
        }

        let mut counters = Vec::with_capacity(totals.len());
        let mut durations = Vec::with_capacity(totals.len());
        for (labels, total) in totals {
            let mut counter = Metric::from_label(pairs(labels));
            counter.set_counter(counter_of(total.count()));
            counters.push(counter);
            let mut duration = Metric::from_label(pairs(labels));
            duration.set_histogram(histogram(&total));
            durations.push(duration);
        }

        let mut workers: HashMap<usize, u64> = HashMap::new();
        let mut active = 0;
        for shard in &shards {
            *workers.entry(shard.worker).or_default() += shard.requests.load(Ordering::Relaxed);
            active += shard.active.load(Ordering::Relaxed);
        }
        let workers = workers.into_iter().map(|(worker, count)| {
            let mut metric = Metric::from_label(vec![pair("worker", worker.to_string())]);
            metric.set_counter(counter_of(count));
            metric
        });
        let mut now = Gauge::default();
        now.set_value(to_f64(u64::try_from(active).unwrap_or(0)));

        vec![
            family(REQUESTS, REQUESTS_HELP, MetricType::COUNTER, counters),
            family(DURATION, DURATION_HELP, MetricType::HISTOGRAM, durations),
            family(ACTIVE, ACTIVE_HELP, MetricType::GAUGE, vec![Metric::from_gauge(now)]),
            family(WORKER, WORKER_HELP, MetricType::COUNTER, workers.collect()),
        ]
    }
}

fn pairs(labels: &SeriesLabels) -> Vec<LabelPair> {
    let values = [
        labels.gateway_namespace.to_string(),
        labels.gateway.to_string(),
        labels.listener.to_string(),
        labels.route_kind.to_owned(),
        labels.route_namespace.to_string(),
        labels.route.to_string(),
        labels.code.to_string(),
        labels.reason.as_str().to_owned(),
    ];
    LABELS.iter().zip(values).map(|(name, value)| pair(name, value)).collect()
}

fn histogram(totals: &Totals) -> Histogram {
    let mut below = 0;
    let buckets = BOUNDS_MICROS.iter().zip(totals.buckets).map(|(bound, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(to_f64(*bound) / 1e6);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(totals.count());
    histogram.set_sample_sum(to_f64(totals.micros) / 1e6);
    histogram
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
