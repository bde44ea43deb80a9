//! What the data workers count of each upstream: connections, tries, ejections; and how its endpoints are.
//!
//! As with requests each worker has a series of its own that it alone writes, and a scrape adds them up. How
//! endpoints are is not counted but asked for, at the time of the scrape ([`EndpointCounts`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::family::Family;
use super::lock;
use super::series::{self, Durations, add, histogram};
use super::text::{Labels, family, sample};

const LABELS: &[&str] = &["namespace", "service", "port"];
const CONNECTS: Family = Family::counter(
    "transom_upstream_connects_total",
    &["namespace", "service", "port", "result"],
    "Attempts to connect to an endpoint, by how they ended; those for mirrored copies too.",
)
.of(&ConnectResult::WORDS);
const CONNECT_DURATION: Family = Family::histogram(
    "transom_upstream_connect_duration_seconds",
    LABELS,
    "Time to establish a TCP connection to an endpoint.",
);
const ATTEMPTS: Family = Family::counter(
    "transom_upstream_attempts_total",
    &["namespace", "service", "port", "result"],
    "Tries of requests, by how they ended; mirrored copies too.",
)
.of(&AttemptResult::WORDS);
const EJECTIONS: Family = Family::counter(
    "transom_upstream_ejections_total",
    LABELS,
    "Times that an endpoint was left out since requests failed on it.",
);
const ENDPOINTS: Family = Family::gauge(
    "transom_upstream_endpoints",
    &["namespace", "service", "port", "state"],
    "Endpoints of an upstream, by how they are.",
)
.of(&["healthy", "unhealthy", "ejected"]);

pub(super) const FAMILIES: &[Family] = &[CONNECTS, CONNECT_DURATION, ATTEMPTS, EJECTIONS, ENDPOINTS];

/// The labels of every upstream series. How it is spoken to is not told apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UpstreamLabels {
    /// Namespace of the Service.
    pub namespace: Box<str>,
    /// Name of the Service.
    pub service: Box<str>,
    /// Port of the Service.
    pub port: u16,
}

/// How an attempt to connect ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectResult {
    /// With a connection.
    Connected,
    /// Refused, unreachable, or no socket to connect with.
    Failed,
    /// Not in time.
    Timeout,
}

/// How one try of a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptResult {
    /// With an answer, of whatever status.
    Answered,
    /// No connection, a reset, or not in time.
    Failed,
    /// Neither: the client went away, or the request was ended here.
    Abandoned,
}

/// How the endpoints of one upstream are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointCounts {
    /// Whose endpoints.
    pub labels: UpstreamLabels,
    /// Those that take part.
    pub healthy: usize,
    /// Those that active checks hold for unhealthy.
    pub unhealthy: usize,
    /// Those that are left out since requests failed on them.
    pub ejected: usize,
}

/// What one worker counts of one upstream. Only that worker writes it.
#[derive(Debug)]
pub struct UpstreamSeries {
    labels: UpstreamLabels,
    connects: [AtomicU64; ConnectResult::WORDS.len()],
    connect_times: Durations,
    attempts: [AtomicU64; AttemptResult::WORDS.len()],
    ejections: AtomicU64,
}

/// The series of all workers.
#[derive(Default)]
pub(in crate::telemetry) struct Upstreams {
    series: Mutex<Vec<Arc<UpstreamSeries>>>,
    endpoints: Mutex<Option<EndpointSource>>,
}

type EndpointSource = Box<dyn Fn() -> Vec<EndpointCounts> + Send + Sync>;

#[derive(Default)]
struct Totals {
    connects: [u64; ConnectResult::WORDS.len()],
    connect_times: series::Totals,
    attempts: [u64; AttemptResult::WORDS.len()],
    ejections: u64,
}

impl ConnectResult {
    const WORDS: [&str; 3] = ["connected", "failed", "timeout"];
}

impl AttemptResult {
    const WORDS: [&str; 3] = ["answered", "failed", "abandoned"];
}

impl UpstreamSeries {
    fn new(labels: UpstreamLabels) -> Self {
        UpstreamSeries {
            labels,
            connects: Default::default(),
            connect_times: Durations::default(),
            attempts: Default::default(),
            ejections: AtomicU64::new(0),
        }
    }

