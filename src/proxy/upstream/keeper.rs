//! Keeps up with the endpoints what is not a worker's to do: rings are built, health checks started and stopped,
//! series of upstreams that are gone dropped. One task on the control runtime; it wakes with each snapshot and
//! each move of endpoints, and does nothing for upstreams that ask for none of it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio_util::task::AbortOnDropHandle;

use super::check::{self, Checkers};
use super::ring::{RingCell, RingShelf, Rings};
use super::seat::now;
use crate::snapshot::health::Standing;
use crate::snapshot::policy::{Balance, HealthCheck};
use crate::snapshot::{Endpoint, EndpointHealth, Reader, Snapshot, Upstream, UpstreamId};
use crate::telemetry::{EndpointCounts, Telemetry, UpstreamLabels};

/// The task's state.
pub struct Keeper {
    workers: usize,
    telemetry: Telemetry,
    shelf: RingShelf,
    /// Those of the current snapshot, so that they are there when a worker looks for them.
    rings: BTreeMap<UpstreamId, Arc<RingCell>>,
    checked: BTreeMap<UpstreamId, Checked>,
}

/// An upstream whose endpoints are checked.
struct Checked {
    policy: HealthCheck,
    checkers: Checkers,
    watches: HashMap<SocketAddr, Watch>,
}

/// The check of one endpoint.
struct Watch {
    health: Arc<EndpointHealth>,
    task: AbortOnDropHandle<()>,
}

impl Keeper {
    /// Has kept nothing yet. Rings are built for each of `workers`.
    pub fn new(workers: usize, telemetry: Telemetry, shelf: RingShelf) -> Self {
        Keeper { workers, telemetry, shelf, rings: BTreeMap::new(), checked: BTreeMap::new() }
    }

    /// Follows `reader` until it is dropped.
    pub async fn run(mut self, mut reader: Reader) {
        let mut moves = reader.clone();
        self.telemetry.ask_endpoints({
            let reader = reader.clone();
            move || count(&reader.current())
        });
        let mut snapshot = reader.current();
        loop {
            self.keep_rings(&snapshot).await;
            self.keep_checks(&snapshot).await;
            let more = tokio::select! {
                next = reader.next() => match next {
                    Some(next) => {
                        snapshot = next;
                        let reader = &reader;
                        self.telemetry.retain_upstreams(|| reader.current().upstreams.iter().map(labels).collect());
                        true
                    }
                    None => false,
                },
                moved = moves.moved() => moved.is_some(),
            };
            if !more {
                break;
            }
        }
        // What is served goes on being served, and checked.
        std::future::pending::<()>().await;
    }

    async fn keep_rings(&mut self, snapshot: &Snapshot) {
        let hashed = |upstream: &&Upstream| matches!(upstream.policy.balance, Balance::ConsistentHash(_));
        let upstreams = snapshot.upstreams.iter().filter(hashed);
        let cells: BTreeMap<_, _> = upstreams.clone().map(|one| (one.id.clone(), self.shelf.cell(&one.id))).collect();
        self.rings = cells;
        self.shelf.forget_unused();
        for upstream in upstreams {
            let set = upstream.endpoints.load();
            let Some(cell) = self.rings.get(&upstream.id).filter(|cell| !cell.is_of(&set)) else { continue };
            let (set, workers) = (Arc::clone(&set), self.workers);
            match spawn_blocking(move || Rings::build(set, workers)).await {
                Ok(rings) => cell.store(rings),
                Err(error) => tracing::error!(upstream = ?upstream.id, %error, "no ring: balanced by least request"),
            }
        }
    }

    async fn keep_checks(&mut self, snapshot: &Snapshot) {
        let wanted = snapshot.upstreams.iter().filter_map(|one| Some((&one.id, (one, one.policy.health.as_ref()?))));
        let wanted: BTreeMap<&UpstreamId, (&Upstream, &HealthCheck)> = wanted.collect();
        let gone: Vec<UpstreamId> = self.checked.keys().filter(|id| !wanted.contains_key(id)).cloned().collect();
        for id in gone {
            if let Some(checked) = self.checked.remove(&id) {
                checked.end().await;
            }
        }
        for (id, (upstream, policy)) in wanted {
            if self.checked.get(id).is_none_or(|checked| checked.policy != *policy) {
                match Checkers::of(policy, id.protocol) {
                    Ok(checkers) => {
                        let checked = Checked { policy: policy.clone(), checkers, watches: HashMap::new() };
                        self.checked.insert(id.clone(), checked); // what the last one held, holds until judged anew
                    }
                    Err(error) => {
                        tracing::error!(upstream = ?id, %error, "not checked");
                        if let Some(checked) = self.checked.remove(id) {
                            checked.end().await;
                        }
                    }
                }
            }
            if let Some(checked) = self.checked.get_mut(id) {
                checked.follow(id, &upstream.endpoints.load().endpoints);
            }
        }
    }
}

