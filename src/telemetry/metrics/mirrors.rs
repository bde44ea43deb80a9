//! What becomes of mirrored copies: results by upstream, and what is under way. A data worker counts with a
//! [`MirrorMeter`] of its own, without a lock; a scrape adds the meters up.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::family::Family;
use super::lock;
use super::text::{Labels, family, sample};

const REQUESTS: Family = Family::counter(
    "transom_mirror_requests_total",
    &["namespace", "service", "port", "result"],
    "Mirrored copies of requests, by the Service that gets them and result.",
)
.of(&MirrorResult::WORDS);
const ACTIVE: Family =
    Family::gauge("transom_mirror_active_requests", &[], "Mirrored copies of requests that are under way.");
const QUEUED: Family =
    Family::gauge("transom_mirror_queued_bytes", &[], "Bytes of mirrored bodies that wait to be sent.");

pub(super) const FAMILIES: &[Family] = &[REQUESTS, ACTIVE, QUEUED];

/// How a copy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorResult {
    /// All of it was sent, and an answer began.
    Sent,
    /// Cut: its body came faster than the mirror took it, and its queue was full.
    DroppedQueue,
    /// Not begun or cut: the worker had too many copies, or too much of their bodies, under way.
    DroppedOverload,
    /// Not begun: the mirror has no endpoints.
    NoEndpoints,
    /// No connection could be had.
    ConnectFailed,
    /// The mirror broke off, or answered what is not HTTP.
    Failed,
    /// The mirror was too slow.
    Timeout,
    /// Not begun: the request asks for another protocol on its connection.
    Skipped,
    /// Cut: the request's own body did not come to its end, or the process ends.
    Aborted,
}

/// Whose copies, as metrics say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MirrorLabels<'a> {
    /// Namespace of the Service that gets them.
    pub namespace: &'a str,
    /// Its name.
    pub service: &'a str,
    /// Its port.
    pub port: u16,
}

/// What one data worker counts. One thread writes it.
#[derive(Debug, Default)]
pub struct MirrorMeter {
    /// Copies under way.
    pub active: AtomicUsize,
    /// Bytes of their bodies that wait to be sent.
    pub queued: AtomicUsize,
    /// Sorted by labels.
    series: ArcSwap<Vec<Arc<Series>>>,
}

/// The meters of all workers.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct Mirrors {
    meters: Mutex<Vec<Arc<MirrorMeter>>>,
}

#[derive(Debug)]
struct Series {
    namespace: Box<str>,
    service: Box<str>,
    port: u16,
    results: [AtomicU64; MirrorResult::ALL.len()],
}

impl MirrorResult {
    const ALL: [MirrorResult; 9] = [
        MirrorResult::Sent,
        MirrorResult::DroppedQueue,
        MirrorResult::DroppedOverload,
        MirrorResult::NoEndpoints,
        MirrorResult::ConnectFailed,
        MirrorResult::Failed,
        MirrorResult::Timeout,
        MirrorResult::Skipped,
        MirrorResult::Aborted,
    ];

    const WORDS: [&str; MirrorResult::ALL.len()] = words!(MirrorResult::ALL);

    /// As the label `result` says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            MirrorResult::Sent => "sent",
            MirrorResult::DroppedQueue => "dropped_queue",
            MirrorResult::DroppedOverload => "dropped_overload",
            MirrorResult::NoEndpoints => "no_endpoints",
            MirrorResult::ConnectFailed => "connect_failed",
            MirrorResult::Failed => "failed",
            MirrorResult::Timeout => "timeout",
            MirrorResult::Skipped => "skipped",
            MirrorResult::Aborted => "aborted",
        }
    }
}

impl MirrorMeter {
    /// A copy for `labels` ended.
    pub fn count(&self, labels: MirrorLabels<'_>, result: MirrorResult) {
        let series = self.series.load();
        match series.binary_search_by(|series| series.labels().cmp(&labels)) {
            Ok(at) => series.get(at).map_or((), |series| series.count(result)),
            Err(_) => self.add(labels).count(result),
        }
    }