    /// A series that nobody reads.
    #[cfg(test)]
    pub fn unread(namespace: &str, service: &str, port: u16) -> Arc<Self> {
        Arc::new(UpstreamSeries::new(UpstreamLabels { namespace: namespace.into(), service: service.into(), port }))
    }

    /// Counts an attempt to connect. Its time is that of a connection that was made, if it is known.
    pub fn connect(&self, result: ConnectResult, took: Option<Duration>) {
        bump(&self.connects, result as usize);
        if let Some(took) = took {
            self.connect_times.count(took);
        }
    }

    /// Counts a try of a request.
    pub fn attempt(&self, result: AttemptResult) {
        bump(&self.attempts, result as usize);
    }

    /// Counts an ejection.
    pub fn ejected(&self) {
        add(&self.ejections, 1);
    }

    fn absorb(&self, other: &UpstreamSeries) {
        for (cell, more) in self.cells().zip(other.cells()) {
            add(cell, more.load(Relaxed));
        }
        self.connect_times.absorb(&other.connect_times);
    }

    fn cells(&self) -> impl Iterator<Item = &AtomicU64> {
        self.connects.iter().chain(&self.attempts).chain([&self.ejections])
    }
}

impl Upstreams {
    pub(in crate::telemetry) fn add(&self, labels: UpstreamLabels) -> Arc<UpstreamSeries> {
        let series = Arc::new(UpstreamSeries::new(labels));
        lock(&self.series).push(Arc::clone(&series));
        series
    }

    /// `existing` is asked once no series can be added: what a worker has just added is in it.
    pub(in crate::telemetry) fn retain(&self, existing: impl FnOnce() -> BTreeSet<UpstreamLabels>) {
        let mut series = lock(&self.series);
        let existing = existing();
        // What nobody else holds nobody writes any more: of those, one for each upstream is enough.
        let mut idle: BTreeMap<UpstreamLabels, Arc<UpstreamSeries>> = BTreeMap::new();
        series.retain(|one| {
            let exists = existing.contains(&one.labels);
            if !exists || Arc::strong_count(one) > 1 {
                return exists;
            }
            match idle.get(&one.labels) {
                Some(kept) => kept.absorb(one),
                None => _ = idle.insert(one.labels.clone(), Arc::clone(one)),
            }
            Arc::strong_count(one) > 1
        });
    }

