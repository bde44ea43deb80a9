//! Rules: what is done with a request that matched.

use serde::Serialize;

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
    /// Where it goes; `None` is an invalid backendRef, whose share is answered with 500.
    pub upstream: Option<UpstreamIndex>,
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