    /// Drops the series of those that are not mirrored to any more, or not at all.
    pub fn retain(&self, still_exists: impl Fn(MirrorLabels<'_>) -> bool) {
        if !self.series.load().iter().all(|series| still_exists(series.labels())) {
            self.series
                .rcu(|all| -> Vec<_> { all.iter().filter(|series| still_exists(series.labels())).cloned().collect() });
        }
    }

    /// Whether nothing was counted yet.
    pub fn is_empty(&self) -> bool {
        self.series.load().is_empty()
    }

    #[cold]
    fn add(&self, labels: MirrorLabels<'_>) -> Arc<Series> {
        let new = Arc::new(Series {
            namespace: labels.namespace.into(),
            service: labels.service.into(),
            port: labels.port,
            results: Default::default(),
        });
        self.series.rcu(|all| {
            let mut all = Vec::clone(all);
            let at = all.partition_point(|series| series.labels() < labels);
            all.insert(at, Arc::clone(&new));
            all
        });
        new
    }
}

impl Series {
    fn labels(&self) -> MirrorLabels<'_> {
        MirrorLabels { namespace: &self.namespace, service: &self.service, port: self.port }
    }

    fn count(&self, result: MirrorResult) {
        if let Some(counter) = self.results.get(result as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }
}

impl Mirrors {
    pub(in crate::telemetry) fn add_meter(&self) -> Arc<MirrorMeter> {
        let meter = Arc::<MirrorMeter>::default();
        lock(&self.meters).push(Arc::clone(&meter));
        meter
    }

    /// Writes everything that was counted, added up over the workers; nothing where nothing was ever mirrored.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let meters = lock(&self.meters).clone();
        let series: Vec<Arc<Series>> = meters.iter().flat_map(|meter| meter.series.load().to_vec()).collect();
        let mut totals: BTreeMap<MirrorLabels<'_>, [u64; MirrorResult::ALL.len()]> = BTreeMap::new();
        for one in &series {
            let total = totals.entry(one.labels()).or_default();
            total.iter_mut().zip(&one.results).for_each(|(sum, count)| *sum += count.load(Relaxed));
        }
        let mut labels = Labels::default();
        let sum = |of: fn(&MirrorMeter) -> &AtomicUsize| -> usize { meters.iter().map(|m| of(m).load(Relaxed)).sum() };
        family(out, &ACTIVE)?;
        sample(out, &ACTIVE, "", &labels, sum(|meter| &meter.active))?;
        family(out, &QUEUED)?;
        sample(out, &QUEUED, "", &labels, sum(|meter| &meter.queued))?;
        if totals.is_empty() {
            return Ok(());
        }
        family(out, &REQUESTS)?;
        for (of, counts) in &totals {
            labels.service(of.namespace, of.service, of.port);
            for (result, count) in MirrorResult::ALL.iter().zip(counts).filter(|(_, count)| **count > 0) {
                labels.with("result", result.as_str(), |labels| sample(out, &REQUESTS, "", labels, count))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MirrorLabels<'_> = MirrorLabels { namespace: "n", service: "a", port: 80 };
    const B: MirrorLabels<'_> = MirrorLabels { namespace: "n", service: "b", port: 80 };

    fn text(mirrors: &Mirrors) -> String {
        let mut text = Vec::new();
        mirrors.write(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn results_are_added_up_over_the_workers() {
        let mirrors = Mirrors::default();
        let (one, two) = (mirrors.add_meter(), mirrors.add_meter());
        one.count(B, MirrorResult::Timeout);
        one.count(A, MirrorResult::Sent);
        two.count(A, MirrorResult::Sent);
        two.active.fetch_add(3, Relaxed);
        let text = text(&mirrors);
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "transom_mirror_active_requests 3",
                "transom_mirror_queued_bytes 0",
                r#"transom_mirror_requests_total{namespace="n",service="a",port="80",result="sent"} 2"#,
                r#"transom_mirror_requests_total{namespace="n",service="b",port="80",result="timeout"} 1"#,
            ]
        );
    }

    #[test]
    fn each_result_has_its_own_counter_and_word() {
        let mirrors = Mirrors::default();
        let meter = mirrors.add_meter();
        for (at, result) in MirrorResult::ALL.into_iter().enumerate() {
            (0..=at).for_each(|_| meter.count(A, result));
        }
        let text = text(&mirrors);
        for (at, result) in MirrorResult::ALL.into_iter().enumerate() {
            let end = format!("result=\"{}\"}} {}", result.as_str(), at + 1);
            assert_eq!(text.lines().filter(|line| line.ends_with(&end)).count(), 1, "{end} in {text}");
        }
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let mirrors = Mirrors::default();
        let meter = mirrors.add_meter();
        meter.count(A, MirrorResult::Sent);
        meter.count(B, MirrorResult::Sent);
        meter.retain(|labels| labels == B);
        let text = text(&mirrors);
        assert!(!text.contains("service=\"a\"") && text.contains("service=\"b\""), "{text}");
    }
}
