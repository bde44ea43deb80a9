//! The state of the configuration, as the controller reports it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{Gauge, Histogram, HistogramOpts, IntGauge, IntGaugeVec, Registry};

use super::family::Family;
use super::register;

const OBJECTS: Family = Family::gauge("transom_config_objects", &["kind"], "Objects held, by kind.");
const PROBLEMS: Family = Family::gauge(
    "transom_config_problems",
    &["stage"],
    "Problems of the configuration, by the stage that found them.",
)
.of(&ProblemStage::WORDS);
const GENERATION: Family =
    Family::gauge("transom_config_snapshot_generation", &[], "Number of the snapshot that is served.");
const LAST_SUCCESS: Family = Family::gauge(
    "transom_config_last_success_timestamp_seconds",
    &[],
    "When a snapshot was published last, seconds since 1970.",
);
const PROPAGATION: Family = Family::histogram(
    "transom_config_propagation_seconds",
    &[],
    "Time from taking up a change to the published snapshot that holds it.",
);

pub(super) const FAMILIES: &[Family] = &[OBJECTS, PROBLEMS, GENERATION, LAST_SUCCESS, PROPAGATION];

/// Seconds; from the event of a source to the snapshot that holds it.
const PROPAGATION_BOUNDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Where a problem was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemStage {
    /// In a source: a file that does not parse, an object that fits no schema.
    Source,
    /// In the translator: references, conflicts, values.
    Translate,
}

/// Gauges of the configuration. All methods are cheap and may be called from any thread.
#[derive(Debug, Clone)]
pub struct ConfigMetrics {
    objects: Option<IntGaugeVec>,
    problems: Option<IntGaugeVec>,
    generation: Option<IntGauge>,
    last_success: Option<Gauge>,
    propagation: Option<Histogram>,
}

impl ProblemStage {
    const WORDS: [&str; 2] = words!([ProblemStage::Source, ProblemStage::Translate]);

    const fn as_str(self) -> &'static str {
        match self {
            ProblemStage::Source => "source",
            ProblemStage::Translate => "translate",
        }
    }
}

impl ConfigMetrics {
    // Constant names and labels always make a metric; `ok` spares the process a panic that cannot happen.
    pub(super) fn new() -> Self {
        let by = |family: Family| IntGaugeVec::new(family.opts(), family.labels).ok();
        let propagation = HistogramOpts::new(PROPAGATION.name, PROPAGATION.help).buckets(PROPAGATION_BOUNDS.to_vec());
        ConfigMetrics {
            objects: by(OBJECTS),
            problems: by(PROBLEMS),
            generation: IntGauge::with_opts(GENERATION.opts()).ok(),
            last_success: Gauge::with_opts(LAST_SUCCESS.opts()).ok(),
            propagation: Histogram::with_opts(propagation).ok(),
        }
    }

    pub(super) fn register(&self, registry: &Registry) {
        register(registry, self.objects.clone());
        register(registry, self.problems.clone());
        register(registry, self.generation.clone());
        register(registry, self.last_success.clone());
        register(registry, self.propagation.clone());
    }

    /// `count` objects of `kind` are held.
    pub fn objects(&self, kind: &'static str, count: usize) {
        if let Some(objects) = &self.objects {
            objects.with_label_values(&[kind]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// `count` problems are known to `stage`.
    pub fn problems(&self, stage: ProblemStage, count: usize) {
        if let Some(problems) = &self.problems {
            problems.with_label_values(&[stage.as_str()]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Snapshot `generation` is served from now on; `propagation` since its changes were taken up.
    pub fn published(&self, generation: u64, propagation: Duration) {
        if let Some(gauge) = &self.generation {
            gauge.set(i64::try_from(generation).unwrap_or(i64::MAX));
        }
        if let Some(gauge) = &self.last_success {
            gauge.set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        }
        if let Some(histogram) = &self.propagation {
            histogram.observe(propagation.as_secs_f64());
        }
    }
}
