//! Life with an API server: watches that had to begin again, statuses that were written, who leads.
//!
//! Nothing of it is shown by a process that has no cluster.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::register;

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
    fn as_str(self) -> &'static str {
        match self {
            WatchRestart::Interrupted => "interrupted",
            WatchRestart::Expired => "expired",
            WatchRestart::Failed => "failed",
        }
    }
}

impl StatusWrite {
    fn as_str(self) -> &'static str {
        match self {
            StatusWrite::Written => "written",
            StatusWrite::Conflict => "conflict",
            StatusWrite::Gone => "gone",
            StatusWrite::Failed => "failed",
        }
    }
}

impl InfrastructureWrite {
    fn as_str(self) -> &'static str {
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
        ClusterMetrics {
            restarts: IntCounterVec::new(
                Opts::new("transom_watch_restarts_total", "Watches that had to begin again, by kind and reason."),
                &["kind", "reason"],
            )
            .ok(),
            writes: IntCounterVec::new(
                Opts::new("transom_status_writes_total", "Status writes, by kind and how they ended."),
                &["kind", "result"],
            )
            .ok(),
            infrastructure: IntCounterVec::new(
                Opts::new(
                    "transom_infrastructure_writes_total",
                    "Writes of Services and EndpointSlices, by kind and how they ended.",
                ),
                &["kind", "result"],
            )
            .ok(),
            // a vector without labels: it is not shown before it is set
            leader: IntGaugeVec::new(
                Opts::new("transom_leader", "1 if this process writes statuses and infrastructure, else 0."),
                &[],
            )
            .ok(),
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