impl Checked {
    /// Watches these endpoints and no others; one that stays keeps its counts.
    fn follow(&mut self, id: &UpstreamId, endpoints: &[Endpoint]) {
        let now: HashMap<SocketAddr, &Endpoint> = endpoints.iter().map(|one| (one.address, one)).collect();
        self.watches.retain(|address, watch| {
            now.get(address).is_some_and(|endpoint| Arc::ptr_eq(&endpoint.health, &watch.health))
        });
        for endpoint in endpoints {
            if self.watches.contains_key(&endpoint.address) {
                continue;
            }
            match self.checkers.checker(&self.policy, id.protocol, endpoint) {
                Ok(checker) => {
                    let task = check::watch(checker, self.policy.clone(), id.clone(), endpoint.clone());
                    let task = AbortOnDropHandle::new(tokio::spawn(task));
                    self.watches.insert(endpoint.address, Watch { health: endpoint.health.clone(), task });
                }
                Err(error) => tracing::error!(upstream = ?id, endpoint = %endpoint.address, %error, "not checked"),
            }
        }
    }

    /// Without checks every endpoint is healthy.
    async fn end(self) {
        for Watch { health, task } in self.watches.into_values() {
            task.abort();
            let _ = task.await; // it says no more after this
            health.judge(true);
        }
    }
}

fn labels(upstream: &Upstream) -> UpstreamLabels {
    let UpstreamId { namespace, service, port, .. } = &upstream.id;
    UpstreamLabels { namespace: namespace.as_str().into(), service: service.as_str().into(), port: *port }
}

/// How the endpoints are now. A port that is spoken to in two ways is counted once, each endpoint as the worse of both.
fn count(snapshot: &Snapshot) -> Vec<EndpointCounts> {
    const HEALTHY: u8 = 0;
    const EJECTED: u8 = 1;
    const UNHEALTHY: u8 = 2;
    let now = now();
    let mut all: BTreeMap<UpstreamLabels, BTreeMap<SocketAddr, u8>> = BTreeMap::new();
    for upstream in &snapshot.upstreams {
        let states = all.entry(labels(upstream)).or_default();
        for endpoint in &upstream.endpoints.load().endpoints {
            let state = match endpoint.health.standing(|| now) {
                _ if !endpoint.health.is_healthy() => UNHEALTHY,
                Standing::Admitted => HEALTHY,
                Standing::Due | Standing::Ejected => EJECTED,
            };
            let worst = states.entry(endpoint.address).or_default();
            *worst = state.max(*worst);
        }
    }
    let counts = all.into_iter().map(|(labels, states)| {
        let number = |wanted: u8| states.values().filter(|state| **state == wanted).count();
        EndpointCounts { labels, healthy: number(HEALTHY), unhealthy: number(UNHEALTHY), ejected: number(EJECTED) }
    });
    counts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::policy::Ejection;
    use crate::snapshot::upstream::EndpointCell;
    use crate::snapshot::{EndpointSet, Policy, UpstreamProtocol};

    #[test]
    fn a_port_spoken_to_in_two_ways_is_counted_once_by_its_worse_side() {
        let upstream = |protocol| {
            let endpoints = (1..=4).map(|port| Endpoint::new(([127, 0, 0, 1], port).into())).collect();
            let (namespace, service) = ("n".to_owned(), "s".to_owned());
            let id = UpstreamId { namespace, service, port: 80, protocol };
            Upstream { id, policy: Policy::default(), endpoints: EndpointCell::new(EndpointSet { endpoints }) }
        };
        let (one, other) = (upstream(UpstreamProtocol::Http1), upstream(UpstreamProtocol::H2c));
        one.endpoints.load().endpoints[0].health.judge(false);
        other.endpoints.load().endpoints[0].health.eject(&Ejection::default(), now());
        other.endpoints.load().endpoints[1].health.eject(&Ejection::default(), now());
        let counts = count(&Snapshot { upstreams: vec![one, other], ..Snapshot::default() });
        assert_eq!(counts.len(), 1);
        assert_eq!((counts[0].healthy, counts[0].unhealthy, counts[0].ejected), (2, 1, 1));
    }
}
