//! Life with an API server: watches that had to begin again, statuses that were written, who leads.
//!
//! Nothing of it is shown by a process that has no cluster.

use prometheus::{IntCounterVec, IntGaugeVec, Registry};

use super::family::Family;
use super::register;

const RESTARTS: Family = Family::counter(
    "transom_watch_restarts_total",
    &["kind", "reason"],
    "Watches that had to begin again, by kind and reason.",
)
.of(&WatchRestart::WORDS);
const WRITES: Family =
    Family::counter("transom_status_writes_total", &["kind", "result"], "Status writes, by kind and how they ended.")
        .of(&StatusWrite::WORDS);
const INFRASTRUCTURE: Family = Family::counter(
    "transom_infrastructure_writes_total",
    &["kind", "result"],
    "Writes of Services and EndpointSlices, by kind and how they ended.",
)
.of(&InfrastructureWrite::WORDS);
const LEADER: Family =
    Family::gauge("transom_leader", &[], "1 if this process writes statuses and infrastructure, else 0.");

pub(super) const FAMILIES: &[Family] = &[RESTARTS, WRITES, INFRASTRUCTURE, LEADER];

/// Why a watch had to begin again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchRestart {
    /// It was cut, and goes on from where it was.
    Interrupted,
    /// What had changed meanwhile is no longer known: everything is listed anew.
    Expired,
    /// The API server could not be asked.
    Failed,
}

/// How a status write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusWrite {
    /// It is there.
    Written,
    /// Somebody else was faster.
    Conflict,
    /// The object is gone.
    Gone,
    /// It failed, and is tried again.
    Failed,
}

/// How a write of a Service or an EndpointSlice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InfrastructureWrite {
    /// It is there, or gone, as it was to be.
    Written,
    /// Somebody else was faster, or has the name.
    Conflict,
    /// The API server does not allow it.
    Refused,
    /// It failed, and is tried again.
    Failed,
}

/// Counters of the cluster's side. All methods are cheap and may be called from any thread. The default one counts
/// for nobody.
#[derive(Debug, Clone, Default)]
pub struct ClusterMetrics {
    restarts: Option<IntCounterVec>,
    writes: Option<IntCounterVec>,
    infrastructure: Option<IntCounterVec>,
    leader: Option<IntGaugeVec>,
}

impl WatchRestart {
    const WORDS: [&str; 3] = words!([WatchRestart::Interrupted, WatchRestart::Expired, WatchRestart::Failed]);

    const fn as_str(self) -> &'static str {
        match self {
            WatchRestart::Interrupted => "interrupted",
            WatchRestart::Expired => "expired",
            WatchRestart::Failed => "failed",
        }
    }
}

impl StatusWrite {
    const WORDS: [&str; 4] =
        words!([StatusWrite::Written, StatusWrite::Conflict, StatusWrite::Gone, StatusWrite::Failed]);

    const fn as_str(self) -> &'static str {
        match self {
            StatusWrite::Written => "written",
            StatusWrite::Conflict => "conflict",
            StatusWrite::Gone => "gone",
            StatusWrite::Failed => "failed",
        }
    }
}

impl InfrastructureWrite {
    const WORDS: [&str; 4] = words!([
        InfrastructureWrite::Written,
        InfrastructureWrite::Conflict,
        InfrastructureWrite::Refused,
        InfrastructureWrite::Failed
    ]);

    const fn as_str(self) -> &'static str {
        match self {
            InfrastructureWrite::Written => "written",
            InfrastructureWrite::Conflict => "conflict",
            InfrastructureWrite::Refused => "refused",
            InfrastructureWrite::Failed => "failed",
        }
    }
}

impl ClusterMetrics {
    // Constant names and labels always make a metric; `ok` spares the process a panic that cannot happen.
    pub(super) fn new() -> Self {
        let counter = |family: Family| IntCounterVec::new(family.opts(), family.labels).ok();
        ClusterMetrics {
            restarts: counter(RESTARTS),
            writes: counter(WRITES),
            infrastructure: counter(INFRASTRUCTURE),
            // a vector without labels: it is not shown before it is set
            leader: IntGaugeVec::new(LEADER.opts(), LEADER.labels).ok(),
        }
    }

    pub(super) fn register(&self, registry: &Registry) {
        register(registry, self.restarts.clone());
        register(registry, self.writes.clone());
        register(registry, self.infrastructure.clone());
        register(registry, self.leader.clone());
    }

    /// A watch of `kind` begins again.
    pub fn watch_restarted(&self, kind: &'static str, why: WatchRestart) {
        if let Some(restarts) = &self.restarts {
            restarts.with_label_values(&[kind, why.as_str()]).inc();
        }
    }

    /// A write of a status of `kind` ended.
    pub fn status_written(&self, kind: &'static str, result: StatusWrite) {
        if let Some(writes) = &self.writes {
            writes.with_label_values(&[kind, result.as_str()]).inc();
        }
    }

    /// A write of a Service or an EndpointSlice ended.
    pub fn infrastructure_written(&self, kind: &'static str, result: InfrastructureWrite) {
        if let Some(writes) = &self.infrastructure {
            writes.with_label_values(&[kind, result.as_str()]).inc();
        }
    }

    /// Whether this process leads.
    pub fn leads(&self, leads: bool) {
        if let Some(leader) = &self.leader {
            leader.with_label_values::<&str>(&[]).set(i64::from(leads));
        }
    }
}
