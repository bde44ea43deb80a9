//! Which endpoint: power of two choices on work in flight. Of two endpoints drawn at random the less busy one is
//! taken, which is close to the best choice and needs no order to be kept.
//!
//! The counts are a worker's own: no core waits for another's. They belong to the address and survive endpoint
//! changes and snapshots; one that leaves with work in flight and comes back finds its count again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};

use crate::snapshot::upstream::EndpointCell;
use crate::snapshot::{EndpointSet, Upstream, UpstreamProtocol};

/// A random number.
#[derive(Debug, Clone, Copy)]
pub struct Ticket(pub u64);

/// What an endpoint is chosen by.
#[derive(Debug, Clone, Copy)]
pub struct Pick<'a> {
    /// A random number.
    pub ticket: Ticket,
    /// Hash of the request's key, where the upstream is balanced by one and the request has it.
    pub hash: Option<u64>,
    /// Endpoints that were tried before, the last one last.
    pub tried: &'a [SocketAddr],
}

/// A worker's state of one upstream.
#[derive(Debug)]
pub struct UpstreamLoad {
    cell: EndpointCell,
    protocol: UpstreamProtocol,
    pool_key: u64,
    loads: ArcSwap<Loads>,
}

/// Counters beside the endpoints they count.
#[derive(Debug)]
struct Loads {
    set: Arc<EndpointSet>,
    counters: Box<[Arc<AtomicU32>]>,
    /// Endpoints that left with work in flight.
    departed: Vec<(SocketAddr, Arc<AtomicU32>)>,
}

/// An endpoint that was chosen.
#[derive(Debug)]
pub struct Choice {
    /// Where to connect.
    pub address: SocketAddr,
    /// Counts until it is dropped.
    pub in_flight: InFlight,
}

/// One piece of work in flight; dropping it ends it, exactly once.
#[derive(Debug)]
pub struct InFlight(Arc<AtomicU32>);

impl Choice {
    /// The endpoint has answered.
    pub fn answered(&self) {
        tracing::trace!(endpoint = %self.address, "answered");
    }