    pub(in crate::telemetry) fn ask_endpoints(&self, source: EndpointSource) {
        *lock(&self.endpoints) = Some(source);
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let series = lock(&self.series).clone();
        let mut totals: BTreeMap<&UpstreamLabels, Totals> = BTreeMap::new();
        for one in &series {
            totals.entry(&one.labels).or_default().add(one);
        }
        // Upstreams that nothing went to would make most of the page.
        totals.retain(|_, total| total.attempts.iter().chain(&total.connects).any(|count| *count > 0));
        let mut labels = Labels::default();
        if !totals.is_empty() {
            write_counters(out, &mut labels, &totals)?;
            family(out, &CONNECT_DURATION)?;
            for (of, total) in &totals {
                render(&mut labels, of);
                histogram(
                    out,
                    &CONNECT_DURATION,
                    &mut labels,
                    &total.connect_times.buckets,
                    total.connect_times.micros,
                )?;
            }
        }
        let counts = lock(&self.endpoints).as_ref().map(|source| source()).unwrap_or_default();
        if !counts.is_empty() {
            family(out, &ENDPOINTS)?;
        }
        for count in counts {
            render(&mut labels, &count.labels);
            let states = [("healthy", count.healthy), ("unhealthy", count.unhealthy), ("ejected", count.ejected)];
            for (state, number) in states {
                labels.with("state", state, |labels| sample(out, &ENDPOINTS, "", labels, number))?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstreams").field("series", &lock(&self.series).len()).finish_non_exhaustive()
    }
}

impl Totals {
    fn add(&mut self, series: &UpstreamSeries) {
        let pairs = self.connects.iter_mut().zip(&series.connects);
        for (total, cell) in pairs.chain(self.attempts.iter_mut().zip(&series.attempts)) {
            *total += cell.load(Relaxed);
        }
        self.connect_times.add(&series.connect_times);
        self.ejections += series.ejections.load(Relaxed);
    }
}

fn write_counters(
    out: &mut dyn Write,
    labels: &mut Labels,
    totals: &BTreeMap<&UpstreamLabels, Totals>,
) -> io::Result<()> {
    family(out, &CONNECTS)?;
    for (of, total) in totals {
        render(labels, of);
        for (result, count) in ConnectResult::WORDS.iter().zip(total.connects) {
            labels.with("result", result, |labels| sample(out, &CONNECTS, "", labels, count))?;
        }
    }
    family(out, &ATTEMPTS)?;
    for (of, total) in totals {
        render(labels, of);
        for (result, count) in AttemptResult::WORDS.iter().zip(total.attempts) {
            labels.with("result", result, |labels| sample(out, &ATTEMPTS, "", labels, count))?;
        }
    }
    family(out, &EJECTIONS)?;
    for (of, total) in totals {
        render(labels, of);
        sample(out, &EJECTIONS, "", labels, total.ejections)?;
    }
    Ok(())
}

fn render(labels: &mut Labels, of: &UpstreamLabels) {
    labels.service(&of.namespace, &of.service, of.port);
}

fn bump(cells: &[AtomicU64], at: usize) {
    if let Some(cell) = cells.get(at) {
        add(cell, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(service: &str) -> UpstreamLabels {
        UpstreamLabels { namespace: "n".into(), service: service.into(), port: 80 }
    }

    fn page(upstreams: &Upstreams) -> String {
        let mut page = Vec::new();
        upstreams.write(&mut page).unwrap();
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn workers_are_added_up_and_series_go_with_their_upstream() {
        let upstreams = Upstreams::default();
        let (one, two, other) = (upstreams.add(labels("a")), upstreams.add(labels("a")), upstreams.add(labels("b")));
        assert_eq!(page(&upstreams), "", "nothing went anywhere");
        one.attempt(AttemptResult::Answered);
        two.attempt(AttemptResult::Answered);
        two.attempt(AttemptResult::Failed);
        two.ejected();
        one.connect(ConnectResult::Connected, Some(Duration::from_micros(700)));
        other.connect(ConnectResult::Timeout, None);
        let text = page(&upstreams);
        for line in [
            "transom_upstream_attempts_total{namespace=\"n\",service=\"a\",port=\"80\",result=\"answered\"} 2",
            "transom_upstream_attempts_total{namespace=\"n\",service=\"a\",port=\"80\",result=\"failed\"} 1",
            "transom_upstream_ejections_total{namespace=\"n\",service=\"a\",port=\"80\"} 1",
            "transom_upstream_connects_total{namespace=\"n\",service=\"b\",port=\"80\",result=\"timeout\"} 1",
            "transom_upstream_connect_duration_seconds_bucket{namespace=\"n\",service=\"a\",port=\"80\",le=\"0.0005\"} 0",
            "transom_upstream_connect_duration_seconds_bucket{namespace=\"n\",service=\"a\",port=\"80\",le=\"0.001\"} 1",
            "transom_upstream_connect_duration_seconds_count{namespace=\"n\",service=\"b\",port=\"80\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        drop((one, two)); // their workers have let go of them: what they counted stays, in one
        upstreams.retain(|| BTreeSet::from([labels("a")]));
        assert_eq!(lock(&upstreams.series).len(), 1);
        let text = page(&upstreams);
        assert!(text.contains("service=\"a\",port=\"80\",result=\"answered\"} 2"), "{text}");
        assert!(text.contains("service=\"a\"") && !text.contains("service=\"b\""), "{text}");
    }

    #[test]
    fn endpoints_are_asked_for() {
        let upstreams = Upstreams::default();
        let counts = EndpointCounts { labels: labels("a"), healthy: 2, unhealthy: 1, ejected: 0 };
        upstreams.ask_endpoints(Box::new(move || vec![counts.clone()]));
        let text = page(&upstreams);
        let line = "transom_upstream_endpoints{namespace=\"n\",service=\"a\",port=\"80\",state=\"unhealthy\"} 1";
        assert!(text.lines().any(|found| found == line), "{text}");
    }
}
