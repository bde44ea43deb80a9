//! Rules: what is done with a request that matched.

use serde::Serialize;

use super::filter::{Filters, Redirect, Retry, Timeouts};
use super::upstream::UpstreamIndex;

/// Index into [`Snapshot::rules`](super::Snapshot::rules).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct RuleIndex(pub u32);

/// One rule of a route.
#[derive(Debug, Serialize)]
pub struct Rule {
    /// Whose rule it is.
    pub route: RouteId,
    /// Position in the route's list.
    pub index: u32,
    /// The rule's name, if it has one.
    pub name: Option<String>,
    /// What is done to request and answer on the way, whatever share is drawn.
    #[serde(skip_serializing_if = "Filters::is_empty")]
    pub filters: Filters,
    /// Bounds in time.
    #[serde(skip_serializing_if = "Timeouts::is_none")]
    pub timeouts: Timeouts,
    /// When it is sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// What is done.
    pub action: Action,
}

/// A route, as metrics and logs say it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct RouteId {
    /// Kind of route, `HTTPRoute`.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What is done with a request.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub enum Action {
    /// Forwarded to one of the shares.
    Forward(WeightedUpstreams),
    /// Redirected.
    Redirect(Redirect),
    /// Answered here.
    Answer(LocalAnswer),
}

/// Why a rule is answered by the gateway itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum LocalAnswer {
    /// No usable backendRef: none given, all weights 0, or none that resolves. 500.
    InvalidBackend,
    /// A filter or field that is not served: fail closed. 500.
    FilterFailed,
}

/// Backends by weight. Never empty, never all zero.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct WeightedUpstreams {
    shares: Box<[Share]>,
    total: u64,
}

/// A backend's part of the traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Share {
    /// 1 to 1,000,000.
    pub weight: u32,
    /// Where it goes.
    pub target: Target,
}

/// Where a share goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Target {
    /// To an upstream, through these filters, after the rule's.
    Upstream(UpstreamIndex, Filters),
    /// Nowhere: the backendRef, or what it asks for, is invalid.
    Invalid {
        /// The backend as it is named, for people: `namespace/name:port`.
        backend: Box<str>,
        /// What is answered.
        answer: LocalAnswer,
    },
}

impl Target {
    /// The upstream, if there is one.
    #[must_use]
    pub fn upstream(&self) -> Option<UpstreamIndex> {
        match self {
            Target::Upstream(index, _) => Some(*index),
            Target::Invalid { .. } => None,
        }
    }
}

impl WeightedUpstreams {
    /// Shares of weight 0 are left out; `None` if nothing remains.
    #[must_use]
    pub fn new(shares: impl IntoIterator<Item = Share>) -> Option<Self> {
        let shares: Box<[Share]> = shares.into_iter().filter(|share| share.weight > 0).collect();
        let total = shares.iter().map(|share| u64::from(share.weight)).sum();
        (total > 0).then_some(WeightedUpstreams { shares, total })
    }

    /// The shares, in the order of the route.
    #[must_use]
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// Sum of all weights.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The share that `ticket` falls on; any number, uniformly drawn, splits by weight.
    #[must_use]
    pub fn pick(&self, ticket: u64) -> Option<&Share> {
        let mut rest = ticket % self.total;
        self.shares.iter().find(|share| {
            let weight = u64::from(share.weight);
            let hit = rest < weight;
            rest = rest.wrapping_sub(weight);
            hit
        })
    }
}