    /// The endpoint could not be connected to, broke off, or was too slow.
    pub fn failed(&self) {
        tracing::debug!(endpoint = %self.address, "failed");
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl UpstreamLoad {
    /// An idle upstream.
    #[must_use]
    pub fn new(upstream: &Upstream) -> Self {
        // Never given twice, so that two upstreams never share a pool, not even by a collision of hashes.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        UpstreamLoad {
            cell: upstream.endpoints.clone(),
            protocol: upstream.id.protocol,
            pool_key: NEXT.fetch_add(1, Ordering::Relaxed),
            loads: ArcSwap::from_pointee(Loads { set: Arc::default(), counters: Box::default(), departed: Vec::new() }),
        }
    }

    /// Whether it reads this very cell.
    #[must_use]
    pub fn follows(&self, cell: &EndpointCell) -> bool {
        Arc::ptr_eq(self.cell.shared(), cell.shared())
    }

    /// What keeps this upstream's connections apart from all others.
    #[must_use]
    pub fn pool_key(&self) -> u64 {
        self.pool_key
    }

    /// How it is spoken to.
    #[must_use]
    pub fn protocol(&self) -> UpstreamProtocol {
        self.protocol
    }

    /// Chooses an endpoint that is not among those tried; `None` if there is none.
    #[must_use]
    pub fn choose(&self, pick: Pick<'_>) -> Option<Choice> {
        let Pick { ticket, tried, .. } = pick;
        let loads = self.current();
        let endpoints = &loads.set.endpoints;
        let total = endpoints.len();
        let (first, second) = if tried.is_empty() {
            two_of(ticket, total)?
        } else {
            let fresh: Vec<usize> =
                (0..total).filter(|at| endpoints.get(*at).is_some_and(|e| !tried.contains(&e.address))).collect();
            let (first, second) = two_of(ticket, fresh.len())?;
            (*fresh.get(first)?, *fresh.get(second)?)
        };
        let busy = |at: usize| loads.counters.get(at).map_or(u32::MAX, |counter| counter.load(Ordering::Relaxed));
        let chosen = if busy(second) < busy(first) { second } else { first };
        let counter = loads.counters.get(chosen)?.clone();
        counter.fetch_add(1, Ordering::Relaxed);
        Some(Choice { address: endpoints.get(chosen)?.address, in_flight: InFlight(counter) })
    }

    /// Whether there is an endpoint beside `tried`.
    #[must_use]
    pub fn has_other_than(&self, tried: &[SocketAddr]) -> bool {
        self.current().set.endpoints.iter().any(|endpoint| !tried.contains(&endpoint.address))
    }

    /// Work in flight on an endpoint, as this worker knows it.
    #[must_use]
    pub fn in_flight(&self, address: SocketAddr) -> u32 {
        self.current().counter(address).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    fn current(&self) -> Guard<Arc<Loads>> {
        let set = self.cell.load();
        let loads = self.loads.load();
        if Arc::ptr_eq(&set, &loads.set) {
            return loads;
        }
        self.loads.store(Arc::new(loads.moved_to(&set)));
        self.loads.load()
    }
}

impl Loads {
    fn counter(&self, address: SocketAddr) -> Option<&Arc<AtomicU32>> {
        let here = self.set.endpoints.iter().zip(&self.counters).find(|(endpoint, _)| endpoint.address == address);
        here.map(|(_, counter)| counter)
            .or_else(|| self.departed.iter().find(|(gone, _)| *gone == address).map(|(_, counter)| counter))
    }

    fn moved_to(&self, set: &Arc<EndpointSet>) -> Loads {
        let counters =
            set.endpoints.iter().map(|endpoint| self.counter(endpoint.address).cloned().unwrap_or_default()).collect();
        let before = self.set.endpoints.iter().map(|endpoint| endpoint.address).zip(self.counters.iter().cloned());
        let departed = before
            .chain(self.departed.iter().cloned())
            .filter(|(address, counter)| {
                counter.load(Ordering::Relaxed) > 0 && !set.endpoints.iter().any(|e| e.address == *address)
            })
            .collect();
        Loads { set: set.clone(), counters, departed }
    }
}

/// Two different positions below `total`, or the only one twice.
fn two_of(ticket: Ticket, total: usize) -> Option<(usize, usize)> {
    let count = u64::try_from(total).ok().filter(|count| *count > 0)?;
    // Multiply and shift is fair to within 2^-32, where a remainder would favour small numbers.
    let below = |random: u64, bound: u64| usize::try_from(((random & 0xFFFF_FFFF) * bound) >> 32).unwrap_or(0);
    let first = below(ticket.0 >> 32, count);
    if count == 1 {
        return Some((first, first));
    }
    let step = 1 + below(ticket.0, count - 1);
    Some((first, (first + step) % total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::upstream::EndpointCell;
    use crate::snapshot::{Endpoint, Policy, UpstreamId};

    fn set(ports: &[u16]) -> EndpointSet {
        let endpoints = ports.iter().map(|port| Endpoint::new(([127, 0, 0, 1], *port).into())).collect();
        EndpointSet { endpoints }
    }

    fn load(ports: &[u16]) -> (EndpointCell, UpstreamLoad) {
        let id = UpstreamId {
            namespace: "n".to_owned(),
            service: "s".to_owned(),
            port: 80,
            protocol: UpstreamProtocol::Http1,
        };
        let cell = EndpointCell::new(set(ports));
        let load = UpstreamLoad::new(&Upstream { id, policy: Policy::default(), endpoints: cell.clone() });
        (cell, load)
    }

    fn pick(ticket: Ticket, tried: &[SocketAddr]) -> Pick<'_> {
        Pick { ticket, hash: None, tried }
    }

    fn tickets() -> impl Iterator<Item = Ticket> {
        let state = crate::proxy::serving::WorkerState::new();
        std::iter::repeat_with(move || state.random())
    }

    #[test]
    fn no_endpoint_no_choice() {
        assert!(load(&[]).1.choose(pick(Ticket(7), &[])).is_none());
        let (_, one) = load(&[1]);
        assert!(one.choose(pick(Ticket(7), &[([127, 0, 0, 1], 1).into()])).is_none());
    }

    #[test]
    fn idle_endpoints_are_drawn_evenly() {
        let (_, load) = load(&[1, 2, 3]);
        let mut seen = [0u32; 3];
        for ticket in tickets().take(9000) {
            let choice = load.choose(pick(ticket, &[])).unwrap();
            seen[usize::from(choice.address.port()) - 1] += 1;
        }
        // 9000 draws at 1/3: sigma is 44.7
        assert!(seen.iter().all(|count| count.abs_diff(3000) < 180), "{seen:?}");
    }

    #[test]
    fn work_in_flight_stays_level() {
        let (_, load) = load(&[1, 2, 3, 4]);
        let held: Vec<_> = tickets().take(400).map(|ticket| load.choose(pick(ticket, &[])).unwrap()).collect();
        let counts: Vec<_> = (1..=4).map(|port| load.in_flight(([127, 0, 0, 1], port).into())).collect();
        assert!(counts.iter().all(|count| (90..=110).contains(count)), "{counts:?}");
        drop(held);
        assert!((1..=4).all(|port| load.in_flight(([127, 0, 0, 1], port).into()) == 0));
    }

    #[test]
    fn counts_survive_that_an_endpoint_leaves_and_returns() {
        let (mut publisher, reader) = crate::snapshot::Publisher::new();
        let (_, upstream_load) = load(&[1, 2]);
        drop(upstream_load);
        let id = UpstreamId {
            namespace: "n".to_owned(),
            service: "s".to_owned(),
            port: 80,
            protocol: UpstreamProtocol::Http1,
        };
        let upstream = Upstream { id: id.clone(), policy: Policy::default(), endpoints: EndpointCell::new(set(&[1])) };
        publisher.publish(crate::snapshot::Snapshot { upstreams: vec![upstream], ..Default::default() });
        let load = UpstreamLoad::new(&reader.current().upstreams[0]);
        let held = load.choose(pick(Ticket(0), &[])).unwrap();
        publisher.publish_endpoints(&id, set(&[2]));
        assert_eq!(load.choose(pick(Ticket(0), &[])).unwrap().address.port(), 2);
        publisher.publish_endpoints(&id, set(&[1, 2]));
        assert_eq!(load.in_flight(([127, 0, 0, 1], 1).into()), 1);
        for ticket in tickets().take(50) {
            assert_eq!(load.choose(pick(ticket, &[])).unwrap().address.port(), 2, "the idle one is taken");
        }
        drop(held);
        assert_eq!(load.in_flight(([127, 0, 0, 1], 1).into()), 0);
    }

    #[test]
    fn what_was_tried_is_not_tried_again() {
        let (_, load) = load(&[1, 2, 3]);
        let tried = [([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 3).into()];
        for ticket in tickets().take(50) {
            assert_eq!(load.choose(pick(ticket, &tried)).unwrap().address.port(), 2);
        }
    }
}
